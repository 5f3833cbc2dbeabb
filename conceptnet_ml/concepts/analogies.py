"""Analogies between units: which unit of one class plays the part of which of another, and a causal test of it.

Matches (:func:`match`) say through what one class's answer leaves as another's comes; the test
(:func:`measure_exchange`)
exchanges the units said to play each other's part and looks at the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from conceptnet_ml.concepts.evidence import FeatureAnalogy, Translation

DRAWS = 5
"""Random exchanges for each pair of classes."""

IMAGES = 128
"""Images of a class."""

Pairs = Sequence[tuple[int, int]]


class Aligned:
    """A stage's maps with units that take each other's place, at the mean and spread of the unit whose place they take.

    Args:
        maps: (N, C, h, w); means and spreads are taken over all their images and places.
    """

    def __init__(self, maps: Tensor) -> None:
        self.mean = maps.mean((0, 2, 3))[:, None, None]
        self.spread = maps.std((0, 2, 3))[:, None, None].clamp_min(1e-6)

    def take(self, maps: Tensor, sources: Tensor) -> Tensor:
        """Maps whose unit u is the aligned map of unit ``sources[u]``: ``(h_s − m_s) / σ_s · σ_u + m_u``."""
        normal = (maps - self.mean) / self.spread
        moved = normal[:, sources] * self.spread + self.mean
        stays = sources == torch.arange(len(sources), device=sources.device)
        return torch.where(stays[:, None, None], maps, moved)


def exchanged_units(units: int, pairs: Pairs) -> Tensor:
    """(units,) sources under which the units of each pair change places. A unit that is in several pairs changes places
    by the first of them alone."""
    sources, used = torch.arange(units), set[int]()
    for one, other in pairs:
        if one != other and not {one, other} & used:
            sources[one], sources[other] = other, one
            used |= {one, other}
    return sources


def stands_in(units: int, pairs: Pairs) -> Tensor:
    """(units,) sources under which the second unit of each pair stands in for the first, and stays itself."""
    sources = torch.arange(units)
    for one, other in pairs:
        sources[one] = other
    return sources


def measure_exchange(
    maps: Tensor,
    right: Tensor,
    head: Callable[[Tensor], Tensor],
    tied: Sequence[FeatureAnalogy],
    generator: torch.Generator,
    units: int,
) -> Translation:
    """:func:`translate` on maps (N, C, h, w) with right answers (N,), for a head to (N, K); random pairs are drawn from
    the first ``units`` channels."""
    aligned = Aligned(maps)
    counts, rows = [], []
    for feature in tied:
        parent, other = feature.parent, feature.other
        mine = maps[right == parent][:IMAGES]
        if not len(mine) or not len(mine := mine[head(mine).argmax(1) == parent]):
            continue
        pairs = list(feature.pairs)
        partners = torch.randperm(len(pairs), generator=generator).tolist()
        dealt = [(pairs[place][0], pairs[partner][1]) for place, partner in enumerate(partners)]

        def turned(chosen: Pairs, mine: Tensor = mine, other: int = other) -> float:
            swapped = aligned.take(mine, exchanged_units(maps.shape[1], chosen).to(maps.device))
            return float((head(swapped).argmax(1) == other).float().mean())

        some = [
            turned(torch.randperm(units, generator=generator)[: 2 * min(len(pairs), units // 2)].view(-1, 2).tolist())
            for _ in range(DRAWS)
        ]
        rows.append((turned(pairs), sum(some) / len(some), turned(dealt)))
        counts.append(len(pairs))
    if not rows:
        return Translation(0, 0.0, 0.0, 0.0, 0.0)
    translated, random, again = (sum(column) / len(rows) for column in zip(*rows, strict=True))
    return Translation(len(rows), sum(counts) / len(counts), translated, random, again)


ENOUGH = 16
"""Pairs of two classes from which they are compared."""

SHUFFLES = 20

CARRIED = 0.9
"""Share of what left or came that the units considered must carry."""


@dataclass(frozen=True)
class Moves:
    """What happened at a stage in image pairs, before and after the swap.

    Args:
        hosts, donors: (N,) classes of the image and of the donor.
        rose: (N, C) change of each unit's mean map.
        moved: (N, C) logits by which the donor's answer gained on the host's through each unit.
    """

    hosts: Tensor
    donors: Tensor
    rose: Tensor
    moved: Tensor


@dataclass(frozen=True)
class Matched:
    """One-to-one matches of two classes, whatever they are worth.

    Args:
        pairs: The unit that leaves and the one that comes.
        scores: (P,) logits, see :func:`match`.
        nulls: (P,) the same scale: what 95 % of matches in shuffled pairs stay under.
        null: What the sums over all matches of 95 % of the shuffles stay under.
    """

    pairs: list[tuple[int, int]]
    scores: Tensor
    nulls: Tensor
    null: float = 0.0


def match(moves: Moves, parent: int, other: int, generator: torch.Generator) -> Matched | None:
    """The best assignment of the units that leave to those that come, where images of ``parent`` met ``other`` donors.

    The score of two units is the correlation, over the pairs, of what left through one and came through the other,
    times the geometric mean of their spreads: logits that are exchanged together. None for too few pairs.
    """
    mine = (moves.hosts == parent) & (moves.donors == other)
    if int(mine.sum()) < ENOUGH:
        return None
    rose, moved = moves.rose[mine], moves.moved[mine]
    rises = rose.mean(0) > 0
    leaving = _carriers(torch.where(rises, 0, moved.mean(0)))
    coming = _carriers(torch.where(rises, moved.mean(0), 0))
    left = torch.where(rose < 0, moved, 0)[:, leaving]
    came = torch.where(rose > 0, moved, 0)[:, coming]
    if not leaving or not coming:
        return Matched([], torch.zeros(0), torch.zeros(0))
    spread = (left.std(0)[:, None] * came.std(0)[None]).sqrt()
    alike = _correlation(left, came)
    shuffled, totals = [], []
    for _ in range(SHUFFLES):
        chance = _correlation(left, came[torch.randperm(len(came), generator=generator)])
        best = linear_sum_assignment(chance.numpy(), maximize=True)
        shuffled.append(chance[best])
        totals.append((chance * spread)[best].sum())
    # Against matches found in shuffles: the assignment picks the best, so its null must too.
    null = torch.cat(shuffled).quantile(0.95)
    rows, columns = linear_sum_assignment(alike.numpy(), maximize=True)
    pairs = [(leaving[row], coming[column]) for row, column in zip(rows, columns, strict=True)]
    limit = float(torch.stack(totals).quantile(0.95))
    return Matched(pairs, (alike * spread)[rows, columns], (null * spread)[rows, columns], limit)


def _carriers(moved: Tensor) -> list[int]:
    """The fewest units that carry :data:`CARRIED` of what moved the right way."""
    order = moved.argsort(descending=True)
    positive = moved[order].clamp_min(0)
    if float(positive.sum()) <= 0:
        return []
    count = int((positive.cumsum(0) < CARRIED * positive.sum()).sum()) + 1
    return order[: min(count, int((positive > 0).sum()))].tolist()


def _correlation(left: Tensor, came: Tensor) -> Tensor:
    """(leaving, coming): Pearson's, 0 where a unit does not vary."""
    left, came = left - left.mean(0), came - came.mean(0)
    return (left / left.norm(dim=0).clamp_min(1e-9)).T @ (came / came.norm(dim=0).clamp_min(1e-9))
