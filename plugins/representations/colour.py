"""Colour statistics: mean and covariance of RGB over an image (or over given places)."""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 1e-4
"""Added to the covariance's diagonal (variance of values in [0, 1]), so that a one-coloured image can be whitened; a
little more for G and B, since equal eigenvalues have no gradient."""

LEVELS = 256
"""Of a value: a donor's between 0 and 1, what takes it over between its own least and greatest."""


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


def measure(images: Tensor, donors: Tensor) -> Tensor:
    """Images (B, 3, H, W) with the donors' statistics, and with the distribution of their values.

    Mean and axes do not hold all of a cue (docs/decisions/0037-distributions.md), so a swap is judged with each
    channel's values made those of the same rank in the donor (histogram matching, Gonzalez and Fittes 1977). Views do
    without: they would lose more of the object. Not differentiable. Cost: two histograms an image more than a swap.
    """
    swapped = decode((encode(donors)[0], encode(images)[1])).flatten(2)
    given = _shares(_levels(donors.flatten(2), 0.0, 1.0))
    least, most = swapped.amin(2, keepdim=True), swapped.amax(2, keepdim=True)
    levels = _levels(swapped, least, torch.maximum(most, least + 1e-6))
    shares = _shares(levels)
    middles = shares.cumsum(2) - shares / 2  # equal values stay equal: they become what is in the middle of their ranks
    values = torch.searchsorted(given.cumsum(2), middles).clamp_max_(LEVELS - 1) / (LEVELS - 1)
    return values.flatten().index_select(0, levels.flatten()).view(images.shape)


def _levels(values: Tensor, least: Tensor | float, most: Tensor | float) -> Tensor:
    """(B, 3, N) to the numbers of their levels between least and most, each row's counted on from the row's before."""
    rows = LEVELS * torch.arange(values.shape[0] * values.shape[1], device=values.device).view(*values.shape[:2], 1)
    scaled = (values - least).mul_((LEVELS - 1) / (most - least)).round_().clamp_(0, LEVELS - 1)
    return scaled.add_(rows).long()


def _shares(levels: Tensor) -> Tensor:
    """(B, 3, 256): how much of a row's values is at each level."""
    rows = levels.shape[:2]
    counts = torch.bincount(levels.flatten(), minlength=rows.numel() * LEVELS)
    return counts.view(*rows, LEVELS).float() / levels.shape[2]
