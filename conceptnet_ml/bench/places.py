"""Where the cells of a bench are measured: processes of this machine. Others are places, too
(:mod:`conceptnet_ml.bench.ray_cluster`). Nothing here needs torch until it asks the machine: what only starts processes
is there at once."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import conceptnet_ml
from conceptnet_ml.bench.cells import CellGroup

NEED = 2.5
"""GiB that a worker is expected to take, before any has shown what it takes."""

LOG = "worker.log"
"""What a worker says, in the folder of its case and seed."""

LOST = 255
"""The exit code of a process that is gone with its machine."""


class CellProcess(Protocol):
    """A process that carries out an order (:func:`conceptnet_ml.bench.worker.order`)."""

    def poll(self) -> int | None:
        """Its exit code, negative the signal that ended it, :data:`LOST`; None while it is at work."""

    def stop(self) -> None:
        """Ask it to stop where it can be resumed."""

    def kill(self) -> None:
        """Stop it at once."""


class ProcessPlace(Protocol):
    """Starts the processes that measure cells.

    Attributes:
        retries: How often cells are tried again whose process was killed; they fail then.
        here: Whether its devices are those of this machine.
    """

    retries: int
    here: bool

    def begin(self, out: Path) -> None:
        """Check that cells can be measured there and kept in this folder. Raises SettingsError where not."""

    def width(self, groups: Sequence[CellGroup]) -> tuple[int, int]:
        """How many processes are side by side for these, and the threads of each."""

    def has_room(self, need: float) -> bool:
        """Whether one more may start, of ``need`` GiB, beside others."""

    def start(self, order: dict[str, Any], threads: int) -> CellProcess:
        """Start a process that carries out this order, on so many threads."""
        ...


START = """
import sys
if sys.path[:1] == [""]:
    del sys.path[0]
from conceptnet_ml.bench.worker import main
sys.exit(main())
"""
"""Starts a worker without the folder it is started in on its path, where a file may be called as a library's module."""


class LocalProcess:
    """A process of this machine.

    Args:
        order: What it is to do.
        threads: Threads it may compute with.
        at: The folder it is started in, which relative paths of the settings begin from; default: this process's.
    """

    def __init__(self, order: dict[str, Any], threads: int, at: str | None = None) -> None:
        root = str(Path(conceptnet_ml.__file__).parents[1])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        with (Path(order["folder"]) / LOG).open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", START],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                encoding="utf-8",
                cwd=at,
                env=os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": path, "NO_COLOR": "1"},
                # Ctrl-C in a terminal reaches the parent alone, which then stops the workers.
                start_new_session=True,
            )
        assert self._process.stdin is not None
        self._stdin = self._process.stdin
        with contextlib.suppress(OSError):  # it died at once; its exit says why
            self._stdin.write(json.dumps(order) + "\n")
            self._stdin.flush()

    def poll(self) -> int | None:
        return self._process.poll()

    def stop(self) -> None:
        """Also happens by itself when this process dies."""
        with contextlib.suppress(OSError):
            self._stdin.close()

    def kill(self) -> None:
        self.stop()
        self._process.kill()


class ThisMachine:
    """Processes side by side on this machine.

    Args:
        jobs: How many; default: by cores and free memory.
    """

    retries, here = 0, True

    def __init__(self, jobs: int | None = None) -> None:
        self._jobs, self._device = jobs, None

    def begin(self, out: Path) -> None:
        """Nothing is to be checked that the runner does not check."""

    def width(self, groups: Sequence[CellGroup]) -> tuple[int, int]:
        self._device = _card(groups)
        jobs = min(self._jobs or default_jobs(len(groups), device=self._device), len(groups))
        return jobs, threads_for(jobs)

    def has_room(self, need: float) -> bool:
        from conceptnet_ml.runtime import devices

        return min(devices.free_memory(), devices.free_memory(self._device)) >= need

    def start(self, order: dict[str, Any], threads: int) -> CellProcess:
        return LocalProcess(order, threads)


def _card(groups: Sequence[CellGroup]) -> Any:
    """The card that cells are measured on, None for the CPU."""
    from conceptnet_ml.runtime import devices

    found = map(devices.choose_device, dict.fromkeys(group.case.settings.device for group in groups))
    return next((device for device in found if device.type == "cuda"), None)


def default_jobs(groups: int, device: Any = None) -> int:
    """How many workers fit: one a core at most, each with :data:`NEED` GiB of memory, and of the card's."""
    from conceptnet_ml.runtime import devices

    free = min(devices.free_memory(), devices.free_memory(device))
    fitting = groups if free == float("inf") else int(free // NEED)
    return max(1, min(groups, devices.usable_cores(), fitting))


def threads_for(jobs: int) -> int:
    """Threads of each of ``jobs`` workers; OMP_NUM_THREADS, where set, decides instead."""
    from conceptnet_ml.runtime import devices

    return devices.given_threads() or max(1, devices.usable_cores() // jobs)
