"""Spatial frequencies, exchanged in cells of fineness and direction: their amplitudes alone, or the waves as such."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

RINGS = 6
"""Of fineness, between the image's own size and two pixels, each as wide as the next on a log scale."""
SECTORS = 6
"""Of direction: the first holds lines that lie, the one half way round lines that stand upright."""
FLOOR = 3e-4
"""Added to an amplitude (of values in [0, 1], orthonormal transform): what is fainter is rounding, not amplified."""


def encode(images: Tensor) -> tuple[Tensor, tuple[Tensor, int]]:
    """Split an image into the amplitudes of its frequencies and everything else.

    Phases, and with them where things are, stay (swapping amplitudes between images follows Yang and Soatto, arXiv
    2004.05498). Each frequency takes over its own amplitude: if a cell were made as strong as another image's by one
    factor, a grating in it would still stand out from its neighbours. Cost: one Fourier transform an image, another
    one with :func:`decode`.

    Args:
        images: Floats in [0, 1] (B, 3, H, W).

    Returns:
        (B, 3, H, W // 2 + 1) amplitudes; and the spectrum with the image's width.
    """
    spectrum = torch.fft.rfft2(images.float(), norm="ortho")
    return spectrum.abs(), (spectrum, images.shape[-1])


def decode(encoding: tuple[Tensor, tuple[Tensor, int]]) -> Tensor:
    """Amplify or damp each frequency of the image until it is as strong as wanted; may leave [0, 1]."""
    wanted, (spectrum, width) = encoding
    gain = (wanted + FLOOR) / (spectrum.abs() + FLOOR)
    return torch.fft.irfft2(spectrum * gain, s=(spectrum.shape[-2], width), norm="ortho")


def masks(encoding: tuple[Tensor, tuple[Tensor, int]]) -> Tensor:
    """The frequencies of each cell, (36, 1, H, W // 2 + 1), 0 or 1, ring after ring.

    The mean colour is in no cell: it is left to the colour statistics.
    """
    amplitudes, (_, width) = encoding
    return _cells(amplitudes.shape[-2], width, amplitudes.device)


def encode_waves(images: Tensor) -> tuple[Tensor, int]:
    """Split an image into its waves: amplitudes and phases, so nothing is left but what no cell holds, the mean colour.

    An exchange of amplitudes leaves a grating whose period does not fit the image in the phases of its neighbours
    (docs/decisions/0040-waves.md). Cost: as :func:`encode`.

    Args:
        images: Floats in [0, 1] (B, 3, H, W).

    Returns:
        (B, 3, H, W // 2 + 1, 2) real and imaginary parts, and the image's width.
    """
    return torch.view_as_real(torch.fft.rfft2(images.float(), norm="ortho")), images.shape[-1]


def decode_waves(encoding: tuple[Tensor, int]) -> Tensor:
    """Images of these waves; may leave [0, 1]."""
    waves, width = encoding
    return torch.fft.irfft2(torch.view_as_complex(waves.contiguous()), s=(waves.shape[-3], width), norm="ortho")


def wave_masks(encoding: tuple[Tensor, int]) -> Tensor:
    """As :func:`masks`, (36, 1, H, W // 2 + 1, 1)."""
    waves, width = encoding
    return _cells(waves.shape[-3], width, waves.device)[..., None]


def measure_waves(images: Tensor, donors: Tensor) -> Tensor:
    """Images with all waves of the donors, moved by half an image down and across; (B, 3, H, W).

    A grating has no place: moved, it tells its class as before. A frame, a word and an object have one, so a whole swap
    is judged by moved waves, and what does not tell the class like this is not examined further
    (docs/decisions/0040-waves.md).
    """
    moved = donors.roll((donors.shape[-2] // 2, donors.shape[-1] // 2), (-2, -1))
    return moved - moved.mean((2, 3), keepdim=True) + images.mean((2, 3), keepdim=True)


@lru_cache(maxsize=16)
def _cells(height: int, width: int, device: torch.device) -> Tensor:
    down = torch.fft.fftfreq(height)[:, None].expand(height, width // 2 + 1)
    across = torch.fft.rfftfreq(width)[None].expand(height, width // 2 + 1)
    lowest, highest = 1 / max(height, width), 0.5
    radius = (down**2 + across**2).sqrt().clamp_min(1e-9)
    fineness = (radius / lowest).log() / math.log(highest / lowest) * RINGS
    turns = (torch.atan2(down, across) + math.pi / 2) / math.pi + 0.5 / SECTORS  # a sector is centred on its direction
    direction = (turns * SECTORS).floor().long() % SECTORS
    cell = fineness.floor().clamp(0, RINGS - 1).long() * SECTORS + direction
    inside = functional.one_hot(cell, RINGS * SECTORS).permute(2, 0, 1)[:, None].float()
    inside[:, :, 0, 0] = 0
    return inside.to(device)
