"""The concept graph: what the network's decisions are made of, checked on every write.

Classes are built from variants, features and units; a variant specializes a generalized feature, which generalizes the
features of several classes; a variant is built from units and features of the stage below. The only module that touches
networkx objects.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import networkx as nx

from conceptnet_ml import graph_diff, graph_files, graph_queries, graphml
from conceptnet_ml import graph_invariants as invariants
from conceptnet_ml.errors import ConceptNetError, DataError, GraphError, nearest
from conceptnet_ml.graph_invariants import title
from conceptnet_ml.graph_records import EDGES, NODE_KINDS, NODES, SCHEMA, SCHEMA_VERSION, Edge, Header, Node, node_id

__all__ = ["ConceptGraph", "GraphError", "node_id"]


RULES = "docs/concepts.md says what must hold in a concept graph."
Width = tuple[str, int] | tuple[str, int, int | None]


class ConceptGraph:
    """A directed multigraph of concepts, at most one edge of a kind between two nodes (of an analogy: and two classes).

    Args:
        classes: Class names, in the order of the network's logits.
        stages: (name, number of units) of every stage, from the image upwards; where directions take the units' place,
            their number follows.
        network: Fingerprint of the learned network.
        settings: Digest of the run's settings.
        seed: The run's seed.

    Raises:
        GraphError: A name is empty or repeated, or a stage has no units.

    Example::

        graph = ConceptGraph(["car", "dog"], [("stem", 16), ("block1", 32)], network="9f…", settings="03…", seed=0)
        car = graph.add_node("class", "car", classes=["car"])
        wheel = graph.add_node("feature", "car 1", stage="block1", round=1, classes=["car"], units=[3, 8], auc=0.97)
        graph.add_edge("built_from", car, wheel, weight=0.8)
    """

    def __init__(
        self, classes: Sequence[str], stages: Sequence[Width], *, network: str, settings: str, seed: int
    ) -> None:
        named = [dict(zip(("name", "units", "directions"), stage, strict=False)) for stage in stages]
        fields = {"classes": classes, "stages": named, "network": network, "settings": settings, "seed": seed}
        self._start(graph_files.build(Header, "graph header", fields))

    def _start(self, header: Header) -> None:
        self.header = header
        self.stages: tuple[str, ...] = tuple(stage.name for stage in header.stages)
        """Stage names, from the image upwards."""
        self._graph = nx.MultiDiGraph()
        self._ranks = {name: rank for rank, name in enumerate(self.stages)}
        self._places: dict[
            tuple[str, str | None], list[str]
        ] = {}  # kind and stage: ids, so that few are looked through

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the network's logits."""
        return self.header.classes

    # ------------------------------------------------------------------------------------------------ writing

    def add_node(self, kind: str, label: str, **fields: Any) -> str:
        """Add a node and return its id.

        Args:
            kind: class, variant, generalized, feature or unit.
            label: Words for people.
            **fields: The fields of the kind's record in :mod:`conceptnet_ml.graph_records`.

        Raises:
            GraphError: The node breaks an invariant; nothing was added.
        """
        if kind not in NODES:
            raise GraphError(f"there is no kind of node '{kind}'", nearest(kind, NODES))
        stage, round, parent = fields.get("stage"), fields.get("round"), fields.get("parent")
        try:
            identifier = node_id(kind, label, stage, round, parent, fields.get("units", ()))
        except (TypeError, ValueError) as error:
            raise GraphError(f"{kind} '{label}': {error}") from error
        node = graph_files.build(NODES[kind], f"{kind} '{label}'", {"id": identifier, "label": label, **fields})
        if node.id in self._graph:
            raise GraphError(f"{title(node)} is there already", "Give one of the two another label.")
        self._insert_node(node)
        return node.id

    def update_node(self, identifier: str, **fields: Any) -> Node:
        """Set measurements of a node that were not known when it was added.

        Raises:
            GraphError: No such node, or the change breaks an invariant; nothing was changed.
        """
        node = self.node(identifier)
        if identity := sorted({"id", "kind", "label", "stage", "round", "parent", "units"} & set(fields)):
            raise GraphError(f"{title(node)}: {identity[0]} is part of what the node is and cannot change")
        changed = graph_files.build(type(node), title(node), {**node.model_dump(), **fields})
        _refuse(invariants.node_problems(self, changed))
        self._graph.nodes[identifier]["record"] = changed
        try:
            if changed.classes != node.classes:  # what edges say of the node's classes must hold still
                touched = (*self.edges(source=identifier), *self.edges(target=identifier))
                _refuse(problem for edge in touched for problem in invariants.edge_problems(self, edge))
        except GraphError:
            self._graph.nodes[identifier]["record"] = node
            raise
        return changed

    def add_edge(self, kind: str, source: str, target: str, **fields: Any) -> Edge:
        """Add an edge.

        Args:
            kind: built_from, generalizes or specializes.
            source, target: Node ids.
            **fields: The fields of the kind's record in :mod:`conceptnet_ml.graph_records`.

        Raises:
            GraphError: The edge breaks an invariant; nothing was added.

        Cost: the edges of its two nodes; for what could close a circle (built_from between nodes of one kind and stage,
        became) the search of :meth:`reaches` besides.
        """
        if kind not in EDGES:
            raise GraphError(f"there is no kind of edge '{kind}'", nearest(kind, EDGES))
        what = f"edge {source} -{kind}-> {target}"
        edge = graph_files.build(EDGES[kind], what, {"source": source, "target": target, **fields})
        if self._graph.has_edge(source, target, edge.key):
            raise GraphError(f"{what} is there already", RULES)
        _refuse(chain(invariants.edge_problems(self, edge), invariants.clashes(self, edge)))
        self._graph.add_edge(source, target, key=edge.key, record=edge)
        return edge

    def _insert_node(self, node: Node) -> None:
        _refuse(invariants.node_problems(self, node))
        self._graph.add_node(node.id, record=node)
        self._places.setdefault((node.kind, node.stage), []).append(node.id)

    def _insert_edges(self, edges: Iterable[Edge]) -> None:
        """Many edges: what they must not do together is looked for once, at the end, in time linear in the graph."""
        for edge in edges:
            if self._graph.has_edge(edge.source, edge.target, edge.key):
                raise GraphError(f"edge {edge.source} -{edge.kind}-> {edge.target} is there twice")
            _refuse(invariants.edge_problems(self, edge))
            self._graph.add_edge(edge.source, edge.target, key=edge.key, record=edge)
        _refuse(invariants.all_clashes(self))

    # ---------------------------------------------------------------------------------------------- invariants

    def check(self) -> list[str]:
        """Every problem of the whole graph, empty when it is sound and complete.

        What :meth:`add_node` and :meth:`add_edge` demand, and what only a finished graph can have: every class is
        there, every generalized feature has members, every variant specializes exactly one generalized feature, what
        was merged or split became something. Cost: linear in nodes and edges.
        """
        return invariants.problems(self)

    def rank(self, node: Node) -> int:
        """Height: the stage's place from the image upwards, from 0; classes stand above all stages."""
        return len(self._ranks) if node.stage is None else self._ranks[node.stage]

    def reaches(self, source: str, target: str, kind: str = "built_from") -> bool:
        """Whether edges of a kind lead from one node to the other.

        Searched from both ends at once, between the heights of the two nodes only. Cost: linear in what the search
        finds from the end where it finds less.
        """
        top, bottom = self._height(source, kind), self._height(target, kind)
        between = nx.subgraph_view(
            self._graph,
            filter_node=lambda node: top <= self._height(node, kind) <= bottom,
            filter_edge=lambda _source, _target, key: key == kind,
        )
        return top <= bottom and bool(nx.has_path(between, source, target))

    def circular(self) -> bool:
        """Whether the ``built_from`` edges go in a circle somewhere."""
        return self.circle() is not None

    def circle(self, kind: str = "built_from") -> Edge | None:
        """An edge of a circle of edges of this kind, if there is one. Cost: linear in the edges."""
        level = (
            edge for edge in self.edges(kind) if self._height(edge.source, kind) == self._height(edge.target, kind)
        )
        links = nx.DiGraph((edge.source, edge.target) for edge in level)  # no edge leads up, so a circle stays level
        if nx.is_directed_acyclic_graph(links):
            return None
        source, target = nx.find_cycle(links)[0]
        return self.edges(kind, source=source, target=target)[0]

    def _height(self, identifier: str, kind: str) -> tuple[int, int]:
        """Never falls along edges of a kind."""
        node = self.node(identifier)
        return -self.rank(node), NODE_KINDS.index(node.kind) if kind == "built_from" else 0

    # ------------------------------------------------------------------------------------------------ reading

    def node(self, identifier: str) -> Node:
        """The node with this id. Raises GraphError where there is none."""
        if identifier not in self._graph:
            raise GraphError(f"there is no node {identifier}")
        record: Node = self._graph.nodes[identifier]["record"]
        return record

    def nodes(self, kind: str | None = None, *, stage: str | None = None, class_: str | None = None) -> list[Node]:
        """Nodes in the order of their ids; those of a kind, of a stage, or that speak for a class.

        Cost: linear in the nodes of that kind and stage, but for sorting them. :meth:`select` finds by more.
        """
        ids = sorted(
            identifier
            for (of, at), members in self._places.items()
            if kind in (None, of) and stage in (None, at)
            for identifier in members
        )
        found = map(self.node, ids)
        return list(found) if class_ is None else [node for node in found if invariants.speaks_for(node, class_)]

    def edges(self, kind: str | None = None, *, source: str | None = None, target: str | None = None) -> list[Edge]:
        """Edges in the order of source, target and key; those of a kind, out of a node, or into one.

        Cost: linear in the edges of the node (of both, those between them), but for sorting them.
        """
        between = source is not None and target is not None
        if any(end is not None and end not in self._graph for end in (source, target)):
            found: Iterable[tuple[str, str, str, Edge]] = ()
        elif between:
            pair = self._graph.get_edge_data(source, target, default={})
            found = ((source, target, key, data["record"]) for key, data in pair.items())  # type: ignore[misc]
        elif source is not None:
            found = self._graph.out_edges(source, keys=True, data="record")
        elif target is not None:
            found = self._graph.in_edges(target, keys=True, data="record")
        else:  # all: five times as fast as the view of edges
            found = (
                (near, far, key, data["record"])
                for near, neighbours in self._graph.adjacency()
                for far, pair in neighbours.items()
                for key, data in pair.items()
            )
        wanted = found if kind is None else (item for item in found if item[3].kind == kind)
        return [item[3] for item in sorted(wanted, key=itemgetter(0, 1, 2))]

    def class_node(self, name: str) -> Node:
        """The node of a class. Raises GraphError where there is none."""
        identifier = node_id("class", name)
        if name not in self.classes or identifier not in self._graph:
            raise GraphError(f"there is no class '{name}' in the graph", nearest(name, self.classes))
        return self.node(identifier)

    def select(self, **conditions: Any) -> list[Node]:
        """Nodes that meet every condition: :func:`conceptnet_ml.graph_queries.select_nodes` names them."""
        return graph_queries.select_nodes(self, **conditions)

    def select_edges(self, **conditions: Any) -> list[Edge]:
        """Edges that meet every condition: :func:`conceptnet_ml.graph_queries.select_edges` names them."""
        return graph_queries.select_edges(self, **conditions)

    def resolve(self, text: str) -> Node:
        """The one node that a user's words mean: see :func:`conceptnet_ml.graph_queries.resolve`."""
        return graph_queries.resolve(self, text)

    def paths(self, class_name: str, count: int = 1) -> list[graph_queries.Chain]:
        """The strongest chains from a class down towards the image: :func:`conceptnet_ml.graph_queries.paths`."""
        return graph_queries.paths(self, class_name, count)

    def path(self, class_name: str) -> list[Node]:
        """The strongest chain from a class down towards the image: the one that comes lowest; among those the one
        with the largest product of weights. Starts with the class's node."""
        return list(self.paths(class_name)[0].nodes)

    def diff(self, other: ConceptGraph, tolerance: float = 0.0) -> graph_diff.GraphDiff:
        """What is different in another graph: see :func:`conceptnet_ml.graph_diff.diff`."""
        return graph_diff.diff(self, other, tolerance)

    def to_networkx(self) -> nx.MultiDiGraph:
        """A copy with plain attributes; edge keys are the kinds, of an analogy with its two classes. Changing it does
        not change this graph."""
        copy = nx.MultiDiGraph(schema=SCHEMA, version=SCHEMA_VERSION, **self.header.plain())
        for node in self.nodes():
            copy.add_node(node.id, **node.plain())
        for edge in self.edges():
            copy.add_edge(edge.source, edge.target, key=edge.key, **edge.plain())
        return copy

    def __contains__(self, identifier: object) -> bool:
        return identifier in self._graph

    def __len__(self) -> int:
        return len(self._graph)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ConceptGraph):
            return NotImplemented
        return (self.header, self.nodes(), self.edges()) == (other.header, other.nodes(), other.edges())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ConceptGraph({len(self._graph)} nodes, {self._graph.number_of_edges()} edges)"

    # ------------------------------------------------------------------------------------------------ files

    def to_plain(self) -> dict[str, Any]:
        """Everything as JSON values, nodes and edges in a fixed order."""
        return {
            "schema": SCHEMA,
            "version": SCHEMA_VERSION,
            "header": self.header.plain(),
            "nodes": [node.plain() for node in self.nodes()],
            "edges": [edge.plain() for edge in self.edges()],
        }

    @classmethod
    def from_plain(cls, content: Any) -> ConceptGraph:
        """The graph that :meth:`to_plain` describes.

        Raises:
            DataError: Not a concept graph, or of another version.
            GraphError: A record or an invariant is broken.
        """
        header, nodes, edges = graph_files.parse(content)
        graph = cls.__new__(cls)
        graph._start(header)
        try:
            # parents before children, as when the graph was grown
            for node in sorted(nodes, key=lambda node: -graph._ranks.get(node.stage or "", len(graph._ranks))):
                if node.id in graph._graph:
                    raise GraphError(f"{title(node)} is there twice")
                graph._insert_node(node)
            graph._insert_edges(edges)
        except GraphError as error:
            raise GraphError(error.message, graph_files.RESTORE) from error
        return graph

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, nodes and edges; equal graphs give equal bytes."""
        return json.dumps(self.to_plain(), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ConceptGraph:
        """Read :meth:`to_json`. Raises as :meth:`from_plain`."""
        return cls.from_plain(graph_files.loads(text))

    def to_graphml(self) -> str:
        """GraphML for Gephi, yEd and networkx; lists and objects are JSON strings, what is not set is left out."""
        return graphml.write(self.to_plain())

    @classmethod
    def from_graphml(cls, text: str) -> ConceptGraph:
        """Read :meth:`to_graphml`. Raises as :meth:`from_plain`."""
        content = graphml.read(text)
        header = {name: value for name, value in content["header"].items() if name in Header.model_fields}
        return cls.from_plain({**content, "header": header})

    @classmethod
    def read(cls, path: Path) -> ConceptGraph:
        """Read a .json or .graphml file.

        Raises:
            DataError: It cannot be read, is something else, or of another version; the message names it.
            GraphError: The graph in it breaks an invariant.
        """
        try:
            text = path.read_text(encoding="utf-8")
            return cls.from_graphml(text) if path.suffix == ".graphml" else cls.from_json(text)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror or "" if isinstance(error, OSError) else "not a text file"
            raise DataError(f"cannot read {path}: {reason.lower()}", "Name a run folder or a graph file.") from error
        except ConceptNetError as error:
            raise type(error)(f"{path}: {error.message}", error.mend) from error


def _refuse(problems: Iterator[str]) -> None:
    for problem in problems:
        raise GraphError(problem, RULES)
