"""Which classes of a data set are used, and in which order: the setting ``data.classes``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.errors import SettingsError, nearest


def select_classes(data: Data, names: Sequence[str] | None) -> Data:
    """The data with these classes only, numbered in this order; None keeps all.

    Test sets that have none of the classes are left out. Worlds are kept only if all classes are.

    Raises:
        SettingsError: As :func:`class_numbers`.
    """
    if names is None:
        return data
    numbers = class_numbers(data.classes, names, data.name)
    if numbers == list(range(len(data.classes))):
        return data

    def selected(world: Callable[[], ImageSet]) -> Callable[[], ImageSet]:
        return functools.cache(lambda: select_images(world(), numbers))

    tests = {name: select_images(images, numbers) for name, images in data.tests.items()}
    complete = len(numbers) == len(data.classes)
    return replace(
        data,
        classes=tuple(data.classes[number] for number in numbers),
        train=select_images(data.train, numbers),
        tests={name: images for name, images in tests.items() if len(images) or name == "test"},
        worlds={name: selected(world) for name, world in data.worlds.items()} if complete else {},
        truth=None,  # its variants are in the order of all classes
    )


def class_numbers(known: Sequence[str], names: Sequence[str], source: str) -> list[int]:
    """The number of each named class among the known ones.

    A class is named in full or, where only one is meant, in other case or by one side of a name like "0 - zero".

    Args:
        known: Names of the classes, in the order of the labels.
        names: As the user wrote them.
        source: What has the classes, for the messages.

    Raises:
        SettingsError: A class that is not there, that may be two, or that is named twice; fewer than two classes.
    """
    numbers = []
    for name in names:
        found = [number for number, other in enumerate(known) if other == name]
        if not found:
            short = [{_folded(part) for part in (other, *other.split(" - "))} for other in known]
            found = [number for number, forms in enumerate(short) if _folded(name) in forms]
        if not found:
            raise SettingsError(f"data.classes: {source} has no class '{name}'.", nearest(name, known))
        if len(found) > 1:
            choices = " or ".join(f"'{known[number]}'" for number in found)
            raise SettingsError(f"data.classes: '{name}' may be {choices} of {source}.", "Write the name in full.")
        numbers += found
    twice = next((known[number] for number in numbers if numbers.count(number) > 1), None)
    if twice is not None:
        raise SettingsError(f"data.classes names '{twice}' twice.", "Name each class once.")
    if len(numbers) < 2:
        raise SettingsError("data.classes names fewer than two classes.", f"Name at least two of {source}, as in a,b.")
    return numbers


def select_images(images: ImageSet, numbers: Sequence[int]) -> ImageSet:
    """The images of the classes ``numbers``, which become the classes 0, 1, …; their order stays."""
    kept, labels = select_labels(images.labels, numbers)
    return images.subset(kept).with_labels(labels)


def select_labels(labels: Tensor, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Positions of the images of these classes, and their new class numbers, both int64."""
    new_number = {number: new for new, number in enumerate(numbers)}
    new = torch.tensor([new_number.get(label, -1) for label in labels.tolist()], dtype=torch.int64)
    kept = torch.nonzero(new >= 0).flatten()
    return kept, new[kept]


def _folded(name: str) -> str:
    return name.casefold().strip()
