"""Moments of activations, and what a network would lose with each unit of a stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from conceptnet_ml.network.modes import eval_mode
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.surgery.dependency_graph import dependency_group


def _zero() -> Tensor:
    return torch.zeros((), dtype=torch.float64)


@dataclass
class Moments:
    """Sums over rows (n, C) of activations, in double on the CPU; batches are added one by one.

    Args:
        count: n.
        total: (C,) sums.
        squares: (C, C) sums of products, or (C,) of squares.
    """

    count: int = 0
    total: Tensor = field(default_factory=_zero)
    squares: Tensor = field(default_factory=_zero)

    def add(self, rows: Tensor, products: bool = True) -> None:
        """Add rows, with all products of their columns or with squares alone."""
        rows = rows.double()
        self.count += len(rows)
        self.total = self.total + rows.sum(0).cpu()
        self.squares = self.squares + (rows.T @ rows if products else rows.square().sum(0)).cpu()

    @property
    def mean(self) -> Tensor:
        """(C,)."""
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """(C, C), or the variances (C,) where squares alone were added."""
        mean = self.mean
        return self.squares / self.count - (mean[:, None] * mean if self.squares.ndim == 2 else mean.square())


def channel_rows(maps: Tensor) -> Tensor:
    """Maps (B, C, h, w) as rows (B·h·w, C)."""
    return maps.detach().movedim(1, -1).flatten(0, -2)


def importances(network: StagedNetwork, stage: str, batches: Sequence[Tensor]) -> Tensor:
    """(C,) what its readers get from each unit: its variance times the squared norm of all weights that read it.

    Cost: one pass of the images as far as the stage.
    """
    group, moments = dependency_group(network, stage), Moments()
    with eval_mode(network):
        for images in batches:
            moments.add(channel_rows(network.run_until(images, stage)))
    norms = torch.zeros(group.units, dtype=torch.float64)
    for reader in group.of("reads"):
        weight = reader.tensor(network)
        assert weight is not None
        columns = weight.detach().double().cpu().movedim(1, 0).flatten(1).square().sum(1)
        own = reader.units >= 0
        norms.index_add_(0, reader.units[own], columns[own])
    return moments.covariance.diagonal() * norms
