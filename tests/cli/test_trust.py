"""What may happen to a run folder: damage, moves, files of others. It is an error in words, or mended; never a bug."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ROOT, call, command, noise_pictures, noise_runs, surroundings

from conceptnet_ml.runtime.signals import Stopper


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trust")
    noise_runs(root, "run")
    return root / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def changed(path: Path, change: Callable[[Any], object]) -> None:
    """Change what a JSON file holds."""
    content = json.loads(path.read_text())
    found = change(content)
    path.write_text(json.dumps(content if found is None else found))


def failure(code: int, *words: str | Path) -> str:
    done = call(*words)
    said = " ".join(done.stderr.split())
    assert done.returncode == code, said
    assert "bug:" not in said
    return said


# ------------------------------------------------------------------------------------------------ damage


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s["settings"].update(depth="x"), "settings.json is damaged: depth"),
        (lambda s: s["settings"].update(data=[]), "settings.json is damaged: data"),
        (lambda s: s["settings"].update(round=[]), "settings.json is damaged: round"),
        (lambda s: s["settings"]["probe"].update(new=1), "settings.json: this program has no setting 'probe.new'"),
        (lambda s: s.update(settings=5), "settings.json is damaged"),
    ],
)
def test_settings_that_no_run_has(run: Path, change: Callable[[Any], object], said: str) -> None:
    changed(run / "settings.json", change)
    for words in (
        ("evaluate", run),
        ("learn", "--resume", run),
        ("report", run),
        ("graph", "rename", run, "bright", "x"),
    ):
        assert said in failure(3, *words)


def test_a_settings_file_that_is_too_deep_or_too_long(tmp_path: Path) -> None:
    for content in ("depth=" + "[" * 5000, "depth=" + "1" * 5000):
        (tmp_path / "x.toml").write_text(content)
        assert "is not TOML" in failure(2, "learn", "--config", tmp_path / "x.toml", "--dry-run")


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(classes=m["classes"][::-1]),
        lambda m: m.update(classes=3, own_sha256=None),
        lambda m: m.update(networks={}, own_sha256=None),
        lambda m: m.update(families=[{}], own_sha256=None),
        lambda m: {name: value for name, value in m.items() if name not in ("networks", "own_sha256")},
        lambda m: m.update(image_size=["a", 3], own_sha256=None),
        lambda m: [],
    ],
)
def test_a_model_that_is_described_otherwise_answers_nothing(
    run: Path, finished: Path, change: Callable[[Any], object]
) -> None:
    changed(run / "model.json", change)
    picture = finished.parent / "photos" / "dark" / "0.png"
    for words in (("predict", run, picture), ("evaluate", run), ("graph", "check", run)):
        assert "model.json is damaged" in failure(3, *words)


def test_a_model_of_before_has_no_checksum_of_its_own(run: Path) -> None:
    changed(run / "model.json", lambda m: {name: value for name, value in m.items() if name != "own_sha256"})
    assert call("evaluate", run).returncode == 0


def test_a_graph_of_another_network_is_not_sound(run: Path) -> None:
    assert call("graph", "check", run).returncode == 0
    changed(run / "graph.json", lambda g: g["header"].update(network="0" * 16))
    assert "it is the graph of the network 0000000000000000, model.json has" in failure(3, "graph", "check", run)


@pytest.mark.parametrize("value", [True, 5, "text", [1], {"bright": 3}])
def test_a_graph_with_values_of_other_kinds(run: Path, value: object) -> None:
    changed(run / "graph.json", lambda g: g["nodes"][0].update(spectrum=value))
    assert "graph.json" in failure(3, "graph", "show", run)


@pytest.mark.parametrize(
    "content", ['[{"number": 1}]', "[3]", "{}7", "3", '{"a": 1}', "[" * 100_000, '[{"number": 1, "delta": []}]']
)
def test_a_damaged_log_of_edits(run: Path, content: str) -> None:
    (run / "edits").mkdir()
    (run / "edits" / "log.json").write_text(content)
    for words in (("log", run), ("undo", run), ("rename", run, "bright", "x")):
        assert "log.json is damaged" in failure(3, "graph", *words)


def test_steps_under_other_settings_are_not_taken_for_those_of_now(run: Path) -> None:
    (run / "DONE").unlink()
    changed(run / "settings.json", lambda s: s["settings"]["probe"].update(price=0.5))
    said = failure(3, "learn", "--resume", run)
    assert "settings.json was changed since the step 'ordinary' was computed" in said
    changed(run / "settings.json", lambda s: s["settings"]["probe"].pop("price"))


def test_steps_of_before_name_no_settings_and_are_taken(run: Path) -> None:
    from conceptnet_ml.storage.tensors import load_tree, save_tree

    (run / "DONE").unlink()
    for path in sorted((run / "steps").rglob("*.json")):
        tree = load_tree(path)
        assert len(tree.pop("settings")) == 16
        save_tree(path, tree)
    changed(run / "environment.json", lambda e: e.pop("data") and None)
    before = (run / "model.safetensors").read_bytes()
    done = call("learn", "--resume", run)
    assert done.returncode == 0, done.stderr
    assert (run / "model.safetensors").read_bytes() == before


def test_a_run_that_goes_on_elsewhere_says_so(run: Path) -> None:
    (run / "DONE").unlink()
    changed(run / "environment.json", lambda e: e.update(threads=64, torch="1.0"))
    said = " ".join(call("learn", "--resume", run).stderr.split())
    assert "warning: this run began with others: threads 64 → 1, torch 1.0 →" in said


# ------------------------------------------------------------------------------------------------ moves


def test_pictures_that_were_moved_are_known_again(run: Path, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished.parent / "photos", tmp_path / "there")
    changed(run / "settings.json", lambda s: s["settings"]["data"].update(source=f"folder:{tmp_path / 'gone'}"))
    assert "--data folder:PATH" in failure(3, "learn", "--resume", run)
    done = call("learn", "--resume", run, "--data", f"folder:{tmp_path / 'there'}")
    assert done.returncode == 0, done.stderr
    assert "and are the same" in done.stderr
    assert call("evaluate", run).returncode == 0
    noise_pictures(tmp_path / "others", {"bright": 150, "dark": 100}, 20, np.random.default_rng(1))
    said = failure(3, "learn", "--resume", run, "--data", f"folder:{tmp_path / 'others'}")
    assert "these are not the pictures that the run began with" in said
    changed(run / "environment.json", lambda e: e.pop("data") and None)
    said = failure(3, "learn", "--resume", run, "--data", f"folder:{finished.parent / 'photos'}")
    assert "does not say by what its pictures are known" in said


# ------------------------------------------------------------------------------------------------ code


PAYLOAD = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
import torch
def net(num_classes):
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(2))
def leave(num_classes):
    raise SystemExit(0)
"""


@pytest.mark.parametrize("backbone", ["payload_of_a_run:net", "os:abort", "nosuch.module:net"])
def test_a_run_of_someone_else_runs_no_code(run: Path, finished: Path, tmp_path: Path, backbone: str) -> None:
    (run / "payload_of_a_run.py").write_text(PAYLOAD)
    changed(run / "settings.json", lambda s: s["settings"]["network"].update(backbone=backbone))
    picture = finished.parent / "photos" / "dark" / "0.png"
    for words in (
        ("evaluate", "."),
        ("predict", ".", picture),
        ("adapt", "."),
        ("dream", ".", "--class", "dark", "--out", tmp_path / "d"),
        ("graph", "split", ".", "block3:1"),
        ("graph", "rename", ".", "bright", "x"),
        ("learn", "--resume", "."),
    ):
        done = call(*words, at=run)
        assert done.returncode == 3, done.stderr
        assert "that you have not named before" in done.stderr
        assert "--trust" in done.stderr
    assert not (run / "ran").exists()


def test_a_run_is_trusted_by_a_word_or_where_the_user_named_the_same_file(
    run: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from conceptnet_ml.config import trust

    monkeypatch.setattr(trust, "_here", set())
    monkeypatch.setattr(trust, "_all", [])
    monkeypatch.setattr(trust, "_file", lambda: tmp_path / "modules.json")
    (run / "payload_that_leaves.py").write_text(PAYLOAD)
    changed(run / "settings.json", lambda s: s["settings"]["network"].update(backbone="payload_that_leaves:leave"))
    done = call("evaluate", ".", "--trust", at=run)
    assert (run / "ran").exists()
    assert done.returncode == 2, "SystemExit(0) in it is an error"
    assert "failed: SystemExit" in done.stderr
    monkeypatch.setattr(trust, "_all", [])
    assert call("evaluate", ".", at=run).returncode == 3
    # named by the user: known from now on, also in another process
    words = ("--data", f"folder:{finished.parent / 'photos'}", "--backbone", "payload_that_leaves:leave")
    assert call("learn", *words, "--dry-run", at=run).returncode == 2
    monkeypatch.setattr(trust, "_here", set())
    assert "failed: SystemExit" in call("evaluate", ".", at=run).stderr
    # the same name elsewhere is another module
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "payload_that_leaves.py").write_text(PAYLOAD)
    assert call("evaluate", run, at=tmp_path / "else").returncode == 3


# ------------------------------------------------------------------------------------------------ names and output


def printed(run: Path, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command(*words), cwd=ROOT, env=surroundings() | variables, capture_output=True, timeout=100)


def test_names_cannot_steer_the_terminal(run: Path) -> None:
    evil = "\x9b31m\u202e\x7f"
    changed(run / "summary.json", lambda s: s.update(edits=[]))
    changed(run / "graph.json", lambda g: g["nodes"][0].update(note="x\u202ey"))
    for words in (("graph", "show", run, "--table"), ("graph", "query", run, "--json"), ("graph", "query", run)):
        out = call(*words).stdout
        assert "\u202e" not in out
        assert "\\u202e" in out or "--json" not in words  # a table may fold it
    said = failure(3, "predict", run, f"{evil}.jpg")
    assert said.isprintable()
    assert "\\x9b31m\\u202e\\x7f.jpg" in said


@pytest.mark.parametrize("encoding", ["cp1252"])
def test_output_never_fails_for_its_letters(run: Path, encoding: str) -> None:
    changed(run / "graph.json", lambda g: g["nodes"][0].update(note="φ ≥ 🚗"))
    for words in (("graph", "show", run), ("graph", "query", run, "--json")):
        done = printed(run, *words, PYTHONIOENCODING=encoding)
        assert done.returncode == 0, done.stderr
        text = done.stdout.decode(encoding)
        if "--json" in words:
            assert "φ ≥ 🚗" in [node.get("note") for node in json.loads(text)["nodes"]]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize("words", [("graph", "show"), ("graph", "query", "--json")])
def test_a_full_output_is_no_bug(run: Path, words: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command(*words[:2], run, *words[2:]), cwd=ROOT, env=surroundings(), stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 3
    assert done.stderr.decode().split("\n") == ["error: cannot write the output: no space left on device", ""]


@pytest.mark.skipif(os.name == "nt", reason="needs a shell that closes streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_a_shell_has_closed_are_no_bug(run: Path, closed: str) -> None:
    words = " ".join(f"'{word}'" for word in command("graph", "show", run))
    done = subprocess.run(["sh", "-c", f"{words} {closed}"], cwd=ROOT, env=surroundings(), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert bool(done.stdout) is (closed == "2>&-")


def test_what_an_edit_names_is_looked_up_before_torch_is_loaded(run: Path) -> None:
    code = (
        "import sys\nfrom conceptnet_ml.cli.main import app\n"
        "try:\n    app()\nexcept SystemExit as end:\n    print(end.code, 'torch' in sys.modules)"
    )
    words = [sys.executable, "-c", code, "graph", "forget", str(run), "nosuch"]
    done = subprocess.run(words, cwd=ROOT, env=surroundings(), capture_output=True, text=True, timeout=100)
    assert done.stdout == "2 False\n"
    assert "no node 'nosuch'" in done.stderr


def test_a_worker_of_a_bench_takes_no_library_from_the_folder_it_is_started_in(tmp_path: Path) -> None:
    from conceptnet_ml.bench.places import START

    (tmp_path / "json.py").write_text("raise SystemExit(99)")
    where = surroundings() | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", START]
    done = subprocess.run(words, cwd=tmp_path, env=where, input="", capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "JSONDecodeError" in done.stderr, "it began to read its order"


def test_what_networks_print_is_no_part_of_the_json(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from conceptnet_ml.results.learned_run import LearnedRun

    evaluate = LearnedRun.evaluate

    def chatty(opened: LearnedRun, *given: Any, **more: Any) -> dict[str, Any]:
        print("forward")
        return evaluate(opened, *given, **more)

    monkeypatch.setattr(LearnedRun, "evaluate", chatty)
    done = call("evaluate", run, "--json")
    assert json.loads(done.stdout)["run"] == str(run)
    assert "forward" in done.stderr
    assert "forward" in call("evaluate", run).stdout


def test_advice_after_a_bug_goes_on_with_the_run(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from conceptnet_ml.cli import main, options

    words = ["cli.py", "learn", "--data", "x", "--out", str(run), "--plugins-dir", "mine"]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr(options, "began", [run])
    assert main._again() == f"To see where: python cli.py --debug learn --plugins-dir mine --resume {run}"
    monkeypatch.setattr(options, "began", [tmp_path / "nothing was begun"])
    assert main._again() == f"To see where: python cli.py --debug {' '.join(words[1:])}"


@pytest.mark.parametrize(
    "words",
    [
        ("graph", "show", "LONG"),
        ("evaluate", "LONG"),
        ("report", "LONG"),
        ("predict", "RUN", "LONG.png"),
        ("learn", "--data", "folder:LONG", "--dry-run"),
        ("learn", "--data", "csv:LONG", "--dry-run"),
        ("learn", "--config", "LONG", "--dry-run"),
        ("learn", "--data", "folder:~nobody_at_all/x", "--dry-run"),
        ("learn", "--data", "csv:~nobody_at_all/x", "--dry-run"),
        ("learn", "--data", "folder:PHOTOS", "--out", "LONG", "--dry-run"),
        ("graph", "export", "RUN", "--out", "LONG.dot"),
        ("inspect", "LONG"),
    ],
)
def test_a_path_that_cannot_be_is_no_bug(finished: Path, words: tuple[str, ...]) -> None:
    names = {"RUN": str(finished), "PHOTOS": str(finished.parent / "photos"), "LONG": "x" * 5000}
    for name, path in names.items():
        words = tuple(word.replace(name, path) for word in words)
    done = call(*words)
    assert done.returncode in (2, 3), done.stderr
    assert "bug:" not in done.stderr


# ------------------------------------------------------------------------------------------------ signals


SIGNALS = pytest.mark.parametrize(("number", "code"), [(15, 143), (1, 129), (2, 130)], ids=["TERM", "HUP", "INT"])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@SIGNALS
def test_the_exit_code_is_that_of_the_signal(
    finished: Path, tmp_path: Path, number: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = Stopper.__enter__

    def enter(stopper: Stopper) -> Stopper:
        entered(stopper)
        os.kill(os.getpid(), number)
        return stopper

    monkeypatch.setattr(Stopper, "__enter__", enter)
    words = ("learn", "--data", f"folder:{finished.parent / 'photos'}", "--out", tmp_path / "run")
    if code == 130:
        with pytest.raises(KeyboardInterrupt):
            call(*words)
    else:
        assert call(*words).returncode == code


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@SIGNALS
def test_a_stopped_program_says_by_which_signal(finished: Path, tmp_path: Path, number: int, code: int) -> None:
    photos = f"folder:{finished.parent / 'photos'}"
    words = command("learn", "--data", photos, "--set", "training.epochs=5000", "--out", tmp_path / "run")
    at_work = subprocess.Popen(words, cwd=ROOT, env=surroundings(), stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not (tmp_path / "run" / "settings.json").exists() and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.5)
    at_work.send_signal(number)
    said = at_work.communicate(timeout=60)[1]
    assert at_work.returncode == code, said
    assert f"learn --resume {tmp_path / 'run'}" in said
    assert not [path.name for path in (tmp_path / "run").rglob(".*")]
    assert not (tmp_path / "run" / "lock.owner").exists()
