"""Images that a table names, with their labels: ``csv:FILE``."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from conceptnet_ml import Data
from conceptnet_ml.config.settings import DataSettings
from conceptnet_ml.data.class_subset import class_numbers
from conceptnet_ml.data.files import SUFFIXES
from conceptnet_ml.errors import DataError, SettingsError, meant_path, nearest

from .columns import HELD, LABELS, SPLITS, TRAIN, names_of_tests, parts_of
from .folder_layout import Listing, Listings
from .picture_files import check_listings, read_files

PATHS = ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "image_file")
"""What the column of files may be called, where no setting says it."""

SHOWN = 5
"""Wrong lines that are named."""

_FORM = "Begin it with the line path,label (or path,label,split) and write one line per image, as in cats/01.png,cat."


@dataclass(frozen=True)
class _Row:
    """A line of the table: its number, the file's path, its label and its part."""

    line: int
    file: Path
    label: str
    part: str


def load(argument: str, settings: DataSettings, seed: int) -> Data:
    """Read the images that a CSV file with a header names.

    A column of paths, relative to the file's folder or absolute, and one of labels; a third may say which part of the
    data an image is in: ``train``, ``val`` (held out where there is a test part, else the test set), ``test``, or any
    other name for a further test set. Columns are found by their usual names, or named by ``settings.image_column``,
    ``settings.label_column`` and ``settings.split_column``. Comma, semicolon and tab are separators. All else is as of
    any files (:func:`conceptnet_plugins.datasets.picture_files.read_files`).

    Raises:
        SettingsError: No path given.
        DataError: The file, a line of it, or an image cannot be used.
    """
    if not argument:
        raise SettingsError("data.source 'csv' needs a file.", "Write csv:FILE.")
    table = Path(os.path.expanduser(argument))
    rows = _rows(table, settings)
    _check_files(table, rows)
    found = _listings(table, rows, settings)
    check_listings(str(table), found, settings)
    return read_files(f"csv:{argument}", table.parent, found, settings, seed)


def _rows(table: Path, settings: DataSettings) -> list[_Row]:
    lines = _lines(table)
    head = [cell.casefold() for cell in lines[0][1]] if lines else []
    twice = next((name for name in head if name and head.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{table}: two columns are called '{twice}'.", "Give each a name of its own.")
    places = {
        "path": _column(table, head, "image_column", settings.image_column, PATHS),
        "label": _column(table, head, "label_column", settings.label_column, LABELS),
    }
    split = _column(table, head, "split_column", settings.split_column, SPLITS, needed=False)
    rows = []
    for line, cells in lines[1:]:
        if len(cells) != len(head):
            raise DataError(
                f"{table}, line {line} has {len(cells)} cells, the first line has {len(head)}.",
                'A cell that holds the separator stands in quotes, as in "a,b.png".',
            )
        empty = [name for name, place in places.items() if not cells[place or 0]]
        if empty:
            raise DataError(f"{table}, line {line} has no {empty[0]}.", "Fill the cell, or take the line out.")
        file, label = (cells[places[name] or 0] for name in ("path", "label"))
        path = Path(os.path.expanduser(file.replace("\\", "/") if "/" not in file else file))
        rows.append(_Row(line, table.parent / path, label, TRAIN if split is None else cells[split]))
    if not rows:
        raise DataError(f"{table} names no images.", _FORM)
    return rows


def _lines(table: Path) -> list[tuple[int, list[str]]]:
    """The lines that are not empty, with their numbers."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(
            f"{table}: no such file.", f"{meant_path(table, file=True)}Check the path after csv:."
        ) from None
    except IsADirectoryError:
        raise DataError(f"{table} is a folder.", "Name a CSV file; a folder of images is folder:PATH.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{table}, line {line} is not UTF-8 text.", "Save it as CSV in UTF-8.") from None
    except OSError as error:
        raise DataError(f"{table}: {error.strerror}.", "Give a CSV file that can be read.") from error
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lines, begins = [], 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                lines.append((begins, cells))
            begins = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{table}, line {begins}: {error}.", _FORM) from error
    return lines


def _column(
    table: Path, head: Sequence[str], setting: str, wanted: str | None, usual: Sequence[str], needed: bool = True
) -> int | None:
    """The place of a column: the one that is ``wanted``, else the first with a usual name."""
    if wanted is not None:
        if wanted.casefold() not in head:
            raise DataError(f"data.{setting}: {table} has no column '{wanted}'.", nearest(wanted.casefold(), head))
        return head.index(wanted.casefold())
    found = next((name for name in usual if name in head), None)
    if found is None and needed:
        shown = ", ".join(head) or "nothing"
        raise DataError(
            f"{table}: none of the columns in its first line ({shown}) is called {', '.join(usual[:3])} or the like.",
            f"Name it with --set data.{setting}=NAME, or begin the file with the line path,label.",
        )
    return None if found is None else head.index(found)


def _check_files(table: Path, rows: Sequence[_Row]) -> None:
    """Every file is there, ends like an image, and is named once."""
    missing = [f"'{row.file}' (line {row.line})" for row in rows if not os.path.isfile(row.file)]
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise DataError(
            f"{table} names files that are not there: {', '.join(missing[:SHOWN])}{more}.",
            f"Write paths as seen from {table.parent}, or in full.",
        )
    other = next((row for row in rows if row.file.suffix.lower() not in SUFFIXES), None)
    if other is not None:
        raise DataError(
            f"{table}, line {other.line}: '{other.file.name}' does not end like an image.",
            f"These are read: {', '.join(sorted(SUFFIXES))}.",
        )
    lines: dict[Path, int] = {}
    for row in rows:
        if (before := lines.setdefault(row.file.resolve(), row.line)) != row.line:
            raise DataError(
                f"{table} names '{row.file}' twice, in lines {before} and {row.line}.", "Take one of the lines out."
            )


def _listings(table: Path, rows: Sequence[_Row], settings: DataSettings) -> Listings:
    known = sorted({row.label for row in rows})
    numbers = range(len(known)) if settings.classes is None else class_numbers(known, settings.classes, str(table))
    classes = tuple(known[number] for number in numbers)
    parts = parts_of(str(table), [row.part for row in rows], settings.minimum == 0)
    place = {name: number for number, name in enumerate(classes)}

    def listed(name: str) -> Listing | None:
        own = [row for row, part in zip(rows, parts, strict=True) if part == name and row.label in place]
        labels = torch.tensor([place[row.label] for row in own], dtype=torch.int64)
        return Listing(Path(name), classes, [row.file for row in own], labels, Counter()) if own else None

    tests = {name: one for name in names_of_tests(parts) if (one := listed(name)) is not None}
    train = listed(TRAIN)
    if train is None and settings.minimum:
        raise DataError(f"{table} names no training images: no line says '{TRAIN}'.", "Say so in the column of parts.")
    return Listings(train, listed(HELD), tests)
