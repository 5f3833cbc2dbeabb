"""``evaluate``: accuracy of a run's networks on every test set."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from conceptnet_ml.cli import options
from conceptnet_ml.cli.options import DATA, OUTPUT, option

EXAMPLES = options.examples(
    ("evaluate runs/NAME", "on its own test sets"),
    ("evaluate runs/NAME --data folder:other", "on other pictures"),
    ("evaluate runs/NAME --groups", "every group: class × cue, or what data.groups says"),
    ("evaluate runs/NAME --target photos", "on unlabelled pictures: where do they disagree?"),
    ("evaluate runs/NAME --json", "for a script"),
)
DATA_HELP = "other data with the same classes; default: the run's own"
TRAP_HELP = "cue planted in the images; default: the run's own on its own data, none on other data"
TARGET_HELP = "unlabelled pictures of the new world: how often do the ordinary and the learned network disagree?"
GROUPS_HELP = "a line for each group of a test set: its class and the cue it shows, or as data.groups says"

if TYPE_CHECKING:
    from rich.table import Table


def evaluate(
    run: options.RunFolder,
    data: Annotated[str | None, option("--data", "NAME[:ARGUMENT]", DATA, DATA_HELP)] = None,
    trap: Annotated[str | None, option("--trap", "NAME[:ARGUMENT][+…]", DATA, TRAP_HELP)] = None,
    target: Annotated[Path | None, option("--target", "FOLDER", DATA, TARGET_HELP)] = None,
    adapted: options.Adapted = None,
    groups: Annotated[bool, option("--groups", None, OUTPUT, GROUPS_HELP)] = False,
    device: options.RunDevice = None,
    json: options.Json = False,
    trust: options.Trust = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Measure the accuracy of the ordinary and the learned network on every test set.

    With a trap there are four more: [bold]aligned[/] shows the cue of the image's
    own class, [bold]conflict[/] another class's, [bold]random[/] any, [bold]absent[/] none.
    Below a set with groups stands the accuracy of each network's worst group.
    """
    plugins = options.load(plugins_dir, no_plugins)
    options.check_run(run)
    options.check_pictures(data, plugins)
    from conceptnet_ml import open_run
    from conceptnet_ml.runtime.progress import Progress

    opened = open_run(run, plugins, device)
    with Progress() as progress, progress.task("evaluate"):
        disagreement = {} if target is None else {"target": opened.disagreement(target)}
        result = {**opened.evaluate(data, trap, adapted=adapted), **disagreement}
    if json:
        options.print_json(result)
        return
    options.console().print(_accuracies(result["test_sets"], groups))
    if groups and not any("groups" in network for row in result["test_sets"].values() for network in _networks(row)):
        options.console().print("No test set has groups: these need a trap, or data.groups when the run is made.")
    if target is not None:
        from conceptnet_ml.results.summary import disagreement_words

        options.console().print(f"New world: {disagreement_words(result['target'])}", markup=False)


def _networks(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [found for name, found in row.items() if name != "images"]


def _accuracies(test_sets: dict[str, Any], every_group: bool) -> Table:
    methods = [name for name in next(iter(test_sets.values()), {}) if name != "images"]

    def line(name: str, images: str, found: Iterable[dict[str, Any]]) -> tuple[str, ...]:
        return (name, images, *(f"{100 * one['accuracy']:.1f}" for one in found))

    rows = []
    for name, row in test_sets.items():
        each = [row[method] for method in methods]
        rows.append(line(name, str(row["images"]), each))
        grouped = each[0].get("groups", {})
        if grouped:
            rows.append(line("… worst group", "", [one["worst_group"] for one in each]))
        if all("worst_class" in one for one in each):
            rows.append(line("… worst class", "", [one["worst_class"] for one in each]))
        for group, first in grouped.items() if every_group else ():
            rows.append(line(f"… {group}", str(first["images"]), [one["groups"][group] for one in each]))
    numbers = ("images", *methods)
    return options.table(("test set", *numbers), rows, right=numbers, title="Accuracy, %")
