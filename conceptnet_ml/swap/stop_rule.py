"""Decisions on swaps: what a stop rule returns before training, and whether a trained round is kept.

Everything used here is known from held-out training images alone: no label of a cue, no test image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from conceptnet_ml.config.settings import RoundSettings
from conceptnet_ml.network.training import predict_logits
from conceptnet_ml.runtime import seeding
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
        score: How near the rule was to keeping it, more is nearer: where the user keeps a round of which the rule kept
            nothing, the highest is taken. None where the rule does not say; the built-in rule's figures count then.
        last: Whether to keep it only where no swap of places is kept in the round.
        undecided: Refused for want of evidence: the rule is asked once more, with ``SwapMeasurement.alone``.
    """

    keep: bool
    reason: str
    classes: tuple[int, ...] | None = None
    evidence: str = HELD_OUT
    score: float | None = None
    last: bool = False
    undecided: bool = False


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
