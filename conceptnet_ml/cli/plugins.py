"""``plugins list``: what can be chosen by name, and what could not be loaded."""

from __future__ import annotations

import typer

from conceptnet_ml.cli import options
from conceptnet_ml.records import KINDS

app = typer.Typer(help="List the plugins.", no_args_is_help=True, rich_markup_mode="rich")
EXAMPLES = options.examples(
    ("plugins list", "built-in and installed"),
    ("plugins list --plugins-dir my.py", "and your own file"),
)


@app.callback()
def group() -> None:
    """List the plugins."""


@app.command("list", epilog=EXAMPLES)
def list_plugins(
    plugins_dir: options.PluginsDir = None, no_plugins: options.NoPlugins = False, json: options.Json = False
) -> None:
    """Print every plugin by kind, with its name and origin; below, those that cannot be used, and why."""
    # The list itself names broken plugins; no warning is needed before it.
    plugins = options.load(plugins_dir, no_plugins, quiet=True)
    found = [
        {"kind": kind, "name": record.name, "origin": plugins.origin(record), "summary": record.summary}
        for kind in KINDS
        for record in plugins.all(kind)
    ]
    broken = [{"source": source, "error": error} for source, error in plugins.broken]
    if json:
        options.print_json({"plugins": found, "broken": broken})
        return
    from rich.text import Text

    rows, last = [], ""
    for one in found:
        kind, last = ("" if one["kind"] == last else one["kind"]), one["kind"]
        rows.append((kind, one["name"], one["summary"], one["origin"]))
    styles = {"kind": "dim", "name": "bold cyan", "origin": "dim"}
    console = options.console()
    console.print(options.table(("kind", "name", "summary", "origin"), rows, styles=styles, pad_edge=False))
    for entry in broken:
        console.print(Text.assemble(("broken ", "bold red"), (entry["source"], "bold"), f": {entry['error']}"))
