"""How the graph's commands read a concept graph and show its nodes: as a line, a tree, a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

Source = Annotated[Path, typer.Argument(metavar="RUN", help="run folder, or a graph file (.json or .graphml)")]

_KINDS = ("generalized", "variant", "feature")
STYLES = {"class": "bold", "generalized": "magenta", "variant": "cyan", "feature": "green", "unit": "dim"}
_SHOWN = 8
"""Of units, classes and analogies."""
_MEASURES = {"AUC": "auc", "effect": "effect", "φ": "phi", "ι": "iota", "accuracy": "accuracy", "gate": "swap_cost"}

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
    from rich.tree import Tree

    from conceptnet_ml.graph.concept_graph import ConceptGraph
    from conceptnet_ml.graph.schema import Edge, Node


def read(source: Path) -> ConceptGraph:
    """The graph of a run folder or of a file. Raises DataError or GraphError."""
    from conceptnet_ml.graph.concept_graph import ConceptGraph
    from conceptnet_ml.storage.run_folder import Run

    if source.is_dir():
        Run.open(source)
    return ConceptGraph.read(source)


def console() -> Console:
    """Where nobody watches there is no edge of a window to fold lines at."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=240)


# ---------------------------------------------------------------------------------------------------- a line


def name_of(node: Node) -> Text:
    """``feature wheel (car 1)``: its kind, the user's name for it where there is one, its label."""
    from rich.text import Text

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
    for fact in _describe(node) if facts is None else facts:
        text.append(f" · {fact}")
    return text


def _describe(node: Node) -> list[str]:
    units = [f"units {_units(node)}"] if node.units and node.kind != "unit" else []
    accuracy = "accuracy on views" if node.kind == "class" else "accuracy"
    names = {"auc": "AUC", "effect": "effect", "accuracy": accuracy, "phi": "φ", "iota": "ι", "overlap": "overlap"}
    numbers = facts(node, **names, swap_cost="gate", agreement="agreement")
    coverage = [f"{name} {share:.0%}" for name, share in getattr(node, "coverage", {}).items()]
    some = getattr(node, "shared_by", ())
    shared = [f"shared by {', '.join(some)}"] if some and set(some) < set(node.classes) else []
    words = [word for key in ("representation", "decision") if (word := getattr(node, key, None))]
    covered = [f"covers {', '.join(coverage)}"] if coverage else []
    return units + numbers + shared + covered + _residual(node) + words


def facts(record: Any, **names: str) -> list[str]:
    """``AUC 0.97`` and the like for the fields that are set."""
    values = ((name, getattr(record, field, None)) for field, name in names.items())
    return [f"{name} {value:.3g}" for name, value in values if value is not None]


def _residual(node: Node) -> list[str]:
    before, after = getattr(node, "r_before", None), getattr(node, "r_after", None)
    if before is None and after is None:
        return []
    return [f"r {'?' if before is None else f'{before:.0%}'} → {'?' if after is None else f'{after:.0%}'}"]


def _units(node: Node) -> str:
    shown = " ".join(str(unit) for unit in node.units[:_SHOWN])
    return f"{shown} …" if len(node.units) > _SHOWN else shown


def interval(edge: Edge) -> str:
    """``[0.4, 0.6]``, empty where there is none."""
    low, high = getattr(edge, "low", None), getattr(edge, "high", None)
    return "" if low is None or high is None else f"[{low:.3g}, {high:.3g}]"


# ---------------------------------------------------------------------------------------------------- tree


def tree_of(graph: ConceptGraph, classes: Sequence[str]) -> Iterator[Tree]:
    """For each class its stages, their features, and what those are made of."""
    from rich.text import Text
    from rich.tree import Tree

    heads = {node.label: node for node in graph.nodes("class")}
    places: defaultdict[tuple[str, str | None], list[Node]] = defaultdict(list)
    for kind in _KINDS:
        for node in _ordered(graph, graph.nodes(kind)):
            for name in node.classes:
                places[name, node.stage].append(node)
    titles = {one.name: f"{one.name}, directions as units" for one in graph.header.stages if one.directions is not None}
    for name in classes:
        root = Tree(line(heads[name]) if name in heads else Text(name, style="bold"))
        for stage in reversed(graph.stages):
            if nodes := places[name, stage]:
                branch = root.add(Text(titles.get(stage, stage), style="underline"))
                told: set[str] = set()  # one round's reason stands at all of its nodes; it is said at the first
                for node in nodes:
                    _add(branch, graph, node, name, told)
        if not root.children:
            root.add(Text("no features yet", style="dim"))
        yield root


def _ordered(graph: ConceptGraph, nodes: list[Node]) -> list[Node]:
    """As people would list them: by round, class and unit."""
    place = {name: index for index, name in enumerate(graph.classes)}
    return sorted(
        nodes, key=lambda node: (node.round or 0, [place[name] for name in node.classes], node.units, node.label)
    )


def _add(branch: Tree, graph: ConceptGraph, node: Node, class_name: str, told: set[str]) -> None:
    from rich.text import Text

    twig = branch.add(line(node))
    reason = getattr(node, "reason", None)
    for words in (node.note, reason if reason not in told else None):
        if words:
            twig.add(Text(words, style="italic dim"))
    told |= {reason} if reason else set()
    if node.spectrum:
        twig.add(Text(_spectrum(node)))
    if node.state in ("merged", "split"):
        for edge in graph.edges("became", source=node.id):
            into = line(graph.node(edge.target), facts=[f"edit {getattr(edge, 'edit', '?')}"])
            twig.add(Text.assemble(("became ", "yellow"), into))
    if node.kind == "generalized":
        for edge in graph.edges("generalizes", source=node.id):
            twig.add(line(graph.node(edge.target), facts=facts(edge, score="analogy")))
    _analogies(twig, graph, node, class_name)
    edges = sorted(graph.edges("built_from", source=node.id), key=lambda edge: -abs(edge.strength or 0.0))
    for edge in edges[:_SHOWN]:
        target = graph.node(edge.target)
        place = [] if target.stage == node.stage else [f"at {target.stage}"]
        leaf = twig.add(line(target, facts=place + _edge_facts(edge)))
        if target.kind == "unit":
            _analogies(leaf, graph, target, class_name)
    if len(edges) > _SHOWN:
        twig.add(Text(f"and {len(edges) - _SHOWN} weaker", style="dim"))


def _edge_facts(edge: Edge) -> list[str]:
    found = facts(edge, weight="weight", effect="ablation", gap="gap", null="null")
    if shown := interval(edge):
        found[0] += f" {shown}"
    return found


def _analogies(twig: Tree, graph: ConceptGraph, node: Node, class_name: str) -> None:
    """What plays the node's part in other classes, the strongest first."""
    from rich.text import Text

    edges = [edge for edge in graph.edges("analogous", source=node.id) if getattr(edge, "class_name", "") == class_name]
    edges.sort(key=lambda edge: -(edge.strength or 0.0))
    for edge in edges[:_SHOWN]:
        shown = facts(edge, score="analogy", null="null", untrained="untrained")
        other = line(graph.node(edge.target), facts=shown)
        twig.add(Text.assemble((f"in {getattr(edge, 'other', '')}: ", "dim"), other))
    if len(edges) > _SHOWN:
        twig.add(Text(f"and {len(edges) - _SHOWN} weaker analogies", style="dim"))


def _spectrum(node: Node) -> str:
    """``spectrum: car 1.2 [0.3, 2] · dog -0.9 [-1.4, 0.1]``, the class that lies highest first."""
    rows = sorted(node.spectrum.items(), key=lambda item: (-item[1][1], item[0]))
    shown = [f"{name} {mean:.2g} [{low:.2g}, {high:.2g}]" for name, (low, mean, high) in rows[:_SHOWN]]
    more = [f"{len(rows) - _SHOWN} classes below"] if len(rows) > _SHOWN else []
    return "spectrum: " + " · ".join(shown + more)


# ---------------------------------------------------------------------------------------------------- table


def table_of(graph: ConceptGraph, nodes: Sequence[Node]) -> Table:
    """One line per node, from the classes down; columns without a value are left out."""
    ranks = {stage: rank for rank, stage in enumerate(reversed(graph.stages))}
    kinds = {kind: place for place, kind in enumerate(("class", *_KINDS, "unit"))}
    ordered = sorted(
        _ordered(graph, list(nodes)),
        key=lambda node: (-1 if node.stage is None else ranks[node.stage], kinds[node.kind]),
    )
    return table([_row(node) for node in ordered], numeric={"round", *_MEASURES})


def _row(node: Node) -> dict[str, str]:
    row = {
        "kind": node.kind,
        "name": node.name or "",
        "label": node.label,
        "state": node.state or "",
        "stage": node.stage or "",
        "round": str(node.round or ""),
        "classes": "" if node.kind == "class" else " ".join(node.classes),
        "units": "" if node.kind == "unit" else _units(node),
    }
    for name, field in _MEASURES.items():
        value = getattr(node, field, None)
        row[name] = "" if value is None else f"{value:.3g}"
    row["residual"] = " ".join(_residual(node)).removeprefix("r ")
    row["decision"] = getattr(node, "decision", None) or ""
    return {**row, "note": node.note or "", "id": node.id}


def table(rows: Sequence[dict[str, str]], numeric: set[str]) -> Table:
    """Rows of the same keys; columns without a value are left out, numbers stand at the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    columns = [key for key in rows[0] if any(row[key] for row in rows)] if rows else []
    found = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for key in columns:
        # An id is there to be copied, whatever room it leaves the others.
        found.add_column(key, justify="right" if key in numeric else "left", overflow="fold", no_wrap=key == "id")
    for row in rows:
        found.add_row(*(Text(row[key]) for key in columns))
    return found
