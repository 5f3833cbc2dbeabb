"""The concept graph in Graphviz's DOT language: one row per stage, classes at the top."""

from __future__ import annotations

import json
from pathlib import Path

from conceptnet_ml.graph import ConceptGraph
from conceptnet_ml.graph_records import BuiltFrom, Edge, Generalizes, Node
from conceptnet_ml.runs import write_atomic

_SHAPES = {"class": "box", "variant": "hexagon", "generalized": "doubleoctagon", "feature": "ellipse", "unit": "circle"}
_STYLES = {"built_from": "solid", "generalizes": "dashed", "specializes": "dotted"}


def write(graph: ConceptGraph, path: Path) -> None:
    """Write DOT for ``dot -Tsvg``; a picture of the graph, not meant to be read back.

    Raises:
        DataError: The path cannot be written.
    """
    lines = ["digraph concepts {", "  rankdir=TB; newrank=true;", '  node [fontname="sans-serif", fontsize=10];']
    lines += [
        f"  {_quoted(node.id)} [shape={_SHAPES[node.kind]}, label={_quoted(_label(node))}];" for node in graph.nodes()
    ]
    for stage in reversed((*graph.stages, None)):
        members = "; ".join(_quoted(node.id) for node in graph.nodes() if node.stage == stage and node.kind != "unit")
        if members:
            lines.append(f"  {{ rank=same; {members} }}")
    lines += [_edge(edge) for edge in graph.edges()]
    write_atomic(path, "\n".join([*lines, "}"]) + "\n")


def _label(node: Node) -> str:
    facts = [
        f"{name} {value:.2f}" for name in ("auc", "phi", "iota") if (value := getattr(node, name, None)) is not None
    ]
    return "\n".join(filter(None, [node.label, node.stage, " ".join(facts)]))


def _edge(edge: Edge) -> str:
    value = edge.weight if isinstance(edge, BuiltFrom) else edge.score if isinstance(edge, Generalizes) else None
    label = "" if value is None else f", label={_quoted(f'{value:.2f}')}"
    return f"  {_quoted(edge.source)} -> {_quoted(edge.target)} [style={_STYLES[edge.kind]}{label}];"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
