"""The run directory: all that a run leaves behind.

::

    RUN/
      settings.json        every setting with where it came from; its presence makes the folder a run
      environment.json     versions, device, machine
      metrics.jsonl        one JSON object a line, in the order things happened
      steps/               finished steps, read instead of computed when a run is resumed
      checkpoints/         states within a step, removed when the run is done
      adapted/             adapted models: what adapting changed, by name
      graph.json           the concept graph
      pictures/            swaps of every round, nodes/ID.jpg for every node, sheets of dreams, dreams.json
      pictures.txt         which of them the run wrote: no others are removed when it draws them anew
      dreams/              single dreams, under a digest of all they depend on
      logs/                what loggers write, a folder for each
      edits/               edits of the graph and the network, and the results before each
      model.safetensors    the learned model; model.json describes it
      summary.json/.txt    the results
      report.html          the results on one page, to be read and handed on; made from the others
      DONE                 written last

Every file is replaced as a whole, so that a reader finds the old content or the new one. Nothing here needs torch until
a tensor is saved or read.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from conceptnet_ml.errors import DataError, meant_path, quoted
from conceptnet_ml.storage.files import (
    LEFTOVER,
    MOST_JSON,
    append_line,
    damaged,
    disk_errors,
    drop_torn_line,
    file_name,
    finite,
    foreign,
    pretty,
    read_file,
    read_json,
    remove_folder,
    remove_leftovers,
    write_atomic,
)
from conceptnet_ml.storage.hashing import sha256
from conceptnet_ml.storage.lock import LOCK_FILES, FolderLock, writer
from conceptnet_ml.storage.tensors import Checkpoint, load_tree, own_copies, pack, save_tree, unpack

if TYPE_CHECKING:
    import torch

RUN_SCHEMA = "conceptnet_ml.run"
RUN_VERSION = 1

RESULTS = ("summary.json", "summary.txt", "model.json", "model.safetensors", "graph.json")
"""Results of a finished run besides its pictures."""

PAGE = "report.html"

WRITTEN = "pictures.txt"

OWN = re.compile(r"pictures/(nodes/[0-9a-f]{12}\.jpg|[^/]+-swaps\.png|dreams-[^/]+\.png|answers\.png)")
"""Pictures that a run may have written that is older than :data:`WRITTEN`."""

T = TypeVar("T")


def round_picture(name: str) -> str:
    """The name of the picture of a round, as :meth:`Run.save_picture` takes it."""
    return f"{name.replace('/', '-')}-swaps.png"


def unfinished(path: Path, what: str) -> DataError:
    """The error that a run has no ``what`` yet: it is still running, and what can be looked at, or was stopped, and how
    to finish it."""
    if (process := writer(path)) is None:
        return DataError(f"{path} has no {what} yet", f"Finish the run: learn --resume {quoted(path)}")
    drawn = f", {path / 'pictures'} the first pictures" if (path / "pictures").is_dir() else ""
    mend = f"That comes at its end; {path / 'metrics.jsonl'} has what was measured and decided so far{drawn}."
    return DataError(f"{path} is running, in process {process}, and has no {what} yet", mend)


class Watcher(Protocol):
    """Is told what a run writes down, as it does."""

    def trained(self, name: str, step: int, figures: Mapping[str, float]) -> None:
        """So many steps of a training are done; its figures there, such as the loss."""

    def logged(self, line: Mapping[str, Any]) -> None:
        """A line of metrics.jsonl."""

    def drawn(self, relative: str) -> None:
        """A picture, by its path in the run folder."""

    def finished(self, summary: Mapping[str, Any], text: str) -> None:
        """The results."""


class Run:
    """A run directory. Make one with :meth:`create` or :meth:`open`.

    Reading needs no lock. The first write takes it; :meth:`finish`, :meth:`close` or leaving the ``with`` block gives
    it back, and so does the death of the process.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path = path
        self.settings: dict[str, Any] = header["settings"]
        self.origins: dict[str, Any] = header["origins"]
        self.package: str = header.get("package", "")
        """Version of this package that made it."""
        self.watchers: list[Watcher] = []
        """Told of what is written from now on."""
        self._lock = FolderLock(path)

    @classmethod
    def create(
        cls,
        path: str | Path,
        settings: Mapping[str, Any],
        origins: Mapping[str, Any],
        environment: Mapping[str, Any],
        version: str,
    ) -> Run:
        """Start a new run and take its lock. Raises DataError where the folder holds something already, or cannot be
        written.

        Args:
            path: A folder that does not exist or is empty.
            settings: The resolved settings, plain values only.
            origins: Where each came from (default, file, flag).
            environment: Versions, device and machine.
            version: Version of this package.
        """
        path = Path(path)
        with disk_errors(path, "write"):
            path.mkdir(parents=True, exist_ok=True)
        cls.check_free(path)
        chosen = {"package": version, "settings": settings, "origins": origins}
        header = _as_json({"schema": RUN_SCHEMA, "version": RUN_VERSION, **chosen})
        run = cls(path, header)
        run._write("environment.json", pretty(environment))
        run._write("settings.json", pretty(header))
        return run

    @staticmethod
    def check_free(path: str | Path) -> None:
        """Refuse a folder that holds something already; raises DataError, writes nothing. What a process left that was
        killed before there was a run is nothing.
        """
        path = Path(path)
        if not path.exists():
            return
        _refuse_foreign(path)
        with disk_errors(path, "read"):
            names = sorted(item.name for item in path.iterdir() if not LEFTOVER.fullmatch(item.name))
        occupied = [name for name in names if name not in LOCK_FILES]
        if occupied == ["environment.json"]:
            return
        if "settings.json" in occupied:
            raise DataError(
                f"{path} holds a run already", f"Go on with it by --resume {quoted(path)}, or choose another --out."
            )
        if occupied:
            raise DataError(f"{path} is not empty: {occupied[0]}", "Choose an empty or a new folder with --out.")

    @classmethod
    def open(cls, path: str | Path, write: bool = False) -> Run:
        """Open an existing run; with ``write`` its lock is taken at once, as a resumption should. Raises DataError
        where there is no such folder, it is no run or one of another version, or another process uses it.
        """
        path = Path(path)
        if not path.is_dir():
            mend = f"{meant_path(path)}Check the path; 'learn --out FOLDER' makes a run."
            raise DataError(f"there is no run folder {path}", mend)
        if not (path / "settings.json").is_file():
            raise DataError(f"{path} is not a run folder: it has no settings.json", "Name the folder 'learn' wrote to.")
        _refuse_foreign(path)
        header = read_json(path / "settings.json")
        if not isinstance(header, dict) or header.get("schema") != RUN_SCHEMA:
            raise DataError(f"{path / 'settings.json'} was not written by a run", "Name the folder 'learn' wrote to.")
        if header.get("version") != RUN_VERSION:
            raise DataError(
                f"{path} is a run of format {header.get('version')}, this program reads format {RUN_VERSION}",
                f"Use conceptnet_ml {header.get('package', 'of its time')} for it, or start a new run.",
            )
        if not all(isinstance(header.get(name), dict) for name in ("settings", "origins")):
            raise DataError(f"{path / 'settings.json'} is damaged: it has no settings", "Restore the file.")
        run = cls(path, header)
        if write:
            run.lock()
        return run

    def lock(self) -> None:
        """Take the lock unless it is held already, and remove what a killed process left half-written. Raises
        DataError where another process writes into this run.
        """
        if self._lock.held:
            return
        with disk_errors(self.path, "write"):
            self._lock.acquire()
            remove_leftovers(self.path)
            for name in ("metrics.jsonl", WRITTEN):
                drop_torn_line(self.path / name)

    @property
    def locked(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock.held

    def close(self) -> None:
        """Give the lock back. A later write takes it again."""
        self._lock.release()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------ steps

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """The value of a step: computed and saved the first time, read from its file afterwards. Raises DataError where
        the saved value is damaged or cannot be written, TypeError where the value holds something else than plain
        values and tensors.

        Args:
            name: Unique within the run; ``/`` makes folders.
            compute: Returns a tree of plain values and tensors.

        Returns:
            The saved value, the same whether computed or read: tensors are on the CPU and contiguous, an
            ``OrderedDict`` is a ``dict``.
        """
        path = self._step(name)
        if path.exists():
            return load_tree(path)
        self.lock()
        return save_tree(path, compute())

    def step_value(self, name: str) -> Any:
        """The value of a step that was done through a context. Raises DataError where it is damaged or not there."""
        return load_tree(self._step(name))["value"]

    def has_step(self, name: str) -> bool:
        """Whether the step is done."""
        return self._step(name).exists()

    def forget_step(self, name: str) -> None:
        """Remove a step's value, so that it is computed again."""
        Checkpoint(self._step(name), self.lock).clear()

    def checkpoint(self, name: str) -> Checkpoint:
        """A place for the state within a step, such as a training's weights and optimizer."""
        return Checkpoint(self.path / "checkpoints" / f"{file_name(name)}.json", self.lock)

    def adapted(self, name: str) -> Checkpoint:
        """A place for an adapted model; unlike a checkpoint it stays when the run is done."""
        return Checkpoint(self.path / "adapted" / f"{file_name(name)}.json", self.lock)

    def _step(self, name: str) -> Path:
        return self.path / "steps" / f"{file_name(name)}.json"

    # ------------------------------------------------------------------------------------------------ metrics

    def log(self, **metrics: Any) -> None:
        """Append one line to metrics.jsonl; ``time`` (seconds since 1970) is added, non-finite numbers become null."""
        self.lock()
        line = finite({"time": round(time.time(), 3), **metrics})
        append_line(self.path / "metrics.jsonl", json.dumps(line))
        for watcher in self.watchers:
            watcher.logged(line)

    def log_training(self, name: str, step: int, figures: Mapping[str, float]) -> None:
        """Tell who watches how far a training is; metrics.jsonl has its whole curve at its end."""
        for watcher in self.watchers:
            watcher.trained(name, step, figures)

    def metrics(self) -> list[dict[str, Any]]:
        """Every line of metrics.jsonl; a last line that a crash left unfinished is skipped. Raises DataError where
        another line cannot be read.
        """
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        *lines, _torn = read_file(path, MOST_JSON).split(b"\n")
        try:
            found = [json.loads(line) for line in lines]
            if not all(isinstance(line, dict) for line in found):
                raise ValueError("a line is no JSON object")
            return found
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} is damaged: {error}", "Delete the file; the run does not need it.") from error

    # ------------------------------------------------------------------------------------------------ results

    def save_graph(self, text: str) -> None:
        """Write graph.json."""
        self._write("graph.json", text)

    def save_picture(self, relative: str, image: bytes) -> str:
        """Write a picture to a path below pictures/, such as ``round1/car.png``; returns the path relative to the run
        folder, as the graph's ``pictures`` have it.
        """
        relative = f"pictures/{file_name(relative)}"
        self.lock()
        known = self._pictures()
        if not (self.path / WRITTEN).exists():
            self._write(WRITTEN, "".join(f"{name}\n" for name in sorted(known | {relative})))
        elif relative not in known:
            append_line(self.path / WRITTEN, relative)
        self._write(relative, image)
        for watcher in self.watchers:
            watcher.drawn(relative)
        return relative

    def keep_pictures(self, wanted: Iterable[str]) -> None:
        """Remove all pictures that the run wrote but these, given as :meth:`save_picture` returned them."""
        self.lock()
        kept = {*wanted}
        with disk_errors(self.path, "write"):
            for name in self._pictures() - kept:
                (self.path / name).unlink(missing_ok=True)
        self._write(WRITTEN, "".join(f"{name}\n" for name in sorted(kept)))

    def _pictures(self) -> set[str]:
        """What the run wrote below pictures/, given as :meth:`save_picture` returned it."""
        path = self.path / WRITTEN
        if path.exists():
            names = read_file(path, MOST_JSON).decode(errors="replace").splitlines()
        else:
            found = (one.relative_to(self.path).as_posix() for one in (self.path / "pictures").rglob("*.*"))
            names = [name for name in found if OWN.fullmatch(name)]
        # the list may come from anyone
        return {
            name for name in names if name[:9] == "pictures/" and ".." not in name and name[-4:] in (".png", ".jpg")
        }

    def save_dreams(self, records: Sequence[Mapping[str, Any]], witness: Mapping[str, Any] | None) -> None:
        """Write pictures/dreams.json: what is known of every dream, and how good the witness is that judged them."""
        self._write("pictures/dreams.json", pretty({"witness": witness, "dreams": list(records)}))

    def save_model(self, weights: Mapping[str, torch.Tensor], description: Mapping[str, Any]) -> None:
        """Write model.safetensors, the weights by their own names, and model.json, how to build their network."""
        data = pack(own_copies(weights))
        with disk_errors(self.path, "write"):
            (self.path / "model.json").unlink(missing_ok=True)  # never an old description beside new weights
        self._write("model.safetensors", data)
        content = _as_json({"sha256": sha256(data), **description})
        self._write("model.json", pretty({**content, "own_sha256": _own_digest(content)}))

    def load_model(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """The weights, on the CPU, and the description. Raises DataError where there is none, or it is damaged."""
        path = self.path / "model.safetensors"
        described = self.path / "model.json"
        if not described.exists() or not path.exists():
            raise unfinished(self.path, "model")
        mend = f"Delete it and resume: learn --resume {quoted(self.path)}"
        description, data = read_json(described), read_file(path)
        with damaged(described, mend):
            _check_description(description)
            checksum = description.pop("sha256")
        if sha256(data) != checksum:
            raise DataError(f"{path} is damaged: checksum does not match", mend)
        with damaged(path, mend):
            return unpack(data), description

    @property
    def learned_network(self) -> str | None:
        """Fingerprint of the learned network as model.json has it; None where there is no model. Raises DataError where
        it is damaged.
        """
        path = self.path / "model.json"
        if not path.exists():
            return None
        description = read_json(path)
        with damaged(path):
            _check_description(description)
            return str(description["networks"]["learned"])

    def environment(self) -> dict[str, Any]:
        """environment.json: versions, device, machine. Raises DataError where it cannot be read."""
        return read_json(self.path / "environment.json")

    def plugin_files(self) -> list[str]:
        """The plugin files that the run was made with, as they were named then; none where that cannot be read."""
        try:
            found = self.environment().get("plugins", ())
        except DataError:
            return []
        return [str(one) for one in found if str(one).endswith(".py")]

    def save_page(self, text: str) -> Path:
        """Write report.html; returns its path."""
        self._write(PAGE, text)
        return self.path / PAGE

    def remove_page(self) -> None:
        """Remove report.html, which says what is no longer so."""
        with disk_errors(self.path, "write"):
            (self.path / PAGE).unlink(missing_ok=True)

    def summary(self) -> dict[str, Any]:
        """summary.json. Raises DataError where there is none yet."""
        if not (self.path / "summary.json").exists():
            raise unfinished(self.path, "results")
        return read_json(self.path / "summary.json")

    def save_summary(self, summary: Mapping[str, Any], text: str) -> None:
        """Write summary.json and summary.txt."""
        self._write("summary.json", pretty(summary))
        self._write("summary.txt", text)

    def finish(self, summary: Mapping[str, Any], text: str) -> None:
        """Write summary.json, summary.txt and, last, DONE; remove the checkpoints; give the lock back."""
        self.save_summary(summary, text)
        with disk_errors(self.path, "write"):
            shutil.rmtree(self.path / "checkpoints", ignore_errors=True)
        self._write("DONE", "")
        for watcher in self.watchers:
            watcher.finished(summary, text)
        self.close()

    @property
    def complete(self) -> bool:
        """Whether the run is done and none of its results has been deleted since."""
        return all((self.path / name).exists() for name in ("DONE", *RESULTS))

    def revise(self, settings: Mapping[str, Any], origins: Mapping[str, Any], adapted: bool = False) -> None:
        """Go on under other settings: the results under the old ones are removed, finished steps stay.

        The caller sees to it that the steps that depend on the changed settings are computed again. Stopped half-way,
        the run is an unfinished one, under its old settings or under the new. ``settings`` and ``origins`` are as in
        :meth:`create`; with ``adapted`` the adapted models go too, since the model they were made from will be another.
        """
        self.lock()
        changed = _as_json({"settings": settings, "origins": origins})
        header = read_json(self.path / "settings.json") | changed
        with disk_errors(self.path, "write"):
            (self.path / "DONE").unlink(missing_ok=True)
        self._write("settings.json", pretty(header))
        self.settings, self.origins = header["settings"], header["origins"]
        with disk_errors(self.path, "write"):
            for name in (*RESULTS, PAGE):
                (self.path / name).unlink(missing_ok=True)
            if adapted:
                remove_folder(self.path / "adapted")

    def move_data(self, source: str) -> None:
        """The pictures lie elsewhere now: write it down as the setting ``data.source``."""
        self.lock()
        header = read_json(self.path / "settings.json")
        header["settings"]["data"]["source"] = source
        self._write("settings.json", pretty(header))
        self.settings = header["settings"]

    def _write(self, relative: str, content: str | bytes) -> None:
        self.lock()
        write_atomic(self.path / relative, content)


def _as_json(value: dict[str, Any]) -> dict[str, Any]:
    """The value as JSON reads it back."""
    loaded: dict[str, Any] = json.loads(json.dumps(finite(value)))
    return loaded


def _refuse_foreign(path: Path) -> None:
    """A run folder may come from anyone: nothing in it may lead out of it."""
    if (found := foreign(path)) is not None:
        what = "is a link that leads out of the run, or nowhere" if found.is_symlink() else "is no regular file"
        raise DataError(f"{found} {what}", "Put the file or folder itself there, or take it out.")


def _own_digest(description: Mapping[str, Any]) -> str:
    return sha256(json.dumps(description, sort_keys=True))


def _check_description(description: Any) -> None:
    """What the fields of model.json must be, which loses its own checksum here. Raises ValueError, KeyError, TypeError
    or AttributeError where it is something else; descriptions of before have no checksum of their own.
    """

    def must(holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"{what} is not what it should be")

    own = description.pop("own_sha256", None)
    must(own is None or own == _own_digest(description), "its own checksum")
    classes, networks = description.get("classes", ["a"]), description.get("networks", {"ordinary": "", "learned": ""})
    families = description.get("families", [])
    names = isinstance(classes, list) and all(isinstance(one, str) for one in classes)
    must(names and len({*classes}) == len(classes) > 0, "classes")
    for name in {"image_size", "read_size"} & description.keys():
        size = description[name]
        must(isinstance(size, list) and len(size) == 2 and all(type(n) is int and n > 0 for n in size), name)
    keys = isinstance(networks, dict) and {"ordinary", "learned"} <= networks.keys()
    must(keys and all(isinstance(key, str) for key in networks.values()), "networks")
    must(isinstance(families, list), "families")
    for family in families:
        texts = [family[name] for name in ("name", "stage", "network", "generalizer", "specializer")]
        must(all(isinstance(text, str) for text in texts), "families")
        must(isinstance(family.get("discoverer", ""), str) and family["network"] in networks.values(), "families")
