"""Formats of the concept graph."""

from __future__ import annotations

from conceptnet_ml.hookspecs import hookimpl
from conceptnet_ml.records import Exporter


@hookimpl
def conceptnet_exporters() -> list[Exporter]:
    """The graph's own JSON, GraphML and GEXF for graph editors, tables for spreadsheets, DOT for a picture."""
    return [
        Exporter(
            name="json",
            api="1",
            write="conceptnet_plugins.exporters.json:write",
            suffix=".json",
            summary="canonical JSON, reads back to an equal graph",
        ),
        Exporter(
            name="graphml",
            api="1",
            write="conceptnet_plugins.exporters.graphml:write",
            parse="conceptnet_plugins.exporters.graphml:parse",
            suffix=".graphml",
            summary="GraphML for Gephi, yEd and networkx, reads back to an equal graph",
        ),
        Exporter(
            name="gexf",
            api="1",
            write="conceptnet_plugins.exporters.gexf:write",
            suffix=".gexf",
            summary="GEXF for Gephi",
        ),
        Exporter(
            name="csv",
            api="1",
            write="conceptnet_plugins.exporters.tables:write",
            suffix=".csv",
            summary="two tables, nodes.csv and edges.csv, for spreadsheets, pandas and Gephi",
        ),
        Exporter(
            name="dot",
            api="1",
            write="conceptnet_plugins.exporters.dot:write",
            suffix=".dot",
            summary="Graphviz: labels, stages and strongest numbers only",
        ),
    ]
