"""Analogies between units: which unit of one class corresponds to which of another, and a causal test of it.

:func:`match_units` matches units through which one class's answer leaves with those through which another's comes;
:func:`measure_translation` exchanges matched units inside the network and counts the answers that follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from conceptnet_ml.concepts.evidence import FeatureAnalogy, Translation
from conceptnet_ml.concepts.scores import FindEvidence

DRAWS = 5
"""Random exchanges for each pair of classes."""

IMAGES = 128
"""Images of a class."""

ENOUGH = 16
"""Image pairs of two classes from which their units are matched."""

SHUFFLES = 20

CARRIED = 0.9
"""Share of what left or came that the units considered must carry."""

UnitPairs = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class UnitChanges:
    """What a swap changed at a stage, in image pairs.

    Args:
        hosts, donors: (N,) classes of the image and of the donor.
        activations: (N, C) change of each unit's mean map.
        attributions: (N, C) logits by which the donor's answer gained on the host's through each unit.
    """

    hosts: Tensor
    donors: Tensor
    activations: Tensor
    attributions: Tensor


@dataclass(frozen=True)
class UnitMatches:
    """One-to-one matches of two classes, above chance or not.

    Args:
        pairs: The unit that leaves and the one that comes.
        scores: (P,) logits, see :func:`match_units`.
        nulls: (P,) the same scale: what 95 % of matches in shuffled pairs stay under.
        null: What the sums over all matches of 95 % of the shuffles stay under.
    """

    pairs: list[tuple[int, int]]
    scores: Tensor
    nulls: Tensor
    null: float = 0.0


def match_units(changes: UnitChanges, parent: int, other: int, generator: torch.Generator) -> UnitMatches | None:
    """The best assignment of the units that leave to those that come, where images of ``parent`` met ``other`` donors.

    The score of two units is the correlation, over the image pairs, of what left through one and came through the
    other, times the geometric mean of their spreads: logits that are exchanged together. None for too few image pairs.
    """
    met = (changes.hosts == parent) & (changes.donors == other)
    if int(met.sum()) < ENOUGH:
        return None
    activations, attributions = changes.activations[met], changes.attributions[met]
    rises = activations.mean(0) > 0
    leaving = _carriers(torch.where(rises, 0, attributions.mean(0)))
    coming = _carriers(torch.where(rises, attributions.mean(0), 0))
    left = torch.where(activations < 0, attributions, 0)[:, leaving]
    came = torch.where(activations > 0, attributions, 0)[:, coming]
    if not leaving or not coming:
        return UnitMatches([], torch.zeros(0), torch.zeros(0))
    spread = (left.std(0)[:, None] * came.std(0)[None]).sqrt()
    correlation = _correlation(left, came)
    shuffled, totals = [], []
    for _ in range(SHUFFLES):
        chance = _correlation(left, came[torch.randperm(len(came), generator=generator)])
        best = linear_sum_assignment(chance.numpy(), maximize=True)
        shuffled.append(chance[best])
        totals.append((chance * spread)[best].sum())
    # Against matches found in shuffles: the assignment picks the best, so its null must too.
    null = torch.cat(shuffled).quantile(0.95)
    rows, columns = linear_sum_assignment(correlation.numpy(), maximize=True)
    pairs = [(leaving[row], coming[column]) for row, column in zip(rows, columns, strict=True)]
    limit = float(torch.stack(totals).quantile(0.95))
    return UnitMatches(pairs, (correlation * spread)[rows, columns], (null * spread)[rows, columns], limit)


def _carriers(attributions: Tensor) -> list[int]:
    """The fewest units that carry :data:`CARRIED` of the positive attributions."""
    order = attributions.argsort(descending=True)
    positive = attributions[order].clamp_min(0)
    if float(positive.sum()) <= 0:
        return []
    count = int((positive.cumsum(0) < CARRIED * positive.sum()).sum()) + 1
    return order[: min(count, int((positive > 0).sum()))].tolist()


def _correlation(left: Tensor, came: Tensor) -> Tensor:
    """(leaving, coming): Pearson's, 0 where a unit does not vary."""
    left, came = left - left.mean(0), came - came.mean(0)
    return (left / left.norm(dim=0).clamp_min(1e-9)).T @ (came / came.norm(dim=0).clamp_min(1e-9))


def measure_translation(
    evidence: FindEvidence, tied: Sequence[FeatureAnalogy], generator: torch.Generator
) -> Translation:
    """How often an exchange of units turns one class's images into another's, for each tied pair of classes.

    Args:
        evidence: A stage's maps and the answers to them; random pairs are drawn from the units within its width.
        tied: The pairs of classes, with their matched units.
        generator: Deals partners and draws random pairs.
    """
    maps, right = (torch.cat(parts) for parts in zip(*evidence.batches, strict=True))
    head, units = evidence.head, evidence.width or maps.shape[1]
    exchange = UnitExchange(maps)
    counts, rates = [], []
    for feature in tied:
        parent, pairs = feature.parent, list(feature.pairs)
        own = maps[right == parent][:IMAGES]
        if not len(own) or not len(own := own[head(own).argmax(1) == parent]):
            continue
        partners = torch.randperm(len(pairs), generator=generator).tolist()
        dealt = [(pairs[place][0], pairs[partner][1]) for place, partner in enumerate(partners)]
        drawn = (torch.randperm(units, generator=generator)[: 2 * min(len(pairs), units // 2)] for _ in range(DRAWS))
        tried: list[UnitPairs] = [pairs, dealt, *(units_drawn.view(-1, 2).tolist() for units_drawn in drawn)]
        sources = [exchanged_units(maps.shape[1], chosen).to(maps.device) for chosen in tried]
        matched, shuffled, *random = (
            float((head(exchange.take(own, source)).argmax(1) == feature.other).float().mean()) for source in sources
        )
        rates.append((matched, sum(random) / len(random), shuffled))
        counts.append(len(pairs))
    if not rates:
        return Translation(0, 0.0, 0.0, 0.0, 0.0)
    return Translation(
        len(rates), sum(counts) / len(counts), *(sum(column) / len(rates) for column in zip(*rates, strict=True))
    )


class UnitExchange:
    """Units that take each other's place, at the mean and spread of the unit whose place they take. Means and spreads
    are taken over all images and places of ``maps`` (N, C, h, w).
    """

    def __init__(self, maps: Tensor) -> None:
        self.mean = maps.mean((0, 2, 3))[:, None, None]
        self.spread = maps.std((0, 2, 3))[:, None, None].clamp_min(1e-6)

    def take(self, maps: Tensor, sources: Tensor) -> Tensor:
        """Maps whose unit u is the rescaled map of unit ``sources[u]``: ``(h_s − m_s) / σ_s · σ_u + m_u``."""
        standard = (maps - self.mean) / self.spread
        moved = standard[:, sources] * self.spread + self.mean
        stays = sources == torch.arange(len(sources), device=sources.device)
        return torch.where(stays[:, None, None], maps, moved)


def exchanged_units(units: int, pairs: UnitPairs) -> Tensor:
    """(units,) sources under which the units of each pair change places; a unit that is in several pairs does so by the
    first of them alone."""
    sources, used = torch.arange(units), set[int]()
    for one, other in pairs:
        if one != other and not {one, other} & used:
            sources[one], sources[other] = other, one
            used |= {one, other}
    return sources
