"""``plugins list``: what can be chosen by name, and what could not be loaded."""

from __future__ import annotations

import typer

from conceptnet_ml.cli import options
from conceptnet_ml.records import KINDS

app = typer.Typer(help="List the plugins.", no_args_is_help=True, rich_markup_mode="rich")


@app.callback()
def group() -> None:
    """List the plugins."""


@app.command(
    "list",
    epilog=options.examples(
        ("plugins list", "built-in and installed"),
        ("plugins list --plugins-dir my.py", "and your own file"),
    ),
)
def list_plugins(
    plugins_dir: options.PluginsDir = None, no_plugins: options.NoPlugins = False, json: options.Json = False
) -> None:
    """Print every plugin by kind, with its name and origin; below, those that cannot be used, and why."""
    # Told in the list itself, a broken plugin needs no warning before it.
    plugins = options.load(plugins_dir, no_plugins, quiet=True)
    rows = [
        {"kind": kind, "name": record.name, "origin": plugins.origin(record), "summary": record.summary}
        for kind in KINDS
        for record in plugins.all(kind)
    ]
    broken = [{"source": source, "error": error} for source, error in plugins.broken]
    if json:
        options.print_json({"plugins": rows, "broken": broken})
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = options.console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, style in (("kind", "dim"), ("name", "bold cyan"), ("summary", ""), ("origin", "dim")):
        table.add_column(name, style=style, overflow="fold")
    last = ""
    for row in rows:
        kind, last = ("" if row["kind"] == last else row["kind"]), row["kind"]
        table.add_row(kind, Text(row["name"]), Text(row["summary"]), Text(row["origin"]))
    console.print(table)
    for entry in broken:
        console.print(Text.assemble(("broken ", "bold red"), (entry["source"], "bold"), f": {entry['error']}"))
