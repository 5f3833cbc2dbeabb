"""Accuracy of several networks on every test set; how often two of them disagree on unlabelled pictures."""

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

LEAST_IN_GROUP = 10
"""Fewest images of a group that can be the worst one, where any group has as many."""


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
    table: dict[str, Any] = {}
    for name, images in tests.items():
        row: dict[str, Any] = {"images": len(images)}
        for method, network in methods.items():
            right = predict_set(network, images, device, dtype).argmax(1) == images.labels
            row[method] = {"accuracy": float(right.double().mean())}
            if images.groups is not None:
                row[method] |= group_accuracies(right, images.groups)
            if classes and uneven(images.labels):
                each = group_accuracies(right, Groups(tuple(classes), images.labels))
                row[method] |= {"classes": each["groups"], "worst_class": each["worst_group"]}
        table[name] = row
    return table


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
    """:func:`accuracies` on all test sets of a run; each set is a step that the run remembers."""
    table: dict[str, Any] = {}
    with ctx.progress.task("evaluate", total=len(ctx.data.tests)) as task:
        for name, images in ctx.data.tests.items():
            work = partial(accuracies, networks, {name: images}, ctx.device, ctx.dtype, ctx.data.classes)
            table |= ctx.once(f"evaluate/{name}", work)
            task.advance()
    return table


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
