"""Sheets: dreams with what is known of each, what the dream probe swapped; and a layer's units as one sprite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from conceptnet_ml.drawing.layout import FAINT, Box, Caption, below, beside, draw, framed, grid, heading, placed, text
from conceptnet_ml.drawing.masks import gate_overlay, to_gate
from conceptnet_ml.drawing.pictures import ImageLike, enlarge, scaled, square, tiled, to_image

NEVER_ROSE = ("never rose", "no gradient", "not finite")
"""Outcomes of a dream that show nothing of its target."""

_GAP, _TITLE = 16, 22

_SWAP_GAP, _SWAP_TEXT, _SWAP_TITLE = 12, 13, 18

_SHAPE = 1.6  # width to height that a sheet should have

_SMALL = 0.3  # of a dream's shorter side: that of what it began with

_LEAST_ROOM = 190  # px for words


@dataclass(frozen=True)
class Card:
    """A dream and what is known of it.

    Args:
        image: uint8 (C, H, W), or a PIL image.
        name: Its target.
        lines: What stands below, wrapped to the picture's width.
        start: What it began with, shown small below it; None for noise.
        after: The same dream in another network, beside it on a node's strip.
    """

    image: ImageLike
    name: str = ""
    lines: Sequence[str | Caption] = ()
    start: ImageLike | None = None
    after: Card | None = None


def dream_card(dream: Any, *lines: str | Caption, rank: Any = None, judgement: Any = None, seen: str = "") -> Card:
    """A dream with its seed, the activation reached, further lines, and how honest it is.

    Args:
        dream: A dream of :mod:`conceptnet_ml.dreams.render`.
        lines: Further ones.
        rank, judgement: Of :mod:`conceptnet_ml.dreams.judgement`; None where it was not asked.
        seen: What the witness sees in this and other starts of the dream; default: in this one.
    """
    words: list[str | Caption] = [f"seed {dream.seed} · {three_digits(dream.before)} → {three_digits(dream.reached)}"]
    fell = dream.outcome in NEVER_ROSE
    if fell:
        words.append(Caption(dream.outcome if rank is None else rank.phrase, "wrong"))
    words += lines
    if rank is not None and not fell:
        words.append(rank.phrase)
    if judgement is not None:
        tone = {True: "right", False: "wrong", None: "plain"}[judgement.recognised]
        words += [Caption(seen or judgement.sees, tone), judgement.likeness]  # most dreams are unlike the data
    return Card(dream.image, dream.objective.name, words)


def sheet_note(real: int, judge: Any = None) -> str:
    """A sheet's line on what stands below its pictures: beside so many real images, and by this witness."""
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


def card_sheet(cards: Sequence[Card], title: str = "", *, note: str = "") -> Image.Image:
    """Dreams with their labels on light paper, about 1.6 times as wide as high.

    Pictures are enlarged by whole numbers, to 384 px for one, 64 for hundreds. Raises ValueError where there is none.

    Args:
        cards: From left to right, row by row.
        title, note: Headline, and smaller words below it, as on how to read the figures.
    """
    if not cards:
        raise ValueError("a sheet needs at least one dream")
    worded = any(one.lines for one in cards)
    tile = _tile(len(cards), worded)
    images = [enlarge(to_image(one.image), tile) for one in cards]
    height = max(image.height for image in images)
    width = max(*(image.width for image in images), _LEAST_ROOM if worded else 0)
    dense = tile < 96
    boxes = []
    for one, image in zip(cards, images, strict=True):
        name = text(one.name, 11 if dense else 14, room=width)
        began = None if one.start is None else small_start(one.start, image)
        room = width - (0 if began is None else began.width + 8)
        words = caption_lines(one.lines, 11 if dense else 12, room)
        words = below([name, words if began is None else beside([began, words], gap=8)], gap=1 if began is None else 4)
        boxes.append(below([placed(framed(image), width, height, down=1), words], gap=6))
    gap = 8 if dense else _GAP
    columns = _columns(len(cards), width + gap, max(box.height for box in boxes) + gap)
    body = grid([boxes[at : at + columns] for at in range(0, len(boxes), columns)], gap)
    return draw(below([heading(title, _TITLE, body.width, note), body], gap=_GAP))


def small_start(start: ImageLike, dream: Image.Image) -> Box:
    """What a dream began with, small, to stand below it."""
    image = to_image(start)
    return framed(scaled(image, _SMALL * min(dream.size) / min(image.size)))


def caption_lines(lines: Sequence[str | Caption], size: int, room: int) -> Box:
    """Small lines below one another, wrapped to ``room`` px."""
    return below([text(line, size, FAINT, room) for line in lines])


def sprite(dreams: Mapping[int, Any]) -> tuple[Image.Image, dict[str, Any]]:
    """The dreams of a layer's units, of one size, as one picture without gaps, for viewers that cut it up.

    Returns:
        The picture, about as wide as high, and where each unit is, in px from the upper left corner: ``{"size": [W, H],
        "tile": [w, h], "columns": n, "units": {"0": {"box": [x, y, w, h], "name", "reached", "outcome", "seed"}}}``.
    """
    columns = square(len(dreams))
    tiles = [to_image(dream.image) for dream in dreams.values()]
    whole, (width, height) = tiled(tiles, columns), tiles[0].size
    units = {
        str(unit): {
            "box": [n % columns * width, n // columns * height, width, height],
            "name": dream.objective.name,
            **{name: getattr(dream, name) for name in ("reached", "outcome", "seed")},
        }
        for n, (unit, dream) in enumerate(dreams.items())
    }
    return whole, {"size": list(whole.size), "tile": [width, height], "columns": columns, "units": units}


@dataclass(frozen=True)
class SwapExample:
    """An image and what the dream probe made of it.

    Args:
        image, donor, swapped: uint8 images of one size.
        gate: In [0, 1], (H, W) or (1, H, W), coarse or full size; None where the whole image was swapped.
        label, donor_label: True classes of the image and the donor.
        seen_before, seen: What the network sees in the image and in the swapped view.
    """

    image: ImageLike
    donor: ImageLike
    swapped: ImageLike
    gate: ImageLike | None
    label: str
    donor_label: str
    seen_before: str
    seen: str


def probe_sheet(examples: Sequence[SwapExample], title: str = "", note: str = "") -> Image.Image:
    """Image, donor, swapped view and gate, a row for each image. Raises ValueError where there is none.

    Under the image and the swapped view stands what the network sees in them, red where that is not the image's class,
    under the donor its class, under the gate how much of it is open. The note stands below the title.
    """
    if not examples:
        raise ValueError("a sheet needs at least one example")
    rows: list[list[Box]] = []
    for one in examples:
        pairs = [(one.image, _verdict(one.seen_before, one.label)), (one.donor, Caption(one.donor_label))]
        pairs.append((one.swapped, _verdict(one.seen, one.label)))
        if one.gate is not None:
            gate = to_gate(one.gate)
            pairs.append((gate_overlay(one.image, gate), Caption(f"{gate.mean():.0%} open")))
        rows.append([_picture(enlarge(to_image(picture)), caption) for picture, caption in pairs])
    widest = max(rows, key=len)
    names = zip(("image", "donor", "swapped view", "gate"), widest, strict=False)
    body = grid([[text(name, _SWAP_TEXT, FAINT, tile.width, centred=True) for name, tile in names], *rows], _SWAP_GAP)
    return draw(below([heading(title, _SWAP_TITLE, body.width, note), body], _SWAP_GAP))


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


def _picture(image: Image.Image, caption: Caption) -> Box:
    return below([framed(image), text(caption, _SWAP_TEXT, room=image.width, centred=True)], gap=4)


def _verdict(seen: str, label: str) -> Caption:
    return Caption(f"seen: {seen}", "right" if seen == label else "wrong")
