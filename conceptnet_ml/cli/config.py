"""``config show | validate``: what the settings are, and where each value came from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from conceptnet_ml.cli import options
from conceptnet_ml.config.sources import DEFAULT, allowed_values, flatten, known_settings, resolve_settings, show_value

app = typer.Typer(help="Show and check settings.", no_args_is_help=True, rich_markup_mode="rich")
SHOW_EXAMPLES = options.examples(
    ("config show", "every setting"), ("config show --config cars.toml", "with a file's values")
)
VALIDATE_EXAMPLES = options.examples(("config validate cars.toml", "before a long run"))


@app.command("show", epilog=SHOW_EXAMPLES)
def show_settings(
    config: options.ConfigFile = None, assignments: options.Assignments = None, json: options.Json = False
) -> None:
    """Print every setting: its value, where that came from, what it takes and what it means."""
    resolved = resolve_settings(config, assignments or ())
    values, origins, known = flatten(resolved.settings), resolved.origins, known_settings()
    if json:
        facts = {
            name: {
                "value": value,
                "origin": origins[name],
                "allowed": allowed_values(known[name]),
                "description": known[name].description,
            }
            for name, value in values.items()
        }
        options.print_json({"settings": facts})
        return
    from rich.text import Text

    rows = []
    for name, value in values.items():
        origin = Text(origins[name], style="dim" if origins[name] == DEFAULT else "yellow")
        rows.append((name, show_value(value), origin, known[name].description or "", allowed_values(known[name])))
    columns = ("setting", "value", "origin", "meaning", "takes")
    styles = {"setting": "cyan", "value": "bold", "takes": "dim"}
    options.console().print(options.table(columns, rows, styles=styles, pad_edge=False))


@app.command(epilog=VALIDATE_EXAMPLES)
def validate(
    file: Annotated[Path, options.argument("FILE", "TOML file of settings")], json: options.Json = False
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
