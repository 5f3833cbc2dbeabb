"""What several commands share: flags, tables, warnings, the plugins that the flags ask for."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.sources import (
    FLAGS,
    check_network_name,
    check_paths,
    known_settings,
    resolve_settings,
    source_of,
)
from conceptnet_ml.config.values import show_value
from conceptnet_ml.errors import SettingsError, visible
from conceptnet_ml.runtime.device_names import check_device_name

HELP_WIDTH = 78
"""What a window of 80 columns leaves of a line of help."""

DATA, NETWORK, SETTINGS, PLUGINS, OUTPUT = "Images", "Learning", "Settings", "Plugins", "Output"

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from conceptnet_ml.plugins import Plugins


def option(flag: str, metavar: str | None, panel: str | None, text: str, **more: Any) -> Any:
    """A flag: what stands for its value, the panel of the help it is in, and what it does."""
    return typer.Option(flag, metavar=metavar, rich_help_panel=panel, help=text, **more)


def argument(metavar: str, text: str) -> Any:
    """A word without a flag."""
    return typer.Argument(metavar=metavar, help=text, show_default=False)


def setting(name: str, panel: str | None, metavar: str | None = None) -> Any:
    """The flag of a setting, described by the setting itself. Not given means None, so that other sources can speak."""
    info = known_settings()[name]
    nothing = info.default is None or info.default is False or info.default == ()
    default = "" if nothing else rf" [dim]\[default: {show_value(info.default)}][/]"
    return option(FLAGS[name], metavar, panel, f"{info.description}{default}", show_default=False)


def examples(*lines: tuple[str, str]) -> str:
    """The end of a help text: commands to copy, each with what it does behind it, or above it where a window of 80
    columns has no room for both."""
    width = max(len(command) for command, _ in lines)
    if max(width + len(what) for _, what in lines) + len("conceptnet-ml   ") > HELP_WIDTH:
        rows = [f"[dim]# {what}[/]\n[cyan]conceptnet-ml {command}[/]" for command, what in lines]
    else:
        rows = [f"[cyan]conceptnet-ml {command.ljust(width)}[/]  [dim]{what}[/]" for command, what in lines]
    return "[bold]Examples[/]\n" + "\n".join(rows)


ConfigFile = Annotated[Path | None, option("--config", "FILE", SETTINGS, "TOML file of settings; flags outrank it")]
Assignments = Annotated[
    list[str] | None,
    option("--set", "NAME=VALUE", SETTINGS, "any setting, as in training.epochs=8; repeatable"),
]
PluginAssignments = Annotated[
    list[str] | None,
    option("--set", "plugin.NAME.x=VALUE", PLUGINS, "a setting that a plugin declares; repeatable"),
]
PluginsDir = Annotated[Path | None, option("--plugins-dir", "PATH", PLUGINS, "folder of plugin files, or one file")]
NoPlugins = Annotated[bool, option("--no-plugins", None, PLUGINS, "leave installed plugins out: built-ins alone")]
JSON_HELP = "print one JSON object, and nothing else"
_kept_output: list[Any] = []


def _keep_output(ctx: typer.Context, asked: bool) -> bool:
    """Where one JSON object is asked for, what plugins and networks print goes to stderr, until the command ends."""
    if asked and not _kept_output:
        _kept_output.append(sys.stdout)
        sys.stdout = sys.stderr
        ctx.call_on_close(give_output_back)
    return asked


def give_output_back() -> None:
    """The end of what ``--json`` began."""
    while _kept_output:
        sys.stdout = _kept_output.pop()


Json = Annotated[bool, option("--json", None, OUTPUT, JSON_HELP, callback=_keep_output)]
RunFolder = Annotated[Path, argument("RUN", "folder that 'learn' wrote")]
DEVICE_HELP = "auto, cpu, cuda or cuda:N"


def device_option(panel: str | None, text: str = DEVICE_HELP) -> Any:
    """``--device``, whose name is checked before anything is loaded."""
    return option("--device", "DEVICE", panel, text, callback=_known_device)


def _known_device(given: str | None) -> str | None:
    if given is not None:
        check_device_name(given)
    return given


RunDevice = Annotated[str | None, device_option(None, f"{DEVICE_HELP}; default: the run's")]
TRUST_HELP = "import the network that the run names as module:callable, though you never named it yourself"
Trust = Annotated[bool, option("--trust", None, PLUGINS, TRUST_HELP, callback=lambda given: _trust(given))]
Adapted = Annotated[str | None, option("--adapted", "NAME", None, "a model that 'adapt' saved in the run, by its name")]


def _trust(given: bool) -> bool:
    if given:
        from conceptnet_ml.config.trust import trust_everything

        trust_everything()
    return given


began: list[Path] = []
"""The run folder that this command began or goes on with, if any."""


def load(plugins_dir: Path | None, no_plugins: bool, quiet: bool = False) -> Plugins:
    """The plugins that the flags ask for; those that cannot be used are warned about, unless ``quiet``."""
    from conceptnet_ml.plugins import load_plugins

    if plugins_dir is not None and no_plugins:
        raise SettingsError("--plugins-dir and --no-plugins contradict each other.", "Give one of them.")
    return load_plugins(plugins_dir, use_entry_points=not no_plugins, warn=(lambda text: None) if quiet else warn)


def load_set(plugins_dir: Path | None, no_plugins: bool, assignments: Iterable[str] | None) -> Plugins:
    """The plugins, with the settings of their own that ``--set`` gives. Raises SettingsError for any other setting."""
    from conceptnet_ml.config.plugin_settings import PREFIX

    plugins, given = load(plugins_dir, no_plugins), [*(assignments or ())]
    if wrong := next((one for one in given if not one.strip().startswith(PREFIX)), None):
        raise SettingsError(f"--set '{wrong}': here only plugins are set.", f"Write {PREFIX}NAME.SETTING=VALUE.")
    return plugins.with_settings(resolve_settings(None, given, models=plugins.models).settings.plugin)


def check_run(path: Path) -> None:
    """Refuse a folder that no run is in, before torch is loaded, which takes seconds; what opens it does so, too."""
    from conceptnet_ml.storage.run_folder import Run

    Run.open(path)


def check_network(source: str, plugins: Plugins) -> None:
    """Refuse what is neither a run nor a network, likewise."""
    check_network_name(source, {record.name for record in plugins.all("backbone")})
    if Path(source).is_dir():
        check_run(Path(source))


def check_pictures(data: str | None, plugins: Plugins) -> None:
    """Refuse pictures that are not there, likewise; None is a run's own."""
    if data is not None:
        settings = Settings()
        named = settings.data.model_copy(update={"source": source_of(data)})
        check_given(settings.model_copy(update={"data": named}), plugins, ("dataset",))


def check_given(settings: Settings, plugins: Plugins, kinds: Container[str] | None = None) -> None:
    """Refuse names that no plugin has, and files and folders that are not there, before torch is loaded; what uses them
    does so, too.

    Args:
        kinds: Of the plugins that are looked up; default: all that the settings choose.
    """
    from conceptnet_ml.config.overrides import parse_overrides, parse_places

    for kind, name in plugins.chosen(settings):
        is_code = kind == "backbone" and ":" in settings.network.backbone
        if not is_code and (kinds is None or kind in kinds):
            plugins.get(kind, name)
    parse_overrides(settings.round.keep, settings.round.undo)
    parse_places(settings.round.exchange)
    check_device_name(settings.device)
    check_paths(settings)


def warn(text: str) -> None:
    """Say something on stderr that does not stop the work."""
    console(stderr=True).print(f"[yellow]warning:[/] {escaped(text)}", soft_wrap=True)


def console(stderr: bool = False, width: int = 160) -> Console:
    """A console that folds lines at the edge of a window, and where there is none, at ``width``."""
    from conceptnet_ml.runtime.progress import SafeConsole

    here = SafeConsole(stderr=stderr, highlight=False)
    return here if here.is_terminal else SafeConsole(stderr=stderr, highlight=False, width=width)


def table(
    columns: Iterable[str],
    rows: Iterable[Iterable[str | Text]],
    right: Container[str] = (),
    styles: Mapping[str, str] | None = None,
    title: str | None = None,
    pad_edge: bool = True,
) -> Table:
    """A table as every command prints it, a cell for each column; a text's brackets are not taken for markup. Columns
    named in ``right`` stand at the right, ``styles`` are by column, and with ``pad_edge`` a space comes first.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    head = None if title is None else Text(title)
    made = Table(title=head, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=pad_edge)
    for name in columns:
        # An id is there to be copied and a setting to be typed, whatever room they leave the others.
        whole = name in ("id", "setting")
        side: Any = "right" if name in right else "left"
        made.add_column(Text(name), justify=side, style=(styles or {}).get(name), overflow="fold", no_wrap=whole)
    for row in rows:
        made.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return made


def escaped(text: str) -> str:
    """Text of any origin, so that brackets in it are not taken for markup."""
    from rich.markup import escape

    return escape(text)


def print_json(value: Mapping[str, Any]) -> None:
    """One object on stdout; what steers a terminal, or its encoding lacks, is escaped as JSON has it."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    stream = _kept_output[-1] if _kept_output else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    lacking = "".join(sorted({letter for letter in text if not letter.isascii() and not _encodes(letter, encoding)}))
    text = re.sub(f"[\x7f-\x9f\u2028-\u202e\u2066-\u2069{lacking}]", lambda one: json.dumps(one[0])[1:-1], text)
    typer.echo(text, file=stream)
    stream.flush()


def _encodes(letter: str, encoding: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def say(text: str) -> None:
    """A line on stdout, of any origin."""
    typer.echo(visible(text))


def resume() -> str:
    """How to go on with a run, up to its folder, for commands to copy: with the plugins that were given to this one."""
    before, flags = "", []
    for word in sys.argv[1:]:
        if before == "--plugins-dir" or word.partition("=")[0] in ("--plugins-dir", "--no-plugins"):
            flags.append(shlex.quote(word))
        before = word
    return " ".join((program(), "learn", *flags, "--resume"))


def program() -> str:
    """How the program was started, for commands to copy: as it was typed, or the command where that finds it."""
    started = sys.argv[0]
    if Path(started).name == "cli.py":
        return shlex.join(["python", started])
    if Path(started).name != "conceptnet-ml":
        return "conceptnet-ml"
    found = shutil.which("conceptnet-ml")
    same = found is not None and Path(started).exists() and Path(found).samefile(started)
    return "conceptnet-ml" if same else shlex.quote(started)
