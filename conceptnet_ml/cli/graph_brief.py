"""A concept graph in short: the strongest concepts, each with what it is, where, what feeds it and what it feeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from conceptnet_ml.cli.graph_views import STYLES
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.naming import called, listed
from conceptnet_ml.graph.queries import own_variants, strength
from conceptnet_ml.graph.schema import BuiltFrom, Node

MOST, PARTS = 12, 4
"""Concepts that are shown, and what feeds one."""

LEGEND = (
    "Numbers: how much one lends to the other; for a class, by how many logits its lead falls without it. Below zero "
    "it speaks against. --all shows everything with its evidence, --table a line each, 'graph path RUN CLASS' chains."
)

_DECISIONS = {
    "kept": "kept: it is exchanged in training",
    "undone": "undone after its training",
    "leaf": "left alone",
}
_WIDTH = 7


def brief_parts(graph: ConceptGraph, classes: Sequence[str]) -> Iterator[RenderableType]:
    """The strongest concepts that belong to any of these classes, from the top stage down, in each
    the strongest first."""
    found = [
        node
        for node in graph.nodes()
        if node.kind in ("generalized", "feature")
        and node.state not in ("merged", "forgotten")
        and {*node.classes} & {*classes}
    ]
    found.sort(key=lambda node: (-strength(graph, node), node.kind != "generalized", node.label))
    things = f"{len(graph)} nodes and {len(graph.edges())} edges"
    count = f"{len(found)} concept{'' if len(found) == 1 else 's'}" if found else "no features yet"
    shown = f", the {MOST} strongest here" if len(found) > MOST else ""
    yield Text(f"{listed([*classes], 8)}: {count}{shown}; {things}", style="bold")
    for number, node in enumerate(sorted(found[:MOST], key=graph.rank, reverse=True), 1):
        head = Text(f"\n{number:>2}. ").append(called(node), STYLES[node.kind])
        yield head.append(f"  {node.kind} {node.id}", "dim").append_text(_state(node))
        rows = Table.grid(padding=(0, 1))
        for name, words in _rows(graph, node):
            rows.add_row(Text(name.ljust(_WIDTH), "dim"), Text(words))
        yield Padding(rows, (0, 0, 0, 4), expand=False)
    if found:
        yield Text(f"\n{LEGEND}", style="dim")


def _rows(graph: ConceptGraph, node: Node) -> Iterator[tuple[str, str]]:
    yield "is", _what(node)
    yield "of", f"{listed([*node.classes], 8)}; at {_where(graph, node)}"
    own, below = _parts(graph, node)
    for name, parts in (("made of", own), ("fed by", below)):
        if parts:
            more = f"; {len(parts) - PARTS} weaker" if len(parts) > PARTS else ""
            yield name, "; ".join(parts[:PARTS]) + more
    if above := _above(graph, node):
        yield "feeds", "; ".join(above)
    if node.note:
        yield "note", node.note


def _state(node: Node) -> Text:
    return Text("" if node.state is None else f"  {node.state}", style="yellow")


def _what(node: Node) -> str:
    """What was decided of it, and the one or two figures that say how much hangs on it."""
    decision, on = getattr(node, "decision", None), getattr(node, "representation", None)
    words = [_DECISIONS[decision] + (f", as {on}" if decision == "kept" and on else "")] if decision else []
    if node.effect is not None:
        whose = f"the lead of {listed([*node.classes])}" if node.parent is None else "what it feeds"
        words.append(f"without it {whose} falls by {node.effect:.1f}")
    if (phi := getattr(node, "phi", None)) is not None:
        words.append(f"{phi:.0%} of answers change where it comes from another class")
    return "; ".join(words) or "not decided"


def _where(graph: ConceptGraph, node: Node) -> str:
    stages = [*reversed(graph.stages)]
    depth = stages.index(str(node.stage))
    described = any(one.name == node.stage and one.directions is not None for one in graph.header.stages)
    place = f"{depth} below the top" if depth else "the top stage"
    return f"{node.stage}, {place}{', directions as units' if described else ''}"


def _parts(graph: ConceptGraph, node: Node) -> tuple[list[str], list[str]]:
    """What it is made of at its own stage, and what feeds it from below, the strongest first."""
    if node.kind == "generalized":
        members = [graph.node(edge.target) for edge in graph.edges("generalizes", source=node.id)]
        members.sort(key=lambda one: (-strength(graph, one), one.label))
        return [called(one) for one in members], []
    edges = [
        edge
        for source in (node.id, *own_variants(graph, node.id))
        for edge in graph.edges("built_from", source=source)
        if isinstance(edge, BuiltFrom)
    ]
    edges.sort(key=lambda edge: -abs(edge.weight))
    ends = [(graph.node(edge.target), edge.weight) for edge in edges]
    own = [f"{_named(one)} {_signed(weight)}" for one, weight in ends if one.stage == node.stage]
    below = [f"{_named(one)} {_signed(weight)}" for one, weight in ends if one.stage != node.stage]
    return own, below


def _above(graph: ConceptGraph, node: Node) -> list[str]:
    """What rests on it, the strongest first, and what it was generalized to."""
    edges = [edge for edge in graph.edges("built_from", target=node.id) if isinstance(edge, BuiltFrom)]
    edges.sort(key=lambda edge: -abs(edge.weight))
    found = [f"{_named(graph.node(edge.source))} {_signed(edge.weight)}" for edge in edges[:PARTS]]
    found += [f"part of: {called(graph.node(edge.source))}" for edge in graph.edges("generalizes", target=node.id)]
    variants = {name for edge in graph.edges("specializes", target=node.id) for name in graph.node(edge.source).classes}
    return [*found, *([f"its variants in {listed(sorted(variants, key=graph.classes.index))}"] if variants else [])]


def _named(node: Node) -> str:
    return f"{node.stage}:{node.units[0]}" if node.kind == "unit" and not node.name else called(node)


def _signed(value: float) -> str:
    return f"{value:+.2g}".replace("-", "−")
