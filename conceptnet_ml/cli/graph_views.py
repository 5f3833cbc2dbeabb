"""How the graph's commands show a concept graph: a node as a line, a class as a tree, records and changes as tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from conceptnet_ml.cli import options
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.diff import Changes, Fields, GraphDiff
from conceptnet_ml.graph.queries import Chain
from conceptnet_ml.graph.schema import Edge, Node

KINDS = ("generalized", "variant", "feature")
STYLES = {"class": "bold", "generalized": "magenta", "variant": "cyan", "feature": "green", "unit": "dim"}
SHOWN = 8
"""Units, classes and analogies of a node."""
NODE_NUMBERS = {"AUC": "auc", "effect": "effect", "φ": "phi", "ι": "iota", "accuracy": "accuracy", "gate": "swap_cost"}
EDGE_NUMBERS = {"score": "score", "ablation": "effect", "gap": "gap", "null": "null", "untrained": "untrained"}
Row = dict[str, str | Text]


# ---------------------------------------------------------------------------------------------------- a line


def name_of(node: Node) -> Text:
    """``feature wheel (car 1)``: its kind, the user's name for it where there is one, its label."""
    text = Text()
    if node.kind != "class":
        text.append(f"{node.kind} ", style="dim")
    text.append(node.title, style=STYLES[node.kind])
    if node.name is not None and node.name != node.label:
        text.append(f" ({node.label})", style="dim")
    return text


def line(node: Node, facts: Sequence[str] | None = None) -> Text:
    """``feature car 1 · units 3 8 · AUC 0.97 · φ 0.83 · kept``, as text that no label can turn into markup."""
    text = name_of(node)
    if node.state is not None:
        text.append(f" · {node.state}", style="yellow")
    for fact in _node_facts(node) if facts is None else facts:
        text.append(f" · {fact}")
    return text


def chain_line(number: int, chain: Chain) -> Text:
    """``1. +0.4: car → +0.8 feature wheel at top → +0.5 unit stem unit 3 at stem``, the first the product."""
    text = Text(f"{number}. {_signed(chain.sign * chain.strength)}: ").append_text(name_of(chain.nodes[0]))
    for weight, node in zip(chain.weights, chain.nodes[1:], strict=True):
        text.append(f" → {_signed(weight)} ", style="dim").append_text(name_of(node))
        text.append(f" at {node.stage}", style="dim")
    return text


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−")


def _node_facts(node: Node) -> list[str]:
    units = [f"units {_units(node)}"] if node.units and node.kind != "unit" else []
    accuracy = "accuracy on views" if node.kind == "class" else "accuracy"
    names = {"auc": "AUC", "effect": "effect", "accuracy": accuracy, "phi": "φ", "iota": "ι", "overlap": "overlap"}
    numbers = _facts(node, **names, swap_cost="gate", agreement="agreement", sureness="sureness")
    coverage = [f"{name} {share:.0%}" for name, share in getattr(node, "coverage", {}).items()]
    some = getattr(node, "shared_by", ())
    shared = [f"shared by {', '.join(some)}"] if some and set(some) < set(node.classes) else []
    words = [word for key in ("representation", "decision") if (word := getattr(node, key, None))]
    covered = [f"gate recall {', '.join(coverage)}"] if coverage else []
    return units + numbers + shared + covered + _residual(node) + words


def _facts(record: Any, **names: str) -> list[str]:
    """``AUC 0.97`` and the like for the fields that are set."""
    values = ((name, getattr(record, field, None)) for field, name in names.items())
    return [f"{name} {value:.3g}" for name, value in values if value is not None]


def _residual(node: Node) -> list[str]:
    before, after = getattr(node, "r_before", None), getattr(node, "r_after", None)
    if before is None and after is None:
        return []
    return [f"r {'?' if before is None else f'{before:.0%}'} → {'?' if after is None else f'{after:.0%}'}"]


def _units(node: Node) -> str:
    shown = " ".join(str(unit) for unit in node.units[:SHOWN])
    return f"{shown} …" if len(node.units) > SHOWN else shown


def _interval(edge: Edge) -> str:
    """``[0.4, 0.6]``, empty where there is none."""
    low, high = getattr(edge, "low", None), getattr(edge, "high", None)
    return "" if low is None or high is None else f"[{low:.3g}, {high:.3g}]"


# ---------------------------------------------------------------------------------------------------- trees


def trees(graph: ConceptGraph, classes: Sequence[str]) -> Iterator[Tree]:
    """For each class its stages, their features, and what those are made of."""
    heads = {node.label: node for node in graph.nodes("class")}
    places: defaultdict[tuple[str, str | None], list[Node]] = defaultdict(list)
    for kind in KINDS:
        for node in _ordered(graph, graph.nodes(kind)):
            for name in node.classes:
                places[name, node.stage].append(node)
    titles = {one.name: f"{one.name}, directions as units" for one in graph.header.stages if one.directions is not None}
    for name in classes:
        root = Tree(line(heads[name]) if name in heads else Text(name, style="bold"))
        for stage in reversed(graph.stages):
            if nodes := places[name, stage]:
                branch = root.add(Text(titles.get(stage, stage), style="underline"))
                reasons: set[str] = set()  # all nodes of a round have the same reason; only the first shows it
                for node in nodes:
                    _add_node(branch, graph, node, name, reasons)
        if not root.children:
            root.add(Text("no features yet", style="dim"))
        yield root


def _ordered(graph: ConceptGraph, nodes: Sequence[Node]) -> list[Node]:
    """As people would list them: by round, class and unit."""
    place = {name: index for index, name in enumerate(graph.classes)}
    return sorted(
        nodes, key=lambda node: (node.round or 0, [place[name] for name in node.classes], node.units, node.label)
    )


def _add_node(branch: Tree, graph: ConceptGraph, node: Node, class_name: str, reasons: set[str]) -> None:
    """Add a node and what it is made of; ``reasons`` are those shown before, and grow."""
    twig = branch.add(line(node))
    reason = getattr(node, "reason", None)
    for words in (node.note, reason if reason not in reasons else None):
        if words:
            twig.add(Text(words, style="italic dim"))
    reasons |= {reason} if reason else set()
    if node.spectrum:
        twig.add(Text(_spectrum(node)))
    if node.state in ("merged", "split"):
        for edge in graph.edges("became", source=node.id):
            into = line(graph.node(edge.target), facts=[f"edit {getattr(edge, 'edit', '?')}"])
            twig.add(Text.assemble(("became ", "yellow"), into))
    if node.kind == "generalized":
        for edge in graph.edges("generalizes", source=node.id):
            twig.add(line(graph.node(edge.target), facts=_facts(edge, score="analogy")))
    _add_analogies(twig, graph, node, class_name)
    edges = sorted(graph.edges("built_from", source=node.id), key=lambda edge: -abs(edge.strength or 0.0))
    for edge in edges[:SHOWN]:
        target = graph.node(edge.target)
        place = [] if target.stage == node.stage else [f"at {target.stage}"]
        leaf = twig.add(line(target, facts=place + _edge_facts(edge)))
        if target.kind == "unit":
            _add_analogies(leaf, graph, target, class_name)
    if len(edges) > SHOWN:
        twig.add(Text(f"and {len(edges) - SHOWN} weaker", style="dim"))


def _edge_facts(edge: Edge) -> list[str]:
    found = _facts(edge, weight="weight", effect="ablation", gap="gap", null="null")
    if interval := _interval(edge):
        found[0] += f" {interval}"
    return found


def _add_analogies(twig: Tree, graph: ConceptGraph, node: Node, class_name: str) -> None:
    """What plays the node's part in other classes, the strongest first."""
    edges = [edge for edge in graph.edges("analogous", source=node.id) if getattr(edge, "class_name", "") == class_name]
    edges.sort(key=lambda edge: -(edge.strength or 0.0))
    for edge in edges[:SHOWN]:
        other = line(graph.node(edge.target), _facts(edge, score="analogy", null="null", untrained="untrained"))
        twig.add(Text.assemble((f"in {getattr(edge, 'other', '')}: ", "dim"), other))
    if len(edges) > SHOWN:
        twig.add(Text(f"and {len(edges) - SHOWN} weaker analogies", style="dim"))


def _spectrum(node: Node) -> str:
    """``spectrum: car 1.2 [0.3, 2] · dog -0.9 [-1.4, 0.1]``, the class that lies highest first."""
    rows = sorted(node.spectrum.items(), key=lambda item: (-item[1][1], item[0]))
    shown = [f"{name} {mean:.2g} [{low:.2g}, {high:.2g}]" for name, (low, mean, high) in rows[:SHOWN]]
    more = [f"{len(rows) - SHOWN} classes below"] if len(rows) > SHOWN else []
    return "spectrum: " + " · ".join(shown + more)


# ---------------------------------------------------------------------------------------------------- tables


def node_table(graph: ConceptGraph, nodes: Sequence[Node]) -> Table:
    """One line per node, from the classes down; columns without a value are left out."""
    return _sparse_table([_node_row(node) for node in _ordered_down(graph, nodes)], right={"round", *NODE_NUMBERS})


def _ordered_down(graph: ConceptGraph, nodes: Sequence[Node]) -> list[Node]:
    kinds = ("class", *KINDS, "unit")
    return sorted(_ordered(graph, nodes), key=lambda node: (-graph.rank(node), kinds.index(node.kind)))


def brief_table(graph: ConceptGraph, nodes: Sequence[Node]) -> Table:
    """One line per node, in the columns that a window of 80 has room for."""
    rows: list[Row] = []
    for node in _ordered_down(graph, nodes):
        row = _node_row(node)
        name = node.title if node.title == node.label else f"{node.title} ({node.label})"
        shown = ("kind", "classes", "stage", "effect", "state", "note")
        rows.append({"id": node.id, "name": name, **{key: row[key] for key in shown}})
    made = _sparse_table(rows, right={"effect"})
    for column in made.columns:  # a long name folds, and leaves the others whole
        column.no_wrap = str(column.header) not in ("name", "classes", "note")
    return made


def edge_table(graph: ConceptGraph, edges: Sequence[Edge]) -> Table:
    """One line per edge, by kind, the strongest first."""
    ordered = sorted(edges, key=lambda edge: (edge.kind, -abs(edge.strength or 0.0)))
    rows: list[Row] = []
    for edge in ordered:
        numbers = {name: _number(edge, field) for name, field in EDGE_NUMBERS.items()}
        rows.append({**_ends(graph, edge), "weight": _number(edge, "weight"), "interval": _interval(edge), **numbers})
    return _sparse_table(rows, right={"weight", *EDGE_NUMBERS})


def diff_tables(old: ConceptGraph, new: ConceptGraph, found: GraphDiff) -> Iterator[tuple[str, Table]]:
    """What was added, removed and changed: a title and a table each for header, nodes and edges."""
    if found.header:
        yield "header", _sparse_table(_field_rows({"": "~", "field": ""}, found.header))

    def node_head(sign: str, node: Node) -> Row:
        name = node.title if node.title == node.label else f"{node.title} ({node.label})"
        round = str(node.round or "")
        return {"": sign, "id": node.id, "kind": node.kind, "node": name, "stage": node.stage or "", "round": round}

    def edge_head(sign: str, edge: Edge) -> Row:
        return {"": sign, **_ends(old if sign == "-" else new, edge)}

    yield from _change_table("nodes", found.nodes, node_head)
    yield from _change_table("edges", found.edges, edge_head)


def _change_table(what: str, changes: Changes[Any], head: Callable[[str, Any], Row]) -> Iterator[tuple[str, Table]]:
    """Nothing where nothing changed; ``head`` says what a record is, after its sign."""
    if changes:
        whole: Fields = {"": ("", "")}
        records = [("+", record, whole) for record in changes.added]
        records += [("-", record, whole) for record in changes.removed]
        records += [("~", one.new, one.fields) for one in changes.changed]
        rows = [row for sign, record, fields in records for row in _field_rows(head(sign, record), fields)]
        added, removed, changed = len(changes.added), len(changes.removed), len(changes.changed)
        yield f"{what}: {added} added, {removed} removed, {changed} changed", _sparse_table(rows)


def _sparse_table(rows: Sequence[Row], right: Container[str] = ()) -> Table:
    """Rows of the same keys; columns without a value are left out."""
    columns = [key for key in rows[0] if any(row[key] for row in rows)] if rows else []
    return options.table(columns, [[row[key] for key in columns] for row in rows], right=right, pad_edge=False)


def _node_row(node: Node) -> Row:
    return {
        "kind": node.kind,
        "name": node.name or "",
        "label": node.label,
        "state": node.state or "",
        "stage": node.stage or "",
        "round": str(node.round or ""),
        "classes": "" if node.kind == "class" else " ".join(node.classes),
        "units": "" if node.kind == "unit" else _units(node),
        **{name: _number(node, field) for name, field in NODE_NUMBERS.items()},
        "residual": " ".join(_residual(node)).removeprefix("r "),
        "decision": getattr(node, "decision", None) or "",
        "note": node.note or "",
        "id": node.id,
    }


def _ends(graph: ConceptGraph, edge: Edge) -> Row:
    """What an edge is and what it connects."""

    def place(node: Node) -> str:
        at = f" at {node.stage}" if node.stage is not None and node.stage not in node.title else ""
        return f"{node.kind} {node.title}{at}"

    names = [getattr(edge, "class_name", None), getattr(edge, "other", None)]
    edit = getattr(edge, "edit", None)
    classes = " → ".join(name for name in names if name) or ("" if edit is None else f"edit {edit}")
    ends = [place(graph.node(end)) for end in (edge.source, edge.target)]
    return {"kind": edge.kind, "from": ends[0], "to": ends[1], "classes": classes}


def _number(record: Node | Edge, field: str) -> str:
    value = getattr(record, field, None)
    return "" if value is None else f"{value:.3g}"


def _field_rows(head: Row, fields: Fields) -> list[Row]:
    """One row a field; what they are fields of is in the first alone."""
    rows: list[Row] = []
    for field, (old, new) in fields.items():
        before, after = (Text(text, style="yellow") for text in _two_values(old, new))
        sign = Text(str(head[""]), style={"+": "green", "-": "red", "~": "yellow"}[str(head[""])])
        start: Row = dict.fromkeys(head, "") if rows else {**head, "": sign}
        rows.append({**start, "field": field, "old": before, "new": after})
    return rows


def _two_values(old: Any, new: Any) -> tuple[str, str]:
    """Two values as text, numbers with as few digits as tell them apart."""
    if isinstance(old, float) and isinstance(new, float):
        pairs = ((f"{old:.{digits}g}", f"{new:.{digits}g}") for digits in range(3, 18))
        return next(pair for pair in pairs if pair[0] != pair[1])
    return _value(old), _value(new)


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return ", ".join(_value(item) for item in value) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
