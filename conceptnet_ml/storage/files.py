"""How files are written: whole or not at all. Everything the package writes goes through this module."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from conceptnet_ml.errors import DataError


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
        rest = memoryview(line.encode() + b"\n")
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


def read_json(path: Path) -> Any:
    """The JSON in a file. Raises DataError where it cannot be read."""
    with disk_errors(path, "read"):
        text = path.read_bytes()
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}", "Restore the file, or start a new run.") from error


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
