"""The command line: mounts the commands and turns errors into exit codes.

0 done, 1 a bug, 2 usage or settings, 3 data or a full disk, 4 plugin, 128 and a signal's number where one stopped it:
130 Ctrl-C, 143 TERM, 129 HUP.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import shlex
import sys
import traceback
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from conceptnet_ml.cli import (
    adapt,
    bench,
    compare,
    config,
    dream,
    evaluate,
    graph,
    graph_edit,
    inspect,
    learn,
    options,
    plugins,
    predict,
    report,
)
from conceptnet_ml.config.sources import known_settings
from conceptnet_ml.errors import ConceptNetError, DataError, Interrupted, PluginError, quoted
from conceptnet_ml.records import FILE_MODULE

INTERRUPTED = 130
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG}
LIBRARIES = {"torch", "torchvision", "numpy", "PIL", "networkx", "pydantic"}


class Commands(TyperGroup):
    """Our commands and those of installed plugins, which are loaded only when they are listed or asked for."""

    def get_params(self, ctx: Any) -> Any:
        _hide_types_of_switches(self, ctx)
        return super().get_params(ctx)

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *self._plugin_commands]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, cmd_name) or self._plugin_commands.get(cmd_name)

    def invoke(self, ctx: Any) -> Any:
        options.began.clear()
        _open_streams()
        for stream in (sys.stdout, sys.stderr):  # output never fails for its letters
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            try:
                result = super().invoke(ctx)
            finally:
                options.give_output_back()
            sys.stdout.flush()  # a full device says so here, not after the end
            return result
        except Interrupted as stop:  # no error
            _stopped(stop.message, stop.mend)
            raise typer.Exit(stop.exit_code) from stop
        except ConceptNetError as error:
            _trace(ctx)
            plugins_own = isinstance(error, PluginError) and error.__cause__ is not None
            _complain("error", error.message, error.mend or (_again() if plugins_own else ""))
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error
        except SystemExit as error:  # none of ours: Typer's exits are of another kind
            if isinstance(error.__context__, BrokenPipeError):  # Rich's word for a reader that has gone, as in | head
                _drop_output()
                raise typer.Exit(1) from error
            _trace(ctx)
            _complain("error", f"code that was called wanted to end the program: SystemExit({error.code!r})", _again())
            raise typer.Exit(PluginError.exit_code) from error
        except Exception as error:
            if isinstance(error, OSError) and error.errno in FULL:
                _trace(ctx)
                _complain("error", f"cannot write {error.filename or 'the output'}: {str(error.strerror).lower()}", "")
                _drop_output()
                raise typer.Exit(DataError.exit_code) from error
            if isinstance(error, BrokenPipeError) or _is_typers(error):
                _hint_at_settings(error)
                _hint_at_data(error)
                raise
            _trace(ctx)
            module, where = _last_frame(error)
            if isinstance(error, OSError) and error.filename is not None and not module.startswith(FILE_MODULE):
                _complain("error", f"cannot use {error.filename}: {str(error.strerror).lower()}", _again())
                raise typer.Exit(DataError.exit_code) from error
            what = f"{type(error).__name__}: {error}{where}"
            if module.startswith(FILE_MODULE):  # in what a plugin's function returned
                _complain("error", f"a plugin failed: {what}", _again())
                raise typer.Exit(PluginError.exit_code) from error
            _complain("bug", what, _again())
            raise typer.Exit(1) from error

    @cached_property
    def _plugin_commands(self) -> dict[str, Any]:
        from conceptnet_ml.plugins import load_plugins

        ours = typer.Typer()
        try:
            records = load_plugins(warn=options.warn).all("command")
        except ConceptNetError as error:
            options.warn(str(error))
            return {}
        for record in records:
            try:
                record.function("register")(ours)
            except Exception as error:  # a stranger's code; our own commands go on
                options.warn(f"left out: {error}")
        found = typer.main.get_group(ours).commands if records else {}
        return {name: command for name, command in found.items() if name not in self.commands}


def _hide_types_of_switches(command: Any, ctx: Any) -> None:
    """Of this command and those below it: newer releases of Typer write ``<bool>`` behind a switch in a help text, as
    if it took a value."""
    for one in (*command.params, command.get_help_option(ctx)):
        if getattr(one, "is_flag", False) and one.metavar is None:
            one.metavar = " "
    for below in getattr(command, "commands", {}).values():
        _hide_types_of_switches(below, ctx)


def _open_streams() -> None:
    """Open what a shell has closed, as by ``>&-``: else a file of ours takes its number, and gets what goes there."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w" if number else "r"))  # noqa: SIM115  # to the end of the program


def _drop_output() -> None:
    """What could not be written is not tried once more at the end of the program."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _is_typers(error: Exception) -> bool:
    """Usage errors and exits, which Typer shows by itself. It names their common bases differently in each release."""
    return isinstance(error, (typer.Exit, typer.Abort)) or hasattr(error, "format_message")


def _hint_at_settings(error: Any) -> None:
    """Where a setting without a flag was given like one, say how it is typed: ``--set training.epochs=3``."""
    flag, ctx = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if flag is None or ctx is None or not any("--set" in parameter.opts for parameter in ctx.command.params):
        return
    name = flag.lstrip("-").replace("-", "_")
    words = " ".join(sys.argv).replace(f"{flag}=", f"{flag} ").split()
    value = next((value for word, value in pairwise(words) if word == flag and value[:1] != "-"), "VALUE")
    typed = [f"--set {known}={value}" for known in known_settings() if name in (known, known.rpartition(".")[2])]
    if typed:
        error.message, error.possibilities = f"{error.message}. It is a setting: {' or '.join(typed)}", None


def _hint_at_data(error: Any) -> None:
    """Where a folder was given without its flag, ``learn photos``, name the flag."""
    found = re.search(r"unexpected extra argument\S* \((.*)\)$", getattr(error, "message", "") or "")
    ctx = getattr(error, "ctx", None)
    if found and ctx is not None and any("--data" in parameter.opts for parameter in ctx.command.params):
        given = found[1] if Path(found[1]).is_dir() else found[1].split(" ")[0]
        error.message += f". Pictures are given by a flag: {ctx.command.name} --data {quoted(given)}"


def _last_frame(error: Exception) -> tuple[str, str]:
    """The last place in our code or a plugin's, not in a large library's: its module and `` (colours.py, line 12)``."""
    found = "", ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = Path(frame.f_code.co_filename)
        if not LIBRARIES & {*file.parts}:
            found = frame.f_globals.get("__name__", ""), f" ({file.name}, line {line})"
    return found


def _trace(ctx: Any) -> None:
    if ctx.params.get("debug"):
        traceback.print_exc()


def _again() -> str:
    words = [word for word in sys.argv[1:] if word != "--debug"]
    if options.began and (options.began[-1] / "settings.json").exists():  # the same words would find a run there
        words = [*shlex.split(options.resume())[len(shlex.split(options.program())) :], str(options.began[-1])]
    return f"To see where: {shlex.join([*shlex.split(options.program()), '--debug', *words])}"


def _complain(label: str, message: str, mend: str) -> None:
    console = options.console(stderr=True)
    console.print(f"[bold red]{label}:[/] {options.escaped(message)}", soft_wrap=True)
    if mend:
        mend = re.sub("(?<=[:;] )learn --resume", lambda _: options.resume(), mend)  # to be copied
        console.print(f"  {mend}", soft_wrap=True, markup=False)


def _stopped(message: str, mend: str) -> None:
    """What was kept when the user stopped the program, and the command that goes on; it may be the same once more."""
    console = options.console(stderr=True)
    console.print(f"[bold yellow]{options.escaped(message)}[/]", soft_wrap=True)
    if "same command" in mend:
        mend = f"{mend.rstrip('.')}: {shlex.join([*shlex.split(options.program()), *sys.argv[1:]])}"
    if mend:
        console.print(f"  {mend}", soft_wrap=True, markup=False)


def _version(asked: bool) -> None:
    if asked:
        from conceptnet_ml.version import __version__

        typer.echo(f"conceptnet-ml {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=options.examples(
        ("learn --depth 2", "the embedded cars and poodles"),
        ("inspect photos", "what could be a shortcut in a folder"),
        ("learn --data folder:photos", "one folder a class"),
        ("evaluate runs/NAME", "accuracy on every test set"),
        ("graph show runs/NAME", "what it found"),
    ),
)


@app.callback()
def start(
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="print the version", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Train an image classifier that lets go of shortcuts.

    It finds the features each class hangs on, generalizes them until they
    fit every class, specializes them into variants, and draws what it found
    as a graph of concepts.
    """


app.command(rich_help_panel="Learn and use", epilog=learn.EXAMPLES)(learn.learn)
app.command(rich_help_panel="Learn and use", epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command(rich_help_panel="Learn and use", epilog=predict.EXAMPLES)(predict.predict)
app.command(rich_help_panel="Learn and use", epilog=adapt.EXAMPLES)(adapt.adapt)
app.command(rich_help_panel="Learn and use", epilog=bench.EXAMPLES)(bench.bench)
graph_edit.register(graph.app)
app.command(rich_help_panel="Look", epilog=inspect.EXAMPLES)(inspect.inspect)
app.command(rich_help_panel="Look", epilog=report.EXAMPLES)(report.report)
app.command(rich_help_panel="Look", epilog=compare.EXAMPLES)(compare.compare)
app.command(rich_help_panel="Look", epilog=dream.EXAMPLES)(dream.dream)
app.add_typer(graph.app, name="graph", rich_help_panel="Look")
app.add_typer(config.app, name="config", rich_help_panel="Look")
app.add_typer(plugins.app, name="plugins", rich_help_panel="Look")
