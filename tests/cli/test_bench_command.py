"""``bench``, the real command on tiny cells: what fails does not stop the rest, what is finished is kept."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, call, command, noise_pictures, surroundings

CASES = """
methods = ["ordinary", "learned", "longer"]
ks = [0, 2, 64]
draws = 2
[settings]
training = { epochs = 2, batch = 16, least_steps = 0 }
round = { limit = 1, epochs = 1 }
probe.steps = 2
concepts = { bootstrap = 10, probe_images = 64, merge_images = 64, confirm = 8, edges = 4, edge_groups = 1 }
plugins = { representations = ["colour"], dreamer = "none" }
[cases.tinted]
note = "noise around two colours, tinted by class"
data = { source = "folder:{mine}", trap = "tint" }
targets = [{ test_set = "aligned", at_least = 50 }]
[cases.elsewhere]
data.source = "folder:{pictures}"
"""
RIVALS = """
import os, signal
from conceptnet_ml import Baseline, hookimpl

def raises(context):
    raise ValueError("this rival cannot be trained")

def dies(context):
    os.kill(os.getpid(), signal.SIGKILL)

@hookimpl
def conceptnet_baselines():
    return [Baseline(name="raises", api="1", views=raises), Baseline(name="dies", api="1", views=dies)]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise around red and around blue, 40 pictures each, and cases that are measured quickly."""
    root = tmp_path_factory.mktemp("bench")
    noise_pictures(root / "photos", {"blue": (60, 60, 160), "red": (160, 60, 60)}, 40, np.random.default_rng(0))
    (root / "cases.toml").write_text(CASES)
    (root / "rivals.py").write_text(RIVALS)
    return root


@pytest.fixture(scope="module")
def words(folder: Path) -> list[str | Path]:
    return [folder / "cases.toml", "--folder", f"mine={folder / 'photos'}", "--jobs", "1"]


def cells(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.cell.json"))}


METHODS = ("ordinary", "longer", "raises", "dies", "learned")  # the one that takes long is the one that is stopped
STOPPED = "tinted, seed 0, ordinary: conflict"


@dataclass
class Measured:
    """One seed, with a rival that raises and one that is killed in the midst of the others, by a command that was
    stopped and given once more.

    Args:
        code, told: How the stopped one ended, and what it said.
        kept: The cells that it had finished.
        done: The second one.
    """

    out: Path
    code: int
    told: str
    kept: dict[str, bytes]
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def measured(folder: Path, words: list[str | Path]) -> Measured:
    out = folder / "out"
    chosen = [word for method in METHODS for word in ("--method", method)]
    line = [*words, "--out", out, "--seeds", "1", "--plugins-dir", folder / "rivals.py", *chosen]
    code, told = stopped("bench", *line) if os.name != "nt" else (130, STOPPED)  # no SIGINT for another process there
    kept = cells(out)
    return Measured(out, code, told, kept, call("bench", *line))


def stopped(*line: str | Path) -> tuple[int, str]:
    """The exit code and the messages of a command that is told to stop when its first cell is finished."""
    process = subprocess.Popen(command(*line), cwd=ROOT, env=surroundings(), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    told = ""
    for text in process.stderr:
        told += text
        if text.startswith(STOPPED):
            process.send_signal(signal.SIGINT)
    return process.wait(), told


def test_failed_cells_are_reported_and_do_not_stop_the_others(folder: Path, measured: Measured) -> None:
    out, done = measured.out, measured.done
    assert done.returncode == 1, done.stderr
    assert "2 cells failed" in done.stderr
    assert "Traceback" not in done.stderr
    results = json.loads((out / "results.json").read_text())
    tinted, elsewhere = results["cases"]
    states = {cell["method"]: cell["state"] for cell in tinted["cells"]}
    assert states == {"ordinary": "done", "raises": "failed", "dies": "failed", "learned": "done", "longer": "done"}
    errors = {cell["method"]: cell["error"] for cell in tinted["cells"] if "error" in cell}
    assert re.fullmatch(
        r"baseline 'raises': views failed: ValueError: this rival cannot be trained \(rivals\.py, line \d+\)",
        errors["raises"],
    )
    (stored,) = (out / "cells").rglob("raises.cell.json")
    assert "rivals.py" in json.loads(stored.read_text())["trace"]
    assert "SIGKILL" in errors["dies"]
    assert elsewhere["left_out"] == "needs --pictures FOLDER"
    assert (out / "results.md").read_text() + "\n" == done.stdout
    assert "this rival cannot be trained" in done.stdout
    assert (out / "results.png").read_bytes()[:4] == b"\x89PNG"


def test_the_figures_are_those_of_the_run(measured: Measured) -> None:
    out = measured.out
    (tinted, _) = json.loads((out / "results.json").read_text())["cases"]
    summary = json.loads((out / "cells" / "tinted" / "0" / "run" / "summary.json").read_text())
    found = {cell["method"]: cell for cell in tinted["cells"]}
    for method in ("ordinary", "learned"):
        for name, row in summary["test_sets"].items():
            assert found[method]["test_sets"][name]["accuracy"] == row[method]["accuracy"]
    assert found["learned"]["cost"]["times_ordinary"] == pytest.approx(summary["cost"]["times_ordinary"])
    assert found["learned"]["rounds"] == summary["rounds"]
    assert found["longer"]["cost"]["seconds"] > 0
    assert found["longer"]["peak_memory_gib"] > 0.05
    assert set(tinted["test_sets"]) == {"test", "aligned", "conflict", "random", "absent"}
    (target,) = (one for one in tinted["targets"] if one["measure"] == "accuracy")
    assert target["met"] == (100 * found["learned"]["test_sets"]["aligned"]["accuracy"] >= 50)


def test_adaptation_begins_where_the_network_is_and_leaves_out_what_the_pool_is_too_small_for(
    measured: Measured,
) -> None:
    out, done = measured.out, measured.done
    (tinted, _) = json.loads((out / "results.json").read_text())["cases"]
    for cell in tinted["cells"]:
        if cell["state"] != "done":
            continue
        none, two = cell["adaptation"]
        assert (none["k"], two["k"], two["draws"]) == (0, 2, 2)
        for name, row in none["test_sets"].items():
            assert row["accuracy"] == cell["test_sets"][name]["accuracy"]
        assert cell["notes"][0] == "k = 64: the pool has 4 held-out images of a class"
        assert [row["k"] for row in cell["turned"]] == [0]
        assert all(0 <= row[what] <= 1 for row in cell["decodability"] for what in ("class", "cue"))
    assert "after adapting to k labelled examples" in done.stdout
    assert "| **learned** | cue |" in done.stdout


def test_the_report_says_what_was_measured_and_no_path_of_this_machine(folder: Path, measured: Measured) -> None:
    out, done = measured.out, measured.done
    what = json.loads((out / "results.json").read_text())["what"]
    assert len(what["commits"]) == 1
    assert what["devices"]
    assert what["settings"]["training.epochs"] == "2"
    assert what["command"].startswith("conceptnet-ml bench cases.toml --method ordinary")
    assert "--folder mine=FOLDER" in what["command"]
    for text in (done.stdout, (out / "results.json").read_text(), (out / "results.svg").read_text()):
        assert str(folder) not in text


def test_a_second_go_keeps_what_is_finished_and_dry_run_counts_it(
    folder: Path, words: list[str | Path], measured: Measured
) -> None:
    out = measured.out
    before = cells(out)
    plan = json.loads(call("bench", *words, "--out", out, "--seeds", "2", "--dry-run", "--json").stdout)
    states = [row["state"] for row in plan["cells"]]
    assert (states.count("finished"), states.count("to do"), states.count("left out")) == (3, 3, 6)
    assert plan["seconds_left"] > 0
    again = call("bench", *words, "--out", out, "--seeds", "1", "--json")
    assert again.returncode == 0, again.stderr
    assert "to measure" not in again.stderr
    assert cells(out) == before
    assert json.loads(again.stdout)["cases"][0]["table"].keys() == {"ordinary", "learned", "longer"}
    other = call("bench", *words, "--out", out, "--set", "data.train_limit=20")
    assert other.returncode == 2
    assert "data.train_limit was none, is now 20" in other.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_ctrl_c_keeps_finished_cells_and_the_same_command_goes_on(measured: Measured) -> None:
    assert measured.code == 130
    assert "stopped; finished cells are kept" in measured.told
    assert "Traceback" not in measured.told
    assert "cells/tinted/0/ordinary.cell.json" in measured.kept
    assert len(measured.kept) < 3
    after = cells(measured.out)
    assert len(after) == len(METHODS)
    assert {name: after[name] for name in measured.kept} == measured.kept


def test_a_plan_of_the_matrix_has_a_line_for_each_column(tmp_path: Path) -> None:
    words = ["--matrix", "--case", "t*/0/*", "--backbone", "small:2", "--seeds", "1", "--dry-run", "--out", tmp_path]
    done = call("bench", *words)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^ (\w+), small:2 +(\d+)", done.stdout, re.MULTILINE) == [
        ("cars_dogs", "6"),
        ("ship_frog", "6"),
        ("automobile_truck", "6"),
        ("drawings", "6"),
    ]
    assert "6 of 24 cells to measure" in done.stdout


def test_list_names_cases_methods_and_what_they_need() -> None:
    done = call("bench", "--list")
    assert done.returncode == 0
    for text in ("wheels+tint", "dominoes", "--mnist FOLDER", "random-box", "forced-round"):
        assert text in done.stdout
    assert done.stdout.split("\n")[1].split() == ["case", "settings", "targets"]
    # a matrix has the same targets for all its cells, so there is no column of them
    assert call("bench", "--matrix", "--list").stdout.split("\n")[1].split() == ["case", "settings"]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--case", "wheel"], 2, "Did you mean 'wheels'?"),
        (["--method", "cutmx", "--case", "cars-and-poodles, depth 2"], 2, "no method 'cutmx'"),
        (["--seeds", "0"], 2, "no seeds"),
        (["--pictures", "nowhere"], 3, "--pictures nowhere: there is no folder"),
        (["--folder", "mine=nowhere"], 3, "--folder mine=nowhere: there is no folder"),
        (["--case", "wheels"], 3, "Give --pictures FOLDER"),
        (["--folder", "mine"], 2, "not NAME=FOLDER"),
        (["nowhere.toml"], 2, "cannot read 'nowhere.toml'"),
        (["--set", "trap=x"], 2, "Did you mean 'data.trap'?"),
        (["--jobs", "0"], 2, "--jobs"),
        (["--backbone", "small:2"], 2, "Use it with --matrix."),
        (["--matrix", "--case", "tnit/*"], 2, "no case 'tnit/*'"),
        (["--matrix", "--case", "zz*"], 2, "'bench --matrix --list' lists all "),
        (["--case", "zz*"], 2, "Known: cars-and-poodles"),
        (["--matrix", "--case", "tint/0/*", "--set", "data.target=nowhere", "--dry-run"], 3, "nowhere: no such folder"),
    ],
)
def test_mistakes_are_named_before_anything_is_measured(
    tmp_path: Path, more: list[str], code: int, message: str
) -> None:
    done = call("bench", *more, "--out", tmp_path / "out")
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_is_joined_is_not_chosen_from(tmp_path: Path) -> None:
    absent = tmp_path / "results.json"
    for words, code, said in (
        (("--seeds", "2", "--case", "wheels"), 2, "leave out --case, --seeds"),
        ((), 3, "results.json: no such file"),
    ):
        done = call("bench", "--join", absent, "--out", tmp_path / "joined", *words)
        assert (done.returncode, said in " ".join(done.stderr.split())) == (code, True), done.stderr
    assert not (tmp_path / "joined").exists()
