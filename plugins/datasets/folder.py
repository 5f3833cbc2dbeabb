"""Images in folders, one per class: ``folder:PATH``."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from conceptnet_ml import Data, ImageSet
from conceptnet_ml.config.settings import DataSettings
from conceptnet_ml.data.class_subset import class_numbers
from conceptnet_ml.data.files import SUFFIXES, both_sides, check_files, common_size, in_threads, read_image
from conceptnet_ml.data.images import StreamedImages
from conceptnet_ml.data.sampling import check_counts, split_by_class, too_large
from conceptnet_ml.errors import DataError, SettingsError

TRAIN, TESTS = "train", ("test", "val", "valid", "validation")
_LAYOUT = "Expected PATH/train/CLASS/… and PATH/test/CLASS/…, or PATH/CLASS/…."
_JUNK = "__macosx"


@dataclass(frozen=True)
class Listing:
    """Files of one folder of classes; ``labels`` are places in ``classes``."""

    classes: tuple[str, ...]
    files: list[Path]
    labels: Tensor
    others: int

    def only(self, keep: Tensor) -> Listing:
        """The listing of the files at these positions."""
        return Listing(self.classes, [self.files[i] for i in keep.tolist()], self.labels[keep], self.others)


def load(argument: str, settings: DataSettings, seed: int) -> Data:
    """Read a folder in ImageFolder layout.

    ``PATH/train/CLASS/…`` with ``PATH/test`` (or ``val``) beside it, or ``PATH/CLASS/…``, of which a seeded share
    of every class, ``settings.test_share``, becomes the test set; the whole of it
    if ``settings.minimum`` is 0. Files lie at any depth within a class's folder.
    Every image is brought to ``settings.image_size``: scaled to just cover it, the centre kept; without the setting it
    is the images' own size if all are equal, else 64 × 64. Every file is decoded once more, to find the broken ones
    first.

    Raises:
        SettingsError: No path given.
        DataError: The folder, its classes or its files cannot be used.
    """
    if not argument:
        raise SettingsError("data.source 'folder' needs a path.", "Write folder:PATH.")
    root = Path(argument).expanduser()
    parts, notes = _parts(root)
    train = _listing(parts[TRAIN], settings.classes)
    test = _listing(parts["test"], settings.classes) if "test" in parts else None
    if test is not None and test.classes != train.classes:
        raise _different(root, train.classes, test.classes)
    check_counts(str(root), train.classes, train.labels, settings.minimum)

    files = train.files + (test.files if test else [])
    sizes, bad = check_files(files)
    if bad and not settings.skip_bad:
        raise _unreadable(files, bad)
    good = torch.tensor([place not in bad for place in range(len(files))], dtype=torch.bool)
    if test is not None:
        test = test.only(torch.nonzero(good[len(train.files) :]).flatten())
    train = train.only(torch.nonzero(good[: len(train.files)]).flatten())
    check_counts(str(root), train.classes, train.labels, settings.minimum)
    if test is None and not settings.minimum:
        test = train
    elif test is None:
        rest, chosen = split_by_class(train.labels, settings.test_share, seed)
        train, test = train.only(rest), train.only(chosen)
        check_counts(str(root), train.classes, train.labels, settings.minimum)
        notes.append(f"no test folder: {len(test.files)} of {len(rest) + len(chosen)} images split off for testing")
    _check_test(root, test)

    size = common_size(sizes) if settings.image_size is None else both_sides(settings.image_size)
    notes += _notes(train, test, sizes, size, bad)
    streamed = too_large(len(train.files), len(test.files), size, settings)
    if streamed:
        notes.append(f"streamed from the files: more than {settings.memory:g} GiB of images")
    return Data(
        name=f"folder:{argument}",
        classes=train.classes,
        train=_images(train, size, streamed),
        tests={"test": _images(test, size, streamed)},
        notes=tuple(notes),
        skipped=len(bad),
    )


def _parts(root: Path) -> tuple[dict[str, Path], list[str]]:
    """The folders of training and test images, and notes on what was left unused."""
    if not root.exists():
        raise DataError(f"{root}: no such folder.", "Check the path after folder:.")
    if not root.is_dir():
        raise DataError(f"{root} is a file, not a folder.", _LAYOUT)
    folders = {folder.name.lower(): folder for folder in _subfolders(root)}
    if not folders:
        if any(path.suffix.lower() in SUFFIXES for path in root.iterdir()):
            raise DataError(f"{root} holds images but no folders of classes.", _LAYOUT)
        if not any(root.iterdir()):
            raise DataError(f"{root} is empty.", _LAYOUT)
        raise DataError(f"{root} holds no class folders.", _LAYOUT)
    tests = [name for name in TESTS if name in folders]
    if TRAIN not in folders:
        if tests and _subfolders(folders[tests[0]]):
            raise DataError(f"{root} has '{folders[tests[0]].name}' but no 'train' folder.", _LAYOUT)
        return {TRAIN: root}, []
    parts = {TRAIN: folders[TRAIN]}
    notes = []
    if tests:
        parts["test"] = folders[tests[0]]
    unused = sorted(folder.name for name, folder in folders.items() if name != TRAIN and name not in tests[:1])
    if unused:
        notes.append(f"folders left unused: {', '.join(unused)}")
    return parts, notes


def _subfolders(folder: Path) -> list[Path]:
    try:
        found = [path for path in folder.iterdir() if path.is_dir()]
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}.", "Make the folder readable.") from error
    return sorted(path for path in found if not path.name.startswith(".") and path.name.lower() != _JUNK)


def _listing(folder: Path, wanted: tuple[str, ...] | None) -> Listing:
    """The classes of a folder and their files, in the order of their names or as ``wanted`` names them."""
    classes = _subfolders(folder)
    if not classes:
        raise DataError(f"{folder} holds no class folders.", _LAYOUT)
    same = Counter(_plain(path.name) for path in classes)
    twice = [path.name for path in classes if same[_plain(path.name)] > 1]
    if twice:
        names = ", ".join(f"'{name}'" for name in twice)
        raise DataError(f"{folder}: duplicate class names: {names}.", "Merge these folders or rename one of them.")
    if wanted is not None:
        classes = [classes[place] for place in class_numbers([path.name for path in classes], wanted, str(folder))]
    files: list[Path] = []
    labels: list[int] = []
    others = 0
    for label, path in enumerate(classes):
        found = _files(path)
        images = [file for file in found if file.suffix.lower() in SUFFIXES]
        others += len(found) - len(images)
        files += images
        labels += [label] * len(images)
    return Listing(tuple(path.name for path in classes), files, torch.tensor(labels, dtype=torch.int64), others)


def _files(folder: Path) -> list[Path]:
    """All files below a folder, hidden ones apart, sorted."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: {error.strerror}.", "Make the folder readable.") from error

    found = []
    for place, _, names in os.walk(folder, onerror=refuse):
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(found)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().strip()


def _different(root: Path, train: tuple[str, ...], test: tuple[str, ...]) -> DataError:
    only = [f"'{name}' only in training" for name in train if name not in test]
    only += [f"'{name}' only in the test" for name in test if name not in train]
    return DataError(
        f"{root}: training and test folders have different classes: {', '.join(only[:10])}.",
        "Give both the same class folders, spelt alike.",
    )


def _check_test(root: Path, test: Listing) -> None:
    counts = torch.bincount(test.labels, minlength=len(test.classes)).tolist()
    empty = [f"'{name}'" for name, count in zip(test.classes, counts, strict=True) if count == 0]
    if empty:
        raise DataError(f"{root}: no test images of {', '.join(empty)}.", "Add some to the test folder, or remove it.")


def _unreadable(files: list[Path], bad: dict[int, str]) -> DataError:
    shown = [f"  {files[place]}: {why}" for place, why in list(bad.items())[:10]]
    rest = [f"  … and {len(bad) - 10} more"] if len(bad) > 10 else []
    return DataError(
        "\n".join([f"{len(bad)} of {len(files)} images cannot be read:", *shown, *rest]),
        "Replace them or take them out; learn leaves them out with --skip-bad.",
    )


def _notes(
    train: Listing, test: Listing, sizes: list[tuple[int, int] | None], size: tuple[int, int], bad: dict[int, str]
) -> list[str]:
    notes = []
    resized = sum(1 for found in sizes if found is not None and found != size)
    if resized:
        how = "shorter side scaled" if size[0] == size[1] else "scaled to cover it"
        notes.append(f"{resized} images resized to {size[1]} × {size[0]} px: {how}, centre kept")
    if bad:
        notes.append(f"{len(bad)} unreadable images left out")
    others = train.others + (test.others if test.files and test.others != train.others else 0)
    if others:
        notes.append(f"{others} files that are not images left alone")
    return notes


def _images(listing: Listing, size: tuple[int, int], streamed: bool) -> ImageSet:
    files = listing.files
    if streamed:
        items = torch.arange(len(files))
        return StreamedImages(lambda item: read_image(files[item], size), items, listing.labels, size)
    return ImageSet(torch.stack(in_threads(lambda file: read_image(file, size), files)), listing.labels)
