"""Images in folders, one per class: ``folder:PATH``."""

from __future__ import annotations

import os
from pathlib import Path

from conceptnet_ml import Data
from conceptnet_ml.config.settings import DataSettings
from conceptnet_ml.data.files import SUFFIXES
from conceptnet_ml.errors import DataError, SettingsError

from .folder_groups import FOLDERS, NONE, read_groups
from .folder_layout import FIRST, Listing, Listings, find_parts, read_listings
from .picture_files import check_listings, read_files

_DEEPER = "If each of these is a class by itself: data.labels=deepest"


def load(argument: str, settings: DataSettings, seed: int) -> Data:
    """Read a folder in ImageFolder layout.

    ``PATH/train/CLASS/…`` with ``PATH/test`` beside it, or ``PATH/CLASS/…``, of which a seeded share of every class,
    ``settings.test_share``, becomes the test set; the whole of it if ``settings.minimum`` is 0, and then there may be
    test sets alone. ``PATH/val`` is the test set where there is no other, and else the held-out images.
    ``PATH/test-NAME/CLASS/…`` and ``PATH/tests/NAME/CLASS/…`` are test sets called NAME, which may lack classes. Files
    lie at any depth within a class's folder; ``settings.labels`` says which folder that is
    (:mod:`conceptnet_plugins.datasets.folder_layout`). ``settings.groups`` says how test images are grouped
    (:mod:`conceptnet_plugins.datasets.folder_groups`). All else is as of any files
    (:func:`conceptnet_plugins.datasets.picture_files.read_files`).

    Raises:
        SettingsError: No path given, or settings that exclude each other.
        DataError: The folder, its classes, its files or the groups cannot be used.
    """
    if not argument:
        raise SettingsError("data.source 'folder' needs a path.", "Write folder:PATH.")
    if settings.groups == FOLDERS and settings.labels != FIRST:
        raise SettingsError(
            f"data.groups=folders: with data.labels={settings.labels} there are no folders below a class's.",
            "Let a CSV file say the groups, or leave data.labels out.",
        )
    root = Path(os.path.expanduser(argument))
    parts = find_parts(root, settings.minimum == 0, settings.labels)
    found, known = read_listings(root, parts, settings.classes, settings.labels)
    deeper = _deeper(found.whole) if settings.labels == FIRST else ""
    try:
        check_listings(str(root), found, settings)
    except DataError as error:
        if len(found.whole.classes) > 1 or not deeper:
            raise
        raise DataError(
            f"{error.message} {deeper}.", f"{_DEEPER}; data.labels=path where some are called so."
        ) from None
    group_of = read_groups(settings.groups, root, known, found.train, found.tests)
    notes = [*parts.notes, *_loose(found), *([f"{deeper}. {_DEEPER}"] if deeper and settings.groups == NONE else [])]
    return read_files(f"folder:{argument}", root, found, settings, seed, notes, group_of)


def _loose(found: Listings) -> list[str]:
    """A note on pictures that lie beside the folders of classes."""
    loose = [path.name for one in found.all() for path in sorted(one.folder.iterdir()) if _is_picture(path)]
    if not loose:
        return []
    lie = f"{len(loose)} pictures lie" if len(loose) > 1 else "1 picture lies"
    return [f"{lie} beside the class folders, in no class, and left out: {', '.join(loose[:3])}"]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.name[0] != "." and path.is_file()


def _deeper(part: Listing) -> str:
    """Which folders with images lie within a class's, in words; empty where there are none."""
    folders = dict.fromkeys(file.parent.relative_to(part.folder) for file in part.paths)
    inner = [folder.as_posix() for folder in folders if len(folder.parts) > 1]
    more = f" and {len(inner) - 3} more" if len(inner) > 3 else ""
    return f"Images lie in folders within their class's: {', '.join(inner[:3])}{more}" if inner else ""
