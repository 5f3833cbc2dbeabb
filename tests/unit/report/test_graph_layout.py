"""The places of a graph's nodes: few crossings, families together, edges through gaps; and what a script is given."""

from __future__ import annotations

import json
import re
from itertools import chain
from pathlib import Path

import pytest
from graph_size import Drawn

from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.report.figures import Figures
from conceptnet_ml.report.graph_layout import ACROSS, FRAME, WIDTH, arrange, crossings, pack_columns, route
from conceptnet_ml.report.graph_view import GraphView, shares_before

EVIL = "</script><script>alert(1)</script><!--"


def tangled() -> ConceptGraph:
    """Six features built from units in reversed order, two of them a family with a variant."""
    classes = [f"class {number}" for number in range(6)]
    graph = ConceptGraph(classes, [("low", 8), ("top", 8)], network="n", settings="s", seed=0)
    features = []
    for number, name in enumerate(classes):
        owner = graph.add_node("class", name, classes=[name])
        features.append(
            graph.add_node("feature", f"f {number}", stage="top", round=1, classes=[name], units=[number], effect=2.0)
        )
        graph.add_edge("built_from", owner, features[-1], weight=1.0)
        unit = graph.add_node("unit", f"unit {7 - number}", stage="low", units=[7 - number])
        graph.add_edge("built_from", features[-1], unit, weight=-0.5)
    thing = graph.add_node("generalized", "thing", stage="top", round=1, classes=classes[2:4], units=[2, 3])
    for feature in features[2:4]:
        graph.add_edge("generalizes", thing, feature, score=0.5)
    variant = graph.add_node("variant", "v", stage="top", round=1, classes=[classes[2]])
    graph.add_edge("specializes", variant, thing, class_name=classes[2])
    graph.add_edge("built_from", graph.class_node(classes[0]).id, unit, weight=0.1)
    return graph


def test_crossings_are_counted_between_the_same_columns() -> None:
    place, height = {"a": 1, "b": 1, "c": 0, "d": 0, "e": 2}, {"a": 0, "b": 1, "c": 0, "d": 1, "e": 0}
    assert crossings([("a", "c"), ("b", "d")], place, height) == 0
    assert crossings([("a", "d"), ("b", "c")], place, height) == 1
    assert crossings([("a", "d"), ("b", "c"), ("a", "c"), ("b", "d")], place, height) == 1
    assert crossings([("a", "d"), ("e", "c")], place, height) == 0, "not between the same columns"
    assert crossings([("a", "d"), ("b", "d")], place, height) == 0, "they meet"


def test_edges_that_need_not_cross_do_not_and_a_family_stays_together() -> None:
    graph = tangled()
    columns = arrange(graph)
    assert [column.name for column in columns] == ["low: units", "top", "classes"]
    units = [block[0].units[0] for block in columns[0].blocks]
    assert units == sorted(units, reverse=True), "as the features above them stand"
    (family,) = [block for block in columns[1].blocks if len(block) > 1]
    assert [node.kind for node in family] == ["generalized", "variant", "feature", "feature"]


def test_a_large_graph_is_untangled_and_nothing_of_it_is_lost() -> None:
    graph = ConceptGraph.from_plain(Drawn(1000).plain())
    columns = arrange(graph)
    place = {node.id: at for at, column in enumerate(columns) for block in column.blocks for node in block}
    assert set(place) == {node.id for node in graph.nodes()}
    ends = [(edge.source, edge.target) for edge in graph.edges("built_from")]
    ends = [(source, target) for source, target in ends if place[source] != place[target]]
    after = {node.id: row for column in columns for row, node in enumerate(chain(*column.blocks))}
    before = {node.id: row for row, node in enumerate(graph.nodes())}
    assert crossings(ends, place, after) < 0.8 * crossings(ends, place, before), "of drawn edges most have to cross"


def test_no_edge_lies_over_a_box() -> None:
    """Where an edge passes a column, it lies between its blocks."""
    graph = tangled()
    columns = arrange(graph)
    packed = pack_columns(columns, {node.id: 50.0 for node in graph.nodes()}, left=10, top=20)
    assert min(place.y for place in packed.places.values()) == 20
    (long,) = [edge for edge in graph.edges("built_from") if edge.strength == 0.1]
    (passed,) = re.findall(r"([\d.]+)H([\d.]+)", route(long, packed, 0))
    assert float(passed[1]) == 10 + (WIDTH + ACROSS) + WIDTH + FRAME
    boxes = [place for place in packed.places.values() if place.column == 1]
    assert not any(place.y < float(passed[0]) < place.y + place.height for place in boxes)
    (bow,) = {route(edge, packed, 0) for edge in graph.edges("specializes")}
    assert bow.count("C") == 1, "within a column"


def test_the_strongest_have_their_share_together_and_a_family_opens_whole() -> None:
    graph = tangled()
    shares = shares_before(graph, arrange(graph))
    of = {node.id: node.kind for node in graph.nodes()}
    assert {kind for name, kind in of.items() if shares[name] == 0} >= {"class"}
    assert all(0 <= share <= 1 for share in shares.values())
    family = [node.id for node in graph.nodes("feature") if node.units[0] in (2, 3)]
    assert len({shares[node.id] for node in [*graph.nodes("generalized"), *graph.nodes("variant")]}) == 1
    assert {shares[name] for name in family} == {shares[node.id] for node in graph.nodes("generalized")}


def test_what_the_script_is_given_is_the_graph_and_ends_no_element() -> None:
    graph = ConceptGraph(["car", EVIL], [("low", 8)], network="n", settings="s", seed=0)
    owners = [graph.add_node("class", name, classes=[name]) for name in graph.classes]
    unit = graph.add_node("unit", EVIL, stage="low", units=[1], note='"quoted" & <b>', auc=1 / 3)
    graph.add_edge("built_from", owners[1], unit, weight=-2 / 3)
    text = GraphView(graph, Figures(Path())).data()
    assert "<" not in text
    data = json.loads(text)
    assert data["classes"] == ["car", EVIL]
    records = {entry["record"]["id"]: entry["record"] for entry in data["nodes"]}
    said = {"id": unit, "kind": "unit", "label": EVIL, "stage": "low", "units": [1], "note": '"quoted" & <b>'}
    assert records[unit] == {**said, "auc": 0.333333}
    (edge,) = data["edges"]
    ends = [data["nodes"][edge[end]]["record"]["id"] for end in ("source", "target")]
    assert (ends, edge["weight"]) == ([owners[1], unit], -0.666667)


@pytest.mark.parametrize("missing", ["pictures", "units"])
def test_a_graph_of_little_is_drawn_too(missing: str) -> None:
    graph = ConceptGraph(["car"], [("low", 8)], network="n", settings="s", seed=0)
    graph.add_node("class", "car", classes=["car"])
    if missing == "pictures":
        graph.add_node("unit", "unit 1", stage="low", units=[1], pictures=["pictures/nodes/gone.jpg"])
    view = GraphView(graph, Figures(Path()))
    assert (view.sprite, view.tiles) == (None, {})
    assert len(view.drawing()["nodes"]) == 1, "a unit that serves nothing is left out"
