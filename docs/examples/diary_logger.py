"""A logger: the run as a diary in Markdown, decisions and pictures in the order in which they came."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conceptnet_ml import Logger, hookimpl


class Diary:
    """Appends to diary.md in the logger's folder; a run that is resumed goes on in it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.file = (folder / "diary.md").open("a", encoding="utf-8")
        if not self.file.tell():
            self._say(f"# {name}")

    def scalars(self, figures: Mapping[str, float], step: int) -> None:
        """Accuracies alone: losses are in metrics.jsonl, every 25 steps."""
        told = [f"- {name}: {value:.3f}" for name, value in figures.items() if name.startswith("accuracy/")]
        if told:
            self._say("\n".join(told))

    def text(self, name: str, words: str, step: int) -> None:
        """What was decided, and why."""
        event = json.loads(words) if name.startswith("event/") else {}
        if isinstance(event, dict) and "reason" in event:
            self._say(f"**{event.get('name', name)}**: {event['reason']}")

    def picture(self, name: str, path: Path, step: int) -> None:
        """A link from the diary's folder, so that the run folder can be moved as a whole."""
        self._say(f"![{name}](<{Path(os.path.relpath(path, self.folder)).as_posix()}>)")

    def close(self) -> None:
        self.file.close()

    def _say(self, text: str) -> None:
        self.file.write(f"{text}\n\n")
        self.file.flush()


def open_log(folder: Path, name: str, settings: Mapping[str, Any]) -> Diary:
    """Called before anything is trained, and again where the run is resumed."""
    return Diary(folder, name)


@hookimpl
def conceptnet_loggers() -> list[Logger]:
    return [Logger(name="diary", api="1", open=open_log, summary="decisions and pictures as a diary in Markdown")]
