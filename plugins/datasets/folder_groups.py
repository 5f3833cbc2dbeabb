"""Groups of the test images of ``folder:PATH``: the setting ``data.groups``.

``folders``: an image's group is the first folder below its class's folder, as in ``test/CLASS/GROUP/…``. Else the path
of a CSV file with a header and the columns ``file`` and ``group``: ``file`` is relative to the data folder or to a test
set's; ``class`` may say the class again. Groups are called "CLASS, GROUP".
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from conceptnet_ml.data.images import Groups
from conceptnet_ml.errors import DataError, nearest

from .folder_layout import Listing

NONE, FOLDERS = "none", "folders"
SHOWN = 5
"""Wrong lines that are named."""

_COLUMNS = ("file", "group")
_FORM = "Begin it with the line file,group and write one line per image, as in test/cat/01.png,indoors."


@dataclass(frozen=True)
class _Row:
    """A line of the CSV file: its number and its cells."""

    line: int
    file: str
    group: str
    label: str | None


def read_groups(
    setting: str, root: Path, known: Sequence[str], train: Listing | None, tests: Mapping[str, Listing]
) -> dict[Path, str]:
    """The group of each image that has one, without its class. Nothing is decoded.

    Args:
        setting: ``none``, ``folders`` or the path of a CSV file.
        root: The data folder.
        known: The names of all classes.
        train: The training images; those among them that are split off for testing may have groups.
        tests: The test sets by name.

    Raises:
        DataError: No such file, a file of another form, or one that does not fit the images; no groups.
    """
    if setting == NONE:
        return {}
    tested = [*tests.values(), *([train] if train is not None and "test" not in tests else [])]
    files = [file for one in tested for file in one.paths]
    if setting == FOLDERS:
        found = {file: place for one in tested for file in one.paths if (place := _folder(file, one.folder))}
        if not found:
            raise DataError(
                f"data.groups: no test image of {root} lies in a folder below its class's folder.",
                "Sort them into test/CLASS/GROUP/…, or leave data.groups out.",
            )
        return found
    path = Path(os.path.expanduser(setting))
    rows = _rows(path)
    everyone = [*tests.values(), *([] if train is None else [train])]
    label_of = {_key(file): label for one in everyone for file, label in one.of_class().items()}
    places = _places(path, rows, root, [one.folder for one in tests.values()], label_of.keys())
    _check_classes(path, rows, places, label_of, known)
    group_of = {place: row.group for row, place in zip(rows, places, strict=True) if row.group}
    found = {file: group_of[_key(file)] for file in files if _key(file) in group_of}
    if not found:
        raise _none_found(setting)
    return found


def groups_of(listing: Listing, group_of: Mapping[Path, str]) -> Groups | None:
    """The groups of a test set, those of a class beside each other; None where no image is in one."""
    pairs = [(label, group_of.get(file)) for file, label in zip(listing.paths, listing.labels.tolist(), strict=True)]
    found = sorted({(label, group) for label, group in pairs if group is not None})
    number = {pair: place for place, pair in enumerate(found)}
    names = tuple(f"{listing.classes[label]}, {group}" for label, group in found)
    numbers = torch.tensor([-1 if pair[1] is None else number[pair[0], pair[1]] for pair in pairs], dtype=torch.int64)
    return Groups(names, numbers) if names else None


def notes_on_groups(setting: str, groups: Mapping[str, Groups | None], images: int) -> list[str]:
    """A note where some of the ``images`` of all test sets are in no group.

    Raises:
        DataError: None is in any.
    """
    if not any(groups.values()):
        raise _none_found(setting)
    grouped = sum(int((one.numbers >= 0).sum()) for one in groups.values() if one is not None)
    left = images - grouped
    return [f"{left} test images are in no group of data.groups"] if left else []


def _folder(file: Path, part: Path) -> str | None:
    """The first folder below the class's folder that a file of a part lies in."""
    inside = file.relative_to(part).parts[1:-1]
    return inside[0] if inside else None


def _rows(path: Path) -> list[_Row]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        mend = "Give none, folders, or the path of a CSV file."
        raise DataError(f"data.groups: {path}: no such file.", mend) from None
    except UnicodeDecodeError:
        raise DataError(f"data.groups: {path} is not UTF-8 text.", "Save it as CSV in UTF-8.") from None
    except OSError as error:
        raise DataError(f"data.groups: {path}: {error.strerror}.", "Give a CSV file that can be read.") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise DataError(f"data.groups: {path}, line {reader.line_num}: {error}.", _FORM) from error
    lines = [(number, cells) for number, cells in lines if any(cells)]
    head = [cell.lower() for cell in lines[0][1]] if lines else []
    missing = [f"'{name}'" for name in _COLUMNS if name not in head]
    if missing:
        raise DataError(f"data.groups: {path} has no column {' and no column '.join(missing)}.", _FORM)
    short = next((number for number, cells in lines if len(cells) != len(head)), None)
    if short is not None:
        raise DataError(f"data.groups: {path}, line {short} has not {len(head)} cells as the first one.", _FORM)
    rows = [(number, dict(zip(head, cells, strict=True))) for number, cells in lines[1:]]
    return [_Row(number, row["file"], row["group"], row.get("class")) for number, row in rows]


def _places(path: Path, rows: Sequence[_Row], root: Path, tests: Sequence[Path], images: Container[str]) -> list[str]:
    """The image that each row names: below the data folder, else below a test set's folder."""
    places, unknown = [], []
    for row in rows:
        below = [_key(folder / row.file.replace("\\", "/")) for folder in (root, *tests)]
        hits = [below[0]] if below[0] in images else list(dict.fromkeys(one for one in below if one in images))
        if len(hits) > 1:
            raise DataError(
                f"data.groups: {path}, line {row.line}: '{row.file}' is an image of several test sets.",
                f"Write it as it lies in the data folder, as in {os.path.relpath(hits[0], root)}.",
            )
        # A file of a class that is not used, or that cannot be an image, is nobody's mistake.
        hits = hits or [one for one in below if row.file and os.path.isfile(one)]
        if not hits:
            unknown.append(f"'{row.file}' (line {row.line})")
        places.append(hits[0] if hits else "")
    if unknown:
        raise DataError(
            f"data.groups: {path} names images that are not there: {_some(unknown)}.",
            f"Write them as they lie in {root}, or take them out.",
        )
    first: dict[str, int] = {}
    twice = [
        f"'{row.file}' (lines {first[place]} and {row.line})"
        for row, place in zip(rows, places, strict=True)
        if first.setdefault(place, row.line) != row.line
    ]
    if twice:
        raise DataError(f"data.groups: {path} names images twice: {_some(twice)}.", "An image has one group.")
    return places


def _check_classes(
    path: Path, rows: Sequence[_Row], places: Sequence[str], label_of: Mapping[str, str], known: Sequence[str]
) -> None:
    """The column ``class``, where there is one, says what the folders say."""
    for row, place in zip(rows, places, strict=True):
        if row.label is None:
            continue
        if row.label not in known:
            raise DataError(
                f"data.groups: {path}, line {row.line}: there is no class '{row.label}'.", nearest(row.label, known)
            )
        if label_of.get(place, row.label) != row.label:
            raise DataError(
                f"data.groups: {path}, line {row.line}: '{row.file}' lies in the folder of '{label_of[place]}', "
                f"not of '{row.label}'.",
                "Correct the column class, or leave it out.",
            )


def _none_found(setting: str) -> DataError:
    return DataError(
        f"data.groups: '{setting}' puts no test image into a group.",
        "Name test images, or leave data.groups out.",
    )


def _some(wrong: Sequence[str]) -> str:
    return ", ".join(wrong[:SHOWN]) + (f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else "")


def _key(file: Path) -> str:
    """A path as it is compared: whole, without dots."""
    return os.path.abspath(file)
