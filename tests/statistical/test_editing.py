"""Edits of a finished run: the network does what the graph says, undo is bit-exact, and learning goes on from them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from planted import COARSE, PLUGINS, QUICK, planted_data, settings
from torture import FAILED, KILLED, WAYS, count_writes, forked

from conceptnet_ml import Editor, LearnedRun, learn
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.editing.history import EditHistory
from conceptnet_ml.errors import DataError, GraphError, Interrupted, SettingsError
from conceptnet_ml.network.training import to_float
from conceptnet_ml.storage.run_folder import Run

pytestmark = pytest.mark.usefixtures("hasty")

SEED = 2


@pytest.fixture(scope="module")
def data() -> Data:
    return planted_data("own", 320, SEED)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, data: Data) -> Path:
    out = tmp_path_factory.mktemp("edited") / "run"
    chosen = settings(
        network=QUICK,
        training={"batch": 32, "epochs": 6},
        round={"limit": 1, "epochs": 6, "closures": 0},
        probe={"view_steps": 6, "dreamt": 0},
        concepts=COARSE,
    )
    learn(data, settings=chosen, out=out, plugins=PLUGINS)
    return out


@pytest.fixture
def opened(finished: Path, tmp_path: Path, data: Data) -> LearnedRun:
    """A copy of the run to work on."""
    shutil.copytree(finished, tmp_path / "run")
    return LearnedRun(Run.open(tmp_path / "run"), PLUGINS, data)


def logits(opened: LearnedRun, data: Data) -> torch.Tensor:
    images = to_float(data.tests["random"].take(torch.arange(64)), torch.device("cpu"))
    with torch.no_grad():
        return opened.model.network(images)


def files(run: Path) -> dict[str, str]:
    """What people read of a run, by checksum; not the log of metrics, which tells of undone edits too."""
    kept = [
        path
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in ("lock", "lock.owner", "metrics.jsonl")
    ]
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def own_units(opened: LearnedRun) -> list[int]:
    """Units of the top stage, those first on which the network as it is now answers most."""
    network, data = opened.model.network, opened._data
    assert data is not None
    images = to_float(data.tests["random"].take(torch.arange(64)), torch.device("cpu"))
    with torch.no_grad():
        spread = network.run_until(images, network.stage_names[-1]).mean((2, 3)).std(0)
    head = network.state_dict()["model.head.weight"]
    return (spread * (head[0] - head[1]).abs()).argsort(descending=True).tolist()


def test_a_split_computes_what_was_computed_and_undo_is_bit_exact(opened: LearnedRun, data: Data) -> None:
    before, untouched, top = logits(opened, data), files(opened.path), opened.graph.stages[-1]
    editor = Editor(opened, PLUGINS)
    unit = own_units(opened)[0]
    column = opened.model.network.state_dict()["model.head.weight"][:, unit].clone()
    entry = editor.split(f"{top}:{unit}")
    copies = opened.model.network.state_dict()["model.head.weight"][:, [unit, 64]]
    assert torch.allclose(copies.sum(1), column)
    assert copies[1, 0] == 0  # the second class reads its own copy alone
    assert copies[1, 1] != 0
    width = opened.model.network.stage(top).units
    assert width == opened.graph.header.stages[-1].units == 65
    assert (logits(opened, data) - before).abs().max() < 1e-5
    assert opened.graph.check() == []
    first, second = entry["effects"].values()
    assert set(first) == {"lying", "standing"}
    assert first != second
    assert all(abs(fall) > 0 for falls in (first, second) for fall in falls.values())
    assert json.loads((opened.path / "summary.json").read_text())["edits"] == [f"1. {entry['said']}"]
    assert "Edited: 1. split unit" in (opened.path / "summary.txt").read_text()
    assert "report.html" in untouched
    assert "report.html" not in files(opened.path), "it says what is no longer so"
    editor.undo()
    assert files(opened.path) == {**untouched, "edits/log.json": files(opened.path)["edits/log.json"]}
    assert torch.equal(logits(opened, data), before)
    assert editor.log() == []


def test_a_merged_unit_is_one_and_the_rest_is_silent(opened: LearnedRun, data: Data) -> None:
    editor, top = Editor(opened, PLUGINS), opened.graph.stages[-1]
    one, two = sorted(own_units(opened)[:2])
    editor.merge(f"{top}:{one}", f"{top}:{two}")
    images = to_float(data.tests["random"].take(torch.arange(64)), torch.device("cpu"))
    with torch.no_grad():
        maps = opened.model.network.run_until(images, top)
    assert maps[:, two].abs().max() == 0
    assert maps[:, one].abs().max() > 0
    with pytest.raises(GraphError, match="already merged into unit"):
        editor.forget(f"{top}:{two}")


def test_what_is_forgotten_says_nothing_any_more(opened: LearnedRun, data: Data) -> None:
    editor, top = Editor(opened, PLUGINS), opened.graph.stages[-1]
    before = opened.model.network
    unit = own_units(opened)[0]
    images = to_float(data.tests["random"].take(torch.arange(64)), torch.device("cpu"))
    editor.forget(f"{top}:{unit}")
    with torch.no_grad():
        maps, old = opened.model.network.run_until(images, top), before.run_until(images, top)
    assert maps[:, unit].std() < 1e-5 < old[:, unit].std()
    others = [other for other in range(64) if other != unit]
    assert torch.allclose(maps[:, others], old[:, others], atol=1e-5)


def test_a_forgotten_family_leaves_the_model(opened: LearnedRun) -> None:
    kept = [node for node in opened.graph.nodes("generalized") if node.state is None]
    assert kept, "the round was kept"
    names = opened.model.names
    Editor(opened, PLUGINS).forget(kept[0].label)
    assert set(opened.model.names) < set(names)
    assert opened.graph.node(kept[0].id).state == "forgotten"


def test_names_and_notes_leave_the_network_alone(opened: LearnedRun, data: Data) -> None:
    before, editor = logits(opened, data), Editor(opened, PLUGINS)
    (feature, *_) = opened.graph.nodes("feature")
    opened.folder.adapted("kept").save({"of": "the network as it is"})
    editor.rename(feature, "stripes [1]")
    editor.annotate("stripes [1]", "in the corner [/]")
    assert "stripes [1]" in (opened.path / "summary.txt").read_text()
    assert "in the corner [/]" in (opened.path / "summary.txt").read_text()
    editor.undo(2)
    assert (opened.path / "adapted" / "kept.json").exists()
    editor.rename(feature.id, "stripes")
    editor.annotate("stripes", "in the corner")
    assert opened.graph.resolve("stripes").note == "in the corner"
    assert torch.equal(logits(opened, data), before)
    assert [entry["verb"] for entry in editor.log()] == ["rename", "annotate"]
    assert EditHistory(opened.folder).pending() is None
    editor.undo(2)
    assert opened.graph.node(feature.id).name is None


def test_learning_goes_on_from_the_edited_network(opened: LearnedRun, data: Data) -> None:
    editor, top = Editor(opened, PLUGINS), opened.graph.stages[-1]
    unit = own_units(opened)[0]
    editor.rename(opened.graph.nodes("feature")[0].id, "stripes")
    editor.split(f"{top}:{unit}")
    editor.annotate(f"{top}:{unit}", "split")
    edited = {name: value.clone() for name, value in opened.model.network.state_dict().items()}
    done = files(opened.path)
    again = learn(data, resume=opened.path, plugins=PLUGINS)
    network = again.model.network
    assert network.stage(top).units == 65
    assert not torch.equal(network.state_dict()["model.head.weight"], edited["model.head.weight"])
    # The variants go their own ways: untrained, or read alike, they would be the same to rounding. How far they go
    # depends on what is left to learn; benchmarks/surgery.py measures it.
    producer = network.state_dict()["model.block3.conv2.weight"].flatten(1)
    assert torch.cosine_similarity(producer[unit], producer[64], dim=0) < 0.999
    graph = again.graph
    assert graph.check() == []
    assert graph.resolve("stripes")
    assert graph.resolve(f"{top}:{unit}").state == "split"
    assert graph.resolve(f"{top}:64").classes == ("standing",)
    rounds = [entry["name"] for entry in again.summary()["rounds"]]
    assert any(name.startswith(f"{top}/edit3/") for name in rounds)
    assert again.summary()["edits"] == EditHistory(again.folder).descriptions()
    # Another look changes nothing; undo goes back behind what was learned from the edit.
    assert learn(data, resume=opened.path, plugins=PLUGINS).graph == graph
    assert Editor(again, PLUGINS).history.adopted() == [3]
    Editor(again, PLUGINS).undo(2)
    assert not EditHistory(again.folder).adopted()
    assert again.model.network.stage(top).units == 64
    assert {"model.safetensors", "graph.json"} <= done.keys()


def test_edits_rest_on_the_rounds_as_they_were_decided(opened: LearnedRun, data: Data) -> None:
    Editor(opened, PLUGINS).rename(opened.graph.nodes("feature")[0].id, "stripes")
    (name, *_) = [entry["name"] for entry in opened.summary()["rounds"]]
    before = files(opened.path)
    with pytest.raises(SettingsError, match="has edits, which rest on its rounds"):
        learn(data, resume=opened.path, undo=[name], plugins=PLUGINS)
    assert files(opened.path) == before


def test_an_edit_waits_for_what_was_decided_by_hand(opened: LearnedRun) -> None:
    content = json.loads((opened.path / "graph.json").read_text())
    for node in content["nodes"]:
        if node.get("decision") == "kept":
            node["decision"] = "undone"
    (opened.path / "graph.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="were changed by hand"):
        Editor(opened, PLUGINS).forget(f"{opened.graph.stages[-1]}:1")


@pytest.mark.parametrize(
    "what", ["graph of another network", "not a number", "unfinished", "nothing to undo", "unknown"]
)
def test_bad_input_is_refused_and_the_run_untouched(opened: LearnedRun, what: str) -> None:
    editor, top = Editor(opened, PLUGINS), opened.graph.stages[-1]
    kind, message, act = DataError, "", lambda: editor.split(f"{top}:1")
    if what == "graph of another network":
        content = json.loads((opened.path / "graph.json").read_text())
        content["header"]["network"] = "0123456789abcdef"
        (opened.path / "graph.json").write_text(json.dumps(content))
        message = "graph of another network"
    elif what == "not a number":
        network = opened.model.network
        with torch.no_grad():
            next(iter(network.parameters()))[0] = torch.nan
        opened.resave(network)
        content = json.loads((opened.path / "graph.json").read_text())
        content["header"]["network"] = opened._saved[1]["networks"]["learned"]
        (opened.path / "graph.json").write_text(json.dumps(content))
        opened.folder.close()
        kind, message = SettingsError, "NaN|infinit|finite"
    elif what == "unfinished":
        (opened.path / "DONE").unlink()
        message = "is not finished"
    elif what == "nothing to undo":
        message, act = "has no edits", editor.undo
    else:
        kind, message, act = SettingsError, "has no unit 640", lambda: editor.merge(f"{top}:1", f"{top}:640")
    before = files(opened.path)
    with pytest.raises(kind, match=message):
        act()
    assert files(opened.path) == before


def test_an_edit_cut_short_is_taken_back(opened: LearnedRun, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    before, reference = files(opened.path), logits(opened, data)
    monkeypatch.setattr(EditHistory, "commit", lambda *_: (_ for _ in ()).throw(Interrupted("cut short", "")))
    with pytest.raises(Interrupted):
        Editor(opened, PLUGINS).split(f"{opened.graph.stages[-1]}:1")
    monkeypatch.undo()
    again = learn(data, resume=opened.path, plugins=PLUGINS)
    assert files(again.path) == before
    assert torch.equal(logits(again, data), reference)


def state(path: Path) -> dict[str, str]:
    """What a reader sees of the run: its results and adapted models, by checksum; and that they belong together."""
    EditHistory(Run.open(path)).mend()
    summary, log = Run.open(path).summary(), EditHistory(Run.open(path)).log()
    assert summary.get("edits", []) == [f"{entry['number']}. {entry['said']}" for entry in log]
    parts = ("steps", "pictures", "edits", "dreams", "checkpoints", "settings.json", "environment.json")
    return {name: sum for name, sum in files(path).items() if not name.startswith(parts)}


def tortured(opened: LearnedRun, tmp_path: Path, work: Callable[[Path], object], way: str, every: int = 1) -> None:
    """Let work on copies of a run be cut short at every one of its writes, or at each so many. Afterwards every copy is
    as before the work or as after it, opens, and takes the same work again.
    """

    def fresh() -> Path:
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(opened.path, tmp_path / "copy")
        return tmp_path / "copy"

    before, copy = state(fresh()), tmp_path / "copy"
    writes = count_writes(lambda: work(copy), copy)
    after = state(copy)
    assert writes > 20
    for at in range(1, writes + 1, every):
        code = forked(lambda: work(copy), fresh(), at, way)
        found = state(copy)
        assert found in (before, after), f"write {at}"
        if code in (KILLED, FAILED) and found == before:
            assert forked(lambda: work(copy), copy) == 0, f"write {at}: the work cannot be done again"
            assert state(copy).keys() == after.keys()
        with Run.open(copy, write=True):
            assert not [path.name for path in copy.rglob(".*")], f"write {at}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("way", "every"), [("killed", 11), ("full", 13), ("fails", 12)])
def test_a_name_cut_short_at_any_write_is_there_or_not(
    opened: LearnedRun, tmp_path: Path, way: str, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1.0)
    feature = opened.graph.nodes("feature")[0].id
    opened.folder.adapted("kept").save({"of": "the network as it is"})
    opened.folder.close()
    tortured(opened, tmp_path, lambda run: Editor(run, PLUGINS).rename(feature, "stripes"), way, every)
    Editor(opened, PLUGINS).rename(feature, "stripes")
    tortured(opened, tmp_path, lambda run: EditHistory(Run.open(run)).undo(), way, every)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("verb", ["merge", "split", "forget"])
def test_an_edit_cut_short_at_any_write_is_done_or_not(
    opened: LearnedRun, data: Data, tmp_path: Path, way: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1.0)
    top = opened.graph.stages[-1]
    nodes = [f"{top}:{unit}" for unit in own_units(opened)[: 2 if verb == "merge" else 1]]
    opened.folder.adapted("kept").save({"of": "the network as it is"})
    opened.folder.close()

    def edit(run: Path) -> None:
        getattr(Editor(LearnedRun(Run.open(run), PLUGINS, data), PLUGINS), verb)(*nodes)

    tortured(opened, tmp_path, edit, way)
    edit(opened.path)
    tortured(opened, tmp_path, lambda run: EditHistory(Run.open(run)).undo(), way)


@pytest.mark.parametrize("leftover", ["folder", "file", "full folder"])
def test_what_an_edit_left_behind_keeps_no_other_from_being_made(opened: LearnedRun, leftover: str) -> None:
    place = opened.path / "edits" / ".0001.tmp"
    place.parent.mkdir()
    place.touch() if leftover == "file" else place.mkdir()
    if leftover == "full folder":
        (place / "graph.json").write_text("{}")
    Editor(opened, PLUGINS).rename(opened.graph.nodes("feature")[0].id, "stripes")
    assert opened.graph.resolve("stripes")
    assert not place.exists()
