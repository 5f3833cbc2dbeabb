"""The cues of a camera: how sharp, how bright, how rich in contrast its pictures are."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from .draws import uniform

SIGMA = (0.7, 1.1)
"""Least and most blur, in px of images of up to 64 px, in proportion in larger ones."""

FACTORS = (1.25, 0.8, 1.0)
"""Of light or contrast: for class 0, class 1, and without a cue."""


def blur(images: Tensor, cues: Tensor, seeds: Tensor) -> Tensor:
    """Blur the images whose cue is class 0 by a Gaussian of ``SIGMA``, each by its own; others stay as they are.

    Args:
        images: uint8 (B, 3, H, W).
        cues: int64 (B,), 0 for blurred, anything else for none.
        seeds: int64 (B,), one per image.

    Returns:
        uint8 (B, 3, H, W). Cost: a small convolution for each blurred image.
    """
    result = images.clone()
    scale = max(1.0, min(images.shape[2:]) / 64)  # less could not be seen
    for place in torch.nonzero(cues == 0).flatten().tolist():
        least, most = SIGMA
        sigma = scale * (least + (most - least) * float(uniform(seeds[place : place + 1], 1)))
        result[place] = gaussian_blur(images[place], [2 * max(1, round(3 * sigma)) + 1] * 2, [sigma] * 2)
    return result


def brightness(images: Tensor, cues: Tensor, seeds: Tensor) -> Tensor:
    """Multiply each image by its cue's factor: class 0 is brighter, class 1 darker; -1 leaves it as it is.

    Args:
        images: uint8 (B, 3, H, W).
        cues: int64 (B,), 0, 1 or -1.
        seeds: Not used: the factor is the same for all images of a class.

    Returns:
        uint8 (B, 3, H, W), rounded and clipped.
    """
    return (images.float() * _factors(cues, images.device)).round().clamp(0, 255).to(torch.uint8)


def contrast(images: Tensor, cues: Tensor, seeds: Tensor) -> Tensor:
    """Move the pixels away from their image's mean or towards it, class 0 away; as :func:`brightness` otherwise."""
    values = images.float()
    mean = values.mean((1, 2, 3), keepdim=True)
    moved = mean + (values - mean) * _factors(cues, images.device)
    return moved.round().clamp(0, 255).to(torch.uint8)


def _factors(cues: Tensor, device: torch.device) -> Tensor:
    return torch.tensor(FACTORS, device=device)[cues.to(device)].view(-1, 1, 1, 1)
