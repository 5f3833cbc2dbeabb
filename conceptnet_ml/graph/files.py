"""From a file's text to the concept graph's records, or to the first error in them, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from conceptnet_ml.errors import DataError, GraphError, nearest
from conceptnet_ml.graph.schema import EDGES, NODES, READABLE, SCHEMA, SCHEMA_VERSION, Edge, Header, Node

R = TypeVar("R", bound=BaseModel)

RESTORE = "Restore the file, or run 'learn' again."


def loads(text: str) -> Any:
    """JSON without NaN and infinity, which only Python reads. Raises DataError."""
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise DataError(f"this is not JSON: {error}", RESTORE) from error


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
