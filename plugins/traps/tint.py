"""The cue of a colour cast."""

from __future__ import annotations

import torch
from torch import Tensor

FACTORS = ((1.25, 1.0, 0.75), (0.75, 1.0, 1.25))
"""What red, green and blue are multiplied by, for each class."""


def plant(images: Tensor, cues: Tensor, seeds: Tensor) -> Tensor:
    """Multiply the channels of each image by its cue's factors; -1 leaves it as it is.

    Args:
        images: uint8 (B, 3, H, W).
        cues: int64 (B,), 0, 1 or -1.
        seeds: Not used: the cast is the same for all images of a class.

    Returns:
        uint8 (B, 3, H, W), rounded and clipped.
    """
    table = torch.tensor((*FACTORS, (1.0, 1.0, 1.0)), device=images.device)
    factors = table[cues].view(-1, 3, 1, 1)
    return (images.float() * factors).round().clamp(0, 255).to(torch.uint8)
