"""Traps: a cue that fits the label perfectly in training, and the test sets that show who relied on it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from conceptnet_ml.errors import DataError, PluginError, SettingsError
from conceptnet_ml.records import Record
from conceptnet_ml.runtime import seed_for

if TYPE_CHECKING:
    from conceptnet_ml.data import Data, ImageSet

SETS = ("aligned", "conflict", "random", "absent")
_BATCH = 512


def lay_traps(data: Data, traps: list[Record], seed: int) -> Data:
    """Plant every trap's cue in the training images and add its test sets.

    In training and in ``aligned`` a cue shows the image's own class; in ``conflict`` another one, drawn uniformly,
    the same for all traps; in ``random`` any class, drawn for each trap by itself; in ``absent`` nothing is planted.
    ``test`` and all other test sets stay as they are.

    Raises:
        DataError: A trap that tells apart another number of classes than the data has.
        SettingsError: The data set already has test sets of these names.
    """
    if not traps:
        return data
    for trap in traps:
        wanted = getattr(trap, "classes", None)
        if wanted is not None and wanted != len(data.classes):
            raise DataError(
                f"trap '{trap.name}' needs {wanted} classes, {data.name} has {len(data.classes)}.",
                "Choose another trap or other data.",
            )
    taken = [name for name in SETS if name in data.tests]
    if taken:
        raise SettingsError(
            f"{data.name} already has test sets of a trap ({', '.join(taken)}).", "Set data.trap to none."
        )
    count = len(data.classes)
    tests = dict(data.tests)
    for name in SETS:
        cues = {trap.name: cues_of(name, data.tests["test"].labels, count, trap.name, seed) for trap in traps}
        tests[name] = planted(data.tests["test"], traps, cues, seed, name)
    cues = {trap.name: data.train.labels for trap in traps}
    note = f"trap {'+'.join(trap.name for trap in traps)} laid in the training images"
    train = planted(data.train, traps, cues, seed, "train")
    return replace(data, train=train, tests=tests, notes=(*data.notes, note))


def cues_of(kind: str, labels: Tensor, classes: int, trap: str, seed: int) -> Tensor:
    """Whose cue each image of a test set shows: int64 (N,), -1 for none.

    Args:
        kind: One of ``SETS``.
        labels: (N,) classes of the images.
        classes: How many classes there are.
        trap: Name of the trap; only ``random`` depends on it, so that a conflict is the same for all traps.
        seed: Seed of the run.
    """
    if kind == "aligned":
        return labels.clone()
    if kind == "absent":
        return torch.full_like(labels, -1)
    if kind == "random":
        draws = [seed_for(seed, trap, "random cue", index) % classes for index in range(len(labels))]
        return torch.tensor(draws, dtype=torch.int64)
    steps = [1 + seed_for(seed, "conflict cue", index) % (classes - 1) for index in range(len(labels))]
    return (labels + torch.tensor(steps, dtype=torch.int64)) % classes


def planted(images: ImageSet, traps: list[Record], cues: dict[str, Tensor], seed: int, name: str) -> ImageSet:
    """The set with each trap's cues planted, at once for a tensor, at every ``take`` for streamed images.

    Args:
        images: The set.
        traps: Trap records, planted in this order.
        cues: For each trap's name, int64 (N,), the class whose cue is shown, -1 for none.
        seed: Seed of the run.
        name: Name of the set; an image's cue looks the same in whatever batch it comes.
    """
    from conceptnet_ml.data import ImageSet, StreamedImages

    seeds = {
        trap.name: torch.tensor([seed_for(seed, trap.name, name, i) for i in range(len(images))], dtype=torch.int64)
        for trap in traps
    }

    def plant(batch: Tensor, places: Tensor) -> Tensor:
        for trap in traps:
            batch = _plant(trap, batch, cues[trap.name][places], seeds[trap.name][places])
        return batch

    if isinstance(images, StreamedImages):
        return images.numbered().with_planter(plant)
    parts = [plant(images.take(places), places) for places in torch.arange(len(images)).split(_BATCH)]
    return ImageSet(torch.cat(parts), images.labels, images.masks)


def _plant(trap: Record, images: Tensor, cues: Tensor, seeds: Tensor) -> Tensor:
    """Call the plugin and check what it returns: images on, and of, the same kind."""
    result = trap.function("plant")(images.clone(), cues.to(images.device), seeds.to(images.device))
    if not isinstance(result, Tensor) or result.dtype != torch.uint8 or result.shape != images.shape:
        raise PluginError(f"trap '{trap.name}': plant() must return uint8 images of the shape it was given.")
    return result
