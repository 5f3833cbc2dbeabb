"""The concept graph as two tables, nodes and edges, for spreadsheets, pandas and Gephi's import."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conceptnet_ml import ConceptGraph
from conceptnet_ml.storage.files import write_atomic

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a text begins that a spreadsheet would compute."""


def write(graph: ConceptGraph, path: Path) -> list[Path]:
    """Write the nodes to the path and the edges beside it: ``nodes.csv`` and ``edges.csv``, ``cars.csv`` and
    ``cars-edges.csv``; for a path without an ending, ``nodes.csv`` and ``edges.csv`` in that folder.

    Lists and objects are JSON, what is not set is empty. A text that a spreadsheet would take for a formula begins with
    an apostrophe.

    Returns:
        Both files.

    Raises:
        DataError: One cannot be written.
    """
    nodes = path if path.suffix else path / "nodes.csv"
    named = nodes.stem.replace("nodes", "edges") if "nodes" in nodes.stem else f"{nodes.stem}-edges"
    edges, plain = nodes.with_name(f"{named}{nodes.suffix}"), graph.to_plain()
    write_atomic(nodes, _table(plain["nodes"], ("id", "label", "kind")))
    write_atomic(edges, _table(plain["edges"], ("source", "target", "kind", "weight")))
    return [nodes, edges]


def _table(records: Sequence[Mapping[str, Any]], first: Sequence[str]) -> str:
    """A column for every field of any record, ``first`` before the others."""
    columns = list(dict.fromkeys([*first, *(name for record in records for name in record)]))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows([_cell(record.get(name)) for name in columns] for record in records)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
