"""What an edit changes in the graph, planned and applied without a network."""

from __future__ import annotations

import random

import pytest

from conceptnet_ml.editing.delta import Delta
from conceptnet_ml.editing.plan import (
    closed_units,
    family_of,
    measured_edges,
    plan_annotate,
    plan_forget,
    plan_merge,
    plan_rename,
    plan_split,
)
from conceptnet_ml.errors import GraphError
from conceptnet_ml.graph.concept_graph import ConceptGraph


class Drawn:
    """Two classes with a feature each, on units 3 and 8 and on 5; what a round exchanged; a unit below."""

    def __init__(self) -> None:
        self.graph = graph = ConceptGraph(
            ["car", "dog"], [("low", 4), ("top", 16)], network="9f3a", settings="03bc", seed=7
        )
        self.car = graph.add_node("class", "car", classes=["car"])
        self.dog = graph.add_node("class", "dog", classes=["dog"])
        at = {"stage": "top", "round": 1}
        self.car_1 = graph.add_node("feature", "car in top/classes/1", classes=["car"], units=[3, 8], **at)
        self.dog_1 = graph.add_node("feature", "dog in top/classes/1", classes=["dog"], units=[5], **at)
        self.thing = graph.add_node(
            "generalized", "what is exchanged in top/classes/1", classes=["car", "dog"], units=[3, 5, 8], **at
        )
        self.in_car = graph.add_node("variant", "car in top/classes/1", classes=["car"], **at)
        self.unit = {unit: graph.add_node("unit", f"top unit {unit}", stage="top", units=[unit]) for unit in (3, 5, 8)}
        self.low = graph.add_node("unit", "low unit 1", stage="low", units=[1])
        for source, target in ((self.car, self.car_1), (self.dog, self.dog_1)):
            graph.add_edge("built_from", source, target, weight=0.8)
        for feature, unit in ((self.car_1, 3), (self.car_1, 8), (self.dog_1, 5)):
            graph.add_edge("built_from", feature, self.unit[unit], weight=0.4)
        graph.add_edge("generalizes", self.thing, self.car_1)
        graph.add_edge("generalizes", self.thing, self.dog_1)
        graph.add_edge("specializes", self.in_car, self.thing, class_name="car")
        graph.add_edge("built_from", self.in_car, self.low, weight=-2.5)

    def nodes(self, *ids: str):
        return [self.graph.node(one) for one in ids]

    def built_from(self, graph: ConceptGraph, target: str) -> set[str]:
        return {edge.source for edge in graph.edges("built_from", target=target)}


@pytest.fixture
def drawn() -> Drawn:
    graph = Drawn()
    assert graph.graph.check() == []
    return graph


def test_merged_units_are_silent_but_for_the_lowest(drawn):
    plan = plan_merge(drawn.graph, drawn.nodes(drawn.unit[8], drawn.unit[3]), 1)
    assert (plan.stage, plan.units, plan.result) == ("top", (3, 8), (3,))
    assert plan.structural
    after = plan.delta.apply(drawn.graph)
    assert after.node(drawn.unit[3]).state is None
    assert after.node(drawn.unit[8]).state == "merged"
    assert closed_units(after, "top") == (8,)
    assert [edge.target for edge in after.edges("became", source=drawn.unit[8])] == [drawn.unit[3]]
    assert drawn.built_from(after, drawn.unit[8]) == set()
    assert plan.sources == ((drawn.car_1, ("car",)),)
    assert drawn.graph.node(drawn.unit[8]).state is None  # the old graph is as it was


def test_merged_features_become_a_generalized_one(drawn):
    plan = plan_merge(drawn.graph, drawn.nodes(drawn.car_1, drawn.dog_1), 4)
    after = plan.delta.apply(drawn.graph)
    (new,) = [node for node in after.nodes("generalized") if node.id != drawn.thing]
    assert new.units == (3,)
    assert new.classes == ("car", "dog")
    assert {edge.target for edge in after.edges("generalizes", source=new.id)} == {drawn.car_1, drawn.dog_1}
    assert after.node(drawn.car_1).state == after.node(drawn.dog_1).state == "merged"
    assert closed_units(after, "top") == (5, 8)
    assert {edge.edit for edge in after.edges("became")} == {4}
    edges = measured_edges(plan.sources, {drawn.unit[3]: {"car": 1.0, "dog": 3.0}})
    weights = {edge["source"]: edge["weight"] for edge in edges}
    assert weights == {drawn.car_1: 1.0, drawn.dog_1: 3.0, new.id: 2.0}
    assert Delta(edges=edges).apply(after).edges("built_from", source=new.id)[0].effect == 2.0


def test_a_unit_without_a_node_gets_one(drawn):
    node = drawn.graph.add_node("unit", "top unit 12", stage="top", units=[12])
    after = plan_merge(drawn.graph, drawn.nodes(drawn.unit[5], node), 1).delta.apply(drawn.graph)
    assert after.node(node).state == "merged"


def test_what_is_split_goes_on_for_the_first_class(drawn):
    plan = plan_split(drawn.graph, drawn.graph.node(drawn.unit[3]), 2)
    assert (plan.units, plan.result, plan.classes) == ((3,), (3, 16), ((0,), (1,)))
    after = plan.delta.apply(drawn.graph)
    assert after.node(drawn.unit[3]).state == "split"
    assert after.node(drawn.unit[3]).classes == ("car",)
    (copy,) = [after.node(edge.target) for edge in after.edges("became", source=drawn.unit[3])]
    assert (copy.label, copy.units, copy.classes) == ("top unit 16", (16,), ("dog",))
    assert after.header.stages[1].units == 17
    with pytest.raises(GraphError, match="is split already"):
        plan_split(after, after.node(drawn.unit[3]), 3)
    again = plan_split(after, copy, 3, ["car"])
    assert again.result == (16, 17)
    assert again.delta.apply(after).node(copy.id).classes == ("dog",)


def test_where_a_variant_can_serve_no_class_it_is_nobodys(drawn):
    plan = plan_split(drawn.graph, drawn.graph.node(drawn.low), 1, serves=False)
    assert plan.classes == ()
    assert plan.description.endswith("into 2 variants")
    after = plan.delta.apply(drawn.graph)
    (edge,) = after.edges("became", source=drawn.low)
    assert after.node(edge.target).classes == after.node(drawn.low).classes == ()
    with pytest.raises(GraphError, match="cannot be a class's"):
        plan_split(drawn.graph, drawn.graph.node(drawn.low), 1, ["car"], serves=False)


def test_what_is_forgotten_is_built_from_no_more(drawn):
    after = plan_forget(drawn.graph, drawn.graph.node(drawn.car_1)).delta.apply(drawn.graph)
    assert after.node(drawn.car_1).state == "forgotten"
    assert closed_units(after, "top") == (3, 8)
    assert after.edges("built_from", source=drawn.car_1) == []
    assert drawn.built_from(after, drawn.low) == {drawn.in_car}  # a family's own trunk is not edited


def test_a_forgotten_generalized_feature_loses_its_family(drawn):
    plan = plan_forget(drawn.graph, drawn.graph.node(drawn.thing))
    assert plan.family == "top.1"
    assert plan.stage is None
    after = plan.delta.apply(drawn.graph)
    assert after.node(drawn.thing).state == after.node(drawn.in_car).state == "forgotten"


def test_names_of_families_below_a_feature():
    graph = Drawn().graph
    below = graph.add_node("generalized", "what is exchanged in low/top.1/2", stage="low", round=2)
    assert family_of(graph.node(below)) == "top.1.low.2"


def test_names_and_notes_come_and_go(drawn):
    node = drawn.graph.node(drawn.thing)
    named = plan_rename(drawn.graph, node, " wheels ").delta.apply(drawn.graph)
    assert named.node(node.id).title == "wheels"
    noted = plan_annotate(named, named.node(node.id), "on both").delta.apply(named)
    assert noted.node(node.id).note == "on both"
    bare = plan_rename(noted, noted.node(node.id), "").delta.apply(noted)
    assert bare.node(node.id).title == node.label
    assert not plan_rename(drawn.graph, node, "wheels").structural
    with pytest.raises(GraphError, match="is called 'wheels' already"):
        plan_rename(named, named.node(drawn.car_1), "wheels")
    for name, message in (("wheels", "is called so already"), ("top:3", "a unit is named by"), ("a\nb", "one line")):
        with pytest.raises(GraphError, match=message):
            plan_rename(named, named.node(node.id), name)
    with pytest.raises(GraphError, match="has no note already"):
        plan_annotate(named, named.node(node.id), " ")


def test_all_analogies_of_two_units_stay(drawn):
    for mine, other in (("car", "dog"), ("dog", "car")):
        drawn.graph.add_edge(
            "analogous", drawn.unit[3], drawn.unit[5], class_name=mine, other=other, score=0.4, null=0.1, untrained=0.2
        )
    after = plan_rename(drawn.graph, drawn.graph.node(drawn.thing), "wheels").delta.apply(drawn.graph)
    assert after.edges("analogous") == drawn.graph.edges("analogous")
    assert len(after.edges("analogous")) == 2
    split = plan_split(drawn.graph, drawn.graph.node(drawn.unit[3]), 1).delta.apply(drawn.graph)
    assert [edge.class_name for edge in split.edges("analogous")] == ["car"]  # its variant for dog is another unit


def test_a_difference_survives_json_and_can_be_made_twice(drawn):
    plan = plan_merge(drawn.graph, drawn.nodes(drawn.car_1, drawn.dog_1), 1)
    once = plan.delta.apply(drawn.graph)
    again = Delta(**plan.delta.plain()).apply(once)
    assert again == once


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d, g: plan_merge(g, d.nodes(d.unit[3], d.low), 2), "different stages: low, top"),
        (lambda d, g: plan_merge(g, d.nodes(d.dog_1, d.unit[5]), 2), "that is unit 5 alone"),
        (lambda d, g: plan_merge(g, d.nodes(d.unit[3], d.unit[3], d.unit[5]), 2), "named twice"),
        (lambda d, g: plan_merge(g, d.nodes(d.car, d.dog), 2), "cannot be merged: it is no unit or feature"),
        (
            lambda d, g: plan_merge(g, [g.node(d.unit[8]), g.node(d.unit[5])], 2),
            "is already merged into unit 'top unit 3'",
        ),
        (lambda d, g: plan_split(g, g.node(d.unit[8]), 2), "is already merged into unit 'top unit 3'"),
        (lambda d, g: plan_forget(g, g.node(d.unit[8])), "is already merged"),
        (lambda d, g: plan_split(g, g.node(d.car_1), 2), "only units are split"),
        (lambda d, g: plan_split(g, g.node(d.unit[3]), 2, ["cat"]), "no class 'cat'"),
        (lambda d, g: plan_split(g, g.node(d.unit[3]), 2, ["car", "car"]), "named twice"),
        (lambda d, g: plan_forget(g, g.node(d.car)), "cannot be forgotten"),
        (lambda d, g: plan_forget(g, g.node(d.in_car)), "cannot be forgotten"),
        (lambda d, g: plan_rename(g, g.node(d.car_1), "top unit 3"), "is called 'top unit 3' already"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(drawn, edit, message):
    merged = plan_merge(drawn.graph, drawn.nodes(drawn.unit[3], drawn.unit[8]), 1).delta.apply(drawn.graph)
    stays = merged.to_json()
    with pytest.raises(GraphError, match=message.replace("(", r"\(")):
        edit(drawn, merged)
    assert merged.to_json() == stays


def test_directions_are_not_operated_on(drawn):
    content = drawn.graph.to_plain()
    content["header"]["stages"][1]["directions"] = 16
    graph = ConceptGraph.from_plain(content)
    with pytest.raises(GraphError, match="described by directions"):
        plan_forget(graph, graph.node(drawn.unit[3]))


def test_a_feature_is_forgotten_with_the_variants_of_its_units(drawn):
    graph = plan_split(drawn.graph, drawn.graph.node(drawn.unit[3]), 1).delta.apply(drawn.graph)
    plan = plan_forget(graph, graph.node(drawn.car_1))
    assert plan.units == (3, 8, 16)
    after = plan.delta.apply(graph)
    assert after.check() == []
    assert closed_units(after, "top") == (3, 8, 16)


def test_a_unit_that_was_split_is_forgotten_by_itself(drawn):
    graph = plan_split(drawn.graph, drawn.graph.node(drawn.unit[3]), 1).delta.apply(drawn.graph)
    plan = plan_forget(graph, graph.node(drawn.unit[3]))
    assert plan.units == (3,)
    assert plan.delta.apply(graph).node(drawn.unit[3]).state == "forgotten"


@pytest.mark.parametrize("seed", range(30))
def test_whatever_is_edited_after_whatever_is_done_or_refused_with_a_reason(seed):
    draw, graph = random.Random(seed), Drawn().graph
    for number in range(1, 9):
        nodes = draw.sample(graph.nodes("unit", stage="top") + graph.nodes("feature"), 2)
        verb = draw.choice(("merge", "split", "forget"))
        try:
            plan = (
                plan_merge(graph, nodes, number)
                if verb == "merge"
                else plan_split(graph, nodes[0], number)
                if verb == "split"
                else plan_forget(graph, nodes[0])
            )
        except GraphError:
            continue  # before anything was done
        graph = plan.delta.apply(graph)
        assert graph.check() == []
