"""Which units of a stage are alike, and what the network would lose with each of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor

from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.modes import eval_mode
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.surgery.dependency_graph import dependency_group


def similar_units(
    maps: Tensor | Sequence[Tensor],
    count: int,
    importance: Tensor | None = None,
    closed: Collection[int] = (),
) -> list[list[int]]:
    """Which units to merge so that ``count`` units fewer are left: those whose merging costs least.

    Greedy agglomeration: the cost of merging two (groups of) units is ``e₁e₂/(e₁+e₂)·(1 − ρ²)``, ρ the correlation of
    their activations over places and images (negative counts as none) and e what the readers get from each of them.
    Merged activations' moments follow from the members'. Cost: one matrix of moments, ``count`` · C².

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
    covariance = _covariance([maps] if isinstance(maps, Tensor) else maps)
    energy = covariance.diagonal().clone() if importance is None else importance.double().cpu().clone()
    alive = [unit for unit in range(len(covariance)) if unit not in closed]
    if not 0 < count < len(alive):
        raise SettingsError(f"{count} of {len(alive)} units cannot be merged away", "Leave at least one.")
    members = {unit: [unit] for unit in alive}
    dead = torch.ones(len(covariance), dtype=torch.bool)
    dead[alive] = False
    for _ in range(count):
        costs = _costs(covariance, energy)
        costs[dead] = torch.inf
        costs[:, dead] = torch.inf
        low, high = sorted(divmod(int(costs.argmin()), len(costs)))
        total = float(energy[low] + energy[high])
        mix = float(energy[low]) / total if total > 0 else 0.5
        for matrix in (covariance, covariance.T):
            matrix[low] = mix * matrix[low] + (1 - mix) * matrix[high]
        energy[low], dead[high] = total, True
        members[low] += members.pop(high)
    return [sorted(group) for group in members.values() if len(group) > 1]


def importances(network: StagedNetwork, stage: str, batches: Sequence[Tensor]) -> Tensor:
    """(C,) what its readers get from each unit: its variance times the squared norm of all weights that read it.

    Cost: one pass of the images as far as the stage.
    """
    group = dependency_group(network, stage)
    with eval_mode(network):
        spread = _covariance(network.run_until(images, stage) for images in batches).diagonal()
    norms = torch.zeros(group.units, dtype=torch.float64)
    for tie in group.of("reads"):
        weight = tie.tensor(network)
        assert weight is not None
        columns = weight.detach().double().cpu().movedim(1, 0).flatten(1).square().sum(1)
        norms.index_add_(0, tie.units[tie.units >= 0], columns[tie.units >= 0])
    return spread * norms


def _costs(covariance: Tensor, energy: Tensor) -> Tensor:
    deviation = covariance.diagonal().clamp_min(0).sqrt()
    correlation = (covariance / (deviation[:, None] * deviation).clamp_min(1e-30)).clamp(0, 1)
    both = energy[:, None] * energy / (energy[:, None] + energy).clamp_min(1e-300)
    return (both * (1 - correlation.square())).fill_diagonal_(torch.inf)


def _covariance(batches: Iterable[Tensor]) -> Tensor:
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for maps in batches:
        rows = maps.detach().movedim(1, -1).flatten(0, -2).double()
        count += len(rows)
        total, squares = total + rows.sum(0).cpu(), squares + (rows.T @ rows).cpu()
    mean = total / count
    return squares / count - mean[:, None] * mean
