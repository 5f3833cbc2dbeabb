"""A graph against what was planted: by hand-computed values, and the renderer's truth by its own pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from graph_recovery import (
    Concept,
    Evidence,
    assign,
    compare,
    concepts_of,
    judge_hierarchy,
    planted_concepts,
    similarity,
)
from graph_recovery import score as judge
from torch import Tensor
from torch.nn import functional

from conceptnet_ml import learn
from conceptnet_ml.config.settings import DataSettings, Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.ground_truth import PLACE, PlantedFeature, Truth
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.data.load import load_data
from conceptnet_ml.errors import DataError
from conceptnet_ml.evaluation.localization import part_cells
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.plugins import load_plugins
from conceptnet_plugins.datasets import cars_and_poodles as drawn

CLASSES = ("car", "poodle")
KINDS = {"pixels": PLACE, "colour": "colour"}
PLUGINS = load_plugins(use_entry_points=False)


def nothing(shown: Mapping[str, Tensor]) -> ImageSet:
    raise AssertionError("nobody draws here")


ROUNDS = PlantedFeature("rounds", PLACE, ("wheel", "curl"), ("wheel", "curl"))
TINT = PlantedFeature("tint", "colour", ("wheel", "curl"), ("red", "blue"), parent="rounds")
TRUTH = Truth((ROUNDS, TINT), nothing)
PLANTED = planted_concepts(TRUTH, CLASSES)


# ------------------------------------------------------------------------------------------------ what was planted


def test_a_truth_knows_its_levels_and_what_is_nested() -> None:
    spoke = PlantedFeature("spoke", PLACE, ("wheel", "curl"), ("a", "b"), parent="tint")
    body = PlantedFeature("body", PLACE, ("body", "body"), ("tin", "fur"))
    truth = Truth((ROUNDS, body, TINT, spoke), nothing)
    assert [truth.level(feature.name) for feature in truth.features] == [1, 1, 2, 3]
    assert truth.nested("rounds") == ["rounds", "tint", "spoke"]
    assert truth.nested("body") == ["body"]
    assert truth.classes == 2


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ((ROUNDS, ROUNDS), "two planted features"),
        ((TINT, ROUNDS), "must come before"),
        ((PlantedFeature("one", PLACE, ("wheel",), ("a", "b")),), "one variant per class"),
        ((ROUNDS, PlantedFeature("three", PLACE, ("a", "b", "c"), ("a", "b", "c"))), "one variant per class"),
    ],
)
def test_a_truth_refuses_what_does_not_fit(features: tuple[PlantedFeature, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Truth(features, nothing)


def test_planted_concepts_have_a_parent_each() -> None:
    assert [(concept.name, concept.parent, concept.level) for concept in PLANTED] == [
        ("rounds", "class", 1),
        ("rounds in car", "class car", 1),
        ("rounds in poodle", "class poodle", 1),
        ("tint", "rounds", 2),
        ("tint in car", "rounds in car", 2),
        ("tint in poodle", "rounds in poodle", 2),
    ]


# ------------------------------------------------------------------------------------------------ the graph's concepts


def add_family(
    graph: ConceptGraph, stage: str, key: str, representation: str, above: dict[str, str] | None = None
) -> dict[str, str]:
    """A generalized feature with a variant per class, as a run records it; returns the variants' ids by class."""
    at = {"stage": stage, "round": 1, "representation": representation}
    node = graph.add_node("generalized", f"what is exchanged in {key}", classes=CLASSES, **at)
    variants = {}
    for name in CLASSES:
        parent = None if above is None else above[name]
        variants[name] = graph.add_node("variant", f"{name} in {key}", classes=[name], parent=parent, **at)
        graph.add_edge("specializes", variants[name], node, class_name=name, parent=parent)
    return variants


def graph_of_two_stages() -> ConceptGraph:
    graph = ConceptGraph(CLASSES, [("low", 4), ("top", 8)], network="9f", settings="03", seed=0)
    for name in CLASSES:
        graph.add_node("class", name, classes=[name])
    upper = add_family(graph, "top", "top/classes/1", "pixels")
    add_family(graph, "low", "low/top.1/1", "colour", upper)
    return graph


def test_concepts_of_a_graph_are_named_like_the_families() -> None:
    found = concepts_of(graph_of_two_stages(), KINDS)
    assert [(one.name, one.kind, one.variant, one.parent, one.level) for one in found] == [
        ("top.1", PLACE, None, "class", 1),
        ("top.1 in car", PLACE, 0, "class car", 1),
        ("top.1 in poodle", PLACE, 1, "class poodle", 1),
        ("top.1.low.1", "colour", None, "top.1", 2),
        ("top.1.low.1 in car", "colour", 0, "top.1 in car", 2),
        ("top.1.low.1 in poodle", "colour", 1, "top.1 in poodle", 2),
    ]
    assert {one.owner for one in found} == {"top.1", "top.1.low.1"}


def test_below_the_object_a_concept_has_the_leaf_for_a_parent() -> None:
    graph = ConceptGraph(CLASSES, [("low", 4), ("top", 8)], network="9f", settings="03", seed=0)
    leaf = {
        name: graph.add_node("feature", f"{name} in top/classes/1", stage="top", round=1, classes=[name], units=[place])
        for place, name in enumerate(CLASSES)
    }
    add_family(graph, "low", "low/top.leaf/1", "colour", leaf)
    found = concepts_of(graph, KINDS)
    assert [one.name for one in found] == ["top.leaf.low.1", "top.leaf.low.1 in car", "top.leaf.low.1 in poodle"]
    assert [one.parent for one in found][1:] == ["car in top/classes/1", "poodle in top/classes/1"]
    matches = {0: 3, 1: 4, 2: 5}
    assert judge(found, PLANTED, matches)["edges"]["right"] == 0, "the tint is in the rounds, not in the object"


# ------------------------------------------------------------------------------------------------ matching and counting


def test_matches_have_the_greatest_sum_and_must_count() -> None:
    where, what = torch.tensor([[0.4, 0.3], [0.5, 0.02]]), torch.tensor([[0.9, 0.8], [0.6, 0.5]])
    both, chance, same = torch.stack([where, what]), torch.zeros(2, 2, 2), torch.ones(2, 2, dtype=torch.bool)
    assert similarity(both, same).tolist() == [
        [pytest.approx(0.6), pytest.approx(0.24**0.5)],
        [pytest.approx(0.3**0.5), pytest.approx(0.1)],
    ]
    assert assign(both, chance, same) == {0: 1, 1: 0}, "one by one, the best first, would give .6 + .1"
    chance[0, 0, 1] = 0.31
    assert assign(both, chance, same) == {1: 0}, "it lies there no better than by chance"
    what[1, 0] = 0.49
    assert assign(torch.stack([where, what]), chance, same) == {}, "it must follow half the time"
    same[0] = False
    assert assign(both, torch.zeros(2, 2, 2), same) == {1: 0}
    assert assign(torch.zeros(2, 0, 2), torch.zeros(2, 0, 2), torch.zeros(0, 2, dtype=torch.bool)) == {}


def rates(found: list[Concept], matches: dict[int, int]) -> dict[str, tuple[float | None, float | None]]:
    counted = judge(found, PLANTED, matches)
    return {part: (counted[part]["precision"], counted[part]["recall"]) for part in ("nodes", "edges")}


def test_precision_and_recall_by_hand() -> None:
    both = concepts_of(graph_of_two_stages(), KINDS)
    whole = {place: place for place in range(6)}
    assert rates(both, whole) == {"nodes": (1, 1), "edges": (1, 1)}
    assert judge(both, PLANTED, whole)["levels"] == {"1": 1.0, "2": 1.0}
    # The upper family alone: all it has is right, half of what there is.
    upper = both[:3]
    assert rates(upper, {0: 0, 1: 1, 2: 2}) == {"nodes": (1, 0.5), "edges": (1, 0.5)}
    assert judge(upper, PLANTED, {0: 0, 1: 1, 2: 2})["levels"] == {"1": 1.0, "2": 0.0}
    # The lower one is a false find: nodes 3 of 6 both ways, and no edge of its three.
    assert rates(both, {0: 0, 1: 1, 2: 2}) == {"nodes": (0.5, 0.5), "edges": (0.5, 0.5)}
    # Two variants mixed up: four of six edges, the lower ones hang on the wrong upper ones or are wrong themselves.
    assert rates(both, {**whole, 1: 2, 2: 1}) == {"nodes": (1, 1), "edges": (2 / 6, 2 / 6)}
    assert rates([], {}) == {"nodes": (None, 0), "edges": (None, 0)}


def test_a_truth_upside_down_has_the_nodes_but_not_the_edges() -> None:
    tint = PlantedFeature("tint", "colour", ("wheel", "curl"), ("red", "blue"))
    rounds = PlantedFeature("rounds", PLACE, ("wheel", "curl"), ("wheel", "curl"), parent="tint")
    turned = planted_concepts(Truth((tint, rounds), nothing), CLASSES)
    found = concepts_of(graph_of_two_stages(), KINDS)
    counted = judge(found, turned, {0: 3, 1: 4, 2: 5, 3: 0, 4: 1, 5: 2})
    assert counted["nodes"]["recall"] == 1
    assert counted["edges"]["right"] == 0


# ------------------------------------------------------------------------------------------------ evidence


def test_evidence_by_hand() -> None:
    # Four images of 2 × 2 cells, two of a class; the map is right in the first and the third, wrong in the others.
    cells = torch.zeros(4, 1, 2, 2)
    cells[:, 0, 0, 0] = 1
    looks = torch.zeros(4, 1, 2, 2)
    looks[[0, 2], 0, 0, 0] = 1
    looks[[1, 3], 0, 1, 1] = 1
    labels = torch.tensor([0, 0, 1, 1])
    shown = torch.tensor([1, 0, 0, 0])  # the first, third and fourth image are exchanged
    before = torch.tensor([0, 0, 1, 0])  # the fourth is answered wrongly and does not count
    after = torch.tensor([1, 0, 0, 0])
    evidence = Evidence(looks, cells, labels, shown, before, after)
    truth, dealt = torch.arange(4), torch.tensor([1, 0, 2, 3])
    assert evidence.overlaps(truth, 2).tolist() == pytest.approx([1 / 3, 1 / 3])
    assert evidence.turns(truth, 2).tolist() == [[1, 0], [0, 1]]
    # Dealt to the other image of class 0: where the truth says so nothing turned, where it says nothing it did.
    assert evidence.turns(dealt, 2).tolist() == [[1, 0], [0, -1]]


def test_cells_belong_to_a_part_from_a_fifth_of_the_cell() -> None:
    wheel, curl = torch.zeros(2, 4, 4, dtype=torch.uint8), torch.zeros(2, 4, 4, dtype=torch.uint8)
    wheel[0, 0, 0] = 1  # one of a cell's four px
    curl[1, 2:, 2:] = 1
    masks, labels = {"wheel": wheel, "curl": curl}, torch.tensor([0, 1])
    cells = part_cells(masks, ROUNDS.parts, torch.arange(2), labels, (2, 2))
    assert cells[:, 0].tolist() == [[[1, 0], [0, 0]], [[0, 0], [0, 1]]]
    assert part_cells(masks, ROUNDS.parts, torch.arange(2), labels, (1, 1)).flatten().tolist() == [0, 1]


def evidence_of(follows: float, sees: bool, count: int = 200, seed: int = 0) -> Evidence:
    """A family whose answers follow so often, and whose map lies on the feature or anywhere."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    place, elsewhere = torch.randint(16, (2, count), generator=draw).unbind(0)
    cells = functional.one_hot(place, 16).float().view(count, 1, 4, 4)
    looks = cells if sees else functional.one_hot(elsewhere, 16).float().view(count, 1, 4, 4)
    shown = torch.where(torch.rand(count, generator=draw) < 0.5, 1 - labels, labels)
    follow = torch.rand(count, generator=draw) < follows
    return Evidence(looks, cells, labels, shown, labels, torch.where(follow, shown, labels))


def test_a_run_that_found_everything_is_told_from_one_that_found_nothing() -> None:
    found = concepts_of(graph_of_two_stages(), KINDS)
    labels = torch.arange(200) % 2
    pairs = [(mine, true) for mine in ("top.1", "top.1.low.1") for true in ("rounds", "tint")]
    good = {pair: evidence_of(0.9, True) for pair in pairs}
    judged = compare(found, PLANTED, good, labels, 0, 40)
    assert judged["matches"] == {mine.name: true.name for mine, true in zip(found, PLANTED, strict=True)}
    assert (judged["nodes"]["recall"], judged["edges"]["recall"]) == (1, 1)
    assert judged["shuffled"] == {part: {"precision": 0, "recall": 0} for part in ("nodes", "edges")}
    assert all(pair["where_chance"] < 0.15 and pair["what_chance"] < 0.3 for pair in judged["pairs"])
    for bad in (evidence_of(0.9, False), evidence_of(0.1, True)):
        assert compare(found, PLANTED, dict.fromkeys(pairs, bad), labels, 0, 40)["nodes"]["right"] == 0
    # What was found as a place is not the tint, however its answers follow.
    places = concepts_of(graph_of_two_stages(), {"pixels": PLACE, "colour": PLACE})
    assert set(compare(places, PLANTED, good, labels, 0, 40)["matches"].values()) == {
        "rounds",
        "rounds in car",
        "rounds in poodle",
    }
    assert compare([], PLANTED, {}, labels, 0, 40)["nodes"]["recall"] == 0


# ------------------------------------------------------------------------------------------------ the renderer's truth


@pytest.fixture(scope="module")
def tinted() -> Data:
    return small("cars-and-poodles:tinted")


def small(source: str, **changes: object) -> Data:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawn, "TEST_PER_CLASS", 12)
        patch.setattr(drawn, "TELLING", 2)
        settings = Settings(data=DataSettings.model_validate({"source": source, "train_limit": 10, **changes}))
        return load_data(settings, PLUGINS)


def test_the_tint_is_exchanged_alone(tinted: Data) -> None:
    assert tinted.truth is not None
    labels = tinted.tests["test"].labels
    assert torch.equal(tinted.truth.draw({}).images, tinted.tests["aligned"].images)
    turned = tinted.truth.draw({"tint": 1 - labels})
    assert torch.equal(turned.images, tinted.tests["conflict"].images)
    assert torch.equal(turned.masks["wheel"], tinted.tests["test"].masks["wheel"])


def test_the_rounds_are_exchanged_alone_or_with_their_tint(tinted: Data) -> None:
    assert tinted.truth is not None
    labels = tinted.tests["test"].labels
    own, cars = tinted.truth.draw({}), labels == drawn.CAR
    alone = tinted.truth.draw({"rounds": 1 - labels})
    assert (alone.masks["curl"].flatten(1).sum(1) > 0).equal(cars)
    assert (alone.masks["wheel"].flatten(1).sum(1) > 0).equal(~cars)
    # Nothing but the rounds differs, those before and those after (and the edge their antialiasing blends).
    rounds = torch.stack([own.masks["wheel"], own.masks["curl"], alone.masks["wheel"], alone.masks["curl"]]).amax(0)
    near = functional.max_pool2d(rounds[:, None].float(), 3, 1, 1).bool().expand(-1, 3, -1, -1)
    assert torch.equal(alone.images[~near], own.images[~near])
    assert (alone.images[near] != own.images[near]).float().mean() > 0.5
    both = tinted.truth.draw({"rounds": 1 - labels, "tint": 1 - labels})
    for images, red in ((own, cars), (alone, cars), (both, ~cars)):
        assert (redness(images) > 0).equal(red)
    assert torch.equal(both.masks["wheel"], alone.masks["wheel"])
    half = torch.where(torch.arange(len(labels)) % 2 == 0, labels, 1 - labels)
    mixed = tinted.truth.draw({"rounds": half}).images
    assert torch.equal(mixed[::2], own.images[::2])
    assert torch.equal(mixed[1::2], alone.images[1::2])


def redness(images: ImageSet) -> Tensor:
    """Median of red minus blue over each image's rounds."""
    difference = images.images[:, 0].float() - images.images[:, 2].float()
    rounds = (images.masks["wheel"] | images.masks["curl"]).bool()
    return torch.stack([each[where].median() for each, where in zip(difference, rounds, strict=True)])


def test_who_has_a_truth(tinted: Data) -> None:
    assert tinted.truth is not None
    assert [(feature.name, feature.parent) for feature in tinted.truth.features] == [
        ("rounds", None),
        ("tint", "rounds"),
    ]
    plain = small("cars-and-poodles")
    assert plain.truth is not None
    assert [feature.name for feature in plain.truth.features] == ["rounds"]
    assert torch.equal(plain.truth.draw({}).images, plain.tests["test"].images)
    assert small("cars-and-poodles", trap="tint").truth is None, "it does not know the trap's cue"
    assert small("cars-and-poodles", classes=("poodle", "car")).truth is None, "its variants are in another order"


# ------------------------------------------------------------------------------------------------ runs


def test_a_run_without_concepts_has_no_precision_and_one_without_truth_is_refused(tmp_path: Path) -> None:
    data = small("cars-and-poodles")
    settings = Settings.model_validate(
        {
            "device": "cpu",
            "training": {"epochs": 1, "least_steps": 0, "above_chance": False},
            "round": {"limit": 0},
            "plugins": {"dreamer": "none", "controls": ()},
        }
    )
    judged = judge_hierarchy(learn(data, settings=settings, out=tmp_path / "bare"), 10)
    assert judged["nodes"] == {"right": 0, "found": 0, "planted": 3, "precision": None, "recall": 0}
    assert judged["matches"] == {}
    assert set(judged["follow"]) == {"ordinary", "learned"}
    nameless = Data(data.name, data.classes, data.train, data.tests)
    with pytest.raises(DataError, match="no planted truth"):
        judge_hierarchy(learn(nameless, settings=settings, out=tmp_path / "none"))


@pytest.mark.slow
def test_two_stages_recover_what_one_stage_misses(tmp_path: Path) -> None:
    judged = {}
    for depth in (1, 2):
        settings = Settings.model_validate(
            {
                "depth": depth,
                "data": {"source": "cars-and-poodles:tinted"},
                "plugins": {"dreamer": "none", "controls": ()},
            }
        )
        judged[depth] = judge_hierarchy(learn(settings, out=tmp_path / str(depth)))
    assert judged[1]["levels"] == {"1": 1.0, "2": 0.0}
    assert judged[1]["nodes"]["precision"] == 1
    assert judged[2]["nodes"]["recall"] == 1
    assert judged[2]["edges"]["recall"] == 1
    assert judged[2]["shuffled"]["nodes"]["recall"] < 0.1
    follow = {depth: one["follow"] for depth, one in judged.items()}
    upper, lower = "family block3.1", "family block3.1.block2.1"
    assert follow[1][upper]["tint"] > 0.6, "what one stage finds still rests on the tint"
    assert follow[2][upper]["tint"] < 0.4, "taught anew it does not"
    assert follow[2][upper]["rounds alone"] > follow[1][upper]["rounds alone"] + 0.2
    assert follow[2][lower]["tint"] > 0.6
    assert follow[2]["learned"]["tint"] < follow[1]["learned"]["tint"] - 0.1
