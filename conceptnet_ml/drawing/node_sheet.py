"""One picture per node of the concept graph: what a person puts on a slide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from conceptnet_ml.drawing.cards import MARGIN, Card, draw_words, inset, lines_below, paste_framed
from conceptnet_ml.drawing.masks import masked
from conceptnet_ml.drawing.pictures import PAPER, Picture, enlarge, to_image
from conceptnet_ml.drawing.sheets import FAINT, INK, RIGHT, WRONG, Caption
from conceptnet_ml.drawing.text import folded, shortened, text_width, write_text

_TITLE, _KIND, _HEAD, _TEXT = 28, 16, 15, 14

_GAP, _BLOCK, _TILE, _MOST, _ACROSS = 14, 26, 160, 320, 6


@dataclass(frozen=True)
class FromReal:
    """A dream that began at a real image.

    Args:
        caption: The real image's class.
        start, dream: uint8 (C, H, W) of one size.
    """

    caption: str | Caption
    start: Picture
    dream: Picture


@dataclass(frozen=True)
class Example:
    """A real image that answers strongly.

    Args:
        caption: Its class, as a rule.
        image: uint8 (C, H, W).
        unit_map: (h, w) activations on it; None shows it as it is.
    """

    caption: str | Caption
    image: Picture
    unit_map: Picture | None = None


def node_strip(
    label: str,
    kind: str = "",
    *,
    free: Card | None = None,
    from_real: Sequence[FromReal] = (),
    examples: Sequence[Example] = (),
    cutoff: float | None = None,
    notes: Sequence[str | Caption] = (),
    crisp: bool = False,
) -> Image.Image:
    """All pictures of one node: the free dream large, dreams from real images, the best real examples with masks.

    Args:
        label: The node's label.
        kind: Smaller words beside it: kind, stage, class.
        free: The dream from noise, with what is to stand below it.
        from_real: Dreams that began at a real image of each class.
        examples: Real images that answer most, best first.
        cutoff: The masks' threshold (:func:`conceptnet_ml.drawing.masks.threshold`); None shows no masks.
        notes: Lines at the foot, as on how honest the dreams are; tones as in :class:`Card`.
        crisp: Enlarged pixels as squares.

    Raises:
        ValueError: Nothing to show.
    """
    if free is None and not from_real and not examples:
        raise ValueError(f"node '{label}' has no pictures")
    shown = [(one.caption, _example(one, cutoff, crisp)) for one in examples]
    across = min(_ACROSS, max(len(from_real), len(shown), 1))
    tiles = _from_real(from_real, across, crisp)
    groups = [
        _group(heading, images, across)
        for heading, images in (
            ("Dreamed on a real image of each class", tiles),
            ("Real images that answer most" + (", and where" if cutoff is not None else ""), shown),
        )
        if images
    ]
    right = _stacked(groups)
    left = None if free is None else _free(free, 0 if right is None else right.height, crisp)
    parts = [part for part in (left, right) if part is not None]
    inner = max(sum(part.width for part in parts) + _BLOCK * (len(parts) - 1), min(520, text_width(label, _TITLE)))
    title = folded(label, _TITLE, inner)
    head = len(title) * (_TITLE + 8) + 10
    beside = text_width(title[-1], _TITLE) + 14 + text_width(kind, _KIND) <= inner
    head += 0 if beside else _KIND + 8
    foot = lines_below(notes, inner, _TEXT, 0)
    tall = max(part.height for part in parts)
    height = MARGIN + head + tall + (_GAP + foot[-1][0] + _TEXT + 4 if foot else 0) + MARGIN
    sheet = Image.new("RGB", (inner + 2 * MARGIN, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for n, line in enumerate(title):
        write_text(draw, (MARGIN, MARGIN + n * (_TITLE + 8)), line, INK, _TITLE)
    last = MARGIN + (len(title) - 1) * (_TITLE + 8)
    at = (MARGIN + text_width(title[-1], _TITLE) + 14, last + _TITLE - _KIND) if beside else (MARGIN, last + _TITLE + 8)
    write_text(draw, at, shortened(kind, _KIND, inner), FAINT, _KIND)
    x = MARGIN
    for part in parts:
        sheet.paste(part, (x, MARGIN + head))
        x += part.width + _BLOCK
    draw_words(draw, (MARGIN, MARGIN + head + tall + _GAP), foot)
    return sheet


def _from_real(dreams: Sequence[FromReal], across: int, crisp: bool) -> list[tuple[str | Caption, Image.Image]]:
    """Each start beside its dream where a row has room for all, else small within it."""
    if 2 * len(dreams) > across:
        return [(one.caption, inset(_enlarged(one.dream, crisp), one.start)) for one in dreams]
    tiles: list[tuple[str | Caption, Image.Image]] = []
    for one in dreams:
        tiles += [(one.caption, _enlarged(one.start, crisp)), ("dreamed on", _enlarged(one.dream, crisp))]
    return tiles


def _example(one: Example, cutoff: float | None, crisp: bool) -> Image.Image:
    base = _enlarged(one.image, crisp)
    return base if one.unit_map is None or cutoff is None else masked(base, one.unit_map, cutoff, scale=1)


def _enlarged(image: Picture, crisp: bool) -> Image.Image:
    shown = enlarge(to_image(image), None, _TILE, crisp)
    return enlarge(shown, min(1.0, _MOST / min(shown.size)), _TILE)


def _free(free: Card, height: int, crisp: bool) -> Image.Image:
    """The free dream as large as its neighbours are high, by a whole number where it is enlarged."""
    image = to_image(free.image)
    side = min(image.size)
    room = max(2 * _TILE, height - _HEAD - 12 - (len(free.lines) * (_TEXT + 5) + 8 if free.lines else 0))
    image = enlarge(image, room // side or room / side, _TILE, crisp)
    words = lines_below(free.lines, image.width, _TEXT, 8)
    below = words[-1][0] + _TEXT + 4 if words else 0
    panel, draw = _panel("Free dream", image.width, image.height + below)
    paste_framed(panel, image, (1, _HEAD + 12))
    draw_words(draw, (1, _HEAD + 12 + image.height), words)
    return panel


def _group(heading: str, images: Sequence[tuple[str | Caption, Image.Image]], across: int) -> Image.Image:
    """Pictures in rows of ``across``, each with its caption."""
    width, height = max(image.width for _, image in images), max(image.height for _, image in images)
    line = height + _TEXT + 12
    columns, rows = min(across, len(images)), -(-len(images) // across)
    panel, draw = _panel(heading, columns * (width + _GAP) - _GAP, rows * (line + 6) - 6)
    for place, (caption, image) in enumerate(images):
        row, column = divmod(place, across)
        x, y = 1 + column * (width + _GAP), _HEAD + 12 + row * (line + 6)
        paste_framed(panel, image, (x + (width - image.width) // 2, y + (height - image.height) // 2))
        text = caption if isinstance(caption, Caption) else Caption(caption)
        colour = {"right": RIGHT, "wrong": WRONG}.get(text.tone, INK)
        write_text(draw, (x, y + height + 6), shortened(text.text, _TEXT, width), colour, _TEXT)
    return panel


def _panel(heading: str, width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Paper for pictures below a heading, with a px on either side for their frames."""
    panel = Image.new("RGB", (max(width, text_width(heading, _HEAD)) + 2, _HEAD + 12 + height + 1), PAPER)
    draw = ImageDraw.Draw(panel)
    write_text(draw, (1, 0), heading, FAINT, _HEAD)
    return panel, draw


def _stacked(panels: Sequence[Image.Image]) -> Image.Image | None:
    if not panels:
        return None
    height = sum(panel.height for panel in panels) + _BLOCK * (len(panels) - 1)
    stack = Image.new("RGB", (max(panel.width for panel in panels), height), PAPER)
    y = 0
    for panel in panels:
        stack.paste(panel, (0, y))
        y += panel.height + _BLOCK
    return stack
