"""Flags and words that several commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conceptnet_ml.config.sources import FLAGS, known_settings, show_value
from conceptnet_ml.errors import SettingsError

DATA, NETWORK, SETTINGS, RUN, PLUGINS, OUTPUT = "Images", "Learning", "Settings", "Run", "Plugins", "Output"

if TYPE_CHECKING:
    from rich.console import Console

    from conceptnet_ml.plugins import Plugins


def setting(name: str, panel: str, metavar: str | None = None) -> Any:
    """The flag of a setting, described by the setting itself. Not given means None, so that other sources can speak."""
    info = known_settings()[name]
    nothing = info.default is None or info.default is False or info.default == ()
    default = "" if nothing else rf" [dim]\[default: {show_value(info.default)}][/]"
    return typer.Option(
        FLAGS[name], metavar=metavar, rich_help_panel=panel, help=f"{info.description}{default}", show_default=False
    )


def examples(*lines: tuple[str, str]) -> str:
    """The end of a help text: commands to copy, each with what it does."""
    width = max(len(command) for command, _ in lines)
    rows = [f"  [cyan]conceptnet-ml {command.ljust(width)}[/]  [dim]{what}[/]" for command, what in lines]
    return "[bold]Examples[/]\n" + "\n".join(rows)


ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", rich_help_panel=SETTINGS, help="TOML file of settings; flags outrank it"),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", rich_help_panel=SETTINGS, help="any setting, as in training.epochs=8; repeatable"
    ),
]
PluginsDir = Annotated[
    Path | None,
    typer.Option("--plugins-dir", metavar="PATH", rich_help_panel=PLUGINS, help="folder of plugin files, or one file"),
]
NoPlugins = Annotated[
    bool, typer.Option("--no-plugins", rich_help_panel=PLUGINS, help="leave installed plugins out: built-ins alone")
]
Json = Annotated[bool, typer.Option("--json", rich_help_panel=OUTPUT, help="print one JSON object, and nothing else")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="folder that 'learn' wrote", show_default=False)]

RunDevice = Annotated[
    str | None, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N; default: the run's")
]
Adapted = Annotated[
    str | None, typer.Option("--adapted", metavar="NAME", help="a model that 'adapt' saved in the run, by its name")
]


def load(plugins_dir: Path | None, no_plugins: bool, quiet: bool = False) -> Plugins:
    """The plugins that the flags ask for; those that cannot be used are warned about, unless ``quiet``."""
    from conceptnet_ml.plugins import load_plugins

    if plugins_dir is not None and no_plugins:
        raise SettingsError("--plugins-dir and --no-plugins contradict each other.", "Give one of them.")
    return load_plugins(plugins_dir, use_entry_points=not no_plugins, warn=(lambda text: None) if quiet else warn)


def warn(text: str) -> None:
    """Say something on stderr that does not stop the work."""
    console(stderr=True).print(f"[yellow]warning:[/] {escaped(text)}", soft_wrap=True)


def console(stderr: bool = False) -> Console:
    """A console that folds lines at the edge of a window, and where there is none, far out."""
    from rich.console import Console

    here = Console(stderr=stderr, highlight=False)
    return here if here.is_terminal else Console(stderr=stderr, highlight=False, width=160)


def escaped(text: str) -> str:
    """Text of any origin, so that brackets in it are not taken for markup."""
    from rich.markup import escape

    return escape(text)


def print_json(value: Mapping[str, Any]) -> None:
    """One object on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def program() -> str:
    """How the program was started, for commands to copy."""
    return "python cli.py" if Path(sys.argv[0]).name == "cli.py" else "conceptnet-ml"
