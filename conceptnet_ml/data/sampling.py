"""Which images are used: limits, splits, and how many of each class there must be."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from conceptnet_ml.config.settings import DataSettings
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.errors import DataError
from conceptnet_ml.graph.fields import usable
from conceptnet_ml.runtime import seeding

FEW = 100
"""Held-out images under which a run says how few they are."""


def check_counts(name: str, classes: tuple[str, ...], labels: Tensor, least: int, split: float = 0.0) -> None:
    """Check that classes have usable names, and that there are enough of them and of images.

    Args:
        name: Of the data, for the message.
        classes, labels: Of the images.
        least: Training images that each class must have.
        split: Share of them that will be split off for testing before they are trained on.

    Raises:
        DataError: A name that the graph cannot hold, fewer than two classes, or a class with too few images; says how
            many it takes.
    """
    check_class_names(name, classes)
    if len(classes) < 2:
        raise DataError(f"{name} has one class only ({', '.join(classes)}).", "Give it at least two classes.")
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    needed = next(n for n in itertools.count(least) if n - (_split_off(n, split) if split else 0) >= least)
    few = [f"'{c}' has {n}" for c, n in zip(classes, counts, strict=True) if n < needed]
    if few:
        shown = ", ".join(few[:10]) + (f" and {len(few) - 10} more classes" if len(few) > 10 else "")
        more = f" to train on, beside the {split:.0%} split off for testing: {needed} in all" if split else ""
        mend = ", or give a test folder" if split else ""
        raise DataError(
            f"{name}: too few training images: {shown}; each class needs at least {least}{more}.",
            f"Add images to these classes or take the classes out{mend}.",
        )


def check_class_names(name: str, classes: tuple[str, ...]) -> None:
    """Every class's name can be that of a node of the graph: it is text without control characters, with no blank at
    its ends. ``name`` is that of the data. Raises DataError.
    """
    wrong = [one for one in classes if not isinstance(one, str) or one != one.strip() or not usable(one)]
    if wrong:
        shown = ", ".join(ascii(one) for one in wrong[:10])
        raise DataError(
            f"{name}: {shown} cannot name a class.",
            "Rename it (its folder): no line break, tab or other control character, no blank at its ends, UTF-8.",
        )
    if twice := sorted({one for one in classes if classes.count(one) > 1}):
        raise DataError(f"{name}: two classes are called '{twice[0]}'.", "Give each a name of its own.")


def too_large(
    train: int, test: int, size: tuple[int, int], settings: DataSettings, others: int = 0, channels: int = 3
) -> bool:
    """Whether the images exceed ``data.memory``, with the copies a trap makes of them.

    Args:
        train, test: How many training images there are, and images in the test set ``test``.
        size: (H, W) of each in px.
        settings: The memory, and whether there is a trap.
        others: Images in further test sets, which a trap does not copy.
        channels: Of each image.
    """
    more = settings.trap.count("+")  # each of several traps has a test set of its own
    images = train + test if settings.trap == "none" else 2 * train + (5 + more + min(more, 1)) * test
    return (images + others) * channels * size[0] * size[1] > settings.memory * 2**30


def limit_per_class(images: ImageSet, limit: int | None, seed: int) -> ImageSet:
    """At most ``limit`` images of each class, drawn by the seed, in their old order; and as many of each that are held
    out, where the set says which."""
    if limit is None:
        return images
    held = torch.zeros(len(images), dtype=torch.bool) if images.held is None else images.held
    shuffled = shuffled_by_class(images.labels, seed, "train_limit").values()
    kept = [part[:limit] for places in shuffled for part in (places[~held[places]], places[held[places]])]
    return images.subset(torch.cat(kept).sort().values)


def split_by_class(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Sorted int64 positions of training and of test images: ``share`` of each class, at least one, is for testing."""
    shuffled = shuffled_by_class(labels, seed, "split").values()
    chosen = torch.cat([places[: _split_off(len(places), share)] for places in shuffled]).sort().values
    rest = torch.ones(len(labels), dtype=torch.bool)
    rest[chosen] = False
    return torch.nonzero(rest).flatten(), chosen


def shuffled_by_class(labels: Tensor, seed: int, *ids: object) -> dict[int, Tensor]:
    """Positions of each class's images, in an order drawn by the seed, these ids and the class's number."""
    found = {}
    for label in labels.unique().tolist():
        places = torch.nonzero(labels == label).flatten()
        generator = seeding.generator(seeding.seed_for(seed, *ids, label))
        found[label] = places[torch.randperm(len(places), generator=generator)]
    return found


def _split_off(count: int, share: float) -> int:
    """Of so many images of a class."""
    return max(1, round(share * count))


def by_class(numbers: Tensor, labels: Tensor) -> list[Tensor]:
    """These image numbers, (N,), in a part for each class that occurs, ascending; their order stays. ``labels`` are
    those of all images. Cost: a sort, however many classes there are."""
    own = labels[numbers]
    counts = torch.unique(own, return_counts=True)[1]
    return list(numbers[own.argsort(stable=True)].split(counts.tolist()))


def split_holdout(images: ImageSet, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Image numbers to train on and to hold out, in random order: ``share`` of each class, at least two, held out, or
    those that the set says."""
    labels = images.labels
    order = torch.randperm(len(labels), generator=seeding.generator(seed))
    if images.held is not None:
        return order[~images.held[order]], order[images.held[order]]
    fit, held = [], []
    for own in by_class(order, labels):
        count = max(2, round(share * len(own)))
        held.append(own[:count])
        fit.append(own[count:])
    return torch.cat(fit), torch.cat(held)


def surest(answers: Tensor, labels: Tensor, share: float = 0.5) -> Tensor:
    """(N,) 1 for the share of each class whose own class has the highest of the log shares (N, K), else 0."""
    sure = answers.gather(1, labels[:, None])[:, 0]
    kept = torch.zeros(len(labels))
    for c in labels.unique():
        members = torch.nonzero(labels == c).flatten()
        order = sure[members].argsort(descending=True, stable=True)
        kept[members[order[: max(1, round(share * len(members)))]]] = 1
    return kept


def balancing(sorts: Tensor, labels: Tensor) -> Tensor:
    """(N,) weights under which every class shows each sort, int64 (N,), as often as all images do.

    With M[i, j] images of sort i in class j and q[i] the share of sort i, an image weighs q[i] / M[i, j]; classes weigh
    alike where each has all sorts (the aim of FG-CCDB, arXiv 2505.06831).
    """
    _, sort, often = torch.unique(sorts, return_inverse=True, return_counts=True)
    _, pair, together = torch.unique(torch.stack([sorts, labels]), dim=1, return_inverse=True, return_counts=True)
    return often.double()[sort] / len(labels) / together.double()[pair]


def few_decide(held: int, classes: int, holdout: float) -> list[str]:
    """That decisions rest on few held-out images, where they do, and how many images a class would do."""
    if held >= FEW:
        return []
    return [
        f"only {held} held-out images will decide, {held // classes} a class: with so few, a cue beside which the "
        f"network errs now and then is taken for the object. {FEW} or more are better: some "
        f"{round(FEW / holdout / classes)} images a class"
    ]
