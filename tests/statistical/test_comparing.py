"""Runs compared with one another: two trainings on the same images, and what is missing or another."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from commands import call
from planted import COARSE, PLUGINS, QUICK, planted_data, settings

from conceptnet_ml import LearnedRun, learn, write_comparison
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.errors import DataError, SettingsError
from conceptnet_ml.results.compare_states import run_states
from conceptnet_ml.results.comparison import ComparedAccuracy
from conceptnet_ml.results.concept_matches import ALIKE
from conceptnet_ml.storage.run_folder import Run

pytestmark = pytest.mark.usefixtures("hasty")


SEEDS = (0, 1)


@pytest.fixture(scope="module")
def data() -> Data:
    return planted_data()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, data: Data) -> list[Path]:
    """Two seeds of one run, whose cue is a patch."""
    out = tmp_path_factory.mktemp("compared")
    for seed in SEEDS:
        chosen = settings(
            seed=seed,
            network=QUICK,
            training={"batch": 32, "rate": 0.05},
            round={"limit": 1, "closures": 0, "outside": False},
            concepts=COARSE,
            plugins={"representations": ("pixels",)},
        )
        learn(data, settings=chosen, out=out / f"seed{seed}", plugins=PLUGINS)
    return [out / f"seed{seed}" for seed in SEEDS]


@pytest.fixture
def runs(folders: list[Path], tmp_path: Path, data: Data) -> list[LearnedRun]:
    """Copies to work on."""
    for folder in folders:
        shutil.copytree(folder, tmp_path / folder.name)
    return [LearnedRun(Run.open(tmp_path / folder.name), PLUGINS, data) for folder in folders]


def rows(found: tuple[ComparedAccuracy, ...]) -> dict[tuple[str, str], ComparedAccuracy]:
    return {(row.test_set, row.method): row for row in found if row.groups is None}


def test_differences_are_paired_and_are_those_of_the_accuracies(runs: list[LearnedRun]) -> None:
    found = runs[0].compare(runs[1])
    sets = [run.summary()["test_sets"] for run in runs]
    for (name, method), row in rows(found.accuracy).items():
        one = row.difference
        assert one is not None
        assert one.how == "paired"
        assert one.value == pytest.approx(sets[1][name][method]["accuracy"] - sets[0][name][method]["accuracy"])
        assert one.won is not None
        assert one.lost is not None
        assert (one.won - one.lost) / row.images[0] == pytest.approx(one.value)
    assert {row.method for row in found.accuracy} >= {"ordinary", "learned"}
    assert [(one.name, one.values) for one in found.settings] == [("seed", ("0", "1"))]
    assert not found.same_network
    back = runs[1].compare(runs[0])
    for key, row in rows(found.accuracy).items():
        other = rows(back.accuracy)[key].difference
        assert row.difference is not None
        assert other is not None
        assert (other.value, other.low) == pytest.approx((-row.difference.value, -row.difference.high))


def test_the_planted_patch_is_one_concept_in_both_runs(runs: list[LearnedRun]) -> None:
    """No unit of one network is a unit of the other; the images say it."""
    found = runs[0].compare(runs[1], answer=True).concepts
    assert found.both
    assert not {one.nodes[0].id for one in found.both} & {one.nodes[1].id for one in found.both}
    assert all(one.likeness is not None and ALIKE <= one.likeness.mean <= 1 for one in found.both)
    counts = [sum(node.kind in ("feature", "generalized") for node in run.graph.nodes()) for run in runs]
    assert [len(found.both) + len(some) for some in found.only] == counts


def test_concepts_without_images_are_not_said_to_be_in_one_run_alone(folders: list[Path]) -> None:
    """These runs drew no dreams, so they keep no held-out images; their ids say nothing of one another."""
    text = " ".join(call("compare", *folders, "--no-plugins").stdout.split())
    assert "Concepts that both have: not known" in text
    assert "Only in" not in text
    assert "--answer reads its data" in text


def test_a_copy_has_the_same_network_and_every_concept(runs: list[LearnedRun], tmp_path: Path, data: Data) -> None:
    shutil.copytree(runs[0].path, tmp_path / "again")
    again = LearnedRun(Run.open(tmp_path / "again"), PLUGINS, data)
    found = runs[0].compare(again, answer=True)
    assert found.same_network
    assert found.headline == "The two learned networks are the same, bit for bit."
    assert found.concepts.only == ((), ())
    assert all(one.likeness == pytest.approx((1, 1)) for one in found.concepts.both)
    assert found.settings == ()
    by_id = runs[0].compare(again).concepts
    assert len(by_id.both) == len(found.concepts.both), "without images by their ids"
    assert {one.likeness for one in by_id.both} == {None}
    assert any("--answer" in note for note in by_id.notes)


def test_without_kept_answers_it_is_unpaired_until_the_networks_answer(runs: list[LearnedRun]) -> None:
    kept = rows(runs[0].compare(runs[1]).accuracy)
    for name in runs[0].summary()["test_sets"]:
        runs[0].folder.forget_step(f"answered/{name}")
    bare = runs[0].compare(runs[1])
    assert {row.difference.how for row in rows(bare.accuracy).values() if row.difference} == {"unpaired"}
    assert any("--answer" in note for note in bare.notes)
    assert rows(runs[0].compare(runs[1], answer=True).accuracy) == kept


def test_answers_of_a_network_that_was_edited_are_not_used(runs: list[LearnedRun]) -> None:
    from conceptnet_ml import Editor

    unit = next(node for node in runs[0].graph.nodes("unit") if node.stage == runs[0].graph.stages[-1])
    Editor(runs[0]).forget(unit.id)
    row = rows(runs[0].compare(runs[1]).accuracy)[("conflict", "learned")]
    assert row.difference is not None
    assert row.difference.how == "unpaired"


def test_other_data_is_set_side_by_side_and_not_compared(runs: list[LearnedRun]) -> None:
    path = runs[0].path / "summary.json"
    path.write_text(json.dumps(runs[0].summary() | {"data": "elsewhere"}))
    for name in runs[0].summary()["test_sets"]:
        runs[0].folder.forget_step(f"answered/{name}")
    found = runs[0].compare(runs[1])
    assert all(row.difference is None and None not in row.shares for row in found.accuracy)
    assert "cannot be compared" in found.headline


def test_without_a_graph_all_else_is_compared_and_without_results_nothing(runs: list[LearnedRun]) -> None:
    (runs[1].path / "graph.json").unlink()
    found = runs[0].compare(runs[1])
    assert found.concepts.both == ()
    assert any("has no concept graph" in note for note in found.concepts.notes)
    assert rows(found.accuracy)
    (runs[1].path / "summary.json").unlink()
    with pytest.raises(DataError, match="has no results yet"):
        runs[0].compare(runs[1])


def test_the_page_needs_nothing_and_says_the_same(runs: list[LearnedRun], tmp_path: Path) -> None:
    found = runs[0].compare(runs[1])
    text = write_comparison(found, tmp_path / "page.html").read_text(encoding="utf-8")
    assert found.headline in text
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", text)
    assert "http" not in re.sub(r"http-equiv|data:[^\"]*", "", text)
    assert text.count("data:image") > 8
    for row in found.accuracy:
        assert row.test_set in text
    with pytest.raises(DataError, match="is a folder"):
        write_comparison(found, tmp_path)


def test_the_command_says_it_in_the_terminal_as_json_and_as_a_page(folders: list[Path], tmp_path: Path) -> None:
    done = call("compare", *folders, "--out", tmp_path / "page.html", "--json", "--no-plugins")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["page"] == str(tmp_path / "page.html")
    assert found["names"] == ["seed0", "seed1"]
    assert found["settings"] == {"seed": ["0", "1"]}
    text = " ".join(call("compare", *folders, "--no-plugins").stdout.split())
    assert found["headline"] in text
    assert "B less A" in text
    assert "paired" in text
    same = call("compare", folders[0], folders[0])
    assert same.returncode == 2
    assert "are one run" in same.stderr
    other = shutil.copytree(folders[0], tmp_path / "old")
    header = json.loads((other / "settings.json").read_text())
    (other / "settings.json").write_text(json.dumps(header | {"version": 99}))
    assert "is a run of format 99" in call("compare", folders[0], other).stderr


def test_two_states_of_a_run_are_paired_and_say_what_it_let_go_of(runs: list[LearnedRun], tmp_path: Path) -> None:
    """The ordinary and the learned network, whose answers the run keeps: the patch is in the first alone."""
    run = next(run for run in runs if any(entry["decision"] == "kept" for entry in run.summary()["rounds"]))
    found = run.compare_states("ordinary", "learned", answer=True)
    assert found.states == ("the ordinary network", "the learned network")
    assert not found.same_network
    for row in found.accuracy:
        sets = run.summary()["test_sets"][row.test_set]
        assert row.shares == pytest.approx([sets[name]["accuracy"] for name in ("ordinary", "learned")])
        assert row.difference is not None
        assert row.difference.how == "paired"
    assert [(one.decisions, one.words[0]) for one in found.rounds] == [((None, "kept"), "not made yet")]
    concepts = found.concepts
    cues = [one for one in concepts.states if one.node.kind == "feature"]
    assert cues
    for one in cues:
        assert one.alike is not None
        assert one.effects is not None
        assert one.alike[0] == pytest.approx((1, 1)), "it was found in the ordinary network"
        assert one.effects[0] > one.effects[1], "the answer owes the patch less"
    merged = [one for one in concepts.states if one.node.kind == "generalized"]
    assert {one.has for one in merged} == {(False, True)}
    back = run.compare_states("learned", "ordinary", answer=True).concepts
    assert (back.only[1], back.only[0]) == concepts.only
    text = write_comparison(found, tmp_path / "page.html").read_text(encoding="utf-8")
    assert found.headline in text
    assert f"Two states of {run.path.name}" in text


def test_a_state_is_named_after_its_round(runs: list[LearnedRun], tmp_path: Path) -> None:
    """One round was made, the last: what it left is the learned network, kept by no other name."""
    assert [state.name for state in run_states(runs[0])] == ["ordinary", "learned"]
    with pytest.raises(SettingsError, match="keeps no state '3'") as refused:
        runs[0].compare_states("3")
    assert "ordinary" in refused.value.mend
    done = call("compare", f"{runs[0].path}@ordinary", runs[0].path, "--json", "--no-plugins")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["states"] == ["the ordinary network", "the learned network"]
    text = call("compare", f"{runs[0].path}@ordinary", runs[1].path).stderr
    assert "are of two runs" in text
    assert "one state of" in call("compare", f"{runs[0].path}@learned", f"{runs[0].path}@learned").stderr
