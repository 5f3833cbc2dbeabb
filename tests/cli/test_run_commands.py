"""``learn``, ``evaluate``, ``predict`` and Ctrl-C, the real command on a folder of small pictures."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from commands import COARSE, ROOT, call, command, noise_pictures, run, surroundings

from conceptnet_ml.errors import DataError
from conceptnet_ml.scaffold.plugin_files import new_plugin

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
    """Noise around red and around blue, 60 pictures each, and the settings to learn them quickly."""
    root = tmp_path_factory.mktemp("photos")
    noise_pictures(root / "photos", {"blue": (60, 60, 160), "red": (160, 60, 60)}, 60, np.random.default_rng(0))
    (root / "small.toml").write_text(SMALL)
    return root


@pytest.fixture(scope="module")
def learned(folder: Path) -> Path:
    out = folder / "run"
    words = ["learn", "--config", folder / "small.toml", "--data", f"folder:{folder / 'photos'}", "--out", out]
    done = call(*words, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["run"] == str(out)
    assert summary["classes"] == ["blue", "red"]
    assert "load images" in done.stderr
    few = re.search(r"^note: (only \d+ held-out images will decide, .*)$", done.stderr, re.MULTILINE)
    assert few is not None
    kept = any(entry["decision"] == "kept" for entry in summary["rounds"])
    assert (few[1] in summary["notes"]) == kept, "beside what was exchanged; else the summary says it in other words"
    assert "train the ordinary network: done in" in done.stderr
    steps = re.findall(r"^step (\d+)(?: of about (\d+))?: .*: done in", done.stderr, re.MULTILINE)
    assert [int(step) for step, _ in steps] == list(range(1, len(steps) + 1))
    assert len({*steps[-1]}) == 1, "at the last step it knows how many there were"
    assert not steps[0][1], "as long as rounds decide how many there will be, it says none"
    assert "block3/classes" not in done.stderr
    return out


def test_evaluate_prints_accuracies(learned: Path) -> None:
    real, same = (how("evaluate", learned, "--json") for how in (run, call))
    assert (real.returncode, real.stdout) == (same.returncode, same.stdout), "a process of its own makes no difference"
    found = json.loads(real.stdout)
    assert found["run"] == str(learned)
    for method in ("ordinary", "learned"):
        assert 0 <= found["test_sets"]["test"][method]["accuracy"] <= 1
    table = call("evaluate", learned, "--device", "cpu", "--groups").stdout
    assert "No test set has groups" in table
    accuracy = f"{100 * found['test_sets']['test']['learned']['accuracy']:.1f}"
    assert [line.split() for line in table.splitlines() if line.split()[:1] == ["test"]][-1][:2] == ["test", "24"]
    assert accuracy in table


def test_evaluate_says_where_it_looked_for_the_runs_own_data(learned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise DataError("photos: no such folder.")

    monkeypatch.setattr("conceptnet_ml.results.learned_run.load_data", gone)
    said = " ".join(call("evaluate", learned).stderr.split())
    assert "the run's own data, folder:" in said
    assert f"seen from {Path.cwd()}: photos: no such folder." in said
    assert "--data folder:PATH" in said
    assert "own data" not in call("evaluate", learned, "--data", learned.parent).stderr


def test_evaluate_with_a_trap_on_other_data(folder: Path, learned: Path) -> None:
    words = ["evaluate", learned, "--data", f"folder:{folder / 'photos'}", "--trap", "wheels", "--json"]
    assert {"test", "aligned", "conflict", "random", "absent"} <= set(json.loads(call(*words).stdout)["test_sets"])


def test_predict(folder: Path, learned: Path) -> None:
    pictures = [folder / "photos" / "red" / "0.png", folder / "photos" / "blue" / "0.png"]
    found = json.loads(call("predict", learned, *pictures, "--json").stdout)
    assert [row["file"] for row in found["images"]] == [str(path) for path in pictures]
    for row in found["images"]:
        assert row["class"] in ("blue", "red")
        assert 0.5 <= row["probability"] <= 1
        assert row["ordinary"] in ("blue", "red")
    assert str(pictures[0].name) in call("predict", learned, *pictures).stdout
    some = json.loads(call("predict", learned, pictures[0], folder / "photos" / "blue", "--json").stdout)
    assert len(some["images"]) == 61
    assert sum(some["classes"].values()) == 61
    assert some["differ"] == sum(one["class"] != one["ordinary"] for one in some["images"])
    said = call("predict", learned, folder / "photos").stdout
    assert "120 pictures: " in said
    assert "The ordinary network answers " in said
    empty = folder / "empty"
    empty.mkdir()
    assert "holds no pictures" in call("predict", learned, empty).stderr
    absent = call("predict", learned, "absent.png")
    assert absent.returncode == 3
    assert "absent.png" in absent.stderr


def test_predict_explains(folder: Path, learned: Path, tmp_path: Path) -> None:
    picture = folder / "photos" / "red" / "0.png"
    again = tmp_path / "0.png"
    shutil.copy(picture, again)
    out = tmp_path / "why"
    done = call("predict", learned, picture, again, "--explain", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)["images"]
    assert [first["page"], second["page"]] == [str(out / "0.html"), str(out / "0-2.html")]
    assert first["probabilities"] == second["probabilities"]
    assert {*first["probabilities"]["ordinary"]} == {"blue", "red"}
    assert first["concepts"]
    assert first["likeness"] is None, "15 held-out images"
    page = (out / "0.html").read_text(encoding="utf-8")
    assert all(word in page for word in ("The concepts in it", "photos/red/0.png", first["concepts"][0]["title"]))
    assert "How like the pictures it learned from this one is, is not known" in page
    shown = " ".join(call("predict", learned, picture, "--explain").stdout.split())
    assert "Nothing was kept, so there is one network; it says" in shown
    assert "strength" in shown
    assert not list(tmp_path.glob("*.html")), "pages are written where a folder is named, and nowhere else"


def test_what_cannot_be_explained_is_said(folder: Path, learned: Path, tmp_path: Path) -> None:
    picture = folder / "photos" / "red" / "0.png"
    (tmp_path / "file").write_text("")
    bare = shutil.copytree(learned, tmp_path / "bare")
    (bare / "graph.json").unlink()
    cases = (
        (("predict", learned, picture, "--out", tmp_path / "why"), 2, "--out is for explanations"),
        (("predict", learned, picture, "--explain", "--adapted", "x"), 2, "--explain and --adapted contradict"),
        (("predict", learned, picture, "--explain", "--out", tmp_path / "file"), 2, "is a file"),
        (("predict", learned, "absent.png", "--explain"), 3, "absent.png: no such file"),
        (("predict", bare, picture, "--explain"), 3, "has no concept graph yet"),
    )
    for words, code, said in cases:
        done = call(*words)
        assert (done.returncode, said in " ".join(done.stderr.split())) == (code, True), done.stderr


def test_a_run_leaves_a_page_and_report_writes_it_anew(learned: Path, tmp_path: Path) -> None:
    left = (learned / "report.html").read_text(encoding="utf-8")
    assert all(word in left for word in ("block3/classes/1", "blue", "concept graph"))
    told = json.loads(call("report", learned, "--out", tmp_path / "page.html", "--json").stdout)
    assert told == {"run": str(learned), "page": str(tmp_path / "page.html"), "bytes": len(left.encode())}
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == left
    assert "report.html: 0." in call("report", learned).stdout
    gone = call("report", tmp_path / "no")
    assert (gone.returncode, "there is no run folder" in gone.stderr) == (3, True)


def test_a_finished_run_resumes_to_the_same_and_refuses_other_settings(learned: Path) -> None:
    before = json.loads((learned / "summary.json").read_text())
    again = call("learn", "--resume", learned, "--json")
    assert json.loads(again.stdout) == {"run": str(learned), **before}
    other = call("learn", "--resume", learned, "--depth", "2")
    assert other.returncode == 2
    assert "depth: the run has 1, --depth says 2" in other.stderr


def test_a_network_at_chance_stops_the_run_which_can_go_on_all_the_same(folder: Path, tmp_path: Path) -> None:
    noise_pictures(tmp_path / "photos", {"one": 110}, 60, np.random.default_rng(0), 32)
    shutil.copytree(tmp_path / "photos/one", tmp_path / "photos/other")  # so that no processor is lucky
    words = ["learn", "--config", folder / "small.toml", "--data", f"folder:{tmp_path / 'photos'}"]
    words += ["--set", "training.least_steps=12", "--set", "training.epochs=1", "--out", tmp_path / "run"]
    words += ["--set", "data.holdout=.4"]  # enough to tell
    plan = json.loads(call(*words, "--dry-run", "--json").stdout)["plan"]
    assert plan["ordinary training"] == "1 epoch of 3 steps is too few: 4 epochs instead, 12 steps in all"
    assert plan["rounds"].startswith("at most 1 a stage: 1 epoch of 3 steps is too few")
    done = call(*words)
    assert done.returncode == 1
    assert f"ordinary training: {plan['ordinary training']}" in done.stderr
    assert "no better than chance" in done.stderr
    resume = ["learn", "--resume", tmp_path / "run"]
    typed = ["--set", "training.above_chance=false"]
    assert " ".join(["python cli.py", *map(str, resume), *typed]) in done.stderr
    assert "no better than chance" in call(*resume).stderr
    early = call("evaluate", tmp_path / "run")
    assert early.returncode == 3
    assert f"Finish the run: python cli.py learn --resume {tmp_path / 'run'}\n" in early.stderr
    shutil.copytree(ROOT / "docs" / "examples", tmp_path / "my own")
    for given, flags in ((["--plugins-dir", "my own"], "--plugins-dir 'my own'"), (["--no-plugins"], "--no-plugins")):
        for words in (resume, ["evaluate", tmp_path / "run"]):
            done = call(*words, *given, at=tmp_path)
            assert f" python cli.py learn {flags} --resume {tmp_path / 'run'}" in done.stderr
    gone = call(*resume, *typed)
    assert gone.returncode == 0, gone.stderr
    assert "is too few" not in gone.stderr, "what is trained already is not announced again"
    assert call(*resume).returncode == 0


OWN = """
import torch
from conceptnet_ml import Data, Dataset, ImageSet, Trap, hookimpl

def plant(images, cues, seeds):
    return images.oh()

class Broken(ImageSet):
    def to(self, device):
        return self

    def take(self, images):
        return images.oh()

def load(argument, settings, seed):
    black = Broken(torch.zeros(64, 3, 32, 32, dtype=torch.uint8), torch.arange(64) % 2)
    return Data("own", ("a", "b"), black, {"test": black})

@hookimpl
def conceptnet_traps():
    return [Trap(name="own", api="1", plant=plant)]

@hookimpl
def conceptnet_datasets():
    return [Dataset(name="own", api="1", load=load)]
"""


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (["--data", "folder:{}", "--trap", "own"], "trap 'own': plant failed"),
        (["--data", "own"], "a plugin failed"),  # in what its function returned
    ],
)
def test_an_error_in_a_plugin_is_not_called_a_bug_of_ours(
    folder: Path, tmp_path: Path, what: list[str], words: str
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    typed = ["learn", *(word.format(folder / "photos") for word in what), "--plugins-dir", tmp_path / "own.py"]
    done = call(*typed, "--dry-run")
    assert done.returncode == 4
    assert f"error: {words}: AttributeError: 'Tensor' object has no attribute 'oh' (own.py, line " in done.stderr
    assert "To see where: python cli.py --debug learn --data" in done.stderr
    assert "Traceback" not in done.stderr
    assert "return images.oh()" in call("--debug", *typed, "--dry-run").stderr


def test_more_stages_than_there_are_are_all_of_them(folder: Path) -> None:
    done = call("learn", "--data", f"folder:{folder / 'photos'}", "--depth", "9", "--out", folder / "deep", "--dry-run")
    assert done.returncode == 0
    said = " ".join(done.stdout.split())
    assert "depth 9: small has 4 stages, all are worked through: block3, block2, block1, stem" in said
    assert not (folder / "deep").exists()


def test_an_occupied_folder_is_refused_with_the_way_out(folder: Path, learned: Path) -> None:
    done = call("learn", "--data", f"folder:{folder / 'photos'}", "--out", learned)
    assert done.returncode == 3
    assert f"--resume {learned}" in done.stderr


def test_loggers_get_it_all_and_one_that_breaks_costs_nothing(folder: Path, learned: Path, tmp_path: Path) -> None:
    table = new_plugin("table", "logger", tmp_path / "plugins").plugin
    text = table.read_text(encoding="utf-8").replace("self.table.writerows(", "raise RuntimeError('it broke'); print(")
    (tmp_path / "plugins" / "broken.py").write_text(text.replace('"table"', '"broken"'), encoding="utf-8")
    words = ["--plugins-dir", tmp_path / "plugins", "--set", "plugins.loggers=table,broken"]
    words += ["--config", folder / "small.toml", "--data", f"folder:{folder / 'photos'}", "--out", tmp_path / "run"]
    done = call("learn", *words)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: logger 'broken' failed and is left out: RuntimeError: it broke") == 1
    rows = (tmp_path / "run/logs/table/figures.csv").read_text(encoding="utf-8").splitlines()
    for name in ("loss/ordinary", "ordinary/accuracy", "probe/phi", "accuracy/test/learned"):
        assert any(row.split(",")[1] == name for row in rows), name
    graphs = [(path / "graph.json").read_text(encoding="utf-8") for path in (learned, tmp_path / "run")]
    networks = [json.loads(graph)["header"]["network"] for graph in graphs]
    assert networks[0] == networks[1], "the same weights with loggers and without"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_ctrl_c_saves_and_the_run_goes_on(folder: Path) -> None:
    out = folder / "stopped"
    words = ["learn", "--config", folder / "small.toml", "--data", f"folder:{folder / 'photos'}", "--out", out]
    process = subprocess.Popen(command(*words), cwd=ROOT, env=surroundings(), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    told = ""
    for line in process.stderr:
        told += line
        if line.startswith("load images: done"):
            process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert "finishing the step, saving…" in told
    assert f"Go on with: python cli.py learn --resume {out}" in told
    assert f"stopped; all finished steps are kept in {out}" in told
    assert "error" not in told, "who stops a run makes no error"
    assert "Traceback" not in told
    assert not (out / "DONE").exists()
    done = call("learn", "--resume", out)
    assert done.returncode == 0, done.stderr
    assert "Accuracy" in done.stdout
    assert (out / "DONE").exists()
