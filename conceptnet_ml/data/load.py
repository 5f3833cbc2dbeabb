"""From the settings to a data set: its source, classes, limits and traps."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from conceptnet_ml.config.settings import DataSettings, Settings
from conceptnet_ml.config.values import trap_arguments
from conceptnet_ml.data.class_subset import select_classes
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.files import MEGAPIXELS, channels_of, pictures_in
from conceptnet_ml.data.images import ImageSet, PictureFiles, StreamedImages
from conceptnet_ml.data.sampling import check_counts, limit_per_class
from conceptnet_ml.data.traps import Exceptions, check_traps, lay_traps
from conceptnet_ml.errors import DataError, PluginError, SettingsError, meant_path
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.records import Trap


def load_data(settings: Settings, plugins: Plugins) -> Data:
    """The data set that ``settings.data`` names, limited and with its trap.

    The source is ``NAME`` or ``NAME:ARGUMENT``; all random draws derive from ``settings.seed``.

    Raises:
        DataError: The images cannot be used, or do not suit the trap.
        SettingsError: An unknown data set, class or trap, or an argument it does not take.
        PluginError: The data set's plugin did not return data.
    """
    arguments = trap_arguments(settings.data.trap)
    find = cast(Callable[[str], Trap], functools.partial(plugins.get, "trap"))
    traps = [find(name) for name in arguments]
    check_traps(traps, arguments, settings.data)

    @functools.cache
    def load_other(source: str, classes: tuple[str, ...] | None = None) -> Data:
        changes = {"source": source, "classes": classes, "trap": "none", "groups": "none"}
        changes |= {"train_limit": None, "image_size": None}
        return load_source(settings.data.model_copy(update=changes), settings.seed, plugins)

    data = load_source(settings.data, settings.seed, plugins)
    train = limit_per_class(data.train, settings.data.train_limit, settings.seed)
    # A data set's own worlds are numbered as all of its training images.
    data = replace(data, train=train, worlds=data.worlds if len(train) == len(data.train) else {})
    check_counts(data.name, data.classes, data.train.labels, settings.data.minimum)
    exceptions = Exceptions(settings.data.exceptions, settings.data.counted)
    return lay_traps(data, traps, settings.seed, arguments, exceptions, load_other, find)


def load_source(settings: DataSettings, seed: int, plugins: Plugins) -> Data:
    """The data set that ``settings.source`` names, with the classes ``settings.classes``, without limit and trap.

    Raises:
        DataError, SettingsError, PluginError: As :func:`load_data`.
    """
    name, _, argument = settings.source.partition(":")
    record = plugins.get("dataset", name)
    if settings.groups != "none" and not getattr(record, "groups", False):
        raise SettingsError(
            f"data.groups: the data set '{name}' takes no groups.", "Use it with a folder of pictures, or leave it out."
        )
    data = record.function("load")(argument, settings, seed)
    if not isinstance(data, Data) or not data.tests or (settings.minimum and "test" not in data.tests):
        raise PluginError(f"dataset '{name}': load() must return Data with a test set called 'test'.")
    if reason := wrong_labels(data):
        raise PluginError(f"dataset '{name}': {reason}", "Labels are places in classes: 0 for the first.")
    return select_classes(data, settings.classes)


def wrong_labels(data: Data) -> str:
    """What is wrong with the labels of a data set, in words; empty where each is the place of a class."""
    for name, images in {"training images": data.train, **data.tests}.items():
        wrong = images.labels[(images.labels < 0) | (images.labels >= len(data.classes))]
        if len(wrong):
            return f"{name}: the label {int(wrong[0])} is none of {len(data.classes)} classes"
    return ""


def unlabelled(
    folder: str | Path, size: tuple[int, int], most: float = MEGAPIXELS, channels: int | None = None
) -> ImageSet:
    """The pictures of a folder, at any depth, each read when it is needed; their labels say nothing.

    Args:
        folder: Its path, also as ``folder:PATH``. Hidden files and files that are no images are ignored.
        size: (H, W) to read them at, in px.
        most: Millions of pixels beyond which a file is not decoded.
        channels: How many they must have; None for any number.

    Raises:
        DataError: No such folder, no picture in it, or pictures of other channels.
    """
    root = Path(os.path.expanduser(str(folder).removeprefix("folder:")))
    if not root.is_dir():
        mend = f"{meant_path(root)}Give a folder of pictures; they need no labels."
        raise DataError(f"{root}: no such folder", mend)
    files = pictures_in(root)
    items, own = torch.arange(len(files)), channels_of(files)
    if channels not in (None, own):
        raise DataError(f"{root}: its pictures have {own} channels, not {channels}", "Give pictures of the same kind.")
    return StreamedImages(PictureFiles(files, size, most), items, torch.zeros_like(items), (own, *size))
