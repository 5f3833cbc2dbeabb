"""The concept graph in Graphviz's DOT language: one row per stage, classes at the top."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from conceptnet_ml import ConceptGraph
from conceptnet_ml.graph.schema import Analogous, Became, BuiltFrom, Edge, Generalizes, Node
from conceptnet_ml.storage.files import write_atomic

_SHAPES = {"class": "box", "variant": "hexagon", "generalized": "doubleoctagon", "feature": "ellipse", "unit": "circle"}
_STYLES = {
    "built_from": "style=solid",
    "generalizes": "style=bold, arrowhead=empty",
    "specializes": "style=dotted",
    # neither says what stands above what, so neither may move the rows
    "analogous": "style=dashed, color=gray40, fontcolor=gray40, constraint=false",
    "became": "style=solid, color=orange3, fontcolor=orange3, constraint=false",
}


def write(graph: ConceptGraph, path: Path) -> None:
    """Write DOT for ``dot -Tsvg``; a picture of the graph, not meant to be read back.

    A node shows the user's name for it; what an edit merged, split or had forgotten is grey and says so.

    Raises:
        DataError: The path cannot be written.
    """
    lines = ["digraph concepts {", "  rankdir=TB; newrank=true;", '  node [fontname="sans-serif", fontsize=10];']
    rows: defaultdict[str | None, list[str]] = defaultdict(list)
    for node in graph.nodes():
        aside = "" if node.state is None else ", style=dashed, color=gray60, fontcolor=gray60"
        lines.append(f"  {_quoted(node.id)} [shape={_SHAPES[node.kind]}, label={_quoted(_label(node))}{aside}];")
        if node.kind != "unit":
            rows[node.stage].append(_quoted(node.id))
    lines += [
        f"  {{ rank=same; {'; '.join(rows[stage])} }}" for stage in reversed((*graph.stages, None)) if rows[stage]
    ]
    lines += [_edge(edge) for edge in graph.edges()]
    write_atomic(path, "\n".join([*lines, "}"]) + "\n")


def _label(node: Node) -> str:
    facts = [
        f"{name} {value:.2f}" for name in ("auc", "phi", "iota") if (value := getattr(node, name, None)) is not None
    ]
    return "\n".join(filter(None, [node.title, node.state, node.stage, " ".join(facts)]))


def _edge(edge: Edge) -> str:
    words = ""
    if isinstance(edge, (BuiltFrom, Generalizes)) and edge.strength is not None:
        words = f"{edge.strength:.2f}"
    elif isinstance(edge, Analogous):
        words = f"{edge.class_name} → {edge.other} {edge.score:.2f}"
    elif isinstance(edge, Became):
        words = f"edit {edge.edit}"
    label = f", label={_quoted(words)}" if words else ""
    return f"  {_quoted(edge.source)} -> {_quoted(edge.target)} [{_STYLES[edge.kind]}{label}];"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
