"""``dream``, the real command: on a tiny network of the user's own, and on a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import COARSE, ROOT, call, noise_pictures, surroundings
from PIL import Image

from conceptnet_ml import open_run
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.naming import called

NETWORK = """
import torch
from torch import nn

def net(width=70):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, width, 3, 2, 1), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))
"""
SMALL = f"""
[training]
least_steps = 0
epochs = 2
batch = 16
[round]
limit = 1
epochs = 1
[probe]
steps = 2
[plugins]
controls = []
dreamer = "none"
{COARSE}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the command is called: a module, pictures, settings."""
    root = tmp_path_factory.mktemp("dreams")
    (root / "my_dreaming_net.py").write_text(NETWORK)
    (root / "small.toml").write_text(SMALL)
    noise_pictures(root / "photos", {"blue": (60, 60, 160), "red": (160, 60, 60)}, 60, np.random.default_rng(0))
    return root


def words(*more: str | Path) -> list[str]:
    return [sys.executable, str(ROOT / "cli.py"), *map(str, more)]


def around(folder: Path) -> dict[str, str]:
    return surroundings() | {"XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "160"}


def run(folder: Path, *more: str | Path) -> subprocess.CompletedProcess[str]:
    return call(*more, at=folder, **around(folder))


def test_a_layer_of_ones_own_network(folder: Path) -> None:
    asked = ["dream", "my_dreaming_net:net", "--size", "16", "--steps", "3", "--layer", "2", "--units", "0-3"]
    done = run(folder, *asked, "--real", "photos", "--out", "first")
    assert done.returncode == 0, done.stderr
    assert "2:3" in done.stdout
    assert "against real images" in done.stdout
    assert "4 dreams in" in done.stdout
    assert "first/sheet.png" in done.stdout
    names = {path.name for path in (folder / "first").iterdir()}
    assert names == {*(f"2-{n}.png" for n in range(4)), "sheet.png", "sprite-2.png", "sprite-2.json", "dreams.json"}
    again = run(folder, *asked, "--zoom", "3", "--gif", "--json", "--out", "second")
    found = json.loads(again.stdout)
    assert all(one["cached"] for one in found["dreams"])
    assert found["out"] == "second"
    with Image.open(folder / "second" / found["dreams"][0]["film"]) as film:
        assert film.n_frames == 3


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["my_dreaming_net:net", "--layer", "3x", "--out", "no"], 2, "no layer '3x'"),
        (["my_dreaming_net:nett", "--out", "no"], 2, "Did you mean 'net'?"),
        (["my_dreaming_net:net", "--from", "absent.png", "--out", "no"], 3, "absent.png: no such file"),
        (["my_dreaming_net:net", "--out", "photos"], 3, "photos is not empty"),
        (["my_dreaming_net:net", "--cache", "a", "--no-cache", "--out", "no"], 2, "contradict"),
        (["my_dreaming_net:net"], 2, "--out"),
    ],
)
def test_mistakes_are_named_and_coded(folder: Path, more: list[str], code: int, said: str) -> None:
    done = run(folder, "dream", *more)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (folder / "no").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send")
def test_ctrl_c_keeps_what_is_done(folder: Path) -> None:
    asked = ["dream", "my_dreaming_net:net", "--layer", "2", "--units", "all", "--size", "48", "--steps", "60"]
    out = folder / "stopped"
    process = subprocess.Popen(
        words(*asked, "--out", out), cwd=folder, env=around(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    until = time.monotonic() + 120
    while not list(out.glob("*.png")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    record = json.loads((out / "dreams.json").read_text())
    assert record["stopped"]
    assert 0 < len(record["dreams"]) < 70
    assert f"{len(record['dreams'])} of 70 dreams are in {out}".encode() in said
    assert b"error" not in said
    assert b"The same command goes on from there: " in said
    assert f"--out {out}".encode() in said.rpartition(b"from there: ")[2]


@pytest.mark.slow
def test_the_nodes_of_a_run(folder: Path) -> None:
    for seed in ("0", "1"):
        asked = [
            "learn",
            "--config",
            "small.toml",
            "--data",
            f"folder:{folder / 'photos'}",
            "--seed",
            seed,
            "--out",
            f"run{seed}",
        ]
        done = run(folder, *asked)
        assert done.returncode == 0, done.stderr
    graph = json.loads((folder / "run0/graph.json").read_text())
    nodes = {kind: [one for one in graph["nodes"] if one["kind"] == kind] for kind in ("class", "feature", "unit")}
    chosen = [some[0] for some in nodes.values() if some]
    named = [word for one in chosen for word in ("--concept", one["id"])]
    done = run(folder, "dream", "run0", *named, "--witness", "run1", "--steps", "8", "--out", "nodes", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["files"]["portraits"]) == {one["id"] for one in chosen}
    for one in chosen:
        own = [dream for dream in found["dreams"] if dream["concept"] == one["id"]]
        pair = one["kind"] == "feature" and one["decision"] == "kept"
        assert [dream["start"] for dream in own] == [None, "blue", "red", *([None] if pair else [])]
        learned = "the learned network"
        before = f"the network before round {one['found_in']}" if "found_in" in one else learned
        assert own[0]["drawn_in"] in (before, learned)
        assert not pair or (own[0]["drawn_in"], own[3]["drawn_in"]) == (before, learned)
        assert Image.open(folder / "nodes" / f"{one['id']}.png").width > 700
    for dream in found["dreams"]:
        assert dream["judgement"]["seen"] in ("blue", "red")
        assert 0 <= dream["standing"]["percentile"] <= 1
    learned_graph = ConceptGraph.read(folder / "run0")
    on_the_page = called(learned_graph.node(chosen[-1]["id"]))
    asked = ["--concept", on_the_page, "--learned", "--steps", "4", "--out", "learned", "--json"]
    again = json.loads(run(folder, "dream", "run0", *asked).stdout)
    assert {one["drawn_in"] for one in again["dreams"]} == {"the learned network"}
    wrong = run(folder, "dream", "run0", "--concept", "wheel-of-fire", "--out", "no")
    assert (wrong.returncode, (folder / "no").exists()) == (2, False)
    taken = {(node.stage, node.units[0]) for node in learned_graph.nodes("unit")}
    free = next((top, unit) for top in learned_graph.stages[-1:] for unit in range(999) if (top, unit) not in taken)
    if free[1] < learned_graph.header.stages[-1].units:
        wrong = run(folder, "dream", "run0", "--concept", f"{free[0]}:{free[1]}", "--out", "no")
        assert f"dream of it as a unit: --layer {free[0]} --units {free[1]}" in wrong.stderr
    open_run(folder / "run0").witness()
    own = json.loads(run(folder, "dream", "run0", "--class", "red", "--steps", "4", "--out", "own", "--json").stdout)
    assert own["witness"]["source"] == "run0"
    assert own["dreams"][0]["judgement"]["expected"] == "red"
    same = run(folder, "dream", "run0", "--witness", "run0", "--out", "no")
    assert "the witness is the network itself" in same.stderr
