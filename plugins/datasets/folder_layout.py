"""Where the images of ``folder:PATH`` lie: the training images, the test sets, the classes and their files.

Which folder names an image's class, the setting ``data.labels`` says: ``first``, the one right below ``train``, in
which images may lie at any depth; ``deepest``, the one that the image lies in; ``path``, it and all folders above it.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from conceptnet_ml.data.class_subset import class_numbers
from conceptnet_ml.data.files import SUFFIXES, Picture
from conceptnet_ml.errors import DataError, meant_path, nearest

TRAIN, TESTS = "train", ("test", "val", "valid", "validation")
FIRST, DEEPEST = "first", "deepest"
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
    """Files of one folder of classes, or of another part of the data; ``labels`` are places in ``classes``, ``others``
    counts files of other kinds by their suffix, ``left_out`` are hidden and system folders within the classes.
    """

    folder: Path
    classes: tuple[str, ...]
    files: Sequence[Picture]
    labels: Tensor
    others: Counter[str]
    left_out: tuple[Path, ...] = ()

    def only(self, keep: Tensor) -> Listing:
        """The listing of the files at these positions."""
        return replace(self, files=[self.files[i] for i in keep.tolist()], labels=self.labels[keep])

    def without(self, files: set[Picture]) -> Listing:
        """The listing less these files."""
        return self.only(torch.tensor([n for n, file in enumerate(self.files) if file not in files]).long())

    @property
    def paths(self) -> list[Path]:
        """The files that lie in a folder."""
        return [file for file in self.files if isinstance(file, Path)]

    def of_class(self) -> dict[Path, str]:
        """The name of each file's class."""
        return {file: self.classes[label] for file, label in zip(self.paths, self.labels.tolist(), strict=True)}


@dataclass(frozen=True)
class Listings:
    """The training images and those held out of them, None where there are none, and the test sets by name."""

    train: Listing | None
    held: Listing | None
    tests: dict[str, Listing]

    @property
    def whole(self) -> Listing:
        """What has all classes: the training images, else a test set."""
        return self.train or self.tests.get("test") or next(iter(self.tests.values()))

    def without(self, files: set[Picture]) -> Listings:
        """The listings less these files."""
        train, held = (None if one is None else one.without(files) for one in (self.train, self.held))
        return Listings(train, held, {name: one.without(files) for name, one in self.tests.items()})

    def all(self) -> list[Listing]:
        """The training images first."""
        return [*(one for one in (self.train, self.held) if one is not None), *self.tests.values()]


@dataclass(frozen=True)
class Parts:
    """The folders of the training images, None where there is a test part alone, of those held out, None where a share
    is to be drawn, and of each test set; notes.
    """

    train: Path | None
    tests: dict[str, Path]
    notes: list[str]
    held: Path | None = None


def read_listings(
    root: Path, parts: Parts, wanted: tuple[str, ...] | None, labels: str = FIRST
) -> tuple[Listings, tuple[str, ...]]:
    """The images of each part; and the names of all classes, those that are not wanted, too."""
    train = None if parts.train is None else _listing(parts.train, wanted, labels)
    plain = _listing(parts.tests["test"], wanted, labels) if "test" in parts.tests else None
    held = None if parts.held is None else _listing(parts.held, wanted, labels)
    if train is not None and plain is not None and train.classes != plain.classes:
        raise _different(root, train.classes, plain.classes)
    whole = train or plain
    folders = [*parts.tests.values()] if whole is None else [whole.folder]
    known = tuple(sorted({name for folder in folders for name in _class_folders(folder, labels)}))
    if whole is not None:
        classes = whole.classes
    else:
        classes = known if wanted is None else tuple(known[n] for n in class_numbers(known, wanted, str(root)))
    tests = {} if plain is None else {"test": plain}
    for name, folder in parts.tests.items():
        if name != "test" and (one := _named_listing(folder, known, classes, labels)) is not None:
            tests[name] = one
    if train is None and not tests:
        raise DataError(f"{root} has no test images of the classes {', '.join(classes)}.", "Name other classes.")
    return Listings(train, held, tests), known


def find_parts(root: Path, test_alone: bool, labels: str = FIRST) -> Parts:
    """Where the training images and the test sets lie, with notes on what was left unused.

    Args:
        root: The folder.
        test_alone: Whether a test part is enough.
        labels: Which folder names an image's class.
    """
    if not root.exists():
        raise DataError(
            f"{root}: no such folder.",
            f"{meant_path(root)}Check the path. A run's pictures that were moved: --resume RUN --data folder:PATH.",
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
    empty = [name for name, folder in folders.items() if TRAIN in folders and name in TESTS and _is_empty(folder)]
    doubts = [f"{folders.pop(name).name} is empty, and as good as not there" for name in empty]
    tests, used = _test_folders(root, folders)
    held, doubt = (None, []) if test_alone else _held_out(folders, used, labels)
    used |= {held} if held is not None else set()
    unused = sorted(folder.name for name, folder in folders.items() if name != TRAIN and name not in used)
    notes = [*doubts, *([f"folders left unused: {', '.join(unused)}"] if unused else [])]
    return Parts(folders.get(TRAIN), tests, [*notes, *doubt], None if held is None else folders[held])


def _held_out(folders: Mapping[str, Path], used: set[str], labels: str) -> tuple[str | None, list[str]]:
    """The name of the folder of held-out images, if any; a note where it cannot be used for its classes."""
    name = next((name for name in TESTS[1:] if TRAIN in folders and name in folders and name not in used), None)
    if name is None:
        return None, []
    train, held = (set(_class_folders(folders[part], labels)) for part in (TRAIN, name))
    if train == held:
        return name, []
    others = ", ".join(sorted(train ^ held)[:5])
    return None, [f"{folders[name].name} is not held out: its classes are not those of training ({others})"]


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


def _is_empty(folder: Path) -> bool:
    return not any(not _is_system(path.name) for path in folder.iterdir())


def _subfolders(folder: Path) -> list[Path]:
    try:
        found = [path for path in folder.iterdir() if path.is_dir()]
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}.", "Make the folder readable.") from error
    return sorted(path for path in found if not _is_system(path.name))


def _class_folders(folder: Path, labels: str, layout: str = _LAYOUT) -> dict[str, Path]:
    """The folder of each class by its name, sorted."""
    if labels == FIRST:
        classes = [(path.name, path) for path in _subfolders(folder)]
    else:
        inside = {file.parent for file in _files(folder)[0] if file.suffix.lower() in SUFFIXES} - {folder}
        paths = [(path.relative_to(folder).as_posix(), path) for path in inside]
        classes = sorted((path.name if labels == DEEPEST else name, path) for name, path in paths)
    if not classes:
        raise DataError(f"{folder} holds no class folders.", layout)
    same = Counter(_plain(name) for name, _ in classes)
    twice = [(name, path) for name, path in classes if same[_plain(name)] > 1]
    if twice and labels == DEEPEST:
        shown = ", ".join(str(path) for _, path in twice[:5])
        raise DataError(
            f"{folder}: the deepest folders of several classes are called the same: {shown}.",
            "Rename them, or let the whole path name a class: data.labels=path.",
        )
    if twice:
        names = ", ".join(f"'{name}'" for name, _ in twice)
        raise DataError(f"{folder}: duplicate class names: {names}.", "Merge these folders or rename one of them.")
    return dict(classes)


def _listing(folder: Path, wanted: tuple[str, ...] | None, labels: str) -> Listing:
    """The classes of a folder and their files, in the order of their names or as ``wanted`` names them."""
    folders = _class_folders(folder, labels)
    classes = tuple(folders)
    if wanted is not None:
        classes = tuple(classes[place] for place in class_numbers(classes, wanted, str(folder)))
    return _listed(folder, classes, folders, labels)


def _named_listing(folder: Path, known: tuple[str, ...], classes: tuple[str, ...], labels: str) -> Listing | None:
    """A further test set; None where all its images are of classes that are known but not wanted."""
    folders = _class_folders(folder, labels, _NAMED_LAYOUT)
    unknown = [name for name in folders if name not in known]
    if unknown:
        names = ", ".join(f"'{name}'" for name in unknown[:10])
        raise DataError(
            f"{folder} has folders of unknown classes: {names}.",
            f"{nearest(unknown[0], known)} Spell them as there, or take them out.",
        )
    found = _listed(folder, classes, folders, labels)
    if found.files:
        return found
    if not any(_listed(folder, known, folders, labels).files):
        raise DataError(f"{folder} holds no images.", "Put images into its class folders, or remove it.")
    return None


def _listed(folder: Path, classes: tuple[str, ...], folders: Mapping[str, Path], depth: str) -> Listing:
    """The files of those ``classes`` that have a folder; where ``depth`` is not ``first`` only those right in it."""
    files: list[Path] = []
    labels: list[int] = []
    others: Counter[str] = Counter()
    left_out: list[Path] = []
    for label, name in enumerate(classes):
        found, hidden = _files(folders[name], depth == FIRST) if name in folders else ([], [])
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


def _files(folder: Path, deep: bool = True) -> tuple[list[Path], list[Path]]:
    """All files below a folder, hidden ones apart, sorted; and the hidden and system folders that were left out. Linked
    folders are followed, each folder once: a link that leads round in a circle ends there. Only the files right in it
    where it is not to go ``deep``.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: {error.strerror}.", "Make the folder readable.") from error

    found, left_out = [], []
    seen = {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        left_out += [Path(place, name) for name in folders if _is_system(name)]
        inside = {name: os.path.realpath(os.path.join(place, name)) for name in folders if not _is_system(name)}
        folders[:] = []
        for name in sorted(inside) if deep else ():
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
