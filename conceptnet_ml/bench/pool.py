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


class Worker:
    """A process at work on a group of cells.

    Args:
        group: Its cells.
        order: What it is to do; see :mod:`conceptnet_ml.bench.worker`.
        threads: Threads it may compute with.
        events: Gets what it reports as (worker, event); the last one is ``{"event": "exit", "code": …}``.
    """

    def __init__(self, group: CellGroup, order: dict[str, Any], threads: int, events: queue.Queue[Any]) -> None:
        self.group, self.order, self.events = group, order, events
        self.rest = list(group.methods)
        self.current = ""
        self.words: deque[str] = deque(maxlen=30)
        root = str(Path(conceptnet_ml.__file__).parents[1])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        process = subprocess.Popen(
            [sys.executable, "-m", "conceptnet_ml.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": path, "NO_COLOR": "1"},
            # Ctrl-C in a terminal reaches the parent alone, which then stops the workers.
            start_new_session=True,
        )
        assert process.stdin is not None
        self.process, self._stdin = process, process.stdin
        with contextlib.suppress(OSError):  # it died at once; its exit says why
            self._stdin.write(json.dumps(order) + "\n")
            self._stdin.flush()
        self._reader = threading.Thread(target=self._read_words, args=(process.stderr,), daemon=True)
        self._reader.start()
        threading.Thread(target=self._read_events, args=(process.stdout,), daemon=True).start()

    def stop(self) -> None:
        """Ask it to stop where it can be resumed; also happens by itself when this process dies."""
        with contextlib.suppress(OSError):
            self._stdin.close()

    def kill(self) -> None:
        """Stop it at once."""
        self.stop()
        self.process.kill()

    def status(self) -> str:
        """What it does at the moment."""
        doing = self.words[-1].strip() if self.words else "measuring" if self.current else "starting"
        return f"{self.group.name}, {self.current or 'starting'}: {doing}"

    def death(self, code: int) -> str:
        """Why it died, from its exit code and its last words."""
        if code >= 0:
            last = f": {self.words[-1].strip()}" if self.words else ""
            return f"the process ended with code {code}{last}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        memory = "; the system kills so when memory runs out: try fewer --jobs" if name == "SIGKILL" else ""
        return f"the process was ended by {name}{memory}"

    def _read_events(self, stdout: Any) -> None:
        for line in stdout:
            with contextlib.suppress(ValueError):
                self.events.put((self, json.loads(line)))
        self._reader.join()
        self.events.put((self, {"event": "exit", "code": self.process.wait()}))

    def _read_words(self, stderr: Any) -> None:
        for line in stderr:
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
