"""The run's pictures, cut out of their sheets, made small and put into the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from conceptnet_ml.drawing.cutting import CutSheet, Cutting, cut_sheet
from conceptnet_ml.drawing.layout import Caption
from conceptnet_ml.drawing.notebook import data_uri

BUDGET = 3_000_000
"""Bytes of pictures in a page, as they are embedded."""


@dataclass(frozen=True)
class Figure:
    """A picture in the page: its data, its size in px, what it is, and the words below it."""

    source: str
    width: int
    height: int
    alt: str
    caption: tuple[Caption, ...] = ()


class Figures:
    """Embeds pictures until the budget is spent, and counts what it had to leave out.

    Args:
        folder: The run folder.
        budget: Bytes.
    """

    def __init__(self, folder: Path, budget: int = BUDGET) -> None:
        self.folder = folder
        self.left = budget
        self.missing: list[str] = []
        """Pictures that the run names and that are gone or damaged."""
        self.dropped = 0
        """Pictures for which there was no room."""

    def sheet(self, name: str) -> CutSheet:
        """The pictures of one of the run's sheets, named as the graph names it; none where it is gone."""
        try:
            if ".." in Path(name).parts or Path(name).is_absolute():  # a run may come from anyone
                raise FileNotFoundError(name)
            return cut_sheet(self.folder / name)
        except (OSError, ValueError):  # a null byte in the name
            self.missing += [name] if name not in self.missing else []
            return CutSheet((), ())

    def embed(self, image: Image.Image, side: int, alt: str, caption: tuple[Caption, ...] = ()) -> Figure | None:
        """A picture, its longer side at most ``side`` px; None where there is no room."""
        source, image = data_uri(image, side)
        if len(source) > self.left:
            self.dropped += 1
            return None
        self.left -= len(source)
        return Figure(source, *image.size, alt, caption)

    def cut(self, cutting: Cutting, side: int, caption: tuple[Caption, ...] | None = None) -> Figure | None:
        """A picture of a sheet with the words below it, or with these in their place."""
        words = " ".join(line.text for line in cutting.caption)
        alt = f"{cutting.heading}: {words}".strip(": ")
        return self.embed(cutting.image, side, alt, cutting.caption if caption is None else caption)
