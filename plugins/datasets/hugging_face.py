"""Data sets of Hugging Face's ``datasets``, from the hub or from disk: ``hf:NAME``, ``hf:PATH``."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml import Data
from conceptnet_ml.config.settings import DataSettings
from conceptnet_ml.data.class_subset import class_numbers, select_labels
from conceptnet_ml.errors import DataError, SettingsError, nearest

from .columns import HELD, LABELS, TRAIN, names_of_tests, parts_of
from .folder_layout import Listing, Listings
from .picture_files import check_listings, read_files

PATIENCE = 10.0
"""Seconds that the hub has to answer."""

LEAST_VERSION = 4
"""Of ``datasets``: earlier ones run code that a data set brings."""


@dataclass(frozen=True, eq=False)
class HubPicture:
    """One image of a split as it is stored, not decoded; named after its split and number."""

    rows: Any
    column: str
    split: str
    place: int

    def content(self) -> bytes:
        """The image's file. Raises OSError where it is elsewhere and is not there."""
        cell = self.rows[self.place][self.column]
        if not cell:
            raise OSError("no image in this row")
        return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()

    def __str__(self) -> str:
        return f"{self.split}/{self.place}"


def load(argument: str, settings: DataSettings, seed: int) -> Data:
    """Read a data set of images with one label each.

    ``hf:OWNER/NAME`` is on the hub, ``hf:OWNER/NAME@CONFIGURATION`` one of its configurations; ``hf:PATH`` is a folder
    that ``save_to_disk`` wrote, one of Parquet files, or whatever else ``datasets.load_dataset`` reads from a folder.
    Splits are used as folders of their names are: ``train``, ``validation`` (held out where there is a test split, else
    the test set), ``test``, others as further test sets; where there is one split it is for training, and a share of it
    is split off. Images are in the column of the type ``Image`` and labels in that of the type ``ClassLabel``, or a
    column with a usual name; ``settings.image_column`` and ``settings.label_column`` name others. Rows without a label
    are left out. All else is as of any files (:func:`conceptnet_plugins.datasets.picture_files.read_files`).

    Cost: what ``datasets`` keeps in its cache, or loads over the network.

    Raises:
        SettingsError: No name given, or ``datasets`` is not installed.
        DataError: The data set is not there, the hub cannot be reached, or it does not hold images with labels.
    """
    if not argument:
        raise SettingsError("data.source 'hf' needs a data set.", "Write hf:OWNER/NAME, or hf:PATH of a saved one.")
    splits = _splits(argument)
    first = next(iter(splits.values()))
    image = _image_column(argument, first.features, settings.image_column)
    label = _label_column(argument, first.features, settings.label_column, image)
    for name, rows in splits.items():
        if missing := {image, label} - rows.features.keys():
            raise DataError(
                f"hf:{argument}: the split '{name}' has no column '{missing.pop()}'.", "Name columns that all have."
            )
    found, notes = _listings(argument, splits, image, label, settings)
    check_listings(f"hf:{argument}", found, settings)
    return read_files(f"hf:{argument}", Path(), found, settings, seed, notes)


# ------------------------------------------------------------------------------------------------ where it is


def _splits(argument: str) -> dict[str, Any]:
    """The splits by name, ``train`` where there is one without a name."""
    try:
        import datasets
    except ImportError as error:
        raise SettingsError(
            "data.source 'hf' needs the package datasets, which is not installed.",
            "pip install 'conceptnet_ml[hf]', or pip install datasets.",
        ) from error
    if int(datasets.__version__.partition(".")[0]) < LEAST_VERSION:
        raise SettingsError(
            f"datasets {datasets.__version__} runs code that comes with a data set.",
            f"pip install -U 'datasets>={LEAST_VERSION}', which does not.",
        )
    path = Path(os.path.expanduser(argument))
    local = path.exists() or argument.startswith(("/", "./", "../", "~"))
    with _quiet(datasets):
        found = _from_disk(datasets, path) if local else _from_hub(datasets, argument)
    if not isinstance(found, Mapping):
        found = {TRAIN: found}
    filled = {name: rows for name, rows in found.items() if len(rows)}
    if not filled:
        raise DataError(f"hf:{argument} has no rows.", "Give a data set with images.")
    return {TRAIN: next(iter(filled.values()))} if len(filled) == 1 else filled


def _from_disk(datasets: Any, path: Path) -> Any:
    if not path.exists():
        raise DataError(f"{path}: no such folder.", "Check the path after hf:. A data set of the hub is hf:OWNER/NAME.")
    saved = any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))
    try:
        return datasets.load_from_disk(str(path)) if saved else datasets.load_dataset(str(path))
    except Exception as error:  # readers of a dozen formats raise what they like
        raise DataError(
            f"{path} cannot be read as a data set: {_line(error)}.",
            "Give a folder that save_to_disk wrote, or one of Parquet files; a folder of images is folder:PATH.",
        ) from error


def _from_hub(datasets: Any, argument: str) -> Any:
    name, _, configuration = argument.partition("@")
    reason = _unreachable(name)
    try:
        with _offline() if reason else contextlib.nullcontext():
            return datasets.load_dataset(name, configuration or None)
    except Exception as error:  # as above, and what the network does
        if not reason:
            raise DataError(f"hf:{argument} cannot be loaded from the hub: {_line(error)}.", _mend(error)) from error
        folder = name.rpartition("/")[2]
        raise DataError(
            f"hf:{argument} is on the Hugging Face hub, which cannot be reached from here ({reason}), and it is not in "
            "the cache.",
            f"With a network: python -c \"from datasets import load_dataset; load_dataset('{name}')."
            f"save_to_disk('{folder}')\"; bring the folder here, and give hf:./{folder}.",
        ) from error


def _unreachable(name: str) -> str:
    """Why the hub does not answer, in a line; empty where it does. ``datasets`` by itself tries for half a minute."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        HfApi().dataset_info(name, timeout=PATIENCE)
    except OfflineModeIsEnabled:
        return "HF_HUB_OFFLINE is set"
    except (HfHubHTTPError, HFValidationError):
        return ""  # it answered: there is no such data set, or it is not for everyone
    except Exception as error:  # of the client that is used for the network, by its version
        return _line(error)
    return ""


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """The hub is not asked, so that what is in the cache is used at once."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Without progress bars, which would break into those of the run."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _mend(error: Exception) -> str:
    text = str(error)
    if "Config name is missing" in text or "BuilderConfig" in text:
        return "Name one of its configurations, as in hf:OWNER/NAME@CONFIGURATION."
    return "Check the name on huggingface.co/datasets; for one that is not for everyone: huggingface-cli login."


def _line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


# ------------------------------------------------------------------------------------------------ what is in it


def _image_column(argument: str, features: Mapping[str, Any], wanted: str | None) -> str:
    images = [name for name, kind in features.items() if type(kind).__name__ == "Image"]
    if wanted is not None:
        _check_column(argument, features, "image_column", wanted)
        if wanted not in images:
            raise DataError(
                f"data.image_column: '{wanted}' of hf:{argument} holds {_kind(features[wanted])}, not images.",
                f"Columns of images: {', '.join(images) or 'none'}.",
            )
        return wanted
    if len(images) == 1:
        return images[0]
    if images:
        mend = f"Name one with --set data.image_column={images[0]}."
        raise DataError(f"hf:{argument} has several columns of images: {', '.join(images)}.", mend)
    raise DataError(
        f"hf:{argument} has no column of images: {_shown(features)}.",
        "Cast the one that holds them: dataset.cast_column(NAME, datasets.Image()), and save it.",
    )


def _label_column(argument: str, features: Mapping[str, Any], wanted: str | None, image: str) -> str:
    if wanted is not None:
        _check_column(argument, features, "label_column", wanted)
        if not _names_classes(features[wanted]):
            raise DataError(
                f"data.label_column: '{wanted}' of hf:{argument} holds {_kind(features[wanted])}, not one label.",
                "Name a column of the type ClassLabel, of texts or of whole numbers.",
            )
        return wanted
    labels = [name for name, kind in features.items() if type(kind).__name__ == "ClassLabel"]
    if len(labels) != 1:  # several, or plain texts and numbers: a usual name decides
        usual = [name for name in LABELS if name in (labels or features) and _names_classes(features[name])]
        labels = usual[:1] or labels
    if len(labels) == 1:
        return labels[0]
    if labels:
        mend = f"Name one with --set data.label_column={labels[0]}."
        raise DataError(f"hf:{argument} has several columns of labels: {', '.join(labels)}.", mend)
    raise DataError(f"hf:{argument} has no column of labels: {_shown(features)}.", "Name it in data.label_column.")


def _check_column(argument: str, features: Mapping[str, Any], setting: str, wanted: str) -> None:
    if wanted not in features:
        raise DataError(f"data.{setting}: hf:{argument} has no column '{wanted}'.", nearest(wanted, features))


def _names_classes(kind: Any) -> bool:
    """Whether a column holds one label a row: a class, a text or a whole number."""
    return type(kind).__name__ == "ClassLabel" or str(getattr(kind, "dtype", "")).startswith(
        ("string", "large_string", "int", "uint", "bool")
    )


def _kind(kind: Any) -> str:
    return str(getattr(kind, "dtype", None) or type(kind).__name__)


def _shown(features: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({_kind(kind)})" for name, kind in features.items())


def _listings(
    argument: str, splits: Mapping[str, Any], image: str, label: str, settings: DataSettings
) -> tuple[Listings, list[str]]:
    """The images of each part, not decoded, and notes on what was left out."""
    import datasets

    known = _class_names(splits, label)
    numbers = None if settings.classes is None else class_numbers(known, settings.classes, f"hf:{argument}")
    classes = known if numbers is None else tuple(known[number] for number in numbers)
    parts, notes = parts_of(f"hf:{argument}", list(splits), settings.minimum == 0), []
    if twice := {part for part in parts if parts.count(part) > 1}:
        raise DataError(f"hf:{argument} has two splits that are called '{twice.pop()}'.", "Rename one of them.")
    listings: dict[str, Listing] = {}
    for part, (name, rows) in zip(parts, splits.items(), strict=True):
        labels = _labels(rows, label, known)
        if count := int((labels < 0).sum()):
            notes.append(f"{count} of {len(labels)} images of the split '{name}' have no label, and are left out")
        places, labels = select_labels(labels, numbers if numbers is not None else range(len(known)))
        if len(places):
            raw = rows.select_columns([image]).cast_column(image, datasets.Image(decode=False))
            pictures = [HubPicture(raw, image, name, place) for place in places.tolist()]
            listings[part] = Listing(Path(name), classes, pictures, labels, Counter())
    train = listings.get(TRAIN)
    if train is None and settings.minimum:
        raise DataError(
            f"hf:{argument} has no training images with labels: its splits are {', '.join(splits)}.",
            "Give a data set whose split 'train' has labels.",
        )
    if not listings:
        raise DataError(f"hf:{argument} has no images with labels.", "Give a data set with labels.")
    return Listings(train, listings.get(HELD), {name: listings[name] for name in names_of_tests([*listings])}), notes


def _class_names(splits: Mapping[str, Any], label: str) -> tuple[str, ...]:
    """The names of all classes in the order of their numbers; of texts and numbers those that occur, sorted."""
    kind = next(iter(splits.values())).features[label]
    if type(kind).__name__ == "ClassLabel":
        return tuple(kind.names)
    values = {value for rows in splits.values() for value in rows.unique(label) if value is not None}
    return tuple(str(value) for value in sorted(values))


def _labels(rows: Any, label: str, known: Sequence[str]) -> Tensor:
    """(N,) int64 places in the known classes, −1 for none."""
    values = list(rows.with_format(None)[label])
    if type(rows.features[label]).__name__ == "ClassLabel":
        return torch.tensor([-1 if value is None else value for value in values], dtype=torch.int64)
    place = {name: number for number, name in enumerate(known)}
    return torch.tensor([-1 if value is None else place[str(value)] for value in values], dtype=torch.int64)
