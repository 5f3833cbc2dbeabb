"""Commands of the program, run one at a time in a process of their own, and what they say."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from conceptnet_ml.errors import DataError, visible

KEPT, LONGEST_LINE = 2000, 1000
"""Lines of a command that are kept, the last ones, and letters of a line."""

PATIENCE = 10.0
"""Seconds that a command has to end in once it was told to stop at once."""

START = """
import os, signal, sys, threading

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in the background

def watch():
    try:
        while os.read(0, 1):
            pass
    except OSError:
        pass
    signal.raise_signal(signal.SIGINT)

try:
    threading.Thread(target=watch, daemon=True).start()
    if sys.path[:1] == [""]:
        del sys.path[0]
    from conceptnet_ml.cli.main import app

    app(prog_name="conceptnet-ml")
except KeyboardInterrupt:
    sys.exit(130)
"""
"""Starts the program without the folder it is started in on its path. It is stopped, as by Ctrl-C, by the end of its
input: on every system, and by itself where the process that started it dies."""


class Commands:
    """Runs commands one at a time; may be asked from any thread.

    Args:
        afterwards: Called after a command that ended well, before it counts as ended; returns more lines to be shown.
    """

    def __init__(self, afterwards: Callable[[], Sequence[str]] = tuple) -> None:
        self._afterwards = afterwards
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._lines: deque[str] = deque(maxlen=KEPT)
        self._said, self._began, self._seconds, self._shown = 0, 0.0, 0.0, ""
        self._code: int | None = None
        self._stops = self._number = 0
        self.ended = 0
        """How many commands have ended."""

    @property
    def running(self) -> bool:
        """Whether a command is at work."""
        return self._process is not None and self._code is None

    def start(self, words: Sequence[str], shown: str) -> None:
        """Start a command. Raises DataError where one is at work, or the process cannot be started.

        Args:
            words: After the program's name.
            shown: The command as it is shown.
        """
        with self._lock:
            if self.running or self._closed:
                what = f"'{self._shown}' is at work" if self.running else "the server is stopping"
                raise DataError(what, "Wait for its end, or stop it." if self.running else "")
            root = str(Path(__file__).parents[2])
            path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
            given = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-u", "-c", START, *words],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    encoding="utf-8",
                    errors="replace",
                    env=given | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1", "COLUMNS": "100"},
                    # Ctrl-C in a terminal reaches this process alone, which then stops the command.
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                raise DataError(f"the command cannot be started: {error}") from error
            self._lines.clear()
            self._said, self._began, self._shown = 0, time.monotonic(), shown
            self._code, self._stops = None, 0
            self._number += 1
            self._thread = threading.Thread(target=self._follow, args=(self._process,), daemon=True)
            self._thread.start()

    def state(self, since: int = 0) -> dict[str, Any]:
        """The last command.

        Args:
            since: Number of the first line that is asked for.

        Returns:
            ``running``; ``command`` as it is shown; ``number``, how many were started; ``ended``, how many have;
            ``code``, None before its end; ``seconds``; ``stops``, how often it was told to stop; ``lines``, and
            ``said``, how many it has said in all.
        """
        with self._lock:
            new = min(len(self._lines), max(0, self._said - since))
            return {
                "running": self.running,
                "number": self._number,
                "ended": self.ended,
                "command": self._shown,
                "code": self._code,
                "seconds": round(time.monotonic() - self._began if self.running else self._seconds),
                "stops": self._stops,
                "lines": [*self._lines][len(self._lines) - new :],
                "said": self._said,
            }

    def stop(self) -> None:
        """Tell the command to stop where it can be resumed; the second time, at once."""
        with self._lock:
            process = self._process
            if process is None or process.poll() is not None:
                return
            self._stops += 1
            assert process.stdin is not None
            if self._stops == 1:
                with contextlib.suppress(OSError):
                    process.stdin.close()
            elif os.name != "nt":
                process.send_signal(signal.SIGINT)
            else:
                process.terminate()

    def close(self) -> None:
        """Take no more commands, and tell the one at work to stop."""
        with self._lock:
            self._closed = True
        self.stop()

    def kill(self) -> None:
        """End the command at work: by force where it does not end within :data:`PATIENCE` of being told twice."""
        self._closed = True
        process, thread = self._process, self._thread
        if process is None or thread is None:
            return
        try:
            if not self._ends(process):
                with contextlib.suppress(OSError):
                    if os.name == "nt":
                        process.kill()
                    else:
                        os.killpg(process.pid, signal.SIGKILL)  # it leads a session of its own
        finally:
            thread.join(PATIENCE)

    def _ends(self, process: subprocess.Popen[str]) -> bool:
        """Whether it ends when it is told to; a third Ctrl-C is not waited for."""
        for _ in range(2):
            if self._stops < 2:
                self.stop()
            try:
                process.wait(PATIENCE)
                return True
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                continue
        return False

    def _follow(self, process: subprocess.Popen[str]) -> None:
        """Take down what a command says until it ends."""
        assert process.stdout is not None
        assert process.stdin is not None
        for line in iter(lambda: process.stdout.readline(LONGEST_LINE), ""):  # type: ignore[union-attr]
            self._say(line.rstrip("\n"))
        code = process.wait()
        for stream in (process.stdout, process.stdin):
            with contextlib.suppress(OSError):
                stream.close()
        if code == 0:
            try:
                for line in self._afterwards():
                    self._say(line)
            except Exception as error:  # whatever it is, the command has ended
                self._say(f"{type(error).__name__}: {error}")
        with self._lock:
            self._seconds = time.monotonic() - self._began
            self._code = code if code >= 0 else 128 - code
            self.ended += 1

    def _say(self, line: str) -> None:
        with self._lock:
            self._lines.append(visible(line))
            self._said += 1
