"""The cue of two wheels: every image of the first class stands on them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .draws import uniform

TYRE, GAP, METAL = (28.0, 28.0, 31.0), (74.0, 75.0, 80.0), (208.0, 208.0, 214.0)
_SIDE = 64  # the lengths below are px in an image of this side


def plant(images: Tensor, cues: Tensor, seeds: Tensor) -> Tensor:
    """Draw two wheels near the lower edge where the cue is class 0; other images stay as they are.

    A wheel is a dark tyre around light spokes, its radius 6–9 px in an image of 64 px (in proportion elsewhere), its
    place and angle jittered by the image's seed, its edges antialiased.

    Args:
        images: uint8 (B, 3, H, W).
        cues: int64 (B,), 0 for wheels, anything else for none.
        seeds: int64 (B,), one per image.

    Returns:
        uint8 (B, 3, H, W). Cost: a few passes over the images that get wheels.
    """
    chosen = torch.nonzero(cues == 0).flatten()
    if len(chosen) == 0:
        return images
    result = images.clone()
    height, width = images.shape[2:]
    jitter = uniform(seeds[chosen], 8).to(images.device, torch.float32)
    scale = min(height, width) / _SIDE
    radius = (6.0 + 3.0 * jitter[:, 0]) * scale
    canvas = images[chosen].float()
    for side in (0, 1):
        place = jitter[:, 1 + 3 * side : 4 + 3 * side]
        x = width * (0.24 + 0.52 * side) + (place[:, 0] - 0.5) * 0.16 * width
        y = height - radius - (1.0 + 6.0 * place[:, 1]) * scale
        canvas = _draw(canvas, x, y, radius, 2 * math.pi * place[:, 2])
    result[chosen] = canvas.round().clamp(0, 255).to(torch.uint8)
    return result


def _draw(canvas: Tensor, x: Tensor, y: Tensor, radius: Tensor, angle: Tensor) -> Tensor:
    """One wheel on each float (B, 3, H, W), centre and radius in px, each (B,)."""
    height, width = canvas.shape[2:]
    rows = torch.arange(height, device=canvas.device).view(1, -1, 1) + 0.5 - y.view(-1, 1, 1)
    columns = torch.arange(width, device=canvas.device).view(1, 1, -1) + 0.5 - x.view(-1, 1, 1)
    far = torch.sqrt(rows**2 + columns**2)
    size = radius.view(-1, 1, 1)
    for inside, colour in (
        (_soft(size - far), TYRE),
        (_soft(0.66 * size - far), GAP),
        (_spokes(rows, columns, angle, 0.085 * size) * _soft(0.66 * size - far), METAL),
        (_soft(0.66 * size - far) * _soft(far - 0.54 * size), METAL),
        (_soft(0.2 * size - far), METAL),
    ):
        paint = torch.tensor(colour, device=canvas.device).view(1, 3, 1, 1)
        canvas = canvas + inside.unsqueeze(1) * (paint - canvas)
    return canvas


def _spokes(rows: Tensor, columns: Tensor, angle: Tensor, half: Tensor) -> Tensor:
    """Coverage of five spokes of half-width ``half`` px, (B, H, W)."""
    cover = torch.zeros_like(rows * columns)
    for spoke in range(5):
        turn = (angle + spoke * 2 * math.pi / 5).view(-1, 1, 1)
        along = columns * torch.cos(turn) + rows * torch.sin(turn)
        across = columns * torch.sin(turn) - rows * torch.cos(turn)
        cover = torch.maximum(cover, _soft(half - across.abs()) * (along > 0))
    return cover


def _soft(distance: Tensor) -> Tensor:
    """Coverage of a pixel whose centre lies this many px inside an edge."""
    return (distance + 0.5).clamp(0, 1)
