"""``evaluate``: accuracy of a run's networks on every test set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conceptnet_ml.cli import options

EXAMPLES = options.examples(
    ("evaluate runs/NAME", "on its own test sets"),
    ("evaluate runs/NAME --data folder:other", "on other pictures"),
    ("evaluate runs/NAME --target photos", "on unlabelled pictures: where do they disagree?"),
    ("evaluate runs/NAME --json", "for a script"),
)

if TYPE_CHECKING:
    from rich.table import Table


def evaluate(
    run: options.RunFolder,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="NAME[:ARGUMENT]",
            rich_help_panel=options.DATA,
            help="other data with the same classes; default: the run's own",
        ),
    ] = None,
    trap: Annotated[
        str | None,
        typer.Option(
            "--trap",
            metavar="NAME[:ARGUMENT][+…]",
            rich_help_panel=options.DATA,
            help="cue planted in the images; default: the run's own on its own data, none on other data",
        ),
    ] = None,
    target: Annotated[
        Path | None,
        typer.Option(
            "--target",
            metavar="FOLDER",
            rich_help_panel=options.DATA,
            help="unlabelled pictures of the new world: how often do the ordinary and the learned network disagree?",
        ),
    ] = None,
    adapted: options.Adapted = None,
    device: options.RunDevice = None,
    json: options.Json = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Measure the accuracy of the ordinary and the learned network on every test set.

    With a trap there are four more: [bold]aligned[/] shows the cue of the image's
    own class, [bold]conflict[/] another class's, [bold]random[/] any, [bold]absent[/] none.
    """
    from conceptnet_ml import open_run
    from conceptnet_ml.runtime.progress import Progress

    opened = open_run(run, options.load(plugins_dir, no_plugins), device)
    with Progress() as progress, progress.task("evaluate"):
        found = {} if target is None else {"target": opened.disagreement(target)}
        result = {**opened.evaluate(data, trap, adapted=adapted), **found}
    if json:
        options.print_json(result)
    else:
        options.console().print(_table(result["test_sets"]))
        if "target" in result:
            options.console().print(_disagreement(result["target"]), markup=False)


def _disagreement(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    sure = found["confidence"]
    return (
        f"On {found['images']} unlabelled pictures of {found['folder']} the ordinary and the learned network "
        f"disagree on {found['disagreement']:.1%} (95 % interval {low:.1%} – {high:.1%}); mean confidence: ordinary "
        f"{sure['ordinary']:.1%}, learned {sure['learned']:.1%}."
    )


def _table(test_sets: dict[str, Any]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    methods = [name for name in next(iter(test_sets.values()), {}) if name != "images"]
    table = Table(title="Accuracy, %", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("test set")
    for name in ("images", *methods):
        table.add_column(Text(name), justify="right")
    for name, row in test_sets.items():
        figures = (f"{100 * row[method]['accuracy']:.1f}" for method in methods)
        table.add_row(Text(name), str(row["images"]), *figures)
    return table
