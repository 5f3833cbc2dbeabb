"""Workers side by side: as many processes as cores and memory allow, each with its own threads."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import conceptnet_ml
from conceptnet_ml.bench.cells import CellGroup, cell_path
from conceptnet_ml.runtime import devices

NEED = 2.5
"""GiB that a worker is expected to take, before any has shown what it takes."""

LAST_WORDS = 30
"""Lines of its log that a failed cell keeps."""


class Worker:
    """A process at work on a group of cells. What it has done is seen in its folder, what it says in ``worker.log``.

    Args:
        group: Its cells; ``rest`` are the methods that are not finished yet.
        order: What it is to do; see :mod:`conceptnet_ml.bench.worker`.
        threads: Threads it may compute with.
    """

    def __init__(self, group: CellGroup, order: dict[str, Any], threads: int) -> None:
        self.group, self.order, self.folder = group, order, Path(order["folder"])
        self.rest = list(group.methods)
        self._before = {method: self._stamp(method) for method in self.rest}
        self._log = self.folder / "worker.log"
        root = str(Path(conceptnet_ml.__file__).parents[1])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "conceptnet_ml.bench.worker"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                encoding="utf-8",
                env=os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": path, "NO_COLOR": "1"},
                # Ctrl-C in a terminal reaches the parent alone, which then stops the workers.
                start_new_session=True,
            )
        assert self.process.stdin is not None
        self._stdin = self.process.stdin
        with contextlib.suppress(OSError):  # it died at once; its exit says why
            self._stdin.write(json.dumps(order) + "\n")
            self._stdin.flush()

    def finished(self) -> list[str]:
        """The methods of the rest whose cells it has written."""
        return [method for method in self.rest if self._stamp(method) != self._before[method]]

    def at_work_on(self) -> list[str]:
        """What fails where it dies now: all of the rest as long as the run that they share is not done."""
        return self.rest[: 1 if (self.folder / "run" / "DONE").exists() else None]

    def stop(self) -> None:
        """Ask it to stop where it can be resumed; also happens by itself when this process dies."""
        with contextlib.suppress(OSError):
            self._stdin.close()

    def kill(self) -> None:
        """Stop it at once."""
        self.stop()
        self.process.kill()

    def words(self) -> list[str]:
        """The last lines of its log."""
        with self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - 2**14))
            lines = file.read().decode(errors="replace").splitlines()
        return [line.rstrip() for line in lines if line.strip()][-LAST_WORDS:]

    def status(self) -> str:
        """What it does at the moment."""
        return f"{self.group.name}, {', '.join(self.at_work_on())}: {['starting', *self.words()][-1].strip()}"

    def death(self, code: int) -> str:
        """Why it died, from its exit code and its last words."""
        if code >= 0:
            return ": ".join([f"the process ended with code {code}", *self.words()[-1:]])
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        memory = "; the system kills so when memory runs out: try fewer --jobs" if name == "SIGKILL" else ""
        return f"the process was ended by {name}{memory}"

    def _stamp(self, method: str) -> tuple[int, int] | None:
        """Tells a cell's file from one that takes its place."""
        with contextlib.suppress(FileNotFoundError):
            found = cell_path(self.folder, method).stat()
            return found.st_ino, found.st_mtime_ns
        return None


def default_jobs(groups: int, device: Any = None) -> int:
    """How many workers fit: one a core at most, each with :data:`NEED` GiB of memory, and of the card's."""
    free = min(devices.free_memory(), devices.free_memory(device))
    fitting = groups if free == float("inf") else int(free // NEED)
    return max(1, min(groups, devices.usable_cores(), fitting))


def threads_for(jobs: int) -> int:
    """Threads of each of ``jobs`` workers; OMP_NUM_THREADS, where set, decides instead."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return max(1, devices.usable_cores() // jobs)
