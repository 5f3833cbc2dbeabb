"""``learn --set plugins.discoverer=nmf``, the real command, stopped and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, call, command, noise_pictures, surroundings

SMALL = """
[training]
least_steps = 0
epochs = 2
batch = 16
[round]
limit = 1
epochs = 1
closures = 0
[probe]
steps = 2
[concepts]
bootstrap = 10
directions = 6
probe_images = 64
[plugins]
controls = []
dreamer = "none"
representations = ["colour"]
discoverer = "nmf"
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_learning_with_directions_goes_on_after_a_stop(tmp_path: Path) -> None:
    noise_pictures(tmp_path / "photos", {"blue": (60, 60, 160), "red": (160, 60, 60)}, 60, np.random.default_rng(0))
    (tmp_path / "small.toml").write_text(SMALL)
    out = tmp_path / "run"
    words = ["learn", "--config", tmp_path / "small.toml", "--data", f"folder:{tmp_path / 'photos'}", "--out", out]
    process = subprocess.Popen(command(*words), cwd=ROOT, env=surroundings(), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    told = ""
    for line in process.stderr:
        told += line
        if "maps of block3: done" in line:
            process.send_signal(signal.SIGINT)
    assert process.wait() == 130, told
    assert not (out / "DONE").exists()
    done = call("learn", "--resume", out, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert {name: one["count"] for name, one in summary["directions"].items()} == dict.fromkeys(
        summary["directions"], 6
    )
    assert summary["directions"]["block3"]["discoverer"] == "nmf"
    shown = call("graph", "show", out)
    assert shown.returncode == 0, shown.stderr
    assert "direction" in shown.stdout
