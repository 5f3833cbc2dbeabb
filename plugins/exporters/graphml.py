"""The concept graph as GraphML."""

from __future__ import annotations

from pathlib import Path

from conceptnet_ml import ConceptGraph
from conceptnet_ml.storage.files import write_atomic


def write(graph: ConceptGraph, path: Path) -> None:
    """Write GraphML that :meth:`ConceptGraph.from_graphml` reads back to an equal graph.

    Raises:
        DataError: The path cannot be written.
    """
    write_atomic(path, graph.to_graphml())
