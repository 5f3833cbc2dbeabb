"""The script for cards, on a CPU: every part has figures, one that fails stops no other, wrong inputs are refused."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gpu
import numpy as np
import pytest
import torch
import torchvision
from commands import noise_pictures
from gpu_parts import Bench, Row, limited, outcome

from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_plugins.backbones.small import SmallNet

CPU = torch.device("cpu")


def read(out: Path) -> dict[str, Any]:
    """The report, which must be JSON in the strict sense."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads((out / "gpu.json").read_text(), parse_constant=refuse)


def start(*words: str | Path) -> tuple[int, str]:
    """The exit code and what was printed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = gpu.main(["--device", "cpu", "--quick", *map(str, words)])
    return code, printed.getvalue()


# ------------------------------------------------------------------------------------------------ the quick run


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A whole quick run, and what it printed."""
    out = tmp_path_factory.mktemp("gpu") / "out"
    code, printed = start("--out", out)
    assert code == 0, printed
    return out, printed


def test_every_part_has_figures(quick: tuple[Path, str]) -> None:
    report = read(quick[0])
    assert {"torch", "processor", "commit", "sources", "device"} <= set(report["environment"])
    assert [part["part"] for part in report["parts"]] == list(gpu.PARTS)
    found = {part["part"]: {row["what"]: row for row in part["rows"]} for part in report["parts"]}
    assert all(part["outcome"] == "done" for part in report["parts"])
    for name, rows in found.items():
        assert rows, name
        for row in rows.values():
            assert ("value" in row) != ("note" in row)
            assert row.get("low", -math.inf) <= row.get("value", 0) <= row.get("high", math.inf)
    assert all(row["value"] == 0 and row["limit"] > 0 for row in found["agreement"].values()), (
        "a CPU agrees with itself"
    )
    assert {"test: ordinary", "test: learned", "conflict: learned", "time: ordinary"} <= set(found["learn"])
    for part, last in (("throughput", "bare"), ("dreams", "floor")):
        ratios = [row for what, row in found[part].items() if what.endswith(f"ours to {last}")]
        assert ratios
        assert all(0 < row["low"] < math.inf for row in ratios)
    assert "--bar" in found["pretrained"]["left out"]["note"]
    kinds = {what.partition(":")[0] for what in found["amp"]}
    assert kinds == {f"{kind}, {memory}" for kind in ("fp32", "bf16") for memory in ("contiguous", "channels_last")}
    notes = [row["note"] for row in found["oom"].values() if "note" in row]
    assert len(notes) == 4
    assert all(note.startswith(("ends: ", "goes on, ")) for note in notes)


def test_the_table_says_what_the_json_says(quick: tuple[Path, str]) -> None:
    out, printed = quick
    report, text = read(out), (out / "gpu.md").read_text()
    assert text == gpu.table(report)
    assert text in printed
    lines = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("| |")]
    rows = [row for part in report["parts"] for row in part["rows"]]
    assert len(lines) == len(rows)
    for cells, row in zip(lines, rows, strict=True):
        assert cells[2] == row["what"]
        shown = f"{row['value']:.4g}" if "value" in row else row["note"]
        assert cells[3] == shown


def test_each_part_says_when_it_begins_and_ends(quick: tuple[Path, str]) -> None:
    for name in gpu.PARTS:
        assert re.search(rf"^{name} …\n{name}: done, \d+\.\d s$", quick[1], re.MULTILINE)


@pytest.mark.slow
def test_a_resnet_50_with_given_weights_learns_a_folder(tmp_path: Path) -> None:
    noise_pictures(tmp_path / "bar", {"blue": (60, 60, 160), "red": (160, 60, 60)}, 24, np.random.default_rng(0), 40)
    torch.save(torchvision.models.resnet50().state_dict(), tmp_path / "weights.pt")
    given = ("--bar", tmp_path / "bar", "--weights", tmp_path / "weights.pt")
    code, printed = start("--only", "pretrained", *given, "--out", tmp_path / "out")
    assert code == 0, printed
    (part,) = read(tmp_path / "out")["parts"]
    assert part["rows"][0] == {"what": "weights", "note": "weights.pt"}
    assert "test: ordinary" in [row["what"] for row in part["rows"]]
    assert json.loads((tmp_path / "out/pretrained/summary.json").read_text())["classes"] == ["blue", "red"]


# ------------------------------------------------------------------------------------------------ parts that fail


def breaks(bench: Bench) -> Iterator[Row]:
    yield Row("before", 1.0)
    raise ValueError("a pipe | in it")


def strays(bench: Bench) -> Iterator[Row]:
    yield Row("near", 0.5, limit=1.0)
    yield Row("far", math.nan, limit=1.0)


def works(bench: Bench) -> Iterator[Row]:
    yield Row.of("speed", [3.0, 1.0, 2.0], "images/s")


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "PARTS", {"breaks": breaks, "strays": strays, "works": works})


@pytest.mark.usefixtures("parts")
def test_a_part_that_fails_keeps_what_it_had_and_stops_no_other(tmp_path: Path) -> None:
    code, printed = start("--out", tmp_path / "out")
    assert code == 1
    broken, stray, working = read(tmp_path / "out")["parts"]
    assert broken["outcome"] == "failed: ValueError: a pipe | in it"
    assert "in breaks" in broken["traceback"]
    assert broken["rows"] == [{"what": "before", "value": 1.0}]
    assert stray["outcome"] == "beyond its limit: far"
    assert stray["rows"][1]["value"] is None
    assert working["rows"] == [{"what": "speed", "value": 2.0, "unit": "images/s", "low": 1.0, "high": 3.0}]
    assert "a pipe \\| in it" in printed
    assert "not finite" in printed


@pytest.mark.usefixtures("parts")
def test_only_some_parts_in_their_order_and_none_after_the_budget(tmp_path: Path) -> None:
    code, _ = start("--only", "works", "--only", "breaks", "--out", tmp_path / "some")
    assert (code, [part["part"] for part in read(tmp_path / "some")["parts"]]) == (1, ["breaks", "works"])
    code, printed = start("--budget", "0", "--out", tmp_path / "none")
    assert code == 0
    assert {part["outcome"] for part in read(tmp_path / "none")["parts"]} == {"not run: out of time"}
    assert "works: not run: out of time" in printed


# ------------------------------------------------------------------------------------------------ wrong inputs


@pytest.mark.usefixtures("parts")
def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    assert gpu.main(["--device", "cpu", "--out", str(tmp_path)]) == 3
    assert "is not empty: kept.txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_nothing_is_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--device", "cuda", "--out", str(tmp_path / "out")]) == 2
    assert "cannot be used" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "mps"], "invalid choice"),
        (["--only", "everything"], "invalid choice"),
        (["--pictures", "absent"], "--pictures: absent does not exist"),
        (["--bar", "absent"], "--bar: absent does not exist"),
        (["--weights", __file__], "give both"),
        (["--budget", "much"], "invalid float"),
    ],
)
def test_wrong_options_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        gpu.main([*words, "--out", "absent-too"])
    assert message in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ too little memory


def test_it_is_seen_whether_a_work_halves_its_batch() -> None:
    network, images = StagedNetwork(SmallNet(2, (16, 16)), (16, 16)).eval(), torch.rand(8, 3, 16, 16)

    def halves() -> None:
        try:
            network(images)
        except torch.OutOfMemoryError:
            for part in images.split(4):
                network(part)

    assert outcome(CPU, network, halves, 8) == "goes on, in batches of 4 to 8"
    assert outcome(CPU, network, lambda: network(images), 8) == "ends: OutOfMemoryError"
    network(images)  # nothing is left behind


def test_a_card_is_given_back_all_of_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda *device: None)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=100))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, device: shares.append(share))
    with pytest.raises(torch.OutOfMemoryError), limited(torch.device("cuda"), 20):
        raise torch.OutOfMemoryError
    with limited(torch.device("cuda")):
        pass
    assert shares == [0.5, 1.0, 1.0, 1.0]
