"""Between generalize and specialize: is a feature generalized, or does a fresh network still find it in the views?"""

from __future__ import annotations

from dataclasses import replace

import torch

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.probe import gates, probe_representation
from conceptnet_ml.steps.records import Closure
from conceptnet_ml.swap.views import Swap

WEIGHT = 2.0
"""Of a fresh network's errors against ι: less than in the stop rule, since so short a training leaves some anyway."""


def check_closure(
    ctx: Context, name: str, swaps: list[Swap], swap: Swap, classes: tuple[int, ...] | None = None
) -> Closure:
    """Train a fresh network for a few epochs on the views and probe it.

    What is left of a feature outside its gates is the first thing a fresh network learns, since it fits every label,
    while the network of the round, which has learned the object meanwhile, mixes the two. For that reason the training
    is kept short, so that the object is not learned well: its errors count against ι, as everywhere. ``classes`` are
    those that share the feature, None for all.

    Cost: ``round.fresh`` epochs and one probe of the held-out images.
    """
    settings = ctx.settings
    views = ctx.views(ctx.fit, [*swaps, swap])
    fresh = ctx.train(f"{name}/fresh", ctx.network(), views, settings.round.fresh, settings.training.rate)
    parents = Readout("classes", fresh, swaps=[*swaps, swap])
    judged = probe_representation(ctx, name, parents, parents.swaps, swap.codec)
    measured = judged.measured
    score = measured.separable(WEIGHT) if classes is None else measured.within(classes, WEIGHT)[1]
    closed = score < settings.round.closed or measured.phi < settings.round.flips
    ctx.run.log(event="closure", name=name, score=score, closed=closed)
    return Closure(judged, parents, score, closed)


def widened(ctx: Context, name: str, swaps: list[Swap], swap: Swap, found: Closure) -> Swap:
    """The swap with the fresh network's gates joined to its own: later gates of a feature belong to it."""
    more = gates(ctx, name, found.readout, [*swaps, swap], swap.codec)
    assert more is not None
    assert swap.gates is not None
    shut = (swap.gates.flatten(1).amax(1) == 0).view(-1, *[1] * (more.ndim - 1))  # classes that do not share it
    wider = torch.where(shut, 0, torch.maximum(swap.gates, more))
    return replace(swap, gates=wider, widened=swap.widened + 1, _opened={})
