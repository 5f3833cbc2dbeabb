"""What must hold in a concept graph: for a node or an edge when it is written, for the whole graph when it is finished.

Each function yields the problems in words; :class:`conceptnet_ml.graph.ConceptGraph` refuses to write what has any.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from conceptnet_ml.errors import nearest
from conceptnet_ml.graph_records import NODE_KINDS, BuiltFrom, Edge, Node, Specializes, VariantNode

if TYPE_CHECKING:
    from conceptnet_ml.graph import ConceptGraph


def title(node: Node) -> str:
    """A node's name in messages: ``feature 'car 1' (3fa94b7c0e12)``."""
    return f"{node.kind} '{node.label}' ({node.id})"


def problems(graph: ConceptGraph) -> list[str]:
    """Every problem of a graph that should be complete. Cost: quadratic in the edges of a stage at worst."""
    found = [problem for node in graph.nodes() for problem in node_problems(graph, node)]
    found += [problem for edge in graph.edges() for problem in edge_problems(graph, edge)]
    named = {node.label for node in graph.nodes("class")}
    found += [f"class '{name}' has no node" for name in graph.classes if name not in named]
    for node in graph.nodes("generalized"):
        if not graph.edges("generalizes", source=node.id):
            found.append(f"{title(node)} has no members: it needs a generalizes edge")
    for node in graph.nodes("variant"):
        if (count := len(graph.edges("specializes", source=node.id))) != 1:
            found.append(f"{title(node)} has {count} specializes edges, it needs exactly one")
    if graph.circular():
        found.append("the built_from edges go in a circle")
    return found


def node_problems(graph: ConceptGraph, node: Node) -> Iterator[str]:
    """What is wrong with a node in this graph: its stage, units, classes and parent."""
    if node.stage is not None:
        if node.stage not in graph.stages:
            yield f"{title(node)}: there is no stage '{node.stage}'. {nearest(node.stage, graph.stages)}"
            return
        width = graph.header.stages[graph.rank(node)].width
        if beyond := [unit for unit in node.units if unit >= width]:
            yield f"{title(node)}: unit {beyond[0]} does not exist, stage {node.stage} has {width} units"
    told = (*getattr(node, "coverage", ()), *getattr(node, "shared_by", ()), *node.spectrum)
    mentioned = {*node.classes, *told, *([node.label] if node.kind == "class" else [])}
    for name in sorted(mentioned - set(graph.classes)):
        yield f"{title(node)}: there is no class '{name}'. {nearest(name, graph.classes)}"
    if node.parent is not None:
        if node.parent not in graph:
            yield f"{title(node)}: its parent {node.parent} is not in the graph"
        elif graph.rank(graph.node(node.parent)) <= graph.rank(node):
            yield f"{title(node)}: its parent is not above it"


def edge_problems(graph: ConceptGraph, edge: Edge) -> Iterator[str]:
    """What is wrong with an edge in this graph: its ends, their kinds and stages, circles, rival variants."""
    missing = [end for end in (edge.source, edge.target) if end not in graph]
    if missing:
        yield f"edge {edge.source} -{edge.kind}-> {edge.target}: there is no node {missing[0]}"
        return
    source, target = graph.node(edge.source), graph.node(edge.target)
    what = f"{edge.kind} from {title(source)} to {title(target)}"
    if source.id == target.id:
        yield f"{what}: a node cannot explain itself"
    elif target.kind not in edge.allowed.get(source.kind, ()):
        yield f"{what}: this kind of edge does not join these kinds of nodes"
    elif isinstance(edge, BuiltFrom):
        yield from _built_from_problems(graph, source, target, what)
    elif source.stage != target.stage:
        yield f"{what}: both must be at the same stage"
    elif isinstance(edge, Specializes) and isinstance(source, VariantNode):
        yield from _specializes_problems(graph, edge, source, what)


def _built_from_problems(graph: ConceptGraph, source: Node, target: Node, what: str) -> Iterator[str]:
    if graph.rank(source) < graph.rank(target):
        yield f"{what}: goes up from stage {source.stage} to {target.stage}"
    elif source.stage == target.stage:
        if NODE_KINDS.index(source.kind) > NODE_KINDS.index(target.kind):
            yield f"{what}: within a stage a {source.kind} is not built from a {target.kind}"
        elif graph.reaches(target.id, source.id):
            yield f"{what}: goes in a circle"


def _specializes_problems(graph: ConceptGraph, edge: Specializes, variant: VariantNode, what: str) -> Iterator[str]:
    owner = (edge.class_name, edge.parent)
    if edge.class_name is not None and edge.class_name not in graph.classes:
        yield f"{what}: there is no class '{edge.class_name}'. {nearest(edge.class_name, graph.classes)}"
    elif edge.parent != variant.parent or (edge.class_name is not None and edge.class_name not in variant.classes):
        yield f"{what}: the variant's own class or parent is another"
    if any(other.target != edge.target for other in graph.edges("specializes", source=variant.id)):
        yield f"{what}: the variant specializes another generalized feature already"
    for other in graph.edges("specializes", target=edge.target):
        if other.source != variant.id and (getattr(other, "class_name", None), getattr(other, "parent", None)) == owner:
            yield f"{what}: there is a variant for {edge.class_name or edge.parent} already"
