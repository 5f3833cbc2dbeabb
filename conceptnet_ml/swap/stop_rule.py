"""Decisions on swaps: what a stop rule returns before training, and whether a trained round is kept.

Everything used here is known from held-out training images alone: no label of a cue, no test image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from conceptnet_ml.config.settings import RoundSettings
from conceptnet_ml.network.training import predict_logits
from conceptnet_ml.runtime import seeding
from conceptnet_ml.swap.interchangeability import SwapMeasurement
from conceptnet_ml.swap.sureness import Sureness, redrawn_shares, sureness
from conceptnet_ml.swap.views import Views

HELD_OUT, NEW_WORLD, USER = "held-out images", "pictures of the new world", "the user"
"""Evidence a decision can rest on."""


MANY = 20
"""Classes beyond which a rule is not asked again: the search for those that share a feature would take minutes."""


@dataclass(frozen=True)
class Compared:
    """What a rule compared with a threshold.

    Args:
        figure: In words.
        least: The threshold.
        of: The figure of a measurement.
    """

    figure: str
    least: float
    of: Callable[[SwapMeasurement], float] = field(compare=False)


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
        undecided: Refused for want of evidence: what contradicting images show is asked first, before another swap is
            kept (``round.reads``).
        compared: What the rule compared, if it says so. It is asked then what it would have decided on other draws of
            the held-out images.
        sureness: How sure it is, as far as the choice of these images goes; None where that is not known.
    """

    keep: bool
    reason: str
    classes: tuple[int, ...] | None = None
    evidence: str = HELD_OUT
    score: float | None = None
    last: bool = False
    undecided: bool = False
    compared: Compared | None = None
    sureness: Sureness | None = None

    def instead(self, keep: bool, reason: str, evidence: str | None = None, sure: Sureness | None = None) -> Decision:
        """Another decision in its place, which takes nothing of its sureness over."""
        return replace(self, keep=keep, reason=reason, evidence=evidence or self.evidence, sureness=sure)


def how_sure(
    measured: SwapMeasurement, decision: Decision, rule: Callable[[SwapMeasurement], Decision]
) -> Sureness | None:
    """How sure a rule's decision is: what it decides on other draws of the held-out images.

    None where the rule does not say what it compared, or the measurement not what it counted. With more than ``MANY``
    classes the threshold alone is asked.
    """
    compared = decision.compared
    if compared is None or measured.hits is None:
        return None
    again = list(measured.redrawn())
    same: list[bool | None] = [None] * len(again)
    if len(measured.images) <= MANY:
        same = [_agrees(rule(one), decision) for one in again]
    value, values = compared.of(measured), map(compared.of, again)
    return sureness(compared.figure, compared.least, value, values, same, len(measured.hits.labels))


def _agrees(other: Decision, decision: Decision) -> bool | None:
    """Whether a draw decides the same; None where both hang on the same figure, which says it."""
    if other.compared is not None and other.compared == decision.compared:
        return None
    return other.keep == decision.keep


def decide_round(r_before: float, r_after: float, r_without: float, chance: float, settings: RoundSettings) -> Decision:
    """Whether a trained round is kept; see :func:`conceptnet_ml.steps.generalize.train_views`."""
    floor = chance + settings.remains * max(0.0, r_before - chance)
    change = f"r {r_before:.2f} → {r_after:.2f}"
    if r_after < floor:
        return Decision(False, f"{change} < {floor:.2f}, the least that must remain")
    if r_after > r_without + settings.inverted:
        return Decision(False, f"{change}, but {r_without:.2f} where nothing is exchanged: it was the object itself")
    return Decision(True, f"{change} ≥ {floor:.2f}, the least that must remain; {r_without:.2f} without the swap")


def sure_of_round(
    hits: tuple[Tensor, Tensor, Tensor], labels: Tensor, classes: int, settings: RoundSettings
) -> Sureness:
    """How sure :func:`decide_round` is.

    Args:
        hits: Which held-out images were answered rightly before, after, and after without the swap, (N,) each.
        labels: (N,) their classes.
    """

    def figure(r_before: float, r_after: float, r_without: float) -> float:
        return r_without - r_after if inverted else r_after

    chance = 1 / classes
    before, after, without = (share(one) for one in hits)
    keep = decide_round(before, after, without, chance, settings).keep
    floor = chance + settings.remains * max(0.0, before - chance)
    inverted = not keep and after >= floor
    name, least = ("r without the swap − r", -settings.inverted) if inverted else ("r", floor)
    again = redrawn_shares(hits, labels, classes)
    same = (decide_round(one[0], one[1], one[2], chance, settings).keep == keep for one in again)
    return sureness(name, least, figure(before, after, without), (figure(*rs) for rs in again), same, len(labels))


def residual_accuracy(network: nn.Module, views: Views, numbers: Tensor, seed: int, dtype: torch.dtype | None) -> float:
    """r, the accuracy on views of these held-out images, each with fresh donors of its own."""
    return share(residual_hits(network, views, numbers, seed, dtype))


def residual_hits(network: nn.Module, views: Views, numbers: Tensor, seed: int, dtype: torch.dtype | None) -> Tensor:
    """(N,) which of these held-out images are answered rightly in such views."""
    right = torch.zeros(len(numbers), dtype=torch.bool)
    for place, batch in enumerate(numbers.split(512)):
        generator = seeding.generator(seeding.seed_for(seed, "residual", place))
        logits = predict_logits(network, views.of(batch, generator), dtype)
        right[512 * place :][: len(batch)] = logits.argmax(1).cpu() == views.images.labels[batch]
    return right


def share(hits: Tensor) -> float:
    """Of (N,) hits."""
    return int(hits.sum()) / max(1, len(hits))
