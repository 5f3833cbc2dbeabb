"""``bench --on ray`` on a local cluster of two cores: killed workers, Ctrl-C, going on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import COARSE, ROOT, call, command, noise_pictures, surroundings

INSTALL = "needs Ray: pip install 'conceptnet_ml[ray]'"
CASES = f"""
ks = [0]
draws = 1
[settings]
training = {{ epochs = 2, batch = 16, least_steps = 0 }}
round = {{ limit = 1, epochs = 1 }}
probe.steps = 2
plugins = {{ representations = ["colour"], dreamer = "none" }}
{COARSE.replace("[concepts]", "[settings.concepts]")}
[cases.tinted]
data = {{ source = "folder:photos", trap = "tint" }}
"""
RIVALS = """
import os, signal
from pathlib import Path
from conceptnet_ml import Baseline, hookimpl

def orphaned(context):
    seen = Path(__file__).with_suffix(".seen")
    if seen.exists():
        raise ValueError("the second time")
    seen.touch()
    os.kill(os.getppid(), signal.SIGKILL)  # Ray's process; this one is told so by its standard input
    raise KeyboardInterrupt

def dies(context):
    os.kill(os.getpid(), signal.SIGKILL)

@hookimpl
def conceptnet_baselines():
    return [Baseline(name="orphaned", api="1", views=orphaned), Baseline(name="dies", api="1", views=dies)]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ray")
    noise_pictures(root / "photos", {"blue": (60, 60, 160), "red": (160, 60, 60)}, 40, np.random.default_rng(0))
    (root / "cases.toml").write_text(CASES)
    (root / "rivals.py").write_text(RIVALS)
    # may not be imported: the processes must not have the folder the bench is started in on their path
    (root / "secrets.py").write_text("raise SystemExit(9)")
    return root


@pytest.fixture
def cluster() -> Iterator[str]:
    """The address of a cluster of two cores on this machine."""
    ray: Any = pytest.importorskip("ray", reason=INSTALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")  # or it writes a token into the home folder
        ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


def start(folder: Path, *line: str | Path) -> subprocess.Popen[str]:
    words = [str(ROOT / word) if word == "cli.py" else word for word in command("bench", "cases.toml", *line)]
    return subprocess.Popen(words, cwd=folder, env=surroundings(), stdout=-1, stderr=-1, text=True)


def cells(out: Path) -> dict[str, bytes]:
    return {path.name.partition(".")[0]: path.read_bytes() for path in out.rglob("*.cell.json")}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ray's cluster is not tried there")
def test_killed_workers_are_tried_again_and_a_stopped_bench_goes_on(folder: Path, cluster: str) -> None:
    methods = [word for name in ("ordinary", "orphaned", "dies", "learned") for word in ("--method", name)]
    line = ["--on", f"ray:{cluster}", *methods, "--seeds", "1", "--out", "out", "--plugins-dir", "rivals.py"]
    line += ["--no-plot", "--set", "training.precision=fp32"]
    first = start(folder, *line)
    assert first.stderr is not None
    told = ""
    for text in first.stderr:
        told += text
        if text.startswith("tinted, seed 0, ordinary: conflict"):
            first.send_signal(signal.SIGINT)
    assert first.wait() == 130, told
    assert "finished cells are kept" in told
    assert "Traceback" not in told
    kept = cells(folder / "out")
    assert kept.keys() >= {"ordinary"}
    second = start(folder, *line)
    _, told = second.communicate(timeout=1800)
    assert second.returncode == 1, told
    found = cells(folder / "out")
    assert {name: found[name] for name in kept} == kept
    states = {name: json.loads(cell) for name, cell in found.items()}
    assert {name: one["state"] for name, one in states.items()} == {
        "ordinary": "done",
        "orphaned": "failed",
        "dies": "failed",
        "learned": "done",
    }
    assert (
        "the second time" in states["orphaned"]["error"]
    )  # the first process was lost with Ray's, no cell failed by it
    assert "gone" in told
    assert "SIGKILL" in states["dies"]["error"]
    assert told.count("tried again") == 3 - ("orphaned" in kept)  # one that was lost; one that was killed twice
    local = ["--method", "ordinary", "--method", "learned", "--seeds", "1", "--out", "local", *line[-3:]]
    alone = start(folder, *local)
    _, told = alone.communicate(timeout=1800)
    assert alone.returncode == 0, told
    for name, cell in cells(folder / "local").items():
        assert json.loads(cell)["test_sets"] == states[name]["test_sets"]


def test_an_address_that_does_not_answer_is_named_before_anything_starts(folder: Path) -> None:
    pytest.importorskip("ray", reason=INSTALL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = call("bench", "cases.toml", "--on", f"ray:127.0.0.1:{port}", "--out", "nowhere", "--no-plot", at=folder)
    assert done.returncode == 2
    assert f"nothing answers at 127.0.0.1:{port}" in done.stderr
    assert "ray start --head" in done.stderr
    assert not (folder / "nowhere").exists()


@pytest.mark.parametrize(
    ("on", "message"),
    [("moon", "Known: local, ray"), ("ray:head", "is not ray:HOST:PORT"), ("ray:ray://h:1", "HOST:PORT")],
)
def test_places_that_are_none(folder: Path, on: str, message: str) -> None:
    if on != "moon":
        pytest.importorskip("ray", reason=INSTALL)
    done = call("bench", "cases.toml", "--on", on, "--out", "nowhere", "--no-plot", at=folder)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_without_ray_the_line_that_installs_it_is_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = call("bench", "cases.toml", "--on", "ray", "--out", "nowhere", "--no-plot", at=folder)
    assert done.returncode == 2
    assert "pip install 'conceptnet_ml[ray]'" in done.stderr
    assert os.listdir(folder).count("nowhere") == 0


def test_without_ray_and_without_what_draws_ray_is_missed_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = call("bench", "cases.toml", "--on", "ray", "--out", "nowhere", at=folder)
    assert done.returncode == 2
    assert "pip install 'conceptnet_ml[ray]'" in done.stderr
    assert "matplotlib" not in done.stderr
    done = call("bench", "cases.toml", "--out", "nowhere", at=folder)
    assert "pip install 'conceptnet_ml[bench]'" in done.stderr
    assert os.listdir(folder).count("nowhere") == 0
