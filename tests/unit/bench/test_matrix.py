"""Recovery, harm, worst groups, gaps of several cues, and the matrix that shows them."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from conceptnet_ml import load_plugins
from conceptnet_ml.bench import plots, report, worker
from conceptnet_ml.bench.cases import LEARNED, MATRIX, ORDINARY, BenchTarget, Suite, read_suite
from conceptnet_ml.bench.cells import DONE, CellStore, cell_path
from conceptnet_ml.bench.intervals import spread, summarize
from conceptnet_ml.bench.results import collect_results, gaps, join_results, rooms, values_of
from conceptnet_ml.bench.runner import check_suite
from conceptnet_ml.errors import DataError, SettingsError
from conceptnet_ml.storage.files import pretty, write_atomic

PLUGINS = load_plugins(use_entry_points=False)
CEILING = "unbiased"


def record(planted: bool = True, **methods: dict[int, dict[str, float]]) -> dict[str, Any]:
    """A case as the results have it, from accuracies by method, seed and test set."""
    cells = [
        {
            "method": method,
            "seed": seed,
            "state": DONE,
            "test_sets": {name: {"accuracy": value} for name, value in sets.items()},
        }
        for method, seeds in methods.items()
        for seed, sets in seeds.items()
    ]
    names = dict.fromkeys(name for cell in cells for name in cell["test_sets"])  # type: ignore[attr-defined]
    headline = "conflict" if planted else "test"
    return {"cells": cells, "headline": headline, "ceiling": CEILING, "planted": planted, "test_sets": list(names)}


def conflict(*values: float) -> dict[int, dict[str, float]]:
    return {seed: {"conflict": value} for seed, value in enumerate(values)}


# ------------------------------------------------------------------------------------------------ arithmetic


def test_recovery_is_the_share_of_the_room_of_each_seed() -> None:
    case = record(ordinary=conflict(0.1, 0.2), learned=conflict(0.8, 0.1), unbiased=conflict(0.9, 0.6))
    assert values_of(case, LEARNED, "recovery", None, None) == pytest.approx({0: 0.7 / 0.8, 1: -0.1 / 0.4})
    assert rooms(case) == pytest.approx({0: 80, 1: 40})
    assert set(values_of(case, ORDINARY, "recovery", None, None).values()) == {0}
    assert set(values_of(case, CEILING, "recovery", None, None).values()) == {1}


def test_recovery_needs_all_three_cells_of_a_seed_and_two_points_of_room() -> None:
    case = record(
        ordinary=conflict(0.5, 0.5, 0.5, 0.95), learned=conflict(0.6, 0.6, 0.6, 0.96), unbiased=conflict(0.9, 0.9)
    )
    case["cells"] += record(unbiased={3: {"conflict": 0.96}})["cells"]
    case["cells"] = [cell for cell in case["cells"] if (cell["method"], cell["seed"]) != (LEARNED, 1)]
    assert values_of(case, LEARNED, "recovery", None, None) == pytest.approx({0: 0.25})
    assert rooms(case) == pytest.approx({0: 40, 1: 40, 3: 1})


def test_harm_is_what_is_lost_on_the_plain_test_where_nothing_was_planted() -> None:
    tests = {"ordinary": {0: {"test": 0.95}, 1: {"test": 0.9}}, "learned": {0: {"test": 0.91}, 2: {"test": 0.9}}}
    plain = record(planted=False, **tests)
    assert values_of(plain, LEARNED, "harm", None, None) == pytest.approx({0: 4})
    assert values_of(plain, LEARNED, "recovery", None, None) == rooms(plain) == {}
    assert values_of(record(**tests), LEARNED, "harm", None, None) == {}


def test_gaps_are_the_points_lost_where_one_cue_is_in_conflict_and_where_all_are() -> None:
    sets = {"aligned": 0.95, "conflict:wheels": 0.8, "conflict:tint": 0.9, "conflict": 0.6}
    found = gaps(record(learned={0: sets, 1: sets}), LEARNED)
    assert {name: one["mean"] for name, one in found.items()} == pytest.approx(
        {"I.D.": 95, "wheels": 15, "tint": 5, "all": 35}
    )
    assert gaps(record(learned={0: {"aligned": 0.9, "conflict": 0.1}}), LEARNED) == {}


def test_three_seeds_have_a_range_and_five_an_interval() -> None:
    assert [spread(count) for count in (2, 3, 4, 5, 8)] == ["range"] * 3 + ["95 % interval"] * 2
    four, five = summarize([0.0, 1.0, 2.0, 9.0]), summarize([0.0, 1.0, 2.0, 9.0, 9.0])
    assert (four["low"], four["high"]) == (0, 9)
    assert (five["low"], five["high"]) != (0, 9)


def test_words_of_targets() -> None:
    words = [
        BenchTarget(measure="recovery", at_least=0.9).words(),
        BenchTarget(measure="harm", at_most=1).words(),
        BenchTarget(measure="worst", within=3, of=CEILING).words(),
    ]
    assert words == ["recovery ≥ 0.9", "harm in points ≤ 1", "worst group within 3 of unbiased"]


# ------------------------------------------------------------------------------------------------ the file

TABLE = """
methods = ["ordinary", "learned", "unbiased"]
ks = [0]
draws = 1
[[targets]]
measure = "recovery"
at_least = 0.5
[[targets]]
measure = "harm"
at_most = 1
[matrix]
traps = ["none", "wheels", "wheels+tint"]
exceptions = [0, 0.05]
data.signs = { source = "glyphs:2", train_limit = 24 }
data.mine = { source = "folder:{mine}" }
[[matrix.rules]]
at = { trap = "!none", data = "mine" }
[[matrix.rules]]
at = { trap = ["wheels*", "!wheels"], exceptions = "0.05" }
settings = { training.epochs = 3, data.train_limit = 30 }
"""


def suite_of(tmp_path: Path, text: str = TABLE, **more: Any) -> Suite:
    (tmp_path / "mine.toml").write_text(text)
    return read_suite(tmp_path / "mine.toml", **more)


def test_a_matrix_crosses_its_axes_but_for_its_rules(tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    names = [f"{trap}/{share}/signs/small" for trap in ("wheels", "wheels+tint") for share in ("0", "0.05")]
    assert [case.name for case in suite.cases] == ["none/0/signs/small", "none/0/mine/small", *names]
    none, mine, *_, last = suite.cases
    assert (none.planted, last.planted, mine.missing, last.marks) == (False, True, ("mine",), ("training.epochs=3",))
    assert (last.settings.data.exceptions, last.settings.data.train_limit) == (0.05, 30)
    assert [target.words() for target in none.targets] == ["harm in points ≤ 1"]
    assert [target.words() for target in last.targets] == ["recovery ≥ 0.5"]
    assert [case.name for case in suite.only(["wheels*/0.05/*"]).cases] == [names[1], names[3]]
    assert len(suite_of(tmp_path, backbones=["small", "small:2"]).cases) == 12
    with pytest.raises(SettingsError, match=r"no case 'tint/\*'"):
        suite.only(["tint/*"])
    with pytest.raises(SettingsError, match=r"--backbone: mine.toml has no \[matrix\]"):
        suite_of(tmp_path, "[cases.a]", backbones=["small"])
    with pytest.raises(SettingsError, match=r"matrix.rules.0.at.trop"):
        suite_of(tmp_path, TABLE.replace("at = { trap", "at = { trop", 1))
    with pytest.raises(SettingsError, match=r"case 'wheels/0.7/.*data.exceptions"):
        suite_of(tmp_path, TABLE.replace("0.05]", "0.7]"))


def test_the_shipped_matrix_is_sound(tmp_path: Path) -> None:
    suite = read_suite(MATRIX, {name: str(tmp_path) for name in ("pictures", "cifar", "mnist")})
    assert not [case for case in suite.cases if case.missing or case.marks]
    assert len(suite.cases) == 5 + 15 * 4 * 4 + 4
    assert check_suite(suite.only(["*/0.1/*", "none/*"]), PLUGINS) == ("ordinary", "learned", "unbiased")
    drawings = [case for case in read_suite(MATRIX).cases if not case.missing]
    assert {case.place["data"] for case in drawings} == {"drawings"}


# ------------------------------------------------------------------------------------------------ the picture


def stored(suite: Suite, store: CellStore, trap: str, seed: int, method: str, **sets: float) -> None:
    """Put a finished cell with these accuracies on the signs into the store."""
    (case,) = suite.only([f"{trap}/0/signs/small"]).cases
    cell = record(**{method: {seed: sets}})["cells"][0]
    origin = dict.fromkeys(("commit", "sources", "package", "torch", "python", "device"), "x")
    more = {"version": 1, "case": case.name, "ks": list(suite.ks), "draws": suite.draws, "date": "2020", "notes": []}
    cost = {"cost": {"seconds": 1.0, "times_ordinary": 1.0, "partial": False}, "peak_memory_gib": 1.0}
    write_atomic(cell_path(store.folder(case, seed), method), pretty({**cell, **more, **cost, "origin": origin}))


def test_the_score_stands_first_and_the_picture_tells_three_kinds_of_cells(tmp_path: Path) -> None:
    suite, store = suite_of(tmp_path), CellStore(tmp_path / "out")
    for seed in range(3):
        for method, accuracy in ((ORDINARY, 0.5), (LEARNED, 0.86), (CEILING, 0.9)):
            stored(suite, store, "wheels", seed, method, test=0.9, conflict=accuracy)
            stored(suite, store, "wheels+tint", seed, method, test=0.9, conflict=0.9 + accuracy / 100)
        stored(suite, store, "none", seed, ORDINARY, test=0.95)
        stored(suite, store, "none", seed, LEARNED, test=0.925)
    results = collect_results(suite, store, suite.methods or (), PLUGINS, {})
    files = report.write_report(results, tmp_path / "report")
    text = files["md"].read_text()
    assert text.startswith("# Matrix\n\nCells that reach the targets:")
    assert "| harm in points ≤ 1 | 0 | 1 | 0 | 0 |" in text
    assert "| recovery ≥ 0.5 | 1 | 0 | 1 | 2 |" in text
    assert "| 0.90 [0.90, 0.90] |" in text
    assert "| – (unbiased − ordinary: 0.4 [0.4, 0.4]) |" in text
    assert "| harm 2.5 [2.5, 2.5] |" in text
    picture = Image.open(io.BytesIO(files["png"].read_bytes())).convert("RGB")
    assert picture.width == 1200
    colours = {colour for _, colour in picture.getcolors(1 << 24)}
    assert (0xDD, 0xDD, 0xDD) in colours, "what is not measured is grey"
    svg = files["svg"].read_text()
    assert svg == plots.draw_results(json.loads(files["json"].read_text()))["svg"].decode()
    assert "<pattern id=" in svg, "what has no meaning is hatched"


def test_what_was_measured_apart_is_one_picture(tmp_path: Path) -> None:
    suite, files = suite_of(tmp_path), []
    for name, accuracy in (("first", 0.6), ("again", 0.7)):
        store = CellStore(tmp_path / name)
        stored(suite, store, "wheels", 0, LEARNED, test=0.9, conflict=accuracy)
        if name == "first":
            stored(suite, store, "none", 0, LEARNED, test=0.9)
        chosen = suite.only(["*/0/signs/small"] if name == "first" else ["wheels/0/signs/small"])
        results = collect_results(chosen, store, (LEARNED,), PLUGINS, {})
        files.append(report.write_report(results, tmp_path / name, plot=False)["json"])
    joined = join_results(files)
    cases = {case["name"]: case for case in joined["cases"]}
    assert cases["wheels/0/signs/small"]["table"][LEARNED]["conflict"]["mean"] == 70, "the last one counts"
    assert cases["none/0/signs/small"]["table"][LEARNED]["test"]["mean"] == 90
    assert (joined["what"]["commits"], joined["what"]["measured"]) == (["x"], ["2020", "2020"])
    assert len(report.write_report(joined, tmp_path / "joined")) == 4
    there = {("tint", "0.05"), ("wheels", "0"), ("wheels", "0.05")}
    rows = plots._spaced(["tint", "wheels"], ["0", "0.05"], there)
    space = plots.SPACE
    assert rows == {("tint", "0.05"): 0, ("wheels", "0"): 1 + space, ("wheels", "0.05"): 2 + space}, "no empty rows"
    found = json.loads(files[1].read_text())
    for changes, message in (({"draws": 3}, "has draws 3"), ({"settings": {"depth": "2"}}, "has settings")):
        files[1].write_text(json.dumps({**found, "what": {**found["what"], **changes}}))
        with pytest.raises(SettingsError, match=message):
            join_results(files)
    for text, message in (("{}", "is damaged"), (json.dumps({**found, "schema": "other"}), "not of a bench")):
        files[1].write_text(text)
        with pytest.raises(DataError, match=message):
            join_results(files)


def test_a_tiny_matrix_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = ["training.epochs=1", "training.least_steps=0", "training.above_chance=false", "training.batch=16"]
    quick += ["round.limit=1", "round.epochs=1", "probe.steps=1"]
    quick += ["plugins.representations=colour", "plugins.dreamer=none", "concepts.bootstrap=10", "device=cpu"]
    suite = suite_of(tmp_path, assignments=quick).only(["wheels+tint/0/*"], seeds="1")
    store = CellStore(tmp_path / "out")
    for group in store.groups(suite, suite.methods or ()):
        order = worker.order(suite, group, store.begin(group), None, True)
        reader, writer = os.pipe()
        with os.fdopen(writer, "w") as parent:
            print(json.dumps(order), file=parent, flush=True)
            monkeypatch.setattr(sys, "stdin", os.fdopen(reader))
            assert worker.main() == 0
    results = collect_results(suite, store, suite.methods or (), PLUGINS, {})
    (case,) = results["cases"]
    assert {cell["method"]: cell["state"] for cell in case["cells"]} == dict.fromkeys(suite.methods or (), DONE)
    assert {"conflict:wheels", "conflict:tint"} < set(case["test_sets"])
    assert (case["worst_set"], set(case["worst"])) == ("random", set(suite.methods or ()))
    for method, found in case["gaps"].items():
        assert list(found) == ["I.D.", "tint", "wheels", "all"]
        lost = case["table"][method]["aligned"]["mean"] - case["table"][method]["conflict:tint"]["mean"]
        assert found["tint"]["mean"] == pytest.approx(lost)
    assert "## Several cues" in report.to_markdown(results)
