"""What is different between two concept graphs."""

from __future__ import annotations

import json
import math

import pytest

from conceptnet_ml.errors import SettingsError
from conceptnet_ml.graph.concept_graph import ConceptGraph


def graph(seed: int = 0, *, extra: bool = False, **measures: float) -> ConceptGraph:
    made = ConceptGraph(["car", "dog"], [("top", 8)], network="n", settings="s", seed=seed)
    car, _ = (made.add_node("class", name) for name in made.classes)
    feature = made.add_node(
        "feature",
        "car 1",
        stage="top",
        classes=["car"],
        units=[1],
        auc=measures.get("auc", 0.9),
        coverage={"car": measures.get("car", 0.5), "dog": 0.25},
        spectrum={"car": [0.0, measures.get("mean", 1.0), 2.0]},
    )
    made.add_edge("built_from", car, feature, weight=measures.get("weight", 1.0))
    if extra:
        unit = made.add_node("unit", "top unit 1", stage="top", units=[1])
        made.add_edge("built_from", feature, unit, weight=2.0)
    return made


def test_equal_graphs_have_no_difference() -> None:
    found = graph().diff(graph())
    assert not found
    assert found.plain() == {
        "header": {},
        "nodes": {"added": [], "removed": [], "changed": []},
        "edges": {"added": [], "removed": [], "changed": []},
    }


def test_what_was_added_is_what_is_removed_the_other_way_round() -> None:
    small, large = graph(), graph(extra=True)
    found, back = small.diff(large), large.diff(small)
    assert [node.label for node in found.nodes.added] == ["top unit 1"]
    assert [edge.strength for edge in found.edges.added] == [2.0]
    assert (back.nodes.removed, back.edges.removed) == (found.nodes.added, found.edges.added)
    assert not found.nodes.changed
    assert not found.nodes.removed


def test_changes_name_the_fields_with_old_and_new_values() -> None:
    old, new = graph(), graph(seed=3, auc=0.8, car=0.75, mean=1.5, weight=-1.0)
    feature = new.nodes("feature")[0]
    new.update_node(feature.id, name="wheel", state="forgotten")
    found = old.diff(new)
    assert found.header == {"seed": (0, 3)}
    (node,) = found.nodes.changed
    assert node.fields == {
        "auc": (0.9, 0.8),
        "coverage[car]": (0.5, 0.75),
        "spectrum[car]": ([0.0, 1.0, 2.0], [0.0, 1.5, 2.0]),
        "name": (None, "wheel"),
        "state": (None, "forgotten"),
    }
    (edge,) = found.edges.changed
    assert edge.fields == {"weight": (1.0, -1.0)}
    plain = json.loads(json.dumps(found.plain()))
    assert plain["nodes"]["changed"][0]["fields"]["auc"] == [0.9, 0.8]
    assert plain["nodes"]["changed"][0]["title"] == "wheel"
    assert plain["edges"]["changed"][0]["source"] == old.class_node("car").id


def test_within_the_tolerance_numbers_are_the_same() -> None:
    old, new = graph(), graph(auc=0.9 + 1e-7, car=0.5 + 1e-7, mean=1.0 + 1e-7, weight=1.0 + 1e-7)
    assert len(old.diff(new).nodes.changed[0].fields) == 3
    assert old.diff(new).edges.changed
    assert not old.diff(new, tolerance=1e-6)
    assert old.diff(new, tolerance=1e-8)
    assert old.diff(graph(seed=1), tolerance=9), "a seed is no measurement"


@pytest.mark.parametrize("tolerance", [-1e-9, math.nan])
def test_a_tolerance_is_at_least_zero(tolerance: float) -> None:
    with pytest.raises(SettingsError, match="at least 0"):
        graph().diff(graph(), tolerance)


def test_analogies_between_the_same_nodes_are_told_apart_by_their_classes() -> None:
    graphs = [graph(extra=True), graph(extra=True)]
    for made, score in zip(graphs, (0.5, 0.75), strict=True):
        low, high = made.nodes("unit")[0].id, made.add_node("unit", "top unit 2", stage="top", units=[2])
        made.add_edge("analogous", low, high, class_name="car", other="dog", score=0.5)
        made.add_edge("analogous", low, high, class_name="dog", other="car", score=score)
    (change,) = graphs[0].diff(graphs[1]).edges.changed
    assert change.new.key == "analogous dog car"
    assert change.fields == {"score": (0.5, 0.75)}
