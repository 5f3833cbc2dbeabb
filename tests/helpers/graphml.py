"""Concept graphs as GraphML and back, through the built-in exporter."""

from __future__ import annotations

from conceptnet_ml import ConceptGraph
from conceptnet_plugins.exporters.graphml import parse, to_graphml

__all__ = ["from_graphml", "parse", "to_graphml"]


def from_graphml(text: str) -> ConceptGraph:
    """The graph of a text of GraphML."""
    return ConceptGraph.from_plain(parse(text))
