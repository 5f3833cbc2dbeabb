"""The difference an edit makes to a concept graph: applied, kept as JSON, applied again to a rebuilt graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from conceptnet_ml.errors import GraphError
from conceptnet_ml.graph.concept_graph import ConceptGraph


@dataclass(frozen=True)
class Delta:
    """The difference an edit makes.

    Args:
        nodes: New nodes, as :meth:`GraphRecord.plain` gives them.
        update: Fields that change, by node; a value of None removes the field.
        drop: Edges that are removed, as (source, kind, target).
        edges: New edges, or new values of old ones.
        units: New number of units, by stage.
        network: Fingerprint of the network after the edit, None where it is the same.
    """

    nodes: list[dict[str, Any]] = field(default_factory=list)
    update: dict[str, dict[str, Any]] = field(default_factory=dict)
    drop: list[tuple[str, str, str]] = field(default_factory=list)
    edges: list[dict[str, Any]] = field(default_factory=list)
    units: dict[str, int] = field(default_factory=dict)
    network: str | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON values; ``Delta(**plain)`` reads it back."""
        return {key: value for key, value in vars(self).items() if value}

    def apply(self, graph: ConceptGraph) -> ConceptGraph:
        """A new graph with the difference made. Raises GraphError where it breaks an invariant.

        Nodes that are there already and edges that are gone already are no error: applied to a graph that was rebuilt
        after the edit, it gives the same graph.
        """
        content = graph.to_plain()
        nodes = {node["id"]: node for node in content["nodes"]}
        for node in self.nodes:
            there = nodes.get(node["id"], {})
            nodes[node["id"]] = {**there, **{key: value for key, value in node.items() if not there.get(key)}}
        for identifier, fields in self.update.items():
            if identifier in nodes:
                merged = {**nodes[identifier], **fields}
                nodes[identifier] = {key: value for key, value in merged.items() if value is not None}
        dropped = {tuple(edge) for edge in self.drop}
        left = [edge for edge in content["edges"] if _key(edge)[:3] not in dropped and _is_valid(edge, nodes)]
        edges = {_key(edge): edge for edge in left}
        for edge in self.edges:
            if edge["source"] in nodes and edge["target"] in nodes:
                edges[_key(edge)] = edge
        header = content["header"]
        for stage in header["stages"]:
            stage["units"] = max(stage["units"], self.units.get(stage["name"], 0))
        header["network"] = self.network or header["network"]
        changed = ConceptGraph.from_plain({**content, "nodes": [*nodes.values()], "edges": [*edges.values()]})
        if problems := changed.check():
            raise GraphError(problems[0])
        return changed


def _key(edge: Mapping[str, Any]) -> tuple[Any, ...]:
    """Identifies an edge; analogies between the same two nodes differ in their classes."""
    classes = (edge["class_name"], edge["other"]) if edge["kind"] == "analogous" else ()
    return edge["source"], edge["kind"], edge["target"], *classes


def _is_valid(edge: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether both ends of an analogy belong to its classes, which a split may have changed."""
    if edge["kind"] != "analogous":
        return True
    ends = ((nodes[edge["source"]], edge["class_name"]), (nodes[edge["target"]], edge["other"]))
    return all(name in node.get("classes", ()) or not node.get("classes") for node, name in ends)
