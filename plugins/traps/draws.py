"""Random numbers that belong to one image: the same in whatever batch it comes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def uniform(seeds: Tensor, count: int) -> Tensor:
    """``count`` numbers in [0, 1) for each seed, float64 (B, count) on the CPU."""
    draws = [np.random.default_rng(seed).random(count) for seed in seeds.tolist()]
    return torch.from_numpy(np.stack(draws)) if draws else torch.empty(0, count, dtype=torch.float64)


def normal(seeds: Tensor, count: int) -> Tensor:
    """``count`` standard normal numbers for each seed, float64 (B, count) on the CPU."""
    draws = [np.random.default_rng(seed).standard_normal(count) for seed in seeds.tolist()]
    return torch.from_numpy(np.stack(draws)) if draws else torch.empty(0, count, dtype=torch.float64)
