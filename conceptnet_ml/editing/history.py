"""The edits of a run: the changes of its graph and network since it was learned, and the way back.

::

    RUN/edits/
      log.json        every edit in order, with its difference to the graph
      adopted.json    the edits from which learning went on
      0001/           the run's results before edit 1, and its adapted models
      0001-network…   the network after edit 1, where it changed the network

An edit counts once it is in the log. An edit that a crash cut short has a folder and no entry; it is taken back before
the run is next written to, so that graph, model and summary always belong to the same edit. Old results are linked, not
copied, where the disk can: every file of a run is replaced as a whole and never written into.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from conceptnet_ml.config.overrides import Override, parse_override, parse_overrides
from conceptnet_ml.editing.delta import Delta
from conceptnet_ml.editing.plan import EXCHANGED
from conceptnet_ml.errors import ConceptNetError, DataError, GraphError, quoted
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.schema import DecidedNode
from conceptnet_ml.storage.files import (
    damaged,
    disk_errors,
    link,
    pretty,
    read_json,
    remove_folder,
    replace_by_link,
    write_atomic,
)
from conceptnet_ml.storage.hashing import sha256
from conceptnet_ml.storage.run_folder import PAGE, RESULTS, Run
from conceptnet_ml.storage.tensors import Checkpoint

if TYPE_CHECKING:
    import torch

CHANGED = (*RESULTS, PAGE, "DONE", "edits/adopted.json")
"""Files that an edit may change, besides the folder of adapted models."""

ENTRY: dict[str, Any] = {
    "number": int,
    "time": int | float,
    "verb": str,
    "said": str,
    "structural": bool,
    "network": str | None,
    "arguments": dict,
    "delta": dict,
}
"""Fields of an edit in the log, and their types."""

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds that a reader waits for an edit to be written; what takes longer, its computing, is done before."""

STAY = "adapted-stay"
"""Beside the results before an edit that is being undone: adapted models stay as they are."""


class EditHistory:
    """The edits of one run.

    Args:
        run: Its folder; the lock is taken by the first write.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.path = run.path / "edits"

    def log(self) -> list[dict[str, Any]]:
        """Every edit: ``number``, ``time``, ``verb``, ``said``, ``arguments``, ``structural``, ``delta``. Raises
        DataError where the log is damaged.
        """
        path = self.path / "log.json"
        if not path.exists():
            return []
        entries = read_json(path)
        with damaged(path, "Restore the file, or learn the run anew."):
            for number, entry in enumerate(entries, 1):
                known = all(isinstance(entry[name], kind) for name, kind in ENTRY.items())
                if entry["number"] != number or not known:
                    raise ValueError(f"edit {number} is no edit")
        return list(entries)

    def adopted(self) -> list[int]:
        """The edits from which learning went on, ascending. Raises DataError where they are damaged."""
        path = self.path / "adopted.json"
        if not path.exists():
            return []
        found = read_json(path)
        with damaged(path, "Restore the file, or learn the run anew."):
            if not all(type(number) is int and 0 < number <= len(self.log()) for number in found):
                raise ValueError("it names edits that were not made")
            return list(found)

    def pending(self) -> int | None:
        """The last edit that changed the network and from which learning has not gone on; None where there is none."""
        learned = max(self.adopted(), default=0)
        new = [entry["number"] for entry in self.log() if entry["network"] and entry["number"] > learned]
        return new[-1] if new else None

    def adopt(self) -> None:
        """Learning goes on from the edits made so far."""
        if self.pending() is not None:
            self.run.lock()
            write_atomic(self.path / "adopted.json", pretty([*self.adopted(), len(self.log())]))

    def digest(self, number: int) -> str:
        """Fingerprint of the edits up to this one, on which all that is learned from them depends."""
        changing = [entry for entry in self.log()[:number] if entry["network"]]
        return sha256(pretty([[entry["verb"], entry["arguments"], entry["network"]] for entry in changing]), 16)

    def descriptions(self) -> list[str]:
        """The edits in words, numbered."""
        return [f"{entry['number']}. {entry['said']}" for entry in self.log()]

    def forgotten_families(self) -> list[str]:
        """Names of the families that were forgotten."""
        return [entry["family"] for entry in self.log() if entry.get("family")]

    def apply(self, graph: ConceptGraph) -> ConceptGraph:
        """A graph that was rebuilt from the run's rounds, with all edits applied to it."""
        with damaged(self.path / "log.json"):
            for entry in self.log():
                graph = Delta(**{**entry["delta"], "network": None}).apply(graph)
        return graph

    def network(self, number: int) -> dict[str, torch.Tensor]:
        """The state of the network after an edit and all before it. Raises DataError where it is missing or damaged."""
        last = max(entry["number"] for entry in self.log()[:number] if entry["network"])
        state = self._network(last).load()
        if state is None:
            raise DataError(f"{self._network(last).path} is missing", f"Undo edit {last} and make it again.")
        return state

    # ------------------------------------------------------------------------------------------------ writing

    def begin(self) -> int:
        """Take the lock, keep the results so far, and return the number of the edit that is about to be made."""
        self.run.lock()
        self.repair()
        number = len(self.log()) + 1
        before, unfinished = self._before(number), self.path / f".{number:04}.tmp"
        if before.exists():
            raise DataError(f"{before} was not made by an edit of this run", "Take it out of the run folder.")
        with disk_errors(before, "write"):
            try:
                unfinished.mkdir(parents=True)
                for name in CHANGED:
                    if (self.run.path / name).exists():
                        link(self.run.path / name, unfinished / name)
                if (self.run.path / "adapted").is_dir():
                    shutil.copytree(self.run.path / "adapted", unfinished / "adapted", copy_function=link)
                os.replace(unfinished, before)
            except (OSError, shutil.Error):
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
        return number

    def commit(self, entry: Mapping[str, Any], network: Mapping[str, torch.Tensor] | None = None) -> None:
        """Log an edit that is made: the last of its writes, from which on it counts. ``network`` is the state of the
        network after it, where it changed.
        """
        if network is not None:
            self._network(entry["number"]).save(dict(network))
        self._write_log([*self.log(), dict(entry)])
        self.run.log(event="edit", **{key: entry[key] for key in ("number", "verb", "said")})

    def repair(self) -> None:
        """Take back an edit that was cut short, and finish an undo that was."""
        while unfinished := self._unfinished():
            self.run.lock()
            self._restore(unfinished[0])

    def mend(self) -> None:
        """As :meth:`repair`, for who only reads: an edit that another process is writing is waited for, a little while.
        Raises DataError where it goes on, or where what was cut short cannot be taken back: then results of before the
        edit and of after it lie side by side.
        """
        if self.run.locked:  # who writes may read what he has written
            return
        end = time.monotonic() + PATIENCE
        while self._unfinished():
            try:
                with self.run:
                    self.run.lock()
                    self.repair()
            except DataError as error:
                if time.monotonic() > end:
                    mend = "Try again in a moment; where no edit is being made, open the run where it can be written."
                    raise DataError(f"{self.run.path} is in the middle of an edit: {error.message}", mend) from error
                time.sleep(PATIENCE / 20)

    def read(self, read: Callable[[], T]) -> T:
        """What ``read()`` returns, which reads files of the run that belong together: all of before an edit of another
        process, or all of after it. Raises DataError as :meth:`mend`, and what ``read()`` raises where it is not due to
        such an edit.
        """
        if self.run.locked:
            return read()
        end = time.monotonic() + PATIENCE
        while True:
            self.mend()
            before = self._versions()
            try:
                found = read()
            except ConceptNetError:
                if before == self._versions() and not self._unfinished():
                    raise
            else:
                if before == self._versions() and not self._unfinished():
                    return found
            if time.monotonic() > end:
                raise DataError(f"{self.run.path} is being changed by another process", "Try again in a moment.")

    def _versions(self) -> list[tuple[int, ...]]:
        """What tells each of the results and the log from what takes its place: a file of its own."""
        files = [self.run.path / name for name in RESULTS] + [self.path / "log.json"]
        stats = [file.stat() if file.exists() else None for file in files]
        return [() if stat is None else (stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats]

    def _unfinished(self) -> list[int]:
        """Edits that have a folder and no entry, the last first. A folder that lacks what the run has was made, or cut
        down, by something else: to restore it would delete results.
        """
        folders = [int(path.name) for path in self.path.glob("[0-9]" * 4) if self._is_whole(path)]
        return sorted((number for number in folders if number > len(self.log())), reverse=True) if folders else []

    def _is_whole(self, before: Path) -> bool:
        return all((before / name).is_file() for name in (*RESULTS, "DONE") if (self.run.path / name).exists())

    def undo(self, count: int = 1) -> list[dict[str, Any]]:
        """Take the last edits back; the run's results are bit for bit what they were before the first of them.

        Results that were learned from them go, too; their finished steps stay, for the same edits made again. Returns
        the entries that are gone, last first. Raises DataError where there are not so many.
        """
        self.run.lock()
        self.repair()
        entries = self.log()
        if not 1 <= count <= len(entries):
            have = f"{len(entries)} edit{'' if len(entries) == 1 else 's'}" if entries else "no edits"
            raise DataError(f"{self.run.path} has {have}: {count} cannot be undone", "See: graph log RUN.")
        gone = entries[-count:][::-1]
        learned = max(self.adopted(), default=0)
        for entry in gone:
            # models that were adapted to a network that stays as it is stay, too
            if not entry["structural"] and entry["number"] > learned:
                write_atomic(self._before(entry["number"]) / STAY, "")
        self._write_log(entries[:-count])  # after this, repair() finishes an undo that a crash cut short
        for entry in gone:
            self._restore(entry["number"])
            self.run.log(event="undone", number=entry["number"], said=entry["said"])
        return gone

    def _restore(self, number: int) -> None:
        before = self._before(number)
        adapted = not (before / STAY).exists()
        with disk_errors(self.run.path, "write"):
            for name in CHANGED:
                if (before / name).exists():
                    (self.run.path / name).parent.mkdir(exist_ok=True)
                    replace_by_link(before / name, self.run.path / name)
                else:
                    (self.run.path / name).unlink(missing_ok=True)
            if adapted:
                remove_folder(self.run.path / "adapted")
            if adapted and (before / "adapted").is_dir():
                shutil.copytree(before / "adapted", self.run.path / "adapted", copy_function=link)
            self._network(number).clear()
            remove_folder(before)  # as one: half of it would restore half of the results

    def _before(self, number: int) -> Path:
        return self.path / f"{number:04}"

    def _network(self, number: int) -> Checkpoint:
        return Checkpoint(self.path / f"{number:04}-network.json", self.run.lock)

    def _write_log(self, entries: Sequence[Mapping[str, Any]]) -> None:
        self.run.lock()
        write_atomic(self.path / "log.json", pretty(entries))


def decisions_by_hand(run: Run) -> tuple[list[str], list[str]]:
    """The names of the rounds to keep and to undo after changes by hand in a run's graph.json.

    A round is kept where the decision of a feature, generalized feature or variant is ``kept`` now and was not, in the
    representation named at that node; it is undone where it was ``kept`` and is not. One changed node decides for its
    round. The decisions before are those of the run's summary.

    Raises:
        DataError, GraphError: The graph cannot be read, or breaks an invariant.
        SettingsError: Two nodes of a round were changed to different representations.
    """
    path = run.path / "graph.json"
    if not path.exists() or not (run.path / "summary.json").exists():
        return [], []
    try:
        graph = ConceptGraph.read(run.path)
        if problems := graph.check():
            raise GraphError(f"{path}: {problems[0]}")
    except ConceptNetError as error:
        mend = f"Mend it; or delete it, and learn --resume {quoted(run.path)} writes it anew."
        raise type(error)(error.message, mend) from error
    summary = run.summary()
    with damaged(run.path / "summary.json"):
        decided = {str(entry["name"]): entry["decision"] for entry in summary["rounds"]}
    starts = (EXCHANGED, *(f"{name} in " for name in graph.classes))
    rounds = {f"{start}{name}": name for name in decided for start in starts}
    found: set[Override] = set()
    for node in graph.nodes():
        name = rounds.get(node.label)
        if name is not None and isinstance(node, DecidedNode):
            found |= _changed(node, name, decided[name], str(path))
    keep = sorted(one.text for one in found if one.keep)
    undo = sorted(one.text for one in found if not one.keep)
    parse_overrides(keep, undo)
    return keep, undo


def _changed(node: DecidedNode, name: str, decided: str, path: str) -> set[Override]:
    if node.decision is None:
        raise DataError(f"{path}: {node.kind} '{node.label}' has no decision", "Write kept, undone or leaf.")
    keep = node.decision == "kept"
    if keep == (decided == "kept"):
        return set()
    suffix = f"/{node.representation}" if keep and node.representation is not None else ""
    return {parse_override(f"{name}{suffix}", keep)}
