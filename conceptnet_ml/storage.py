"""How files are written: whole or not at all, checked when read back, by one process at a time.

Everything the package writes goes through :func:`write_atomic`; :mod:`conceptnet_ml.runs` says what is written where.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from conceptnet_ml import trees
from conceptnet_ml.errors import DataError
from conceptnet_ml.trees import Tree

if TYPE_CHECKING:
    import torch

TREE_VERSION = 1

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[str]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try_lock(file: IO[str]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


class FileLock:
    """A lock on a file that stays where it is; what counts is not that it exists but that a living process holds it.

    So a process that was killed leaves nothing to clean up, whatever its id and whoever has that id now.

    Args:
        path: The lock file; its folder must exist. It holds the owner's process id, for the message.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None

    def acquire(self) -> None:
        """Take the lock, or refuse at once.

        Raises:
            DataError: Someone else holds it.
            OSError: The file cannot be written.
        """
        if self._file is not None:
            return
        file = self.path.open("a+", encoding="utf-8")
        try:
            _try_lock(file)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            owner = file.read(20).strip() if sys.platform != "win32" else ""
            file.close()
            raise DataError(
                f"{self.path.parent} is in use by process {owner or 'unknown'}",
                "Wait for it to end, stop it, or choose another --out.",
            ) from error
        except OSError:
            pass  # a network disk that knows no locks: go on without one
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Give the lock back; does nothing when it is not held."""
        if self._file is not None:
            self._file.close()
            self._file = None


class Checkpoint:
    """A state that is replaced as a whole by every save.

    Args:
        path: The .json file it is kept in.
        hold: Called before each write: takes the lock of the folder.
    """

    def __init__(self, path: Path, hold: Callable[[], None]) -> None:
        self.path = path
        self._hold = hold

    def save(self, tree: Tree) -> None:
        """Replace the saved state. Same values and errors as :func:`save_tree`."""
        self._hold()
        save_tree(self.path, tree)

    def load(self) -> Tree | None:
        """The saved state, or None. Raises DataError where it is damaged."""
        return load_tree(self.path) if self.path.exists() else None

    def clear(self) -> None:
        """Remove the saved state."""
        self._hold()
        with plainly(self.path, "write"):
            self.path.unlink(missing_ok=True)
            remove_tensors(self.path)


@contextlib.contextmanager
def plainly(path: Path, doing: str) -> Iterator[None]:
    """Turn what the operating system refuses (full, read-only, no permission) into words.

    Raises:
        DataError: Instead of any ``OSError``; names the path.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        mend = "Free some space there, or choose another folder with --out." if doing == "write" else ""
        raise DataError(
            f"cannot {doing} {path}: {reason.lower()}", mend or "Check the path and its permissions."
        ) from error


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a whole file at once: temporary file beside it, fsync, rename. Parent folders are made.

    Raises:
        DataError: The disk is full or read-only, or the path cannot be written; the old content is still there.
    """
    # a file name that is not UTF-8 becomes a JSON escape instead of an error
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with plainly(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
        _sync_folder(path.parent)


def drop_torn_line(path: Path) -> None:
    """Cut off what a crash left of a last line. Raises OSError."""
    if path.exists():
        with path.open("rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def append(file: IO[bytes], data: bytes) -> None:
    """Write at the end of an unbuffered file, all of it or nothing.

    Raises:
        OSError: It could not be written; the file is as it was.
    """
    start = file.seek(0, os.SEEK_END)
    rest = memoryview(data)
    try:
        while rest:  # a disk that fills up takes a part without a word
            rest = rest[file.write(rest) :]
    except OSError:
        file.truncate(start)
        raise


def save_tree(path: Path, tree: Tree) -> Tree:
    """Write a tree of values and tensors to ``path`` (.json) and, if it has tensors, a .safetensors file beside it.

    The tensor file's name carries its own checksum, so that overwriting is one rename as well: until the JSON file is
    replaced it refers to the old tensors, which are removed only afterwards.

    Returns:
        The tree as :func:`load_tree` would return it, tensors on the CPU: a run and its resumption see the same values.

    Raises:
        TypeError: The tree holds something else than plain values and tensors.
        DataError: It cannot be written.
    """
    structure, tensors = trees.encode(tree)
    reference = None
    if tensors:
        data = trees.pack(tensors)
        checksum = sha256(data)
        reference = {"file": f"{path.stem}-{checksum[:12]}.safetensors", "sha256": checksum}
        write_atomic(path.with_name(reference["file"]), data)
        del data
    checksum = sha256(json.dumps(structure).encode())
    record = {"version": TREE_VERSION, "sha256": checksum, "tensors": reference, "tree": structure}
    write_atomic(path, json.dumps(record) + "\n")
    remove_tensors(path, keep=reference["file"] if reference else "")
    return trees.decode(structure, tensors)


def load_tree(path: Path) -> Tree:
    """Read back what :func:`save_tree` wrote, bit for bit.

    Raises:
        DataError: A file is missing, damaged or of another version; names it and says how to go on.
    """
    culprit = path
    with plainly(path, "read"):
        text = path.read_bytes()
    try:
        record = json.loads(text)
        if record["version"] != TREE_VERSION:
            raise ValueError(f"version {record['version']}, expected {TREE_VERSION}")
        structure, reference = record["tree"], record["tensors"]
        if sha256(json.dumps(structure).encode()) != record["sha256"]:
            raise ValueError("checksum does not match")
        tensors: dict[str, torch.Tensor] = {}
        if reference:
            culprit = path.with_name(reference["file"])
            data = culprit.read_bytes()
            if sha256(data) != reference["sha256"]:
                raise ValueError("checksum does not match")
            tensors = trees.unpack(data)
        return trees.decode(structure, tensors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else str(error)
        mend = f"Delete {path} and resume the run: what it held is computed anew."
        raise DataError(f"{culprit} is damaged: {reason}", mend) from error


def file_name(name: str) -> str:
    """A name as a path below a folder of the run; what file systems may not take is written as %XX.

    Raises:
        ValueError: An empty name, or one of dots.
    """
    segments = name.split("/")
    if not all(segment.strip(".") for segment in segments):
        raise ValueError(f"'{name}' cannot name a file of a run")
    quoted = (quote(segment, safe="+") for segment in segments)
    return "/".join(f"%2E{segment[1:]}" if segment.startswith(".") else segment for segment in quoted)


def plain(value: Any) -> Any:
    """The value as JSON reads it back."""
    return json.loads(json.dumps(finite(value)))


def finite(value: Any) -> Any:
    """The value with NaN and infinities replaced by None, which JSON knows."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def pretty(value: Any) -> str:
    """The value as JSON for people, with null for what is not finite."""
    return json.dumps(finite(value), indent=2, ensure_ascii=False) + "\n"


def read_json(path: Path) -> Any:
    """The JSON in a file. Raises DataError where it cannot be read."""
    with plainly(path, "read"):
        text = path.read_bytes()
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}", "Restore the file, or start a new run.") from error


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def remove_tensors(path: Path, keep: str = "") -> None:
    pattern = re.compile(re.escape(path.stem) + r"-[0-9a-f]{12}\.safetensors")
    if path.parent.is_dir():
        for file in path.parent.iterdir():
            if pattern.fullmatch(file.name) and file.name != keep:
                file.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut; not every system lets a folder be synced."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
