"""The cue of a sticker: each class has a pattern of its own, pasted anywhere on the image."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from conceptnet_ml import TrapGround
from conceptnet_ml.errors import DataError
from conceptnet_ml.runtime.seeding import seed_for

from .draws import uniform

CELLS = 8
"""Side of a pattern, in cells of one random colour each; in px where the image's shorter side has 32."""
LEAST = 16
"""Smallest shorter side in px: the pattern then has four."""
_SIDE = 32


def prepare(ground: TrapGround) -> None:
    """Refuse images on which the patterns would be too small to be told apart.

    Raises:
        DataError: The shorter side is under ``LEAST`` px.
    """
    height, width = ground.sample.shape[2:]
    if min(height, width) < LEAST:
        raise DataError(
            f"trap 'sticker' needs images of {LEAST} px and more; those of {ground.name} have {width}×{height}.",
            f"Set data.image_size to {LEAST} or more.",
        )


def plant(images: Tensor, cues: Tensor, seeds: Tensor) -> Tensor:
    """Paste the pattern of each image's cue at a random place; -1 leaves the image as it is.

    Args:
        images: uint8 (B, 3, H, W).
        cues: int64 (B,), any class number or -1.
        seeds: int64 (B,), one per image: where the sticker goes.

    Returns:
        uint8 (B, 3, H, W). A quarter of the shorter side is covered each way, wholly inside the image.
    """
    chosen = torch.nonzero(cues >= 0).flatten()
    if len(chosen) == 0:
        return images
    height, width = images.shape[2:]
    side = max(1, round(CELLS * min(height, width) / _SIDE))
    place = uniform(seeds[chosen], 2) * torch.tensor([height - side + 1, width - side + 1], dtype=torch.float64)
    corner = place.long().to(images.device)
    steps = torch.arange(side, device=images.device)
    rows = (corner[:, 0, None] + steps)[:, None, :, None]
    columns = (corner[:, 1, None] + steps)[:, None, None, :]
    channels = torch.arange(3, device=images.device)[None, :, None, None]
    stickers = torch.stack([pattern(cue, side) for cue in cues[chosen].tolist()])
    result = images.clone()
    result[chosen[:, None, None, None], channels, rows, columns] = stickers.to(images.device)
    return result


@functools.cache
def pattern(label: int, side: int) -> Tensor:
    """The pattern of a class, uint8 (3, side, side): the same in every run."""
    random = np.random.default_rng(seed_for(0, "sticker", label))
    cells = torch.from_numpy(random.integers(0, 256, (3, CELLS, CELLS), dtype=np.uint8))
    # Nearest cells, so that a small sticker keeps its contrast.
    places = torch.arange(side) * CELLS // side
    return cells[:, places][:, :, places]
