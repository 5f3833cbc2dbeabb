"""How files are written: whole or not at all. Everything the package writes goes through this module."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from conceptnet_ml.errors import DataError

MOST_JSON, MOST_BYTES = 2**29, 2**36
"""Bytes of the largest JSON and of the largest file of numbers that is read; larger ones are no file of ours."""

MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError, ArithmeticError)
"""What Python raises where content has not the form that is expected."""

LEFTOVER = re.compile(r"\.(.+\.\d+|\d{4}|adapted)\.tmp")
"""Names of what a killed process leaves half-written, files and folders."""


@contextlib.contextmanager
def disk_errors(path: Path, doing: str) -> Iterator[None]:
    """Say in words what the operating system refuses: a full or read-only disk, no permission. Raises DataError, which
    names the path, in place of any ``OSError``; ``doing`` is ``read`` or ``write``.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        mend = "Free some space there, or choose another folder with --out."
        if doing != "write":
            mend = "Check the path and its permissions."
        raise DataError(f"cannot {doing} {path}: {reason.lower()}", mend) from error


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a whole file at once: temporary file beside it, fsync, rename. Parent folders are made. Raises DataError
    where the disk is full or read-only, or the path cannot be written; the old content is still there then.
    """
    # a file name that is not UTF-8 becomes a JSON escape instead of an error
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    temporary = _temporary(path)
    with disk_errors(path, "write"):
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


def link(source: str | Path, target: str | Path) -> None:
    """Give a file a second name: a hard link where the disk can, else a copy. Raises OSError."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def replace_by_link(source: Path, target: Path) -> None:
    """Put a link to (or a copy of) the source in the target's place at once. Raises OSError."""
    temporary = _temporary(target)
    temporary.unlink(missing_ok=True)
    link(source, temporary)
    os.replace(temporary, target)
    temporary.unlink(missing_ok=True)  # renaming a link onto another of the same file does nothing


def append_line(path: Path, line: str) -> None:
    """Write a line at the end of a file, or raise DataError and leave the file as it was."""
    with disk_errors(path, "write"), path.open("ab", buffering=0) as file:
        start = file.seek(0, os.SEEK_END)
        rest = memoryview(line.encode(errors="backslashreplace") + b"\n")
        try:
            while rest:  # a disk that fills up takes a part and reports no error
                rest = rest[file.write(rest) :]
        except OSError:
            file.truncate(start)
            raise


def drop_torn_line(path: Path) -> None:
    """Cut off a last line that a crash left unfinished; a whole file is not touched. Raises OSError."""
    if not path.exists():
        return
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        with path.open("rb+") as file:
            file.truncate(data.rfind(b"\n") + 1)


def file_name(name: str) -> str:
    """A name as a path below a folder of the run; characters that file systems may refuse are written as %XX. Raises
    ValueError where the name, or a part of it between slashes, is empty or made of dots.
    """
    segments = name.split("/")
    if not all(segment.strip(".") for segment in segments):
        raise ValueError(f"'{name}' cannot name a file of a run")
    quoted = (quote(segment, safe="+") for segment in segments)
    return "/".join(f"%2E{segment[1:]}" if segment.startswith(".") else segment for segment in quoted)


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


def read_file(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a regular file of at most so many bytes. Raises DataError for anything else: a pipe or a device
    would be read without end.
    """
    with disk_errors(path, "read"):
        # a pipe without a writer must not be waited for
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise DataError(f"{path} is not a regular file", "Put the file itself there.")
            if status.st_size > most:
                size = f"{status.st_size / 2**20:,.0f} MiB, more than {most / 2**20:,.0f} MiB"
                raise DataError(f"{path} has {size}", "Check whether it is the file you mean.")
            return file.read()


def read_json(path: Path) -> Any:
    """The JSON in a file. Raises DataError where it cannot be read."""
    text = read_file(path, MOST_JSON)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # too deeply nested, or a number of thousands of digits
        reason = str(error).partition("; use sys.")[0]
        raise DataError(f"{path} is damaged: {reason}", "Restore the file, or start a new run.") from error


@contextlib.contextmanager
def damaged(path: Path, mend: str = "Restore the file, or start a new run.") -> Iterator[None]:
    """Say that a file is damaged where what was read from it has not the form that the block expects: DataError in
    place of what Python raises then.
    """
    try:
        yield
    except MALFORMED as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise DataError(f"{path} is damaged: {what}", mend) from error


def remove_leftovers(folder: Path, below: bool = True) -> None:
    """Remove what a killed process left half-written in a folder, and in those below it: files and folders. Raises
    OSError.
    """
    for place, folders, names in os.walk(folder):
        for name in [name for name in folders if LEFTOVER.fullmatch(name)]:
            folders.remove(name)
            _remove_folder(Path(place, name))
        for name in names:
            if LEFTOVER.fullmatch(name):
                Path(place, name).unlink(missing_ok=True)
        if not below:
            return


def remove_folder(path: Path) -> None:
    """Remove a folder at once: under a name that counts as a leftover, then file by file. Raises OSError."""
    aside = path.with_name(f".{path.name}.tmp")
    _remove_folder(aside)
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, aside)
        _remove_folder(aside)


def _remove_folder(path: Path) -> None:
    """A folder, a link to one, or what else has taken its name."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def foreign(folder: Path) -> Path | None:
    """Something below a folder that is no regular file, folder, or link to one of these below it; None where there is
    nothing. Such a link or device would have the folder's reader read, write or delete elsewhere.
    """
    root = os.path.realpath(folder)
    with disk_errors(folder, "read"):
        pending = [root]
        while pending:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_symlink():
                        target = os.path.realpath(entry.path)
                        if not target.startswith(root + os.sep) or not os.path.exists(target):
                            return folder / os.path.relpath(entry.path, root)
                    elif not entry.is_file(follow_symlinks=False):
                        return folder / os.path.relpath(entry.path, root)
    return None


def user_cache_folder() -> Path:
    """This package's part of the user's folder for what can be made again."""
    home = Path(os.path.expanduser("~"))  # unlike Path.home() it never fails
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "conceptnet_ml"


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut; not every system lets a folder be synced."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
