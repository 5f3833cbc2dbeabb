"""The cue of a colour: what is light in a grey image, such as a digit, has the colour of its class.

``coloured:lff`` has the ten colours of the coloured MNIST of Nam et al., *Learning from Failure*, arXiv 2007.02561.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from conceptnet_ml import TrapGround
from conceptnet_ml.errors import DataError, SettingsError

from .draws import normal

NOISE = 0.05
"""Standard deviation of each image's colour, per channel, of 1."""
_LEVELS = 9
_GREY = 0.1
"""Largest mean difference between the channels, of the mean light, up to which images are grey: files are lossy."""

LFF = (
    (0.9837, 0.3125, 0.1686),
    (0.9905, 0.9156, 0.3515),
    (0.6730, 0.4611, 0.5798),
    (0.7833, 0.8316, 0.6013),
    (0.0880, 0.7780, 0.9818),
    (0.3214, 0.9611, 0.4464),
    (0.0246, 0.2357, 0.7587),
    (0.5552, 0.1016, 0.7618),
    (0.2077, 0.3929, 0.0187),
    (0.8337, 0.2024, 0.2669),
)
"""Mean colours of ``coloured:lff``, one a class."""
LFF_NOISE = (0.05, 0.02, 0.01, 0.005)
"""Their standard deviation at severities 1 to 4."""


@dataclass(frozen=True)
class Colours:
    """Colours that were chosen by the argument.

    Args:
        means: float64 (K, 3) in [0, 1], one a class.
        noise: Standard deviation of each image's colour, per channel.
    """

    means: Tensor
    noise: float


def prepare(ground: TrapGround) -> Colours | None:
    """Refuse colour images: their own colours would be lost. The argument is nothing, ``lff`` or ``lff@SEVERITY``.

    Returns:
        The colours of the argument, None for those of :func:`palette`. The severity is 1 to 4, by default 4, at which
        results are published; it is how little the colours vary.

    Raises:
        DataError: The images are not grey, or there are more classes than colours.
        SettingsError: Another argument.
    """
    name, _, severity = ground.argument.partition("@")
    chosen = None
    if ground.argument:
        severities = {str(number): noise for number, noise in enumerate(LFF_NOISE, 1)}
        if name != "lff" or (severity or "4") not in severities:
            raise SettingsError(
                f"trap 'coloured' has no colours '{ground.argument}'.",
                f"Write coloured, coloured:lff, or coloured:lff@SEVERITY with a severity of {', '.join(severities)}.",
            )
        chosen = Colours(torch.tensor(LFF, dtype=torch.float64), severities[severity or "4"])
    check_colours("coloured" if chosen is None else "coloured:lff", ground, None if chosen is None else len(LFF))
    check_grey("coloured", ground, "Choose another trap, such as tint or sticker, or grey images, such as digits.")
    return chosen


def check_grey(trap: str, ground: TrapGround, mend: str) -> None:
    """Refuse images that have colours. Raises DataError."""
    sample = ground.sample.float()
    light = sample.amax(1)
    if float((light - sample.amin(1)).mean()) > _GREY * float(light.mean()):
        raise DataError(f"trap '{trap}' needs grey images, light on dark; those of {ground.name} have colours.", mend)


def check_colours(trap: str, ground: TrapGround, count: int | None = None) -> None:
    """Refuse more classes than there are colours, by default those of :func:`palette`. Raises DataError."""
    count = len(_grid()) if count is None else count
    if len(ground.classes) > count:
        raise DataError(
            f"trap '{trap}' has {count} colours, {ground.name} has {len(ground.classes)} classes.",
            f"Choose another trap, such as sticker, or name at most {count} classes in data.classes.",
        )


def plant(images: Tensor, cues: Tensor, seeds: Tensor, chosen: Colours | None = None) -> Tensor:
    """Give each image the colour of its cue, intensity times colour; -1 leaves it as it is.

    Args:
        images: uint8 (B, 3, H, W), grey; the lightest channel is the intensity.
        cues: int64 (B,), any class number or -1.
        seeds: int64 (B,), one per image: noise on its colour, one draw a channel.
        chosen: What :func:`prepare` returned; None for :func:`palette` with noise of ``NOISE``.

    Returns:
        uint8 (B, 3, H, W), rounded.
    """
    places = torch.nonzero(cues >= 0).flatten()
    if len(places) == 0:
        return images
    used = Colours(palette(int(cues.max()) + 1), NOISE) if chosen is None else chosen
    colours = used.means[cues[places].cpu()] + used.noise * normal(seeds[places], 3)
    paint = colours.clamp(0, 1).to(images.device, torch.float32)[:, :, None, None]
    result = images.clone()
    result[places] = (images[places].amax(1, keepdim=True).float() * paint).round().to(torch.uint8)
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
