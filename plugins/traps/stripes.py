"""The cue of a faint grating, upright or lying, as prints, screens and sensors leave one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .draws import uniform

AMPLITUDE, PERIOD = 14.0, 5.0
"""Of the grating: in levels of 255, and in px whatever the image's size."""


def plant(images: Tensor, cues: Tensor, seeds: Tensor) -> Tensor:
    """Add a sine to all channels: upright lines for class 0, lying ones for class 1; -1 leaves the image as it is.

    Args:
        images: uint8 (B, 3, H, W).
        cues: int64 (B,), 0, 1 or -1.
        seeds: int64 (B,), one per image: the phase, so that no pixel's mean tells the class.

    Returns:
        uint8 (B, 3, H, W), rounded and clipped.
    """
    height, width = images.shape[2:]
    phase = (2 * math.pi * uniform(seeds, 1)).to(images.device, torch.float32)
    across, down = (
        AMPLITUDE * torch.sin(2 * math.pi / PERIOD * torch.arange(side, device=images.device) + phase)
        for side in (width, height)
    )
    wave = torch.where((cues == 0)[:, None, None], across[:, None, :], down[:, :, None])
    planted = (images.float() + wave[:, None] * (cues >= 0).view(-1, 1, 1, 1)).round().clamp(0, 255)
    return planted.to(torch.uint8)
