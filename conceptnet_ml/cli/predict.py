"""``predict``: what a run's network sees in image files, and why."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from conceptnet_ml.cli import options
from conceptnet_ml.cli.options import OUTPUT, option
from conceptnet_ml.errors import DataError, SettingsError, meant_path

if TYPE_CHECKING:
    from conceptnet_ml import Explanation, LearnedRun

EXAMPLES = options.examples(
    ("predict runs/NAME photo.jpg", "one picture"),
    ("predict runs/NAME photos --json", "a folder, for a script"),
    ("predict runs/NAME photo.jpg --explain --out why", "why, as a page why/photo.html, too"),
)
SHOWN = 4
"""Concepts of a picture that are printed: those that lend most."""
EXPLAIN_HELP = "say which concepts answer in each picture, where, and what becomes of the answers without them"
OUT_HELP = "with --explain: a page for each picture in this folder"
LEGEND = (
    "+2.0 for car: car's lead falls by 2 logits when the concept is set to its mean; below zero it grows. The strength "
    "beside held-out images, the place and all other concepts are on the page{}, and in --json."
)


def predict(
    run: options.RunFolder,
    images: Annotated[list[Path], options.argument("IMAGE...", "image files, and folders of them")],
    explain: Annotated[bool, option("--explain", None, OUTPUT, EXPLAIN_HELP)] = False,
    out: Annotated[Path | None, option("--out", "FOLDER", OUTPUT, OUT_HELP)] = None,
    adapted: options.Adapted = None,
    json: options.Json = False,
    trust: options.Trust = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Say what the learned network sees in pictures, and what the ordinary network would have said; or why.

    Of a folder all pictures in it are taken, at any depth.
    """
    if out is not None and not explain:
        raise SettingsError("--out is for explanations", "Add --explain.")
    if explain and adapted is not None:
        raise SettingsError(
            "--explain and --adapted contradict each other", "The run's graph is about its own networks: leave one out."
        )
    if out is not None and out.exists() and not out.is_dir():
        raise SettingsError(f"--out {out} is a file", "Name a folder for the pages.")
    options.check_run(run)
    for path in images:
        if not path.exists():
            raise DataError(f"{path}: no such file.", f"{meant_path(path, file=True)}Check the path.")
    from conceptnet_ml import open_run

    opened = open_run(run, options.load(plugins_dir, no_plugins))
    if explain:
        _explain(opened, images, out, json)
        return
    found = opened.predict(images, adapted)
    counts = Counter(one["class"] for one in found)
    differ = sum(one["class"] != one["ordinary"] for one in found)
    if json:
        options.print_json({"run": str(run), "images": found, "classes": dict(counts), "differ": differ})
        return
    from rich.text import Text

    rows = [
        (
            one["file"],
            Text(one["class"], style="bold"),
            f"{one['probability']:.1%}",
            Text(one["ordinary"], style="dim" if one["ordinary"] == one["class"] else "yellow"),
        )
        for one in found
    ]
    columns = ("file", "class", "probability", "ordinary network")
    options.console().print(options.table(columns, rows, right=("probability",)))
    if len(found) > 1:
        said = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        words = f"{len(found)} pictures: {said}. The ordinary network answers {differ} of them differently."
        options.console().print(words, markup=False)


def _explain(run: LearnedRun, images: list[Path], out: Path | None, json: bool) -> None:
    from conceptnet_ml import write_explanation

    found, pages = run.explain(images), list[Path]()
    for one in found if out is not None else ():
        assert out is not None
        stem, number = Path(one.file).stem, 1
        while (page := out / f"{stem}{f'-{number}' if number > 1 else ''}.html") in pages:
            number += 1
        pages.append(write_explanation(one, page, run.path.name))
    if json:
        records = [one.record() for one in found]
        for record, page in zip(records, pages, strict=False):
            record["page"] = str(page)
        options.print_json({"run": str(run.path), "images": records})
        return
    console = options.console()
    for one in found:
        _print(one)
    if any(one.concepts for one in found):
        console.print(LEGEND.format("" if pages else " (--out FOLDER)"), style="dim", markup=False)
    for page in pages:
        console.print(f"{page}: in any browser", markup=False, soft_wrap=True)


def _print(one: Explanation) -> None:
    from rich.text import Text

    from conceptnet_ml.graph.naming import called

    console = options.console()
    console.print(Text(one.file, style="bold"), *map(Text, (one.headline, one.familiar, *one.why)), sep="\n")
    for exchange in one.exchanges:
        console.print(Text(f"Round {exchange.number} exchanges {exchange.what}."))
        for words in exchange.sentences:
            console.print(Text(f"  {words}"))
    for each in one.lending[:SHOWN]:
        console.print(Text(f"  {called(each.node)}: {each.effect} ({each.network.removeprefix('the ')})"))
    for words in one.left_out:
        console.print(Text(f"Left out: {words}", style="dim"))
