"""Ctrl-C in two steps: the first asks the work to stop where it can be resumed, the second stops at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from conceptnet_ml.errors import Interrupted

_STDERR = 2

STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")
"""Ctrl-C, the end that a system or a scheduler asks for, and the end of the terminal; Windows has no SIGHUP."""


class Stopper:
    """While entered, turns :data:`STOPPING` into a request to stop; a second signal raises KeyboardInterrupt.

    Signals can only be handled in the main thread; in any other thread nothing is installed, and the work stops when
    :meth:`request` is called. On exit the former handlers are installed again.

        with Stopper() as stopper:
            for step in steps:
                step()
                stopper.check()

    Args:
        says: What is written at the first signal; nothing if empty.
    """

    def __init__(self, says: str = "finishing the step, saving… (Ctrl-C again: stop at once)") -> None:
        self._says = says
        self._requested = threading.Event()
        self._previous: dict[int, Any] = {}
        self.exit_code = Interrupted.exit_code
        """Of a program that was stopped so: 128 and the number of the first signal, 130 where it was no signal."""

    @property
    def requested(self) -> bool:
        """Whether a stop was requested."""
        return self._requested.is_set()

    def request(self) -> None:
        """Request a stop at the next :meth:`check`; may be called from any thread."""
        self._requested.set()

    def check(self) -> None:
        """Raise ``Interrupted`` if a stop was requested. Call it where everything needed to resume is saved."""
        if self.requested:
            raise Interrupted("Stopped; everything finished so far is saved.", exit_code=self.exit_code)

    def __enter__(self) -> Stopper:
        if threading.current_thread() is threading.main_thread():
            for name in STOPPING:
                number = getattr(signal, name, None)
                # nohup ignores the end of the terminal, and is obeyed. A shell ignores Ctrl-C for what it runs in the
                # background, but who sends that process the signal means it.
                if number is None or (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
                    continue
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            # None stands for a handler that was not installed from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.exit_code = 128 + number
        self.request()
        # Not through sys.stderr: the signal may have come in the middle of a write to it, which cannot be re-entered.
        if not self._says:
            return
        with contextlib.suppress(OSError):  # a closed stderr must not turn a clean stop into a crash
            os.write(_STDERR, f"\n{self._says}\n".encode())
