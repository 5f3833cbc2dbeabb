"""The concept graph to be read: nodes and edges by id, kind and stage, heights, circles.

The only module that uses networkx objects, besides the writes of
:class:`conceptnet_ml.graph.concept_graph.ConceptGraph`. Rules, queries and comparisons need no more than this.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from html import escape
from operator import itemgetter
from typing import Any

import networkx as nx

from conceptnet_ml.errors import GraphError, nearest, visible
from conceptnet_ml.graph.naming import called
from conceptnet_ml.graph.schema import NODE_KINDS, SCHEMA, SCHEMA_VERSION, Edge, Header, Node, node_id

SHOWN = 12
"""Concepts that are shown in a notebook."""


class GraphStore:
    """Nodes and edges of a concept graph. The header says which classes and stages it has, and where it comes from."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self.stages: tuple[str, ...] = tuple(stage.name for stage in header.stages)
        """Stage names, from the image upwards."""
        self._graph = nx.MultiDiGraph()
        self._ranks = {name: rank for rank, name in enumerate(self.stages)}
        self._places: dict[tuple[str, str | None], list[str]] = {}
        """Ids by kind and stage, so that a search for a kind or a stage looks at few."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the network's logits."""
        return self.header.classes

    def rank(self, node: Node) -> int:
        """Height: the stage's place from the image upwards, from 0; classes stand above all stages."""
        return len(self._ranks) if node.stage is None else self._ranks[node.stage]

    # ------------------------------------------------------------------------------------------------ nodes and edges

    def node(self, identifier: str) -> Node:
        """The node with this id. Raises GraphError where there is none."""
        if identifier not in self._graph:
            raise GraphError(f"there is no node {identifier}")
        record: Node = self._graph.nodes[identifier]["record"]
        return record

    def class_node(self, name: str) -> Node:
        """The node of a class. Raises GraphError where there is none."""
        identifier = node_id("class", name)
        if name not in self.classes or identifier not in self._graph:
            raise GraphError(f"there is no class '{name}' in the graph", nearest(name, self.classes))
        return self.node(identifier)

    def nodes(self, kind: str | None = None, *, stage: str | None = None, class_: str | None = None) -> list[Node]:
        """Nodes in the order of their ids; those of a kind, of a stage, or of a class. :meth:`select` finds by more.

        Cost: linear in the nodes of that kind and stage, but for sorting them.
        """
        ids = sorted(
            identifier
            for (of, at), members in self._places.items()
            if kind in (None, of) and stage in (None, at)
            for identifier in members
        )
        found = map(self.node, ids)
        return list(found) if class_ is None else [node for node in found if node.belongs_to(class_)]

    def edges(self, kind: str | None = None, *, source: str | None = None, target: str | None = None) -> list[Edge]:
        """Edges in the order of source, target and key; those of a kind, out of a node, or into one.

        Cost: linear in the edges of the node (of both, those between them), but for sorting them.
        """
        found: Iterable[tuple[str, str, str, Edge]]
        if any(end is not None and end not in self._graph for end in (source, target)):
            found = ()
        elif source is not None and target is not None:
            pair = self._graph.get_edge_data(source, target, default={})
            found = ((source, target, key, data["record"]) for key, data in pair.items())
        elif target is not None:
            found = self._graph.in_edges(target, keys=True, data="record")
        else:
            found = self._graph.out_edges(source, keys=True, data="record")
        wanted = found if kind is None else (item for item in found if item[3].kind == kind)
        return [item[3] for item in sorted(wanted, key=itemgetter(0, 1, 2))]

    # ------------------------------------------------------------------------------------------------ circles

    def reaches(self, source: str, target: str, kind: str = "built_from") -> bool:
        """Whether edges of a kind lead from one node to the other.

        Searched from both ends at once, between the heights of the two nodes only. Cost: linear in the smaller of the
        two searches.
        """
        top, bottom = self._height(source, kind), self._height(target, kind)
        between = nx.subgraph_view(
            self._graph,
            filter_node=lambda node: top <= self._height(node, kind) <= bottom,
            filter_edge=lambda _source, _target, key: key == kind,
        )
        return top <= bottom and bool(nx.has_path(between, source, target))

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

    # ------------------------------------------------------------------------------------------------ the whole graph

    def to_networkx(self, flat: bool = False) -> nx.MultiDiGraph:
        """A copy with plain attributes; edge keys are the kinds, of an analogy with its two classes. With ``flat``
        lists and objects are JSON strings, as ``nx.write_graphml(graph.to_networkx(flat=True), PATH)`` needs them.
        """

        def made(record: dict[str, Any]) -> dict[str, Any]:
            nested = {name: value for name, value in record.items() if flat and isinstance(value, list | dict)}
            return record | {name: json.dumps(value, sort_keys=True) for name, value in nested.items()}

        copy = nx.MultiDiGraph(schema=SCHEMA, version=SCHEMA_VERSION, **made(self.header.plain()))
        copy.add_nodes_from((node.id, made(node.plain())) for node in self.nodes())
        copy.add_edges_from((edge.source, edge.target, edge.key, made(edge.plain())) for edge in self.edges())
        return copy

    def to_plain(self) -> dict[str, Any]:
        """The whole graph as JSON values, nodes and edges in a fixed order."""
        return {
            "schema": SCHEMA,
            "version": SCHEMA_VERSION,
            "header": self.header.plain(),
            "nodes": [node.plain() for node in self.nodes()],
            "edges": [edge.plain() for edge in self.edges()],
        }

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, nodes and edges; equal graphs give equal bytes."""
        return json.dumps(self.to_plain(), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def __contains__(self, identifier: object) -> bool:
        return identifier in self._graph

    def __len__(self) -> int:
        return len(self._graph)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GraphStore):
            return NotImplemented
        return (self.header, self.nodes(), self.edges()) == (other.header, other.nodes(), other.edges())

    __hash__ = None  # type: ignore[assignment]

    def _repr_html_(self) -> str:
        """In a notebook: how many nodes there are of each kind, and the concepts with the largest effects."""
        counts = Counter(node.kind for node in self.nodes())
        found = [node for node in self.nodes() if node.kind in ("generalized", "feature")]
        found.sort(key=lambda node: (node.kind != "generalized", -abs(node.effect or 0.0)))
        rows = [
            (called(node), node.kind, node.id, "" if node.effect is None else f"{node.effect:.2f}")
            for node in found[:SHOWN]
        ]
        cells = ("".join(f"<td>{escape(visible(cell))}</td>" for cell in row) for row in rows)
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        more = f"<small>{len(found) - SHOWN} more</small>" if len(found) > SHOWN else ""
        head = "<tr><th>concept</th><th>kind</th><th>id</th><th>effect, logits</th></tr>"
        said = ", ".join(f"{counts[kind]} {kind}" for kind in NODE_KINDS if kind in counts)
        return f"<div><b>{len(self)} nodes</b>: {said}<table>{head}{body}</table>{more}</div>"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._graph)} nodes, {self._graph.number_of_edges()} edges)"
