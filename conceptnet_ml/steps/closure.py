"""Part of step 3: is a feature generalized, or does a fresh network still find it in the views?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.exceptions import read_views
from conceptnet_ml.steps.gates import gates, probe_representation
from conceptnet_ml.steps.purify import fixed_places, purify
from conceptnet_ml.steps.records import Closure, ProbeResult, Site
from conceptnet_ml.swap.interchangeability import SwapMeasurement
from conceptnet_ml.swap.sureness import Sureness, sureness
from conceptnet_ml.swap.views import Swap

WEIGHT = 2.0
"""Of a fresh network's errors against ι: less than in the stop rule, since so short a training leaves some anyway."""


def close(
    ctx: Context, site: Site, swaps: list[Swap], swap: Swap, probed: ProbeResult
) -> tuple[Swap, tuple[Closure, ...]]:
    """Widen a place-gated swap until a fresh network, trained on the views, no longer finds the feature in them.

    Before the round's own training, which costs most. Only at the top stage. Where a network was asked that reads a cue
    with exceptions alone, the fresh one is taught what that says, so that it cannot learn the object. Any other may
    find parts of the object elsewhere. Where the cue stands in the same places of all images, these alone are joined to
    the gates; elsewhere what is found is purified first.

    Args:
        swaps: The kept swaps of all rounds.
        probed: The probe that the swap comes from.

    Returns:
        The swap and what each check found.
    """
    checks: list[Closure] = []
    classes = probed.decision.classes
    if site.at_top and site.readout.says is not None:
        return _close_told(ctx, site, swaps, swap, site.readout.says)
    if not site.at_top or swap.codec.gate != "place" or probed.measured.told is not None:
        return swap, ()
    for turn in range(1, ctx.settings.round.closures + 1):
        at = replace(site, name=f"{site.name}/closure-{turn}")
        checks.append(check_closure(ctx, at, [*swaps, swap], classes))
        if checks[-1].closed:
            break
        wider = _widened(ctx, replace(at, readout=checks[-1].readout), swap)
        if ctx.settings.round.purify and classes is None:
            assert wider.gates is not None
            more = fixed_places(ctx, at, swap, wider.gates)
            if not more.any():
                pure = purify(ctx, at, wider, probed).gates
                assert pure is not None
                more = pure
            wider = joined(swap, more)
        swap = wider
    return swap, tuple(checks)


def _close_told(
    ctx: Context, site: Site, swaps: list[Swap], swap: Swap, says: Tensor
) -> tuple[Swap, tuple[Closure, ...]]:
    """Join to the gates what a fresh network that is taught what a cue with exceptions says, and cannot use the object,
    still reads of the views, places or channels alike, until it tells less than ``round.closed``."""
    checks: list[Closure] = []
    for turn in range(1, ctx.settings.round.closures + 1):
        under = [*swaps, swap]
        fresh, left = read_views(ctx, f"{named(site, swap)}/left", under, says)
        readout = Readout("classes", fresh, swaps=under, told=left)
        at = replace(site, name=f"{site.name}/closure-{turn}", readout=readout)
        closed = left < ctx.settings.round.closed
        checks.append(Closure(probe_representation(ctx, at, swap.codec), readout, left, closed))
        ctx.run.log(event="closure", name=at.name, score=left, closed=closed)
        more = None if closed else gates(ctx, at, swap.codec)
        if more is None or not more.any():
            break
        swap = joined(swap, more)
    return swap, tuple(checks)


def named(site: Site, swap: Swap) -> str:
    """The step that trains with this swap; with a widened one it is a step of its own."""
    return f"{site.name}/closure-{swap.widened}" if swap.widened else site.name


def check_closure(ctx: Context, site: Site, swaps: list[Swap], classes: tuple[int, ...] | None = None) -> Closure:
    """Train a fresh network for a few epochs on the views and probe it.

    What is left of a feature outside its gates is the first thing a fresh network learns, since it fits every label,
    while the network of the round, which has learned the object meanwhile, mixes the two. For that reason the training
    is kept short, so that the object is not learned well: its errors count against ι, as everywhere.

    Args:
        swaps: Of the views, the newest last; its representation is probed.

    Cost: ``round.fresh`` epochs and one probe of the held-out images.
    """
    settings = ctx.settings
    views = ctx.views(ctx.fit, swaps)
    fresh = ctx.train_auxiliary(f"{site.name}/fresh", views, settings.round.fresh, "rounds")
    readout = Readout("classes", fresh, swaps=swaps)
    probed = probe_representation(ctx, replace(site, readout=readout), swaps[-1].codec)
    measured, least = probed.measured, settings.round.closed

    def score_of(one: SwapMeasurement) -> float:
        return one.iota_less_errors(WEIGHT) if classes is None else one.within(classes, WEIGHT)[1]

    score = score_of(measured)
    closed = score < least or measured.phi < settings.round.flips
    sure = _how_sure(measured, score_of, least, settings.round.flips)
    found = {} if sure is None else {"sureness": sure.record()}
    ctx.run.log(event="closure", name=site.name, score=score, closed=closed, **found)
    return Closure(probed, readout, score, closed, sure)


def _how_sure(
    measured: SwapMeasurement, score_of: Callable[[SwapMeasurement], float], least: float, flips: float
) -> Sureness | None:
    """How sure it is that a check is closed, or open: by φ or by its score, each below what is asked closes it."""
    if measured.hits is None:
        return None
    again, images = list(measured.redrawn()), len(measured.hits.labels)
    scores, phis = [score_of(one) for one in again], [one.phi for one in again]
    if measured.phi < flips:
        return sureness("φ", flips, measured.phi, phis, [True if one < least else None for one in scores], images)
    value = score_of(measured)
    same = [value < least if phi < flips else None for phi in phis]
    return sureness("ι less errors", least, value, scores, same, images)


def _widened(ctx: Context, site: Site, swap: Swap) -> Swap:
    """The swap with the gates of the site's fresh network joined to its own, in the classes that share these."""
    more = gates(ctx, site, swap.codec)
    assert more is not None
    assert swap.gates is not None
    shut = (swap.gates.flatten(1).amax(1) == 0).view(-1, *[1] * (more.ndim - 1))  # classes that do not share it
    return joined(swap, torch.where(shut, 0, more))


def joined(swap: Swap, more: Tensor) -> Swap:
    """The swap with these gates joined to its own, where they open anything."""
    assert swap.gates is not None
    if not more.any():
        return swap
    return replace(swap, gates=torch.maximum(swap.gates, more), widened=swap.widened + 1)
