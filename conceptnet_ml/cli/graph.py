"""``graph show | export | check``: look at a run's concept graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conceptnet_ml.errors import SettingsError, nearest

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.tree import Tree

    from conceptnet_ml.graph import ConceptGraph
    from conceptnet_ml.graph_records import Node

app = typer.Typer(name="graph", help="Look at a run's concept graph, and work on it.", no_args_is_help=True)

Source = Annotated[Path, typer.Argument(metavar="RUN", help="run folder, or a graph file (.json or .graphml)")]

_KINDS = ("generalized", "variant", "feature")
_STYLES = {"class": "bold", "generalized": "magenta", "variant": "cyan", "feature": "green", "unit": "dim"}
_UNITS_SHOWN = 8


@app.command()
def show(
    source: Source,
    table: Annotated[bool, typer.Option("--table", help="one line per node instead of a tree")] = False,
    class_: Annotated[str | None, typer.Option("--class", help="only what speaks for this class")] = None,
    json: Annotated[bool, typer.Option("--json", help="print the graph itself as JSON")] = False,
) -> None:
    """Print the graph: for each class its stages, their features, and the units those are made of."""
    graph = _read(source)
    if class_ is not None and class_ not in graph.classes:
        raise SettingsError(f"--class: there is no class '{class_}'.", nearest(class_, graph.classes))
    if json:
        typer.echo(graph.to_json(), nl=False)
        return
    console = _console()
    if table:
        console.print(_table(graph, class_))
    else:
        for name in graph.classes if class_ is None else (class_,):
            console.print(_tree(graph, name))
    problems = graph.check()
    if problems:
        one = len(problems) == 1
        hint = "1 problem; 'graph check' says which." if one else f"{len(problems)} problems; 'graph check' lists them."
        console.print(hint, style="yellow", markup=False)


@app.command()
def export(
    source: Source,
    out: Annotated[Path, typer.Option("--out", help="file to write")],
    format: Annotated[str | None, typer.Option("--format", help="exporter; default: by the file's ending")] = None,
    plugins_dir: Annotated[Path | None, typer.Option("--plugins-dir", help="folder of plugins, or one file")] = None,
    no_plugins: Annotated[bool, typer.Option("--no-plugins", help="built-in plugins only")] = False,
) -> None:
    """Write the graph in another format."""
    from conceptnet_ml.plugins import load_plugins

    plugins = load_plugins(plugins_dir, use_entry_points=not no_plugins)
    if format is None:
        suffixes = {getattr(record, "suffix", ""): record.name for record in plugins.all("exporter")}
        if out.suffix not in suffixes:
            raise SettingsError(
                f"--out: no exporter writes '{out.suffix}' files.", f"Known: {', '.join(sorted(suffixes))}."
            )
        format = suffixes[out.suffix]
    write = plugins.get("exporter", format).function("write")
    write(_read(source), out)
    typer.echo(f"wrote {out}")


@app.command()
def check(source: Source) -> None:
    """Check every invariant of the graph; exit code 3 where one is broken."""
    from conceptnet_ml.graph import GraphError

    graph = _read(source)
    problems = graph.check()
    if problems:
        listing = "\n".join(f"  - {problem}" for problem in problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise GraphError(f"{source}: {count} in the concept graph\n{listing}", "Run 'learn' again.")
    typer.echo(f"{source}: sound, {len(graph)} nodes and {len(graph.edges())} edges")


def _read(source: Path) -> ConceptGraph:
    from conceptnet_ml.graph import ConceptGraph
    from conceptnet_ml.runs import Run

    return Run.open(source).graph() if source.is_dir() else ConceptGraph.read(source)


def _ordered(graph: ConceptGraph, nodes: list[Node]) -> list[Node]:
    """As people would list them: by round, class and unit."""
    place = {name: index for index, name in enumerate(graph.classes)}
    return sorted(
        nodes, key=lambda node: (node.round or 0, [place[name] for name in node.classes], node.units, node.label)
    )


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    # where nobody watches there is no edge of a window to fold lines at
    return console if console.is_terminal else Console(highlight=False, width=240)


# ---------------------------------------------------------------------------------------------------- tree


def _tree(graph: ConceptGraph, class_name: str) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    root = Tree(Text(class_name, style="bold"))
    for node in graph.nodes("class", class_=class_name):
        root.label = _line(node)
    for stage in reversed(graph.stages):
        nodes = [node for kind in _KINDS for node in _ordered(graph, graph.nodes(kind, stage=stage, class_=class_name))]
        if nodes:
            branch = root.add(Text(stage, style="underline"))
            for node in nodes:
                _add(branch, graph, node)
    if not root.children:
        root.add(Text("no features yet", style="dim"))
    return root


def _add(branch: Tree, graph: ConceptGraph, node: Node) -> None:
    from rich.text import Text

    twig = branch.add(_line(node))
    reason = getattr(node, "reason", None)
    if reason:
        twig.add(Text(reason, style="italic dim"))
    if node.kind == "generalized":
        for edge in graph.edges("generalizes", source=node.id):
            twig.add(_line(graph.node(edge.target), facts=_facts(edge, score="analogy")))
    edges = sorted(graph.edges("built_from", source=node.id), key=lambda edge: -abs(getattr(edge, "weight", 0.0)))
    for edge in edges[:_UNITS_SHOWN]:
        facts = _facts(edge, weight="weight", effect="ablation", gap="gap")
        low, high = getattr(edge, "low", None), getattr(edge, "high", None)
        if low is not None and high is not None:
            facts[0] += f" [{low:.3g}, {high:.3g}]"
        target = graph.node(edge.target)
        place = [] if target.stage == node.stage else [f"at {target.stage}"]
        twig.add(_line(target, facts=place + facts))
    if len(edges) > _UNITS_SHOWN:
        twig.add(Text(f"and {len(edges) - _UNITS_SHOWN} weaker", style="dim"))


def _line(node: Node, facts: list[str] | None = None) -> Any:
    """``feature car 1 · units 3 8 · AUC 0.97 · φ 0.83 · kept``, as text that no label can turn into markup."""
    from rich.text import Text

    text = Text()
    if node.kind != "class":
        text.append(f"{node.kind} ", style="dim")
    text.append(node.label, style=_STYLES[node.kind])
    for fact in _describe(node) if facts is None else facts:
        text.append(f" · {fact}")
    return text


def _describe(node: Node) -> list[str]:
    units = [f"units {_units(node)}"] if node.units and node.kind != "unit" else []
    accuracy = "accuracy on views" if node.kind == "class" else "accuracy"
    numbers = _facts(
        node, auc="AUC", effect="effect", accuracy=accuracy, phi="φ", iota="ι", overlap="overlap", swap_cost="gate"
    )
    coverage = [f"{name} {share:.0%}" for name, share in getattr(node, "coverage", {}).items()]
    some = getattr(node, "shared_by", ())
    shared = [f"shared by {', '.join(some)}"] if some and set(some) < set(node.classes) else []
    words = [word for key in ("representation", "decision") if (word := getattr(node, key, None))]
    covered = [f"covers {', '.join(coverage)}"] if coverage else []
    return units + numbers + shared + covered + _residual(node) + words


def _facts(record: Any, **names: str) -> list[str]:
    values = ((name, getattr(record, field, None)) for field, name in names.items())
    return [f"{name} {value:.3g}" for name, value in values if value is not None]


def _residual(node: Node) -> list[str]:
    before, after = getattr(node, "r_before", None), getattr(node, "r_after", None)
    if before is None and after is None:
        return []
    return [f"r {'?' if before is None else f'{before:.0%}'} → {'?' if after is None else f'{after:.0%}'}"]


def _units(node: Node) -> str:
    shown = " ".join(str(unit) for unit in node.units[:_UNITS_SHOWN])
    return f"{shown} …" if len(node.units) > _UNITS_SHOWN else shown


# ---------------------------------------------------------------------------------------------------- table


def _table(graph: ConceptGraph, class_name: str | None) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = list(_rows(graph, class_name))
    columns = [key for key in rows[0] if any(row[key] for row in rows)] if rows else []
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for key in columns:
        numeric = key in ("round", "AUC", "effect", "φ", "ι", "accuracy", "gate")
        table.add_column(key, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[key]) for key in columns))
    return table


def _rows(graph: ConceptGraph, class_name: str | None) -> Iterator[dict[str, str]]:
    places: list[tuple[str, str | None]] = [("class", None)]
    places += [(kind, stage) for stage in reversed(graph.stages) for kind in (*_KINDS, "unit")]
    for kind, stage in places:
        for node in _ordered(graph, graph.nodes(kind, stage=stage, class_=class_name)):
            row = {
                "kind": node.kind,
                "label": node.label,
                "stage": node.stage or "",
                "round": str(node.round or ""),
                "classes": "" if kind == "class" else " ".join(node.classes),
                "units": "" if kind == "unit" else _units(node),
            }
            measures = {
                "AUC": "auc",
                "effect": "effect",
                "φ": "phi",
                "ι": "iota",
                "accuracy": "accuracy",
                "gate": "swap_cost",
            }
            for name, field in measures.items():
                value = getattr(node, field, None)
                row[name] = "" if value is None else f"{value:.3g}"
            row["residual"] = " ".join(_residual(node)).removeprefix("r ")
            row["decision"] = getattr(node, "decision", None) or ""
            yield {**row, "id": node.id}
