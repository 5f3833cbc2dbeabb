"""What a variant is built from: integrated gradients to the units one stage down, checked by ablation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from conceptnet_ml import runtime

Respond = Callable[[Tensor], Tensor]
"""The lower stage's maps (B, C, h, w) to the variants' responses (B, K)."""


@dataclass(frozen=True)
class Edge:
    """From a variant down to a unit.

    Args:
        parent: The variant's class or parent.
        unit: Channel of the lower stage.
        weight: Mean over the parent's own images of the share of the variant's response that is due to the unit.
        low, high: 95 % bootstrap interval of the weight, over images.
        ablation: Real mean fall of the response when the unit is replaced by its mean map.
        gap: Completeness gap of the variant's attribution, relative to the response it explains.
    """

    parent: int
    unit: int
    weight: float
    low: float
    high: float
    ablation: float
    gap: float


def attribute(
    batches: list[tuple[Tensor, Tensor]],
    respond: Respond,
    parents: int,
    *,
    points: int,
    keep: int,
    bootstrap: int,
    seed: int,
) -> list[Edge]:
    """Edges of every variant to its strongest units.

    Integrated gradients (Sundararajan et al., arXiv 1703.01365) on the sub-network between two stages, from the mean
    map of the images to each image's own, at the midpoints of equal steps. Each variant is attributed on its own
    parent's images, so one backward pass per midpoint serves all variants at once.

    Args:
        batches: The lower stage's maps, fp32, and the right parent of each image.
        respond: From these maps to the variants' responses.
        parents: Number of variants.
        points: Midpoints, 8–16.
        keep: Edges per variant, the strongest, which are then confirmed by ablation.
        bootstrap: Resamples behind the interval.
        seed: Seed of the resamples.

    Cost: ``points`` forward and backward passes and ``keep`` forward passes between the stages.
    """
    total = sum(maps.double().sum(0) for maps, _ in batches)
    mean = (total / sum(len(maps) for maps, _ in batches)).float()  # type: ignore[union-attr, operator]
    shares, gaps, right = _integrate(batches, respond, mean, points)
    edges = []
    for parent in range(parents):
        mine = right == parent
        if not mine.any():
            continue
        weights = shares[mine].mean(0)
        chosen = weights.abs().topk(min(keep, len(weights))).indices
        low, high = _interval(shares[mine][:, chosen], bootstrap, runtime.seed_for(seed, "edges", parent))
        falls = _ablate(batches, respond, mean, parent, chosen)
        gap = float(gaps[mine, 0].mean().abs() / gaps[mine, 1].abs().mean().clamp_min(1e-9))
        for place, unit in enumerate(chosen.tolist()):
            edges.append(
                Edge(
                    parent,
                    unit,
                    float(weights[unit]),
                    float(low[place]),
                    float(high[place]),
                    float(falls[place]),
                    gap,
                )
            )
    return edges


def _integrate(
    batches: list[tuple[Tensor, Tensor]], respond: Respond, mean: Tensor, points: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Per image: shares (N, C), (completeness gap, response explained) (N, 2), right parent (N,)."""
    shares, gaps, right = [], [], []
    for maps, parents in batches:
        rows = torch.arange(len(maps), device=maps.device)
        slope = torch.zeros_like(maps)
        for point in range(points):
            place = (mean + (point + 0.5) / points * (maps - mean)).requires_grad_(True)
            (step,) = torch.autograd.grad(respond(place)[rows, parents].sum(), place)
            slope += step / points
        with torch.no_grad():
            share = (slope * (maps - mean)).flatten(2).sum(2)
            ends = respond(maps)[rows, parents] - respond(mean.expand_as(maps))[rows, parents]
        shares.append(share.cpu())
        gaps.append(torch.stack([ends - share.sum(1), ends], 1).cpu())
        right.append(parents.cpu())
    return torch.cat(shares), torch.cat(gaps), torch.cat(right)


def _interval(values: Tensor, resamples: int, seed: int) -> tuple[Tensor, Tensor]:
    """95 % bootstrap interval of the column means of (N, C)."""
    draws = torch.randint(len(values), (resamples, len(values)), generator=runtime.generator(seed))
    means = torch.stack([values[draw].mean(0) for draw in draws])
    return means.quantile(0.025, dim=0), means.quantile(0.975, dim=0)


@torch.no_grad()
def _ablate(batches: list[tuple[Tensor, Tensor]], respond: Respond, mean: Tensor, parent: int, units: Tensor) -> Tensor:
    falls, count = torch.zeros(len(units)), 0
    for maps, parents in batches:
        mine = maps[parents == parent]
        if not len(mine):
            continue
        count += len(mine)
        before = respond(mine)[:, parent]
        for place, unit in enumerate(units.tolist()):
            without = mine.clone()
            without[:, unit] = mean[unit]
            falls[place] += (before - respond(without)[:, parent]).sum().cpu()
    return falls / max(1, count)
