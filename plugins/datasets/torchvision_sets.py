"""Classification data sets of torchvision: ``torchvision:NAME``."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import datasets

from conceptnet_ml import Data, ImageSet
from conceptnet_ml.config.settings import DataSettings
from conceptnet_ml.data.class_subset import class_numbers, select_labels
from conceptnet_ml.data.files import DEFAULT_SIZE, both_sides, common_size, fit_to_size, in_threads
from conceptnet_ml.data.images import StreamedImages
from conceptnet_ml.data.sampling import split_by_class, too_large
from conceptnet_ml.errors import DataError, SettingsError, nearest

_TRAIN_NAMES, _TEST_NAMES = ("train", "trainval"), ("test", "val", "valid")
_LABELS = ("targets", "labels", "_labels")


def load(argument: str, settings: DataSettings, seed: int) -> Data:
    """Read a data set from ``settings.root``, where torchvision put it.

    Any data set works whose items are an image and one class number; ``train=`` or ``split=`` gives the test set, and
    where there is neither, a seeded share ``settings.test_share`` of every class. Nothing is downloaded unless
    ``settings.download`` says so. The size is ``settings.image_size``, else that of the first image if it is a square
    of 8 to 1,024 px, else 64.

    Raises:
        SettingsError: An unknown data set, or no root.
        DataError: It is not there, or is no classification data set.
    """
    kind = _kind(argument)
    if settings.root is None:
        raise SettingsError("data.root is not set: where are torchvision's data sets?", "Give --root FOLDER.")
    root = Path(os.path.expanduser(settings.root))
    accepted = inspect.signature(kind).parameters
    train, test = _open_both(kind, argument, root, settings, accepted)
    train_labels = _labels(argument, train)
    notes: list[str] = []
    if test is None:
        rest, chosen = split_by_class(train_labels, settings.test_share, seed)
        pairs = [(train, rest, train_labels[rest]), (train, chosen, train_labels[chosen])]
        notes.append(f"no test set: {len(chosen)} of {len(train_labels)} images split off for testing")
    else:
        test_labels = _labels(argument, test)
        pairs = [(s, torch.arange(len(y)), y) for s, y in ((train, train_labels), (test, test_labels))]
    classes = _classes(train, max(int(y.max()) for _, _, y in pairs) + 1)
    if settings.classes is not None:
        wanted = class_numbers(classes, settings.classes, f"torchvision:{argument}")
        classes = tuple(classes[place] for place in wanted)
        kept = [select_labels(y, wanted) for _, _, y in pairs]
        pairs = [(part, p[keep], y) for (part, p, _), (keep, y) in zip(pairs, kept, strict=True)]
    first = _picture(train[0][0])
    size = _size(first, settings.image_size)
    streamed = too_large(len(pairs[0][1]), len(pairs[1][1]), size, settings)
    if first.size != size[::-1]:
        notes.append(f"images resized to {size[1]} × {size[0]} px: shorter side scaled, centre kept")
    if streamed:
        notes.append(f"streamed: more than {settings.memory:g} GiB of images")
    sets = [_images(*pair, size, streamed) for pair in pairs]
    return Data(f"torchvision:{argument}", classes, sets[0], {"test": sets[1]}, tuple(notes))


def _kind(name: str) -> Callable[..., Any]:
    known = [
        found
        for found in datasets.__all__
        if isinstance(getattr(datasets, found), type) and issubclass(getattr(datasets, found), datasets.VisionDataset)
    ]
    if name not in known:
        raise SettingsError(f"torchvision has no data set '{name}'.", nearest(name, known))
    return getattr(datasets, name)


def _open_both(
    kind: Callable[..., Any], name: str, root: Path, settings: DataSettings, accepted: Any
) -> tuple[Any, Any | None]:
    """The training and the test part; no test part where the data set knows none."""

    def opened(**part: object) -> Any:
        return _open(kind, name, root, settings, accepted, part)

    if name == "EMNIST":  # takes split= (its variant) and train= both
        return opened(split="balanced", train=True), opened(split="balanced", train=False)
    if "train" in accepted:
        return opened(train=True), opened(train=False)
    if "split" in accepted:
        return _first(opened, _TRAIN_NAMES), _first(opened, _TEST_NAMES)
    if name == "QMNIST":
        return opened(train=True), opened(train=False)
    return opened(), None


def _first(opened: Callable[..., Any], names: tuple[str, ...]) -> Any:
    """The first of these splits that the data set knows."""
    for name in names[:-1]:
        try:
            return opened(split=name)
        except ValueError:
            continue
    return opened(split=names[-1])


def _open(
    kind: Callable[..., Any], name: str, root: Path, settings: DataSettings, accepted: Any, part: dict[str, Any]
) -> Any:
    options = dict(part)
    loads = "download" in accepted or "kwargs" in accepted
    if settings.download and loads:
        options["download"] = True
    if "root" in accepted:
        options["root"] = str(root)
    try:
        return kind(**options)
    except ValueError:
        raise
    except (RuntimeError, OSError) as error:
        why = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        if settings.download:
            raise DataError(f"torchvision:{name} could not be downloaded to {root}: {why}.", "Try again.") from error
        mend = (
            "Add --download, or point --root to its folder." if loads else "It has no download: put it there by hand."
        )
        raise DataError(f"torchvision:{name} is not in {root}: {why}.", mend) from error
    except Exception as error:  # a broken archive raises whatever its reader raises
        raise DataError(f"torchvision:{name} in {root} cannot be read: {error}.", "Download it anew.") from error


def _labels(name: str, dataset: Any) -> Tensor:
    """Every class number, without decoding the images where the data set keeps them apart."""
    values = next((getattr(dataset, field) for field in _LABELS if hasattr(dataset, field)), None)
    if values is None:
        values = [item[1] for item in in_threads(dataset.__getitem__, range(len(dataset)))]
    try:
        labels = torch.as_tensor(np.asarray(values))
    except (TypeError, ValueError):
        labels = torch.empty(0, 0)
    if labels.ndim != 1 or len(labels) != len(dataset) or labels.is_floating_point() or len(labels) == 0:
        raise DataError(f"torchvision:{name} has not one class per image.", "Choose a classification data set.")
    return labels.to(torch.int64)


def _classes(dataset: Any, count: int) -> tuple[str, ...]:
    names = getattr(dataset, "classes", None) or getattr(dataset, "categories", None)
    if isinstance(names, (list, tuple)) and len(names) >= count and all(isinstance(name, str) for name in names):
        return tuple(names)
    return tuple(str(number) for number in range(count))


def _size(first: Image.Image, wanted: int | tuple[int, int] | None) -> tuple[int, int]:
    """(H, W) to read all images at: most of these data sets have photographs of many shapes."""
    if wanted is not None:
        return both_sides(wanted)
    height, width = common_size([first.size[::-1]])
    return (height, width) if height == width else (DEFAULT_SIZE, DEFAULT_SIZE)


def _picture(value: Any) -> Image.Image:
    return value if isinstance(value, Image.Image) else Image.fromarray(np.asarray(value))


def _images(dataset: Any, places: Tensor, labels: Tensor, size: tuple[int, int], streamed: bool) -> ImageSet:
    def read(place: int) -> Tensor:
        return fit_to_size(_picture(dataset[place][0]), size)

    if streamed:
        return StreamedImages(read, places, labels, size)
    return ImageSet(torch.stack(in_threads(read, places.tolist())), labels)
