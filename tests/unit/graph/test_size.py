"""What a large concept graph costs, by counting operations."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from graphml import from_graphml, to_graphml

from conceptnet_ml.errors import GraphError
from conceptnet_ml.graph import invariants as graph_invariants
from conceptnet_ml.graph import queries as graph_queries
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.schema import node_id

COUNTS = (100, 400)


def chain(count: int) -> ConceptGraph:
    """A class above features of one stage, each built from the next, and from a unit below."""
    graph = ConceptGraph(["car"], [("low", count), ("top", count)], network="n", settings="s", seed=0)
    last = graph.add_node("class", "car", classes=["car"])
    for number in range(count):
        feature = graph.add_node("feature", f"f {number}", stage="top", classes=["car"], units=[number])
        unit = graph.add_node("unit", f"u {number}", stage="low", units=[number])
        graph.add_edge("built_from", last, feature, weight=1.0)
        graph.add_edge("built_from", feature, unit, weight=0.5)
        last = feature
    return graph


def calls(work: Callable[[], Any]) -> int:
    """How many functions, of Python or C, a piece of work calls."""
    count = 0

    def counted(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    "work",
    [
        lambda graph: ConceptGraph.from_json(graph.to_json()),
        lambda graph: from_graphml(to_graphml(graph)),
        lambda graph: graph.check(),
        lambda graph: graph.paths("car", 3),
        lambda graph: graph.select(text="f 1", min_weight=0.7),
        lambda graph: graph.select_edges(class_="car", state="current"),
        lambda graph: graph.resolve("f 7"),
        lambda graph: graph.diff(graph),
        lambda graph: chain(len(graph) // 2),
    ],
    ids=["json", "graphml", "check", "paths", "select", "select_edges", "resolve", "diff", "add_edge"],
)
def test_work_grows_with_the_graph_and_no_faster(work: Callable[[ConceptGraph], Any]) -> None:
    small, large = (chain(count) for count in COUNTS)
    work(small)  # what is imported or compiled once
    assert calls(lambda: work(large)) < 1.1 * COUNTS[1] / COUNTS[0] * calls(lambda: work(small))


def test_loading_and_checking_search_for_no_way_between_two_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[tuple[str, str]] = []
    circles: list[str] = []
    reaches, circle = ConceptGraph.reaches, ConceptGraph.circle

    def counted(self: ConceptGraph, source: str, target: str, kind: str = "built_from") -> bool:
        searches.append((source, target))
        return reaches(self, source, target, kind)

    def looked(self: ConceptGraph, kind: str = "built_from") -> Any:
        circles.append(kind)
        return circle(self, kind)

    graph = chain(50)
    monkeypatch.setattr(ConceptGraph, "reaches", counted)
    monkeypatch.setattr(ConceptGraph, "circle", looked)
    again = ConceptGraph.from_json(graph.to_json())
    assert (searches, circles) == ([], ["built_from", "became"])
    assert again.check() == []
    assert searches == []
    unit = again.nodes("unit")[0]
    again.add_edge("built_from", again.nodes("class")[0].id, unit.id, weight=1)
    assert searches == [], "an edge that leads down a stage closes no circle"
    one, other = (again.resolve(name).id for name in ("f 0", "f 2"))
    again.add_edge("built_from", one, other, weight=1)
    assert searches == [(other, one)]


def test_the_search_for_a_circle_stays_on_the_level_of_the_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = chain(50)
    graph.add_edge("built_from", graph.resolve("f 0").id, graph.resolve("f 49").id, weight=1)
    seen: set[str] = set()
    height = ConceptGraph._height

    def noted(self: ConceptGraph, identifier: str, kind: str) -> tuple[int, int]:
        seen.add(identifier)
        return height(self, identifier, kind)

    monkeypatch.setattr(ConceptGraph, "_height", noted)
    with pytest.raises(GraphError, match="goes in a circle"):
        graph.add_edge("built_from", graph.resolve("f 49").id, graph.resolve("f 0").id, weight=1)
    assert len(seen) < 10, "f 0 leads to f 49 straight"


def test_the_search_for_a_circle_does_not_go_down_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = ConceptGraph(["car"], [("low", 60), ("top", 4)], network="n", settings="s", seed=0)
    a, b = (graph.add_node("feature", name, stage="top", units=[0]) for name in "ab")
    last = b
    for number in range(50):
        unit = graph.add_node("unit", f"u {number}", stage="low", units=[number])
        graph.add_edge("built_from", last, unit, weight=1)
        last = unit
    seen: set[str] = set()
    height = ConceptGraph._height

    def noted(self: ConceptGraph, identifier: str, kind: str) -> tuple[int, int]:
        seen.add(identifier)
        return height(self, identifier, kind)

    monkeypatch.setattr(ConceptGraph, "_height", noted)
    graph.add_edge("built_from", graph.add_node("class", "car"), a, weight=1)
    graph.add_edge("built_from", a, b, weight=1)
    assert len(seen) <= 4


@pytest.mark.parametrize("ends", [(20, 10), (49, 0)])
def test_a_file_that_goes_in_a_circle_is_refused_by_an_edge_of_it(ends: tuple[int, int]) -> None:
    plain = chain(50).to_plain()
    source, target = (node_id("feature", f"f {n}", "top", None, None, [n]) for n in ends)
    plain["edges"].append({"kind": "built_from", "source": source, "target": target, "weight": 1.0})
    with pytest.raises(GraphError, match=r"built_from from feature 'f .*: goes in a circle"):
        ConceptGraph.from_plain(plain)


def test_rival_variants_are_looked_for_once_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = ConceptGraph([f"c{n}" for n in range(40)], [("top", 4)], network="n", settings="s", seed=0)
    thing = graph.add_node("generalized", "thing", stage="top")
    for name in graph.classes:
        variant = graph.add_node("variant", name, stage="top", classes=[name])
        graph.add_edge("specializes", variant, thing, class_name=name)
    rounds: list[int] = []
    rivals = graph_invariants._rivals

    def counted(of: ConceptGraph, edges: Any) -> Any:
        rounds.append(len(edges))
        return rivals(of, edges)

    monkeypatch.setattr(graph_invariants, "_rivals", counted)
    plain = graph.to_plain()
    ConceptGraph.from_plain(plain)
    assert rounds == [40]
    plain["edges"][0]["class_name"] = plain["edges"][1]["class_name"]
    plain["nodes"] = [{**node, "classes": list(graph.classes)} for node in plain["nodes"]]
    with pytest.raises(GraphError, match="there is a variant for"):
        ConceptGraph.from_plain(plain)


def test_each_node_of_a_chain_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = chain(50)
    seen: list[str] = []
    steps = graph_queries._steps

    def noted(of: ConceptGraph, source: str) -> dict[str, float]:
        seen.append(source)
        return steps(of, source)

    monkeypatch.setattr(graph_queries, "_steps", noted)
    graph.paths("car", 5)
    assert sorted(seen) == sorted(node.id for node in graph.nodes())
