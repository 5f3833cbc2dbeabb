"""The concept graph as a drawing: stages as columns from the image to the classes, the strongest nodes and edges."""

from __future__ import annotations

from typing import Any

from conceptnet_ml.drawing.masks import crop_active
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.naming import called
from conceptnet_ml.graph.schema import Edge, Node
from conceptnet_ml.report.concepts import strength
from conceptnet_ml.report.figures import Figures

MOST = {"generalized": 3, "variant": 5, "feature": 6, "unit": 6, "class": 16}
"""Nodes of a kind that are drawn in a column at most."""

EDGES = 16
"""Edges between two columns that are drawn at most."""

_BRIGHTER = [round(255 * (value / 255) ** 0.65) for value in range(256)] * 3  # what is dimmed shows at 36 px, too

_WIDTH, _HEIGHT, _ACROSS, _DOWN, _TOP = 158, 44, 74, 12, 26


def layout_graph(graph: ConceptGraph, figures: Figures) -> dict[str, Any]:
    """Nodes and edges with their places in px, for the template to draw; and how many there are in all."""
    columns = _columns(graph)
    tallest = max(len(column) for _, column in columns)
    height = _TOP + tallest * (_HEIGHT + _DOWN)
    places: dict[str, tuple[int, int]] = {}
    nodes = []
    for number, (_, column) in enumerate(columns):
        start = _TOP + (height - _TOP - len(column) * (_HEIGHT + _DOWN)) // 2
        for row, node in enumerate(column):
            x, y = number * (_WIDTH + _ACROSS) + 1, start + row * (_HEIGHT + _DOWN)
            places[node.id] = (x, y)
            nodes.append(_node(graph, node, x, y, figures))
    edges = [_edge(edge, places) for edge in _edges(graph, places)]
    return {
        "width": len(columns) * (_WIDTH + _ACROSS) - _ACROSS + 2,
        "height": height,
        "box": (_WIDTH, _HEIGHT),
        "columns": [(number * (_WIDTH + _ACROSS), name) for number, (name, _) in enumerate(columns)],
        "nodes": nodes,
        "edges": edges,
        "all": (len(graph), len(graph.edges())),
    }


def _columns(graph: ConceptGraph) -> list[tuple[str, list[Node]]]:
    """The columns that hold anything, from the image to the classes, each with its strongest nodes of every kind;
    units only where they serve a node that is drawn."""
    classes = [graph.class_node(name) for name in graph.classes][: MOST["class"]]
    drawn = {node.id for node in classes}
    found: list[tuple[str, list[Node]]] = [("classes", classes)]
    for stage in reversed(graph.stages):
        column: list[Node] = []
        for kind in ("generalized", "variant", "feature", "unit"):
            nodes = [node for node in graph.nodes(kind, stage=stage) if node.state not in ("merged", "forgotten")]
            if kind == "unit":
                nodes = [one for one in nodes if any(edge.source in drawn for edge in _built(graph, one))]
            nodes.sort(key=lambda node: -strength(graph, node))
            column += sorted(nodes[: MOST[kind]], key=lambda node: node.round or 0)
            drawn |= {node.id for node in column}
        found += [(stage, column)] if column else []
    return found[::-1]


def _built(graph: ConceptGraph, node: Node) -> list[Edge]:
    return graph.edges("built_from", target=node.id)


def _edges(graph: ConceptGraph, places: dict[str, tuple[int, int]]) -> list[Edge]:
    """The strongest weights between the nodes that are drawn; what ties variants and members to what is exchanged."""
    drawn = [edge for edge in graph.edges() if edge.source in places and edge.target in places]
    ties = [edge for edge in drawn if edge.kind in ("specializes", "generalizes")]
    built = [edge for edge in drawn if edge.kind == "built_from" and edge.strength]
    columns: dict[tuple[int, int], list[Edge]] = {}
    for edge in sorted(built, key=lambda edge: -abs(edge.strength or 0.0)):
        columns.setdefault((places[edge.source][0], places[edge.target][0]), []).append(edge)
    return [*ties, *(edge for some in columns.values() for edge in some[:EDGES])]


def _edge(edge: Edge, places: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """A curve from the lower end's right side to the upper end's left; within a column a bow at its right."""
    (x1, y1), (x2, y2) = places[edge.target], places[edge.source]
    y1, y2 = y1 + _HEIGHT // 2, y2 + _HEIGHT // 2
    start, end = x1 + _WIDTH, x2 if x2 > x1 else x2 + _WIDTH
    bend = _ACROSS // 2 if x2 > x1 else _ACROSS // 2 + 6
    weight = edge.strength if edge.kind == "built_from" else None
    tone = "tie" if weight is None else "for" if weight > 0 else "against"
    return {
        "path": f"M{start} {y1}C{start + bend} {y1} {end - bend if x2 > x1 else end + bend} {y2} {end} {y2}",
        "tone": tone,
        "width": 1.2 if weight is None else round(min(4.5, 0.8 + abs(weight) ** 0.5), 2),
        "says": edge.kind if weight is None else f"weight {weight:+.3g}",
    }


def _node(graph: ConceptGraph, node: Node, x: int, y: int, figures: Figures) -> dict[str, Any]:
    name = next((one for one in node.pictures if "/nodes/" in one), None)
    cuttings = figures.sheet(name).cuttings if name else ()
    # What a person recognises is a real image; where there is none, the dream.
    last = (
        [one for one in cuttings if one.heading == cuttings[-1].heading][:1] if cuttings and cuttings[0].heading else []
    )
    thumb = figures.embed(crop_active(last[0].image).point(_BRIGHTER), 36, "") if last else None
    return {
        "id": node.id,
        "x": x,
        "y": y,
        "kind": node.kind,
        "title": called(node),
        "lines": _lines(node),
        "thumb": None if thumb is None else thumb.source,
    }


def _lines(node: Node) -> tuple[str, str]:
    """Two short lines that fit the box."""
    who = ", ".join(node.classes)
    first = {"class": node.label, "unit": f"unit {' '.join(map(str, node.units))}", "generalized": "exchanged"}
    second = {"class": "class", "unit": node.stage or "", "generalized": who}
    words = (node.name or first.get(node.kind, who), second.get(node.kind, f"{node.kind}, round {node.round}"))
    return _short(words[0]), _short(words[1])


def _short(words: str, most: int = 17) -> str:
    return words if len(words) <= most else words[: most - 1] + "…"
