"""Where the images of ``folder:PATH`` lie: the training images, the test sets, the classes and their files."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from conceptnet_ml.data.class_subset import class_numbers
from conceptnet_ml.data.files import SUFFIXES
from conceptnet_ml.errors import DataError, nearest

TRAIN, TESTS = "train", ("test", "val", "valid", "validation")
NAMED, MANY = "test-", "tests"
_LAYOUT = "Expected PATH/train/CLASS/… and PATH/test/CLASS/…, or PATH/CLASS/…."
_NAMED_LAYOUT = (
    "Expected PATH/test-NAME/CLASS/… or PATH/tests/NAME/CLASS/…; a folder for something else needs another name."
)
_NAME = re.compile(r"\w([\w .+-]*[\w+-])?")
_RESERVED = ("train", "unbiased", "turned train", "turned test")
_JUNK = {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "__pycache__"}


@dataclass(frozen=True)
class Listing:
    """Files of one folder of classes; ``labels`` are places in ``classes``, ``others`` counts files of other kinds by
    their suffix, ``left_out`` are hidden and system folders within the classes.
    """

    folder: Path
    classes: tuple[str, ...]
    files: list[Path]
    labels: Tensor
    others: Counter[str]
    left_out: tuple[Path, ...] = ()

    def only(self, keep: Tensor) -> Listing:
        """The listing of the files at these positions."""
        return replace(self, files=[self.files[i] for i in keep.tolist()], labels=self.labels[keep])

    def of_class(self) -> dict[Path, str]:
        """The name of each file's class."""
        return {file: self.classes[label] for file, label in zip(self.files, self.labels.tolist(), strict=True)}


@dataclass(frozen=True)
class Parts:
    """The folders of the training images, None where there is a test part alone, and of each test set; notes."""

    train: Path | None
    tests: dict[str, Path]
    notes: list[str]


def read_listings(
    root: Path, parts: Parts, wanted: tuple[str, ...] | None
) -> tuple[Listing | None, dict[str, Listing], tuple[str, ...]]:
    """The training images, if any; the test sets; and the names of all classes, those that are not wanted, too."""
    train = None if parts.train is None else _listing(parts.train, wanted)
    plain = _listing(parts.tests["test"], wanted) if "test" in parts.tests else None
    if train is not None and plain is not None and train.classes != plain.classes:
        raise _different(root, train.classes, plain.classes)
    whole = train or plain
    folders = [*parts.tests.values()] if whole is None else [whole.folder]
    known = tuple(sorted({path.name for folder in folders for path in _class_folders(folder)}))
    if whole is not None:
        classes = whole.classes
    else:
        classes = known if wanted is None else tuple(known[n] for n in class_numbers(known, wanted, str(root)))
    tests = {} if plain is None else {"test": plain}
    for name, folder in parts.tests.items():
        if name != "test" and (one := _named_listing(folder, known, classes)) is not None:
            tests[name] = one
    if train is None and not tests:
        raise DataError(f"{root} has no test images of the classes {', '.join(classes)}.", "Name other classes.")
    return train, tests, known


def find_parts(root: Path, test_alone: bool) -> Parts:
    """Where the training images and the test sets lie, with notes on what was left unused.

    Args:
        root: The folder.
        test_alone: Whether a test part is enough.
    """
    if not root.exists():
        raise DataError(
            f"{root}: no such folder.",
            "Check the path after folder:. A run's pictures that were moved: --resume RUN --data folder:PATH.",
        )
    if not root.is_dir():
        raise DataError(f"{root} is a file, not a folder.", _LAYOUT)
    folders = {folder.name.lower(): folder for folder in _subfolders(root)}
    if not folders:
        if any(path.suffix.lower() in SUFFIXES for path in root.iterdir()):
            raise DataError(f"{root} holds images but no folders of classes.", _LAYOUT)
        if not any(root.iterdir()):
            raise DataError(f"{root} is empty.", _LAYOUT)
        raise DataError(f"{root} holds no class folders.", _LAYOUT)
    if TRAIN not in folders:
        folders = _other_names(root, folders)
    if TRAIN not in folders:
        part = _test_part_alone(folders)
        if part is None:
            return Parts(root, {}, [])
        if not test_alone:
            raise DataError(f"{root} has '{part.name}' but no 'train' folder.", _LAYOUT)
    tests, used = _test_folders(root, folders)
    unused = sorted(folder.name for name, folder in folders.items() if name != TRAIN and name not in used)
    notes = [f"folders left unused: {', '.join(unused)}"] if unused else []
    return Parts(folders.get(TRAIN), tests, notes)


def _other_names(root: Path, folders: Mapping[str, Path]) -> dict[str, Path]:
    """The folders with those called ``train`` and ``test`` that are meant so: ``Training`` and ``Testing``,
    ``training_set`` and ``test_set``. Raises DataError where all folders look like parts and cannot be told.
    """
    named = {name: _part_of(name) for name in folders}
    meant = {part: [name for name in folders if named[name] == part] for part in (TRAIN, *TESTS)}
    inner = {name: {path.name for path in _subfolders(folder)} for name, folder in folders.items()}
    parts = [name for name in folders if named[name] in (TRAIN, *TESTS) and len(inner[name]) > 1]
    same = len({frozenset(inner[name]) for name in parts}) == 1
    if same and len(meant[TRAIN]) == 1 and len(parts) > 1 and all(len(names) < 2 for names in meant.values()):
        return {named[name] if name in parts else name: folder for name, folder in folders.items()}
    looks = [name for name in folders if re.search("train|test|valid", name) and len(inner[name]) > 1]
    if len(looks) == len(folders) > 1 and len({frozenset(inner[name]) for name in looks}) == 1:
        shown, within = (
            ", ".join(names) for names in ((folders[name].name for name in looks), sorted(inner[looks[0]]))
        )
        raise DataError(
            f"{root}: are {shown} parts of the data or classes? All hold the same folders: {within}.",
            "Parts are called train and test; classes that are called so need other folders within, or none.",
        )
    return dict(folders)


def _part_of(name: str) -> str:
    """``train`` of ``Training``, ``training_set``, ``train-images``, …; the name itself where it is none of these."""
    plain = re.sub(r"[\s_-]+", "", name.lower())
    plain = re.sub("(set|data|dataset|images|pictures)$", "", plain)
    return {"training": TRAIN, "testing": TESTS[0]}.get(plain, plain)


def _test_part_alone(folders: Mapping[str, Path]) -> Path | None:
    """The folder that shows that there are test sets without training images, None where all folders are classes.

    A class may be called ``test-drive`` and have folders within: it is a test set only if these are classes, too, or
    if there is nothing else.
    """
    inner = {name: {path.name.lower() for path in _subfolders(folder)} for name, folder in folders.items()}
    plain = next((name for name in TESTS if name in folders), None)
    if plain is not None and inner[plain]:
        return folders[plain]
    sets = [name for name in folders if inner[name] and (name == MANY or name.startswith(NAMED))]
    for name in sets:
        within = [folders[name]] if name != MANY else _subfolders(folders[name])
        classes = {path.name.lower() for folder in within for path in _subfolders(folder)}
        if len(sets) == len(folders) or (classes and classes <= folders.keys()):
            return folders[name]
    return None


def _test_folders(root: Path, folders: Mapping[str, Path]) -> tuple[dict[str, Path], set[str]]:
    """The folder of each test set by its name, ``test`` first, and the names of the folders that are used for them."""
    found: list[tuple[str, Path]] = []
    used = {name for name in folders if name == MANY or name.startswith(NAMED)}
    for name in sorted(used):
        if name == MANY:
            inside = _subfolders(folders[name])
            if not inside:
                raise DataError(f"{folders[name]} holds no test sets.", _NAMED_LAYOUT)
            found += [(path.name, path) for path in inside]
        else:
            found.append((folders[name].name[len(NAMED) :], folders[name]))
    plain = next((name for name in TESTS if name in folders), None)
    if plain is not None and (plain == "test" or "test" not in {_plain(name) for name, _ in found}):
        found.insert(0, ("test", folders[plain]))
        used.add(plain)
    tests: dict[str, Path] = {}
    for name, folder in found:
        if not _NAME.fullmatch(name) or _plain(name) in _RESERVED:
            raise DataError(
                f"{folder}: '{name}' cannot name a test set.",
                "Use letters and digits, as in test-snow or tests/snow.",
            )
        name = "test" if _plain(name) == "test" else name
        twice = next((other for known, other in tests.items() if _plain(known) == _plain(name)), None)
        if twice is not None:
            raise DataError(f"{root}: two test sets are called '{name}': {twice} and {folder}.", "Rename one of them.")
        tests[name] = folder
    return dict(sorted(tests.items(), key=lambda item: item[0] != "test")), used


def _subfolders(folder: Path) -> list[Path]:
    try:
        found = [path for path in folder.iterdir() if path.is_dir()]
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}.", "Make the folder readable.") from error
    return sorted(path for path in found if not _is_system(path.name))


def _class_folders(folder: Path, layout: str = _LAYOUT) -> list[Path]:
    classes = _subfolders(folder)
    if not classes:
        raise DataError(f"{folder} holds no class folders.", layout)
    same = Counter(_plain(path.name) for path in classes)
    twice = [path.name for path in classes if same[_plain(path.name)] > 1]
    if twice:
        names = ", ".join(f"'{name}'" for name in twice)
        raise DataError(f"{folder}: duplicate class names: {names}.", "Merge these folders or rename one of them.")
    return classes


def _listing(folder: Path, wanted: tuple[str, ...] | None) -> Listing:
    """The classes of a folder and their files, in the order of their names or as ``wanted`` names them."""
    classes = _class_folders(folder)
    if wanted is not None:
        classes = [classes[place] for place in class_numbers([path.name for path in classes], wanted, str(folder))]
    return _listed(folder, tuple(path.name for path in classes), {path.name: path for path in classes})


def _named_listing(folder: Path, known: tuple[str, ...], classes: tuple[str, ...]) -> Listing | None:
    """A further test set; None where all its images are of classes that are known but not wanted."""
    folders = {path.name: path for path in _class_folders(folder, _NAMED_LAYOUT)}
    unknown = [name for name in folders if name not in known]
    if unknown:
        names = ", ".join(f"'{name}'" for name in unknown[:10])
        raise DataError(
            f"{folder} has folders of unknown classes: {names}.",
            f"{nearest(unknown[0], known)} Spell them as there, or take them out.",
        )
    found = _listed(folder, classes, folders)
    if found.files:
        return found
    if not any(_listed(folder, known, folders).files):
        raise DataError(f"{folder} holds no images.", "Put images into its class folders, or remove it.")
    return None


def _listed(folder: Path, classes: tuple[str, ...], folders: Mapping[str, Path]) -> Listing:
    """The files of those ``classes`` that have a folder."""
    files: list[Path] = []
    labels: list[int] = []
    others: Counter[str] = Counter()
    left_out: list[Path] = []
    for label, name in enumerate(classes):
        found, hidden = _files(folders[name]) if name in folders else ([], [])
        images = [file for file in found if file.suffix.lower() in SUFFIXES]
        others.update(
            file.suffix.lower() or "without a suffix" for file in found if file.suffix.lower() not in SUFFIXES
        )
        left_out += hidden
        files += images
        labels += [label] * len(images)
    return Listing(folder, classes, files, torch.tensor(labels, dtype=torch.int64), others, tuple(left_out))


def _different(root: Path, train: tuple[str, ...], test: tuple[str, ...]) -> DataError:
    only = [f"'{name}' only in training" for name in train if name not in test]
    only += [f"'{name}' only in the test" for name in test if name not in train]
    return DataError(
        f"{root}: training and test folders have different classes: {', '.join(only[:10])}.",
        "Give both the same class folders, spelt alike.",
    )


def _files(folder: Path) -> tuple[list[Path], list[Path]]:
    """All files below a folder, hidden ones apart, sorted; and the hidden and system folders that were left out. Linked
    folders are followed, each folder once: a link that leads round in a circle ends there.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: {error.strerror}.", "Make the folder readable.") from error

    found, left_out = [], []
    seen = {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        left_out += [Path(place, name) for name in folders if _is_system(name)]
        inside = {name: os.path.realpath(os.path.join(place, name)) for name in folders if not _is_system(name)}
        folders[:] = []
        for name in sorted(inside):
            if inside[name] not in seen:
                seen.add(inside[name])
                folders.append(name)
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(found), left_out


def _is_system(name: str) -> bool:
    """Whether a folder is hidden, or one that systems and programs make for themselves."""
    return name.startswith(".") or name.lower() in _JUNK


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().strip()
