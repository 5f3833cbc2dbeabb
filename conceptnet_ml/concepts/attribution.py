"""What a variant is built from: integrated gradients to the units one stage down, checked by ablation.

:func:`attribute`, from the maps of a lower stage and the variants' responses to them:

1. The units are dealt into groups, in each image another way. Group by group, gradients are integrated along the path
   from the group's mean maps to the image's own, while all other units stay as they are (:func:`path_gradients`). The
   gradients times the step are the image's weights, one per unit.
2. A unit's weight for a variant is the mean over the images of the variant's own parent. The strongest units are kept
   as edges, each with a bootstrap interval over the images.
3. Each edge is confirmed by ablation: the real fall of the response when the unit is replaced by its mean map.
4. For each variant, weights and real ablations of all units, or of a sample of them, are compared by rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from conceptnet_ml.concepts.scores import FindEvidence, Head, mean_ranks
from conceptnet_ml.runtime import seeding

RANKED = 64
"""Units per answer whose weights are ranked against real ablations: all of a narrower stage, else the strongest half
of this number and as many drawn at random from the others."""

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


def passes(evidence: FindEvidence) -> int:
    """How many images :func:`attribute` passes on, each once for every group and for every edge."""
    settings, images = evidence.settings, sum(len(maps) for maps, _ in evidence.batches)
    return images * (
        min(settings.edge_groups, len(evidence.mean)) + min(settings.edges, len(evidence.mean[: evidence.width]))
    )


def attribute(
    evidence: FindEvidence, seed: int, null: float | None = None, advance: Callable[[int], None] = lambda count: None
) -> list[Attribution]:
    """Edges of every variant to its strongest units; the algorithm is at the head of this module.

    One group of all units is the classic path (Sundararajan et al., arXiv 1703.01365), whose weights add up to the
    response but say little of what taking out one unit does, since on the path the others are never there as they are;
    groups of one unit are that ablation itself, at its price. One backward pass serves all variants at once, since each
    is attributed on its own parent's images.

    Args:
        evidence: The lower stage's maps, and the variants' responses to them. Its settings say how many
            ``edge_groups`` (at most one per unit), ``edge_points`` on each group's path, ``edges`` kept per variant and
            ``bootstrap`` resamples. Channels beyond its width are attributed, so that the gap is that of the whole, but
            no edges lead there.
        seed: Seed of groups and resamples.
        null: What :func:`~conceptnet_ml.concepts.null_models.largest_weight` found in networks with shuffled weights,
            for the edges to carry.
        advance: Called with how many of its :func:`passes` are done since.

    Cost: ``groups · points`` forward and backward passes, ``groups + edges`` forward passes between the stages, and
    :data:`RANKED` forward passes of :data:`RANK_IMAGES` images.
    """
    settings, mean = evidence.settings, evidence.mean
    weights_of, gaps, right = _integrate(evidence, mean, seed, advance)  # step 1
    edges = []
    for parent in range(evidence.parents):
        own = right == parent
        if not own.any():
            continue
        weights = weights_of[own].mean(0)[: evidence.width]  # step 2
        units = weights.abs().topk(min(settings.edges, len(weights))).indices
        interval_seed = seeding.seed_for(seed, "edges", parent)
        low, high = _interval(weights_of[own][:, units], settings.bootstrap, interval_seed)
        falls = ablate(evidence, mean, parent, units, advance)  # step 3
        agreement = _agreement(evidence, mean, parent, weights_of[own], seed)  # step 4
        columns = (units.tolist(), weights[units].tolist(), low.tolist(), high.tolist(), falls.tolist())
        gap = float(_relative_gap(gaps, own))
        edges += [Attribution(parent, *row, gap, agreement, null) for row in zip(*columns, strict=True)]
    return edges


def unit_weights(evidence: FindEvidence, seed: int) -> tuple[Tensor, Tensor]:
    """Weights of all units for all variants, as :func:`attribute` computes them: (parents, C), and (parents,) gaps."""
    weights_of, gaps, right = _integrate(evidence, evidence.mean, seed)
    weights = torch.zeros(evidence.parents, weights_of.shape[1])
    relative = torch.zeros(evidence.parents)
    for parent in right.unique().tolist():
        own = right == parent
        weights[parent] = weights_of[own].mean(0)
        relative[parent] = _relative_gap(gaps, own)
    return weights, relative


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
    evidence: FindEvidence, mean: Tensor, seed: int, advance: Callable[[int], None] = lambda count: None
) -> tuple[Tensor, Tensor, Tensor]:
    """Per image: weights (N, C), (completeness gap, response explained) (N, 2), right parent (N,)."""
    sizes, points = [len(maps) for maps, _ in evidence.batches], evidence.settings.edge_points
    draw = torch.rand(sum(sizes), len(mean), generator=seeding.generator(seeding.seed_for(seed, "groups")))
    group_of = draw.argsort(1).argsort(1) % max(1, min(evidence.settings.edge_groups, len(mean)))
    weights, gaps = [], []
    for (maps, parents), groups in zip(evidence.batches, group_of.split(sizes), strict=True):
        rows, groups = torch.arange(len(maps), device=maps.device), groups.to(maps.device)

        def own(at: Tensor, rows: Tensor = rows, parents: Tensor = parents) -> Tensor:
            return evidence.head(at)[rows, parents]

        weight = torch.zeros(len(maps), len(mean), device=maps.device)
        fallen = torch.zeros(len(maps), device=maps.device)
        with torch.no_grad():
            whole = own(maps)
        for group in range(int(group_of.max()) + 1):
            step = (groups == group).to(maps.dtype)[:, :, None, None] * (maps - mean)
            for gradient in path_gradients(own, maps, -step, points):
                weight += (gradient * step).flatten(2).sum(2) / points
            with torch.no_grad():
                fallen += whole - own(maps - step)
            advance(len(maps))
        weights.append(weight.cpu())
        gaps.append(torch.stack([fallen - weight.sum(1), fallen], 1).cpu())
    return torch.cat(weights), torch.cat(gaps), torch.cat([parents.cpu() for _, parents in evidence.batches])


def _relative_gap(gaps: Tensor, own: Tensor) -> Tensor:
    return gaps[own, 0].mean().abs() / gaps[own, 1].abs().mean().clamp_min(1e-9)


def _agreement(evidence: FindEvidence, mean: Tensor, parent: int, weights_of: Tensor, seed: int) -> float | None:
    """Rank correlation of weights and real falls on the first of the parent's images; ``weights_of`` all of them,
    (images, C), in the same order."""
    weights_of = weights_of[: max(8, RANK_IMAGES // evidence.parents), : evidence.width]
    weights = weights_of.mean(0)
    order = weights.abs().argsort(descending=True)
    units, others = order, order[RANKED // 2 :]
    if len(order) > RANKED:
        drawn = torch.randperm(len(others), generator=seeding.generator(seeding.seed_for(seed, "ranked", parent)))
        units = torch.cat([order[: RANKED // 2], others[drawn[: RANKED // 2]]])
    maps = torch.cat([maps[parents == parent] for maps, parents in evidence.batches])[: len(weights_of)]
    first = replace(evidence, batches=[(maps, torch.full((len(maps),), parent))])
    return rank_correlation(weights[units], ablate(first, mean, parent, units))


def rank_correlation(first: Tensor, second: Tensor) -> float | None:
    """Spearman's, of two lists; None where one does not vary."""
    if len(first) < 3 or float(first.std()) == 0 or float(second.std()) == 0:
        return None
    ranks = mean_ranks(torch.stack([first, second], 1).double())
    return max(-1.0, min(1.0, float(torch.corrcoef(ranks.T)[0, 1])))


def _interval(values: Tensor, resamples: int, seed: int) -> tuple[Tensor, Tensor]:
    """95 % bootstrap interval of the column means of (N, C)."""
    draws = torch.randint(len(values), (resamples, len(values)), generator=seeding.generator(seed))
    means = torch.stack([values[draw].mean(0) for draw in draws])
    return means.quantile(0.025, dim=0), means.quantile(0.975, dim=0)


@torch.no_grad()
def ablate(
    evidence: FindEvidence,
    mean: Tensor,
    parent: int,
    units: Tensor,
    advance: Callable[[int], None] = lambda count: None,
) -> Tensor:
    """(len(units),): real mean fall of a variant's response on its own images, each unit replaced by its mean map."""
    falls, count = torch.zeros(len(units)), 0
    for maps, parents in evidence.batches:
        own = maps[parents == parent]
        if not len(own):
            continue
        count += len(own)
        before = evidence.head(own)[:, parent]
        for place, unit in enumerate(units.tolist()):
            without = own.clone()
            without[:, unit] = mean[unit]
            falls[place] += (before - evidence.head(without)[:, parent]).sum().cpu()
            advance(len(own))
    return falls / max(1, count)


def margin_over_mean(head: Head) -> Head:
    """Each answer less the mean of the others, (B, answers)."""

    def answers(maps: Tensor) -> Tensor:
        found = head(maps)
        others = max(1, found.shape[1] - 1)
        return found - (found.sum(1, keepdim=True) - found) / others

    return answers
