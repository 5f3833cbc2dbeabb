"""Step 4, specialize: split a generalized feature into one variant per class or parent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.concepts.evidence import Merged, SplitEvidence
from conceptnet_ml.concepts.model import Family, Trunk
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.steps import specialize
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import RefitVariants, Split
from conceptnet_ml.swap.stop_rule import Decision
from conceptnet_ml.swap.views import Swap


def split(ctx: Context, stage: str, name: str, readout: Readout, swaps: list[Swap], merged: Merged) -> Split:
    """Variants of a merged feature, read where its detector looks.

    Args:
        swaps: Swaps below this feature, under whose views the variants must still tell the classes apart; none for a
            feature that was just found.
    """
    record = ctx.plugins.get("specializer", ctx.settings.plugins.specializer)
    trunk = Trunk(readout.network, stage)

    def work() -> dict[str, Any]:
        maps = _maps(ctx, name, trunk, swaps)
        labels = ctx.labels[ctx.probe_set].to(ctx.device)
        evidence = SplitEvidence(
            merged.detector, maps, labels, ctx.classes, ctx.seed(name, "split"), ctx.settings.concepts
        )
        variants = record.function("split")(evidence)
        family = Family(trunk, merged.detector, variants)
        return {"state": variants.state_dict(), "accuracy": accuracy(ctx, name, family, swaps)}

    with ctx.progress.task(f"{name} specialize"):
        done = ctx.once(f"{name}/split", work)
    variants = record.function("restore")(done["state"]).to(ctx.device).eval().requires_grad_(False)
    return Split(Family(trunk, merged.detector, variants), done["accuracy"])


def _maps(ctx: Context, name: str, trunk: Trunk, swaps: list[Swap]) -> Tensor:
    views = ctx.views(ctx.fit, swaps)
    maps = []
    with torch.no_grad(), frozen(trunk):
        for place, numbers in enumerate(ctx.probe_set.split(ctx.settings.probe.batch)):
            maps.append(trunk(views.of(numbers, ctx.generator(name, "split", place))).float())
    return torch.cat(maps)


def accuracy(ctx: Context, name: str, family: Family, swaps: list[Swap]) -> float:
    """How well a family alone tells the classes apart, on views of the held-out images under these swaps."""
    views = ctx.views(ctx.held, swaps)
    right = 0
    with torch.no_grad(), frozen(family):
        for place, numbers in enumerate(ctx.held.split(ctx.settings.probe.batch)):
            answers = family(views.of(numbers, ctx.generator(name, "accuracy", place))).argmax(1).cpu()
            right += int((answers == ctx.labels[numbers]).sum())
    return right / len(ctx.held)


def teach(ctx: Context, name: str, readout: Readout, swap: Swap) -> RefitVariants:
    """Fit the parent's variants anew on views in which what was found below is exchanged.

    Judged like any round: undone if hardly anything that tells the variants apart remains.
    """
    family = readout.family
    assert family is not None
    assert readout.stage is not None
    merged = Merged(family.detector, {}, [], (), (), 0.0)
    swaps = [*readout.swaps, swap]
    before = specialize.accuracy(ctx, f"{name}/teach", family, readout.swaps)
    blind = specialize.accuracy(ctx, f"{name}/teach", family, swaps)
    split = specialize.split(ctx, readout.stage, f"{name}/teach-{swap.codec.name}", readout, swaps, merged)
    chance = 1 / ctx.classes
    floor = chance + ctx.settings.round.remains * max(0.0, before - chance)
    keep = split.accuracy >= floor
    sign = "≥" if keep else "<"
    reason = f"the family {before:.2f} → {split.accuracy:.2f} {sign} {floor:.2f} (untaught {blind:.2f})"
    ctx.run.log(event="taught", name=name, before=before, blind=blind, after=split.accuracy, keep=keep)
    taught = replace(readout, family=split.family)
    return RefitVariants(taught, Decision(keep, reason), before, split.accuracy, blind)
