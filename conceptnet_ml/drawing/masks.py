"""What is laid over an image: where a unit answers, all else dimmed and the border drawn; where a gate is open.

The threshold is Network Dissection's (Bau et al., CVPR 2017): the value that a unit's maps exceed at a given share of
all positions of all images. It belongs to the unit, not to the picture, so a mask that covers half an image and one
that covers none are both findings.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from conceptnet_ml.drawing.pictures import ImageLike, as_array, enlarge, to_ground

SHARE = 0.02
"""Of all positions of all images, the share at which a unit counts as active. Network Dissection takes 0.5 % of maps of
13×13 cells and more; of the 4×4 cells of a small network's last stage that leaves slivers."""

_LINE, _EDGE = (255, 214, 10), (20, 20, 22)

_DIMMED = 0.4

_NEAR = 60  # a JPEG's line is not quite the line's colour

_HALF, _HEAT = (190, 30, 40), ((0.0, (60, 20, 110)), (0.5, (225, 70, 60)), (1.0, (255, 225, 80)))


def threshold(maps: ImageLike) -> float:
    """The value that :data:`SHARE` of a unit's activations on many images exceed, but one of them at least.

    Args:
        maps: (N, h, w), before any enlargement.
    """
    values = np.sort(np.nan_to_num(as_array(maps).astype(np.float32)), axis=None)
    # 1e-9 is added so that a share of 1,000 that is whole is so although the product in floats is a little less.
    return float(values[max(0, len(values) - 1 - max(1, int(len(values) * SHARE + 1e-9)))])


def active(unit_map: ImageLike, cutoff: float, size: tuple[int, int]) -> np.ndarray:
    """Where a unit's map (h, w), enlarged bilinearly to (height, width) px, exceeds the cutoff: booleans of that size.

    A cell's value lies at its centre, the outermost go on to the edge.
    """
    values = np.nan_to_num(as_array(unit_map).astype(np.float32))
    grown = Image.fromarray(np.ascontiguousarray(values)).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(grown) > cutoff


def masked(image: Image.Image, unit_map: ImageLike, cutoff: float) -> Image.Image:
    """A real image, as large as it is shown, under its unit's activations (h, w): what lies below the cutoff is dimmed,
    the border of what lies above it drawn."""
    inside = Image.fromarray(active(unit_map, cutoff, image.size[::-1]).astype(np.uint8) * 255)
    shown = Image.composite(image, image.point(lambda value: round(value * _DIMMED)), inside)
    reach = max(1, min(image.size) // 96)
    # A bright line within a dark one is seen on every ground.
    shown.paste(_EDGE, mask=_border(inside, reach + 1))
    shown.paste(_LINE, mask=_border(inside, reach))
    return shown


def crop_active(image: Image.Image) -> Image.Image:
    """Of a picture that :func:`masked` drew, the square around what is within its border, at least half as wide as the
    picture, for small places; the picture itself where it has no border."""
    line = np.abs(np.asarray(image.convert("RGB"), dtype=np.int16) - _LINE).max(-1) < _NEAR
    if not line.any():
        return image
    side = min(image.size)
    span = [(int(places.min()), int(places.max()) + 1) for places in reversed(np.nonzero(line))]
    size = min(side, max(side // 2, *(high - low for low, high in span)))
    x, y = (
        min(max(0, (low + high - size) // 2), whole - size) for (low, high), whole in zip(span, image.size, strict=True)
    )
    return image.crop((x, y, x + size, y + size))


def gate_overlay(image: ImageLike, gate: ImageLike) -> Image.Image:
    """An image, enlarged, with a gate (:func:`to_gate`) laid over it: closed parts faded, open parts glowing, the 0.5
    line drawn."""
    base = enlarge(to_ground(image))
    soft = Image.fromarray((to_gate(gate) * 255).round().astype(np.uint8)).resize(base.size, Image.Resampling.BILINEAR)
    values = np.asarray(soft, dtype=np.float32) / 255
    stops, colours = [stop for stop, _ in _HEAT], np.array([colour for _, colour in _HEAT], dtype=np.float32)
    heat = np.stack([np.interp(values, stops, colours[:, c]) for c in range(3)], axis=-1)
    grey = np.asarray(base.convert("L"), dtype=np.float32)[..., None]
    faded = 0.55 * grey + 0.45 * 235
    lit = 0.62 * np.asarray(base, dtype=np.float32) + 0.38 * heat
    weight = values[..., None]
    blend = Image.fromarray(((1 - weight) * faded + weight * lit).round().astype(np.uint8))
    blend.paste(_HALF, mask=_border(soft.point(lambda value: 255 if value >= 128 else 0), 1))
    return blend


def to_gate(gate: ImageLike) -> np.ndarray:
    """A gate, (H, W) or (1, H, W) in [0, 1] or uint8 in 0..255, of any size, as float32 (H, W) in [0, 1].

    Raises:
        ValueError: Of another shape.
    """
    array = as_array(gate)
    array = array.astype(np.float32) / (255 if array.dtype == np.uint8 else 1)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"not a gate: shape {array.shape}; (H, W) or (1, H, W) is")
    return np.clip(np.nan_to_num(array), 0, 1)


def _border(inside: Image.Image, reach: int) -> Image.Image:
    """The outermost ``reach`` px of a region; none where the region meets the picture's edge."""
    return ImageChops.subtract(inside, inside.filter(ImageFilter.MinFilter(2 * reach + 1)))
