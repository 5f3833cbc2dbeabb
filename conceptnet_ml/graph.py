"""The concept graph: what the network's decisions are made of, checked on every write.

Classes are built from variants, features and units; a variant specializes a generalized feature, which generalizes the
features of several classes; a variant is built from units and features of the stage below. The only module that touches
networkx objects.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import networkx as nx
from pydantic import BaseModel, ValidationError

from conceptnet_ml import graph_invariants as invariants
from conceptnet_ml.errors import ConceptNetError, DataError, nearest
from conceptnet_ml.graph_invariants import title
from conceptnet_ml.graph_records import (
    EDGES,
    NODES,
    READABLE,
    SCHEMA,
    SCHEMA_VERSION,
    BuiltFrom,
    Edge,
    Header,
    Node,
    flatten,
    node_id,
    unflatten,
)

__all__ = ["ConceptGraph", "GraphError", "node_id"]


R = TypeVar("R", bound=BaseModel)
Chain = tuple[int, float, tuple[str, ...]]
"""How far down a chain of nodes comes (negative rank), the product of its weights, the nodes' ids."""


class GraphError(ConceptNetError):
    """A graph that breaks one of its invariants."""

    exit_code = 3


class ConceptGraph:
    """A directed multigraph of concepts, at most one edge of a kind between two nodes.

    Args:
        classes: Class names, in the order of the network's logits.
        stages: (name, number of units) of every stage, from the image upwards.
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
        self, classes: Sequence[str], stages: Sequence[tuple[str, int]], *, network: str, settings: str, seed: int
    ) -> None:
        named = [{"name": name, "units": units} for name, units in stages]
        fields = {"classes": classes, "stages": named, "network": network, "settings": settings, "seed": seed}
        self.header: Header = _build(Header, "graph header", fields)
        self._graph = nx.MultiDiGraph()
        self._ranks = {stage.name: rank for rank, stage in enumerate(self.header.stages)}

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the network's logits."""
        return self.header.classes

    @property
    def stages(self) -> tuple[str, ...]:
        """Stage names, from the image upwards."""
        return tuple(self._ranks)

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
        node = _build(NODES[kind], f"{kind} '{label}'", {"id": identifier, "label": label, **fields})
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
        changed = _build(type(node), title(node), {**node.model_dump(), **fields})
        if problem := next(invariants.node_problems(self, changed), None):
            raise GraphError(problem)
        self._graph.nodes[identifier]["record"] = changed
        return changed

    def add_edge(self, kind: str, source: str, target: str, **fields: Any) -> Edge:
        """Add an edge.

        Args:
            kind: built_from, generalizes or specializes.
            source, target: Node ids.
            **fields: The fields of the kind's record in :mod:`conceptnet_ml.graph_records`.

        Raises:
            GraphError: The edge breaks an invariant; nothing was added. Cost: linear in the graph at worst.
        """
        if kind not in EDGES:
            raise GraphError(f"there is no kind of edge '{kind}'", nearest(kind, EDGES))
        what = f"edge {source} -{kind}-> {target}"
        edge = _build(EDGES[kind], what, {"source": source, "target": target, **fields})
        if self._graph.has_edge(source, target, kind):
            raise GraphError(f"{what} is there already")
        self._insert_edge(edge)
        return edge

    def _insert_node(self, node: Node) -> None:
        if problem := next(invariants.node_problems(self, node), None):
            raise GraphError(problem)
        self._graph.add_node(node.id, record=node)

    def _insert_edge(self, edge: Edge) -> None:
        if problem := next(invariants.edge_problems(self, edge), None):
            raise GraphError(problem)
        self._graph.add_edge(edge.source, edge.target, key=edge.kind, record=edge)

    # ---------------------------------------------------------------------------------------------- invariants

    def check(self) -> list[str]:
        """Every problem of the whole graph, empty when it is sound and complete.

        What :meth:`add_node` and :meth:`add_edge` demand, and what only a finished graph can have: every class is
        there, every generalized feature has members, every variant specializes exactly one generalized feature.
        """
        return invariants.problems(self)

    def rank(self, node: Node) -> int:
        """Height: the stage's place from the image upwards, from 0; classes stand above all stages."""
        return len(self._ranks) if node.stage is None else self._ranks[node.stage]

    def reaches(self, source: str, target: str) -> bool:
        """Whether ``built_from`` edges lead from one node to the other. Cost: linear in the graph."""
        return bool(nx.has_path(self._built_from(), source, target))

    def circular(self) -> bool:
        """Whether the ``built_from`` edges go in a circle somewhere."""
        return not nx.is_directed_acyclic_graph(self._built_from())

    def _built_from(self) -> nx.MultiDiGraph:
        return nx.subgraph_view(self._graph, filter_edge=lambda _source, _target, key: key == "built_from")

    # ------------------------------------------------------------------------------------------------ reading

    def node(self, identifier: str) -> Node:
        """The node with this id. Raises GraphError where there is none."""
        if identifier not in self._graph:
            raise GraphError(f"there is no node {identifier}")
        record: Node = self._graph.nodes[identifier]["record"]
        return record

    def nodes(self, kind: str | None = None, *, stage: str | None = None, class_: str | None = None) -> list[Node]:
        """Nodes in the order of their ids; those of a kind, of a stage, or that speak for a class."""
        records = (data["record"] for _, data in sorted(self._graph.nodes(data=True)))
        return [
            node
            for node in records
            if (kind is None or node.kind == kind)
            and (stage is None or node.stage == stage)
            and (class_ is None or class_ in node.classes or (node.kind == "class" and node.label == class_))
        ]

    def edges(self, kind: str | None = None, *, source: str | None = None, target: str | None = None) -> list[Edge]:
        """Edges in the order of source, target and kind; those of a kind, out of a node, or into one."""
        if source is not None:
            found = self._graph.out_edges(source, keys=True, data="record") if source in self._graph else ()
        elif target is not None:
            found = self._graph.in_edges(target, keys=True, data="record") if target in self._graph else ()
        else:
            found = self._graph.edges(keys=True, data="record")
        return [
            edge
            for _, end, key, edge in sorted(found, key=lambda item: item[:3])
            if (kind is None or key == kind) and (target is None or end == target)
        ]

    def class_node(self, name: str) -> Node:
        """The node of a class. Raises GraphError where there is none."""
        for node in self.nodes("class"):
            if node.label == name:
                return node
        raise GraphError(f"there is no class '{name}' in the graph", nearest(name, self.classes))

    def path(self, class_name: str) -> list[Node]:
        """The strongest chain from a class down towards the image: the one that comes lowest; among those the one
        with the largest product of weights. Starts with the class's node."""
        best: dict[str, Chain] = {}

        def follow(identifier: str) -> Chain:
            if identifier not in best:
                chains: list[Chain] = [(-self.rank(self.node(identifier)), 1.0, (identifier,))]
                for edge in self.edges(source=identifier):
                    depth, strength, rest = follow(edge.target)
                    weight = abs(edge.weight) if isinstance(edge, BuiltFrom) else 1.0
                    chains.append((depth, strength * weight, (identifier, *rest)))
                best[identifier] = max(chains, key=lambda chain: (chain[0], len(chain[2]) > 1, chain[1], chain[2]))
            return best[identifier]

        return [self.node(identifier) for identifier in follow(self.class_node(class_name).id)[2]]

    def to_networkx(self) -> nx.MultiDiGraph:
        """A copy with plain attributes; edge keys are the kinds. Changing it does not change this graph."""
        copy = nx.MultiDiGraph(schema=SCHEMA, version=SCHEMA_VERSION, **self.header.plain())
        for node in self.nodes():
            copy.add_node(node.id, **node.plain())
        for edge in self.edges():
            copy.add_edge(edge.source, edge.target, key=edge.kind, **edge.plain())
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
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise DataError("this is not a concept graph", "Name a run folder or the graph.json of one.")
        if content.get("version") not in READABLE:
            raise DataError(
                f"this concept graph has format {content.get('version')}, this program reads up to {SCHEMA_VERSION}",
                "Read it with the version of conceptnet_ml that wrote it, or run 'learn' again.",
            )
        graph = cls.__new__(cls)
        graph.header = _build(Header, "graph header", content.get("header"))
        graph._graph = nx.MultiDiGraph()
        graph._ranks = {stage.name: rank for rank, stage in enumerate(graph.header.stages)}
        nodes = [_parse(NODES, "node", item) for item in _items(content, "nodes")]
        # parents before children, as when the graph was grown
        for node in sorted(nodes, key=lambda node: -graph._ranks.get(node.stage or "", len(graph._ranks))):
            if node.id in graph._graph:
                raise GraphError(f"{title(node)} is there twice")
            graph._insert_node(node)
        for item in _items(content, "edges"):
            edge = _parse(EDGES, "edge", item)
            if graph._graph.has_edge(edge.source, edge.target, edge.kind):
                raise GraphError(f"edge {edge.source} -{edge.kind}-> {edge.target} is there twice")
            graph._insert_edge(edge)
        return graph

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, nodes and edges; equal graphs give equal bytes."""
        return json.dumps(self.to_plain(), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ConceptGraph:
        """Read :meth:`to_json`. Raises as :meth:`from_plain`."""
        try:
            return cls.from_plain(json.loads(text))
        except ValueError as error:
            raise DataError(f"this is not JSON: {error}", "Restore the file, or run 'learn' again.") from error

    def to_graphml(self) -> str:
        """GraphML for Gephi, yEd and networkx; lists and objects are JSON strings, what is not set is left out."""
        flat = nx.MultiDiGraph(**flatten({"schema": SCHEMA, "version": SCHEMA_VERSION, **self.header.plain()}))
        flat.add_nodes_from((node.id, flatten(node.plain())) for node in self.nodes())
        for edge in self.edges():
            fields = flatten(edge.plain())
            source, target = fields.pop("source"), fields.pop("target")
            flat.add_edge(source, target, key=f"{source}-{edge.kind}-{target}", **fields)
        return "\n".join(nx.generate_graphml(flat)) + "\n"

    @classmethod
    def from_graphml(cls, text: str) -> ConceptGraph:
        """Read :meth:`to_graphml`. Raises as :meth:`from_plain`."""
        try:
            flat = nx.parse_graphml(text, force_multigraph=True)
        except (SyntaxError, ValueError, KeyError, TypeError, nx.NetworkXError) as error:
            raise DataError(f"this is not GraphML: {error}", "Restore the file, or export it again.") from error
        try:
            fields = unflatten({key: value for key, value in flat.graph.items() if key in Header.model_fields})
            nodes = [unflatten({**data, "id": node}) for node, data in flat.nodes(data=True)]
            edges = [
                unflatten({**data, "source": source, "target": target})
                for source, target, data in flat.edges(data=True)
            ]
        except (ValueError, TypeError) as error:
            raise DataError(f"a list in this GraphML is damaged: {error}", "Export it again.") from error
        head = {key: flat.graph.get(key) for key in ("schema", "version")}
        return cls.from_plain({**head, "header": fields, "nodes": nodes, "edges": edges})

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


def _build(model: type[R], what: str, fields: Any) -> R:
    """A record, or the first thing that is wrong with it in words."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise GraphError(f"{what}: {where}: {reason}" if where else f"{what}: {reason}") from error


def _parse(models: Mapping[str, type[R]], what: str, fields: Any) -> R:
    kind = fields.get("kind") if isinstance(fields, dict) else None
    if not isinstance(kind, str) or kind not in models:
        raise GraphError(f"there is no kind of {what} '{kind}'", nearest(str(kind), models))
    return _build(models[kind], f"{kind} {fields.get('id', '')}".strip(), fields)


def _items(content: Mapping[str, Any], key: str) -> list[Any]:
    items = content.get(key)
    if not isinstance(items, list):
        raise DataError(f"this concept graph has no list of {key}", "Restore the file, or run 'learn' again.")
    return items
