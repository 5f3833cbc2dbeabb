"""What loggers get of a run, and that one that fails costs nothing but itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from conceptnet_ml import Logger, PluginError, Settings
from conceptnet_ml.plugins import Plugins, load_plugins
from conceptnet_ml.results.loggers import event_figures, final_figures, open_loggers
from conceptnet_ml.storage.run_folder import Run


class Fake:
    """Notes what it gets; raises from the call numbered ``fails`` on."""

    def __init__(self, fails: float = math.inf) -> None:
        self.got: list[tuple[Any, ...]] = []
        self.fails, self.calls = fails, 0

    def _get(self, *what: Any) -> None:
        self.calls += 1
        if self.calls >= self.fails:
            raise RuntimeError("the server is gone")
        self.got.append(what)

    def scalars(self, figures: Mapping[str, float], step: int) -> None:
        self._get("scalars", dict(figures), step)

    def text(self, name: str, words: str, step: int) -> None:
        self._get("text", name, words, step)

    def picture(self, name: str, path: Path, step: int) -> None:
        self._get("picture", name, path.read_bytes(), step)

    def close(self) -> None:
        self._get("close")


def plugins_with(**logs: Any) -> Plugins:
    plugins = load_plugins(use_entry_points=False)

    def opened(log: Any) -> Any:
        def open_log(folder: Path, name: str, settings: Mapping[str, Any]) -> Any:
            if isinstance(log, Exception):
                raise log
            log.opened = (folder, name, settings)
            return log

        return open_log

    records = [Logger(name=name, api="1", open=opened(log), summary="x") for name, log in logs.items()]
    hooks = type("Hooks", (), {})()
    plugins._found.update({("logger", record.name): [(record, str(hooks))] for record in records})
    return plugins


def settings(*names: str) -> Settings:
    return Settings.model_validate({"plugins": {"loggers": names}})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "cars", settings().model_dump(mode="json"), {}, {}, "0")


SUMMARY = {
    "test_sets": {"test": {"images": 9, "learned": {"accuracy": 0.5, "worst_group": {"accuracy": 0.25, "name": "x"}}}}
}


def write(run: Run) -> None:
    run.log_training("ordinary", 25, {"loss": 0.5})
    run.log(event="probe", name="block3/classes/1", phi=0.75, keep=True, mates=[0.1], reason="ι", price=math.nan)
    run.save_picture("round-swaps.png", b"png")
    run.save_picture("nodes/9f.jpg", b"jpg")
    run.finish(SUMMARY, "the summary")


def test_losses_events_pictures_and_results_are_handed_on(run: Run) -> None:
    run.log(event="before")
    log, said = Fake(), []
    with open_loggers(run, plugins_with(fake=log), settings("fake"), said.append):
        write(run)
    run.log(event="after")
    figures = {"accuracy/test/learned": 0.5, "worst group/test/learned": 0.25}
    kinds = [one for one in log.got if one[0] != "text"]
    assert kinds == [
        ("scalars", {"loss/ordinary": 0.5}, 25),
        ("scalars", {"probe/phi": 0.75, "probe/keep": 1.0}, 2),
        ("picture", "pictures/round-swaps.png", b"png", 2),
        ("scalars", figures, 2),
        ("close",),
    ]
    words = [one[1:] for one in log.got if one[0] == "text"]
    assert words[0][0] == "event/probe"
    assert '"reason": "ι"' in words[0][1]
    assert "time" not in words[0][1]
    assert words[1] == ("summary", "the summary", 2)
    folder, name, given = log.opened  # type: ignore[attr-defined]
    assert (folder, name, given["plugins.loggers"]) == (run.path / "logs" / "fake", "cars", ("fake",))
    assert folder.is_dir()
    assert said == []
    assert run.watchers == []


@pytest.mark.parametrize("fails", range(1, 7))
def test_one_that_fails_is_left_out_and_said_once(run: Run, fails: int) -> None:
    bad, good, said = Fake(fails), Fake(), []
    with open_loggers(run, plugins_with(bad=bad, good=good), settings("bad", "good"), said.append):
        write(run)
    assert said == ["warning: logger 'bad' failed and is left out: RuntimeError: the server is gone"]
    assert (bad.calls, good.got[-1]) == (fails, ("close",))
    assert run.complete is False
    assert (run.path / "DONE").exists()


def test_one_that_cannot_be_opened_stops_all_before_anything_is_trained(run: Run) -> None:
    good = Fake()
    plugins = plugins_with(good=good, bad=OSError("no room"))
    with (
        pytest.raises(PluginError, match=r"'bad'.*no room"),
        open_loggers(run, plugins, settings("good", "bad"), print),
    ):
        pytest.fail("it was opened")
    assert good.got == [("close",)]


def test_a_run_that_fails_closes_its_loggers(run: Run) -> None:
    log = Fake()
    with (
        pytest.raises(KeyboardInterrupt),
        open_loggers(run, plugins_with(fake=log), settings("fake"), print),
    ):
        raise KeyboardInterrupt
    assert log.got == [("close",)]


def test_only_finite_numbers_are_figures() -> None:
    line = {"event": "e", "time": 1.0, "a": 1, "b": True, "c": None, "d": math.inf, "e": "x", "f": [1], "g": {"h": 1}}
    assert event_figures(line) == {"e/a": 1.0, "e/b": 1.0}
    assert final_figures({}) == {}
