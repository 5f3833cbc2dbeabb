"""``adapt``: fit a run's family weights and last layer to a few labelled pictures of a new world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from conceptnet_ml.cli import options
from conceptnet_ml.cli.options import DATA, option

EXAMPLES = options.examples(
    ("adapt runs/NAME --data folder:new --shots 2", "to two pictures of each class"),
    ("adapt runs/NAME --shots 8", "to the run's own pictures with random cues"),
    ("adapt runs/NAME --shots 8 --turned", "to the world turned round"),
    ("predict runs/NAME photo.jpg --adapted new-2", "ask the adapted model"),
)
DATA_HELP = "pictures of the new world with the same classes; default: the run's own held-out ones, random cues"
TURNED_HELP = "the run's own world turned round: the cue is the truth"
DRAWS_HELP = "how often examples are drawn; figures are means"
OUT_HELP = "name of the adapted model; default: the world and K, as in new-8"

if TYPE_CHECKING:
    from rich.table import Table


def adapt(
    run: options.RunFolder,
    data: Annotated[str | None, option("--data", "NAME[:ARGUMENT]", DATA, DATA_HELP)] = None,
    turned: Annotated[bool, option("--turned", None, DATA, TURNED_HELP)] = False,
    shots: Annotated[int, option("--shots", "K", None, "labelled examples per class", min=1)] = 8,
    draws: Annotated[int, option("--draws", "N", None, DRAWS_HELP, min=1)] = 10,
    out: Annotated[str | None, option("--out", "NAME", None, OUT_HELP)] = None,
    device: options.RunDevice = None,
    json: options.Json = False,
    trust: options.Trust = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Adapt a run to a new world by a few labelled pictures of each class.

    Only the weights of the families (what was generalized and kept) and the
    last layer are fitted. Prints accuracy before and after in the new world and
    in the old one, beside the ordinary network fitted to the same pictures, and
    saves the model of the first draw in the run folder for [bold]--adapted[/].
    """
    plugins = options.load(plugins_dir, no_plugins)
    options.check_run(run)
    options.check_pictures(data, plugins)
    from conceptnet_ml import open_run
    from conceptnet_ml.runtime.progress import Progress

    opened = open_run(run, plugins, device)
    with Progress() as progress, progress.task("adapt"):
        result = opened.adapt(data, shots, turned, draws, out)
    if json:
        options.print_json(result)
        return
    console = options.console()
    console.print(_accuracies(result))
    for line in _lines(result):
        console.print(line, markup=False)


def _accuracies(result: dict[str, Any]) -> Table:
    title = f"Accuracy before → after {result['shots']} examples a class of: {result['world']}, %"
    rows = []
    for name, row in result["test_sets"].items():
        cells = []
        for method in ("learned", "ordinary"):
            shares = {what: f"{100 * value:.1f}" for what, value in row[method].items()}
            cells += [f"{shares['before']} → {shares['after']}", f"{shares['lowest']} – {shares['highest']}"]
        rows.append((name, str(row["images"]), *cells))
    numbers = ("images", "learned", "lowest – highest", "ordinary", "lowest – highest")
    return options.table(("test set", *numbers), rows, right=numbers, title=title)


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
