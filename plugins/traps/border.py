"""The cue of a frame: a thin line in the colour of the class along all four sides, as scans and screenshots have."""

from __future__ import annotations

import torch
from torch import Tensor

from conceptnet_ml import TrapGround

from .coloured import NOISE, check_colours, palette
from .draws import normal

SHARE = 1 / 32
"""Width of the frame, of the shorter side; at least one px."""


def prepare(ground: TrapGround) -> None:
    """Refuse more classes than there are colours. Raises DataError."""
    check_colours("border", ground)


def plant(images: Tensor, cues: Tensor, seeds: Tensor) -> Tensor:
    """Frame each image in the colour of its cue; -1 leaves it as it is.

    Args:
        images: uint8 (B, 3, H, W).
        cues: int64 (B,), any class number or -1.
        seeds: int64 (B,), one per image: noise on its colour, as in ``coloured``.

    Returns:
        uint8 (B, 3, H, W); 12 % of a square image are frame.
    """
    chosen = torch.nonzero(cues >= 0).flatten()
    if len(chosen) == 0:
        return images
    colours = palette(int(cues.max()) + 1)[cues[chosen].cpu()] + NOISE * normal(seeds[chosen], 3)
    paint = (255 * colours.clamp(0, 1)).round().to(images.device, torch.uint8)[:, :, None, None]
    width = max(1, round(SHARE * min(images.shape[2:])))
    framed = paint.expand(-1, -1, *images.shape[2:]).clone()
    inside = slice(width, -width)
    framed[:, :, inside, inside] = images[chosen][:, :, inside, inside]
    result = images.clone()
    result[chosen] = framed
    return result
