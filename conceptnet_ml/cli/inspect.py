"""``inspect``: what could be a shortcut in a folder of pictures, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conceptnet_ml.cli import options
from conceptnet_ml.cli.options import DATA, OUTPUT, argument, option, setting
from conceptnet_ml.config.sources import FLAGS, resolve_settings, source_of

EXAMPLES = options.examples(
    ("inspect photos", "photos/CLASS/*.jpg, or train/ and test/ in it"),
    ("inspect photos --out shortcuts.html", "and a page with example pictures"),
    ("inspect torchvision:CIFAR10 --root data", "anything that 'learn --data' takes"),
    ("inspect photos --trap tint", "see a planted cue found"),
)
DATA_HELP = "folder, or NAME[:ARGUMENT] as 'learn --data' has it"
OUT_HELP = "HTML file to write with example pictures of every finding"
WIDE = 120
"""Columns of a window that hold all that is told of a property."""

PAIRS_SHOWN = 5

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from conceptnet_ml.inspect.inspection import Inspection


def inspect(
    ctx: typer.Context,
    source: Annotated[str, argument("DATA", DATA_HELP)],
    trap: Annotated[str | None, setting("data.trap", DATA, "NAME[:ARGUMENT][+…]")] = None,
    root: Annotated[str | None, setting("data.root", DATA, "FOLDER")] = None,
    download: Annotated[bool | None, setting("data.download", DATA)] = None,
    seed: Annotated[str | None, setting("seed", DATA, "NUMBER")] = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    out: Annotated[Path | None, option("--out", "FILE", OUTPUT, OUT_HELP)] = None,
    json: options.Json = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Say what could be a shortcut in pictures, before anything is trained.

    Measures brightness, colour, sharpness, border, places, compression and
    facts of the files, and how far each gets [bold]alone[/] in telling the classes of
    held-out images, beside chance and shuffled labels. Lists near-duplicates
    across classes and sets, uneven classes and broken files. About a minute
    for some thousand pictures.
    """
    names = {"data.trap", "data.root", "data.download", "seed"}
    flags = {name: ctx.params[FLAGS[name].removeprefix("--")] for name in names}
    plugins = options.load(plugins_dir, no_plugins)
    flags["data.source"] = source_of(source)
    resolved = resolve_settings(config, assignments or (), flags, plugins.models)
    options.check_given(resolved.settings, plugins, ("dataset", "trap"))
    from conceptnet_ml import inspect_data, write_inspection
    from conceptnet_ml.runtime.progress import Progress

    with Progress() as progress:
        found = inspect_data(resolved.settings, plugins=plugins, progress=progress)
    page = None if out is None else write_inspection(found, out)
    if json:
        options.print_json({**found.plain(), "page": None if page is None else str(page)})
        return
    _show(found)
    if page is not None:
        options.console().print(f"{page}: example pictures, in any browser", markup=False, soft_wrap=True)


def _show(found: Inspection) -> None:
    from rich.text import Text

    console = options.console()
    narrow = console.width < WIDE
    console.print(Text(found.verdict, style="bold"))
    console.print(_properties(found, narrow))
    for column, words in _columns(found, narrow):
        console.print(f"{column}: {words}", markup=False, style="dim")
    console.print()
    for one in found.findings:
        what = "look at" if one.result is None else "could be a shortcut"
        console.print(Text.assemble((f"{what} ({one.level}): ", "bold yellow"), one.text))
        console.print(f"    {' '.join(one.follows)}", markup=False, style="dim")
        if one.places:
            console.print(f"    {found.learn_command(options.program(), one.places)}", markup=False, soft_wrap=True)
    for pair in found.pairs()[:PAIRS_SHOWN]:
        console.print(f"    alike: {pair[0]} and {pair[1]}", markup=False)
    if len(found.pairs()) > PAIRS_SHOWN:
        console.print("    --json lists more pairs.", style="dim")
    if nearest := found.nothing.partition(". ")[2]:  # after what the verdict says
        console.print(nearest, markup=False)
    for note in found.data.notes:
        console.print(f"note: {note}", markup=False, style="dim")
    console.print(
        "What could be a shortcut could as well belong to the thing itself. What a network rests on shows: "
        f"{found.learn_command(options.program())}",
        markup=False,
    )


def _columns(found: Inspection, narrow: bool) -> list[tuple[str, str]]:
    """What the columns of the table say; in a ``narrow`` window, what it left out."""
    from conceptnet_ml.inspect.property_results import LEVELS

    chance, tests = 100 / len(found.data.classes), ", ".join(_tests(found))
    shown = "share of held-out pictures that a rule of this property alone names rightly, classes counting alike"
    rest = "a ring further in (border), the middle one of all places (place)"
    least = ", ".join(f"{name} from {share:g}" for name, share in reversed(LEVELS.items()))
    lines = [
        ("held-out %", f"{shown}, with its 95 % interval; chance is {chance:.0f}"),
        ("shuffled", "the same with shuffled labels: what is found where there is nothing"),
        (tests, "the same rule on a test set: where it fails, accuracy there would show a shortcut"),
        ("strength, tells", "how well it tells the class it tells best from the others: 0 is chance, 1 is always"),
        ("control", f"strength of what holds the object as well: {rest}"),
        ("could be", f"a shortcut, by the lower end of strength above control, which orders the rows: {least}"),
    ]
    if narrow:
        left_out = ", ".join(("shuffled labels", *_tests(found), "control", "what differs"))
        lines = [lines[0], lines[3], lines[5], (f"a window of {WIDE} columns, --json and --out say more", left_out)]
    return [(column, words) for column, words in lines if column]


def _tests(found: Inspection) -> list[str]:
    """The test sets that have a column."""
    return [name for name in found.counts if name != "train"][:3]


def _properties(found: Inspection, narrow: bool) -> Table:
    from rich.text import Text

    rows: list[tuple[str | Text, ...]] = []
    tests = _tests(found)
    for one in found.results:
        score = one.score
        control = "" if one.control is None else f"{one.control:.2f}"
        shares = [f"{100 * share:.0f}" for share in (score.accuracy, score.low, score.high, score.shuffled)]
        held_out = f"{shares[0]} ({shares[1]}–{shares[2]})"
        on_tests = [f"{100 * one.tests[name]:.0f}" if name in one.tests else "" for name in tests]
        told, could = found.data.classes[score.told], Text(one.could_be, style="" if one.level == "none" else "yellow")
        strength = f"{score.strength:.2f}"
        rows.append((one.about.name, held_out, shares[3], *on_tests, strength, control, told, could, one.differs))
    numbers = ("held-out %", "shuffled", *tests, "strength", "control")
    columns = ("property", *numbers, "tells", "could be", "classes")
    if narrow:
        shown = ("property", "held-out %", "strength", "tells", "could be")
        rows = [tuple(cell for column, cell in zip(columns, row, strict=True) if column in shown) for row in rows]
        columns = shown
    styles = {"property": "bold cyan", "shuffled": "dim", "control": "dim", "classes": "dim"}
    title = f"{found.data.name}: how far each property gets alone"
    return options.table(columns, rows, right=numbers, styles=styles, title=title, pad_edge=False)
