"""Which units of a stage are alike, and what the network would lose with each of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from conceptnet_ml.errors import SettingsError
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


def similar_units(
    maps: Tensor | Sequence[Tensor],
    count: int,
    importance: Tensor | None = None,
    closed: Collection[int] = (),
) -> list[list[int]]:
    """Which units to merge so that ``count`` units fewer are left: those whose merging costs least.

    Greedy agglomeration: the cost of merging two (groups of) units is ``e₁e₂/(e₁+e₂)·(1 − ρ²)``, ρ the correlation of
    their activations over places and images (negative counts as none) and e what the readers get from each of them.
    The moments of merged activations follow from the members'. Cost: one matrix of moments, ``count`` · C².

    Args:
        maps: A stage's maps (B, C, h, w), or several batches of them.
        count: How many units are to be closed.
        importance: (C,) what readers get from each unit; by default its variance.
        closed: Units left out.

    Returns:
        Groups of two or more units, lowest first.

    Raises:
        SettingsError: There are not that many units to close.
    """
    moments = Moments()
    for batch in [maps] if isinstance(maps, Tensor) else maps:
        moments.add(channel_rows(batch))
    covariance = moments.covariance
    energy = covariance.diagonal().clone() if importance is None else importance.double().cpu().clone()
    open_units = [unit for unit in range(len(covariance)) if unit not in closed]
    if not 0 < count < len(open_units):
        raise SettingsError(f"{count} of {len(open_units)} units cannot be merged away", "Leave at least one.")
    members = {unit: [unit] for unit in open_units}
    gone = torch.ones(len(covariance), dtype=torch.bool)
    gone[open_units] = False
    for _ in range(count):
        deviation = covariance.diagonal().clamp_min(0).sqrt()
        correlation = (covariance / (deviation[:, None] * deviation).clamp_min(1e-30)).clamp(0, 1)
        reduced = energy[:, None] * energy / (energy[:, None] + energy).clamp_min(1e-300)
        costs = (reduced * (1 - correlation.square())).fill_diagonal_(torch.inf)
        costs[gone] = torch.inf
        costs[:, gone] = torch.inf
        low, high = sorted(divmod(int(costs.argmin()), len(costs)))
        total = float(energy[low] + energy[high])
        mix = float(energy[low]) / total if total > 0 else 0.5
        for matrix in (covariance, covariance.T):
            matrix[low] = mix * matrix[low] + (1 - mix) * matrix[high]
        energy[low], gone[high] = total, True
        members[low] += members.pop(high)
    return [sorted(group) for group in members.values() if len(group) > 1]


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
