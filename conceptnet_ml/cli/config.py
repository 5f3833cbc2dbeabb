"""``config show | validate``: what the settings are, and where each value came from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from conceptnet_ml.cli import options
from conceptnet_ml.config.plugin_settings import plugin_fields
from conceptnet_ml.config.sources import DEFAULT, flatten, known_settings, resolve_settings
from conceptnet_ml.config.values import allowed_values, show_value

app = typer.Typer(help="Show and check settings.", no_args_is_help=True, rich_markup_mode="rich")
SHOW_EXAMPLES = options.examples(
    ("config show", "every setting"), ("config show --config cars.toml", "with a file's values")
)
VALIDATE_EXAMPLES = options.examples(("config validate cars.toml", "before a long run"))


@app.command("show", epilog=SHOW_EXAMPLES)
def show_settings(
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    json: options.Json = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Print every setting: its value, where that came from, what it takes and what it means; last those of plugins."""
    models = options.load(plugins_dir, no_plugins).models
    resolved = resolve_settings(config, assignments or (), models=models)
    known = {**known_settings(), **plugin_fields(models)}
    values = {name: info.default for name, info in known.items()} | flatten(resolved.settings)
    origins = dict.fromkeys(known, DEFAULT) | resolved.origins
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
    file: Annotated[Path, options.argument("FILE", "TOML file of settings")],
    json: options.Json = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Check a file of settings: unknown names and values that are not allowed; exit code 2 where there are any."""
    resolved = resolve_settings(file, models=options.load(plugins_dir, no_plugins).models)
    values = flatten(resolved.settings)
    given = {name: values[name] for name, origin in resolved.origins.items() if origin != DEFAULT}
    if json:
        options.print_json({"file": str(file), "valid": True, "settings": given})
        return
    listing = ", ".join(f"{name}={show_value(value)}" for name, value in given.items())
    typer.echo(f"{file}: sound; it sets {listing or 'nothing'}")
