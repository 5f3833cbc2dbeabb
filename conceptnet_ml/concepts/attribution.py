"""What a variant is built from: integrated gradients to the units one stage down, checked by ablation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from scipy.stats import spearmanr
from torch import Tensor

from conceptnet_ml.runtime import seeding

Respond = Callable[[Tensor], Tensor]
"""The lower stage's maps (B, C, h, w) to the variants' responses (B, K)."""

Batches = list[tuple[Tensor, Tensor]]
"""Maps (B, C, h, w) and the right parent (B,) of each image."""

RANKED = 64
"""Units per answer whose weights are ranked against real ablations: all of a narrower stage, else the strongest half
of so many and as many drawn at random from the others."""

RANK_IMAGES = 512
"""Images of all answers together on which that is done."""


@dataclass(frozen=True)
class Attribution:
    """From a variant down to a unit.

    Args:
        parent: The variant's class or parent.
        unit: Channel of the lower stage.
        weight: Mean over the parent's own images of how far the variant's response should fall without the unit.
        low, high: 95 % bootstrap interval of the weight, over images.
        ablation: Real mean fall of the response when the unit is replaced by its mean map.
        gap: Completeness gap of the variant's attribution, relative to the response it explains.
        agreement: Spearman's rank correlation of weights and real ablations, over the variant's units, not these edges
            alone; None where one of the two does not vary.
        null: The largest weight, of any unit for any variant, in networks with shuffled weights; None for no test.
    """

    parent: int
    unit: int
    weight: float
    low: float
    high: float
    ablation: float
    gap: float
    agreement: float | None = None
    null: float | None = None

    @property
    def is_supported(self) -> bool:
        """Whether it is more than shuffled weights give, and its interval is on one side of zero."""
        return abs(self.weight) > (self.null or 0.0) and self.low * self.high > 0


def attribute(
    batches: Batches,
    respond: Respond,
    parents: int,
    *,
    points: int,
    keep: int,
    bootstrap: int,
    seed: int,
    groups: int = 1,
    null: float | None = None,
    width: int | None = None,
) -> list[Attribution]:
    """Edges of every variant to its strongest units.

    Integrated gradients (Sundararajan et al., arXiv 1703.01365) on the sub-network between two stages, a group of units
    at a time: each group goes from its mean maps to the image's own while all other units stay as they are. Groups are
    dealt anew for each image. One group of all units is the classic path, whose weights add up to the response but say
    little of what taking out one unit does, since the others are never there as they are; groups of one unit are that
    ablation itself, at its price. Each variant is attributed on its own parent's images, so one backward pass serves
    all variants at once.

    Args:
        batches: The lower stage's maps, fp32, and the right parent of each image.
        respond: From these maps to the variants' responses.
        parents: Number of variants.
        points: Midpoints of equal steps on each group's path.
        keep: Edges per variant, the strongest, which are then confirmed by ablation.
        bootstrap: Resamples behind the interval.
        seed: Seed of groups and resamples.
        groups: Number of groups; at most one per unit.
        null: What :func:`nulls.largest_weight` found in networks with shuffled weights, for the edges to carry.
        width: Edges lead to the first so many channels only, None for all; the others are attributed all the same, so
            that the gap is that of the whole.

    Cost: ``groups · points`` forward and backward passes, ``groups + keep`` forward passes between the stages, and
    :data:`RANKED` forward passes of :data:`RANK_IMAGES` images.
    """
    mean = mean_map(batches)
    shares, gaps, right = _integrate(batches, respond, mean, points, groups, seed)
    edges = []
    for parent in range(parents):
        mine = right == parent
        if not mine.any():
            continue
        weights = shares[mine].mean(0)[:width]
        chosen = weights.abs().topk(min(keep, len(weights))).indices
        low, high = _interval(shares[mine][:, chosen], bootstrap, seeding.seed_for(seed, "edges", parent))
        falls = _ablate(batches, respond, mean, parent, chosen)
        gap = float(gaps[mine, 0].mean().abs() / gaps[mine, 1].abs().mean().clamp_min(1e-9))
        most = max(8, RANK_IMAGES // parents)
        agreement = _agreement(batches, respond, mean, parent, shares[mine][:, :width], most, seed)
        for place, unit in enumerate(chosen.tolist()):
            edges.append(
                Attribution(
                    parent,
                    unit,
                    float(weights[unit]),
                    float(low[place]),
                    float(high[place]),
                    float(falls[place]),
                    gap,
                    agreement,
                    null,
                )
            )
    return edges


def predicted(
    batches: Batches, respond: Respond, parents: int, *, points: int, groups: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Weights of all units for all variants, as :func:`attribute` computes them: (parents, C), and (parents,) gaps."""
    mean = mean_map(batches)
    shares, gaps, right = _integrate(batches, respond, mean, points, groups, seed)
    weights = torch.zeros(parents, shares.shape[1])
    left = torch.zeros(parents)
    for parent in right.unique().tolist():
        mine = right == parent
        weights[parent] = shares[mine].mean(0)
        left[parent] = gaps[mine, 0].mean().abs() / gaps[mine, 1].abs().mean().clamp_min(1e-9)
    return weights, left


def ablated(batches: Batches, respond: Respond, parents: int, units: Tensor) -> Tensor:
    """(parents, len(units)): real mean fall of each variant's response on its own images without a unit."""
    mean = mean_map(batches)
    return torch.stack([_ablate(batches, respond, mean, parent, units) for parent in range(parents)])


def mean_map(batches: Batches) -> Tensor:
    """(C, h, w): the maps' mean over all images."""
    total = sum(maps.double().sum(0) for maps, _ in batches)
    return (total / sum(len(maps) for maps, _ in batches)).float()  # type: ignore[union-attr, operator]


def path_gradients(score: Callable[[Tensor], Tensor], start: Tensor, step: Tensor, points: int) -> Iterator[Tensor]:
    """Integrated gradients' kernel (Sundararajan et al., arXiv 1703.01365): gradients on the way from ``start`` to
    ``start + step``.

    Their mean times ``step`` is what each number contributes to ``score(start + step) − score(start)``. Callers average
    themselves, each in its own order of floating-point operations.

    Args:
        score: Maps (B, C, h, w) to a score for each image, (B,).
        start, step: (B, C, h, w).
        points: Midpoints of equal steps, in order. Cost: a forward and a backward pass each.
    """
    for point in range(points):
        at = (start + (point + 0.5) / points * step).requires_grad_(True)
        (gradient,) = torch.autograd.grad(score(at).sum(), at)
        yield gradient


def _integrate(
    batches: Batches, respond: Respond, mean: Tensor, points: int, groups: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Per image: shares (N, C), (completeness gap, response explained) (N, 2), right parent (N,)."""
    count = sum(len(maps) for maps, _ in batches)
    draw = torch.rand(count, mean.shape[0], generator=seeding.generator(seeding.seed_for(seed, "groups")))
    group_of = draw.argsort(1).argsort(1) % max(1, min(groups, mean.shape[0]))
    shares, gaps, right, done = [], [], [], 0
    for maps, parents in batches:
        rows = torch.arange(len(maps), device=maps.device)
        mine = group_of[done : done + len(maps)].to(maps.device)
        done += len(maps)
        share = torch.zeros(len(maps), len(mean), device=maps.device)
        fallen = torch.zeros(len(maps), device=maps.device)

        def own(at: Tensor, rows: Tensor = rows, parents: Tensor = parents) -> Tensor:
            return respond(at)[rows, parents]

        with torch.no_grad():
            whole = own(maps)
        for group in range(int(group_of.max()) + 1):
            step = (mine == group).to(maps.dtype)[:, :, None, None] * (maps - mean)
            for gradient in path_gradients(own, maps, -step, points):
                share += (gradient * step).flatten(2).sum(2) / points
            with torch.no_grad():
                fallen += whole - own(maps - step)
        shares.append(share.cpu())
        gaps.append(torch.stack([fallen - share.sum(1), fallen], 1).cpu())
        right.append(parents.cpu())
    return torch.cat(shares), torch.cat(gaps), torch.cat(right)


def _agreement(
    batches: Batches, respond: Respond, mean: Tensor, parent: int, shares: Tensor, most: int, seed: int
) -> float | None:
    """Rank correlation of weights and real falls on the first ``most`` of the parent's images, whose shares come in
    the same order."""
    shares = shares[:most]
    weights = shares.mean(0)
    order = weights.abs().argsort(descending=True)
    units, others = order, order[RANKED // 2 :]
    if len(order) > RANKED:
        drawn = torch.randperm(len(others), generator=seeding.generator(seeding.seed_for(seed, "ranked", parent)))
        units = torch.cat([order[: RANKED // 2], others[drawn[: RANKED // 2]]])
    mine = torch.cat([maps[parents == parent] for maps, parents in batches])[:most]
    falls = _ablate([(mine, torch.full((len(mine),), parent))], respond, mean, parent, units)
    return rank_correlation(weights[units], falls)


def rank_correlation(first: Tensor, second: Tensor) -> float | None:
    """Spearman's, of two lists; None where one does not vary."""
    if len(first) < 3 or float(first.std()) == 0 or float(second.std()) == 0:
        return None
    return max(-1.0, min(1.0, float(spearmanr(first.numpy(), second.numpy()).statistic)))


def _interval(values: Tensor, resamples: int, seed: int) -> tuple[Tensor, Tensor]:
    """95 % bootstrap interval of the column means of (N, C)."""
    draws = torch.randint(len(values), (resamples, len(values)), generator=seeding.generator(seed))
    means = torch.stack([values[draw].mean(0) for draw in draws])
    return means.quantile(0.025, dim=0), means.quantile(0.975, dim=0)


@torch.no_grad()
def _ablate(batches: Batches, respond: Respond, mean: Tensor, parent: int, units: Tensor) -> Tensor:
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


def margin_over_mean(head: Respond) -> Respond:
    """Each answer less the mean of the others, (B, answers)."""

    def answers(maps: Tensor) -> Tensor:
        found = head(maps)
        others = max(1, found.shape[1] - 1)
        return found - (found.sum(1, keepdim=True) - found) / others

    return answers
