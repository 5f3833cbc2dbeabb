"""The causal test of analogies: exchange the units said to play each other's part, and see what is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from conceptnet_ml import nulls
from conceptnet_ml.concepts import FeatureAnalogy
from conceptnet_ml.directions import width
from conceptnet_ml.probing import frozen
from conceptnet_ml.swaps import Swap
from conceptnet_ml.workbench import Parents, Workbench

DRAWS = 5
"""Random exchanges for each pair of classes."""
IMAGES = 128
"""Images of a class."""
Pairs = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Translation:
    """How often an exchange of units turns one class's images into another's for the network.

    Means over pairs of classes, of shares of the images of the first that the network answers rightly and, after the
    exchange of units, takes for the second.

    Args:
        classes: Pairs of classes whose units are tied as a whole.
        units: Mean number of unit pairs exchanged.
        translated: With the matched units.
        random: With as many pairs of units drawn at random.
        dealt: With the matched units, partners dealt anew: near ``translated`` where the units are right and which goes
            with which says little.
    """

    classes: int
    units: float
    translated: float
    random: float
    dealt: float


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


def exchanged(units: int, pairs: Pairs) -> Tensor:
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


def translate(
    bench: Workbench, stage: str, name: str, parents: Parents, swaps: list[Swap], tied: Sequence[FeatureAnalogy]
) -> Translation | None:
    """Exchange, in images of a class that are answered rightly, the units of the class with those of another.

    The answer is translated where it becomes the other class. Only the stage's maps are touched; both units of a pair
    keep their own mean and spread, so that only *which images they answer* is exchanged. None where nothing is matched.

    Cost: for each pair of classes with matches, ``2 + DRAWS`` passes from the stage on over :data:`IMAGES` images.
    """
    if not tied:
        return None
    with frozen(*parents.modules()), torch.no_grad():
        batches = nulls.maps_of(parents, bench.probe_views(name, swaps), stage)
        maps, right = torch.cat([part for part, _ in batches]), torch.cat([part for _, part in batches])
        units = width(parents.network, stage) or maps.shape[1]
        return measure(maps, right, parents.head(stage), tied, bench.generator(name, "translate"), units)


def measure(
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
            swapped = aligned.take(mine, exchanged(maps.shape[1], chosen).to(maps.device))
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
