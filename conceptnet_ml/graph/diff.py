"""What is different between two concept graphs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
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
class Change(Generic[R]):
    """A record that is in both graphs with other values."""

    old: R
    new: R
    fields: Fields


@dataclass(frozen=True)
class Changes(Generic[R]):
    """What became of the records of one sort, each in the order of its graph."""

    added: tuple[R, ...]
    removed: tuple[R, ...]
    changed: tuple[Change[R], ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True)
class GraphDiff:
    """What is different in a second graph: true where anything is.

    Args:
        header: Fields of the header that differ: classes, stages, network, settings, seed.
        nodes: Matched by their ids, which say what a node is: other units make another node.
        edges: Matched by their ends and their key.
    """

    header: Fields
    nodes: Changes[Node]
    edges: Changes[Edge]

    def __bool__(self) -> bool:
        return bool(self.header or self.nodes or self.edges)

    def plain(self) -> dict[str, Any]:
        """As JSON values; a change has the record's id (of an edge: source, kind, target) and the fields' values."""
        return {"header": _pairs(self.header), "nodes": _plain(self.nodes), "edges": _plain(self.edges)}


def diff(old: GraphStore, new: GraphStore, tolerance: float = 0.0) -> GraphDiff:
    """What is different in the second graph. Cost: linear in both.

    Args:
        tolerance: Numbers that differ by no more than this are the same.

    Raises:
        SettingsError: The tolerance is negative or no number.
    """
    if not tolerance >= 0:
        raise SettingsError(f"the tolerance is {tolerance}.", "Give a number of at least 0, such as 1e-6.")
    return GraphDiff(
        _changed(old.header, new.header, tolerance),
        _compare(_nodes(old), _nodes(new), tolerance),
        _compare(_edges(old), _edges(new), tolerance),
    )


def _nodes(graph: GraphStore) -> dict[Any, Node]:
    return {node.id: node for node in graph.nodes()}


def _edges(graph: GraphStore) -> dict[Any, Edge]:
    return {(edge.source, edge.target, edge.key): edge for edge in graph.edges()}


def _compare(old: dict[Any, R], new: dict[Any, R], tolerance: float) -> Changes[R]:
    changed = (
        Change(old[key], record, fields)
        for key, record in new.items()
        if key in old and record != old[key] and (fields := _changed(old[key], record, tolerance))
    )
    return Changes(
        added=tuple(record for key, record in new.items() if key not in old),
        removed=tuple(record for key, record in old.items() if key not in new),
        changed=tuple(changed),
    )


def _changed(old: GraphRecord, new: GraphRecord, tolerance: float) -> dict[str, tuple[Any, Any]]:
    before, after = dict(_leaves(old.plain())), dict(_leaves(new.plain()))
    pairs = {name: (before.get(name), after.get(name)) for name in {**before, **after}}
    return {name: pair for name, pair in pairs.items() if not _same(*pair, tolerance)}


def _leaves(plain: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Fields with their values; those of an object one by one."""
    for name, value in plain.items():
        if isinstance(value, dict):
            yield from ((f"{name}[{key}]", part) for key, part in value.items())
        else:
            yield name, value


def _same(old: Any, new: Any, tolerance: float) -> bool:
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(_same(*pair, tolerance) for pair in zip(old, new, strict=True))
    if isinstance(old, float) and isinstance(new, float):
        return math.isclose(old, new, rel_tol=0.0, abs_tol=tolerance)
    return bool(old == new)


def _pairs(fields: Fields) -> dict[str, list[Any]]:
    return {name: list(pair) for name, pair in fields.items()}


def _plain(changes: Changes[Any]) -> dict[str, list[Any]]:
    return {
        "added": [record.plain() for record in changes.added],
        "removed": [record.plain() for record in changes.removed],
        "changed": [{**_identity(change.new), "fields": _pairs(change.fields)} for change in changes.changed],
    }


def _identity(record: Node | Edge) -> dict[str, Any]:
    if isinstance(record, Node):
        return {"id": record.id, "kind": record.kind, "title": record.title}
    return {"source": record.source, "target": record.target, "key": record.key}
