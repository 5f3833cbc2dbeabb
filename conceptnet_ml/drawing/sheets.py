"""Pictures to look at: contact sheets of images, donors, swapped views, gates and dreams.

Takes uint8 images as tensors or arrays, (H, W), (H, W, 3) or (3, H, W), or PIL images; draws with Pillow alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from conceptnet_ml.drawing.pictures import PAPER, TILE, Picture, as_array, enlarge, to_image
from conceptnet_ml.drawing.text import folded, shortened, text_width, write_text

INK, FAINT, RIGHT, WRONG = (34, 34, 38), (118, 118, 124), (22, 110, 60), (176, 36, 36)

FRAME = (214, 214, 210)

_MARGIN, _GAP, _TEXT, _HEAD, _TITLE = 24, 12, 13, 13, 18

_HEAT = ((0.0, (60, 20, 110)), (0.5, (225, 70, 60)), (1.0, (255, 225, 80)))


@dataclass(frozen=True)
class Caption:
    """Words under a tile; ``tone`` is ``plain``, ``right`` (green) or ``wrong`` (red)."""

    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class SheetRow:
    """A row of a sheet.

    Args:
        images: (caption, image) from left to right; a caption is a string or a :class:`Caption`.
        title: Words in front of the row.
    """

    images: Sequence[tuple[str | Caption, Picture]]
    title: str = ""


@dataclass
class _Layout:
    """Where things go on a sheet, in px."""

    widths: list[int]
    heights: list[int]
    label: int
    caption: int
    head: int
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.left = _MARGIN + (self.label + _GAP if self.label else 0)

    def size(self) -> tuple[int, int]:
        width = self.left + sum(self.widths) + _GAP * max(0, len(self.widths) - 1) + _MARGIN
        height = _MARGIN + self.head + sum(h + self.caption + _GAP for h in self.heights) - _GAP + _MARGIN
        return width, height


def contact_sheet(
    rows: Sequence[SheetRow],
    title: str = "",
    *,
    columns: Sequence[str] = (),
    scale: float | None = None,
    tile: int = TILE,
) -> Image.Image:
    """Images in rows on light paper, each with a caption.

    Args:
        rows: What to show; rows may differ in length.
        title: Headline, folded where it is longer than the sheet is wide.
        columns: Headings above the columns.
        scale: Enlargement of every image; default: the least whole multiple that makes the shorter side ``tile`` px; a
            shorter side of more than twice that is made twice that.
        tile: That size in px.

    Returns:
        An RGB image.

    Raises:
        ValueError: No rows, or something that is not an image.
    """
    if not any(row.images for row in rows):
        raise ValueError("a contact sheet needs at least one image")
    tiles = [[enlarge(to_image(picture), scale, tile) for _, picture in row.images] for row in rows]
    across = max(len(row) for row in tiles)
    widths = [max((row[i].width for row in tiles if i < len(row)), default=tile) for i in range(across)]
    captioned = any(_caption(caption).text for row in rows for caption, _ in row.images)
    label = min(180, max(text_width(line, _HEAD) for row in rows for line in row.title.split("\n")))
    layout = _Layout(
        widths=widths,
        heights=[max((image.height for image in row), default=0) for row in tiles],
        label=label,
        caption=_TEXT + 9 if captioned else 0,
        head=0,
    )
    room = layout.size()[0] - 2 * _MARGIN
    headline = folded(title, _TITLE, room)
    layout.head = (len(headline) * (_TITLE + 6) + 12 if headline else 0) + (_HEAD + 10 if columns else 0)
    sheet = Image.new("RGB", layout.size(), PAPER)
    draw = ImageDraw.Draw(sheet)
    y = _MARGIN
    for line in headline:
        write_text(draw, (_MARGIN, y), line, INK, _TITLE)
        y += _TITLE + 6
    if columns:
        y = _MARGIN + layout.head - _HEAD - 10
        for x, width, name in zip(_lefts(layout), widths, columns, strict=False):
            write_text(draw, (x + width / 2, y), shortened(name, _HEAD, width + _GAP - 2), FAINT, _HEAD, centred=True)
    y = _MARGIN + layout.head
    for row, images, height in zip(rows, tiles, layout.heights, strict=True):
        _draw_row(draw, sheet, row, images, layout, y, height)
        y += height + layout.caption + _GAP
    return sheet


@dataclass(frozen=True)
class SwapExample:
    """An image and what the dream probe made of it, a row of :func:`probe_sheet`.

    Args:
        image, donor, swapped: uint8 images of one size.
        gate: In [0, 1], (H, W) or (1, H, W), coarse or full size; None where the whole image was swapped.
        label, donor_label: True classes of the image and the donor.
        seen_before, seen: What the network sees in the image and in the swapped view.
    """

    image: Picture
    donor: Picture
    swapped: Picture
    gate: Picture | None
    label: str
    donor_label: str
    seen_before: str
    seen: str


def probe_sheet(examples: Sequence[SwapExample], title: str = "") -> Image.Image:
    """What the dream probe did: image, donor, swapped view, gate, a row for each image.

    Under the image and the swapped view stands what the network sees in them, red where that is not the image's class,
    under the donor its class, under the gate how much of it is open.
    """
    rows = []
    for one in examples:
        tiles: list[tuple[Caption, Picture]] = [
            (_verdict(one.seen_before, one.label), one.image),
            (Caption(one.donor_label), one.donor),
            (_verdict(one.seen, one.label), one.swapped),
        ]
        if one.gate is not None:
            gate = _gate(one.gate)
            tiles.append((Caption(f"{gate.mean():.0%} open"), gate_overlay(one.image, gate)))
        rows.append(SheetRow(tiles))
    return contact_sheet(rows, title, columns=("image", "donor", "swapped view", "gate"))


def gate_overlay(image: Picture, gate: Picture, scale: float | None = None) -> Image.Image:
    """An image with a gate laid over it: closed parts faded, open parts glowing, the 0.5 line drawn.

    Args:
        image: uint8 image.
        gate: (H, W) or (1, H, W) in [0, 1], or uint8 in 0..255, of any size; enlarged bilinearly to the image's.
        scale: Enlargement; default: as in :func:`contact_sheet`.
    """
    base = enlarge(to_image(image), scale, TILE)
    soft = Image.fromarray((_gate(gate) * 255).round().astype(np.uint8)).resize(base.size, Image.Resampling.BILINEAR)
    values = np.asarray(soft, dtype=np.float32) / 255
    stops, colours = [stop for stop, _ in _HEAT], np.array([colour for _, colour in _HEAT], dtype=np.float32)
    heat = np.stack([np.interp(values, stops, colours[:, c]) for c in range(3)], axis=-1)
    grey = np.asarray(base.convert("L"), dtype=np.float32)[..., None]
    faded = 0.55 * grey + 0.45 * 235
    lit = 0.62 * np.asarray(base, dtype=np.float32) + 0.38 * heat
    weight = values[..., None]
    blend = Image.fromarray(((1 - weight) * faded + weight * lit).round().astype(np.uint8))
    open_ = soft.point(lambda value: 255 if value >= 128 else 0)
    border = ImageChops.subtract(open_, open_.filter(ImageFilter.MinFilter(3)))
    blend.paste((190, 30, 40), mask=border)
    return blend


def _gate(gate: Picture) -> np.ndarray:
    array = as_array(gate)
    array = array.astype(np.float32) / (255 if array.dtype == np.uint8 else 1)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"not a gate: shape {array.shape}; (H, W) or (1, H, W) is")
    return np.clip(np.nan_to_num(array), 0, 1)


def _draw_row(
    draw: ImageDraw.ImageDraw,
    sheet: Image.Image,
    row: SheetRow,
    images: Sequence[Image.Image],
    layout: _Layout,
    y: int,
    height: int,
) -> None:
    lines = [line for part in row.title.split("\n") for line in folded(part, _HEAD, layout.label)]
    top = y + (height - len(lines) * (_HEAD + 5)) / 2
    for i, line in enumerate(lines):
        write_text(draw, (_MARGIN, top + i * (_HEAD + 5)), line, INK, _HEAD)
    for x, width, image, (caption, _) in zip(_lefts(layout), layout.widths, images, row.images, strict=False):
        left, up = x + (width - image.width) // 2, y + (height - image.height) // 2
        sheet.paste(image, (left, up))
        draw.rectangle((left - 1, up - 1, left + image.width, up + image.height), outline=FRAME)
        words = _caption(caption)
        colour = {"right": RIGHT, "wrong": WRONG}.get(words.tone, INK)
        text = shortened(words.text, _TEXT, width + _GAP - 2)
        write_text(draw, (x + width / 2, y + height + 4), text, colour, _TEXT, centred=True)


def _lefts(layout: _Layout) -> list[int]:
    return [layout.left + sum(layout.widths[:i]) + _GAP * i for i in range(len(layout.widths))]


def _verdict(seen: str, label: str) -> Caption:
    return Caption(f"seen: {seen}", "right" if seen == label else "wrong")


def _caption(caption: str | Caption) -> Caption:
    return caption if isinstance(caption, Caption) else Caption(caption)
