"""A family: one variant of a generalized feature for each class; split off, measured, and refitted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.concepts.evidence import Merged, SplitEvidence
from conceptnet_ml.concepts.model import Family, Trunk
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import RefitVariants, Site, Split
from conceptnet_ml.swap.stop_rule import Decision
from conceptnet_ml.swap.views import Swap


def split(ctx: Context, site: Site, merged: Merged) -> Split:
    """Variants of a merged feature, read where its detector looks.

    They must tell the classes apart under the swaps of the site's readout.

    Cost: one pass over the probe set, what the specializer takes, and one pass over the held-out images.
    """
    record = ctx.plugins.get("specializer", ctx.settings.plugins.specializer)
    trunk, swaps = Trunk(site.readout.network, site.stage), site.readout.swaps

    def work() -> dict[str, Any]:
        maps = _maps(ctx, site.name, trunk, swaps)
        labels = ctx.labels[ctx.probe_set].to(ctx.device)
        seed = ctx.seed(site.name, "split")
        evidence = SplitEvidence(merged.detector, maps, labels, ctx.classes, seed, ctx.settings.concepts)
        variants = record.function("split")(evidence)
        with torch.no_grad():
            answers = record.guard("split", variants)(maps[:2], merged.detector(maps[:2]))
        record.must_return("split", "the answers of variants", answers, (len(maps[:2]), ctx.classes))
        family = Family(trunk, merged.detector, variants)
        return {"state": variants.state_dict(), "accuracy": accuracy(ctx, site.name, family, swaps)}

    with ctx.progress.task(f"{site.name} specialize"):
        done = ctx.once(f"{site.name}/split", work)
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


def refit(ctx: Context, site: Site, swap: Swap) -> RefitVariants:
    """Fit the variants of a readout again, on views in which what was found below them is exchanged.

    Judged like any round: undone if hardly anything that tells the variants apart remains.

    Args:
        site: The round below the readout's own stage.
        swap: Of that round.
    """
    readout, name = site.readout, site.name
    assert readout.family is not None
    assert readout.stage is not None
    merged = Merged(readout.family.detector, {}, [], (), (), 0.0)
    under = replace(readout, swaps=[*readout.swaps, swap])
    before = accuracy(ctx, f"{name}/teach", readout.family, readout.swaps)
    blind = accuracy(ctx, f"{name}/teach", readout.family, under.swaps)
    found = split(ctx, Site(readout.stage, under, f"{name}/teach-{swap.codec.name}"), merged)
    chance = 1 / ctx.classes
    floor = chance + ctx.settings.round.remains * max(0.0, before - chance)
    keep = found.accuracy >= floor
    sign = "≥" if keep else "<"
    reason = f"the family {before:.2f} → {found.accuracy:.2f} {sign} {floor:.2f} (untaught {blind:.2f})"
    ctx.run.log(event="taught", name=name, before=before, blind=blind, after=found.accuracy, keep=keep)
    return RefitVariants(replace(readout, family=found.family), Decision(keep, reason), before, found.accuracy, blind)
