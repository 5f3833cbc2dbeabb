"""Dreams to look at: any number of channels as one picture, sheets with labels, a layer's units as one sprite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

from conceptnet_ml.drawing.pictures import PAPER, Picture, enlarge, square, tiled, to_image
from conceptnet_ml.drawing.sheets import FAINT, FRAME, INK, RIGHT, WRONG, Caption
from conceptnet_ml.drawing.text import folded, text_width, write_text

MARGIN, GAP = 28, 16

TITLE, NAME, LINE = 22, 14, 12
"""Heights of letters in px."""

NEVER_ROSE = ("never rose", "no gradient", "not finite")
"""Outcomes of a dream that show nothing of its target."""

_LEADING = 5

_SHAPE = 1.6  # width to height that a sheet should have

_LEAST_WIDTH = 420

_INSET = 0.3  # of a picture's shorter side

_LEAST_ROOM = 172  # px for words


@dataclass(frozen=True)
class Card:
    """A dream and what is known of it.

    Args:
        image: uint8 (C, H, W), or a PIL image.
        name: Its target.
        lines: What stands below, folded to the picture's width; a :class:`Caption` of the tone ``right`` is green, of
            ``wrong`` red.
        start: What it began with, shown small in its corner; None for noise.
    """

    image: Picture
    name: str = ""
    lines: Sequence[str | Caption] = ()
    start: Picture | None = None


def dream_card(dream: Any, *lines: str | Caption) -> Card:
    """A dream with its seed, the activation reached, and further lines, as on how honest it is.

    Args:
        dream: A dream of :mod:`conceptnet_ml.dreams.render`.
        lines: Further ones.
    """
    first: list[str | Caption] = [f"seed {dream.seed} · {three_digits(dream.before)} → {three_digits(dream.reached)}"]
    if dream.outcome in NEVER_ROSE:
        first.append(Caption(dream.outcome, "wrong"))
    return Card(dream.image, dream.objective.name, (*first, *lines))


def honesty_lines(standing: Any = None, judgement: Any = None) -> list[str | Caption]:
    """How honest a dream is, in lines for its card.

    Args:
        standing, judgement: Of :mod:`conceptnet_ml.dreams.judgement`; None where it was not asked.
    """
    lines: list[str | Caption] = [] if standing is None else [standing.phrase]
    if judgement is not None:
        tone = {True: "right", False: "wrong", None: "plain"}[judgement.recognised]
        lines += [Caption(judgement.sees, tone), Caption(judgement.likeness, "wrong" if judgement.unlike else "plain")]
    return lines


def sheet_note(real: int, judge: Any = None) -> str:
    """A sheet's line on what stands below its pictures.

    Args:
        real: How many real images there are to compare with.
        judge: The witness, if there is one.
    """
    words = ["Below each: its seed, the target at the start and at the end"]
    if real:
        words.append(f"how that stands against {real:,} real images")
    if judge is not None:
        good = "" if judge.accuracy is None else f" (right on {judge.accuracy:.0%} of real images)".replace("%", " %")
        words.append(f"what an independently trained network sees{good}, and whether it could be a real image to it")
    return ", ".join(words) + "."


def three_digits(value: float) -> str:
    """Three digits that count: ``0.0123``, ``−4.5``, ``1,230``."""
    if not math.isfinite(value):
        return str(value)
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}").replace("-", "−")


def card_sheet(
    cards: Sequence[Card],
    title: str = "",
    *,
    note: str = "",
    columns: int | None = None,
    tile: int | None = None,
    crisp: bool = False,
) -> Image.Image:
    """Dreams with their labels on light paper.

    Args:
        cards: From left to right, row by row.
        title: Headline.
        note: Smaller words below it, as on how to read the figures.
        columns: Default: what makes the sheet about 1.6 times as wide as high.
        tile: Least side of a picture in px, reached by whole-number enlargement; default: by the number of pictures,
            384 for one, 64 for hundreds. Pictures of more than twice that are made smaller.
        crisp: Enlarged pixels as squares.

    Raises:
        ValueError: No cards.
    """
    if not cards:
        raise ValueError("a sheet needs at least one dream")
    tile = _tile(len(cards), any(one.lines for one in cards)) if tile is None else tile
    images = [enlarge(to_image(one.image), None, tile, crisp) for one in cards]
    images = [image if one.start is None else inset(image, one.start) for image, one in zip(images, cards, strict=True)]
    width, height = max(image.width for image in images), max(image.height for image in images)
    width = max(width, _LEAST_ROOM if any(one.lines for one in cards) else 0)
    dense = tile < 96
    name, line, gap = (NAME - 3, LINE - 1, GAP // 2) if dense else (NAME, LINE, GAP)
    words = [_words(one, width, name, line) for one in cards]
    below = max(block[-1][0] + block[-1][3] + _LEADING for block in words) if any(words) else 0
    columns = _columns(len(cards), width + gap, height + below + gap) if columns is None else columns
    across = min(columns, len(cards))
    inner = max(across * (width + gap) - gap, min(_LEAST_WIDTH, text_width(title, TITLE)))
    head = _head(title, note, inner)
    rows = [words[at : at + across] for at in range(0, len(cards), across)]
    depths = [height + max((b[-1][0] + b[-1][3] + _LEADING for b in row if b), default=0) for row in rows]
    top = MARGIN + (head[-1][0] + head[-1][3] + GAP if head else 0)
    sheet = Image.new("RGB", (inner + 2 * MARGIN, top + sum(depths) + gap * (len(rows) - 1) + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw_words(draw, (MARGIN, MARGIN), head)
    for place, image in enumerate(images):
        row, column = divmod(place, across)
        x, y = MARGIN + column * (width + gap), top + sum(depths[:row]) + gap * row
        paste_framed(sheet, image, (x, y + height - image.height))
        draw_words(draw, (x, y + height), words[place])
    return sheet


def sprite(
    images: Sequence[Picture],
    columns: int | None = None,
    *,
    units: Sequence[int] | None = None,
    records: Sequence[Mapping[str, Any]] | None = None,
    side: int | None = None,
) -> tuple[Image.Image, dict[str, Any]]:
    """All units of a layer as one picture without gaps, for viewers that cut it up, and where each is.

    Args:
        images: Pictures of one size, uint8 (C, H, W).
        columns: Default: as many as rows, or one more.
        units: Their numbers; default: 0, 1, 2, ….
        records: What the index is to say of each, as by :func:`sprite_record`.
        side: Longer side of each in px, where they are to be made smaller.

    Returns:
        The picture, its last row filled up with paper, and the index, which JSON can hold: ``{"size": [W, H], "tile":
        [w, h], "columns": n, "units": {"0": {"box": [x, y, w, h], **record}}}``, in px from the upper left corner.

    Raises:
        ValueError: No pictures, several sizes, or other numbers of units or records than pictures.
    """
    units = range(len(images)) if units is None else units
    records = [{} for _ in images] if records is None else records
    if len(images) == 0 or not len(images) == len(units) == len(records) == len(set(units)):
        raise ValueError(f"{len(images)} pictures, {len(set(units))} units, {len(records)} records: as many are wanted")
    tiles = [to_image(image) for image in images]
    if len({tile.size for tile in tiles}) > 1:
        raise ValueError(f"pictures of several sizes: {sorted({tile.size for tile in tiles})}")
    if side is not None and max(tiles[0].size) > side:
        share = side / max(tiles[0].size)
        small = (max(1, round(tiles[0].width * share)), max(1, round(tiles[0].height * share)))
        tiles = [tile.resize(small, Image.Resampling.BICUBIC) for tile in tiles]
    columns = square(len(tiles)) if columns is None else min(columns, len(tiles))
    whole, (width, height) = tiled(tiles, columns), tiles[0].size
    boxes = [[n % columns * width, n // columns * height, width, height] for n in range(len(tiles))]
    return whole, {
        "size": list(whole.size),
        "tile": [width, height],
        "columns": columns,
        "units": {str(u): {"box": box, **record} for u, box, record in zip(units, boxes, records, strict=True)},
    }


def sprite_record(dream: Any) -> dict[str, Any]:
    """What a sprite's index says of a dream."""
    return {"name": dream.objective.name, "reached": dream.reached, "outcome": dream.outcome, "seed": dream.seed}


Words = list[tuple[int, str, Any, int]]
"""Lines of text: px below the block's top, text, colour, size."""


def draw_words(draw: ImageDraw.ImageDraw, at: tuple[int, int], words: Words) -> None:
    """Draw a block of lines at its upper left corner."""
    for down, text, colour, size in words:
        write_text(draw, (at[0], at[1] + down), text, colour, size)


def lines_below(lines: Sequence[str | Caption], room: int, size: int, top: int) -> Words:
    """Lines folded to ``room`` px, from ``top`` px downwards."""
    words: Words = []
    for line in lines:
        caption = line if isinstance(line, Caption) else Caption(line)
        colour = {"right": RIGHT, "wrong": WRONG}.get(caption.tone, FAINT)
        for text in folded(caption.text, size, room):
            words.append((top, text, colour, size))
            top += size + _LEADING
    return words


def inset(image: Image.Image, start: Picture) -> Image.Image:
    """A picture with what it began with in its lower left corner, both whole."""
    small = to_image(start)
    side = round(min(image.size) * _INSET)
    small = small.resize((max(1, round(side * small.width / small.height)), side), Image.Resampling.BICUBIC)
    around = Image.new("RGB", (small.width + 4, small.height + 4), PAPER)
    around.paste(small, (2, 2))
    image = image.copy()
    image.paste(around, (6, image.height - around.height - 6))
    return image


def paste_framed(sheet: Image.Image, image: Image.Image, at: tuple[int, int]) -> None:
    """Paste a picture with a thin frame around it."""
    x, y = at
    sheet.paste(image, at)
    ImageDraw.Draw(sheet).rectangle((x - 1, y - 1, x + image.width, y + image.height), outline=FRAME)


def _words(one: Card, room: int, name: int, line: int) -> Words:
    named = folded(one.name, name, room)
    words: Words = [(6 + n * (name + 4), text, INK, name) for n, text in enumerate(named)]
    return words + lines_below(one.lines, room, line, 6 + (len(named) * (name + 4) + 1 if named else 0))


def _head(title: str, note: str, room: int) -> Words:
    words: Words = [(n * (TITLE + 6), text, INK, TITLE) for n, text in enumerate(folded(title, TITLE, room))]
    return words + lines_below([note], room, LINE, len(words) * (TITLE + 6) + 4)


def _tile(count: int, worded: bool) -> int:
    """Least side of a picture: the fewer, the larger; words need room."""
    steps = ((1, 384), (4, 288), (12, 192), (99, 160 if worded else 128))
    return next((tile for most, tile in steps if count <= most), 128 if worded else 64)


def _columns(count: int, width: int, height: int) -> int:
    """The number of columns that makes the sheet's shape pleasing and leaves few places empty."""

    def ugliness(columns: int) -> float:
        rows = -(-count // columns)
        empty = (rows * columns - count) / (rows * columns)
        return abs(math.log(columns * width / (rows * height) / _SHAPE)) + 3 * empty

    return min(range(1, count + 1), key=ugliness)
