"""``learn --keep``, ``--undo``, ``--exchange`` and ``--target``, the real command on a folder of small pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import COARSE, call, noise_pictures
from PIL import Image

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
    decision = "Round 1, block3: left alone for blue and red"
    (told,) = [line for line in done.stderr.splitlines() if line.startswith(decision)]
    order = [done.stderr.index(words) for words in ("find the features", told, "draw what the rounds exchanged")]
    assert order == sorted(order), "the decision is told when it falls"
    return out


@pytest.mark.parametrize(
    ("words", "code", "reason", "mend"),
    [
        (["--keep", "blok3/classes/1"], 2, "no stage 'blok3'", "Did you mean 'block3'?"),
        (["--undo", "block3"], 2, "not the name of a round", "block3/classes/2/pixels"),
        (["--keep", "block3/classes/1/colour"], 2, "no representation 'colour'", "Known: pixels"),
        (["--keep", "block3/classes/1", "--undo", "block3/classes/1"], 2, "contradict each other", "Leave one"),
        (["--target", "absent"], 3, "absent: no such folder", "Give a folder of pictures"),
        (["--exchange", "corner"], 2, "round.exchange: 'corner' names no place", "as in bottom,right"),
        (["--exchange", "0,0,1,1"], 2, "round.exchange: 0,0,1,1 is the whole image", "Name less of the image"),
        (
            ["--set", "round.exchange=9,9,16,16"],
            2,
            "9,9,16,16 reaches beyond the image",
            "divided by the image's width",
        ),
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
    assert "Round 1, block3: kept by hand for blue and red: it is exchanged in training." in done.stderr
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


def test_the_places_are_in_the_plan(folder: Path, start: list[str | Path]) -> None:
    places = ["--exchange", "bottom,right", "--exchange", "0,0,0.1,0.1"]
    done = call(*start, "--out", folder / "never", *places, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["plan"]["exchanged first"].startswith("bottom,right (x 12 to 16, y 12 to 16 px), 0,0,0.1,0.1 (x 0 to 2")
    assert plan["settings"]["round"]["exchange"] == "bottom,right+0,0,0.1,0.1"


def test_a_finished_run_exchanges_a_place_and_takes_it_back(folder: Path, learned: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(learned, run)
    before = json.loads((run / "graph.json").read_text())
    done = call("learn", "--resume", run, "--exchange", "bottom,right")
    assert done.returncode == 0, done.stderr
    assert "exchanged first: bottom,right (x 12 to 16, y 12 to 16 px)" in " ".join(done.stderr.split())
    assert "the user decided to exchange bottom,right; the rule would refuse it" in " ".join(done.stdout.split())
    assert json.loads((run / "summary.json").read_text())["rounds"][0]["decision"] == "kept"
    stored = json.loads((run / "settings.json").read_text())
    assert (stored["settings"]["round"]["exchange"], stored["origins"]["round.exchange"]) == (
        "bottom,right",
        "--exchange",
    )
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "The user named this place" in page
    assert "at bottom,right" in page
    assert "--exchange bottom,right" in page, "the command that makes the run once more"

    done = call("learn", "--resume", run, "--exchange", "none", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "graph.json").read_text()) == before


def test_a_place_of_pictures_that_are_not_square_under_a_trap(folder: Path, tmp_path: Path) -> None:
    noise_pictures(tmp_path / "wide", {"blue": (60, 60, 160), "red": (160, 60, 60)}, 24, np.random.default_rng(0), 24)
    for path in (tmp_path / "wide").rglob("*.png"):
        with Image.open(path) as image:
            image.crop((0, 0, 24, 16)).save(path)
    words = ["learn", "--config", folder / "small.toml", "--data", f"folder:{tmp_path / 'wide'}", "--device", "cpu"]
    done = call(*words, "--trap", "border", "--exchange", "border", "--out", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads(done.stdout)["rounds"]
    assert (entry["decision"], entry["place"]) == ("kept", "border")
    said = call("predict", tmp_path / "run", next((tmp_path / "wide").rglob("*.png")), "--explain")
    assert said.returncode == 0, said.stderr
    assert "at border" in " ".join(said.stdout.split())


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
