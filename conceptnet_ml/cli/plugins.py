"""``plugins list | show | new``: what can be chosen by name, what one is, and a new one to begin from."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from conceptnet_ml.cli import options
from conceptnet_ml.cli.options import argument, option
from conceptnet_ml.config.values import allowed_values, show_value
from conceptnet_ml.errors import PluginError, SettingsError, nearest, quoted, visible
from conceptnet_ml.records import KINDS, Record

app = typer.Typer(help="List, show and begin plugins.", no_args_is_help=True, rich_markup_mode="rich")
EXAMPLES = options.examples(
    ("plugins list", "built-in and installed"),
    ("plugins list --kind trap", "of one kind"),
    ("plugins list --plugins-dir my.py", "and your own file"),
)
SHOW_EXAMPLES = options.examples(
    ("plugins show colour", "what it is, and what its functions do"),
    ("plugins show pixels --kind dreamer", "of two of one name"),
)
NEW_EXAMPLES = options.examples(
    ("plugins new roots --kind representation", "writes roots.py, which works"),
    ("plugins new roots --kind representation --package", "a folder to install, with its test"),
)
KIND_HELP = f"one of {', '.join(KINDS)}"


@app.callback()
def group() -> None:
    """List, show and begin plugins."""


@app.command("list", epilog=EXAMPLES)
def list_plugins(
    kind: Annotated[str | None, option("--kind", "KIND", None, KIND_HELP)] = None,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
    json: options.Json = False,
) -> None:
    """Print every plugin by kind, with its name and origin; below, those that cannot be used, and why."""
    kinds = KINDS if kind is None else (_kind(kind),)
    # The list itself names broken plugins; no warning is needed before it.
    plugins = options.load(plugins_dir, no_plugins, quiet=True)
    found = [
        {"kind": one, "name": record.name, "origin": plugins.origin(record), "summary": record.summary}
        for one in kinds
        for record in plugins.all(one)
    ]
    broken = [{"source": source, "error": error} for source, error in plugins.broken]
    if json:
        options.print_json({"plugins": found, "broken": broken})
        return
    from rich.text import Text

    rows, last = [], ""
    for entry in found:
        rows.append(("" if entry["kind"] == last else entry["kind"], entry["name"], entry["summary"], entry["origin"]))
        last = entry["kind"]
    styles = {"kind": "dim", "name": "bold cyan", "origin": "dim"}
    console = options.console()
    console.print(options.table(("kind", "name", "summary", "origin"), rows, styles=styles, pad_edge=False))
    for entry in broken:
        console.print(Text.assemble(("broken ", "bold red"), (entry["source"], "bold"), f": {entry['error']}"))


@app.command("show", epilog=SHOW_EXAMPLES)
def show_plugin(
    name: Annotated[str, argument("NAME", "of a plugin, as 'plugins list' has it")],
    kind: Annotated[str | None, option("--kind", "KIND", None, KIND_HELP)] = None,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
    json: options.Json = False,
) -> None:
    """Print what a plugin is: where from, how it is chosen, its fields, its settings, and what its functions say."""
    from conceptnet_ml.scaffold.plugin_files import usage

    plugins = options.load(plugins_dir, no_plugins, quiet=True)
    kinds = [_kind(kind)] if kind is not None else list(KINDS)
    every = [record for one in kinds for record in plugins.all(one)]
    found = [record for record in every if record.name == name]
    if not found:
        raise SettingsError(f"There is no plugin named '{name}'.", _mend(name, every, plugins_dir))
    shown: list[dict[str, Any]] = [
        {
            "kind": record.kind,
            "name": record.name,
            "origin": plugins.origin(record),
            "summary": record.summary,
            "chosen_by": usage(record.kind, record.name),
            "fields": _fields(record),
            "settings": _settings(record),
            "functions": {field: _said(record, field) for field in record.functions()},
        }
        for record in found
    ]
    if json:
        options.print_json({"plugins": shown})
        return
    for one in shown:
        options.say(f"{one['kind']} {one['name']} ({one['origin']}): {one['summary']}")
        options.say(f"  chosen by   {options.program()} {one['chosen_by']}")
        for field, value in one["fields"].items():
            options.say(f"  {field.ljust(11)} {show_value(value)}")
        for field, fact in one["settings"].items():
            options.say(f"  --set plugin.{one['name']}.{field}={show_value(fact['default'])}")
            options.say(f"    {fact['description']}: {fact['allowed']}")
        for field, said in one["functions"].items():
            options.say(f"\n  {field}{said['signature']}")
            options.say("\n".join(f"    {line}".rstrip() for line in said["says"].splitlines()))
        options.say("")


@app.command("new", epilog=NEW_EXAMPLES)
def begin_plugin(
    name: Annotated[str, argument("NAME", "of the plugin; small letters, digits, - and _")],
    kind: Annotated[str, option("--kind", "KIND", None, KIND_HELP)],
    package: Annotated[bool, option("--package", None, None, "a package to install, with its test")] = False,
    out: Annotated[Path, option("--out", "FOLDER", None, "where it is written")] = Path(),
    json: options.Json = False,
) -> None:
    """Write a plugin that works, to begin from: one file, or with [bold]--package[/] one to install, with its test."""
    from conceptnet_ml.scaffold.plugin_files import new_plugin

    plugins, wanted = options.load(None, False, quiet=True), _kind(kind)
    if taken := next((record for record in plugins.all(wanted) if record.name == name), None):
        raise SettingsError(f"There is a {kind} '{name}' already ({plugins.origin(taken)}).", "Choose another name.")
    made = new_plugin(name, wanted, out, package)
    if json:
        written = [str(path) for path in made.written]
        options.print_json({"plugin": str(made.plugin), "written": written, "checks": made.checks, "use": made.use})
        return
    for path in made.written:
        options.say(f"wrote {path}")
    options.say(f"check it:  {made.checks}")
    options.say(f"use it:    {options.program()} {made.use}")


def _kind(text: str) -> str:
    kind = text.replace("-", "_")
    if kind not in KINDS:
        raise SettingsError(f"--kind: there is no kind '{text}'.", nearest(kind, KINDS))
    return kind


def _mend(name: str, every: Sequence[Record], plugins_dir: Path | None) -> str:
    """Where a plugin may be that is not loaded: in a file of its name, here."""
    from conceptnet_ml.plugins import NEAR

    file = Path(f"{name.replace('-', '_')}.py")
    if plugins_dir is None and file.is_file():
        return f"Is it in {visible(str(file))}? Then give --plugins-dir {quoted(file)}."
    listing = "plugins list" if len({one.kind for one in every}) > 1 else f"plugins list --kind {every[0].kind}"
    return nearest(name, {one.name for one in every}, listing, NEAR)


def _fields(record: Record) -> dict[str, Any]:
    """What it says of itself beside its name and functions."""
    left_out = {"name", "api", "summary", "settings", "own", *record.functions()}
    given = {name: value for name, value in vars(record).items() if name not in left_out and value is not None}
    return {name: value for name, value in given.items() if value not in ("", ())}


def _settings(record: Record) -> dict[str, dict[str, Any]]:
    """What it declares, each with its default, what it takes and what it means."""
    fields = {} if record.settings is None else record.settings.model_fields
    return {
        name: {"default": info.default, "allowed": allowed_values(info), "description": info.description}
        for name, info in fields.items()
    }


def _said(record: Record, field: str) -> dict[str, str]:
    """The signature and the docstring of one of its functions; of what cannot be imported, why."""
    try:
        function = record.function(field)
    except PluginError as error:
        return {"signature": "", "says": error.message}
    signature = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(function)))  # annotations without quotes
    return {"signature": signature, "says": inspect.getdoc(function) or "(no docstring)"}
