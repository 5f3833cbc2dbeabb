"""The concept graph as GEXF 1.2, for Gephi (https://gexf.net), by networkx's writer."""

from __future__ import annotations

import re
from pathlib import Path

import networkx as nx

from conceptnet_ml import ConceptGraph
from conceptnet_ml.storage.files import write_atomic


def write(graph: ConceptGraph, path: Path) -> None:
    """Write GEXF: lists and objects are JSON strings, a node's label is the user's name for it where there is one, an
    edge's its kind.

    Raises:
        DataError: The path cannot be written.
    """
    flat = graph.to_networkx(flat=True)
    for _, fields in flat.nodes(data=True):
        fields["label"] = fields.get("name", fields["label"])
    for _, _, key, fields in flat.edges(keys=True, data=True):
        fields["label"] = key
    # The writer dates the file: the same graph is to be the same file.
    write_atomic(path, re.sub(r' lastmodifieddate="[^"]*"', "", "\n".join(nx.generate_gexf(flat)), count=1) + "\n")
