"""When to stop: is what the probe swapped one thing among others in a class, or the object itself?

Everything used here is known from held-out training images alone: no label of a cue, no test image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from conceptnet_ml.config.settings import RoundSettings
from conceptnet_ml.network.training import predict_logits
from conceptnet_ml.runtime import seeding
from conceptnet_ml.swap.interchangeability import SwapMeasurement, pooled_iota
from conceptnet_ml.swap.views import Views

HELD_OUT, NEW_WORLD, USER = "held-out images", "pictures of the new world", "the user"
"""Evidence a decision can rest on."""


@dataclass(frozen=True)
class Decision:
    """Whether a swap may become part of all later views.

    Args:
        keep: The decision.
        reason: In words, with the numbers behind it.
        classes: The classes that share the feature, None for all.
        evidence: What it rests on: held-out images, pictures of the new world, or the user's word.
    """

    keep: bool
    reason: str
    classes: tuple[int, ...] | None = None
    evidence: str = HELD_OUT


def decide(measured: SwapMeasurement, settings: RoundSettings) -> Decision:
    """Keep a swap that moves the decision by something that can be exchanged; leave the object itself alone.

    A place-gated swap is judged by ι (any donor's material serves, a class-mate's changes nothing), less the network's
    errors on held-out images. A swap without a place gate is always interchangeable, so it is judged by how much more
    often it flips the answer than a class-mate's does.
    """
    if measured.phi < settings.flips:
        found = "no cheap gate changes the answer" if measured.gate == "place" else "exchanging it changes few answers"
        return Decision(False, f"φ {measured.phi:.2f} < {settings.flips:.2f}: {found}")
    if measured.gate != "place":
        keep = measured.contrast >= settings.decisive
        sign = "≥" if keep else "<"
        what = "decides by itself" if keep else "does not decide by itself"
        return Decision(keep, f"contrast {measured.contrast:.2f} {sign} {settings.decisive:.2f}: it {what}")
    score, least = measured.iota_less_errors(settings.imperfection), settings.interchangeable
    wrong = settings.imperfection * (1 - measured.answered)
    found = f"ι {measured.iota:.2f} − {wrong:.2f} for errors"
    if score >= least:
        return Decision(True, f"{found} ≥ {least:.2f}: one thing among others, it can be exchanged")
    few = sharing_classes(measured, settings)
    if few:
        iota = pooled_iota(measured.within(few, 0)[0])
        some = f"but {len(few)} of {len(measured.iotas)} classes share it, ι {iota:.2f}"
        return Decision(True, f"{found} < {least:.2f}, {some}: one thing among others in these", few)
    # Without its errors it would be kept: a cue with exceptions, or an object that is hard to learn.
    what = "it errs too often to tell" if measured.iota >= least else "it cannot be exchanged, this is the object"
    return Decision(False, f"{found} < {least:.2f}: {what}")


def sharing_classes(measured: SwapMeasurement, settings: RoundSettings) -> tuple[int, ...]:
    """The classes that share an exchangeable feature, where not all do; empty if there are none.

    The class with the lowest ι is left out, again and again, until the rest passes. A search over subsets finds
    something by chance, so the rest must pass three quarters of the way from the threshold to one.
    """
    classes = tuple(range(len(measured.iotas)))
    strict = (settings.interchangeable + 3) / 4
    while len(classes) > 2 and measured.met:
        iotas, _ = measured.within(classes, settings.imperfection)
        lowest = min(range(len(classes)), key=iotas.__getitem__)
        classes = (*classes[:lowest], *classes[lowest + 1 :])
        if measured.within(classes, settings.imperfection)[1] >= strict:
            return classes
    return ()


def decide_round(r_before: float, r_after: float, r_without: float, chance: float, settings: RoundSettings) -> Decision:
    """Whether a trained round is kept; see :func:`conceptnet_ml.steps.generalize.train_views`."""
    floor = chance + settings.remains * max(0.0, r_before - chance)
    change = f"r {r_before:.2f} → {r_after:.2f}"
    if r_after < floor:
        return Decision(False, f"{change} < {floor:.2f}, the least that must remain")
    if r_after > r_without + settings.inverted:
        return Decision(False, f"{change}, but {r_without:.2f} where nothing is exchanged: it was the object itself")
    return Decision(True, f"{change} ≥ {floor:.2f}, the least that must remain; {r_without:.2f} without the swap")


def residual_accuracy(network: nn.Module, views: Views, numbers: Tensor, seed: int, dtype: torch.dtype | None) -> float:
    """r, the accuracy on views of these held-out images, each with fresh donors of its own."""
    right = 0
    for place, batch in enumerate(numbers.split(512)):
        generator = seeding.generator(seeding.seed_for(seed, "residual", place))
        logits = predict_logits(network, views.of(batch, generator), dtype)
        right += int((logits.argmax(1).cpu() == views.images.labels[batch]).sum())
    return right / max(1, len(numbers))
