"""The progress display: lines, bars, silence."""

from __future__ import annotations

import io
import re
import time

import pytest

from conceptnet_ml.runtime.progress import Progress, Task, about


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Figure:
    """A number that counts how often it is read, as a tensor on a device would make the program wait."""

    def __init__(self) -> None:
        self.reads = 0

    def __float__(self) -> float:
        self.reads += 1
        return 0.3125


def test_lines_come_at_intervals_and_at_the_end() -> None:
    stream = io.StringIO()
    with Progress(stream=stream, interval=0.0) as progress, progress.task("train ordinary", total=4) as task:
        for _ in range(4):
            task.advance(1, loss=0.25)
            time.sleep(0.11)  # longer than two redraws are apart
    lines = stream.getvalue().splitlines()
    assert re.fullmatch(r"train ordinary  1/4  loss 0\.25  0:0\d left", lines[0])
    assert re.fullmatch(r"train ordinary: done in 0:0\d  4/4  loss 0\.25", lines[-1])
    assert len(lines) >= 5


def test_between_intervals_nothing_is_written() -> None:
    stream = io.StringIO()
    with Progress(stream=stream, interval=60.0) as progress, progress.task("outer", total=1000) as task:
        for _ in range(1000):
            with progress.task("inner"):
                task.advance()
        assert stream.getvalue() == ""
    assert len(stream.getvalue().splitlines()) == 1


def test_inner_tasks_are_indented() -> None:
    stream = io.StringIO()
    with Progress(stream=stream, interval=0.0) as progress, progress.task("round 1"), progress.task("probe") as task:
        task.advance(3)
    assert stream.getvalue().splitlines()[:2] == ["round 1…", "  probe  3"]
    assert "\n  probe: done in 0:00  3\n" in stream.getvalue()


def test_a_figure_is_read_only_when_it_is_drawn() -> None:
    figure = Figure()
    with Progress(stream=io.StringIO(), interval=60.0) as progress, progress.task("train", total=10_000) as task:
        for _ in range(10_000):
            task.advance(1, loss=figure)
    assert figure.reads <= 5


def test_bars_on_a_terminal_leave_only_finished_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    with Progress(stream=stream) as progress, progress.task("learn", total=2) as outer:
        progress.say("[cars] are not markup")
        with progress.task("round 1", total=10) as task:
            task.advance(5, loss=0.5)
            time.sleep(0.3)
        outer.advance(2)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "[cars] are not markup" in text
    assert "━" in text
    assert "  round 1" in text
    assert "5/10" in text
    assert "loss 0.5" in text
    assert "learn: done in 0:00  2/2" in text


def test_quiet_writes_nothing() -> None:
    stream = io.StringIO()
    with Progress(quiet=True, stream=stream) as progress, progress.task("learn", total=1) as task:
        progress.say("hello")
        task.advance(1, loss=1.0)
    assert stream.getvalue() == ""


def test_stdout_stays_clean(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress, progress.task("learn"):
        progress.say("hello")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "\nhello\n" in captured.err


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_a_failed_task_is_not_called_done_and_the_next_can_begin(stream: io.StringIO) -> None:
    with Progress(stream=stream) as progress:
        with pytest.raises(ZeroDivisionError), progress.task("first"):
            raise ZeroDivisionError
        with progress.task("second") as task:
            assert task.depth == 0
    assert "first: done" not in stream.getvalue()
    assert "second: done" in stream.getvalue()


class Three:
    """An outline of three steps of a minute each."""

    def __init__(self) -> None:
        self.step, self.ended, self.is_open = 0, list[float](), False

    def words(self, name: str) -> str:
        return name.upper()

    def begin(self, name: str) -> str:
        self.step += 1
        return f"step {self.step} of about 3: {self.words(name)}"

    def end(self, seconds: float) -> None:
        self.ended.append(seconds)

    def left(self, task: Task | None = None) -> float | None:
        return 60.0 * (3 - self.step) + ((task.left or 0.0) if task else 0.0)


def test_steps_of_a_whole_are_numbered_in_words_and_say_how_long_the_rest_takes() -> None:
    stream, outline = io.StringIO(), Three()
    with Progress(stream=stream, interval=0.0) as progress:
        progress.outline = outline
        for _ in range(3):
            with progress.task("train", total=2) as task, progress.task("inner"):
                task.started -= 10  # as if ten seconds had passed
                task.advance(1)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "step 1 of about 3: TRAIN  1/2  0:10 left, about 2 min to go"
    assert lines[1] == "  INNER: done in 0:00"
    assert lines[2] == "step 1 of about 3: TRAIN: done in 0:10  1/2  about 2 min to go"
    assert lines[-1] == "step 3 of about 3: TRAIN: done in 0:10  1/2", "nothing is to go"
    assert len(outline.ended) == 3, "of the steps alone"


def test_of_work_whose_steps_are_not_known_only_the_step_under_way_has_a_rest() -> None:
    stream, outline = io.StringIO(), Three()
    outline.is_open = True
    with Progress(stream=stream, interval=0.0) as progress:
        progress.outline = outline
        with progress.task("train", total=2) as task:
            task.started -= 10  # as if ten seconds had passed
            task.advance(1)
        outline.is_open = False
        with progress.task("write"):
            pass
    lines = stream.getvalue().splitlines()
    assert lines[0] == "step 1 of about 3: TRAIN  1/2  0:10 left"
    assert lines[1] == "step 1 of about 3: TRAIN: done in 0:10  1/2"
    assert lines[-1].endswith("about 1 min to go")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "under a minute"), (61, "about 1 min"), (400, "about 7 min"), (5300, "about 88 min"), (9000, "about 2.5 h")],
)
def test_a_time_that_nobody_knows_exactly(seconds: float, words: str) -> None:
    assert about(seconds) == words


def test_time_left_is_the_mean_pace_times_what_is_left() -> None:
    with Progress(quiet=True) as progress, progress.task("work", total=4) as task:
        assert task.left is None
        task.started -= 10  # as if ten seconds had passed
        task.advance(1)
        assert task.left == pytest.approx(30, abs=0.5)
        task.advance(3)
        assert task.left == 0
