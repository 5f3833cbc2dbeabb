"""Editing a run's graph by the real commands, and ``learn --resume`` after it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import COARSE, call, noise_pictures

SMALL = f"""
[data]
trap = "tint"
[training]
least_steps = 0
batch = 16
epochs = 3
[probe]
cells = 8
steps = 4
[round]
limit = 1
epochs = 2
purify = 0
closures = 0
[plugins]
controls = []
dreamer = "none"
{COARSE}"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("graph-edit")
    noise_pictures(root / "photos", {"bright": 150, "dark": 100}, 50, np.random.default_rng(0))
    (root / "small.toml").write_text(SMALL)
    done = call("learn", "--data", f"folder:{root / 'photos'}", "--config", root / "small.toml", "--out", root / "run")
    assert done.returncode == 0, done.stderr
    return root / "run"


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def told(*words: str | Path) -> str:
    done = call("graph", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_unit_is_split_named_learned_from_and_undone(folder: Path) -> None:
    before = {name: (folder / name).read_bytes() for name in ("graph.json", "model.safetensors", "summary.json")}
    said = told("split", folder, "block3:7")
    assert "split unit 7 of block3 into variants for bright, dark" in said
    assert "accuracy, %: " in said
    assert f"graph undo {folder}" in said
    assert f"learn --resume {folder}" in said
    assert f"report.html no longer holds and is removed; write it anew: python cli.py report {folder}" in said
    named = json.loads(told("rename", folder, "block3:7", "brightness", "--json"))
    assert named["said"].endswith("'brightness'")
    learned = call("learn", "--resume", folder)
    assert learned.returncode == 0, learned.stderr
    assert "edit2/train" in learned.stderr
    assert "Edited: 1. split unit 7" in learned.stdout
    listed = told("log", folder)
    assert [line.split(".")[0] for line in listed.splitlines()] == ["1", "2", "   learning went on from here"]
    undone = call("graph", "undo", folder, "--count", "2")
    assert undone.returncode == 0, undone.stderr
    assert "undone: 1. split" in undone.stdout
    assert "What was learned after edit 2 is undone, too." in undone.stdout
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_what_cannot_be_done_is_said_in_a_line(folder: Path) -> None:
    told("merge", folder, "block3:3", "block3:4")
    for words, code, message in (
        (("merge", folder, "block3:4", "block3:5"), 3, "already merged into unit 'block3 unit 3'"),
        (("merge", folder, "block3:1", "block3:99"), 2, "stage block3 has no unit 99"),
        (("undo", folder, "--count", "2"), 3, "has 1 edit: 2 cannot be undone"),
    ):
        before = (folder / "graph.json").read_bytes()
        done = call("graph", *words)
        assert done.returncode == code, done.stderr
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert (folder / "graph.json").read_bytes() == before
