"""Selecting, resolving and chains in a concept graph, by hand-computed answers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conceptnet_ml.errors import GraphError, SettingsError
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.naming import called
from conceptnet_ml.graph.queries import influence


def empty() -> ConceptGraph:
    return ConceptGraph(["car", "dog"], [("low", 8), ("top", 8)], network="n", settings="s", seed=0)


class Wheels:
    """car → wheel → two units at the top, one of which is made of a low unit; an edge by itself at the dog."""

    def __init__(self) -> None:
        self.graph = graph = empty()
        self.car, self.dog = (graph.add_node("class", name, classes=[name]) for name in graph.classes)
        self.wheel = graph.add_node("feature", "car 1", stage="top", classes=["car"], units=[1, 2], name="wheel")
        self.fur = graph.add_node("feature", "dog 1", stage="top", classes=["dog"], units=[3], reason="Fur is THE dog")
        self.top_1, self.top_2 = (graph.add_node("unit", f"top unit {n}", stage="top", units=[n]) for n in (1, 2))
        self.low_5, self.low_6 = (graph.add_node("unit", f"low unit {n}", stage="low", units=[n]) for n in (5, 6))
        for source, target, weight in (
            (self.car, self.wheel, 0.5),
            (self.wheel, self.top_1, 4.0),
            (self.wheel, self.top_2, -0.5),
            (self.top_2, self.low_5, 0.25),
            (self.top_2, self.low_6, -2.0),
            (self.car, self.low_5, 0.1),
            (self.dog, self.fur, 0.9),
        ):
            graph.add_edge("built_from", source, target, weight=weight)
        graph.add_edge("analogous", self.wheel, self.fur, class_name="car", other="dog", score=0.7)


@pytest.fixture
def wheels() -> Wheels:
    return Wheels()


# -------------------------------------------------------------------------------------------------------- select


def test_select_nodes_by_each_condition_and_by_all(wheels: Wheels) -> None:
    graph = wheels.graph
    for conditions, expected in (
        ({}, {node.id for node in graph.nodes()}),
        ({"kind": "feature"}, {wheels.wheel, wheels.fur}),
        ({"stage": "low"}, {wheels.low_5, wheels.low_6}),
        ({"class_": "car"}, {wheels.car, wheels.wheel}),
        ({"text": "WHEEL"}, {wheels.wheel}),
        ({"text": "the dog"}, {wheels.fur}),
        ({"text": wheels.low_5[:9]}, {wheels.low_5}),
        ({"min_weight": 2}, {wheels.wheel, wheels.top_1, wheels.top_2, wheels.low_6}),
        ({"min_weight": 2, "kind": "unit", "stage": "top"}, {wheels.top_1, wheels.top_2}),
        ({"kind": "feature", "class_": "dog", "text": "1", "state": "current"}, {wheels.fur}),
        ({"state": "merged"}, set()),
    ):
        assert {node.id for node in graph.select(**conditions)} == expected, conditions
    found = graph.select()
    assert [node.id for node in found] == sorted(node.id for node in found)


def test_select_edges_whose_ends_meet_the_conditions(wheels: Wheels) -> None:
    graph = wheels.graph
    for conditions, expected in (
        ({"kind": "analogous"}, {(wheels.wheel, wheels.fur)}),
        ({"min_weight": 0.9}, {(wheels.wheel, wheels.top_1), (wheels.top_2, wheels.low_6), (wheels.dog, wheels.fur)}),
        ({"class_": "dog"}, {(wheels.dog, wheels.fur), (wheels.wheel, wheels.fur)}),
        ({"text": "fur"}, {(wheels.dog, wheels.fur), (wheels.wheel, wheels.fur)}),
        ({"stage": "low", "min_weight": 0.2}, {(wheels.top_2, wheels.low_5), (wheels.top_2, wheels.low_6)}),
        ({"state": "forgotten"}, set()),
    ):
        assert {(edge.source, edge.target) for edge in graph.select_edges(**conditions)} == expected, conditions


def test_an_analogy_between_units_is_found_by_the_classes_it_names(wheels: Wheels) -> None:
    graph = wheels.graph
    graph.add_edge("analogous", wheels.top_1, wheels.top_2, class_name="car", other="dog", score=0.2)
    graph.add_edge("analogous", wheels.top_1, wheels.top_2, class_name="dog", other="car", score=0.3)
    found = graph.select_edges(kind="analogous", class_="dog", stage="top")
    assert sorted(edge.plain()["score"] for edge in found) == [0.2, 0.3, 0.7]
    assert len(graph.edges("analogous", source=wheels.top_1, target=wheels.top_2)) == 2
    with pytest.raises(GraphError, match="is there already"):
        graph.add_edge("analogous", wheels.top_1, wheels.top_2, class_name="car", other="dog", score=0.9)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"kind": "features"}, "Did you mean 'feature'"),
        ({"kind": "built_from"}, "no kind 'built_from'"),
        ({"stage": "tip"}, "Did you mean 'top'"),
        ({"class_": "cars"}, "Did you mean 'car'"),
        ({"state": "forgot"}, "Did you mean 'forgotten'"),
        ({"min_weight": math.nan}, "not a number"),
    ],
)
def test_conditions_that_nothing_can_meet_are_refused(wheels: Wheels, conditions: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        wheels.graph.select(**conditions)
    with pytest.raises(SettingsError, match="there is no kind of edge 'feature'") as refused:
        wheels.graph.select_edges(kind="feature")
    assert "leave --edges out" in refused.value.mend
    with pytest.raises(SettingsError) as refused:
        wheels.graph.select(kind="built_from")
    assert "add --edges" in refused.value.mend


# ------------------------------------------------------------------------------------------------------- resolve


def test_resolve_finds_a_node_by_whatever_names_it(wheels: Wheels) -> None:
    graph = wheels.graph
    for text, expected in (
        (wheels.wheel, wheels.wheel),
        (wheels.wheel[:6], wheels.wheel),
        ("wheel", wheels.wheel),
        ("car 1", wheels.wheel),
        (" car ", wheels.car),
        ("low:5", wheels.low_5),
        ("low/6", wheels.low_6),
        ("low unit 6", wheels.low_6),
        ("low, unit 6", wheels.low_6),
        (f"unit {wheels.low_6}", wheels.low_6),
        ("What makes dog (round None, top)", wheels.fur),
        ("what makes dog", wheels.fur),
        ("WHEEL", wheels.wheel),
    ):
        assert graph.resolve(text).id == expected, text


def test_resolve_refuses_what_is_not_there_with_the_nearest(wheels: Wheels) -> None:
    for text, message in (
        ("whel", r"no node 'whel' in the graph.\n  Did you mean 'wheel'"),
        ("unit", r"Did you mean .top unit 2.\? Known: .*low unit 6, .*An id, or STAGE:UNIT"),
        ("low:7", r"unit 7 of stage low has no node.*\n  Nearest with a node: 5, 6"),
        ("§§", "An id, or STAGE:UNIT, names one, too"),
        ("", "no node ''"),
    ):
        with pytest.raises(SettingsError, match=message):
            wheels.graph.resolve(text)


def test_of_many_nodes_it_says_how_many_there_are_and_not_how_many_names() -> None:
    graph = empty()
    for number in range(22):
        graph.add_node("feature", f"thing {number}", stage="top", units=[number % 2])
    with pytest.raises(SettingsError, match=f"lists all {len(graph)} nodes"):
        graph.resolve("nothing like it")


def test_each_name_on_the_page_means_its_node(wheels: Wheels) -> None:
    """Two features of one class, stage and round, found in the answers of two families, are told apart."""
    graph = wheels.graph
    for readout in ("classes", "top.1", "top.2", "top.leaf"):
        found = {"stage": "low", "round": 1, "classes": ["car"], "units": [1], "found_in": f"low/{readout}/1"}
        graph.add_node("feature", f"car in low/{readout}/1", **found)
    for node in graph.nodes():
        assert graph.resolve(called(node)) == node
        assert graph.resolve(f"{node.kind} {node.id}") == node
    with pytest.raises(SettingsError, match=r"Did you mean 'What makes car .round 1, low, below what top.2 found.'"):
        graph.resolve("What makes car (round 1, low, below what top.22 found)")
    with pytest.raises(SettingsError, match="could be 4 nodes"):
        graph.resolve("what makes car")
    object_s = graph.resolve("What makes car (round 1, low, below the object that is left at top)")
    assert object_s.found_in == "low/top.leaf/1"


def test_resolve_refuses_what_could_be_several(wheels: Wheels) -> None:
    wheels.graph.update_node(wheels.fur, name="wheel")
    with pytest.raises(SettingsError, match="could be 2 nodes") as refused:
        wheels.graph.resolve("wheel")
    assert f"{wheels.fur} (feature wheel at top)" in refused.value.mend
    assert f"{wheels.wheel} (feature wheel at top)" in refused.value.mend
    with pytest.raises(SettingsError, match=r"could be 1\d nodes.*\n.*and 5 more"):
        many_alike().resolve("alike")


def many_alike() -> ConceptGraph:
    graph = empty()
    for round in range(1, 11):
        graph.add_node("feature", "alike", stage="top", round=round, units=[0])
    return graph


def test_a_name_means_what_is_current_and_an_id_means_its_node(wheels: Wheels) -> None:
    graph = wheels.graph
    graph.update_node(wheels.wheel, state="merged")
    assert graph.resolve("wheel").id == wheels.wheel
    new = graph.add_node("feature", "wheel", stage="top", units=[1, 2, 3])
    graph.add_edge("became", wheels.wheel, new, edit=1)
    assert graph.resolve("wheel").id == new
    assert graph.resolve(wheels.wheel).id == wheels.wheel


# --------------------------------------------------------------------------------------------------------- paths


def test_paths_are_the_strongest_of_each_thing_that_come_lowest(wheels: Wheels) -> None:
    found = wheels.graph.paths("car", 9)
    ids = [[node.id for node in chain.nodes] for chain in found]
    through = [wheels.car, wheels.wheel, wheels.top_2]
    assert ids == [[*through, wheels.low_6], [wheels.car, wheels.low_5], [*through, wheels.low_5]]
    assert [chain.strength for chain in found] == [0.5, 0.1, 0.0625]
    assert found[0].weights == (0.5, -0.5, -2.0)
    assert [chain.strength for chain in wheels.graph.paths("car", 2)] == [0.5, 0.1]
    assert found[0].plain()["nodes"][1] == {"id": wheels.wheel, "title": "wheel", "kind": "feature", "stage": "top"}


def test_paths_begin_with_the_classs_strongest_features_whatever_comes_lower() -> None:
    """As in runs of two stages: the strongest feature ends at the middle stage, a weak one goes down to the image by
    large negative weights. All paths went through the weak one."""
    graph = ConceptGraph(["car"], [("low", 8), ("mid", 8), ("top", 8)], network="n", settings="s", seed=0)
    car = graph.add_node("class", "car", classes=["car"])
    strong, second, weak = (graph.add_node("feature", name, stage="top", units=[0]) for name in ("a", "b", "c"))
    mid = [graph.add_node("unit", f"mid unit {n}", stage="mid", units=[n]) for n in range(2)]
    low = [graph.add_node("unit", f"low unit {n}", stage="low", units=[n]) for n in range(3)]
    for target, weight in ((strong, 3.0), (second, -2.0), (weak, 0.5)):
        graph.add_edge("built_from", car, target, weight=weight)
    for source, target, weight in (
        (strong, mid[0], 0.5),
        (strong, mid[1], -0.25),
        (second, mid[1], 0.5),
        *((weak, one, -9.0 - place) for place, one in enumerate(low)),
    ):
        graph.add_edge("built_from", source, target, weight=weight)
    found = graph.paths("car", 5)
    ids = [[node.id for node in chain.nodes[1:]] for chain in found]
    assert ids[:3] == [[strong, mid[0]], [second, mid[1]], [weak, low[2]]]
    assert ids[3:] == [[strong, mid[1]], [weak, low[1]]], "then the second of each"
    assert [chain.sign for chain in found] == [1, -1, -1, -1, -1]
    assert [chain.strength for chain in found] == [1.5, 1.0, 5.5, 0.75, 5.0]
    assert found[1].plain()["sign"] == -1


def test_paths_of_a_class_made_of_nothing_are_the_class_itself() -> None:
    graph = empty()
    graph.add_node("class", "car")
    (chain,) = graph.paths("car", 3)
    assert ([node.label for node in chain.nodes], chain.weights, chain.strength) == (["car"], (), 1.0)
    with pytest.raises(GraphError, match="no class 'dog'"):
        graph.paths("dog")
    with pytest.raises(SettingsError, match="at least one"):
        graph.paths("car", 0)


def test_paths_go_round_what_was_forgotten_and_on_with_what_was_merged(wheels: Wheels) -> None:
    graph = wheels.graph
    merged = graph.add_node("feature", "round things", stage="top", units=[1, 2, 3])
    graph.add_edge("built_from", merged, wheels.low_6, weight=3.0)
    for old in (wheels.wheel, wheels.fur):
        graph.update_node(old, state="merged")
        graph.add_edge("became", old, merged, edit=1)
    (best, *_) = graph.paths("car", 9)
    assert [node.id for node in best.nodes] == [wheels.car, merged, wheels.low_6]
    assert best.strength == 1.5
    graph.update_node(merged, state="forgotten")
    assert [[node.id for node in chain.nodes] for chain in graph.paths("car", 9)] == [[wheels.car, wheels.low_5]]


def test_a_chain_does_not_come_back_through_what_an_edit_joined() -> None:
    graph = empty()
    car = graph.add_node("class", "car", classes=["car"])
    upper, lower, old = (graph.add_node("feature", name, stage="top", units=[0]) for name in ("upper", "lower", "old"))
    for source, target in ((car, upper), (upper, lower), (lower, old)):
        graph.add_edge("built_from", source, target, weight=1)
    graph.update_node(old, state="merged")
    graph.add_edge("became", old, upper, edit=1)
    assert graph.check() == ["class 'dog' has no node"]
    assert [[node.id for node in chain.nodes] for chain in graph.paths("car", 9)] == [[car, upper, lower]]


def test_analogies_are_no_part_of_a_chain_and_may_go_in_a_circle(wheels: Wheels) -> None:
    before = [chain.plain() for chain in wheels.graph.paths("car", 9)]
    wheels.graph.add_edge("analogous", wheels.top_1, wheels.top_2, class_name="car", other="dog", score=1)
    wheels.graph.add_edge("analogous", wheels.top_2, wheels.top_1, class_name="car", other="dog", score=1)
    assert [chain.plain() for chain in wheels.graph.paths("car", 9)] == before
    assert not [problem for problem in wheels.graph.check() if "circle" in problem]


def test_a_chain_can_be_longer_than_the_recursion_limit() -> None:
    graph = ConceptGraph(["car"], [("s", 5000)], network="n", settings="s", seed=0)
    last = graph.add_node("class", "car")
    for unit in range(3000):
        unit_node = graph.add_node("unit", f"unit {unit}", stage="s", units=[unit])
        graph.add_edge("built_from", last, unit_node, weight=0.5)
        last = unit_node
    (chain,) = graph.paths("car", 4)
    assert len(chain.nodes) == 3001
    assert chain.strength == 0.0
    assert graph.check() == []
    assert len(ConceptGraph.from_json(graph.to_json()).paths("car")[0].nodes) == 3001


def test_the_strength_of_large_weights_is_a_number_still() -> None:
    graph = ConceptGraph(["car"], [("s", 9)], network="n", settings="s", seed=0)
    last = graph.add_node("class", "car")
    for unit in range(3):
        unit_node = graph.add_node("unit", f"unit {unit}", stage="s", units=[unit])
        graph.add_edge("built_from", last, unit_node, weight=1e300)
        last = unit_node
    assert math.isfinite(graph.paths("car")[0].strength)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(st.tuples(st.integers(0, 7), st.integers(0, 7)), st.sampled_from([0.5, 1.0, -2.0, 3.0])),
    st.integers(1, 6),
)
def test_chains_are_those_of_going_through_all_of_them(weights: dict, count: int) -> None:
    graph = ConceptGraph(["car"], [("low", 9), ("top", 9)], network="n", settings="s", seed=0)
    ids = [graph.add_node("class", "car")]
    ids += [graph.add_node("unit", str(n), stage="top" if n < 4 else "low", units=[n]) for n in range(1, 8)]
    for (source, target), weight in weights.items():
        if source < target:
            graph.add_edge("built_from", ids[source], ids[target], weight=weight)

    def all_chains(trail: list[int]) -> Iterator[list[int]]:
        ahead = [target for source, target in weights if source == trail[-1] and source < target]
        yield from itertools.chain.from_iterable(all_chains([*trail, target]) for target in ahead)
        if not ahead:
            yield trail

    def rank(trail: list[int]) -> int:
        return 2 if trail[-1] == 0 else 1 if trail[-1] < 4 else 0

    def size(trail: list[int]) -> float:
        return math.prod(abs(weights[pair]) for pair in itertools.pairwise(trail))

    first: dict[int, list[list[int]]] = {}
    for trail in all_chains([0]):
        first.setdefault(trail[1] if len(trail) > 1 else 0, []).append(trail)
    ranked = []  # of each thing the chains that come lowest, the strongest first
    for thing, trails in first.items():
        lowest = [trail for trail in trails if rank(trail) == min(map(rank, trails))]
        sizes = sorted(map(size, lowest), reverse=True)
        ranked += [(place, -abs(weights.get((0, thing), 1.0)), -one) for place, one in enumerate(sizes)]
    expected = [-one for _, _, one in sorted(ranked)]
    found = graph.paths("car", count)
    assert [chain.strength for chain in found] == pytest.approx(expected[:count])
    assert len({tuple(node.id for node in chain.nodes) for chain in found}) == len(found)


def test_a_chain_goes_on_from_a_feature_to_its_own_variant(wheels: Wheels) -> None:
    """What a feature is built from one stage down is told of its variant; another class's variant is another thing."""
    graph = wheels.graph
    whole = graph.add_node("generalized", "what is exchanged", stage="top", classes=["car", "dog"], units=[1, 2, 3])
    for feature, name, low in ((wheels.wheel, "car", wheels.low_5), (wheels.fur, "dog", wheels.low_6)):
        graph.add_edge("generalizes", whole, feature)
        variant = graph.add_node("variant", f"{name} variant", stage="top", classes=[name])
        graph.add_edge("specializes", variant, whole, class_name=name)
        graph.add_edge("built_from", variant, low, weight=8.0)
    (chain,) = graph.paths("car")
    assert [node.title for node in chain.nodes] == ["car", "wheel", "car variant", "low unit 5"]
    assert chain.weights == (0.5, 1.0, 8.0)
    titles = [[node.title for node in one.nodes] for one in graph.paths("dog", 9)]
    assert titles == [["dog", "dog 1", "dog variant", "low unit 6"]]


# ----------------------------------------------------------------------------------------------------- influence


def test_influence_is_handed_down_by_the_sizes_of_the_weights(wheels: Wheels) -> None:
    found = influence(wheels.graph)
    expected = {wheels.car: 1, wheels.dog: 1, wheels.fur: 1, wheels.wheel: 5 / 6, wheels.top_1: 5 / 6 * 8 / 9}
    expected |= {wheels.top_2: 5 / 54, wheels.low_5: 1 / 6 + 5 / 54 / 9, wheels.low_6: 5 / 54 * 8 / 9}
    assert found == pytest.approx(expected)


def test_what_no_class_leads_to_has_no_influence_and_large_weights_are_shared_evenly() -> None:
    graph = empty()
    car = graph.add_node("class", "car", classes=["car"])
    graph.add_node("class", "dog", classes=["dog"])
    units = [graph.add_node("unit", f"unit {number}", stage="low", units=[number]) for number in range(3)]
    for unit in units[:2]:
        graph.add_edge("built_from", car, unit, weight=-1.7e308)
    found = influence(graph)
    assert [found[unit] for unit in units] == [0.5, 0.5, 0.0]
