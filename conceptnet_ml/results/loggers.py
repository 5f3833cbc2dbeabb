"""A run's figures for loggers: what the run folder is told of, handed on to the plugins that the settings name.

metrics.jsonl is written whatever loggers there are, and holds all that they get.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.sources import flatten
from conceptnet_ml.errors import PluginError
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.records import RunLog
from conceptnet_ml.storage.files import disk_errors
from conceptnet_ml.storage.run_folder import Run

LEFT_OUT = ("time", "curve")
"""Fields of an event that its words leave out: the time of day, and losses that were handed on step by step."""


@contextmanager
def open_loggers(run: Run, plugins: Plugins, settings: Settings, say: Callable[[str], None]) -> Iterator[None]:
    """While entered, the loggers of ``plugins.loggers`` get what the run writes down, in ``RUN/logs/NAME``.

    Args:
        say: Told where a logger fails; the run goes on without it.

    Raises:
        PluginError, DataError: One cannot be opened; nothing was trained. SettingsError: There is none of a name.
    """
    logs: dict[str, RunLog] = {}
    told = _Told(run, logs, say)
    try:
        for name in settings.plugins.loggers:
            folder = run.path / "logs" / name
            with disk_errors(folder, "write"):
                folder.mkdir(parents=True, exist_ok=True)
            try:
                logs[name] = plugins.get("logger", name).function("open")(folder, run.path.name, flatten(settings))
            except OSError as error:  # of a built-in one, as of a full disk
                raise PluginError(f"logger '{name}' cannot be opened: {error}") from error
        run.watchers.append(told)
        yield
    finally:
        if told in run.watchers:
            run.watchers.remove(told)
        told.each(lambda log: log.close())


class _Told:
    """Hands on what a run folder is told; one that fails is left out from then on."""

    def __init__(self, run: Run, logs: dict[str, RunLog], say: Callable[[str], None]) -> None:
        self._logs, self._say, self._run = logs, say, run
        self._lines = len(run.metrics()) if (run.path / "metrics.jsonl").exists() else 0

    def trained(self, name: str, step: int, figures: Mapping[str, float]) -> None:
        found = _finite({f"{what}/{name}": value for what, value in figures.items()})
        if found:
            self.each(lambda log: log.scalars(found, step))

    def logged(self, line: Mapping[str, Any]) -> None:
        self._lines += 1
        step, figures = self._lines, event_figures(line)
        words = json.dumps({name: value for name, value in line.items() if name not in LEFT_OUT}, ensure_ascii=False)
        self.each(lambda log: log.text(f"event/{line.get('event')}", words, step))
        if figures:
            self.each(lambda log: log.scalars(figures, step))

    def drawn(self, relative: str) -> None:
        if "/nodes/" not in relative:  # a sheet for each of hundreds of units
            self.each(lambda log: log.picture(relative, self._run.path / relative, self._lines))

    def finished(self, summary: Mapping[str, Any], text: str) -> None:
        self.each(lambda log: log.scalars(final_figures(summary), self._lines))
        self.each(lambda log: log.text("summary", text, self._lines))

    def each(self, use: Callable[[RunLog], None]) -> None:
        """Every logger that has not failed."""
        for name, log in [*self._logs.items()]:
            try:
                use(log)
            except Exception as error:  # whatever a stranger's code raises, the training is worth more
                del self._logs[name]
                self._say(f"warning: logger '{name}' failed and is left out: {type(error).__name__}: {error}")


def event_figures(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a line of metrics.jsonl by name, ``probe/phi``; what is true is 1, what is not 0."""
    event = line.get("event")
    return _finite({f"{event}/{name}": value for name, value in line.items() if name != "time"})


def final_figures(summary: Mapping[str, Any]) -> dict[str, float]:
    """Every network's accuracy on every test set, ``accuracy/TEST SET/NETWORK``, and that of its worst group."""
    found = {}
    for name, row in summary.get("test_sets", {}).items():
        for method, answers in row.items():
            if isinstance(answers, Mapping) and "accuracy" in answers:
                found[f"accuracy/{name}/{method}"] = answers["accuracy"]
                if worst := answers.get("worst_group"):
                    found[f"worst group/{name}/{method}"] = worst["accuracy"]
    return _finite(found)


def _finite(figures: Mapping[str, Any]) -> dict[str, float]:
    """What is a finite number of these."""
    return {
        name: float(value) for name, value in figures.items() if isinstance(value, int | float) and math.isfinite(value)
    }
