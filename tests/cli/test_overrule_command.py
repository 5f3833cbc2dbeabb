"""``learn --keep``, ``--undo`` and ``--target``, the real command on a folder of small pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import COARSE, call, noise_pictures

pytestmark = pytest.mark.usefixtures("hasty")

SMALL = f"""
[training]
least_steps = 0
epochs = 2
batch = 16
[round]
limit = 1
epochs = 1
closures = 0
purify = 0
interchangeable = 9.0
decisive = 9.0
partly = 9.0
[probe]
steps = 2
[plugins]
controls = []
dreamer = "none"
representations = ["pixels"]
{COARSE}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise around red and around blue, 40 pictures each, and the settings to refuse whatever is found in them."""
    root = tmp_path_factory.mktemp("photos")
    noise_pictures(root / "photos", {"blue": (60, 60, 160), "red": (160, 60, 60)}, 40, np.random.default_rng(0))
    (root / "small.toml").write_text(SMALL)
    return root


@pytest.fixture(scope="module")
def start(folder: Path) -> list[str | Path]:
    return ["learn", "--config", folder / "small.toml", "--data", f"folder:{folder / 'photos'}", "--device", "cpu"]


@pytest.fixture(scope="module")
def learned(folder: Path, start: list[str | Path]) -> Path:
    """A finished run that kept nothing."""
    out = folder / "run"
    done = call(*start, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert [entry["decision"] for entry in json.loads(done.stdout)["rounds"]] == ["leaf"]
    return out


@pytest.mark.parametrize(
    ("words", "code", "reason", "mend"),
    [
        (["--keep", "blok3/classes/1"], 2, "no stage 'blok3'", "Did you mean 'block3'?"),
        (["--undo", "block3"], 2, "not the name of a round", "block3/classes/2/pixels"),
        (["--keep", "block3/classes/1/colour"], 2, "no representation 'colour'", "Known: pixels"),
        (["--keep", "block3/classes/1", "--undo", "block3/classes/1"], 2, "contradict each other", "Leave one"),
        (["--target", "absent"], 3, "absent: no such folder", "Give a folder of pictures"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_begun(
    folder: Path, start: list[str | Path], words: list[str], code: int, reason: str, mend: str
) -> None:
    done = call(*start, "--out", folder / "never", *words)
    assert done.returncode == code
    told = " ".join(done.stderr.split())
    assert reason in told
    assert mend in told
    assert not (folder / "never").exists()


def test_a_round_that_a_finished_run_never_had_is_refused_before_anything_is_touched(learned: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in learned.rglob("*") if path.is_file()}
    done = call("learn", "--resume", learned, "--undo", "block3/classes/3")
    assert done.returncode == 2, done.stderr
    told = " ".join(done.stderr.split())
    assert "had no such round" in told
    assert "Its rounds: block3/classes/1." in told
    assert "load images" not in told
    assert before == {path: path.stat().st_mtime_ns for path in learned.rglob("*") if path.is_file()}


def test_a_finished_run_is_opened_again_and_taken_back(folder: Path, learned: Path) -> None:
    before = json.loads((learned / "graph.json").read_text())
    words = ["--keep", "block3/classes/1", "--keep", "block3/classes/1/pixels", "--target", folder / "photos"]
    done = call("learn", "--resume", learned, *words)
    assert done.returncode == 0, done.stderr
    assert "block3/classes/1: pixels: the user decided to keep it; the rule would refuse it" in done.stderr
    assert "disagree in" in done.stdout
    summary = json.loads((learned / "summary.json").read_text())
    assert summary["rounds"][0]["decision"] == "kept"
    assert summary["target"]["images"] == 80
    stored = json.loads((learned / "settings.json").read_text())
    assert stored["settings"]["round"]["keep"] == ["block3/classes/1", "block3/classes/1/pixels"]
    assert stored["origins"]["round.keep"] == "--keep"
    assert stored["origins"]["data.target"] == "--target"

    done = call("learn", "--resume", learned, "--set", "round.keep=", "--set", "data.target=none", "--json")
    assert done.returncode == 0, done.stderr
    assert "target" not in json.loads(done.stdout)
    assert json.loads((learned / "graph.json").read_text()) == before


def test_a_graph_edited_by_hand(learned: Path) -> None:
    path = learned / "graph.json"
    graph = json.loads(path.read_text())
    feature = next(node for node in graph["nodes"] if node["kind"] == "feature")
    feature["decision"], units = "kept", feature["units"]
    feature["units"] = [0, 9999]
    path.write_text(json.dumps(graph))
    done = call("learn", "--resume", learned)
    assert done.returncode == 3
    assert "not the hash of the node's content" in done.stderr
    assert json.loads(path.read_text()) == graph
    feature["units"] = units
    path.write_text(json.dumps(graph))
    done = call("learn", "--resume", learned, "--json")
    assert done.returncode == 0, done.stderr
    assert "was changed by hand: keep block3/classes/1/pixels" in done.stderr
    assert json.loads(done.stdout)["rounds"][0]["decision"] == "kept"
