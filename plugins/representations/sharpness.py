"""Sharpness: how fast an image's spectrum falls from what is coarse to what is fine."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

RINGS = 8
"""Of fineness, as wide as one another, between the coarsest waves and two pixels."""

COARSE = 2
"""Of these, the coarsest, against which all are measured: a picture of strong contrast is not a sharper one."""

MOST = 3.0
"""Log of the greatest factor a wave is made stronger or fainter by: what is gone does not come back."""

MARGIN = 8
"""Px that an image is mirrored by at each edge before it is filtered: its opposite edges do not fit each other, which
made sharper is seen as lines all over it."""

FLOOR = 1e-7
"""Added to a ring's power (of values in [0, 1], orthonormal transform): rounding."""

Kept = tuple[Tensor, Tensor]


def encode(images: Tensor) -> tuple[Tensor, Kept]:
    """The log amplitudes of an image's rings against the coarsest; and the image with its own.

    A lens, motion or scaling blurs all of a picture alike, so it changes the spectrum by one curve; what is in a
    picture decides mostly how strong its waves are, and where. Light alone is measured, under a window, so that the
    edges of the image do not count as something fine.

    Args:
        images: Floats in [0, 1] (B, C, H, W).

    Returns:
        (B, 8) log amplitudes; and the images with these. Cost: a Fourier transform an image, another two with
        :func:`decode`.
    """
    height, width = images.shape[-2:]
    light = images.float().mean(1)
    window, rings = _rings(height, width, images.device)
    power = torch.fft.rfft2((light - light.mean((1, 2), keepdim=True)) * window, norm="ortho").abs().square()
    falls = ((power.flatten(1) @ rings) + FLOOR).log() / 2
    falls = falls - falls[:, :COARSE].mean(1, keepdim=True)
    return falls, (images, falls)


def decode(encoding: tuple[Tensor, Kept]) -> Tensor:
    """The image, filtered until its rings fall as wanted, but for ``MOST``; may leave [0, 1]."""
    wanted, (images, falls) = encoding
    margin = min(MARGIN, images.shape[-2] - 1, images.shape[-1] - 1)
    return _filtered(images, wanted - falls, margin)


def measure(images: Tensor, donors: Tensor) -> Tensor:
    """The same without a margin, (B, C, H, W): the lines that this leaves in what is made sharper are as fine as can
    be, so a network that reads sharpness is sure of them; of nature they are told no more than the rest."""
    return _filtered(images, encode(donors)[0] - encode(images)[0], 0)


def _filtered(images: Tensor, more: Tensor, margin: int) -> Tensor:
    """The images with their rings by so much stronger, (B, 8) in log amplitude."""
    mirrored = functional.pad(images.float(), [margin] * 4, mode="reflect")
    height, width = mirrored.shape[-2:]
    curve = _curve(height, width, 1.5 / max(images.shape[-2:]), images.device)
    factors = (more.clamp(-MOST, MOST) @ curve).exp().view(-1, 1, height, width // 2 + 1)
    made = torch.fft.irfft2(torch.fft.rfft2(mirrored) * factors, s=(height, width))
    return made[..., margin : height - margin, margin : width - margin]


@lru_cache(maxsize=16)
def _rings(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The window (H, W), and each ring's mean of what lies in it, (H · (W // 2 + 1), 8)."""
    window = torch.hann_window(height, periodic=False)[:, None] * torch.hann_window(width, periodic=False)
    place = _place(height, width, 1.5 / max(height, width))
    inside = (place[:, None].floor() == torch.arange(RINGS)).float()
    return window.to(device), (inside / inside.sum(0).clamp_min(1)).to(device)


@lru_cache(maxsize=16)
def _curve(height: int, width: int, least: float, device: torch.device) -> Tensor:
    """The curve through the rings of an image's waves, straight between their middles, (8, H · (W // 2 + 1)); 0 for the
    mean of the image."""
    between = (_place(height, width, least) - 0.5).clamp(0, RINGS - 1)
    curve = (1 - (between - torch.arange(RINGS)[:, None]).abs()).clamp_min(0)
    curve[:, 0] = 0
    return curve.to(device)


def _place(height: int, width: int, least: float) -> Tensor:
    """(H · (W // 2 + 1),) how many rings each wave lies above the coarsest, which begin at ``least`` waves a px."""
    radius = (torch.fft.fftfreq(height)[:, None].square() + torch.fft.rfftfreq(width).square()).sqrt().flatten()
    return (radius - least) / (0.5 - least) * RINGS
