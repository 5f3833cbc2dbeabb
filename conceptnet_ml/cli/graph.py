"""``graph show | export | check | query | path | diff``: look at a run's concept graph and ask it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conceptnet_ml.cli import options
from conceptnet_ml.cli.options import option
from conceptnet_ml.errors import GraphError, SettingsError, nearest
from conceptnet_ml.records import Exporter

if TYPE_CHECKING:
    from conceptnet_ml.graph.concept_graph import ConceptGraph

QUERY_EXAMPLES = options.examples(
    ("graph query runs/NAME --kind feature --class car", "what car hangs on"),
    ("graph query runs/NAME --edges --min-weight 0.5", "the strong edges"),
    ("graph query runs/NAME --edges --text 7688ddc57d74", "a node's neighbours"),
    ("graph query runs/NAME --text wheel --json", "for other programs"),
)
PATH_EXAMPLES = options.examples(("graph path runs/NAME car --count 5", "the five strongest chains"))
DIFF_EXAMPLES = options.examples(
    ("graph diff runs/A runs/B", "two runs"), ("graph diff runs/A old.json --tolerance 1e-6", "a run and a file")
)
MIN_WEIGHT_HELP = "with an edge of at least this weight or score, of either sign"
FOLDER = "Name one, as in graph.json; for a folder of tables: --format csv."
TOLERANCE_HELP = "numbers that differ by no more are the same"
TEXT_HELP = "whose id, label, name, note or reason contains it, or what the page calls it"

app = typer.Typer(
    name="graph", help="Look at a run's concept graph, and work on it.", no_args_is_help=True, rich_markup_mode="rich"
)
Source = Annotated[Path, options.argument("RUN", "run folder, or a graph file (.json or .graphml)")]


@app.command()
def show(
    source: Source,
    every: Annotated[bool, option("--all", None, None, "all of it as a tree, with the evidence for each")] = False,
    table: Annotated[bool, option("--table", None, None, "one line per node")] = False,
    class_: Annotated[str | None, option("--class", "NAME", None, "only what speaks for this class")] = None,
    json: Annotated[bool, option("--json", None, None, "print the graph itself as JSON")] = False,
) -> None:
    """Print the strongest concepts: what each is, of which class, where, what feeds it and what it feeds.

    With [bold]--all[/] the whole graph: for each class its stages, their features,
    and the units those are made of, with all that was measured.
    """
    graph = _read(source)
    if class_ is not None:
        _check_class(graph, class_, "--class: ")
    if json:
        typer.echo(graph.to_json(), nl=False)
        return
    from conceptnet_ml.cli import graph_views as views

    console, classes = options.console(width=240), graph.classes if class_ is None else (class_,)
    if table:
        console.print(views.node_table(graph, graph.nodes(class_=class_)))
    elif every:
        for tree in views.trees(graph, classes):
            console.print(tree)
    else:
        from conceptnet_ml.cli.graph_brief import brief_parts

        for part in brief_parts(graph, classes):
            options.console().print(part)
    if problems := graph.check():
        one = len(problems) == 1
        hint = "1 problem; 'graph check' says which." if one else f"{len(problems)} problems; 'graph check' lists them."
        console.print(hint, style="yellow", markup=False)


@app.command()
def export(
    source: Source,
    out: Annotated[Path, option("--out", "PATH", None, "file to write; csv also takes a folder")],
    format: Annotated[str | None, option("--format", "NAME", None, "exporter; default: by the file's ending")] = None,
    assignments: options.PluginAssignments = None,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Write the graph in another format."""
    plugins = options.load_set(plugins_dir, no_plugins, assignments)
    if format is None:
        suffixes = {record.suffix: record.name for record in plugins.all("exporter") if isinstance(record, Exporter)}
        if not out.suffix:
            raise SettingsError(f"--out: '{out}' has no ending to tell the format by.", FOLDER)
        if out.suffix not in suffixes:
            known = f"Known: {', '.join(sorted(suffixes))}."
            raise SettingsError(f"--out: no exporter writes '{out.suffix}' files.", known)
        format = suffixes[out.suffix]
    write = plugins.get("exporter", format).function("write")
    written = write(_read(source), out)
    for path in written if isinstance(written, list) else [out]:
        typer.echo(f"wrote {path}")


@app.command()
def check(source: Source) -> None:
    """Check every invariant of the graph, and whose network it is; exit code 3 where one is broken."""
    from conceptnet_ml.editing.history import EditHistory
    from conceptnet_ml.storage.run_folder import Run

    def read() -> tuple[ConceptGraph, str | None]:
        return _read(source), Run.open(source).learned_network if source.is_dir() else None

    graph, learned = EditHistory(Run.open(source)).read(read) if source.is_dir() else read()
    problems = graph.check()
    if learned not in (None, graph.header.network):
        problems.append(f"it is the graph of the network {graph.header.network}, model.json has {learned}")
    if problems:
        listing = "\n".join(f"  - {problem}" for problem in problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise GraphError(f"{source}: {count} in the concept graph\n{listing}", "Run 'learn' again.")
    typer.echo(f"{source}: sound, {len(graph)} nodes and {len(graph.edges())} edges")


@app.command(epilog=QUERY_EXAMPLES)
def query(
    source: Source,
    kind: Annotated[str | None, option("--kind", "KIND", None, "kind of node; with --edges, of edge")] = None,
    stage: Annotated[str | None, option("--stage", "STAGE", None, "at this stage")] = None,
    class_: Annotated[str | None, option("--class", "NAME", None, "that speaks for this class")] = None,
    min_weight: Annotated[float | None, option("--min-weight", "NUMBER", None, MIN_WEIGHT_HELP)] = None,
    text: Annotated[str | None, option("--text", "TEXT", None, TEXT_HELP)] = None,
    state: Annotated[str | None, option("--state", "STATE", None, "current, merged, split or forgotten")] = None,
    edges: Annotated[bool, option("--edges", None, None, "edges one of whose ends meets the conditions")] = False,
    json: options.Json = False,
) -> None:
    """Print the nodes, or the edges, that meet every condition given.

    Of a node its id, name, kind, classes, stage, effect and state; all that was
    measured of it is in --json.
    """
    graph = _read(source)
    conditions: dict[str, Any] = {"kind": kind, "stage": stage, "class_": class_}
    conditions |= {"min_weight": min_weight, "text": text, "state": state}
    found: list[Any] = graph.select_edges(**conditions) if edges else graph.select(**conditions)
    what = "edges" if edges else "nodes"
    if json:
        options.print_json({what: [record.plain() for record in found]})
        return
    from conceptnet_ml.cli import graph_views as views

    if found:
        options.console(width=240).print(views.edge_table(graph, found) if edges else views.brief_table(graph, found))
    count = f"{len(found)} {what if len(found) != 1 else what[:-1]}"
    options.console(width=240).print(f"{count} of {len(graph.edges() if edges else graph)}", style="dim", markup=False)


@app.command(epilog=PATH_EXAMPLES)
def path(
    source: Source,
    class_name: Annotated[str, options.argument("CLASS", "class to start from")],
    count: Annotated[int, option("--count", "COUNT", None, "how many chains", min=1)] = 1,
    json: options.Json = False,
) -> None:
    """Print the strongest chains from a class down: what it is built from, and what that is built from.

    First the strongest chain of each thing that the class is built from, the
    strongest feature first; then the second of each. A number is the product of
    a chain's weights: below zero it speaks against the class.
    """
    graph = _read(source)
    _check_class(graph, class_name)
    chains = graph.paths(class_name, count)
    if json:
        options.print_json({"class": class_name, "chains": [chain.plain() for chain in chains]})
        return
    from conceptnet_ml.cli import graph_views as views

    for number, chain in enumerate(chains, 1):
        options.console(width=240).print(views.chain_line(number, chain))


@app.command(epilog=DIFF_EXAMPLES)
def diff(
    source: Annotated[Path, typer.Argument(metavar="RUN", help="run folder or graph file: the old one")],
    other: Annotated[Path, typer.Argument(metavar="OTHER", help="run folder or graph file: the new one")],
    tolerance: Annotated[float, option("--tolerance", "NUMBER", None, TOLERANCE_HELP)] = 0.0,
    json: options.Json = False,
) -> None:
    """Print what is different in the second graph: header, nodes and edges, with old and new values."""
    old, new = _read(source), _read(other)
    found = old.diff(new, tolerance)
    if json:
        options.print_json(found.plain())
        return
    from conceptnet_ml.cli import graph_views as views

    console = options.console(width=240)
    if not found:
        console.print("no difference")
    for title, table in views.diff_tables(old, new, found):
        console.print(title, style="bold")
        console.print(table)


def _read(source: Path) -> ConceptGraph:
    """The graph of a run folder or of a file, in whose format an exporter writes. Raises DataError or GraphError."""
    from conceptnet_ml.editing.history import EditHistory
    from conceptnet_ml.graph.concept_graph import ConceptGraph
    from conceptnet_ml.storage.run_folder import Run

    if source.is_dir():
        return EditHistory(Run.open(source)).read(lambda: ConceptGraph.read(source))
    if source.suffix != ".json":
        for record in options.load(None, False, quiet=True).all("exporter"):
            if isinstance(record, Exporter) and record.parse is not None and record.suffix == source.suffix:
                return ConceptGraph.read(source, record.function("parse"))
    return ConceptGraph.read(source)


def _check_class(graph: ConceptGraph, name: str, where: str = "") -> None:
    if name not in graph.classes:
        raise SettingsError(f"{where}there is no class '{name}'.", nearest(name, graph.classes))
