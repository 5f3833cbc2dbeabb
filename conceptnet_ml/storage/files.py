"""How files are written: whole or not at all, checked when read back, by one process at a time.

Everything the package writes goes through :func:`write_atomic`; :mod:`conceptnet_ml.storage.run_folder` says what is
written where.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from conceptnet_ml.errors import DataError


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


def to_plain(value: Any) -> Any:
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


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut; not every system lets a folder be synced."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
