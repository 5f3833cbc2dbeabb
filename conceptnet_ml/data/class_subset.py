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


def select_classes(data: Data, wanted: Sequence[str] | None) -> Data:
    """The data with these classes only, numbered in this order; None keeps all.

    Test sets that have none of the classes are left out, and so are worlds that some class is missing from.

    Raises:
        SettingsError: As :func:`class_numbers`.
    """
    if wanted is None:
        return data
    places = class_numbers(data.classes, wanted, data.name)
    if places == list(range(len(data.classes))):
        return data
    tests = {name: select_images(images, places) for name, images in data.tests.items()}
    worlds = {
        name: functools.cache(functools.partial(_renumbered_world, world, places))
        for name, world in data.worlds.items()
    }
    return replace(
        data,
        classes=tuple(data.classes[place] for place in places),
        train=select_images(data.train, places),
        tests={name: images for name, images in tests.items() if len(images) or name == "test"},
        worlds=worlds if len(places) == len(data.classes) else {},
        truth=None,  # its variants are in the order of all classes
    )


def class_numbers(known: Sequence[str], wanted: Sequence[str], where: str) -> list[int]:
    """Where each wanted class stands among the known ones.

    A class is named in full or, where only one is meant, in other case or by one side of a name like "0 - zero".

    Args:
        known: Names of the classes, in the order of the labels.
        wanted: Names as the user wrote them.
        where: What has the classes, for the messages.

    Raises:
        SettingsError: A class that is not there, that may be two, or that is named twice; fewer than two classes.
    """
    places = []
    for name in wanted:
        found = [place for place, other in enumerate(known) if other == name]
        if not found:
            found = [place for place, other in enumerate(known) if _plain(name) in _short_forms(other)]
        if not found:
            raise SettingsError(f"data.classes: {where} has no class '{name}'.", nearest(name, known))
        if len(found) > 1:
            names = " or ".join(f"'{known[place]}'" for place in found)
            raise SettingsError(f"data.classes: '{name}' may be {names} of {where}.", "Write the name in full.")
        places += found
    twice = next((known[place] for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise SettingsError(f"data.classes names '{twice}' twice.", "Name each class once.")
    if len(places) < 2:
        raise SettingsError("data.classes names fewer than two classes.", f"Name at least two of {where}, as in a,b.")
    return places


def select_images(images: ImageSet, places: Sequence[int]) -> ImageSet:
    """The images of the classes ``places``, which become the classes 0, 1, …; their order stays."""
    kept, labels = select_labels(images.labels, places)
    return images.subset(kept).with_labels(labels)


def select_labels(labels: Tensor, places: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Positions of the images of these classes, and their class numbers in the order of ``places``, both int64."""
    number = {place: new for new, place in enumerate(places)}
    new = torch.tensor([number.get(label, -1) for label in labels.tolist()], dtype=torch.int64)
    kept = torch.nonzero(new >= 0).flatten()
    return kept, new[kept]


def _renumbered_world(world: Callable[[], ImageSet], places: Sequence[int]) -> ImageSet:
    return select_images(world(), places)


def _short_forms(name: str) -> set[str]:
    return {_plain(part) for part in (name, *name.split(" - "))}


def _plain(name: str) -> str:
    return name.casefold().strip()
