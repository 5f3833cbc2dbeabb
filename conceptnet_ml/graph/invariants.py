"""The rules of a concept graph: for a node or an edge when it is written, for the whole graph when it is finished.

Each function yields the problems in words; :class:`conceptnet_ml.graph.concept_graph.ConceptGraph` refuses to write
a record that has any.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from conceptnet_ml.errors import nearest
from conceptnet_ml.graph.schema import NODE_KINDS, Analogous, Became, BuiltFrom, Edge, Node, Specializes, VariantNode
from conceptnet_ml.graph.store import GraphStore


def problems(graph: GraphStore) -> list[str]:
    """Every problem of the whole graph, empty when it is sound and complete.

    Besides the rules for a node and an edge those of a finished graph: every class is there, every generalized feature
    has members, every variant specializes exactly one generalized feature, every merged or split node became another.
    Cost: linear in nodes and edges.
    """
    found = [problem for node in graph.nodes() for problem in node_problems(graph, node)]
    found += [problem for edge in graph.edges() for problem in edge_problems(graph, edge)]
    found += all_clashes(graph)
    named = {node.label for node in graph.nodes("class")}
    found += [f"class '{name}' has no node" for name in graph.classes if name not in named]
    for node in graph.nodes("generalized"):
        if not graph.edges("generalizes", source=node.id):
            found.append(f"{node} has no members: it needs a generalizes edge")
    for node in graph.nodes("variant"):
        if (count := len(graph.edges("specializes", source=node.id))) != 1:
            found.append(f"{node} has {count} specializes edges, it needs exactly one")
    return [*found, *_edit_problems(graph)]


def node_problems(graph: GraphStore, node: Node) -> Iterator[str]:
    """Problems of a node in this graph: its stage, units, classes and parent."""
    if node.stage is not None:
        if node.stage not in graph.stages:
            yield f"{node}: there is no stage '{node.stage}'. {nearest(node.stage, graph.stages)}"
            return
        width = graph.header.stages[graph.rank(node)].width
        if beyond := [unit for unit in node.units if unit >= width]:
            yield f"{node}: unit {beyond[0]} does not exist, stage {node.stage} has {width} units"
    mentioned = {*node.classes, *node.spectrum, *getattr(node, "coverage", ()), *getattr(node, "shared_by", ())}
    mentioned |= {node.label} if node.kind == "class" else set()
    for name in sorted(mentioned.difference(graph.classes)):
        yield f"{node}: there is no class '{name}'. {nearest(name, graph.classes)}"
    if node.parent is not None:
        if node.parent not in graph:
            yield f"{node}: its parent {node.parent} is not in the graph"
        elif graph.rank(graph.node(node.parent)) <= graph.rank(node):
            yield f"{node}: its parent is not above it"


def edge_problems(graph: GraphStore, edge: Edge) -> Iterator[str]:
    """Problems of an edge by itself: its ends, their kinds, stages and classes."""
    missing = [end for end in (edge.source, edge.target) if end not in graph]
    if missing:
        yield f"edge {edge.source} -{edge.kind}-> {edge.target}: there is no node {missing[0]}"
        return
    for fault in _faults(graph, edge, graph.node(edge.source), graph.node(edge.target)):
        yield f"{_described(graph, edge)}: {fault}"


def clashes(graph: GraphStore, edge: Edge) -> Iterator[str]:
    """Problems of a new edge with those that are there: it closes a circle, or adds a second variant for a class."""
    source, target = graph.node(edge.source), graph.node(edge.target)
    # no built_from edge leads up, nor back in the order of kinds: only one within a stage and kind can close a circle
    level = (source.stage, source.kind) == (target.stage, target.kind)
    if isinstance(edge, Became) or (isinstance(edge, BuiltFrom) and level):
        if graph.reaches(target.id, source.id, edge.kind):
            yield f"{_described(graph, edge)}: goes in a circle"
    elif isinstance(edge, Specializes):
        near = (*graph.edges("specializes", source=edge.source), *graph.edges("specializes", target=edge.target))
        yield from _rivals(graph, (*near, edge))


def all_clashes(graph: GraphStore) -> Iterator[str]:
    """The problems that :func:`clashes` finds, of all edges at once. Cost: linear in the edges."""
    yield from _rivals(graph, graph.edges("specializes"))
    for kind in ("built_from", "became"):
        if edge := graph.circle(kind):
            yield f"{_described(graph, edge)}: goes in a circle"


def _faults(graph: GraphStore, edge: Edge, source: Node, target: Node) -> Iterator[str]:
    if source.id == target.id:
        yield "a node cannot explain itself"
    elif target.kind not in edge.allowed.get(source.kind, ()):
        yield "this kind of edge does not join these kinds of nodes"
    elif isinstance(edge, BuiltFrom):
        if graph.rank(source) < graph.rank(target):
            yield f"goes up from stage {source.stage} to {target.stage}"
        elif source.stage == target.stage and NODE_KINDS.index(source.kind) > NODE_KINDS.index(target.kind):
            yield f"within a stage a {source.kind} is not built from a {target.kind}"
    elif source.stage != target.stage:
        yield "both must be at the same stage"
    elif isinstance(edge, Specializes) and isinstance(source, VariantNode):
        if edge.class_name is not None and edge.class_name not in graph.classes:
            yield f"there is no class '{edge.class_name}'. {nearest(edge.class_name, graph.classes)}"
        elif edge.parent != source.parent or (edge.class_name is not None and edge.class_name not in source.classes):
            yield "the variant's own class or parent is another"
    elif isinstance(edge, Analogous):
        for name, node in ((edge.class_name, source), (edge.other, target)):
            if name not in graph.classes:
                yield f"there is no class '{name}'. {nearest(name, graph.classes)}"
            elif node.classes and name not in node.classes:
                yield f"{node} does not speak for {name}"


def _edit_problems(graph: GraphStore) -> Iterator[str]:
    """A merged node became one node in one edit, a split node became several, and a unit may be forgotten since; no
    other node became any.
    """
    became: defaultdict[str, list[Became]] = defaultdict(list)
    for edge in graph.edges("became"):
        if isinstance(edge, Became):
            became[edge.source].append(edge)
    for node in graph.nodes():
        edges = became[node.id]
        if node.state not in ("merged", "split"):
            if edges and (node.kind, node.state) != ("unit", "forgotten"):
                yield f"{node} became something, but is neither merged nor split"
        elif not edges:
            yield f"{node} was {node.state}, but nothing says into what: it needs a became edge"
        elif len(edges) > 1 and node.state == "merged":
            yield f"{node} was merged and has {len(edges)} became edges, it needs exactly one"
        elif len({edge.edit for edge in edges}) > 1:
            yield f"{node} became its parts in different edits"


def _rivals(graph: GraphStore, edges: Iterable[Edge]) -> Iterator[str]:
    """Second specializes edges of a variant, and second variants for a class or parent."""
    targets: dict[str, str] = {}
    variants: dict[tuple[str, str | None, str | None], str] = {}
    for edge in edges:
        if not isinstance(edge, Specializes):
            continue
        if targets.setdefault(edge.source, edge.target) != edge.target:
            yield f"{_described(graph, edge)}: the variant specializes another generalized feature already"
        if variants.setdefault((edge.target, edge.class_name, edge.parent), edge.source) != edge.source:
            yield f"{_described(graph, edge)}: there is a variant for {edge.class_name or edge.parent} already"


def _described(graph: GraphStore, edge: Edge) -> str:
    return f"{edge.kind} from {graph.node(edge.source)} to {graph.node(edge.target)}"
