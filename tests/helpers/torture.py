"""Work that is killed, or whose disk fails, at any one of its writes, in a child process that sees each coming."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

KILLED = -signal.SIGKILL if os.name != "nt" else 77
"""Exit code of a child that was killed."""

FAILED = 78
"""Exit code of a child whose work raised an error."""

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"}

WAYS = ("killed", "full", "fails")
"""Killed before a write; the disk is full from it on; this one write fails, and those after it do not."""

OWN_FILES = (f"storage{os.sep}files.py", f"storage{os.sep}run_folder.py", f"storage{os.sep}tensors.py", "history.py")


def forked(
    work: Callable[[], object], folder: Path, at: int = 0, way: str = "killed", report: int | None = None
) -> int:
    """Do the work in a child process; its exit code.

    Args:
        folder: Only writes below it count.
        at: Number of the write, from 1, before which the child is killed by SIGKILL; 0 for none.
        way: One of :data:`WAYS`, or ``read-only``: nothing below the folder can be changed, ``at`` whatever.
        report: A file to which the child writes a line for every write: what changes, where, and who wants it.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = FAILED
    try:
        _watch(os.path.realpath(folder) + os.sep, at, way, report)
        work()
        code = 0
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        os._exit(code)


def list_writes(work: Callable[[], object], folder: Path) -> list[str]:
    """The writes of the work below the folder, in order: event, file and caller of each, numbers left out."""
    with tempfile.TemporaryFile() as report:
        code = forked(work, folder, report=report.fileno())
        report.seek(0)
        found = report.read().decode().splitlines()
    assert code == 0, "the work failed by itself"
    return found


def count_writes(work: Callable[[], object], folder: Path) -> int:
    """How many writes the work does below the folder."""
    return len(list_writes(work, folder))


def _watch(below: str, at: int, way: str, report: int | None) -> None:
    done = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal done
        writes = event in CHANGES or (
            event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if not writes or not isinstance(args[0], (str, bytes, os.PathLike)):
            return
        path = os.fsdecode(args[0])
        # a name alone belongs to an open folder, as rmtree has it
        if os.path.isabs(path) and not os.path.abspath(path).startswith(below):
            return
        if os.path.basename(path) in ("lock", "lock.owner"):
            return
        done += 1
        if report is not None:
            os.write(report, f"{event} {_kind(path.removeprefix(below))} {_caller()}\n".encode())
        removes = event in ("os.remove", "os.rmdir")
        if (way == "full" and done >= at > 0 and not removes) or (way == "fails" and done == at):
            number = errno.ENOSPC if way == "full" else errno.EIO
            raise OSError(number, os.strerror(number), path)
        if way == "killed" and done == at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _kind(path: str) -> str:
    """The path, those that differ by a digest or a number alike."""
    return re.sub(r"\b[0-9a-f]{2,}\b|\d+", "N", path.replace(" ", "_"))


def _caller() -> str:
    """The line of this package that wants the write, below the modules through which all writes go."""
    frame, found = sys._getframe(2), "?"
    while frame is not None:
        name = frame.f_code.co_filename
        if f"conceptnet_ml{os.sep}" in name:
            found = f"{os.path.basename(name)}:{frame.f_lineno}"
            if not name.endswith(OWN_FILES):
                return found
        frame = frame.f_back  # type: ignore[assignment]
    return found
