"""Iterated distillation and amplification: many calls of a network answer together, a new network learns it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from conceptnet_ml import BaselineContext, SettingsError, StagedNetwork, ViewMaker

from .clouds_to_cars import climb

TIMES = 3
"""Most generations where the user says nothing."""
CALLS = ("as it is", "augmented", "dreamed")
VIEWS = 8
"""Views of an image, augmented as in training, whose mean log-probability is one call."""
LEAST = 6
"""Held-out images a class must have: three to fit the calls' weights on, three for the gates."""
STEPS = 20
"""Of Newton's method."""
ONE_SIDED = 1.645
"""Standard errors below a mean where its lower 95 % bound is."""


def fit(context: BaselineContext) -> StagedNetwork:
    """Amplify the ordinary network, distil into a fresh one, and again, while both gates say that it is worth it.

    A network's calls on an image are its answer, its mean answer to the image augmented as in training, and how likely
    each class becomes where the image is dreamed toward it. Their weights are fitted to half of the held-out images.
    On the other half the weighted answer must be likelier than the answer alone, and later the student likelier than
    its teacher: the lower 95 % bound of the mean gain is above zero, both with a temperature of their own. Else it
    ends with the teacher. The student learns the amplified answers to the training images, as long as ordinary
    training takes. The argument says how many generations at most; what gates say is noted. (Christiano, Shlegeris and
    Amodei, arXiv 1810.08575, put it for questions that are taken apart.)

    Cost: for each generation ordinary training, and about 40 passes over the images with two classes.

    Raises:
        SettingsError: A class has too few held-out images.
    """
    return generations(context, CALLS, gated=True)


def ungated(context: BaselineContext) -> StagedNetwork:
    """As it was first put: so many generations, whatever the gates would say."""
    return generations(context, CALLS, gated=False)


def alone(context: BaselineContext) -> StagedNetwork:
    """The control: a network learns another's answers as they are, without amplification and gates."""
    return generations(context, CALLS[:1], gated=False)


def generations(context: BaselineContext, used: Sequence[str], gated: bool) -> StagedNetwork:
    """The last network that the gates let pass; without gates that of the last generation."""
    fitted, judged = halves(context)
    labels = context.plain.images.labels
    teacher = context.ordinary
    for time in range(1, int(context.argument or TIMES) + 1):
        there, here = (calls(context, teacher, context.plain.raw(some), used, time) for some in (fitted, judged))
        weights = fitted_weights(there, labels[fitted])
        before = likelihood(there[:, :1], here[:, :1], labels, fitted, judged)
        gain = (here * weights[:, None]).sum(1).log_softmax(1)[range(len(judged)), labels[judged]] - before
        bound = lower_bound(gain)
        told: dict[str, Any] = {"weights": dict(zip(used, weights.tolist(), strict=True))}
        context.note(f"amplified-{time}", **told, gain=float(gain.mean()), lower_bound=bound)
        if gated and bound <= 0:
            break
        answers = context.batched(f"answers-{time}", partial(_amplified, context, teacher, weights, used, time))
        student = context.train(
            f"train-{time}", context.fresh(), relabelled(context.plain, answers), context.ordinary_epochs
        )
        context.measure(f"train-{time}", student)
        own = [calls(context, student, context.plain.raw(some), CALLS[:1], time) for some in (fitted, judged)]
        gain = likelihood(own[0], own[1], labels, fitted, judged) - before
        bound = lower_bound(gain)
        context.note(f"distilled-{time}", gain=float(gain.mean()), lower_bound=bound)
        if gated and bound <= 0:
            break
        teacher = student
    return teacher


def halves(context: BaselineContext) -> tuple[Tensor, Tensor]:
    """The numbers of the held-out images, each class's in turn to the one half and the other.

    Raises:
        SettingsError: A class has too few.
    """
    labels = context.plain.images.labels[context.held]
    counts = labels.bincount(minlength=context.classes).tolist()
    if min(counts) < LEAST:
        fewest = context.class_names[counts.index(min(counts))]
        raise SettingsError(
            f"amplification takes {LEAST} held-out images a class, and '{fewest}' has {min(counts)}",
            "Hold out more (data.holdout), give more images, or leave this baseline out.",
        )
    places = torch.empty_like(labels)
    for label in range(context.classes):
        places[labels == label] = torch.arange(counts[label])
    return context.held[places % 2 == 0], context.held[places % 2 == 1]


@torch.no_grad()
def calls(context: BaselineContext, network: StagedNetwork, images: Tensor, used: Sequence[str], time: int) -> Tensor:
    """Log-probabilities (B, calls, K) of a network's calls on float images, float64, on the CPU."""
    found = [context.answers(network, images).log_softmax(1)]
    if "augmented" in used:
        generator = torch.Generator().manual_seed(context.seed("augmented", time))
        views = [context.augment(images, generator) for _ in range(VIEWS)]
        found.append(torch.stack([context.answers(network, view).log_softmax(1) for view in views]).mean(0))
    if "dreamed" in used:
        columns = []
        for label in range(context.classes):
            dreams = climb(network, images, torch.full((len(images),), label, device=images.device))
            columns.append(context.answers(network, dreams).log_softmax(1)[:, label])
        found.append(torch.stack(columns, 1).log_softmax(1))
    return torch.stack(found, 1).double().cpu()


def fitted_weights(found: Tensor, labels: Tensor) -> Tensor:
    """(calls,) weights under which the labels (N,) are likeliest, given (N, calls, K), and a normal prior of spread one
    around the first call alone: a few images that all are right would make them grow without end.

    Newton's method, each step halved until the loss, which is convex, falls.
    """
    first = functional.one_hot(torch.tensor(0), found.shape[1]).to(found)
    wanted = functional.one_hot(labels.cpu(), found.shape[2]).to(found)

    def loss(weights: Tensor) -> float:
        logits = (found * weights[:, None]).sum(1)
        return float((logits.logsumexp(1) - (logits * wanted).sum(1)).sum() + (weights - first).square().sum() / 2)

    weights = first
    for _ in range(STEPS):
        shares = (found * weights[:, None]).sum(1).softmax(1)
        slope = ((shares - wanted)[:, None] * found).sum((0, 2)) + weights - first
        means = (found * shares[:, None]).sum(2)
        curve = torch.einsum("njk,nk,nlk->jl", found, shares, found) - means.T @ means + torch.eye(len(first)).to(found)
        step, before = torch.linalg.solve(curve, slope), loss(weights)
        while step.abs().max() > 1e-9 and loss(weights - step) > before:
            step = step / 2
        weights = weights - step
    return weights


def likelihood(there: Tensor, here: Tensor, labels: Tensor, fitted: Tensor, judged: Tensor) -> Tensor:
    """Log-probabilities of the judged images' labels by one call alone, at the temperature that fits best there."""
    weights = fitted_weights(there, labels[fitted])
    return (here[:, 0] * weights).log_softmax(1)[range(len(judged)), labels[judged]]


def lower_bound(gain: Tensor) -> float:
    """One-sided 95 % bound of a mean, by the normal distribution."""
    return float(gain.mean() - ONE_SIDED * gain.std() / len(gain) ** 0.5)


def relabelled(views: ViewMaker, answers: Tensor) -> ViewMaker:
    """Views with these shares of the classes (N, K) for labels."""

    def make(indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images, labels = views(indices, generator)
        return images, answers[indices].to(labels.device)

    return make


def _amplified(
    context: BaselineContext, network: StagedNetwork, weights: Tensor, used: Sequence[str], time: int, places: Tensor
) -> Tensor:
    found = calls(context, network, context.plain.raw(context.plain.pool[places]), used, time)
    return (found * weights[:, None]).sum(1).softmax(1).float()
