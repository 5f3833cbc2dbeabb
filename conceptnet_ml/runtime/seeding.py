"""The random numbers of one item of a run."""

from __future__ import annotations

import torch

from conceptnet_ml.storage.hashing import seed_of


def seed_for(run_seed: int, *ids: object) -> int:
    """Seed of one item of a run: 63 bits of the SHA-256 of ``"seed/id/id"``.

    It depends on the item alone, so results do not depend on order, batch size or number of processes.
    """
    return seed_of("/".join(str(part) for part in (run_seed, *ids)))


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A random generator on ``device``, started from ``seed``. CPU and CUDA draw different numbers from one seed."""
    return torch.Generator(device=device).manual_seed(seed)
