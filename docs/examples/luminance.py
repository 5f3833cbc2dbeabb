"""A representation: how bright an image is and how strong its light and shadow are, exchanged whole.

It pays where a class is told by its exposure: one class photographed at night, or by another camera. The built-in
``colour`` exchanges twelve numbers an image; this exchanges two and leaves every hue alone, so more is left to learn.
"""

from __future__ import annotations

import torch
from torch import Tensor

from conceptnet_ml import Representation, hookimpl

SHARES = (0.299, 0.587, 0.114)
"""Red, green and blue in the luminance Y, as in ITU-R BT.601."""
FLOOR = 1e-3
"""Least spread that luminance is divided by, so that a one-coloured image can be encoded."""


def encode(images: Tensor, where: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Split images (B, 3, H, W) into (B, 2), mean and spread of Y, and (B, 4, H, W), Y without them and RGB − Y.

    ``where``, (B, 1, H, W) in [0, 1], says which places count; all do by default. Cost: a few passes over the images.
    """
    light = (images * images.new_tensor(SHARES).view(1, 3, 1, 1)).sum(1, keepdim=True)
    weights = torch.ones_like(light) if where is None else where + 1e-6
    weights = weights / weights.sum((2, 3), keepdim=True)
    mean = (light * weights).sum((2, 3), keepdim=True)
    spread = ((light - mean).square() * weights).sum((2, 3), keepdim=True).add(FLOOR**2).sqrt()
    rest = torch.cat([(light - mean) / spread, images - light], 1)
    return torch.cat([mean, spread], 1).flatten(1), rest


def decode(encoding: tuple[Tensor, Tensor]) -> Tensor:
    """Images with these statistics; may leave [0, 1]."""
    statistics, rest = encoding
    mean, spread = statistics[:, :1, None, None], statistics[:, 1:, None, None]
    return rest[:, 1:] + mean + spread * rest[:, :1]


@hookimpl
def conceptnet_representations() -> list[Representation]:
    """Tried before the built-in ones: it exchanges the least."""
    return [
        Representation(
            name="luminance",
            api="1",
            encode=encode,
            decode=decode,
            gate="whole",
            cost=0,
            regional=True,
            summary="mean and spread of luminance, exchanged whole",
        )
    ]
