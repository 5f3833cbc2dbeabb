"""``torchrun --nproc-per-node 2 cli.py learn``: the run of one process, by two that talk by gloo."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from commands import COARSE, ROOT, command, surroundings

CONFIG = f"""
[training]
epochs = 6
precision = "fp32"
least_steps = 0
rate = 0.02
warm_rate = 0.02
[round]
limit = 1
epochs = 3
[probe]
steps = 8
view_steps = 4
[plugins]
representations = ["colour", "pixels"]
controls = []
[dreams]
steps = 2
megapixels = 0.02
witness = false
{COARSE}
"""
WORDS = ("--data", "glyphs:2", "--set", "data.train_limit=160", "--trap", "tint")
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ranks")
    (root / "quick.toml").write_text(CONFIG)
    return root


def alone(*words: str | Path) -> None:
    done = subprocess.run(command("learn", *words), cwd=ROOT, env=surroundings(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def start(*words: str | Path, count: int = 2, others: Sequence[str | Path] = ()) -> list[subprocess.Popen[str]]:
    """So many ranks of one command, as torchrun starts them; all but the first are given other words, if any."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(count)}
    return [
        subprocess.Popen(
            command("learn", *(others if number and others else words)),
            cwd=ROOT,
            env=surroundings() | where | {"RANK": str(number), "LOCAL_RANK": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]


def ended(ranks: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Exit code, output and messages of each."""
    told = [rank.communicate(timeout=1200) for rank in ranks]
    return [(rank.returncode, *texts) for rank, texts in zip(ranks, told, strict=True)]


def read(run: Path, name: str) -> Any:
    return json.loads((run / name).read_text())


def assert_same_run(one: Path, two: Path) -> None:
    """The same decisions, on figures that are the same to rounding; the same nodes and edges of the graph."""
    summaries = [read(run, "summary.json") for run in (one, two)]
    for mine, other in zip(*(summary["rounds"] for summary in summaries), strict=True):
        assert (mine["name"], mine["decision"], mine["chosen"]) == (other["name"], other["decision"], other["chosen"])
        assert mine["r_after"] == pytest.approx(other["r_after"], abs=0.1)
    for name, row in summaries[0]["test_sets"].items():
        for network in ("ordinary", "learned"):
            same = summaries[1]["test_sets"][name][network]["accuracy"]
            assert row[network]["accuracy"] == pytest.approx(same, abs=0.03), (name, network)
    graphs = [read(run, "graph.json") for run in (one, two)]
    nodes = [{(node["id"], node["kind"], node["label"]) for node in graph["nodes"]} for graph in graphs]
    edges = [{(edge["source"], edge["target"], edge["kind"]) for edge in graph["edges"]} for graph in graphs]
    assert nodes[0] == nodes[1]
    assert edges[0] == edges[1]


@pytest.mark.slow
@posix
def test_two_ranks_give_the_run_of_one_and_another_number_goes_on(folder: Path) -> None:
    given = ["--config", folder / "quick.toml", *WORDS]
    alone(*given, "--out", folder / "one")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    words = [*map(str, given), "--out", str(folder / "two")]
    done = subprocess.run(
        [*torchrun, "cli.py", "learn", *words], cwd=ROOT, env=surroundings(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("The run is in") == 1
    assert done.stderr.count("load images…") == 1
    assert_same_run(folder / "one", folder / "two")

    ranks = start(*given, "--out", folder / "stopped")
    assert ranks[0].stderr is not None
    for line in ranks[0].stderr:
        if "train the ordinary network" in line:
            ranks[1].send_signal(signal.SIGINT)  # the other one hears of it
            break
    (code, out, err), (other, silent, quiet) = ended(ranks)
    assert (code, other) == (130, 130), err + quiet
    assert (out, silent, quiet.strip()) == ("", "", "")
    assert "Go on with" in err
    assert not (folder / "stopped" / "DONE").exists()
    alone("--resume", folder / "stopped")
    assert_same_run(folder / "one", folder / "stopped")


@pytest.mark.slow
def test_ranks_that_do_not_fit_together_are_refused(folder: Path) -> None:
    given = ["--config", folder / "quick.toml", *WORDS, "--out", folder / "none"]
    cases = [
        (start(*given, "--set", "training.batch=33"), "training.batch 33 cannot be cut into 2 equal parts"),
        (start(*given, others=[*given, "--seed", "1"]), "rank 1 has other settings than rank 0"),
    ]
    for ranks, message in cases:
        (code, _, told), (other, _, silent) = ended(ranks)
        assert (code, other) == (2, 2), told + silent
        assert message in told
        assert silent == ""
        assert not (folder / "none").exists()
