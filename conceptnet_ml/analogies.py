"""Which unit of one class plays the part of which of another: through what does an answer leave as the other comes?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from conceptnet_ml import nulls, runtime
from conceptnet_ml.concepts import Analogy, FeatureAnalogy
from conceptnet_ml.directions import Rebased, units_of
from conceptnet_ml.network import build_network
from conceptnet_ml.probing import frozen
from conceptnet_ml.swaps import Swap
from conceptnet_ml.workbench import Parents, Workbench

PAIRS = 128
"""Image pairs for each pair of classes."""
LEAST, MOST = 512, 16_384
"""Image pairs in all."""
ENOUGH = 16
"""Pairs of two classes from which they are compared."""
SHUFFLES = 20
CARRIED = 0.9
"""Share of what left or came that the units considered must carry."""
POINTS = (0.25, 0.75)


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


def find(
    bench: Workbench, stage: str, name: str, parents: Parents, swaps: list[Swap], swap: Swap
) -> tuple[list[Analogy], list[FeatureAnalogy]]:
    """One-to-one matches between the units through which a class's answer leaves and those through which another comes.

    Where a feature is swapped, the answer moves from the host's to the donor's: some units fall that spoke for the
    host's class, some rise that speak for the donor's. A unit's share of that is its change times the slope of "donor's
    answer less host's" (integrated gradients from the image to the swapped one), so units are matched by what they do
    downstream, not by how they look. Two units belong together when over the pairs what leaves through one goes with
    what comes through the other. Matches are found by the Hungarian method and must score above those found in shuffles
    of the pairs within their classes, and above those found in networks that know nothing, on the same pairs; else a
    unit stays unmatched. Two classes' units are tied as a whole where the sum of their matches' scores does so, which
    tells more than any match alone. Answers that are hardly right more often than chance have no analogies.

    Returns:
        The units that are tied one by one, and the classes whose units are tied as a whole.

    Cost: for each image pair, two passes up to the stage and two forward and backward passes from there, three times.
    """
    images = nulls.first(bench.probe_views(name, swaps))
    with frozen(*parents.modules()), torch.no_grad():
        answers = torch.cat([parents.objective(batch) for batch, _ in images])
    if not nulls.knows(answers, torch.cat([right for _, right in images]), bench.settings.concepts):
        return [], []
    moves = look(bench, stage, name, parents, swaps, swap)
    blank = [nulls.shuffled(parents, images, bench.seed(name, "analogies", "shuffled"))]
    if parents.family is None:
        blank.append(_untrained(bench, name, parents))
    nothing = [look(bench, stage, name, one, swaps, swap) for one in blank]
    found: list[Analogy] = []
    whole: list[FeatureAnalogy] = []
    for parent in range(bench.classes):
        for other in range(bench.classes):
            if parent == other:
                continue
            seed = bench.seed(name, "analogies", parent, other)
            matched, *blanks = (match(one, parent, other, runtime.generator(seed)) for one in (moves, *nothing))
            if matched is None:
                continue
            empty = [one for one in blanks if one is not None and one.pairs]
            total, most = float(matched.scores.sum()), max((float(one.scores.sum()) for one in empty), default=0.0)
            if total > max(matched.null, most, 0.0):
                whole.append(FeatureAnalogy(parent, other, tuple(matched.pairs), total, matched.null, most))
            untrained = max((float(one.scores.quantile(0.95)) for one in empty), default=0.0)
            found += [
                Analogy(parent, leaves, other, comes, score, null, untrained)
                for (leaves, comes), score, null in zip(
                    matched.pairs, matched.scores.tolist(), matched.nulls.tolist(), strict=True
                )
                if score > max(null, untrained, 0.0)
            ]
    return found, whole


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


def look(bench: Workbench, stage: str, name: str, parents: Parents, swaps: list[Swap], swap: Swap) -> Moves:
    """What moves at a stage when hosts of the probe set take over what the swap takes from random donors.

    The same pairs for every network that is looked at under this name.
    """
    count = bench.classes * min(bench.classes - 1, bench.settings.probe.partners) * PAIRS
    count = max(LEAST, min(MOST, count))
    numbers = bench.probe_set.repeat(-(-count // len(bench.probe_set)))[:count]
    views, head = bench.views(bench.fit, swaps), parents.head(stage)
    others, rose, moved = [], [], []
    with frozen(*parents.modules()):
        for place, part in enumerate(numbers.split(bench.settings.probe.batch)):
            bench.stopper.check()
            generator = bench.generator(name, "changes", place)
            donors = views.donors.foreign(part, generator)
            with torch.no_grad():
                images, material = views.of(part, generator), views.of(donors, generator)
                before = parents.network.run_until(images, stage).float()
                after = parents.network.run_until(swap.apply(images, material, part, donors), stage).float()
            step = after - before
            rows = torch.arange(len(part), device=step.device)
            own, theirs = (bench.labels[which].to(step.device) for which in (part, donors))
            slope = torch.zeros_like(step)
            for point in POINTS:
                at = (before + point * step).requires_grad_(True)
                answers = head(at)
                (one,) = torch.autograd.grad((answers[rows, theirs] - answers[rows, own]).sum(), at)
                slope += one / len(POINTS)
            moved.append(units_of(parents.network, stage, (slope * step).flatten(2).sum(2)).cpu())
            rose.append(units_of(parents.network, stage, step.flatten(2).mean(2)).cpu())
            others.append(donors)
    labels = bench.labels.cpu()
    return Moves(labels[numbers.cpu()], labels[torch.cat(others).cpu()], torch.cat(rose), torch.cat(moved))


def _untrained(bench: Workbench, name: str, parents: Parents) -> Parents:
    """The same architecture with fresh weights, whatever weights the settings start from; described as the parents'."""
    bare = bench.settings.network.model_copy(update={"weights": None})
    settings = bench.settings.model_copy(update={"network": bare})
    seed = bench.seed(name, "analogies", "untrained")
    network = build_network(settings, bench.data.classes, bench.size, bench.plugins, seed=seed)
    network.to(device=bench.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    bases = parents.network.bases if isinstance(parents.network, Rebased) else {}
    return Parents(parents.key, Rebased(network.eval(), bases) if bases else network.eval())
