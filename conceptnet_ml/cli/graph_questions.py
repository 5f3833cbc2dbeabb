"""``graph query | path | diff``: ask a concept graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conceptnet_ml.cli import options
from conceptnet_ml.cli.graph_views import Source, console, interval, name_of, read, table, table_of
from conceptnet_ml.errors import SettingsError, nearest

QUERY_EXAMPLES = options.examples(
    ("graph query runs/NAME --kind feature --class car", "what car hangs on"),
    ("graph query runs/NAME --edges --min-weight 0.5", "the strong edges"),
    ("graph query runs/NAME --text wheel --json", "for other programs"),
)
PATH_EXAMPLES = options.examples(("graph path runs/NAME car --count 5", "the five strongest chains"))
DIFF_EXAMPLES = options.examples(
    ("graph diff runs/A runs/B", "two runs"), ("graph diff runs/A old.json --tolerance 1e-6", "a run and a file")
)
_NUMBERS = {"weight", "score", "ablation", "gap", "null", "untrained", "strength", "chain"}

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from conceptnet_ml.graph.concept_graph import ConceptGraph
    from conceptnet_ml.graph.diff import Changes, Fields
    from conceptnet_ml.graph.queries import Chain
    from conceptnet_ml.graph.schema import Edge, Node


def query(
    source: Source,
    kind: Annotated[str | None, typer.Option("--kind", help="kind of node; with --edges, of edge")] = None,
    stage: Annotated[str | None, typer.Option("--stage", help="at this stage")] = None,
    class_: Annotated[str | None, typer.Option("--class", help="that speaks for this class")] = None,
    min_weight: Annotated[
        float | None, typer.Option("--min-weight", help="with an edge of at least this weight or score, of either sign")
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", help="whose id, label, name, note or reason contains it")
    ] = None,
    state: Annotated[str | None, typer.Option("--state", help="current, merged, split or forgotten")] = None,
    edges: Annotated[bool, typer.Option("--edges", help="edges one of whose ends meets the conditions")] = False,
    json: options.Json = False,
) -> None:
    """Print the nodes, or the edges, that meet every condition given."""
    graph = read(source)
    conditions: dict[str, Any] = {
        "kind": kind,
        "stage": stage,
        "class_": class_,
        "min_weight": min_weight,
        "text": text,
        "state": state,
    }
    found: list[Any] = graph.select_edges(**conditions) if edges else graph.select(**conditions)
    what = "edges" if edges else "nodes"
    if json:
        options.print_json({what: [record.plain() for record in found]})
        return
    out = console()
    if found:
        out.print(_edge_table(graph, found) if edges else table_of(graph, found))
    out.print(f"{_count(len(found), what)} of {len(graph.edges() if edges else graph)}", style="dim", markup=False)


def path(
    source: Source,
    class_name: Annotated[str, typer.Argument(metavar="CLASS", help="class to start from", show_default=False)],
    count: Annotated[int, typer.Option("--count", min=1, help="how many chains")] = 1,
    json: options.Json = False,
) -> None:
    """Print the strongest chains from a class down: those that come nearest to the image, by the product of weights."""
    graph = read(source)
    if class_name not in graph.classes:
        raise SettingsError(f"there is no class '{class_name}'.", nearest(class_name, graph.classes))
    chains = graph.paths(class_name, count)
    if json:
        options.print_json({"class": class_name, "chains": [chain.plain() for chain in chains]})
        return
    out = console()
    for number, chain in enumerate(chains, 1):
        out.print(_chain(number, chain))


def diff(
    source: Annotated[Path, typer.Argument(metavar="RUN", help="run folder or graph file: the old one")],
    other: Annotated[Path, typer.Argument(metavar="OTHER", help="run folder or graph file: the new one")],
    tolerance: Annotated[float, typer.Option("--tolerance", help="numbers that differ by no more are the same")] = 0.0,
    json: options.Json = False,
) -> None:
    """Print what is different in the second graph: header, nodes and edges, with old and new values."""
    old, new = read(source), read(other)
    found = old.diff(new, tolerance)
    if json:
        options.print_json(found.plain())
        return
    out = console()
    if not found:
        out.print("no difference")
        return
    if found.header:
        out.print("header", style="bold")
        out.print(_diff_table(_field_rows({"": "~", "field": ""}, found.header)))
    for what, changes, rows in (
        ("node", found.nodes, _node_rows(found.nodes)),
        ("edge", found.edges, _edge_rows(old, new, found.edges)),
    ):
        if changes:
            counts = (len(changes.added), len(changes.removed), len(changes.changed))
            out.print(f"{what}s: {counts[0]} added, {counts[1]} removed, {counts[2]} changed", style="bold")
            out.print(_diff_table(list(rows)))


def _count(number: int, what: str) -> str:
    return f"{number} {what if number != 1 else what[:-1]}"


def _edge_table(graph: ConceptGraph, edges: list[Edge]) -> Table:
    def row(edge: Edge) -> dict[str, str]:
        ends = [graph.node(edge.source), graph.node(edge.target)]
        names = {"score": "score", "ablation": "effect", "gap": "gap", "null": "null", "untrained": "untrained"}
        values = {name: getattr(edge, field, None) for name, field in {"weight": "weight", **names}.items()}
        numbers = {name: "" if value is None else f"{value:.3g}" for name, value in values.items()}
        weight = numbers.pop("weight")
        return {
            "kind": edge.kind,
            "from": _place(ends[0]),
            "to": _place(ends[1]),
            "classes": _said(edge),
            "weight": weight,
            "interval": interval(edge),
            **numbers,
        }

    ordered = sorted(edges, key=lambda edge: (edge.kind, -abs(edge.strength or 0.0)))
    return table([row(edge) for edge in ordered], numeric=_NUMBERS)


def _place(node: Node) -> str:
    at = f" at {node.stage}" if node.stage is not None and node.stage not in node.title else ""
    return f"{node.kind} {node.title}{at}"


def _said(edge: Edge) -> str:
    names = [getattr(edge, "class_name", None), getattr(edge, "other", None)]
    edit = getattr(edge, "edit", None)
    return " → ".join(name for name in names if name) or ("" if edit is None else f"edit {edit}")


def _chain(number: int, chain: Chain) -> Text:
    """``1. strength 0.4: car → 0.8 feature wheel at top → 0.5 unit stem unit 3 at stem``."""
    from rich.text import Text

    text = Text(f"{number}. strength {chain.strength:.3g}: ").append_text(name_of(chain.nodes[0]))
    for weight, node in zip(chain.weights, chain.nodes[1:], strict=True):
        text.append(f" → {weight:.3g} ", style="dim").append_text(name_of(node))
        text.append(f" at {node.stage}", style="dim")
    return text


# ---------------------------------------------------------------------------------------------------------- diff

_SIGNS = {"+": "green", "-": "red", "~": "yellow"}
Row = dict[str, str]


def _node_rows(changes: Changes[Node]) -> Iterator[Row]:
    def head(sign: str, node: Node) -> Row:
        name = node.title if node.title == node.label else f"{node.title} ({node.label})"
        round = str(node.round or "")
        return {"": sign, "id": node.id, "kind": node.kind, "node": name, "stage": node.stage or "", "round": round}

    yield from _rows(changes, head)


def _edge_rows(old: ConceptGraph, new: ConceptGraph, changes: Changes[Edge]) -> Iterator[Row]:
    def head(sign: str, edge: Edge) -> Row:
        graph = old if sign == "-" else new
        ends = [_place(graph.node(end)) for end in (edge.source, edge.target)]
        return {"": sign, "kind": edge.kind, "from": ends[0], "to": ends[1], "classes": _said(edge)}

    yield from _rows(changes, head)


def _rows(changes: Changes[Any], head: Any) -> Iterator[Row]:
    for sign, records in (("+", changes.added), ("-", changes.removed)):
        yield from ({**head(sign, record), "field": "", "old": "", "new": ""} for record in records)
    for change in changes.changed:
        yield from _field_rows(head("~", change.new), change.fields)


def _field_rows(head: Row, fields: Fields) -> list[Row]:
    """One row a field; what they are fields of stands in the first alone."""
    blank = dict.fromkeys(head, "")
    rows: list[Row] = []
    for field, (old, new) in fields.items():
        values = _apart(old, new)
        rows.append({**(blank if rows else head), "field": field, "old": values[0], "new": values[1]})
    return rows


def _apart(old: Any, new: Any) -> tuple[str, str]:
    """Two values as text, numbers with as few digits as tell them apart."""
    if isinstance(old, float) and isinstance(new, float):
        shown = ((f"{old:.{digits}g}", f"{new:.{digits}g}") for digits in range(3, 18))
        return next(pair for pair in shown if pair[0] != pair[1])
    return _value(old), _value(new)


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return ", ".join(_value(item) for item in value) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _diff_table(rows: list[Row]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    columns = [key for key in rows[0] if key == "" or any(row[key] for row in rows)]
    found = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for key in columns:
        found.add_column(key, overflow="fold")
    sign = "~"
    for row in rows:
        sign = row[""] or sign
        found.add_row(*(Text(row[key], style=_SIGNS[sign] if key in ("", "old", "new") else "") for key in columns))
    return found
