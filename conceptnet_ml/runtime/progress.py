"""The one progress display: nested bars with an estimate on a terminal, a plain line every few seconds elsewhere.

All of it goes to stderr; stdout is for results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

_REDRAW = 0.1  # seconds; below it an update costs more than it shows


class Task:
    """A piece of work; made by :meth:`Progress.task`."""

    def __init__(self, display: _Display, name: str, total: float | None, depth: int) -> None:
        self.name = name
        self.total = total
        self.depth = depth
        self.done = 0.0
        self.figures: dict[str, Any] = {}
        self.started = time.monotonic()
        self.bar: TaskID | None = None
        self._display = display
        self._drawn = 0.0

    def advance(self, steps: float = 1, **figures: Any) -> None:
        """Count ``steps`` as done and show the figures beside the bar, ``advance(1, loss=0.3)``.

        A figure may be a tensor with one element: it is read only when it is drawn, a few times a second, so that not
        every step waits for the device.
        """
        self.done += steps
        self.figures.update(figures)
        now = time.monotonic()
        if now - self._drawn >= _REDRAW:
            self._drawn = now
            self._display.update(self)

    @property
    def seconds(self) -> float:
        """Seconds since the work began."""
        return time.monotonic() - self.started

    @property
    def left(self) -> float | None:
        """Seconds left at the mean speed so far; None where that is unknown."""
        if not self.total or not self.done:
            return None
        return max(0.0, self.seconds * (self.total / self.done - 1))

    def counts(self) -> str:
        """``120/300``, or ``120`` where the total is not known."""
        return f"{self.done:g}" if self.total is None else f"{self.done:g}/{self.total:g}"

    def figures_text(self) -> str:
        """``loss 0.312  accuracy 0.94``."""
        return "  ".join(f"{name} {_number(value)}" for name, value in self.figures.items())


class Progress:
    """Shows what is being done and how long it will still take.

        with Progress() as progress, progress.task("train ordinary", total=300) as task:
            task.advance(1, loss=loss)

    Args:
        quiet: Show nothing.
        stream: Where to write; stderr by default.
        interval: Seconds between two lines where there is no terminal.
    """

    def __init__(self, quiet: bool = False, stream: IO[str] | None = None, interval: float = 5.0) -> None:
        stream = sys.stderr if stream is None else stream
        self._display = _Display()
        if not quiet:
            console = Console(file=stream, highlight=False)
            self._display = _Terminal(console) if console.is_terminal else _Lines(stream, interval)
        self._interval = interval
        self._open: list[Task] = []

    @contextmanager
    def task(self, name: str, total: float | None = None) -> Iterator[Task]:
        """Show a piece of work while the block runs; tasks opened inside it are shown below it.

        Args:
            name: What is being done, ``"train ordinary"``.
            total: Number of steps; None where that is not known.
        """
        task = Task(self._display, name, total, depth=len(self._open))
        self._open.append(task)
        self._display.begin(task)
        try:
            yield task
            # There may be hundreds of short inner tasks: no line for each.
            if task.depth == 0 or task.seconds >= self._interval:
                counts = task.counts() if task.done else ""
                finished = _joined(f"{task.name}: done in {_clock(task.seconds)}", counts, task.figures_text())
                self._display.say("  " * task.depth + finished)
        finally:
            self._display.end(task)
            self._open.remove(task)

    def say(self, text: str) -> None:
        """Write a line above the bars."""
        self._display.say(text)

    def __enter__(self) -> Progress:
        self._display.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.close()


class _Display:
    """Shows nothing; the base of those that do."""

    def open(self) -> None: ...
    def close(self) -> None: ...
    def begin(self, task: Task) -> None: ...
    def update(self, task: Task) -> None: ...
    def end(self, task: Task) -> None: ...
    def say(self, text: str) -> None: ...


class _Lines(_Display):
    """One line for the innermost running task, at most every ``interval`` seconds."""

    def __init__(self, stream: IO[str], interval: float) -> None:
        self._stream = stream
        self._interval = interval
        self._last = time.monotonic()

    def begin(self, task: Task) -> None:
        # Work that cannot be counted would otherwise not be mentioned until it is done.
        if task.depth == 0 and task.total is None:
            self.say(f"{task.name}…")

    def update(self, task: Task) -> None:
        now = time.monotonic()
        if now - self._last < self._interval:
            return
        self._last = now
        left = "" if task.left is None else f"{_clock(task.left)} left"
        self.say("  " * task.depth + _joined(task.name, task.counts(), task.figures_text(), left))

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class _Terminal(_Display):
    """Nested bars by rich."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            TextColumn("{task.fields[label]}", markup=False),
            BarColumn(bar_width=24),
            _Column("counts", "cyan"),
            _Column("time", "dim"),
            _Column("figures", "magenta"),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def open(self) -> None:
        self._bars.start()

    def close(self) -> None:
        self._bars.stop()

    def begin(self, task: Task) -> None:
        task.bar = self._bars.add_task(task.name, total=task.total, label="  " * task.depth + task.name, source=task)

    def update(self, task: Task) -> None:
        if task.bar is not None:
            # Figures are read here, in the thread that computes, never in the one that draws.
            self._bars.update(task.bar, completed=task.done, total=task.total, figures=task.figures_text())

    def end(self, task: Task) -> None:
        if task.bar is not None:
            self._bars.remove_task(task.bar)

    def say(self, text: str) -> None:
        self._bars.console.print(text, markup=False)


class _Column(ProgressColumn):
    """A column with the counts, times or figures of a :class:`Task`."""

    def __init__(self, what: str, style: str) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis"))
        self._what = what
        self._style = style

    def render(self, task: Any) -> Text:
        work: Task = task.fields["source"]
        if self._what == "counts":
            text = work.counts() if work.done else ""
        elif self._what == "time":
            text = _clock(work.seconds) + ("" if work.left is None else f", {_clock(work.left)} left")
        else:
            text = task.fields.get("figures", "")
        return Text(text, style=self._style)


def _joined(*parts: str) -> str:
    return "  ".join(part for part in parts if part)


def _number(value: Any) -> str:
    return value if isinstance(value, str) else f"{float(value):.3g}"


def _clock(seconds: float) -> str:
    """``0:07``, ``12:30``, ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
