"""Whole runs under the user's words: a run made with them, one opened again for them, one whose graph was edited."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from planted import COARSE, PLUGINS, QUICK, planted_data, settings

from conceptnet_ml import LearnedRun, Settings, learn
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.errors import DataError, GraphError, Interrupted, SettingsError
from conceptnet_ml.runtime.signals import Stopper

pytestmark = pytest.mark.usefixtures("hasty")

ONE, TWO = "block3/classes/1", "block3/classes/2"


def small(depth: int = 1, **rounds: Any) -> Settings:
    """A network that learns the patch within seconds, and rounds that hardly train it."""
    return settings(
        seed=3,  # both rounds are kept, and the second one finds features
        depth=depth,
        data={"source": "planted"},
        network=QUICK,
        training={"epochs": 8, "batch": 16, "rate": 0.05, "warm_rate": 0.02, "clip": 0.0},  # and so is one undone
        round={
            "epochs": 2,
            "limit": 2,
            "closures": 0,
            "again": 0.0,
            "decisive": 9.0,
            "partly": 9.0,
            "inverted": 9.0,
            **rounds,
        },
        probe={"steps": 4, "view_steps": 4, "dreamt": 0},
        concepts={**COARSE, "auc": 0.5, "knows": 0.0},  # its second round is one of a network that hardly knows
        plugins={"representations": ("colour", "pixels"), "controls": ("random-box",)},
    )


ALL: dict[str, Any] = {"interchangeable": -9.0, "flips": 0.0, "remains": 0.0}
ANYTHING, NOTHING = small(**ALL), small(interchangeable=9.0, limit=3)
DEEP = pytest.param(2, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def data() -> Data:
    made = planted_data("own", 160, contrast=0.4)
    return Data(made.name, made.classes, made.train, {"test": made.tests["test"].subset(torch.arange(20))})


@pytest.fixture(scope="module")
def made(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A run with these settings and words; made once."""
    runs: dict[str, Path] = {}

    def make(chosen: Settings, **words: list[str]) -> Path:
        key = chosen.model_dump_json() + json.dumps(words)
        if key not in runs:
            runs[key] = tmp_path_factory.mktemp("made") / "run"
            learn(data, settings=chosen, out=runs[key], plugins=PLUGINS, **words)  # type: ignore[arg-type]
        return runs[key]

    return make


@pytest.fixture
def again(data: Data, tmp_path: Path) -> Callable[..., LearnedRun]:
    """A copy of a run, gone on with."""

    def go_on(run: Path, **words: Any) -> LearnedRun:
        if run != tmp_path / "copy":
            shutil.rmtree(tmp_path / "copy", ignore_errors=True)  # steps of two runs do not fit together
            shutil.copytree(run, tmp_path / "copy")
        return learn(data, resume=tmp_path / "copy", plugins=PLUGINS, **words)

    return go_on


def outcome(run: Path) -> dict[str, Any]:
    """Everything a run leaves that does not tell the time."""
    summary = json.loads((run / "summary.json").read_text())
    files = sorted(str(path.relative_to(run)) for path in (run / "pictures").rglob("*.png"))
    return {
        "graph": (run / "graph.json").read_text(),
        "model": (run / "model.safetensors").read_bytes(),
        "pictures": {name: (run / name).read_bytes() for name in files},
        "summary": {name: value for name, value in summary.items() if name not in ("cost", "peak_memory_gib")},
    }


def files(run: Path) -> dict[str, tuple[bytes, int]]:
    """Every file's content and time of writing."""
    paths = (path for path in run.rglob("*") if path.is_file() and path.name not in ("lock", "lock.owner"))
    return {str(path.relative_to(run)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def decisions(run: Path) -> dict[str, str]:
    return {entry["name"]: entry["decision"] for entry in json.loads((run / "summary.json").read_text())["rounds"]}


def edit(run: Path, label: str, kind: str = "feature", **fields: Any) -> None:
    content = json.loads((run / "graph.json").read_text())
    (node,) = [node for node in content["nodes"] if (node["kind"], node["label"]) == (kind, label)]
    node |= fields
    (run / "graph.json").write_text(json.dumps(content))


@pytest.mark.parametrize("depth", [1, DEEP])
def test_undoing_later_is_undoing_from_the_start(
    made: Callable[..., Path], again: Callable[..., LearnedRun], depth: int
) -> None:
    chosen = small(depth, **ALL)
    first = made(chosen)
    assert decisions(first)[ONE] == decisions(first)[TWO] == "kept"
    run = again(first, undo=[TWO])
    assert outcome(run.path) == outcome(made(chosen, undo=[TWO]))
    assert decisions(run.path)[TWO] == "undone"
    assert outcome(run.path)["model"] != outcome(first)["model"]

    before, after = files(first / "steps"), files(run.path / "steps")
    assert before["ordinary.json"] == after["ordinary.json"]
    kept = [
        name for name in before if name.startswith(f"{ONE}/") and not name.startswith((f"{ONE}/pic", f"{ONE}/desc"))
    ]
    assert len(kept) > 5
    for name in [*kept, f"{TWO}/find.json", f"{TWO}/probe-pixels.json"]:
        assert before[name] == after[name], f"{name} was computed again"

    entry = run.summary()["rounds"][1]
    assert "the user decided to undo it; the rule would keep it: ι" in entry["reason"]
    assert entry["overruled"]
    assert "the user decided to undo it" in (run.path / "summary.txt").read_text()
    node = next(node for node in run.graph.nodes("feature") if node.label.endswith(TWO))
    assert node.reason == entry["reason"]  # type: ignore[attr-defined]
    assert '"event": "overruled"' in (run.path / "metrics.jsonl").read_text()


@pytest.mark.slow
def test_taking_a_word_back_gives_the_old_run_again(
    made: Callable[..., Path], again: Callable[..., LearnedRun]
) -> None:
    run = again(made(ANYTHING, undo=[TWO]), keep=[TWO])
    assert decisions(run.path) == decisions(made(ANYTHING))
    assert outcome(run.path)["model"] == outcome(made(ANYTHING))["model"]
    stored = json.loads((run.path / "settings.json").read_text())
    assert (stored["settings"]["round"]["keep"], stored["settings"]["round"]["undo"]) == ([TWO], [])


def test_keeping_what_was_refused_before_training(made: Callable[..., Path], again: Callable[..., LearnedRun]) -> None:
    first = made(NOTHING)
    assert decisions(first)[ONE] == "leaf"
    run = again(first, keep=[ONE, "block3/classes/3"])
    assert outcome(run.path) == outcome(made(NOTHING, keep=[ONE, "block3/classes/3"]))
    assert decisions(run.path)[ONE] == "kept"
    entry = run.summary()["rounds"][0]
    assert entry["chosen"] == "pixels"
    assert "the user decided to keep it; the rule would refuse it: ι" in entry["reason"]
    few, unused = run.summary()["notes"]
    assert few.startswith("only ")
    assert unused == "--keep block3/classes/3: there was no such round"


@pytest.mark.slow
def test_keeping_below_the_top_stage(made: Callable[..., Path], again: Callable[..., LearnedRun]) -> None:
    chosen, below = small(2, interchangeable=9.0, remains=1.0), "block2/block3.1/1"
    run = again(again(made(chosen), keep=[ONE]).path, keep=[f"{below}/colour"])
    assert outcome(run.path) == outcome(made(chosen, keep=[ONE, f"{below}/colour"]))
    assert decisions(run.path)[below] == "kept"
    assert "the user decided to keep it" in run.summary()["rounds"][2]["reason"]


@pytest.mark.slow
def test_keeping_what_was_undone_after_training_trains_nothing_again(
    made: Callable[..., Path], again: Callable[..., LearnedRun]
) -> None:
    strict = small(interchangeable=-9.0, remains=1.0)
    first = made(strict)
    assert decisions(first)[ONE] == "undone"
    run = again(first, keep=[ONE])
    assert decisions(run.path)[ONE] == "kept"
    assert "the user decided to keep it; the rule would undo it: r " in run.summary()["rounds"][0]["reason"]
    name = f"{ONE}/train-pixels-2.json"
    assert files(first / "steps")[name] == files(run.path / "steps")[name]


CORNER = "0.66,0.66,1,1"
"""Where the patch is, and up to a pixel around it."""


def test_a_place_named_later_is_exchanged_as_from_the_start_and_taken_back(
    made: Callable[..., Path], again: Callable[..., LearnedRun]
) -> None:
    """In the first round, whatever the rule says; after it the rule goes on."""
    first, named = made(NOTHING), made(small(interchangeable=9.0, limit=3, exchange=CORNER))
    assert decisions(first) == {ONE: "leaf"}
    assert decisions(named) == {ONE: "kept", TWO: "leaf"}
    entry = json.loads((named / "summary.json").read_text())["rounds"][0]
    assert (entry["place"], [one["representation"] for one in entry["representations"]]) == (CORNER, ["pixels"])
    assert entry["representations"][0]["price"] == pytest.approx((6 / 16) ** 2)
    assert entry["representations"][0]["evidence"] == "the user"
    assert f"the user decided to exchange {CORNER}; the rule would refuse it: " in entry["reason"]
    assert "closures" not in entry
    run = again(first, settings=small(interchangeable=9.0, limit=3, exchange=CORNER))
    assert outcome(run.path) == outcome(named)
    before, after = files(first / "steps"), files(run.path / "steps")
    for name in ("ordinary.json", f"{ONE}/find.json", f"{ONE}/probe-colour.json"):
        assert before[name] == after[name], f"{name} was computed again"
    assert outcome(again(run.path, settings=NOTHING).path) == outcome(first)


def test_a_place_can_be_exchanged_all_round_or_undone_by_a_word(
    made: Callable[..., Path], again: Callable[..., LearnedRun]
) -> None:
    named = made(small(interchangeable=9.0, limit=3, exchange=CORNER))
    run = again(named, undo=[ONE])
    assert decisions(run.path) == {ONE: "leaf"}, "as the rule has it"
    assert outcome(run.path)["model"] == outcome(made(NOTHING))["model"]
    outside = again(named, keep=[f"{ONE}/pixels:outside"])
    assert outside.summary()["rounds"][0]["exchanged"] == "outside the gates"


def test_a_run_of_a_place_that_is_stopped_goes_on(data: Data, made: Callable[..., Path], tmp_path: Path) -> None:
    chosen = small(interchangeable=9.0, limit=3, exchange=CORNER)
    with pytest.raises(Interrupted):
        learn(data, settings=chosen, out=tmp_path / "run", plugins=PLUGINS, stopper=Impatient(25))
    stops = 0
    while True:
        try:
            learn(data, resume=tmp_path / "run", plugins=PLUGINS, stopper=Impatient(25))
            break
        except Interrupted:
            stops += 1
            assert stops < 50
    assert outcome(tmp_path / "run") == outcome(made(chosen))


def test_an_edited_graph_is_a_word(made: Callable[..., Path], again: Callable[..., LearnedRun], tmp_path: Path) -> None:
    shutil.copytree(made(ANYTHING), tmp_path / "undo")
    edit(tmp_path / "undo", f"what is exchanged in {TWO}", "generalized", decision="leaf")
    assert outcome(again(tmp_path / "undo").path) == outcome(made(ANYTHING, undo=[TWO]))
    shutil.copytree(made(NOTHING), tmp_path / "keep")
    edit(tmp_path / "keep", f"standing in {ONE}", decision="kept", representation="pixels")
    run = again(tmp_path / "keep")
    assert outcome(run.path) == outcome(made(NOTHING, keep=[f"{ONE}/pixels"]))
    assert json.loads((run.path / "settings.json").read_text())["origins"]["round.keep"] == "graph.json"


def test_what_is_refused_leaves_the_run_as_it_was(data: Data, made: Callable[..., Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(made(ANYTHING), run)
    before = files(run)

    def refused(kind: type[Exception], reason: str, **words: Any) -> None:
        now = files(run)
        with pytest.raises(kind, match=reason):
            learn(data, resume=run, plugins=PLUGINS, **words)
        assert files(run) == now

    refused(SettingsError, "no stage 'blok3'", undo=["blok3/classes/1"])
    refused(SettingsError, "contradict", undo=[ONE], keep=[ONE])
    assert files(run) == before
    edit(run, f"lying in {TWO}", decision="leaf")
    refused(SettingsError, "contradict", keep=[f"{TWO}/pixels"])
    edit(run, f"lying in {TWO}", units=[0, 1])
    refused(GraphError, "not the hash")
    (run / "graph.json").write_text("{")
    refused(DataError, "not JSON")
    (run / "graph.json").unlink()
    learn(data, resume=run, plugins=PLUGINS)
    assert outcome(run) == outcome(made(ANYTHING))


class Impatient(Stopper):
    """Asks to stop when it has been asked so many times whether to."""

    def __init__(self, patience: int) -> None:
        super().__init__()
        self.patience = patience

    @property
    def requested(self) -> bool:
        self.patience -= 1
        return self.patience < 0


def test_a_reopened_run_that_is_stopped_goes_on(
    data: Data, made: Callable[..., Path], again: Callable[..., LearnedRun], tmp_path: Path
) -> None:
    """Stopped in the middle of a training on the new basis, told otherwise, and told the first thing again."""
    with pytest.raises(Interrupted):
        again(made(NOTHING), keep=[f"{ONE}/pixels"], stopper=Impatient(12))
    run = tmp_path / "copy"
    assert not (run / "DONE").exists()
    assert not (run / "graph.json").exists()
    stops = 0
    while True:
        try:
            learn(data, resume=run, plugins=PLUGINS, stopper=Impatient(25))
            break
        except Interrupted:
            stops += 1
            assert stops < 50
    assert outcome(run) == outcome(made(NOTHING, keep=[f"{ONE}/pixels"]))


@pytest.mark.slow
def test_a_new_world_given_later_decides_as_from_the_start(
    data: Data, made: Callable[..., Path], again: Callable[..., LearnedRun], tmp_path: Path
) -> None:
    _save(planted_data("random", 60, seed=5).train.images, tmp_path / "new world")
    strict = ANYTHING.round.model_copy(update={"interchangeable": 9.0})  # all that is kept is kept for the new world
    refusing = ANYTHING.model_copy(update={"round": strict})
    world = {"target": str(tmp_path / "new world")}
    asking = refusing.model_copy(update={"data": ANYTHING.data.model_copy(update=world)})
    run = again(made(refusing), settings=asking)
    assert "in the new world it no longer goes with the rest" in (run.path / "summary.json").read_text()
    assert outcome(run.path) == outcome(made(asking))
    assert outcome(run.path)["model"] != outcome(made(refusing))["model"]


def _save(images: torch.Tensor, folder: Path) -> None:
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")


def test_disagreement_on_the_new_world(
    data: Data, made: Callable[..., Path], again: Callable[..., LearnedRun], tmp_path: Path
) -> None:
    pictures = tmp_path / "new world"
    new = planted_data("own", 20, seed=5).train.images  # a world like the old one breaks nothing, so nothing is trained
    _save(new, pictures)
    chosen = ANYTHING.model_copy(update={"data": ANYTHING.data.model_copy(update={"target": str(pictures)})})
    run = again(made(ANYTHING), settings=chosen)
    target = run.summary()["target"]
    images = new.float() / 255
    with torch.no_grad():
        answers = [network(images).argmax(1) for network in (run.ordinary, run.model)]
    assert target["images"] == 20
    assert target["disagreement"] == float((answers[0] != answers[1]).double().mean())
    assert target["interval"][0] <= target["disagreement"] <= target["interval"][1]
    assert "on 20 pictures of" in (run.path / "summary.txt").read_text()
    assert outcome(run.path)["model"] == outcome(made(ANYTHING))["model"]
    before, after = files(made(ANYTHING) / "steps"), files(run.path / "steps")
    assert {name: after[name] for name in before} == before
    refused = NOTHING.model_copy(update={"data": chosen.data})
    before, after = (files(one / "steps") for one in (made(NOTHING), again(made(NOTHING), settings=refused).path))
    assert {name: after[name] for name in before} == before
    assert any("target" in name for name in after.keys() - before.keys())  # where nothing is kept they were asked

    (pictures / "7.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"7\.png"):
        learn(data, settings=chosen, out=tmp_path / "new", plugins=PLUGINS)
    assert not (tmp_path / "new").exists()
    absent = chosen.model_copy(update={"data": chosen.data.model_copy(update={"target": str(tmp_path / "absent")})})
    with pytest.raises(DataError, match="no such folder"):
        learn(data, settings=absent, out=tmp_path / "new", plugins=PLUGINS)
