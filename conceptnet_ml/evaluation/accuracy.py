"""What several networks answer on every test set, and their accuracy; how often two disagree on unlabelled pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from conceptnet_ml.data.images import Groups, ImageSet
from conceptnet_ml.errors import DataError
from conceptnet_ml.network.training import predict_set
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.ordinary import wilson
from conceptnet_ml.storage.hashing import digest, fingerprint
from conceptnet_ml.storage.run_folder import Run

LEAST_IN_GROUP = 10
"""Fewest images of a group that can be the worst one, where any group has as many."""

ANSWERED = "answered"
"""How the steps begin that hold the answers to the images of a test set."""

SAMPLED = 256
"""Pictures of a test set by which it is known, at most."""

UNEVEN = 2
"""How many times as many images of a class as of another make a set uneven: its accuracy can hide a class."""


def accuracies(
    methods: Mapping[str, nn.Module],
    tests: Mapping[str, ImageSet],
    device: torch.device,
    dtype: torch.dtype | None,
    classes: Sequence[str] = (),
) -> dict[str, Any]:
    """``{test set: {"images": n, method: {"accuracy": share}}}``.

    In a set with groups each method also has what :func:`group_accuracies` returns; where ``classes`` are named, in a
    set of uneven classes also ``classes`` and ``worst_class``, likewise.

    Args:
        methods: By name; each takes float images in [0, 1] to logits.
        tests: Labelled images by name.
        device, dtype: Where and in which autocast type to run them.
    """
    return {
        name: _accuracy_row(answer_set(methods, images, device, dtype), images, classes)
        for name, images in tests.items()
    }


def answer_set(
    methods: Mapping[str, nn.Module], images: ImageSet, device: torch.device, dtype: torch.dtype | None
) -> dict[str, Tensor]:
    """Each network's answers, class numbers int32 (N,), on a set of images. Cost: a pass over the set for each."""
    return {
        name: predict_set(network, images, device, dtype).argmax(1).to(torch.int32) for name, network in methods.items()
    }


def set_digest(images: ImageSet) -> str:
    """Tells a set of images from another: of all labels, and of up to :data:`SAMPLED` pictures taken evenly."""
    some = torch.linspace(0, max(0, len(images) - 1), min(SAMPLED, len(images))).round().long()
    return digest(images.labels, images.take(some).cpu())[:16]


def _accuracy_row(answers: Mapping[str, Tensor], images: ImageSet, classes: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"images": len(images)}
    for method, answered in answers.items():
        right = answered == images.labels
        row[method] = {"accuracy": float(right.double().mean())}
        if images.groups is not None:
            row[method] |= group_accuracies(right, images.groups)
        if classes and uneven(images.labels):
            each = group_accuracies(right, Groups(tuple(classes), images.labels))
            row[method] |= {"classes": each["groups"], "worst_class": each["worst_group"]}
    return row


def uneven(labels: Tensor) -> bool:
    """Whether some class has :data:`UNEVEN` times as many images as another that has any."""
    counts = torch.bincount(labels)
    present = counts[counts > 0]
    return bool(len(present) > 1 and present.max() >= UNEVEN * present.min())


def group_accuracies(right: Tensor, groups: Groups) -> dict[str, Any]:
    """Accuracy on each group, and the worst group (Sagawa et al. 2020, arXiv 1911.08731).

    Args:
        right: bool (N,), whether each image is answered rightly.
        groups: Of the N images.

    Returns:
        ``{"groups": {name: {"images": n, "accuracy": share}}, "worst_group": {"name", "images", "accuracy"}}`` for the
        groups that have images. The worst is the one of lowest accuracy, the first of equals, among those of at least
        :data:`LEAST_IN_GROUP` images, or among all where none has so many. Empty where no image is in a group.
    """
    found: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(groups.names):
        mine = right[groups.numbers == number]
        if len(mine):
            found[name] = {"images": len(mine), "accuracy": float(mine.double().mean())}
    if not found:
        return {}
    judged = [name for name, one in found.items() if one["images"] >= LEAST_IN_GROUP] or list(found)
    worst = min(judged, key=lambda name: found[name]["accuracy"])
    return {"groups": found, "worst_group": {"name": worst, **found[worst]}}


def evaluate_run(ctx: Context, networks: Mapping[str, nn.Module]) -> dict[str, Any]:
    """:func:`accuracies` on all test sets of a run; each set is a step that the run remembers, and so are the answers
    to its images, by which the run can be compared with another (:func:`recorded_answers`)."""
    table: dict[str, Any] = {}
    learned = fingerprint(networks["learned"].state_dict())

    def answered(images: ImageSet) -> dict[str, Any]:
        found = answer_set(networks, images, ctx.device, ctx.dtype)
        return {"images": set_digest(images), "labels": images.labels, "learned": learned, "answers": found}

    def measured(name: str, images: ImageSet) -> dict[str, Any]:
        found = ctx.once(f"{ANSWERED}/{name}", partial(answered, images))
        return {name: _accuracy_row(found["answers"], images, ctx.data.classes)}

    with ctx.progress.task("evaluate", total=len(ctx.data.tests)) as task:
        for name, images in ctx.data.tests.items():
            table |= ctx.once(f"evaluate/{name}", partial(measured, name, images))
            task.advance()
    return table


def recorded_answers(run: Run, name: str) -> dict[str, Any] | None:
    """What the networks of a finished run answered on its test set ``name``.

    Returns:
        ``{"images": digest, "labels": (N,), "learned": fingerprint, "answers": {method: (N,)}}``; None where the run is
        of before answers were kept, or its learned network was edited since. Raises DataError where they are damaged.
    """
    step = f"{ANSWERED}/{name}"
    if not run.has_step(step):
        return None
    found: dict[str, Any] = run.step_value(step)
    return found if found["learned"] == run.learned_network else None


def disagreement(
    ordinary: nn.Module, learned: nn.Module, images: ImageSet, device: torch.device, dtype: torch.dtype | None
) -> dict[str, Any]:
    """How often two networks give different answers to unlabelled pictures, and how sure each of them is.

    The right answers need not be known: where the two disagree, the ordinary network rests on what the learned one no
    longer uses.

    Args:
        ordinary, learned: Each takes float images in [0, 1] to logits.
        images: The pictures; their labels are ignored.
        device, dtype: Where and how to run the networks.

    Returns:
        ``{"images": n, "disagreement": share, "interval": [low, high], "confidence": {"ordinary": p, "learned": p}}``;
        the interval is Wilson's of 95 %, a confidence the mean probability of the answer given.

    Raises:
        DataError: No picture.
    """
    if len(images) == 0:
        raise DataError("there is no picture to compare the networks on", "Give a folder with at least one.")
    first = predict_set(ordinary, images, device, dtype).softmax(1).max(1)
    second = predict_set(learned, images, device, dtype).softmax(1).max(1)
    differ = int((first.indices != second.indices).sum())
    return {
        "images": len(images),
        "disagreement": differ / len(images),
        "interval": list(wilson(differ, len(images))),
        "confidence": {"ordinary": float(first.values.mean()), "learned": float(second.values.mean())},
    }
