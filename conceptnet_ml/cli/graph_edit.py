"""``graph merge | split | forget | rename | annotate | undo | log``: work on a run's concept graph and network."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conceptnet_ml.cli import options

EDIT = "Change the graph and the network"

NODE = "unit as STAGE:NUMBER, or a node by id, label or the name you gave it"
Name = Annotated[str, typer.Argument(metavar="NODE", help=NODE, show_default=False)]
Names = Annotated[list[str], typer.Argument(metavar="NODE NODE...", help=NODE, show_default=False)]

if TYPE_CHECKING:
    from conceptnet_ml.editing.history import EditHistory
    from conceptnet_ml.results.editor import Editor


def merge(
    run: options.RunFolder,
    nodes: Names,
    json: options.Json = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Make several units or features of a stage one unit of the network.

    The others fall silent, and what follows is compensated by least squares. Features that are merged
    become one generalized feature.
    """
    _show(_editor(run, plugins_dir, no_plugins), lambda editor: editor.merge(*nodes), json)


def split(
    run: options.RunFolder,
    node: Name,
    class_: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME", help="a class that gets a variant of its own; default: every class"),
    ] = None,
    json: options.Json = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Split a unit into one variant per class, which 'learn --resume' lets go their own ways.

    The network computes what it did, to rounding.
    """
    _show(_editor(run, plugins_dir, no_plugins), lambda editor: editor.split(node, class_ or ()), json)


def forget(
    run: options.RunFolder,
    node: Name,
    json: options.Json = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Hold a unit or a feature at its mean for ever, or take a generalized feature's family out of the model."""
    _show(_editor(run, plugins_dir, no_plugins), lambda editor: editor.forget(node), json)


def rename(
    run: options.RunFolder,
    node: Name,
    name: Annotated[str, typer.Argument(metavar="NAME", help="what you call it; an empty one takes the name away")],
    json: options.Json = False,
) -> None:
    """Give a node a name of your own."""
    _show(_editor(run, None, False), lambda editor: editor.rename(node, name), json)


def annotate(
    run: options.RunFolder,
    node: Name,
    note: Annotated[str, typer.Argument(metavar="TEXT", help="what you want to remember; an empty one takes it away")],
    json: options.Json = False,
) -> None:
    """Write a note on a node."""
    _show(_editor(run, None, False), lambda editor: editor.annotate(node, note), json)


def undo(
    run: options.RunFolder,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="how many edits, from the last one")] = 1,
    json: options.Json = False,
) -> None:
    """Take the last edits back, and what was learned from them: graph and model are bit for bit what they were."""
    history = _history(run)
    learned = max(history.adopted(), default=0)
    with history.run:
        gone = history.undo(count)
    if json:
        options.print_json({"run": str(run), "undone": gone})
        return
    for entry in gone:
        typer.echo(f"undone: {entry['number']}. {entry['said']}")
    if any(entry["number"] <= learned for entry in gone):
        again = history.pending()
        back = f"; {options.program()} learn --resume {run} learns from what is left" if again else ""
        typer.echo(f"What was learned after edit {learned} is undone, too{back}.")


def log(run: options.RunFolder, json: options.Json = False) -> None:
    """List the edits of a run, and from which of them learning went on."""
    history = _history(run)
    entries, adopted = history.log(), history.adopted()
    if json:
        options.print_json({"run": str(run), "edits": entries, "learned_from": adopted})
        return
    if not entries:
        typer.echo(f"{run} has no edits.")
    for entry in entries:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry["time"]))
        typer.echo(f"{entry['number']}. {made}  {entry['said']}")
        if entry["number"] in adopted:
            typer.echo("   learning went on from here")


def register(app: typer.Typer) -> None:
    """Add these commands to ``graph``."""
    for command in (merge, split, forget, rename, annotate, undo, log):
        app.command(rich_help_panel=EDIT)(command)


def _editor(run: Path, plugins_dir: Path | None, no_plugins: bool) -> Editor:
    from conceptnet_ml import Editor, open_run

    plugins = options.load(plugins_dir, no_plugins)
    return Editor(open_run(run, plugins), plugins)


def _history(run: Path) -> EditHistory:
    """Needs no torch, unlike an editor."""
    from conceptnet_ml.editing.history import EditHistory
    from conceptnet_ml.storage.run_folder import Run

    return EditHistory(Run.open(run))


def _show(editor: Editor, edit: Any, json: bool) -> None:
    from conceptnet_ml.runtime.progress import Progress

    with Progress() as progress:
        editor.progress = progress
        entry = edit(editor)
    if json:
        options.print_json({"run": str(editor.path), **entry})
        return
    console = options.console()
    console.print(f"{entry['number']}. {entry['said']}", markup=False, soft_wrap=True)
    for unit, falls in entry.get("effects", {}).items():
        told = " · ".join(f"{name} {fall:+.2f}" for name, fall in falls.items())
        console.print(f"   without {unit} the classes' margins fall by {told}", markup=False, soft_wrap=True)
    if accuracy := entry.get("accuracy"):
        told = ", ".join(f"{name} {100 * old:.1f} → {100 * new:.1f}" for name, (old, new) in accuracy.items())
        console.print(f"   accuracy, %: {told}", markup=False, soft_wrap=True)
    program = options.program()
    learn = f"\nGo on learning from it: {program} learn --resume {editor.path}" if entry["network"] else ""
    console.print(f"Take it back: {program} graph undo {editor.path}{learn}", markup=False, soft_wrap=True)
