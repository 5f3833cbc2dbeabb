"""The cues of a camera: how sharp, bright, rich in contrast and grainy its pictures are, and how they were stored."""

from __future__ import annotations

import io

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur, pil_to_tensor, to_pil_image

from .draws import normal, uniform

SIGMA = (0.7, 1.1)
"""Least and most blur, in px of images of up to 64 px, in proportion in larger ones."""

FACTORS = (1.25, 0.8, 1.0)
"""Of light or contrast: for class 0, class 1, and without a cue."""

QUALITY = ((15, 25), (80, 95))
"""Least and most JPEG quality, from 1 to 100, for class 0 and class 1."""

GRAIN = ((12.0, 16.0), (0.0, 2.0))
"""Least and most deviation of the noise in levels of 255, for class 0 and class 1."""


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


def compression(images: Tensor, cues: Tensor, seeds: Tensor) -> Tensor:
    """Store the images as JPEG and read them back: class 0 compressed more, class 1 less; -1 leaves them as they are.

    Args:
        images: uint8 (B, 3, H, W).
        cues: int64 (B,), 0, 1 or -1.
        seeds: int64 (B,), one per image, which fixes its quality, in ``QUALITY``.

    Returns:
        uint8 (B, 3, H, W). Cost: in memory, one image after the other on one core.
    """
    result = images.clone()
    for place in torch.nonzero(cues >= 0).flatten().tolist():
        quality = round(_within(QUALITY, cues[place : place + 1], seeds[place : place + 1]).item())
        stored = io.BytesIO()
        to_pil_image(images[place].cpu()).save(stored, "JPEG", quality=quality)
        result[place] = pil_to_tensor(Image.open(stored)).to(images.device)
    return result


def grain(images: Tensor, cues: Tensor, seeds: Tensor) -> Tensor:
    """Add noise to each value, of a deviation in ``GRAIN``: class 0 is grainier; -1 leaves an image as it is.

    Args:
        images: uint8 (B, 3, H, W).
        cues: int64 (B,), 0, 1 or -1.
        seeds: int64 (B,), one per image: the noise and its deviation.

    Returns:
        uint8 (B, 3, H, W), rounded and clipped. Cost: as many normal numbers as values.
    """
    deviations = torch.where(cues >= 0, _within(GRAIN, cues, seeds), 0.0).view(-1, 1, 1, 1)
    noise = deviations * normal(seeds, images[0].numel()).view(images.shape)
    return (images.float() + noise.float().to(images.device)).round().clamp(0, 255).to(torch.uint8)


def _within(ranges: tuple[tuple[float, float], tuple[float, float]], cues: Tensor, seeds: Tensor) -> Tensor:
    """A number in the range of each image's cue, by its seed; float64 (B,) on the CPU. Any for the cue -1."""
    least, most = torch.tensor(ranges, dtype=torch.float64)[cues.cpu()].unbind(1)
    return least + (most - least) * uniform(seeds, 1)[:, 0]


def _factors(cues: Tensor, device: torch.device) -> Tensor:
    return torch.tensor(FACTORS, device=device)[cues.to(device)].view(-1, 1, 1, 1)
