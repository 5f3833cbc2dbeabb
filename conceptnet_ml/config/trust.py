"""Which modules may be imported because a run folder names them: those that the user has named before.

A run's settings may name a network as ``module:callable``, and a run folder may come from anyone. What the user gives
to a command is imported, and remembered with the file it came from; what only a run folder names is imported where the
same name means the same file as then, or where the user says so (``--trust``). Plugins are no matter of this module:
they are installed, or given by ``--plugins-dir``.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path

from conceptnet_ml.errors import DataError
from conceptnet_ml.storage.files import MALFORMED, read_json, user_cache_folder, write_atomic

_here: set[tuple[str, str]] = set()
_all: list[bool] = []


def trust_everything() -> None:
    """Whatever a run names is imported, as long as this process lives."""
    _all.append(True)


def remember(backbone: str, backbones: Iterable[str]) -> None:
    """The user named this ``network.backbone`` himself: runs may name it from now on. Where nothing can be written it
    holds for this process alone.

    Args:
        backbone: The setting.
        backbones: Names of the plugins' backbones, which need no trust.
    """
    named = _module_named(backbone, backbones)
    if named is None or named in _here:
        return
    _here.add(named)
    known = _remembered()
    if named not in known:
        with contextlib.suppress(DataError, OSError):
            write_atomic(_file(), json.dumps(sorted({*known, named}), indent=1) + "\n")


def check_trusted(backbone: str, backbones: Iterable[str], path: Path) -> None:
    """Refuse to import what only a run folder names. Nothing is imported here. Raises DataError.

    Args:
        backbone, backbones: As in :func:`remember`.
        path: The run folder.
    """
    named = _module_named(backbone, backbones)
    if named is None or _all or named in _here or named in _remembered():
        return
    where = named[1] or "no file that can be found"
    raise DataError(
        f"{path / 'settings.json'} names a network as code, {backbone!a} ({where}), that you have not named before",
        "Where you trust the run and that file, add --trust (in Python: trust=True): the code is run with your rights.",
    )


def _module_named(backbone: str, backbones: Iterable[str]) -> tuple[str, str] | None:
    """``module:callable`` and the file of its outermost package; None for a plugin's backbone."""
    name, colon, _ = backbone.partition(":")
    if not colon or name in backbones:
        return None
    with contextlib.suppress(ImportError, ValueError, OSError, AttributeError):
        spec = PathFinder.find_spec(name.partition(".")[0], [os.getcwd(), *sys.path])
        if spec is not None:
            found = spec.origin or next(iter(spec.submodule_search_locations or ()), "")
            return backbone, os.path.realpath(found) if found else ""
    return backbone, ""


def _remembered() -> set[tuple[str, str]]:
    try:
        return {(str(target), str(file)) for target, file in read_json(_file())}
    except (DataError, *MALFORMED):  # nothing yet, or damaged: it is asked once more
        return set()


def _file() -> Path:
    return user_cache_folder() / "modules.json"
