"""Colour statistics: mean and covariance of RGB over an image (or the places it is told to look at)."""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 1e-4
"""Added to the covariance's diagonal (variance of values in [0, 1]), so that a one-coloured image can be whitened; a
little more for G and B, since equal eigenvalues have no gradient."""


def encode(images: Tensor, where: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Split an image into its colour statistics and what is left when they are taken out.

    Whitening and colouring as in Li et al., arXiv 1705.08086, on RGB. Cost: one 3 × 3 eigendecomposition an image.

    Args:
        images: Floats in [0, 1] (B, 3, H, W).
        where: Weights (B, 1, H, W) in [0, 1]; statistics are taken over these places, everywhere if None.

    Returns:
        (B, 12): mean of R, G, B and the symmetric square root of their covariance, row by row; and (B, 3, H, W): the
        whitened image.
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
    root = values.clamp_min(RIDGE).sqrt()
    spread = (vectors * root[:, None, :]) @ vectors.transpose(1, 2)
    whitener = (vectors / root[:, None, :]) @ vectors.transpose(1, 2)
    whitened = (whitener @ centred).reshape(images.shape)
    return torch.cat([mean.flatten(1), spread.flatten(1)], 1), whitened


def decode(encoding: tuple[Tensor, Tensor]) -> Tensor:
    """Colour the whitened image with the statistics; may leave [0, 1]."""
    statistics, whitened = encoding
    mean, spread = statistics[:, :3, None], statistics[:, 3:].reshape(-1, 3, 3)
    return (spread @ whitened.flatten(2) + mean).reshape(whitened.shape)
