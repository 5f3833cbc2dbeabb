"""The bench's parts by themselves: cases, intervals, commits, verdicts, tables and the plot."""

from __future__ import annotations

import importlib
import io
import itertools
import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from conceptnet_ml import load_plugins
from conceptnet_ml.bench import origin, plots, report
from conceptnet_ml.bench.cases import LEARNED, ORDINARY, SHIPPED, Suite, parse_seeds, read_suite
from conceptnet_ml.bench.cells import DONE, FAILED, LEFT_OUT, TO_DO, CellGroup, CellStore, cell_path, save_cell
from conceptnet_ml.bench.intervals import interval, overlap, sign_flips, summarize
from conceptnet_ml.bench.places import threads_for
from conceptnet_ml.bench.plan import cell_states, plan_bench
from conceptnet_ml.bench.report import to_markdown
from conceptnet_ml.bench.results import collect_results, counts
from conceptnet_ml.bench.runner import check_suite
from conceptnet_ml.errors import ConceptNetError, DataError, SettingsError
from conceptnet_ml.storage.files import pretty, write_atomic

METHODS = (ORDINARY, LEARNED, "cutmix", "unbiased")


def suite_of(tmp_path: Path, text: str, **folders: str) -> Suite:
    (tmp_path / "mine.toml").write_text(text)
    return read_suite(tmp_path / "mine.toml", folders)


def cell(suite: Suite, seed: int, method: str, times: float = 1.0, **sets: float) -> dict[str, Any]:
    """A finished cell with these accuracies."""
    return {
        "version": 1,
        "case": suite.cases[0].name,
        "seed": seed,
        "method": method,
        "state": DONE,
        "ks": list(suite.ks),
        "draws": suite.draws,
        "date": "2020-01-01T00:00:00+00:00",
        "origin": {"commit": "c" * 40, "sources": "s", "package": "0", "torch": "2", "python": "3", "device": "cpu"},
        "test_sets": {name: {"images": 100, "accuracy": value} for name, value in sets.items()},
        "cost": {"seconds": 10 * times, "times_ordinary": times, "partial": False},
        "peak_memory_gib": 1.0,
        "notes": [],
    }


@pytest.fixture
def measured(tmp_path: Path) -> tuple[Suite, CellStore]:
    """Three seeds: cutmix's interval overlaps the learner's, unbiased is above, ordinary below."""
    suite = suite_of(
        tmp_path,
        """
        seeds = 3
        [cases.wheels]
        data = { source = "cars-and-poodles", trap = "wheels" }
        targets = [{ test_set = "conflict", at_least = 90 }, { test_set = "aligned", within = 1, of = "ordinary" },
                   { measure = "cost", kept = 1, at_most = 2.5 }, { measure = "turned", k = 8, at_least = 95 }]
        """,
    )
    store = CellStore(tmp_path / "out")
    figures = {
        ORDINARY: ((0.10, 0.99), (0.12, 0.99), (0.11, 0.99)),
        LEARNED: ((0.90, 0.96), (0.94, 0.97), (0.92, 0.95)),
        "cutmix": ((0.89, 0.9), (0.91, 0.9), (0.87, 0.9)),
        "unbiased": ((0.95, 0.9), (0.96, 0.9), (0.97, 0.9)),
    }
    for method, rows in figures.items():
        for seed, (conflict, aligned) in enumerate(rows):
            record = cell(suite, seed, method, times=2.0 + seed, conflict=conflict, aligned=aligned)
            if method == LEARNED:
                kept = [{"decision": "kept"}] if seed < 2 else [{"decision": "kept"}] * 2
                one = {"representation": "pixels", "phi": 0.9, "iota": 0.8}
                more = {"name": "top/1", "chosen": "pixels", "r_before": 1.0, "r_after": 0.9, "representations": [one]}
                record["rounds"] = [more | entry for entry in kept]
            write_atomic(cell_path(store.folder(suite.cases[0], seed), method), pretty(record))
    return suite, store


# ------------------------------------------------------------------------------------------------ cases


def test_the_shipped_cases_are_sound_and_differ_in_their_data_alone(tmp_path: Path) -> None:
    suite = read_suite(None, {name: str(tmp_path) for name in ("pictures", "cifar", "mnist")})
    assert [case.name for case in suite.cases if case.marks] == ["cars-and-poodles, depth 2"]
    assert not any(case.missing for case in suite.cases)
    assert set(METHODS) <= set(check_suite(suite, load_plugins()))
    for case in suite.cases:
        assert case.settings.plugins == suite.cases[0].settings.plugins
        assert case.with_seed(7).seed == 7
    wheels = next(case for case in suite.cases if case.name == "wheels")
    assert wheels.settings.data.source == f"folder:{tmp_path.resolve()}"
    assert wheels.changes == {"data.source": "folder:{pictures}", "data.trap": "wheels"}
    assert "conflict ≥ 94" in [target.words() for target in wheels.targets]


def test_a_case_whose_pictures_are_not_given_is_left_out(tmp_path: Path) -> None:
    suite = read_suite(SHIPPED, {"pictures": str(tmp_path)})
    missing = {case.name: case.missing for case in suite.cases}
    assert missing["wheels"] == ()
    assert missing["dominoes"] == ("cifar", "mnist")
    rows = cell_states(suite, CellStore(tmp_path / "out"), check_suite(suite, load_plugins()))
    assert {row["state"] for row in rows if row["case"] == "dominoes"} == {"left out"}
    assert {row["state"] for row in rows if row["case"] == "wheels"} == {"to do"}
    with pytest.raises(DataError, match="no case can be measured"):
        check_suite(read_suite(SHIPPED).only(["wheels"]), load_plugins())


def test_a_protocol_without_its_data_names_the_folder_and_where_to_get_it(tmp_path: Path) -> None:
    field = Path(__file__).parents[3] / "benchmarks" / "field.toml"
    with pytest.raises(DataError, match="no case can be measured") as caught:
        check_suite(read_suite(field).only(["bar"]), load_plugins())
    assert caught.value.mend.startswith("Give --folder bar=FOLDER. --folder bar=FOLDER: Biased Action Recognition, ")
    with pytest.raises(DataError, match=r"--folder bar=\S+absent: there is no folder") as caught:
        read_suite(field, {"bar": str(tmp_path / "absent")})
    assert "from https://github.com/alinlab/BAR" in caught.value.mend


def test_settings_are_dotted_or_nested_and_those_beyond_the_data_are_marked(tmp_path: Path) -> None:
    text = """
    seeds = [4, 1]
    ks = [8, 0]
    settings.training.epochs = 3
    [cases.a]
    data.train_limit = 50
    [cases.b]
    "probe.steps" = 4
    training = { epochs = 5, batch = 16 }
    """
    suite = suite_of(tmp_path, text)
    first, second = suite.cases
    assert (first.settings.training.epochs, first.settings.data.train_limit, first.marks) == (3, 50, ())
    assert set(second.marks) == {"probe.steps=4", "training.epochs=5", "training.batch=16"}
    assert (suite.seeds, suite.ks, suite.common) == ((4, 1), (0, 8), {"training.epochs": 3})
    over = read_suite(tmp_path / "mine.toml", None, ["training.epochs=1"])
    assert [case.settings.training.epochs for case in over.cases] == [1, 1]
    assert suite.only(["b"], ["learned"], "2").cases == (second,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds = 3", "cases"),
        ("[cases.a]\ndata.trpa = 'x'", "case 'a': .*no setting 'data.trpa'"),
        ("[cases.a]\ndepth = 0", "case 'a': .*not allowed"),
        ("[cases.a]\nseed = 1", "sets a seed"),
        ("[cases.a]\ntargets = [{ at_least = 3 }]", "needs test_set"),
        ("[cases.a]\ntargets = [{ test_set = 'x' }]", "one of at_least, at_most and within"),
        ("[cases.a]\ntargets = [{ test_set = 'x', within = 1 }]", "go together"),
        ("seeds = 0\n[cases.a]", "no seeds"),
        ("ks = [-1]\n[cases.a]", "ks"),
        ("metods = []\n[cases.a]", "metods"),
        ("[cases.a", "not TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        suite_of(tmp_path, text)


def test_wrong_names_are_refused_before_anything_runs(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, "[cases.a]\n[cases.b]\ndata.trap = 'wheel'")
    with pytest.raises(SettingsError, match="no case 'c'"):
        suite.only(["c"])
    with pytest.raises(SettingsError, match=r"method named|no method 'cutmx'"):
        check_suite(suite.only(["a"], ["cutmx"]), load_plugins())
    with pytest.raises(SettingsError, match=r"case 'b'.*trap"):
        check_suite(suite, load_plugins())
    with pytest.raises(DataError, match="--pictures"):
        read_suite(None, {"pictures": str(tmp_path / "nowhere")})


def test_seeds() -> None:
    assert [parse_seeds(text) for text in ("3", "0,4", "4,")] == [(0, 1, 2), (0, 4), (4,)]
    for text in ("0", "-1", "a", "", ",", "1,x"):
        with pytest.raises(SettingsError):
            parse_seeds(text)


# ------------------------------------------------------------------------------------------------ intervals, commits


def test_the_interval_is_the_quantile_of_all_resamples() -> None:
    values = [0.0, 1.0, 5.0]
    means = sorted(statistics.fmean(draw) for draw in itertools.product(values, repeat=3))
    assert interval(values) == (means[0], means[-1])  # 1/27 of the resamples lie at either end
    values = [3.0, 1.0, 4.0, 1.5, 9.0]
    means = sorted(statistics.fmean(draw) for draw in itertools.product(values, repeat=5))
    low, high = interval(values)
    assert low == pytest.approx(means[round(0.025 * len(means))], abs=1e-9)
    assert high == pytest.approx(means[round(0.975 * len(means)) - 1], abs=1e-9)
    assert interval([2.0] * 12) == (2.0, 2.0)
    assert summarize([0.5]) == {"mean": 0.5, "low": None, "high": None, "values": [0.5]}
    assert overlap({"low": 1, "high": 2}, {"low": 2, "high": 3})
    assert not overlap({"low": 1, "high": 2}, {"low": 2.1, "high": 3})


def test_signs_are_flipped_in_every_way() -> None:
    assert sign_flips([1.0, 3.0, 5.0]) == sign_flips([-1.0, -3.0, -5.0]) == 2 / 8
    assert sign_flips([-1.0, 2.0, 3.0]) == 4 / 8  # sums of 4 and 6, and their opposites
    assert sign_flips([1.0, -1.0]) == 1
    assert sign_flips([0.5] * 5) == 2 / 32
    drawn = sign_flips([1.0] * 4 + [-1.0] * 10)
    assert drawn == sign_flips([1.0] * 4 + [-1.0] * 10)
    assert drawn == pytest.approx(0.180, abs=0.02)  # 2 (1 + 14 + 91 + 364 + 1001) / 2**14


def test_the_commit_is_read_without_git(tmp_path: Path) -> None:
    assert origin.commit(tmp_path) == "unknown"
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("a" * 40 + "\n")
    assert origin.commit(tmp_path) == "a" * 40
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert origin.commit(tmp_path) == "unknown"
    (git / "packed-refs").write_text(f"# pack-refs with: peeled\n{'b' * 40} refs/heads/main\n^{'d' * 40}\n")
    assert origin.commit(tmp_path) == "b" * 40
    (git / "refs" / "heads" / "main").write_text("c" * 40 + "\n")
    assert origin.commit(tmp_path) == "c" * 40
    other = git / "worktrees" / "other"
    other.mkdir(parents=True)
    (other / "HEAD").write_text("ref: refs/heads/main\n")
    (other / "commondir").write_text("../..\n")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / ".git").write_text(f"gitdir: {other}\n")
    assert origin.commit(tmp_path / "tree") == "c" * 40
    assert len(origin.sources()) == 12


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conceptnet_ml.runtime.devices.usable_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [threads_for(jobs) for jobs in (1, 3, 16)] == [8, 2, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads_for(1) == 5


# ------------------------------------------------------------------------------------------------ results


def test_how_long_it_takes_is_tried_with_as_many_threads_as_a_worker_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = suite_of(tmp_path, '[cases.drawings]\ndata.source = "cars-and-poodles"\n')
    trained = importlib.import_module("conceptnet_ml.network.training").train
    seen: list[int] = []

    def noting(*words: Any, **options: Any) -> Any:
        seen.append(torch.get_num_threads())
        return trained(*words, **options)

    monkeypatch.setattr("conceptnet_ml.network.training.train", noting)
    monkeypatch.setattr("conceptnet_ml.bench.plan.threads_for", lambda jobs: 3)
    before = torch.get_num_threads()
    assert plan_bench(suite, tmp_path / "out", load_plugins(), jobs=1)["threads"] == 3
    assert set(seen) == {3}
    assert torch.get_num_threads() == before


def test_results_judge_targets_and_say_who_matches_the_learner(measured: tuple[Suite, CellStore]) -> None:
    suite, store = measured
    results = collect_results(suite, store, METHODS, load_plugins(), {})
    (case,) = results["cases"]
    assert case["headline"] == "conflict"
    ours = case["table"][LEARNED]["conflict"]
    assert ours["values"] == pytest.approx([90, 94, 92])
    assert [ours[key] for key in ("mean", "low", "high")] == pytest.approx([92, 90, 94])
    first, second, third, turned = case["targets"]
    assert (first["met"], second["met"]) == (True, False)  # 92 against 90; 96 against 99 - 1
    assert (third["got"]["values"], third["met"]) == (pytest.approx([2.0, 3.0]), True)  # the seeds with one kept round
    assert turned["met"] is None
    level, above = case["matches"]
    assert level == "On conflict, cutmix cannot be told from learned: the ranges overlap."
    assert above == "On conflict, unbiased (told) is above learned, ranges apart."
    assert counts(results) == {DONE: 12, FAILED: 0, LEFT_OUT: 0, "to do": 0}
    text = to_markdown(results)
    assert "| **learned** | 96.0 [95.0, 97.0] | 92.0 [90.0, 94.0] | 0.95 [0.94, 0.98] |" in text
    assert "Figures are means over seeds, in brackets the range over seeds." in text
    assert "| unbiased † |" in text
    assert (
        "| wheels | aligned within 1 of ordinary | 96.0 [95.0, 97.0] against 99.0 [99.0, 99.0] | **missed** |" in text
    )
    assert f"commit `{'c' * 12}`" in text
    assert level in text
    (paired,) = case["paired"]["cutmix"]
    assert (paired["on"], paired["difference"]["values"], paired["p"]) == ("conflict", pytest.approx([1, 3, 5]), 2 / 8)
    assert list(case["paired"]) == [ORDINARY, "cutmix", "unbiased"]
    assert "| cutmix | conflict | 3.0 [1.0, 5.0] | 3 of 3 | 0.25 |" in text
    assert "| unbiased † | conflict | -4.0 [-5.0, -2.0] | 0 of 3 | 0.25 |" in text
    assert "of 3 seeds it is at least 0.25." in text


def test_rows_say_what_they_were_measured_with(measured: tuple[Suite, CellStore]) -> None:
    suite, store = measured
    results = collect_results(suite, store, METHODS, load_plugins(), {})
    for one in results["cases"][0]["cells"]:
        one["origin"] |= {"processor": "AMD EPYC", "precision": "bfloat16"}
    assert f"Every row: `{'c' * 12}`, AMD EPYC, bfloat16." in to_markdown(results)
    for one in results["cases"][0]["cells"]:
        if one["method"] == "cutmix":
            one["origin"] |= {"commit": "d" * 40, "card": "NVIDIA H200", "precision": "fp32"}
    text = to_markdown(results)
    assert f"- ordinary, **learned**, unbiased †: `{'c' * 12}`, AMD EPYC, bfloat16" in text
    assert f"- cutmix: `{'d' * 12}`, NVIDIA H200, fp32" in text


def test_one_seed_gives_no_interval(measured: tuple[Suite, CellStore]) -> None:
    suite, store = measured
    (case,) = collect_results(suite.only(seeds="1"), store, METHODS, load_plugins(), {})["cases"]
    assert case["table"]["cutmix"]["conflict"]["low"] is None
    assert case["matches"] == ["On conflict, unbiased (told) is at or above learned; one seed gives no interval."]
    assert case["paired"] == {}


def test_failed_and_missing_cells_are_told(measured: tuple[Suite, CellStore]) -> None:
    suite, store = measured
    record = {
        "version": 1,
        "seed": 0,
        "method": "cutmix",
        "state": FAILED,
        "date": "",
        "error": "it broke",
        "mend": "Mend",
    }
    write_atomic(cell_path(store.folder(suite.cases[0], 0), "cutmix"), pretty(record))
    cell_path(store.folder(suite.cases[0], 1), "cutmix").write_text("half a fi")
    results = collect_results(suite, store, METHODS, load_plugins(), {})
    assert counts(results) == {DONE: 10, FAILED: 1, LEFT_OUT: 0, "to do": 1}
    assert "| wheels | 0 | cutmix | it broke Mend |" in to_markdown(results)
    (first, second) = store.groups(suite, METHODS)
    assert (first.seed, first.methods, second.seed, second.methods) == (0, ("cutmix",), 1, ("cutmix",))


def test_a_cell_is_measured_again_where_more_examples_are_asked_for(
    measured: tuple[Suite, CellStore], tmp_path: Path
) -> None:
    suite, store = measured
    assert store.groups(suite, METHODS) == []
    text = (tmp_path / "mine.toml").read_text()
    more = suite_of(tmp_path, f"ks = [0, 128]\n{text}")
    assert len(store.groups(more, METHODS)) == 3


def test_figures_of_other_settings_are_not_mixed(measured: tuple[Suite, CellStore], tmp_path: Path) -> None:
    suite, store = measured
    store.begin(CellGroup(suite.cases[0], 0, METHODS))
    store.check(suite)
    other = suite_of(tmp_path, '[cases.wheels]\ndata = { trap = "wheels", train_limit = 9 }\n')
    with pytest.raises(SettingsError, match=r"data.train_limit was none, is now 9"):
        store.check(other)
    moved = suite_of(tmp_path, '[cases.wheels]\ndata = { trap = "wheels", memory = 9.0 }\n')
    store.check(moved)


def test_two_processes_do_not_measure_into_one_folder(measured: tuple[Suite, CellStore]) -> None:
    _, store = measured
    again = CellStore(store.out)
    with store.locked(), pytest.raises(ConceptNetError, match="in use"), again.locked():
        pass
    with again.locked():
        pass


def test_what_a_killed_process_left_half_written_goes(tmp_path: Path) -> None:
    store, cell = CellStore(tmp_path), tmp_path / "cells" / "wheels" / "0"
    (cell / "run").mkdir(parents=True)
    left = [tmp_path / ".results.md.12.tmp", cell / ".case.json.12.tmp", cell / ".learned.cell.json.7.tmp"]
    stays = [tmp_path / ".notes.txt", cell / "case.json", cell / "run" / ".model.json.12.tmp"]  # another one's, maybe
    for path in (*left, *stays):
        path.write_text("half")
    with store.locked():
        assert [path for path in (*left, *stays) if path.exists()] == stays


def test_the_report_has_tables_json_and_pictures(measured: tuple[Suite, CellStore], tmp_path: Path) -> None:
    suite, store = measured
    results = collect_results(suite, store, METHODS, load_plugins(), {})
    files = report.write_report(results, tmp_path / "report")
    assert sorted(file.name for file in files.values()) == ["results.json", "results.md", "results.png", "results.svg"]
    assert json.loads(files["json"].read_text()) == results
    assert "(results.svg)" in files["md"].read_text()
    picture = Image.open(io.BytesIO(files["png"].read_bytes()))
    assert picture.width == 1080
    assert len(picture.convert("RGB").getcolors(1 << 24)) > 10
    for colour in (plots.COLOURS["conflict"], plots.COLOURS["aligned"]):
        wanted = tuple(int(colour[place : place + 2], 16) for place in (1, 3, 5))
        assert wanted in {found for _, found in picture.convert("RGB").getcolors(1 << 24)}
    svg = files["svg"].read_bytes()
    assert (
        plots.draw_results(json.loads(files["json"].read_text()))["svg"] == svg
    )  # from the file alone, and the same again
    assert set(report.write_report(results, tmp_path / "bare", plot=False)) == {"md", "json"}


def test_a_cell_that_was_changed_is_measured_again(measured: tuple[Suite, CellStore]) -> None:
    suite, store = measured
    case, folder = suite.cases[0], store.begin(CellGroup(suite.cases[0], 0, ()))
    order = {"case": case.name, "seed": 0, "folder": str(folder), "ks": list(suite.ks), "draws": suite.draws}
    save_cell(order, "longer", DONE, test_sets={"conflict": {"accuracy": math.nan}})
    path = cell_path(folder, "longer")
    whole = path.read_text()
    assert store.state(suite, case, 0, "longer") == DONE
    changes = (whole.replace("null", "0.9"), whole[:-9], "[" * 10**5, "[]", "{}", '{"state": "x"}', "3")
    for changed in changes:
        assert changed != whole
        path.write_text(changed)
        assert store.state(suite, case, 0, "longer") == TO_DO
    (folder / "case.json").write_text('{"settings": 3}')
    store.check(suite)


@pytest.mark.parametrize("change", [{"test_sets": 3}, {"cost": []}, {"origin": []}, {"date": {}}, {"notes": 3}])
def test_a_cell_without_checksum_that_holds_something_else_is_named(
    measured: tuple[Suite, CellStore], tmp_path: Path, change: dict[str, Any]
) -> None:
    suite, store = measured
    path = cell_path(store.folder(suite.cases[0], 0), LEARNED)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=r"cells.* is damaged: .*\n.*measures it again"):
        report.write_report(collect_results(suite, store, METHODS, load_plugins(), {}), store.out, plot=False)
