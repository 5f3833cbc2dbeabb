"""``adapt``: fit a run's family weights and last layer to a few labelled pictures of a new world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from conceptnet_ml.cli import options

EXAMPLES = options.examples(
    ("adapt runs/NAME --data folder:new --shots 2", "to two pictures of each class"),
    ("adapt runs/NAME --shots 8", "to the run's own pictures with random cues"),
    ("adapt runs/NAME --shots 8 --turned", "to the world turned round"),
    ("predict runs/NAME photo.jpg --adapted new-2", "ask the adapted model"),
)

if TYPE_CHECKING:
    from rich.table import Table


def adapt(
    run: options.RunFolder,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="NAME[:ARGUMENT]",
            rich_help_panel=options.DATA,
            help="pictures of the new world with the same classes; default: the run's own held-out ones, random cues",
        ),
    ] = None,
    turned: Annotated[
        bool,
        typer.Option(
            "--turned", rich_help_panel=options.DATA, help="the run's own world turned round: the cue is the truth"
        ),
    ] = False,
    shots: Annotated[int, typer.Option("--shots", metavar="K", min=1, help="labelled examples per class")] = 8,
    draws: Annotated[
        int, typer.Option("--draws", metavar="N", min=1, help="how often examples are drawn; figures are means")
    ] = 10,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="NAME", help="name of the adapted model; default: the world and K, as in new-8"),
    ] = None,
    device: options.RunDevice = None,
    json: options.Json = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Adapt a run to a new world by a few labelled pictures of each class.

    Only the weights of the families (what was generalized and kept) and the
    last layer are fitted. Prints accuracy before and after in the new world and
    in the old one, beside the ordinary network fitted to the same pictures, and
    saves the model of the first draw in the run folder for [bold]--adapted[/].
    """
    from conceptnet_ml import open_run
    from conceptnet_ml.runtime.progress import Progress

    opened = open_run(run, options.load(plugins_dir, no_plugins), device)
    with Progress() as progress, progress.task("adapt"):
        result = opened.adapt(data, shots, turned, draws, out)
    if json:
        options.print_json(result)
        return
    console = options.console()
    console.print(_table(result))
    for line in _lines(result):
        console.print(line, markup=False)


def _table(result: dict[str, Any]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = f"Accuracy before → after {result['shots']} examples a class of: {result['world']}, %"
    table = Table(title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for name in ("test set", "images", "learned", "lowest – highest", "ordinary", "lowest – highest"):
        table.add_column(name, justify="left" if name == "test set" else "right")
    for name, row in result["test_sets"].items():
        cells = []
        for method in ("learned", "ordinary"):
            found = {what: f"{100 * value:.1f}" for what, value in row[method].items()}
            cells += [f"{found['before']} → {found['after']}", f"{found['lowest']} – {found['highest']}"]
        table.add_row(Text(name), str(row["images"]), *cells)
    return table


def _lines(result: dict[str, Any]) -> list[str]:
    lines = []
    if result["forgotten"]["learned"] is not None:
        lost = ", ".join(f"{method} {100 * share:+.1f}" for method, share in result["forgotten"].items())
        lines.append(
            f"Forgotten of the old world's aligned set (without one: test), points (less than 0: won): {lost}."
        )
    beliefs = result["beliefs"]
    lines.append(
        f"The examples say: the network is right as it is {beliefs['kept']:.0%}, with a new last layer "
        f"{beliefs['refitted']:.0%}, a family counts {beliefs['families']:.0%}."
    )
    saved = result["saved"]
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in saved["alpha"].items())
    lines.append(f"Saved as '{saved['name']}'" + (f", weights of the families: {weights}." if weights else "."))
    return lines + [f"Note: {note}" for note in result["notes"]]
