"""A run for TensorBoard: event files that ``tensorboard --logdir runs`` finds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from conceptnet_ml import SettingsError

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError as error:
    raise SettingsError(
        "plugins.loggers 'tensorboard' needs tensorboard, which is not installed", "Install it: pip install tensorboard"
    ) from error


class TensorBoardLog:
    """Event files in a folder; opened again, one more, which TensorBoard shows as one with those before.

    Args:
        folder: Where they lie.
        settings: Shown as a table.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._writer: Any = SummaryWriter(str(folder))  # type: ignore[no-untyped-call]
        rows = "\n".join(f"| {name} | `{value}` |" for name, value in settings.items())
        self._writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}")

    def scalars(self, figures: Mapping[str, float], step: int) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def text(self, name: str, words: str, step: int) -> None:
        indented = "\n".join(f"    {line}" for line in words.splitlines())  # as code, which keeps columns
        self._writer.add_text(name, indented, step)

    def picture(self, name: str, path: Path, step: int) -> None:
        with Image.open(path) as image:
            self._writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


def open_log(folder: Path, name: str, settings: Mapping[str, Any]) -> TensorBoardLog:
    """Begin or go on with the log of a run."""
    return TensorBoardLog(folder, settings)
