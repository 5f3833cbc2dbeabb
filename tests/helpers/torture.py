"""Work that is killed, or whose disk is full, at any one of its writes, in a child process that sees each coming."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

KILLED = 77
"""Exit code of a child that was killed."""

FAILED = 78
"""Exit code of a child whose work raised an error."""

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"}


def forked(work: Callable[[], object], folder: Path, at: int = 0, full: bool = False, report: int | None = None) -> int:
    """Do the work in a child process; its exit code.

    Args:
        folder: Only writes below it count.
        at: Number of the write, from 1, before which the child is killed as by ``kill -9``; 0 for none.
        full: From that write on, until the work ends, the disk is full instead.
        report: A pipe to which the child writes a byte for every write.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = FAILED
    try:
        _watch(os.path.realpath(folder) + os.sep, at, full, report)
        work()
        code = 0
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        os._exit(code)


def count_writes(work: Callable[[], object], folder: Path) -> int:
    """How many writes the work does below the folder."""
    read, write = os.pipe()
    code = forked(work, folder, report=write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        found = len(pipe.read())
    assert code == 0, "the work failed by itself"
    return found


def _watch(below: str, at: int, full: bool, report: int | None) -> None:
    done = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal done
        writes = event in CHANGES or (
            event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if not writes or not isinstance(args[0], (str, bytes, os.PathLike)):
            return
        # a name alone belongs to an open folder, as rmtree has it
        if os.path.isabs(os.fsdecode(args[0])) and not os.path.abspath(os.fsdecode(args[0])).startswith(below):
            return
        if os.path.basename(os.fsdecode(args[0])) in ("lock", "lock.owner"):
            return
        done += 1
        if report is not None:
            os.write(report, b".")
        if full and done >= at > 0 and event not in ("os.remove", "os.rmdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fsdecode(args[0]))
        if not full and done == at:
            os._exit(KILLED)

    sys.addaudithook(hook)
