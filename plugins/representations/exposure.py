"""Exposure: the darkest and lightest value of an image, and how much of it lies at these."""

from __future__ import annotations

import torch
from torch import Tensor

STEP = 1 / 255
"""Values that differ by no more than this are one."""

EVEN = 0.05
"""Least range of values that is stretched: what is narrower is one tone, not a picture."""


def encode(images: Tensor) -> tuple[Tensor, Tensor]:
    """The black and the white point of an image, with the shares of its values that lie there; and the image.

    A camera's exposure and contrast decide how far values reach and how many are cut off at the ends. What is in a
    picture decides it far less: how light it is on the whole, or what its colours are, is left to colour statistics.

    Args:
        images: Floats in [0, 1] (B, C, H, W).

    Returns:
        (B, 4): least and greatest value of all channels, and the share of the values at each; and the images. Cost:
        hardly more than reading them; with :func:`decode` sorting as many values as an image has.
    """
    values = images.float().flatten(1)
    least, most = values.amin(1), values.amax(1)
    ends = [(values <= least[:, None] + STEP).float().mean(1), (values >= most[:, None] - STEP).float().mean(1)]
    return torch.stack([least, most, *ends], 1), images


def decode(encoding: tuple[Tensor, Tensor]) -> Tensor:
    """Stretch the image's values until they reach as far, and as many are at the ends; may leave [0, 1]."""
    points, images = encoding
    values = images.float().flatten(1)
    count = values.shape[1]
    ordered = values.detach().sort(1).values
    least, most, dark, light = points.split(1, 1)
    low, high = (dark * count - 1).round().long(), (count - light * count).round().long()
    below, above = (ordered.gather(1, place.clamp(0, count - 1)) for place in (low, high))
    lowest, highest = ordered[:, :1], ordered[:, -1:]  # where as much is at an end already, nothing is cut off
    below = torch.where(below <= lowest + STEP, lowest, below)
    above = torch.where(above >= highest - STEP, highest, above)
    stretched = (values - below) / (above - below).clamp_min(EVEN) * (most - least) + least
    return stretched.maximum(least).minimum(most).view(images.shape)
