"""Stopped from outside: exit codes, what is kept, and that no process, lock or half-written file is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, call, command, noise_pictures, surroundings
from made_run import make_run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")]

SIGNALS = pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)], ids=["TERM", "HUP", "INT"]
)
NETWORK = """
from torch import nn
def net():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 2))
"""
CASES = """
[cases.tinted]
data = { source = "folder:{mine}", trap = "tint" }
training = { epochs = 5000, batch = 16 }
"""


def children(process: int) -> list[int]:
    """The processes that one has started, on Linux; none elsewhere."""
    tasks = Path(f"/proc/{process}/task")
    found = [int(one) for file in tasks.glob("*/children") for one in file.read_text().split()]
    return found + [child for one in found for child in children(one)]


def alive(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def stopped(number: int, ready: Callable[[], bool], *words: str | Path, **variables: str) -> tuple[int, str, list[int]]:
    """Send a command a signal once it is at work: its exit code, its messages, and which of its children live on."""
    at_work = subprocess.Popen(
        command(*words),
        cwd=ROOT,
        env=surroundings() | variables,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 300
    while not ready() and at_work.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.5)
    if not ready() or at_work.poll() is not None:
        at_work.kill()
        pytest.fail(f"it did not come to its work in time, or ended: {at_work.communicate()}")
    started = children(at_work.pid)
    at_work.send_signal(number)
    said = at_work.communicate(timeout=300)[1]
    end = time.monotonic() + 30
    while any(map(alive, started)) and time.monotonic() < end:
        time.sleep(0.1)
    return at_work.returncode, said, [one for one in started if alive(one)]


def litter(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.startswith(".") or path.name == "lock.owner"]


@SIGNALS
def test_dream(tmp_path: Path, number: int, code: int) -> None:
    (tmp_path / "dreamt_net.py").write_text(NETWORK)
    out = tmp_path / "out"
    # a large picture of a class makes all its steps; a small one ends by itself, after 160 to 500 of them
    words = ("dream", "dreamt_net:net", "--class", "1", "--size", "224", "--no-cache", "--device", "cpu", "--out", out)
    found = stopped(
        number, (out / "lock").exists, *words, "--steps", "200000", PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path}"
    )
    assert (found[0], found[2]) == (code, []), found[1]
    assert "goes on from there: " in found[1]
    assert json.loads((out / "dreams.json").read_text())["stopped"] is True
    assert not litter(out)
    assert not (out / "lock").exists()


@SIGNALS
def test_bench(tmp_path: Path, number: int, code: int) -> None:
    noise_pictures(tmp_path / "photos", {"a": 60.0, "b": 160.0}, 24, np.random.default_rng(0))
    (tmp_path / "cases.toml").write_text(CASES)
    out = tmp_path / "out"
    run = out / "cells" / "tinted" / "0" / "run"
    words = ("bench", tmp_path / "cases.toml", "--folder", f"mine={tmp_path / 'photos'}", "--jobs", "1", "--seeds", "1")
    found = stopped(number, (run / "settings.json").exists, *words, "--out", out)
    assert (found[0], found[2]) == (code, []), found[1]
    assert "same command" in found[1] or "bench" in found[1]
    assert not litter(out)


@pytest.fixture
def served(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


@SIGNALS
def test_a_page_that_is_served(served: Path, number: int, code: int) -> None:
    (served / "report.html").unlink(missing_ok=True)
    found = stopped(number, (served / "report.html").exists, "report", served, "--serve")
    assert (found[0], found[2]) == (code, []), found[1]
    assert "no longer served" in found[1]
    assert not litter(served)


def test_a_reader_that_goes_away_is_no_bug(served: Path) -> None:
    for words in (("graph", "query", served, "--json"), ("graph", "show", served), ("report", served, "--json")):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            command(*words), cwd=ROOT, env=surroundings(), stdout=write, stderr=subprocess.PIPE, text=True
        )
        os.close(write)
        assert done.returncode in (1, 141, -signal.SIGPIPE)
        assert "bug:" not in done.stderr
        assert "Traceback" not in done.stderr


def test_no_home_no_place_for_temporary_files_and_a_clock_that_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise_pictures(tmp_path / "photos", {"a": 60.0, "b": 160.0}, 24, np.random.default_rng(0))
    ticks = iter(range(10**9, 0, -1))
    monkeypatch.setattr("time.time", lambda: float(next(ticks)))
    (tmp_path / "file").touch()
    nowhere = {name: str(tmp_path / "file" / "x") for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR")}
    small = ("--set", "training.epochs=1", "--set", "training.least_steps=0", "--set", "training.above_chance=false")
    small += (
        "--set",
        "round.limit=1",
        "--set",
        "round.epochs=1",
        "--set",
        "plugins.controls=",
        "--set",
        "probe.steps=2",
    )
    out = tmp_path / "run"
    done = call("learn", "--data", f"folder:{tmp_path / 'photos'}", *small, "--out", out, **nowhere)
    assert done.returncode == 0, done.stderr
    times = [json.loads(line)["time"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert times == sorted(times, reverse=True)
    assert all(one >= 0 for name, one in json.loads((out / "summary.json").read_text())["cost"].items() if one)
    for words in (("graph", "rename", out, "a", "x"), ("graph", "undo", out), ("evaluate", out)):
        done = call(*words, **nowhere)
        assert done.returncode == 0, done.stderr
