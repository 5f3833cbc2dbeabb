"""The concept graph: the concepts on which a network's decisions rest, checked on every write.

Classes are built from variants, features and units; a variant specializes a generalized feature, which generalizes the
features of several classes; a variant is built from units and features of the stage below.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from conceptnet_ml.errors import ConceptNetError, DataError, GraphError, nearest
from conceptnet_ml.graph import invariants, queries
from conceptnet_ml.graph.diff import diff_graphs
from conceptnet_ml.graph.schema import EDGES, NODES, READABLE, SCHEMA, SCHEMA_VERSION, Edge, Header, Node, node_id
from conceptnet_ml.graph.store import GraphStore
from conceptnet_ml.storage.run_folder import unfinished

RULES = "docs/concepts.md says what must hold in a concept graph."

IDENTITY = frozenset(("id", "kind", "label", "stage", "round", "parent", "units"))
"""Fields of a node that never change: its id is made of them."""

RESTORE = "Restore the file, or run 'learn' again."

R = TypeVar("R", bound=BaseModel)


def loads(text: str) -> Any:
    """JSON without NaN and infinity, which only Python reads. Raises DataError."""
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise DataError(f"this is not JSON: {error}", RESTORE) from error


class ConceptGraph(GraphStore):
    """A directed multigraph of concepts, at most one edge of a kind between two nodes (of an analogy: and two classes).
    Raises GraphError where a name is empty or repeated, or a stage has no units.

    Args:
        classes: Class names, in the order of the network's logits.
        stages: (name, number of units) of every stage, from the image upwards, and where directions take the units'
            place, their number.
        network: Fingerprint of the learned network.
        settings: Digest of the run's settings.
        seed: The run's seed.

    Example::

        graph = ConceptGraph(["car", "dog"], [("stem", 16), ("block1", 32)], network="9f…", settings="03…", seed=0)
        car = graph.add_node("class", "car", classes=["car"])
        wheel = graph.add_node("feature", "car 1", stage="block1", round=1, classes=["car"], units=[3, 8], auc=0.97)
        graph.add_edge("built_from", car, wheel, weight=0.8)
    """

    def __init__(
        self,
        classes: Sequence[str],
        stages: Sequence[tuple[str, int] | tuple[str, int, int | None]],
        *,
        network: str,
        settings: str,
        seed: int,
    ) -> None:
        named = [dict(zip(("name", "units", "directions"), stage, strict=False)) for stage in stages]
        fields = {"classes": classes, "stages": named, "network": network, "settings": settings, "seed": seed}
        super().__init__(build(Header, "graph header", fields))

    # ------------------------------------------------------------------------------------------------ writing

    def add_node(self, kind: str, label: str, **fields: Any) -> str:
        """Add a node and return its id.

        Raises GraphError where an invariant breaks; nothing was added then.

        Args:
            kind: class, variant, generalized, feature or unit.
            label: Its name in words.
            **fields: The fields of the kind's record in :mod:`conceptnet_ml.graph.schema`.
        """
        if kind not in NODES:
            raise GraphError(f"there is no kind of node '{kind}'", nearest(kind, NODES))
        stage, round, parent = fields.get("stage"), fields.get("round"), fields.get("parent")
        try:
            identifier = node_id(kind, label, stage, round, parent, fields.get("units", ()))
        except (TypeError, ValueError) as error:
            raise GraphError(f"{kind} '{label}': {error}") from error
        node = build(NODES[kind], f"{kind} '{label}'", {"id": identifier, "label": label, **fields})
        if node.id in self._graph:
            raise GraphError(f"{node} is there already", "Give one of the two another label.")
        self._insert_node(node)
        return node.id

    def update_node(self, identifier: str, **fields: Any) -> Node:
        """Set measurements of a node that were not known when it was added.

        Raises GraphError where there is no such node or an invariant breaks; nothing was changed then.
        """
        node = self.node(identifier)
        if fixed := sorted(IDENTITY & set(fields)):
            raise GraphError(f"{node}: {fixed[0]} is part of what the node is and cannot change")
        changed = build(type(node), str(node), {**node.model_dump(), **fields})
        _refuse(invariants.node_problems(self, changed))
        self._graph.nodes[identifier]["record"] = changed
        try:
            if changed.classes != node.classes:  # its edges name classes, too
                touched = (*self.edges(source=identifier), *self.edges(target=identifier))
                _refuse(problem for edge in touched for problem in invariants.edge_problems(self, edge))
        except GraphError:
            self._graph.nodes[identifier]["record"] = node
            raise
        return changed

    def add_edge(self, kind: str, source: str, target: str, **fields: Any) -> Edge:
        """Add an edge.

        Raises GraphError where an invariant breaks; nothing was added then. Cost: the edges of its two nodes; for edges
        that could close a circle (built_from between nodes of one kind and stage, became) also :meth:`reaches`.

        Args:
            kind: built_from, generalizes, specializes, analogous or became.
            source, target: Node ids.
            **fields: The fields of the kind's record in :mod:`conceptnet_ml.graph.schema`.
        """
        if kind not in EDGES:
            raise GraphError(f"there is no kind of edge '{kind}'", nearest(kind, EDGES))
        what = f"edge {source} -{kind}-> {target}"
        edge = build(EDGES[kind], what, {"source": source, "target": target, **fields})
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
        """Add many edges; clashes among them are looked for once, at the end, in time linear in the graph."""
        for edge in edges:
            if self._graph.has_edge(edge.source, edge.target, edge.key):
                raise GraphError(f"edge {edge.source} -{edge.kind}-> {edge.target} is there twice")
            _refuse(invariants.edge_problems(self, edge))
            self._graph.add_edge(edge.source, edge.target, key=edge.key, record=edge)
        _refuse(invariants.all_clashes(self))

    # ------------------------------------------------------------------------------------------------ questions

    check = invariants.problems
    select = queries.select_nodes
    select_edges = queries.select_edges
    resolve = queries.resolve_node
    paths = queries.strongest_chains
    diff = diff_graphs

    # ------------------------------------------------------------------------------------------------ files

    @classmethod
    def from_plain(cls, content: Any) -> ConceptGraph:
        """The graph that :meth:`to_plain` describes. Raises DataError where it is no concept graph or of another
        version, GraphError where a record or an invariant is broken.
        """
        header, nodes, edges = parse_graph(content)
        graph = cls.__new__(cls)
        GraphStore.__init__(graph, header)
        try:
            # parents before children, as when the graph was grown
            for node in sorted(nodes, key=lambda node: -graph._ranks.get(node.stage or "", len(graph._ranks))):
                if node.id in graph._graph:
                    raise GraphError(f"{node} is there twice")
                graph._insert_node(node)
            graph._insert_edges(edges)
        except GraphError as error:
            raise GraphError(error.message, RESTORE) from error
        return graph

    @classmethod
    def from_json(cls, text: str) -> ConceptGraph:
        """Read :meth:`to_json`. Raises as :meth:`from_plain`."""
        return cls.from_plain(loads(text))

    @classmethod
    def read(cls, path: Path, parse: Callable[[str], Any] = loads) -> ConceptGraph:
        """Read a run folder's graph, or a file: JSON, or another format by the ``parse`` of its exporter. Raises as
        :meth:`from_plain`, and DataError where it cannot be read; the message names the file.
        """
        if path.is_dir():
            run, path = path, path / "graph.json"
            if not path.exists():
                raise unfinished(run, "concept graph")
        try:
            return cls.from_plain(parse(path.read_text(encoding="utf-8-sig")))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror or "" if isinstance(error, OSError) else "not a text file"
            raise DataError(f"cannot read {path}: {reason.lower()}", "Name a run folder or a graph file.") from error
        except ConceptNetError as error:
            raise type(error)(f"{path}: {error.message}", error.mend) from error


def _refuse(problems: Iterator[str]) -> None:
    for problem in problems:
        raise GraphError(problem, RULES)


def parse_graph(content: Any) -> tuple[Header, list[Node], list[Edge]]:
    """The records of a graph's plain form, each checked by itself. Raises DataError where it is no concept graph or of
    another version, GraphError where a record is broken.
    """
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise DataError("this is not a concept graph", "Name a run folder or the graph.json of one.")
    if content.get("version") not in READABLE:
        raise DataError(
            f"this concept graph has format {content.get('version')}, this program reads up to {SCHEMA_VERSION}",
            "Read it with the version of conceptnet_ml that wrote it, or run 'learn' again.",
        )
    header = build(Header, "graph header", content.get("header"), RESTORE)
    nodes = [_record(NODES, "node", item) for item in _items(content, "nodes")]
    return header, nodes, [_record(EDGES, "edge", item) for item in _items(content, "edges")]


def build(model: type[R], what: str, fields: Any, mend: str = "") -> R:
    """A record. Raises GraphError with the first error in its fields."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise GraphError(f"{what}: {where}: {reason}" if where else f"{what}: {reason}", mend) from error


def _record(models: Mapping[str, type[R]], what: str, fields: Any) -> R:
    kind = fields.get("kind") if isinstance(fields, dict) else None
    if not isinstance(kind, str) or kind not in models:
        raise GraphError(f"there is no kind of {what} '{kind}'", nearest(str(kind), models))
    which = f" from {fields.get('source')} to {fields.get('target')}" if what == "edge" else f" {fields.get('id')}"
    return build(models[kind], kind + which, fields, RESTORE)


def _items(content: Mapping[str, Any], key: str) -> list[Any]:
    items = content.get(key)
    if not isinstance(items, list):
        raise DataError(f"this concept graph has no list of {key}", RESTORE)
    return items


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")
