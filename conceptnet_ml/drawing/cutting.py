"""Sheets cut up again: each picture by itself, with the words that stand above and below it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from conceptnet_ml.drawing.layout import Caption
from conceptnet_ml.drawing.pictures import LAYOUT
from conceptnet_ml.storage.files import MALFORMED

MOST_PIXELS = 90_000_000
"""Of a sheet that is decoded."""

_APART = 8
"""Px between a picture and its words, or two lines of them, at most."""


@dataclass(frozen=True)
class Cutting:
    """A picture of a sheet, the heading above it, the lines below it, and the row of pictures it stands in."""

    image: Image.Image
    heading: str
    caption: tuple[Caption, ...]
    row: int


class CutSheet(NamedTuple):
    """A sheet's pictures, from left to right and top to bottom as they were drawn, and the lines at its foot."""

    cuttings: tuple[Cutting, ...]
    foot: tuple[str, ...]


class _Line(NamedTuple):
    x: int
    y: int
    height: int
    words: str
    tone: str

    @property
    def bottom(self) -> int:
        return self.y + self.height


@contextlib.contextmanager
def opened_sheet(path: Path) -> Iterator[Image.Image]:
    """A sheet's file, which may come from anyone. Raises OSError as :func:`cut_sheet`."""
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as file:
            if file.width * file.height > MOST_PIXELS:
                raise OSError(f"{path} has {file.width}×{file.height} px")
            yield file
    except OSError:
        raise
    except Exception as error:  # Pillow's decoders may raise anything on broken files
        raise OSError(f"{path} is damaged: {error}") from error


def cut_sheet(path: Path) -> CutSheet:
    """The pictures of a sheet that :func:`conceptnet_ml.drawing.layout.draw` drew. A file that does not say what is on
    it is one picture without words. Raises OSError where it is not there, no PNG or JPEG, damaged, or larger than
    :data:`MOST_PIXELS`.
    """
    with opened_sheet(path) as file:
        sheet = file.convert("RGB")
        layout = _layout(file.info.get(LAYOUT) or file.info.get("comment"), sheet.size)
    if layout is None:
        return CutSheet((Cutting(sheet, "", (), 0),), ())
    boxes, lines = layout
    captions = [_caption(box, lines) for box in boxes]
    taken = {line for caption in captions for line in caption}
    rows = {y: place for place, y in enumerate(sorted({box[1] for box in boxes}))}
    cuttings = []
    for (x, y, width, height), caption in zip(boxes, captions, strict=True):
        above = [line for line in lines if line.bottom <= y and line.x <= x + width and line not in taken]
        heading = max(above, key=lambda line: (line.y, line.x)).words if above else ""
        words = tuple(Caption(line.words, line.tone) for line in caption)
        cuttings.append(Cutting(sheet.crop((x, y, x + width, y + height)), heading, words, rows[y]))
    end = max((box[1] + box[3] for box in boxes), default=0)
    return CutSheet(tuple(cuttings), tuple(line.words for line in lines if line.y >= end and line not in taken))


def _layout(text: Any, size: tuple[int, int]) -> tuple[list[list[int]], list[_Line]] | None:
    """What a file says of itself, a sheet of so many px; None where it says nothing, or something else."""
    try:
        places = json.loads(text)
        boxes, lines = [[*box] for box in places["pictures"]], [_Line(*line) for line in places["lines"]]
    except MALFORMED:
        return None
    inside = all(_is_inside(box, size) for box in boxes)
    return (boxes, lines) if inside and all(_is_line(line) for line in lines) else None


def _is_inside(box: Sequence[Any], size: tuple[int, int]) -> bool:
    if len(box) != 4 or not all(type(side) is int and side >= 0 for side in box):
        return False
    x, y, width, height = box
    return min(width, height) > 0 and x + width <= size[0] and y + height <= size[1]


def _is_line(line: _Line) -> bool:
    words = type(line.words) is str and type(line.tone) is str
    return words and all(type(place) is int for place in line[:3])


def _caption(box: Sequence[int], lines: Sequence[_Line]) -> list[_Line]:
    """The lines right below a picture, one close upon the other."""
    x, y, width, height = box
    end, found = y + height, []
    for line in sorted(lines, key=lambda line: line.y):
        if x <= line.x < x + width and 0 <= line.y - end <= _APART:
            found.append(line)
            end = line.bottom
    return found
