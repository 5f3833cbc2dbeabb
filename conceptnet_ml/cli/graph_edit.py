"""``graph merge | split | forget | rename | annotate | undo | log``: work on a run's concept graph and network."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conceptnet_ml.cli import options
from conceptnet_ml.cli.options import argument, option
from conceptnet_ml.errors import quoted

EDIT = "Change the graph and the network"
NODE = "unit as STAGE:NUMBER, or a node by id, or as the page or you call it"
CLASS_HELP = "a class that gets a variant of its own; default: every class"
NodeName = Annotated[str, argument("NODE", NODE)]
NodeNames = Annotated[list[str], argument("NODE NODE...", NODE)]

if TYPE_CHECKING:
    from conceptnet_ml.editing.history import EditHistory
    from conceptnet_ml.plugins import Plugins
    from conceptnet_ml.results.editor import Editor


def merge(
    run: options.RunFolder,
    nodes: NodeNames,
    json: options.Json = False,
    trust: options.Trust = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Make several units or features of a stage one unit of the network.

    The others fall silent, and what follows is compensated by least squares. Features that are merged
    become one generalized feature.
    """
    _edit(run, nodes, lambda editor: editor.merge(*nodes), json, options.load(plugins_dir, no_plugins))


def split(
    run: options.RunFolder,
    node: NodeName,
    class_: Annotated[list[str] | None, option("--class", "NAME", None, CLASS_HELP)] = None,
    json: options.Json = False,
    trust: options.Trust = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Split a unit into one variant per class, which 'learn --resume' lets go their own ways.

    The network computes what it did, to rounding.
    """
    _edit(run, [node], lambda editor: editor.split(node, class_ or ()), json, options.load(plugins_dir, no_plugins))


def forget(
    run: options.RunFolder,
    node: NodeName,
    json: options.Json = False,
    trust: options.Trust = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Hold a unit or a feature at its mean for ever, or take a generalized feature's family out of the model."""
    _edit(run, [node], lambda editor: editor.forget(node), json, options.load(plugins_dir, no_plugins))


def rename(
    run: options.RunFolder,
    node: NodeName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="what you call it; an empty one takes the name away")],
    json: options.Json = False,
    trust: options.Trust = False,
) -> None:
    """Give a node a name of your own."""
    _edit(run, [node], lambda editor: editor.rename(node, name), json, options.load(None, False))


def annotate(
    run: options.RunFolder,
    node: NodeName,
    note: Annotated[str, typer.Argument(metavar="TEXT", help="what you want to remember; an empty one takes it away")],
    json: options.Json = False,
    trust: options.Trust = False,
) -> None:
    """Write a note on a node."""
    _edit(run, [node], lambda editor: editor.annotate(node, note), json, options.load(None, False))


def undo(
    run: options.RunFolder,
    count: Annotated[int, option("--count", "N", None, "how many edits, from the last one", min=1)] = 1,
    json: options.Json = False,
) -> None:
    """Take the last edits back, and what was learned from them: graph and model are bit for bit what they were."""
    history = _history(run)
    learned = max(history.adopted(), default=0)
    with history.run:
        undone = history.undo(count)
    if json:
        options.print_json({"run": str(run), "undone": undone})
        return
    for entry in undone:
        options.say(f"undone: {entry['number']}. {entry['said']}")
    if any(entry["number"] <= learned for entry in undone):
        left = history.pending()
        back = f"; {options.resume()} {quoted(run)} learns from what is left" if left else ""
        options.say(f"What was learned after edit {learned} is undone, too{back}.")


def log(run: options.RunFolder, json: options.Json = False) -> None:
    """List the edits of a run, and from which of them learning went on."""
    history = _history(run)
    entries, adopted = history.log(), history.adopted()
    if json:
        options.print_json({"run": str(run), "edits": entries, "learned_from": adopted})
        return
    if not entries:
        options.say(f"{run} has no edits.")
    for entry in entries:
        date = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry["time"]))
        options.say(f"{entry['number']}. {date}  {entry['said']}")
        if entry["number"] in adopted:
            options.say("   learning went on from here")


def register(app: typer.Typer) -> None:
    """Add these commands to ``graph``."""
    for command in (merge, split, forget, rename, annotate, undo, log):
        app.command(rich_help_panel=EDIT)(command)


def _history(run: Path) -> EditHistory:
    """Needs no torch, unlike an editor."""
    from conceptnet_ml.editing.history import EditHistory
    from conceptnet_ml.storage.run_folder import Run

    return EditHistory(Run.open(run))


def _edit(run: Path, nodes: list[str], edit: Callable[[Editor], dict[str, Any]], json: bool, plugins: Plugins) -> None:
    """Make an edit and print what it did. What it names is looked up first, before torch is loaded."""
    from conceptnet_ml.editing.plan import find_node
    from conceptnet_ml.graph.concept_graph import ConceptGraph

    graph = _history(run).read(lambda: ConceptGraph.read(run))
    for node in nodes:
        find_node(graph, node)
    from conceptnet_ml import Editor, open_run
    from conceptnet_ml.runtime.progress import Progress
    from conceptnet_ml.storage.run_folder import PAGE

    editor = Editor(open_run(run, plugins), plugins)
    page = editor.path / PAGE
    had_page = page.exists()
    with Progress() as progress:
        editor.progress = progress
        entry = edit(editor)
    if json:
        options.print_json({"run": str(editor.path), **entry})
        return
    lines = [f"{entry['number']}. {entry['said']}"]
    for unit, falls in entry.get("effects", {}).items():
        listed = " · ".join(f"{name} {fall:+.2f}" for name, fall in falls.items())
        lines.append(f"   without {unit} the classes' margins fall by {listed}")
    if accuracy := entry.get("accuracy"):
        listed = ", ".join(f"{name} {100 * old:.1f} → {100 * new:.1f}" for name, (old, new) in accuracy.items())
        lines.append(f"   accuracy, %: {listed}")
    if had_page and not page.exists():
        lines.append(
            f"{PAGE} no longer holds and is removed; write it anew: {options.program()} report {quoted(editor.path)}"
        )
    lines.append(f"Take it back: {options.program()} graph undo {quoted(editor.path)}")
    if entry["network"]:
        lines.append(f"Go on learning from it: {options.resume()} {quoted(editor.path)}")
    options.console().print("\n".join(lines), markup=False, soft_wrap=True)
