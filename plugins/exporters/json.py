"""The concept graph as its own canonical JSON."""

from __future__ import annotations

from pathlib import Path

from conceptnet_ml import ConceptGraph
from conceptnet_ml.storage.files import write_atomic


def write(graph: ConceptGraph, path: Path) -> None:
    """Write JSON that :meth:`ConceptGraph.from_json` reads back to an equal graph.

    Raises:
        DataError: The path cannot be written.
    """
    write_atomic(path, graph.to_json())
