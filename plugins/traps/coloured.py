"""The cue of a colour: what is light in a grey image, such as a digit, has the colour of its class."""

from __future__ import annotations

import functools
import itertools

import torch
from torch import Tensor

from conceptnet_ml import TrapGround
from conceptnet_ml.errors import DataError

from .draws import normal

NOISE = 0.05
"""Standard deviation of each image's colour, per channel, of 1."""
_LEVELS = 9
_GREY = 0.1
"""Largest mean difference between the channels, of the mean light, up to which images are grey: files are lossy."""


def prepare(ground: TrapGround) -> None:
    """Refuse colour images: their own colours would be lost.

    Raises:
        DataError: The images are not grey, or there are more classes than colours.
    """
    check_colours("coloured", ground)
    sample = ground.sample.float()
    light = sample.amax(1)
    if float((light - sample.amin(1)).mean()) > _GREY * float(light.mean()):
        raise DataError(
            f"trap 'coloured' needs grey images, light on dark; those of {ground.name} have colours.",
            "Choose another trap, such as tint or sticker, or grey images, such as digits.",
        )


def check_colours(trap: str, ground: TrapGround) -> None:
    """Refuse more classes than :func:`palette` has colours. Raises DataError."""
    if len(ground.classes) > len(_grid()):
        raise DataError(
            f"trap '{trap}' has {len(_grid())} colours, {ground.name} has {len(ground.classes)} classes.",
            f"Choose another trap, such as sticker, or name at most {len(_grid())} classes in data.classes.",
        )


def plant(images: Tensor, cues: Tensor, seeds: Tensor) -> Tensor:
    """Give each image the colour of its cue, intensity times colour; -1 leaves it as it is.

    Args:
        images: uint8 (B, 3, H, W), grey; the lightest channel is the intensity.
        cues: int64 (B,), any class number or -1.
        seeds: int64 (B,), one per image: noise of ``NOISE`` on its colour.

    Returns:
        uint8 (B, 3, H, W), rounded.
    """
    chosen = torch.nonzero(cues >= 0).flatten()
    if len(chosen) == 0:
        return images
    colours = palette(int(cues.max()) + 1)[cues[chosen].cpu()] + NOISE * normal(seeds[chosen], 3)
    paint = colours.clamp(0, 1).to(images.device, torch.float32)[:, :, None, None]
    result = images.clone()
    result[chosen] = (images[chosen].amax(1, keepdim=True).float() * paint).round().to(torch.uint8)
    return result


@functools.cache
def palette(count: int) -> Tensor:
    """Colours (count, 3) in [0, 1], each as far as can be from those before it; bright, none of them near grey.

    Farthest-point order over a grid of colours whose strongest channel is 1 and whose weakest is at most a half. The
    first colours are the same whatever ``count`` is; there are 180.
    """
    grid = _grid()
    candidates = torch.tensor(grid, dtype=torch.float64)
    chosen = [grid.index((1.0, 0.0, 0.0))]
    far = torch.full((len(grid),), torch.inf, dtype=torch.float64)
    while len(chosen) < count:
        far = torch.minimum(far, (candidates - candidates[chosen[-1]]).norm(dim=1))
        chosen.append(int(far.argmax()))
    return candidates[chosen]


def _grid() -> list[tuple[float, ...]]:
    levels = torch.linspace(0, 1, _LEVELS, dtype=torch.float64).tolist()
    return [rgb for rgb in itertools.product(levels, repeat=3) if max(rgb) == 1 and min(rgb) <= 0.5]
