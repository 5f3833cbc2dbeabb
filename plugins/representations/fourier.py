"""Fourier amplitude: how much of an image's light is in coarse, middling and fine detail, ring by ring."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

BANDS = 8
"""Rings of spatial frequency between the image's own size and two pixels, each as wide as the next on a log scale."""
FLOOR = 1e-3
"""Added to a ring's root mean square amplitude (of values in [0, 1]), so that a flat image has a finite logarithm."""
LOUDEST = 2.0
"""A ring is amplified or damped by at most e to this power: past that it is noise and rounding that is amplified."""


def encode(images: Tensor) -> tuple[Tensor, tuple[Tensor, int]]:
    """Split an image into how strong each ring of frequencies is and everything else.

    The mean colour is in no ring, and a ring's strength is taken over R, G and B together and changed in them alike:
    colour is left to the colour statistics. Phases and the ratios within a ring stay (swapping amplitudes
    between images follows Yang and Soatto, arXiv 2004.05498; rings in place of single frequencies, so that no object is
    copied with them). Cost: one Fourier transform an image, another one with :func:`decode`.

    Args:
        images: Floats in [0, 1] (B, 3, H, W).

    Returns:
        (B, 8): the logarithm of each ring's strength, its root mean square amplitude; and the spectrum with the image's
        width.
    """
    height, width = images.shape[-2:]
    spectrum = torch.fft.rfft2(images.float(), norm="ortho")
    return _strengths(spectrum, height, width), (spectrum, width)


def decode(encoding: tuple[Tensor, tuple[Tensor, int]]) -> Tensor:
    """Amplify or damp each ring of the image until it is as strong as wanted; may leave [0, 1]."""
    wanted, (spectrum, width) = encoding
    height = spectrum.shape[-2]
    rings, _ = _rings(height, width, spectrum.device)
    gain = (wanted - _strengths(spectrum, height, width)).clamp(-LOUDEST, LOUDEST).exp()
    factor = 1 + ((gain - 1) @ rings.flatten(1)).view(len(spectrum), 1, *rings.shape[1:])
    return torch.fft.irfft2(spectrum * factor, s=(height, width), norm="ortho")


def _strengths(spectrum: Tensor, height: int, width: int) -> Tensor:
    rings, twice = _rings(height, width, spectrum.device)
    power = (spectrum.real**2 + spectrum.imag**2).sum(1).flatten(1) * twice
    energy = power @ rings.flatten(1).T / (spectrum.shape[1] * height * width)
    return (energy + FLOOR**2).log() / 2


@lru_cache(maxsize=16)
def _rings(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(8, H, W // 2 + 1): each frequency's share in each ring, none of the mean's; and how often each frequency counts
    in the half spectrum of a real image, flattened."""
    down = torch.fft.fftfreq(height)[:, None]
    across = torch.fft.rfftfreq(width)[None]
    radius = (down**2 + across**2).sqrt()
    lowest, highest = 1 / max(height, width), 0.5
    place = (radius.clamp_min(1e-9) / lowest).log() / torch.tensor(highest / lowest).log() * BANDS
    number = place.floor().clamp(0, BANDS - 1).long()
    rings = torch.nn.functional.one_hot(number, BANDS).permute(2, 0, 1).float()
    rings[:, 0, 0] = 0
    twice = torch.full((height, width // 2 + 1), 2.0)
    twice[:, 0] = 1
    if width % 2 == 0:
        twice[:, -1] = 1
    return rings.to(device), twice.flatten().to(device)
