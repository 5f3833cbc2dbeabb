"""Workers side by side: as many processes as cores and memory allow, each with its own threads."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any

import conceptnet_ml
from conceptnet_ml.bench.cells import CellGroup
from conceptnet_ml.runtime import devices

NEED = 2.5
"""GiB that a worker is expected to take, before any has shown what it takes."""

_TAIL = 30


class Worker:
    """A process at work on a group of cells.

    What it tells comes out of ``events`` as (worker, event); the last one is ``{"event": "exit", "code": …}``.

    Args:
        group: Its cells.
        order: What it is told; see :mod:`conceptnet_ml.bench.worker`.
        threads: Threads it may compute with.
        events: Where what it tells goes.
    """

    def __init__(self, group: CellGroup, order: dict[str, Any], threads: int, events: queue.Queue[Any]) -> None:
        self.group = group
        self.order = order
        self.rest = list(order["methods"])
        self.current = ""
        self.words: deque[str] = deque(maxlen=_TAIL)
        root = str(Path(conceptnet_ml.__file__).parents[1])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "conceptnet_ml.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": path, "NO_COLOR": "1"},
            # Ctrl-C in a terminal reaches the parent alone, which then tells the workers.
            start_new_session=True,
        )
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # it died at once; its exit says why
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        listener = threading.Thread(target=self._listen, args=(events,), daemon=True)
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        listener.start()
        self._reader = reader

    def stop(self) -> None:
        """Ask it to stop where it can be resumed; also happens by itself when this process dies."""
        with contextlib.suppress(OSError):
            assert self.process.stdin is not None
            self.process.stdin.close()

    def kill(self) -> None:
        """Stop it at once."""
        self.stop()
        self.process.kill()

    def status(self) -> str:
        """What it does at the moment."""
        doing = self.words[-1].strip() if self.words else "measuring" if self.current else "starting"
        return f"{self.group.name}, {self.current or 'starting'}: {doing}"

    def why(self, code: int) -> str:
        """Why it is gone, from its exit code and its last words."""
        if code >= 0:
            said = next((line for line in reversed(self.words) if line.strip()), "")
            return f"the process ended with code {code}" + (f": {said.strip()}" if said else "")
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        memory = "; the system kills so when memory runs out: try fewer --jobs" if name == "SIGKILL" else ""
        return f"the process was ended by {name}{memory}"

    def _listen(self, events: queue.Queue[Any]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                events.put((self, json.loads(line)))
        self._reader.join()
        events.put((self, {"event": "exit", "code": self.process.wait()}))

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.strip():
                self.words.append(line.rstrip())


def default_jobs(groups: int, need: float = NEED, device: Any = None) -> int:
    """How many workers fit: one a core at most, each with ``need`` GiB of memory, and of the card's."""
    free = min(devices.free_memory(), devices.free_memory(device))
    fitting = groups if free == float("inf") else int(free // need)
    return max(1, min(groups, devices.usable_cores(), fitting))


def threads_for(jobs: int) -> int:
    """Threads of each of ``jobs`` workers; OMP_NUM_THREADS, where set, decides instead."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return max(1, devices.usable_cores() // jobs)
