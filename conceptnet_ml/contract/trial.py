"""A record that is tried, and the pictures it is tried on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from conceptnet_ml.plugins import Plugins
from conceptnet_ml.records import Record


@dataclass(frozen=True)
class Trial:
    """One record held to its kind's contract.

    Args:
        record: The record.
        plugins: Those it was loaded with.
        folder: An empty folder it may write into.
        argument: What is given behind its name, as in ``--trap NAME:ARGUMENT``.
    """

    record: Record
    plugins: Plugins
    folder: Path
    argument: str = ""


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Even noise in [0, 1)."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def soft_images(count: int = 6, height: int = 16, width: int = 16, seed: int = 0) -> Tensor:
    """Soft pictures, away from black and white."""
    small = noise(count, 3, 4, 4, seed=seed)
    soft = nn.functional.interpolate(small, (height, width), mode="bilinear")
    return 0.35 + 0.25 * soft + 0.05 * noise(count, 3, height, width, seed=seed + 1)
