"""The album of a run: every node has its pictures, they are judged, and nothing is dreamt twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from planted import COARSE, PLUGINS, QUICK, planted_data, settings

from conceptnet_ml import Editor, learn, open_run
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.drawing.cutting import cut_sheet
from conceptnet_ml.drawing.node_sheet import AFTER, BEFORE
from conceptnet_ml.dreams.recipe import Recipe
from conceptnet_ml.dreams.render import Renderer, RenderSettings, scores, weights_digest
from conceptnet_ml.dreams.request import DreamRequest
from conceptnet_ml.results.concept_targets import ConceptTargets
from conceptnet_ml.results.learned_run import LearnedRun

pytestmark = pytest.mark.usefixtures("hasty")


def chosen(network: dict[str, str] | None = None, **dreams: object) -> Settings:
    return settings(
        network=network or {},
        round={"epochs": 6, "limit": 1, "closures": 0},
        probe={"steps": 6, "view_steps": 6, "dreamt": 0},
        concepts=COARSE,
        plugins={"dreamer": "fourier"},
        dreams={"steps": 64, **dreams},
    )


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> LearnedRun:
    return learn(
        planted_data(count=200), settings=chosen(), out=tmp_path_factory.mktemp("album") / "run", plugins=PLUGINS
    )


def records(run: LearnedRun) -> list[dict]:  # type: ignore[type-arg]
    return json.loads((run.path / "pictures" / "dreams.json").read_text())["dreams"]


def test_every_node_has_its_picture(learned: LearnedRun) -> None:
    nodes = learned.graph.nodes()
    assert {node.kind for node in nodes} >= {"class", "feature", "unit", "generalized", "variant"}
    for node in nodes:
        picture = learned.path / node.pictures[0]
        assert picture.name == f"{node.id}.jpg"
        with Image.open(picture) as image:
            assert min(image.size) > 200
    made = records(learned)
    assert {one["node"] for one in made} == {node.id for node in nodes}
    assert {one["start"] for one in made} == {None, *learned.classes}
    assert (learned.path / "pictures" / "dreams-concepts.png").exists()


def test_every_node_names_its_best_images(learned: LearnedRun) -> None:
    """By their places among the run's training images: these have no files."""
    labels = planted_data(count=200).train.labels
    for node in learned.graph.nodes():
        assert len(node.examples) == len(set(node.examples)) == 5
        numbers = [int(name.removeprefix("train:")) for name in node.examples]
        assert all(0 <= number < len(labels) for number in numbers)
        if node.kind == "class":
            assert all(learned.classes[int(labels[number])] == node.label for number in numbers)


def test_what_was_exchanged_is_drawn_in_the_network_it_was_found_in(learned: LearnedRun) -> None:
    (kept, *_) = [entry["name"] for entry in learned.summary()["rounds"] if entry["decision"] == "kept"]
    before = f"the network before round {kept}"
    features = {node.id: node for node in learned.graph.nodes("feature") if node.found_in == kept}
    free = [one for one in records(learned) if one["node"] in features and one["start"] is None]
    assert sorted(one["drawn_in"] for one in free) == sorted([before, "the learned network"] * len(features))
    targets = ConceptTargets(learned.graph, learned.model, learned.networks_before())
    assert len({seed["seed"] for one in free for seed in one["starts"]}) == 3 * len(features)
    assert {len(one["starts"]) for one in free} == {3}, "beside the one that is shown"
    for one in free:
        node = features[one["node"]]
        target = targets.target(node) if one["drawn_in"] == before else targets.target_after(node)
        assert target is not None
        request = DreamRequest(target.objective, one["seed"])
        rendered = RenderSettings(learned.model.network.image_size, device=learned.device)
        first = Renderer(target.network, [target.objective], Recipe(), rendered).first_image(request)
        assert float(scores(target.network, [target.objective], first[None])) == pytest.approx(one["before"], rel=0.01)
    for node in features.values():
        headings = [one.heading for one in cut_sheet(learned.path / node.pictures[0]).cuttings]
        assert headings[:2] == [BEFORE, AFTER]
        foot = cut_sheet(learned.path / node.pictures[0]).foot
        assert foot[0] == f"Drawn in the network before round 1 at {node.stage}, in which it was found."


def test_a_run_of_before_is_looked_at_in_the_networks_that_it_has(learned: LearnedRun, tmp_path: Path) -> None:
    path = shutil.copytree(learned.path, tmp_path / "old")
    for name in ("model.json", "graph.json"):
        content = json.loads((path / name).read_text())
        if name == "model.json":
            del content["own_sha256"]  # which they had not either
            networks = content["networks"].items()
            content["networks"] = {key: one for key, one in networks if not key.startswith("before ")}
        else:
            content["nodes"] = [{k: v for k, v in node.items() if k != "found_in"} for node in content["nodes"]]
        (path / name).write_text(json.dumps(content))
    old = open_run(path, plugins=PLUGINS)
    found = [ConceptTargets(one.graph, one.model, one.networks_before()) for one in (learned, old)]
    for node in learned.graph.nodes():
        if node.kind in ("feature", "unit", "variant"):
            new, now = (one.target(node) for one in (found[0], found[1]))
            assert (new.where, new.lost) == (now.where, now.lost), node
            assert weights_digest(new.network) == weights_digest(now.network)


def test_dreams_rise_and_are_judged(learned: LearnedRun) -> None:
    """The bound of the benchmark, which an engine that does nothing misses."""
    made = records(learned)
    alive = [one for one in made if one["outcome"] != "no gradient"]
    assert len(alive) > 0.8 * len(made)
    assert sum(one["reached"] > one["before"] for one in alive) >= 0.95 * len(alive)
    assert all(one["standing"]["words"] and one["judgement"]["words"] for one in made)
    free = [one for one in alive if one["start"] is None]
    beyond = sum(one["standing"]["percentile"] > 0.9 for one in free)
    assert beyond > 0.7 * len(free)


def test_a_class_brings_up_its_own_answer(learned: LearnedRun) -> None:
    """Dreams of the two classes' nodes, taken for these by the network that dreamt them."""
    for number, name in enumerate(learned.classes):
        node = learned.graph.class_node(name)
        kept = [one for one in records(learned) if one["node"] == node.id and one["start"] is None]
        assert kept[0]["reached"] > kept[0]["standing"]["median"], number


def test_a_new_name_leaves_the_album_as_it_is(learned: LearnedRun) -> None:
    unit = learned.graph.nodes("unit")[0]
    album = {path: path.stat().st_mtime_ns for path in (learned.path / "pictures").rglob("*.*")}
    Editor(open_run(learned.path, plugins=PLUGINS)).rename(unit.id, "the bar")
    again = learn(planted_data(count=200), resume=learned.path, plugins=PLUGINS)
    assert {path: path.stat().st_mtime_ns for path in (again.path / "pictures").rglob("*.*")} == album
    assert again.graph.node(unit.id).pictures == unit.pictures


def test_a_budget_leaves_units_out_first(tmp_path: Path) -> None:
    side = planted_data(count=200).shape[1]
    budget = 8 * side * side / 1e6
    small = chosen(QUICK, megapixels=budget, witness=False, steps=4)
    run = learn(planted_data(count=200), settings=small, out=tmp_path / "run", plugins=PLUGINS)
    made = records(run)
    assert len(made) == 8
    assert not any(run.graph.node(one["node"]).kind == "unit" for one in made)
    assert all(one["judgement"] is None for one in made)
    assert all((run.path / node.pictures[0]).exists() for node in run.graph.nodes()), (
        "real images are shown all the same"
    )
    assert torch.isfinite(torch.tensor([one["reached"] for one in made])).all()


def test_a_run_that_keeps_nothing_dreams_of_classes_and_features_alone(tmp_path: Path) -> None:
    """And trains nobody to judge that: it would take most of its time."""
    small = chosen(QUICK, steps=4)
    small = small.model_copy(update={"round": small.round.model_copy(update={"undo": ("block3/classes/1",)})})
    run = learn(planted_data(count=200), settings=small, out=tmp_path / "run", plugins=PLUGINS)
    assert [entry["decision"] for entry in run.summary()["rounds"]] == ["undone"]
    nodes, made = run.graph.nodes(), records(run)
    assert {node.kind for node in nodes} == {"class", "feature", "unit"}
    assert {one["node"] for one in made} == {node.id for node in nodes if node.kind != "unit"}
    assert {one["start"] for one in made} == {None, *run.classes}
    assert all(one["judgement"] is None for one in made)
    assert not run.has_witness
    assert all((run.path / node.pictures[0]).exists() for node in nodes), "real images are shown all the same"
