"""A sheet of what the dream probe swapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from conceptnet_ml.drawing.layout import FAINT, Box, Caption, below, draw, framed, grid, heading, text
from conceptnet_ml.drawing.masks import gate_overlay, to_gate
from conceptnet_ml.drawing.pictures import ImageLike, enlarge, to_image

_GAP, _TEXT, _TITLE = 12, 13, 18


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


def probe_sheet(examples: Sequence[SwapExample], title: str = "") -> Image.Image:
    """Image, donor, swapped view and gate, a row for each image. Raises ValueError where there is none.

    Under the image and the swapped view stands what the network sees in them, red where that is not the image's class,
    under the donor its class, under the gate how much of it is open.
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
        rows.append([_tile(enlarge(to_image(picture)), caption) for picture, caption in pairs])
    widest = max(rows, key=len)
    names = zip(("image", "donor", "swapped view", "gate"), widest, strict=False)
    body = grid([[text(name, _TEXT, FAINT, tile.width, centred=True) for name, tile in names], *rows], _GAP)
    return draw(below([heading(title, _TITLE, body.width), body], _GAP))


def _tile(image: Image.Image, caption: Caption) -> Box:
    return below([framed(image), text(caption, _TEXT, room=image.width, centred=True)], gap=4)


def _verdict(seen: str, label: str) -> Caption:
    return Caption(f"seen: {seen}", "right" if seen == label else "wrong")
