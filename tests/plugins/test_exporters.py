"""Formats that other programs open: what they read is the graph, whatever its classes are called."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import networkx as nx
import pytest
from commands import call

from conceptnet_ml import ConceptGraph
from conceptnet_plugins.exporters import gexf, tables

NAMES = ('<b onclick="x()">🐩 & "cat"</b>', "\u202eright to left\u200f", '=HYPERLINK("http://x")', "a,b;c")


@pytest.fixture
def graph() -> ConceptGraph:
    made = ConceptGraph(NAMES, [("low", 8), ("top", 8)], network="9f", settings="03", seed=0)
    for number, name in enumerate(NAMES):
        owner = made.add_node("class", name, classes=[name])
        spectrum = dict.fromkeys(NAMES, (-1.0, 0.0, 1.0))
        fields = {"stage": "top", "round": 1, "units": [number], "effect": number - 1.5, "spectrum": spectrum}
        feature = made.add_node("feature", f"{name} 1", classes=[name], reason=f"it is {name}", **fields)
        made.add_edge("built_from", owner, feature, weight=number - 1.5)
        unit = made.add_node("unit", f"low unit {number}", stage="low", units=[number])
        made.add_edge("built_from", feature, unit, weight=0.0 if number else 2.0)
    features = made.nodes("feature")
    for pair in ((0, 1), (1, 0)):
        source, target = (features[place] for place in pair)
        made.add_edge(
            "analogous", source.id, target.id, class_name=source.classes[0], other=target.classes[0], score=0.5
        )
    made.update_node(features[0].id, name="-1+1")
    return made


def test_gexf_is_read_back_node_by_node_and_edge_by_edge(graph: ConceptGraph, tmp_path: Path) -> None:
    gexf.write(graph, tmp_path / "g.gexf")
    read = nx.read_gexf(tmp_path / "g.gexf")
    assert {*read} == {node.id for node in graph.nodes()}
    for node in graph.nodes():
        fields = read.nodes[node.id]
        assert fields["label"] == node.title
        assert json.loads(fields["classes"]) == list(node.classes)
        assert fields.get("effect") == node.effect
        assert all(isinstance(value, str | int | float) for value in fields.values())
    edges = {(one.source, one.target): one for one in graph.edges()}
    assert len(edges) == read.number_of_edges() == len(graph.edges())
    for source, target, fields in read.edges(data=True):
        edge = edges[source, target]
        assert (fields["kind"], fields["label"]) == (edge.kind, edge.key)
        assert fields.get("weight", getattr(edge, "score", None)) == edge.strength
    assert len({fields["id"] for _, _, fields in read.edges(data=True)}) == len(edges)
    assert "lastmodifieddate" not in (tmp_path / "g.gexf").read_text(encoding="utf-8")


def test_tables_are_read_back_and_no_name_is_computed(graph: ConceptGraph, tmp_path: Path) -> None:
    nodes, edges = (
        list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        for path in tables.write(graph, tmp_path / "nodes.csv")
    )
    plain = graph.to_plain()
    for rows, records in ((nodes, plain["nodes"]), (edges, plain["edges"])):
        assert len(rows) == len(records)
        for row, record in zip(rows, records, strict=True):
            assert {name for name, cell in row.items() if cell} == {*record}
            for name, value in record.items():
                cell = row[name]
                if isinstance(value, str):
                    assert cell == (f"'{value}" if value[0] in "=-+@" else value)
                else:
                    assert json.loads(cell) == value, "numbers and lists stay what they are, a minus before them or not"
    assert [*nodes[0]][:3] == ["id", "label", "kind"]
    assert [*edges[0]][:4] == ["source", "target", "kind", "weight"]
    assert not [cell for row in nodes for name, cell in row.items() if name != "effect" and cell.startswith(("=", "-"))]


@pytest.mark.parametrize(
    ("out", "written"),
    [
        ("g.csv", ["g.csv", "g-edges.csv"]),
        ("car-nodes.csv", ["car-nodes.csv", "car-edges.csv"]),
        ("t", ["t/nodes.csv", "t/edges.csv"]),
    ],
)
def test_the_edges_lie_beside_the_nodes(graph: ConceptGraph, tmp_path: Path, out: str, written: list[str]) -> None:
    (tmp_path / "graph.json").write_text(graph.to_json(), encoding="utf-8")
    done = call("graph", "export", tmp_path / "graph.json", "--format", "csv", "--out", tmp_path / out)
    assert done.stdout == "".join(f"wrote {tmp_path / name}\n" for name in written)
    assert all((tmp_path / name).stat().st_size for name in written)
