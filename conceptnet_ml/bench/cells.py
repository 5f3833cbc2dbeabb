"""Where finished cells are kept, and which are still to be measured.

::

    OUT/
      cells/CASE/SEED/case.json      the settings this was measured with
      cells/CASE/SEED/run/           the run that all methods of this case and seed share
      cells/CASE/SEED/worker.log     what the process said that measured here last
      cells/CASE/SEED/METHOD.cell.json   one cell
      results.json .md .png .svg     the tables
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from conceptnet_ml.bench.cases import Case, Suite
from conceptnet_ml.config.plugin_settings import PREFIX
from conceptnet_ml.config.sources import MOVABLE
from conceptnet_ml.config.values import show_value
from conceptnet_ml.errors import DataError, SettingsError
from conceptnet_ml.storage.files import (
    MOST_JSON,
    disk_errors,
    finite,
    pretty,
    read_file,
    remove_leftovers,
    write_atomic,
)
from conceptnet_ml.storage.hashing import sha256
from conceptnet_ml.storage.lock import FolderLock

SCHEMA_VERSION = 1
DONE, FAILED, LEFT_OUT, TO_DO = "done", "failed", "left out", "to do"


@dataclass(frozen=True)
class CellGroup:
    """All cells of one case and seed: they share a run, so one process measures them one after the other."""

    case: Case
    seed: int
    methods: tuple[str, ...]

    @property
    def name(self) -> str:
        """``wheels, seed 0``."""
        return f"{self.case.name}, seed {self.seed}"


class CellStore:
    """The folder of a bench; it need not be there yet."""

    def __init__(self, out: Path) -> None:
        self.out = out

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, keep other processes from measuring into it, and remove what a killed one left half-written.
        Raises DataError where it cannot be written, or another process measures into it.
        """
        lock = FolderLock(self.out)
        with disk_errors(self.out, "write"):
            self.out.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        try:
            with disk_errors(self.out, "write"):
                for folder in (self.out, *self.out.glob("cells/*/*")):
                    remove_leftovers(folder, below=False)  # a run has a lock of its own, and is cleared under that
            yield
        finally:
            lock.release()

    def folder(self, case: Case, seed: int) -> Path:
        """The folder of a case and seed."""
        return self.out / "cells" / _file_name(case.name) / str(seed)

    def cell(self, case: Case, seed: int, method: str) -> dict[str, Any] | None:
        """A cell as it was written; None where there is none, or its file is damaged; cells of before have no
        checksum.
        """
        found = read_or_none(cell_path(self.folder(case, seed), method))
        if not isinstance(found, dict) or found.get("state") not in (DONE, FAILED, LEFT_OUT):
            return None
        checksum = found.pop("sha256", None)
        return found if checksum in (None, _checksum(found)) else None

    def state(self, suite: Suite, case: Case, seed: int, method: str) -> str:
        """``done``, ``failed``, ``left out`` (no answer for this case) or ``to do``: not measured, or adapted on
        other examples than the suite's."""
        found = self.cell(case, seed, method)
        if found is None or found["state"] == FAILED:
            return TO_DO if found is None else FAILED
        current = found.get("version") == SCHEMA_VERSION
        same = found.get("ks") == list(suite.ks) and found.get("draws") == suite.draws
        return found["state"] if current and (same or found["state"] == LEFT_OUT) else TO_DO

    def groups(self, suite: Suite, methods: Iterable[str]) -> list[CellGroup]:
        """What is still to be measured, seed by seed, so that every case has a first figure early."""
        common, groups = tuple(methods), []
        for seed in suite.seeds:
            for case in (case for case in suite.cases if not case.missing):
                states = {method: self.state(suite, case, seed, method) for method in case.methods(common)}
                rest = tuple(method for method, state in states.items() if state in (TO_DO, FAILED))
                groups += [CellGroup(case, seed, rest)] if rest else []
        return groups

    def check(self, suite: Suite) -> None:
        """Refuse to mix figures of different settings. Raises SettingsError where the folder holds cells of a case that
        were measured with other settings, or two cases have the same folder.
        """
        names: dict[str, str] = {}
        for case in suite.cases:
            other = names.setdefault(_file_name(case.name).casefold(), case.name)
            if other != case.name:
                raise SettingsError(f"the cases '{other}' and '{case.name}' are too alike.", "Rename one of them.")
            for seed in suite.seeds:
                stored = read_or_none(self.folder(case, seed) / "case.json")
                if isinstance(stored, dict) and isinstance(stored.get("settings"), dict):
                    self._compare(case, self.folder(case, seed), stored["settings"])

    def begin(self, group: CellGroup) -> Path:
        """Write down what a case and seed are measured with; returns their folder."""
        folder = self.folder(group.case, group.seed)
        record = {"case": group.case.name, "seed": group.seed, "settings": group.case.identity()}
        write_atomic(folder / "case.json", pretty(record))
        return folder

    @staticmethod
    def _compare(case: Case, folder: Path, stored: dict[str, Any]) -> None:
        found = json.loads(json.dumps(finite(case.identity())))
        declared = [name for name in {**stored, **found} if name.startswith(PREFIX)]  # there, or at its default
        shared = [name for name in found if name in stored and name not in (*MOVABLE, "seed")]
        for name in dict.fromkeys((*shared, *declared)):
            before, now = stored.get(name), found.get(name)
            if before != now:
                old, new = (show_value(tuple(v) if isinstance(v, list) else v) for v in (before, now))
                raise SettingsError(
                    f"{folder} was measured with other settings: {name} was {old}, is now {new}.",
                    "Choose another --out, or remove that folder.",
                )


def cell_path(folder: Path, method: str) -> Path:
    """The file of a cell below the folder of its case and seed."""
    return folder / f"{_file_name(method)}.cell.json"


def save_cell(order: dict[str, Any], method: str, state: str, **figures: Any) -> None:
    """Write a cell of an order (:func:`conceptnet_ml.bench.worker.order`); a failed one has ``error``, ``mend`` and
    ``trace``.
    """
    asked = {name: order[name] for name in ("ks", "draws")}
    date = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    cell = {"version": SCHEMA_VERSION, "case": order["case"], "seed": order["seed"], "method": method, "state": state}
    content = json.loads(json.dumps(finite({**cell, **asked, **date, **figures})))
    write_atomic(cell_path(Path(order["folder"]), method), pretty({**content, "sha256": _checksum(content)}))


def read_or_none(path: Path) -> Any:
    """The content of a file; None where it is missing or damaged, so that it is measured again. Raises DataError where
    it is there and must not be read.
    """
    try:
        return json.loads(read_file(path, MOST_JSON))
    except (ValueError, RecursionError):
        return None
    except DataError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return None
        raise


def _checksum(cell: Mapping[str, Any]) -> str:
    return sha256(json.dumps(cell, sort_keys=True))


def _file_name(name: str) -> str:
    """A name as a folder: letters, digits and ``+-._`` as they are, the rest as dashes."""
    words = re.sub(r"[^\w.+-]+", "-", name).strip("-.")
    if not words:
        raise SettingsError(f"'{name}' cannot name a folder.", "Use letters and digits.")
    return words
