"""Boxes: lines of text and pictures, put beside and below one another, measured and drawn with Pillow alone.

A box knows its size before anything is drawn::

    tiles = [below([framed(image), text(name, 13, room=image.width)], gap=4) for name, image in pictures]
    draw(below([text("Cars", 22), grid([tiles[:4], tiles[4:]], gap=12)], gap=10)).save("cars.png")
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from PIL import Image, ImageDraw

from conceptnet_ml.drawing.pictures import LAYOUT, PAPER
from conceptnet_ml.drawing.text import font, line_height, pieces, text_width, wrap

Colour = tuple[int, int, int]

INK, FAINT, RIGHT, WRONG, FRAME = (34, 34, 38), (118, 118, 124), (22, 110, 60), (176, 36, 36), (214, 214, 210)

MARGIN = 28
"""Paper around a sheet, in px."""


@dataclass(frozen=True)
class Caption:
    """Words in a tone: ``plain``, ``right`` (green) or ``wrong`` (red)."""

    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Line:
    """One line of text."""

    words: str
    size: int
    colour: Colour


Mark = tuple[int, int, Line | Image.Image]
"""What is drawn at (x, y) px. A picture's frame lies a px outside of it."""


@dataclass(frozen=True)
class Box:
    """An area of a sheet, its size in px, and what is drawn in it, from the upper left corner."""

    width: int
    height: int
    marks: tuple[Mark, ...] = ()

    def with_box(self, other: Box, x: int, y: int) -> Box:
        """This box with another laid over it at (x, y)."""
        return Box(self.width, self.height, self.marks + tuple((x + a, y + b, mark) for a, b, mark in other.marks))


def framed(image: Image.Image) -> Box:
    """A picture with a thin frame around it."""
    return Box(image.width, image.height, ((0, 0, image),))


def text(words: str | Caption, size: int, colour: Colour = INK, room: int | None = None, centred: bool = False) -> Box:
    """Lines of text, letters ``size`` px high, wrapped to ``room`` px or in one line of any width; nothing where there
    are no words. A caption's tone wins over the colour."""
    words, tone = (words, "plain") if isinstance(words, str) else (words.text, words.tone)
    colour = {"right": RIGHT, "wrong": WRONG}.get(tone, colour)
    boxes = []
    for line in wrap(words, size, room) if room is not None else [words] if words else []:
        box = Box(text_width(line, size), line_height(size), ((0, 0, Line(line, size, colour)),))
        boxes.append(placed(box, room, box.height, 0.5) if centred and room is not None else box)
    return below(boxes)


def placed(box: Box, width: int, height: int, across: float = 0, down: float = 0) -> Box:
    """A box in another: at the left and top (0), in the middle (0.5), or at the right and bottom (1)."""
    return Box(width, height).with_box(box, round((width - box.width) * across), round((height - box.height) * down))


def beside(boxes: Iterable[Box], gap: int = 0) -> Box:
    """Boxes from left to right, their tops in a line; empty ones take no room."""
    whole = Box(0, 0)
    for box in (box for box in boxes if box.width):
        x = whole.width + gap if whole.width else 0
        whole = Box(x + box.width, max(whole.height, box.height), whole.marks).with_box(box, x, 0)
    return whole


def below(boxes: Iterable[Box], gap: int = 0) -> Box:
    """Boxes from top to bottom, their left sides in a line; empty ones take no room."""
    whole = Box(0, 0)
    for box in (box for box in boxes if box.height):
        y = whole.height + gap if whole.height else 0
        whole = Box(max(whole.width, box.width), y + box.height, whole.marks).with_box(box, 0, y)
    return whole


def grid(rows: Sequence[Sequence[Box]], gap: int) -> Box:
    """Boxes in rows: columns as wide as their widest box, rows as high as their highest; rows may differ in length."""
    widths = [max(box.width for box in column if box) for column in zip_longest(*rows)]
    cells = [[placed(box, width, box.height) for box, width in zip(row, widths, strict=False)] for row in rows]
    return below([beside(row, gap) for row in cells], gap)


def heading(title: str, size: int, width: int, note: str = "") -> Box:
    """A title with smaller words below it, wrapped to the sheet's width; that of a narrow sheet may be wider."""
    room = max(width, min(420, text_width(title, size)))
    return below([text(title, size, room=room), text(note, 12, FAINT, room)], gap=2)


def draw(box: Box, margin: int = MARGIN) -> Image.Image:
    """The box on light paper. The sheet says what is where, for :mod:`conceptnet_ml.drawing.cutting`: in its
    ``info["layout"]``, which is written into its file, too."""
    sheet = Image.new("RGB", (box.width + 2 * margin, box.height + 2 * margin), PAPER)
    pen = ImageDraw.Draw(sheet)
    for x, y, mark in box.marks:
        left, top = x + margin, y + margin
        if isinstance(mark, Line):
            along, base = float(left), top + font(mark.size).getmetrics()[0]
            for words, letters in pieces(mark.words, mark.size):
                pen.text((along, base), words, mark.colour, letters, anchor="ls")
                along += letters.getlength(words)
        else:
            sheet.paste(mark, (left, top))
            pen.rectangle((left - 1, top - 1, left + mark.width, top + mark.height), outline=FRAME)
    sheet.info[LAYOUT] = json.dumps(_places(box, margin))
    return sheet


def _places(box: Box, margin: int) -> dict[str, list[list[Any]]]:
    """Its pictures as ``[x, y, width, height]`` and its lines as ``[x, y, height, words, tone]``, as :func:`draw` draws
    them."""
    tones = {RIGHT: "right", WRONG: "wrong"}
    places: dict[str, list[list[Any]]] = {"pictures": [], "lines": []}
    for x, y, mark in box.marks:
        at = [x + margin, y + margin]
        if isinstance(mark, Line):
            places["lines"].append([*at, line_height(mark.size), mark.words, tones.get(mark.colour, "plain")])
        else:
            places["pictures"].append([*at, mark.width, mark.height])
    return places
