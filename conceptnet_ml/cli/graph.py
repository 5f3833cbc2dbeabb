"""``graph show | export | check``, and the commands of the modules beside: look at a run's concept graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from conceptnet_ml.cli import graph_questions
from conceptnet_ml.cli.graph_views import Source, console, read, table_of, tree_of
from conceptnet_ml.errors import SettingsError, nearest

app = typer.Typer(
    name="graph", help="Look at a run's concept graph, and work on it.", no_args_is_help=True, rich_markup_mode="rich"
)


@app.command()
def show(
    source: Source,
    table: Annotated[bool, typer.Option("--table", help="one line per node instead of a tree")] = False,
    class_: Annotated[str | None, typer.Option("--class", help="only what speaks for this class")] = None,
    json: Annotated[bool, typer.Option("--json", help="print the graph itself as JSON")] = False,
) -> None:
    """Print the graph: for each class its stages, their features, and the units those are made of."""
    graph = read(source)
    if class_ is not None and class_ not in graph.classes:
        raise SettingsError(f"--class: there is no class '{class_}'.", nearest(class_, graph.classes))
    if json:
        typer.echo(graph.to_json(), nl=False)
        return
    out = console()
    if table:
        out.print(table_of(graph, graph.nodes(class_=class_)))
    else:
        for tree in tree_of(graph, graph.classes if class_ is None else (class_,)):
            out.print(tree)
    problems = graph.check()
    if problems:
        one = len(problems) == 1
        hint = "1 problem; 'graph check' says which." if one else f"{len(problems)} problems; 'graph check' lists them."
        out.print(hint, style="yellow", markup=False)


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
    write(read(source), out)
    typer.echo(f"wrote {out}")


@app.command()
def check(source: Source) -> None:
    """Check every invariant of the graph; exit code 3 where one is broken."""
    from conceptnet_ml.graph.concept_graph import GraphError

    graph = read(source)
    problems = graph.check()
    if problems:
        listing = "\n".join(f"  - {problem}" for problem in problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise GraphError(f"{source}: {count} in the concept graph\n{listing}", "Run 'learn' again.")
    typer.echo(f"{source}: sound, {len(graph)} nodes and {len(graph.edges())} edges")


app.command(epilog=graph_questions.QUERY_EXAMPLES)(graph_questions.query)
app.command(epilog=graph_questions.PATH_EXAMPLES)(graph_questions.path)
app.command(epilog=graph_questions.DIFF_EXAMPLES)(graph_questions.diff)
