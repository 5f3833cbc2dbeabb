"""An exporter: the strongest edges as a Mermaid flowchart, which many viewers of Markdown draw.

Put the file's text into a block that begins with three backticks and ``mermaid``.
"""

from __future__ import annotations

from pathlib import Path

from conceptnet_ml import ConceptGraph, Exporter, hookimpl
from conceptnet_ml.storage.files import write_atomic

EDGES = 40
"""Drawn at most, the strongest first; more cannot be read."""


def write(graph: ConceptGraph, path: Path) -> None:
    """Write the classes, and the nodes at either end of an edge that is drawn. Raises DataError where it cannot."""
    edges = sorted(graph.edges("built_from"), key=lambda edge: -abs(edge.weight or 0.0))[:EDGES]
    drawn = {edge.source for edge in edges} | {edge.target for edge in edges}
    lines = ["flowchart TD"]
    for node in graph.nodes():
        if node.kind == "class" or node.id in drawn:
            where = f"<br/>{_words(node.stage)}" if node.stage else ""
            lines.append(f'  n{node.id}["{_words(node.title)}{where}"]')
    for edge in edges:
        weight = "" if edge.weight is None else f'|"{edge.weight:.2f}"|'
        lines.append(f"  n{edge.source} -->{weight} n{edge.target}")
    write_atomic(path, "\n".join(lines) + "\n")


def _words(text: str) -> str:
    """A name as Mermaid takes it within quotes: with entities for what it would read as its own or as HTML."""
    return text.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")


@hookimpl
def conceptnet_exporters() -> list[Exporter]:
    """``graph export RUN --out graph.mmd`` takes it by the file's ending."""
    return [Exporter(name="mermaid", api="1", write=write, suffix=".mmd", summary="a Mermaid flowchart for Markdown")]
