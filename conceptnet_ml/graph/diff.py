"""The differences between two concept graphs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from conceptnet_ml.errors import SettingsError
from conceptnet_ml.graph.fields import GraphRecord
from conceptnet_ml.graph.schema import Edge, Node
from conceptnet_ml.graph.store import GraphStore

R = TypeVar("R", Node, Edge)

Fields = Mapping[str, tuple[Any, Any]]
"""Names of fields with the old and the new value, None where it is not set; ``coverage[car]`` for part of one."""


@dataclass(frozen=True)
class ChangedRecord(Generic[R]):
    """A record that is in both graphs with other values."""

    old: R
    new: R
    fields: Fields


@dataclass(frozen=True)
class Changes(Generic[R]):
    """The differing nodes, or edges, each in the order of its graph."""

    added: tuple[R, ...]
    removed: tuple[R, ...]
    changed: tuple[ChangedRecord[R], ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def plain(self, names: tuple[str, ...]) -> dict[str, Any]:
        """As JSON values; of a changed record the names that identify it, and the fields' values."""
        changed = [
            {**{name: getattr(one.new, name) for name in names}, "fields": _pairs(one.fields)} for one in self.changed
        ]
        whole = {name: [one.plain() for one in getattr(self, name)] for name in ("added", "removed")}
        return {**whole, "changed": changed}


@dataclass(frozen=True)
class GraphDiff:
    """The differences in a second graph; true where there are any.

    Args:
        header: Fields of the header that differ: classes, stages, network, settings, seed.
        nodes: Matched by their ids, which come from their content: other units make another node.
        edges: Matched by their ends and their key.
    """

    header: Fields
    nodes: Changes[Node]
    edges: Changes[Edge]

    def __bool__(self) -> bool:
        return bool(self.header or self.nodes or self.edges)

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        nodes, edges = self.nodes.plain(("id", "kind", "title")), self.edges.plain(("source", "target", "key"))
        return {"header": _pairs(self.header), "nodes": nodes, "edges": edges}


def diff_graphs(graph: GraphStore, other: GraphStore, tolerance: float = 0.0) -> GraphDiff:
    """The differences in another graph. Cost: linear in both.

    Numbers that differ by no more than ``tolerance`` are the same; SettingsError where it is negative or no number.
    """
    if not tolerance >= 0:
        raise SettingsError(f"the tolerance is {tolerance}.", "Give a number of at least 0, such as 1e-6.")
    both = (graph, other)
    nodes = [{node.id: node for node in one.nodes()} for one in both]
    edges = [{(edge.source, edge.target, edge.key): edge for edge in one.edges()} for one in both]
    return GraphDiff(
        _changed(graph.header, other.header, tolerance),
        _compare(nodes[0], nodes[1], tolerance),
        _compare(edges[0], edges[1], tolerance),
    )


def _compare(old: Mapping[Any, R], new: Mapping[Any, R], tolerance: float) -> Changes[R]:
    changed = (
        ChangedRecord(old[key], record, fields)
        for key, record in new.items()
        if key in old and record != old[key] and (fields := _changed(old[key], record, tolerance))
    )
    return Changes(
        added=tuple(record for key, record in new.items() if key not in old),
        removed=tuple(record for key, record in old.items() if key not in new),
        changed=tuple(changed),
    )


def _changed(old: GraphRecord, new: GraphRecord, tolerance: float) -> dict[str, tuple[Any, Any]]:
    before, after = _flat(old.plain()), _flat(new.plain())
    pairs = {name: (before.get(name), after.get(name)) for name in {**before, **after}}
    return {name: pair for name, pair in pairs.items() if not _same(*pair, tolerance)}


def _flat(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Fields with their values; those of an object one by one."""
    found: dict[str, Any] = {}
    for name, value in plain.items():
        found |= {f"{name}[{key}]": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
    return found


def _same(old: Any, new: Any, tolerance: float) -> bool:
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(_same(*pair, tolerance) for pair in zip(old, new, strict=True))
    if isinstance(old, float) and isinstance(new, float):
        return math.isclose(old, new, rel_tol=0.0, abs_tol=tolerance)
    return bool(old == new)


def _pairs(fields: Fields) -> dict[str, list[Any]]:
    return {name: list(pair) for name, pair in fields.items()}
