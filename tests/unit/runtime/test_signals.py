"""Ctrl-C in two steps, with real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from conceptnet_ml.errors import Interrupted
from conceptnet_ml.runtime.signals import Stopper


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_first_signal_asks_second_stops_at_once(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    with Stopper() as stopper:
        stopper.check()
        os.kill(os.getpid(), number)
        assert stopper.requested
        assert "finishing the step, saving" in capfd.readouterr().err
        with pytest.raises(Interrupted) as stopped:
            stopper.check()
        assert stopped.value.exit_code == 128 + number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    ("number", "heard"),
    [
        pytest.param(signal.SIGHUP, False, id="under nohup"),
        pytest.param(signal.SIGINT, True, id="in the background of a script, from whoever means it"),
    ],
)
def test_what_is_ignored(number: signal.Signals, heard: bool) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with Stopper() as stopper:
            os.kill(os.getpid(), number)
            assert stopper.requested == heard
    finally:
        signal.signal(number, before)


def test_handlers_come_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)
    inside: list[object] = []

    def fail() -> None:
        with Stopper():
            inside.append(signal.getsignal(signal.SIGINT))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert inside != [before]
    assert signal.getsignal(signal.SIGINT) is before


def test_in_another_thread_no_handler_is_installed_and_a_request_works() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with Stopper() as stopper:
            seen.append(signal.getsignal(signal.SIGINT) is before)
            stopper.request()
            try:
                stopper.check()
            except Interrupted as error:
                seen.append(error.exit_code == 130)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True, True]


def test_a_step_under_way_is_finished() -> None:
    code = """
import os, signal
from conceptnet_ml.runtime.signals import Stopper
with Stopper() as stopper:
    for step in range(3):
        if step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        print("step", step, flush=True)
        if stopper.requested:
            break
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split("\n") == ["step 0", "step 1", ""]
    assert done.returncode == 0
