"""How strong the waves of small blocks are, exchanged as a distribution: grain, compression, sharpness."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

SIDE = 8
"""Of a block in px, that of JPEG."""

GRIDS = (4, 0)
"""Where the blocks begin, in px: first across JPEG's edges, then within them, so that edges come and go, too."""

EVEN = 1e-5
"""Of values in [0, 1]: a smaller coefficient is rounding, and is taken for zero."""

LEVELS = 255
"""Of a value: a picture whose values differ by less than one is even."""

AXES = ((1.0, 1.0, 1.0), (1.0, -1.0, 0.0), (1.0, 1.0, -2.0))
"""Light, red against green, both against blue: pictures hardly have fine hues, but noise has."""


def encode(images: Tensor) -> tuple[Tensor, Tensor]:
    """The sizes of the waves in all blocks of an image, in order; and the image.

    The discrete cosine transform of each block, of light and hues. The sizes of one wave over all blocks, with those of
    the same wave turned by a right angle, are sorted. An exchange gives each coefficient the size that has its rank in
    the donor (as histogram matching does with values; with a pyramid's coefficients Heeger and Bergen 1995), and leaves
    it its sign. So what is exchanged knows neither places nor directions: noise is raised or shrunk, where edges and
    gratings are stays the image's own. A coefficient of zero stays zero, and a drawing's ground even.

    Args:
        images: Floats in [0, 1] (B, 3, H, W).

    Returns:
        (B, 2, 3, 36, 2 N) the sizes in the N blocks of each grid; and the images. Cost: sorting twice as many values as
        an image has, and once more with :func:`decode`.
    """
    padded = _padded(images)
    return torch.stack([_ordered(_sizes(_coefficients(padded, grid))) for grid in GRIDS], 1), images


def decode(encoding: tuple[Tensor, Tensor]) -> Tensor:
    """The image with waves of these sizes, those of the last grid exactly; may leave [0, 1]."""
    sizes, images = encoding
    made = _padded(images)
    for grid, ordered in zip(GRIDS, sizes.unbind(1), strict=True):
        coefficients = _coefficients(made, grid)
        order = _sizes(coefficients).argsort(3)
        signs = coefficients.sign() * (coefficients.abs() > EVEN)
        made = _assembled(signs * _unsorted(ordered, order), grid, made.shape[2])
    return made[..., : images.shape[2], : images.shape[3]]


def masks(encoding: tuple[Tensor, Tensor]) -> Tensor:
    """All waves but the mean of a block, (1, 1, 1, 36, 1): where some were kept, these would tell the class of grain
    as before."""
    inside = encoding[0].new_ones(1, 1, 1, encoding[0].shape[3], 1)
    inside[:, :, :, 0] = 0
    return inside


def measure(images: Tensor, donors: Tensor) -> Tensor:
    """Images (B, 3, H, W) with the sizes of donors that were given their contrast, and then with their own light and
    contrast, which larger waves change.

    Nature gives two classes more or less contrast, and with it larger or smaller waves; in what is left they hardly
    differ. Cost: as a swap.
    """
    swapped = decode((encode(_lit_as(images, donors).clamp(0, 1))[0], images))
    return _lit_as(images, swapped.clamp(0, 1))


def _lit_as(images: Tensor, others: Tensor) -> Tensor:
    """The others with the images' mean and contrast."""
    mean, own = (one.mean((1, 2, 3), keepdim=True) for one in (images, others))
    return mean + (others - own) * _contrast(images) / _contrast(others)


def _contrast(images: Tensor) -> Tensor:
    """(B, 1, 1, 1) the deviation of pixels averaged two by two, less that of their differences across: grain is as
    strong in both, and is no contrast."""
    one, two = images[..., :-1], images[..., 1:]
    means, across = (part[..., 1:, :] + sign * part[..., :-1, :] for part, sign in ((one + two, 1), (one - two, -1)))
    strength = means.var((1, 2, 3), correction=0, keepdim=True) - across.var((1, 2, 3), correction=0, keepdim=True)
    return strength.clamp_min((4 / LEVELS) ** 2).sqrt() / 4


def _padded(images: Tensor) -> Tensor:
    """Whole blocks: the last row and column go on."""
    height, width = images.shape[-2:]
    return functional.pad(images.float(), (0, -width % SIDE, 0, -height % SIDE), mode="replicate")


def _coefficients(images: Tensor, grid: int) -> Tensor:
    """Images of whole blocks (B, 3, H, W) to the 64 waves of light and hues in N blocks, (B, 3, 64, N)."""
    turned = torch.einsum("ac,bchw->bahw", _axes(images.device), images.roll((-grid, -grid), (2, 3)))
    return _waves(images.device) @ functional.pixel_unshuffle(turned, SIDE).unflatten(1, (3, -1)).flatten(3)


def _assembled(coefficients: Tensor, grid: int, height: int) -> Tensor:
    """The images of these coefficients."""
    blocks = (_waves(coefficients.device).T @ coefficients).unflatten(3, (height // SIDE, -1)).flatten(1, 2)
    turned = functional.pixel_shuffle(blocks, SIDE).roll((grid, grid), (2, 3))
    return torch.einsum("ac,bahw->bchw", _axes(turned.device), turned)


def _sizes(coefficients: Tensor) -> Tensor:
    """(B, 3, 36, 2 N): of a wave in all blocks, and of the same wave turned by a right angle."""
    rows, columns = torch.triu_indices(SIDE, SIDE).unbind()
    turned = [coefficients[:, :, SIDE * one + other] for one, other in ((rows, columns), (columns, rows))]
    return torch.cat(turned, 3).abs()


def _ordered(sizes: Tensor) -> Tensor:
    """Sorted along the last axis. NumPy sorts rows as short as these many times as fast as torch does on a CPU."""
    if sizes.device.type != "cpu" or sizes.dtype != torch.float32 or sizes.requires_grad:
        return sizes.sort(3).values
    return torch.from_numpy(np.sort(sizes.numpy(), axis=3))


def _unsorted(ordered: Tensor, order: Tensor) -> Tensor:
    """Sizes in order back to their waves and blocks, (B, 3, 64, N)."""
    sizes = torch.zeros_like(ordered).scatter(3, order, ordered)
    rows, columns = torch.triu_indices(SIDE, SIDE).unbind()
    first, second = sizes.chunk(2, 3)
    waves = torch.zeros_like(first[:, :, :1]).repeat(1, 1, SIDE * SIDE, 1)
    waves = waves.index_copy(2, SIDE * rows + columns, first)
    return waves.index_copy(2, SIDE * columns + rows, second)


@lru_cache(maxsize=16)
def _waves(device: torch.device) -> Tensor:
    """The orthonormal cosine transform of a block, 64 waves × 64 places."""
    places, waves = torch.arange(SIDE) + 0.5, torch.arange(SIDE)[:, None]
    matrix = (math.pi / SIDE * waves * places).cos() * math.sqrt(2 / SIDE)
    matrix[0] = math.sqrt(1 / SIDE)
    return torch.kron(matrix, matrix).to(device)


@lru_cache(maxsize=16)
def _axes(device: torch.device) -> Tensor:
    axes = torch.tensor(AXES)
    return (axes / axes.norm(dim=1, keepdim=True)).to(device)
