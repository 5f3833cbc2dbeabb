"""Which unit of one class plays the part of which unit of another: what leaves where the donor's feature comes in."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from conceptnet_ml.concepts import Analogy, Trunk
from conceptnet_ml.finding import Finding
from conceptnet_ml.probing import frozen
from conceptnet_ml.swaps import Swap, Views
from conceptnet_ml.workbench import Parents, Workbench

PAIRS = 512
"""Image pairs on which analogies are judged."""
SHUFFLES = 20


def find(
    bench: Workbench,
    stage: str,
    name: str,
    parents: Parents,
    swaps: list[Swap],
    swap: Swap,
    findings: list[Finding],
) -> list[Analogy]:
    """One-to-one matches between each class's units that fell and every other class's feature units that rose.

    A match needs a score above what shuffling the pairs within their class gives (the dustbin); the best assignment is
    found by the Hungarian method. Every unit of the stage may fall, so that a class without a feature of its own (told
    by what it lacks) still gets its analogues.
    """
    numbers, donors, change = _changes(bench, stage, name, parents, swaps, swap)
    labels = bench.labels
    found: list[Analogy] = []
    for finding in findings:
        for parent in range(bench.classes):
            mine = (labels[numbers] == parent) & (labels[donors] == finding.parent)
            if parent == finding.parent or int(mine.sum()) < 8:
                continue
            rises = change[mine][:, list(finding.units)].clamp_min(0)
            falls = (-change[mine]).clamp_min(0)
            generator = bench.generator(name, "analogies", finding.parent, parent)
            found += _match(finding, parent, rises, falls, generator)
    return found


def _match(finding: Finding, parent: int, rises: Tensor, falls: Tensor, generator: torch.Generator) -> list[Analogy]:
    score = _cosine(rises, falls)
    shuffled = torch.stack(
        [_cosine(rises, falls[torch.randperm(len(falls), generator=generator)]) for _ in range(SHUFFLES)]
    )
    score = score - shuffled.mean(0)
    # Against the best of all pairs in each shuffle: the assignment picks the best, so its null must too.
    null = shuffled.sub(shuffled.mean(0)).flatten(1).amax(1).quantile(0.95).expand_as(score)
    gain = (score - null).clamp_min(0)
    rows, columns = linear_sum_assignment(gain.numpy(), maximize=True)
    return [
        Analogy(
            parent, int(column), finding.parent, finding.units[row], float(score[row, column]), float(null[row, column])
        )
        for row, column in zip(rows, columns, strict=True)
        if gain[row, column] > 0 and int(column) not in finding.units
    ]


def _cosine(rises: Tensor, falls: Tensor) -> Tensor:
    """(risen units, all units): cosine over pairs."""
    return (rises / rises.norm(dim=0).clamp_min(1e-9)).T @ (falls / falls.norm(dim=0).clamp_min(1e-9))


def _changes(
    bench: Workbench, stage: str, name: str, parents: Parents, swaps: list[Swap], swap: Swap
) -> tuple[Tensor, Tensor, Tensor]:
    """Hosts, donors, and per pair how much each unit changed where the swap acts, (pairs, C) in spreads of the unit."""
    numbers = bench.probe_set[:PAIRS]
    views: Views = bench.views(bench.fit, swaps)
    look = Trunk(parents.network, stage)
    donors, changes, maps_seen = [], [], []
    with torch.no_grad(), frozen(parents.network):
        for place, part in enumerate(numbers.split(bench.settings.probe.batch)):
            generator = bench.generator(name, "changes", place)
            others = views.donors.foreign(part, generator)
            images, material = views.of(part, generator), views.of(others, generator)
            before = look(images).float()
            after = look(swap.apply(images, material, part, others)).float()
            difference = (after - before).flatten(2)
            changes.append(difference.mean(2).cpu())
            maps_seen.append(before.flatten(2).transpose(1, 2).flatten(0, 1).cpu())
            donors.append(others)
    scale = torch.cat(maps_seen).std(0).clamp_min(1e-6)
    return numbers, torch.cat(donors), torch.cat(changes) / scale
