"""One writing process at a time in a folder."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import filelock

from conceptnet_ml.errors import DataError

LOCK_FILES = ("lock", "lock.owner")


class FolderLock:
    """A lock on a folder, held by the operating system: a process that is killed leaves nothing to clean up. ``lock``
    is locked in the folder, which must exist; ``lock.owner`` holds the owner's process id for the message.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._owner = folder / LOCK_FILES[1]
        self._lock = filelock.FileLock(folder / LOCK_FILES[0], timeout=0, thread_local=False)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return bool(self._lock.is_locked)

    def acquire(self) -> None:
        """Take the lock unless it is held already. A network disk without locks is used without one.

        Raises DataError where another process, or another object of this one, holds it; OSError where it cannot be
        written.
        """
        if self.held:
            return
        try:
            self._lock.acquire()
        except filelock.Timeout as error:
            raise DataError(
                f"{self.folder} is in use by process {_owner(self.folder)}", "Wait for it to end, or stop it."
            ) from error
        except NotImplementedError:
            return
        self._owner.write_text(f"{os.getpid()}\n", encoding="utf-8")

    def release(self) -> None:
        """Give the lock back; does nothing when it is not held."""
        if self.held:
            with contextlib.suppress(OSError):
                self._owner.unlink()
        self._lock.release()


def writer(folder: Path) -> str | None:
    """The other process that writes in a folder, ``unknown`` where it did not say; None where none does, or none can be
    seen: on a disk without locks, or one that cannot be written to. Holds the lock for as long as it takes to ask.
    """
    if not (folder / LOCK_FILES[0]).is_file():
        return None
    lock = filelock.FileLock(folder / LOCK_FILES[0], timeout=0, thread_local=False)
    try:
        with lock:
            return None
    except filelock.Timeout:
        owner = _owner(folder)
        return None if owner == str(os.getpid()) else owner
    except (OSError, NotImplementedError):
        return None


def _owner(folder: Path) -> str:
    try:
        return (folder / LOCK_FILES[1]).read_text(encoding="utf-8").strip() or "unknown"
    except OSError:
        return "unknown"
