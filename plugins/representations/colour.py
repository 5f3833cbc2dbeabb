"""Colour statistics: mean and covariance of RGB over an image (or over given places)."""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 1e-4
"""Added to the covariance's diagonal (variance of values in [0, 1]), so that a one-coloured image can be whitened; a
little more for G and B, since equal eigenvalues have no gradient."""


def encode(images: Tensor, where: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Split an image into its colour statistics and what is left when they are taken out.

    Whitening and colouring as in Li et al., arXiv 1705.08086, on RGB, but along the principal axes: the axis along
    which an image varies most is laid on the donor's. With the symmetric roots in their place, a one-coloured drawing
    on black (a covariance of rank one) loses its contrast under a donor of another hue, and what is left has its old
    hue. Cost: one 3 × 3 eigendecomposition an image.

    Args:
        images: Floats in [0, 1] (B, 3, H, W).
        where: Weights (B, 1, H, W) in [0, 1]; statistics are taken over these places, everywhere if None.

    Returns:
        (B, 12): mean of R, G, B and the principal axes, each as long as the spread along it, as the columns of a
        matrix, row by row; and (B, 3, H, W): the image along its axes, whitened.
    """
    pixels = images.float().flatten(2)
    if where is None:
        mean = pixels.mean(2, keepdim=True)
        centred = pixels - mean
        covariance = centred @ centred.transpose(1, 2) / pixels.shape[2]
    else:
        weights = where.flatten(2) + 1e-6
        weights = weights / weights.sum(2, keepdim=True)
        mean = (pixels * weights).sum(2, keepdim=True)
        centred = pixels - mean
        covariance = (centred * weights) @ centred.transpose(1, 2)
    ridge = RIDGE * torch.diag(torch.tensor([1.0, 1.01, 1.02], device=images.device))
    values, vectors = torch.linalg.eigh(covariance + ridge)
    vectors = vectors * _signs(vectors)
    root = values.clamp_min(RIDGE).sqrt()
    whitened = ((vectors / root[:, None, :]).transpose(1, 2) @ centred).reshape(images.shape)
    return torch.cat([mean.flatten(1), (vectors * root[:, None, :]).flatten(1)], 1), whitened


def _signs(vectors: Tensor) -> Tensor:
    """(B, 1, 3) of ±1 that point the longest axis to the light, the next to the red, and make the three right-handed.

    An eigenvector's sign is arbitrary; without this a swap would turn some images into their negatives.
    """
    with torch.no_grad():
        light = vectors[:, :, 2].sum(1)
        red = vectors[:, 0, 1] - vectors[:, 2, 1]
        hand = torch.linalg.det(vectors) * _sign(light) * _sign(red)
        return torch.stack([_sign(hand), _sign(red), _sign(light)], 1)[:, None, :]


def _sign(values: Tensor) -> Tensor:
    return torch.where(values < 0, -1.0, 1.0)


def decode(encoding: tuple[Tensor, Tensor]) -> Tensor:
    """Lay the whitened image along the statistics' axes; may leave [0, 1]."""
    statistics, whitened = encoding
    mean, axes = statistics[:, :3, None], statistics[:, 3:].reshape(-1, 3, 3)
    return (axes @ whitened.flatten(2) + mean).reshape(whitened.shape)
