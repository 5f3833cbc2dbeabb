"""``config show | validate``: what the settings are, and where each value came from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from conceptnet_ml.cli import options
from conceptnet_ml.config.sources import DEFAULT, allowed, flatten, known_settings, resolve_settings, show_value

app = typer.Typer(help="Show and check settings.", no_args_is_help=True, rich_markup_mode="rich")


@app.command(
    "show",
    epilog=options.examples(
        ("config show", "every setting"),
        ("config show --config cars.toml", "with a file's values"),
    ),
)
def show_settings(
    config: options.ConfigFile = None, assignments: options.Assignments = None, json: options.Json = False
) -> None:
    """Print every setting: its value, where that came from, what it takes and what it means."""
    resolved = resolve_settings(config, assignments or ())
    values = flatten(resolved.settings)
    known = known_settings()
    if json:
        rows = {
            name: {
                "value": value,
                "origin": resolved.origins[name],
                "allowed": allowed(known[name]),
                "description": known[name].description,
            }
            for name, value in values.items()
        }
        options.print_json({"settings": rows})
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, style in (("setting", "cyan"), ("value", "bold"), ("origin", ""), ("meaning", ""), ("takes", "dim")):
        table.add_column(name, style=style, overflow="fold", no_wrap=name == "setting")
    for name, value in values.items():
        origin = Text(resolved.origins[name], style="dim" if resolved.origins[name] == DEFAULT else "yellow")
        meaning, takes = Text(known[name].description or ""), Text(allowed(known[name]))
        table.add_row(name, Text(show_value(value)), origin, meaning, takes)
    options.console().print(table)


@app.command(epilog=options.examples(("config validate cars.toml", "before a long run")))
def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="TOML file of settings", show_default=False)],
    json: options.Json = False,
) -> None:
    """Check a file of settings: unknown names and values that are not allowed; exit code 2 where there are any."""
    resolved = resolve_settings(file)
    values = flatten(resolved.settings)
    given = {name: values[name] for name, origin in resolved.origins.items() if origin != DEFAULT}
    if json:
        options.print_json({"file": str(file), "valid": True, "settings": given})
        return
    listing = ", ".join(f"{name}={show_value(value)}" for name, value in given.items())
    typer.echo(f"{file}: sound; it sets {listing or 'nothing'}")
