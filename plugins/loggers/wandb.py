"""A run for Weights & Biases, as files that ``wandb sync`` sends where their owner wants; nothing leaves the machine
unless WANDB_MODE=online says so."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conceptnet_ml import SettingsError

try:
    import wandb
except ImportError as error:
    raise SettingsError(
        "plugins.loggers 'wandb' needs wandb, which is not installed", "Install it: pip install wandb"
    ) from error

STEP = "step"
"""The axis of all figures: each training counts its own steps, while wandb's own counter only rises."""


class WandbLog:
    """A run of wandb. Opened again it is the same run: offline one more file of the same id, which ``wandb sync`` sends
    after the first; online it is resumed.

    Args:
        folder: Where its files lie.
        name: Of the run, and of the group.
        settings: Its configuration.
    """

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "conceptnet_ml"),
            name=name,
            group=name,
            dir=str(folder),
            id=_own_id(folder),
            mode=None if "WANDB_MODE" in os.environ else "offline",
            resume="allow" if os.environ.get("WANDB_MODE") == "online" else None,
            config=dict(settings),
            reinit="create_new",
            settings=wandb.Settings(console="off", silent=True, symlink=False, x_disable_stats=True),
        )
        self._run.define_metric("*", step_metric=STEP)
        self._folder = folder
        self._take_links_out()

    def scalars(self, figures: Mapping[str, float], step: int) -> None:
        self._run.log({**figures, STEP: step})

    def text(self, name: str, words: str, step: int) -> None:
        self._run.log({name: wandb.Html(f"<pre>{_escaped(words)}</pre>", inject=False), STEP: step})

    def picture(self, name: str, path: Path, step: int) -> None:
        self._run.log({name: wandb.Image(str(path)), STEP: step})

    def close(self) -> None:
        self._run.finish()
        self._take_links_out()

    def _take_links_out(self) -> None:
        """wandb links a log of its own in the user's cache; a run folder that holds a link out of it is not opened."""
        for path in self._folder.rglob("*"):
            if path.is_symlink():
                path.unlink(missing_ok=True)


def _own_id(folder: Path) -> str:
    """The id of the run whose log lies here, made at the first opening. A file is named by id and second: one that was
    begun within this second is waited for, lest it be written over."""
    file = folder / "id.txt"
    if not file.exists():
        file.write_text(secrets.token_hex(4), encoding="utf-8")
    known = file.read_text(encoding="utf-8").strip()
    while any(folder.glob(f"wandb/*run-{time.strftime('%Y%m%d_%H%M%S')}-{known}")):
        time.sleep(0.05)
    return known


def open_log(folder: Path, name: str, settings: Mapping[str, Any]) -> WandbLog:
    """Begin or go on with the log of a run."""
    return WandbLog(folder, name, settings)


def _escaped(words: str) -> str:
    return words.replace("&", "&amp;").replace("<", "&lt;")
