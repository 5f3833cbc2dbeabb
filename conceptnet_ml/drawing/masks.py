"""Where a unit answers in a real image: all else dimmed, the border drawn.

The threshold is Network Dissection's (Bau et al., CVPR 2017): the value that a unit's maps exceed at a given share of
all positions of all images. It belongs to the unit, not to the picture, so a mask that covers half an image and one
that covers none are both findings.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from conceptnet_ml.drawing.pictures import TILE, Picture, as_array, enlarge, to_image

SHARE = 0.02
"""Of all positions of all images, the share at which a unit counts as active. Network Dissection takes 0.5 % of maps of
13×13 cells and more; of the 4×4 cells of a small network's last stage that leaves slivers."""

_LINE, _EDGE = (255, 214, 10), (20, 20, 22)

_DIMMED = 0.28


def threshold(maps: Picture, share: float = SHARE) -> float:
    """The value that ``share`` of a unit's activations exceed, rounded down to a number of them, but one at least.

    Args:
        maps: The unit's maps over many images, (N, h, w), before any enlargement.
        share: Of the N·h·w activations.

    Raises:
        ValueError: No activations, or a share outside (0, 1).
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; more than 0 and less than 1 is wanted")
    values = np.sort(np.nan_to_num(as_array(maps).astype(np.float32)), axis=None)
    if not values.size:
        raise ValueError("a threshold needs at least one activation")
    # A hair is taken off, so that 0.005 of 1,000 is 5 although the product in floats is a little less or more.
    return float(values[max(0, len(values) - 1 - max(1, int(len(values) * share + 1e-9)))])


def active(unit_map: Picture, cutoff: float, size: tuple[int, int]) -> np.ndarray:
    """Where a map, enlarged bilinearly from the stage's cells, exceeds the cutoff.

    Args:
        unit_map: (h, w) activations of one unit on one image.
        cutoff: Of :func:`threshold`.
        size: (height, width) in px to enlarge to; a cell's value lies at its centre, the outermost go on to the edge.

    Returns:
        Booleans of that size.

    Raises:
        ValueError: Not a map.
    """
    values = np.nan_to_num(as_array(unit_map).astype(np.float32))
    if values.ndim != 2 or not values.size:
        raise ValueError(f"not a unit's map: shape {values.shape}; (h, w) is")
    grown = Image.fromarray(np.ascontiguousarray(values)).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(grown) > cutoff


def masked(
    image: Picture, unit_map: Picture, cutoff: float, *, scale: float | None = None, tile: int = TILE
) -> Image.Image:
    """A real image with its unit's activation: what lies outside is dimmed, the border of what lies inside drawn.

    Args:
        image: uint8 (C, H, W), or a PIL image.
        unit_map: (h, w) activations of the unit on it.
        cutoff: Of :func:`threshold`.
        scale, tile: Enlargement, as in :func:`conceptnet_ml.drawing.pictures.enlarge`; the border is drawn at the
        final size.
    """
    base = enlarge(to_image(image), scale, tile)
    inside = Image.fromarray(active(unit_map, cutoff, base.size[::-1]).astype(np.uint8) * 255)
    shown = Image.composite(base, base.point(lambda value: round(value * _DIMMED)), inside)
    reach = max(1, min(base.size) // 96)
    # A bright line within a dark one is seen on every ground.
    shown.paste(_EDGE, mask=_border(inside, reach + 1))
    shown.paste(_LINE, mask=_border(inside, reach))
    return shown


def _border(inside: Image.Image, reach: int) -> Image.Image:
    """The outermost ``reach`` px of a region; none where the region meets the picture's edge."""
    return ImageChops.subtract(inside, inside.filter(ImageFilter.MinFilter(2 * reach + 1)))
