"""What operations on units are compared with, and how units are chosen for it: alike ones to merge, others to prune."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.surgery.batchnorm import Moments, channel_rows
from conceptnet_ml.surgery.split import check_units, rebuild_checked, zero_units


def prune_units(network: StagedNetwork, stage: str, units: Sequence[int]) -> StagedNetwork:
    """A network in which units are silent: all that writes, carries or reads them is zero, without compensation.

    They stay silent in further training with momentum and weight decay: where both what makes a unit and what reads it
    are zero, no weight has a gradient.

    Raises:
        SettingsError: No such units, or they cannot be followed.
    """
    group = check_units(network, stage, units)
    changed = copy.deepcopy(network)
    zero_units(changed, group, units)
    return rebuild_checked(network, changed, stage)


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
