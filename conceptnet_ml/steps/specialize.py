"""Step 4, specialize: split a generalized feature into one variant per class or parent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.concepts.evidence import Merged, SplitEvidence
from conceptnet_ml.concepts.model import Family, Trunk
from conceptnet_ml.concepts.readout import Parents
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.steps import specialize
from conceptnet_ml.steps.context import Workbench
from conceptnet_ml.steps.records import Split, Taught
from conceptnet_ml.swap.stop_rule import Decision
from conceptnet_ml.swap.views import Swap


def split(bench: Workbench, stage: str, name: str, parents: Parents, swaps: list[Swap], merged: Merged) -> Split:
    """Variants of a merged feature, read where its detector looks.

    Args:
        swaps: Swaps below this feature, under whose views the variants must still tell the classes apart; none for a
            feature that was just found.
    """
    record = bench.plugins.get("specializer", bench.settings.plugins.specializer)
    trunk = Trunk(parents.network, stage)

    def work() -> dict[str, Any]:
        maps = _maps(bench, name, trunk, swaps)
        labels = bench.labels[bench.probe_set].to(bench.device)
        evidence = SplitEvidence(
            merged.detector, maps, labels, bench.classes, bench.seed(name, "split"), bench.settings.concepts
        )
        variants = record.function("split")(evidence)
        family = Family(trunk, merged.detector, variants)
        return {"state": variants.state_dict(), "accuracy": accuracy(bench, name, family, swaps)}

    with bench.progress.task(f"{name} specialize"):
        done = bench.once(f"{name}/split", work)
    variants = record.function("restore")(done["state"]).to(bench.device).eval().requires_grad_(False)
    return Split(Family(trunk, merged.detector, variants), done["accuracy"])


def _maps(bench: Workbench, name: str, trunk: Trunk, swaps: list[Swap]) -> Tensor:
    views = bench.views(bench.fit, swaps)
    maps = []
    with torch.no_grad(), frozen(trunk):
        for place, numbers in enumerate(bench.probe_set.split(bench.settings.probe.batch)):
            maps.append(trunk(views.of(numbers, bench.generator(name, "split", place))).float())
    return torch.cat(maps)


def accuracy(bench: Workbench, name: str, family: Family, swaps: list[Swap]) -> float:
    """How well a family alone tells the classes apart, on views of the held-out images under these swaps."""
    views = bench.views(bench.held, swaps)
    right = 0
    with torch.no_grad(), frozen(family):
        for place, numbers in enumerate(bench.held.split(bench.settings.probe.batch)):
            answers = family(views.of(numbers, bench.generator(name, "accuracy", place))).argmax(1).cpu()
            right += int((answers == bench.labels[numbers]).sum())
    return right / len(bench.held)


def teach(bench: Workbench, name: str, parents: Parents, swap: Swap) -> Taught:
    """Fit the parent's variants anew on views in which what was found below is exchanged.

    Judged like any round: undone if hardly anything that tells the variants apart remains.
    """
    family = parents.family
    assert family is not None
    assert parents.stage is not None
    merged = Merged(family.detector, {}, [], (), (), 0.0)
    swaps = [*parents.swaps, swap]
    before = specialize.accuracy(bench, f"{name}/teach", family, parents.swaps)
    blind = specialize.accuracy(bench, f"{name}/teach", family, swaps)
    split = specialize.split(bench, parents.stage, f"{name}/teach-{swap.codec.name}", parents, swaps, merged)
    chance = 1 / bench.classes
    floor = chance + bench.settings.round.remains * max(0.0, before - chance)
    keep = split.accuracy >= floor
    sign = "≥" if keep else "<"
    reason = f"the family {before:.2f} → {split.accuracy:.2f} {sign} {floor:.2f} (untaught {blind:.2f})"
    bench.run.log(event="taught", name=name, before=before, blind=blind, after=split.accuracy, keep=keep)
    taught = replace(parents, family=split.family)
    return Taught(taught, Decision(keep, reason), before, split.accuracy, blind)
