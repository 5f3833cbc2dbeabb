"""Part of step 3: which unit of one class plays the part of which of another, and the causal test of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from conceptnet_ml.concepts import null_models
from conceptnet_ml.concepts.analogies import UnitChanges, match_units, measure_translation
from conceptnet_ml.concepts.attribution import path_gradients
from conceptnet_ml.concepts.evidence import Analogy, FeatureAnalogy, Translation
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.network.basis import BasisNetwork, units_of
from conceptnet_ml.network.build import build_untrained
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.runtime import layout, seeding
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import Site
from conceptnet_ml.swap.pairs import pairs
from conceptnet_ml.swap.views import Swap


def translate(ctx: Context, site: Site, tied: Sequence[FeatureAnalogy]) -> Translation | None:
    """Exchange, in images of a class that are answered rightly, the units of the class with those of another.

    The answer is translated where it becomes the other class. Only the stage's maps are touched; both units of a pair
    keep their own mean and spread, so that only *which images they answer* is exchanged. None where nothing is matched.

    Cost: for each pair of classes with matches, ``2 + DRAWS`` passes from the stage on over :data:`IMAGES` images.
    """
    if not tied:
        return None
    with frozen(*site.readout.modules()), torch.no_grad():
        evidence = ctx.evidence(site.stage, site.name, site.readout)
        return measure_translation(evidence, tied, ctx.generator(site.name, "translate"))


PAIRS = 128
"""Image pairs for each pair of classes."""

LEAST, MOST = 512, 16_384
"""Image pairs in all."""

POINTS = 2
"""Midpoints of the integrated gradients."""


def find_analogies(ctx: Context, site: Site, swap: Swap) -> tuple[list[Analogy], list[FeatureAnalogy]]:
    """One-to-one matches between the units through which a class's answer leaves and those through which another comes.

    Where a feature is swapped, the answer moves from the host's to the donor's: some units fall that spoke for the
    host's class, some rise that speak for the donor's. A unit's share of that is its change times the slope of "donor's
    answer less host's" (integrated gradients from the image to the swapped one), so units are matched by what they do
    downstream, not by how they look. Two units belong together when over the pairs what leaves through one goes with
    what comes through the other. Matches are found by the Hungarian method and must score above those found in shuffles
    of the pairs within their classes, and above those found in networks that know nothing, on the same pairs; else a
    unit stays unmatched. Two classes' units are tied as a whole where the sum of their matches' scores does so, which
    tells more than any match alone. Near chance accuracy there are none.

    Returns:
        The units that are tied one by one, and the classes whose units are tied as a whole.

    Cost: for each image pair, two passes up to the stage and two forward and backward passes from there, three times.
    """
    readout, name = site.readout, site.name
    images = null_models.first_images(ctx.probe_views(name, readout.swaps))
    with frozen(*readout.modules()), torch.no_grad():
        answers = torch.cat([readout.logits(batch) for batch, _ in images])
    if not null_models.better_than_chance(answers, torch.cat([right for _, right in images]), ctx.settings.concepts):
        return [], []
    moves = unit_moves(ctx, site, readout, swap)
    blank = [null_models.shuffle_weights(readout, images, ctx.seed(name, "analogies", "shuffled"))]
    if readout.family is None:
        blank.append(_untrained(ctx, name, readout))
    nothing = [unit_moves(ctx, site, one, swap) for one in blank]
    found: list[Analogy] = []
    whole: list[FeatureAnalogy] = []
    for parent in range(ctx.classes):
        for other in range(ctx.classes):
            if parent == other:
                continue
            seed = ctx.seed(name, "analogies", parent, other)
            matched, *blanks = (match_units(one, parent, other, seeding.generator(seed)) for one in (moves, *nothing))
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


def unit_moves(ctx: Context, site: Site, readout: Readout, swap: Swap) -> UnitChanges:
    """What moves at a stage when hosts of the probe set take over what the swap takes from random donors.

    The same pairs for every readout that is looked at at this site.
    """
    stage = site.stage
    count = ctx.classes * min(ctx.classes - 1, ctx.settings.probe.partners) * PAIRS
    count = max(LEAST, min(MOST, count))
    numbers = ctx.probe_set.repeat(-(-count // len(ctx.probe_set)))[:count]
    views, head = ctx.views(ctx.fit, site.readout.swaps), readout.head(stage)
    seeds = partial(ctx.generator, site.name, "changes")
    others, rose, moved = [], [], []
    with frozen(*readout.modules()):
        for met in pairs(views, numbers, ctx.settings.probe.batch, seeds):
            ctx.stopper.check()
            with torch.no_grad():
                before = readout.network.run_until(met.images, stage).float()
                swapped = swap.apply(met.images, met.material, met.hosts, met.donors)
                step = readout.network.run_until(swapped, stage).float() - before
            rows, own = torch.arange(len(step), device=step.device), ctx.labels[met.hosts].to(step.device)

            def lead(maps: Tensor, rows: Tensor = rows, own: Tensor = own, theirs: Tensor = met.targets) -> Tensor:
                """The donor's answer less the host's."""
                answers = head(maps)
                return answers[rows, theirs] - answers[rows, own]

            slope = torch.zeros_like(step)
            for gradient in path_gradients(lead, before, step, POINTS):
                slope += gradient / POINTS
            moved.append(units_of(readout.network, stage, (slope * step).flatten(2).sum(2)).cpu())
            rose.append(units_of(readout.network, stage, step.flatten(2).mean(2)).cpu())
            others.append(met.donors)
    labels = ctx.labels.cpu()
    return UnitChanges(labels[numbers.cpu()], labels[torch.cat(others).cpu()], torch.cat(rose), torch.cat(moved))


def _untrained(ctx: Context, name: str, readout: Readout) -> Readout:
    """The same architecture with fresh weights, whatever weights the settings start from; described as the
    readout's."""
    seed = ctx.seed(name, "analogies", "untrained")
    network = build_untrained(ctx.settings, ctx.data.classes, ctx.size, ctx.plugins, seed, ctx.data.shape[0])
    layout.to_device(network, ctx.device)
    bases = readout.network.bases if isinstance(readout.network, BasisNetwork) else {}
    return Readout(readout.key, BasisNetwork(network.eval(), bases) if bases else network.eval())
