"""``bench``: any set of cases × methods × seeds, measured into one table."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from conceptnet_ml.bench.cases import FORCED, LEARNED, ORDINARY, Suite, flag_of, read_suite
from conceptnet_ml.cli import options
from conceptnet_ml.cli.options import OUTPUT, SETTINGS, argument, option
from conceptnet_ml.config.sources import show_value
from conceptnet_ml.errors import ConceptNetError, Interrupted, SettingsError
from conceptnet_ml.runtime.signals import Stopper

WHAT, WHERE, HOW = "What is measured", "Where the pictures lie", "How"
EXAMPLES = options.examples(
    ("bench --list", "cases and methods"),
    ("bench --pictures photos --dry-run", "how many cells, how long"),
    ("bench --pictures photos", "all that photos suffice for"),
    ("bench --case wheels --method learned", "a part of it"),
    ("bench mine.toml --folder mine=photos", "cases of your own"),
)


class CellsFailed(ConceptNetError):
    """Some cells could not be measured; the others are in the tables."""


CasesFile = Annotated[Path | None, argument("CASES.toml", "file of cases; default: those that come with the package")]
OnlyCases = Annotated[list[str] | None, option("--case", "NAME", WHAT, "only this case; repeatable")]
OnlyMethods = Annotated[
    list[str] | None,
    option(
        "--method",
        "NAME",
        WHAT,
        "ordinary, learned, forced-round or a baseline; repeatable; default: the file's, else all",
    ),
]
Seeds = Annotated[str | None, option("--seeds", "SEEDS", WHAT, "how many, as in 3, or which, as in 0,1,2")]
Pictures = Annotated[
    str | None,
    option("--pictures", "FOLDER", WHERE, "ImageFolder of two classes, train/ and test/", envvar="CONCEPTNET_PICTURES"),
]
Cifar = Annotated[
    str | None,
    option(
        "--cifar", "FOLDER", WHERE, "CIFAR-10 as an ImageFolder, train/ and test/ by class", envvar="CONCEPTNET_CIFAR"
    ),
]
Mnist = Annotated[
    str | None, option("--mnist", "FOLDER", WHERE, "where torchvision keeps MNIST", envvar="CONCEPTNET_MNIST")
]
Folders = Annotated[list[str] | None, option("--folder", "NAME=FOLDER", WHERE, "what {NAME} stands for; repeatable")]
Out = Annotated[Path, option("--out", "FOLDER", OUTPUT, "where finished cells are kept")]
Plot = Annotated[bool, option("--plot/--no-plot", None, OUTPUT, "draw the results")]
Jobs = Annotated[
    int | None, option("--jobs", "COUNT", HOW, "processes side by side; default: by cores and memory", min=1)
]
Device = Annotated[str | None, option("--device", "DEVICE", HOW, "auto, cpu, cuda or cuda:N")]
List = Annotated[bool, option("--list", None, HOW, "list cases and methods, and stop")]
DryRun = Annotated[bool, option("--dry-run", None, HOW, "say what is left to measure and how long, and stop")]
OnlyReport = Annotated[bool, option("--report", None, HOW, "measure nothing; write what is finished into the tables")]
Common = Annotated[list[str] | None, option("--set", "NAME=VALUE", SETTINGS, "a setting of all cases; repeatable")]


def bench(
    cases: CasesFile = None,
    case: OnlyCases = None,
    method: OnlyMethods = None,
    seeds: Seeds = None,
    pictures: Pictures = None,
    cifar: Cifar = None,
    mnist: Mnist = None,
    folder: Folders = None,
    out: Out = Path("runs/bench"),
    plot: Plot = True,
    json: options.Json = False,
    jobs: Jobs = None,
    device: Device = None,
    list_: List = False,
    dry_run: DryRun = False,
    only_report: OnlyReport = False,
    assignments: Common = None,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Measure every method on every case with every seed, into one table with intervals and a plot.

    Finished cells are kept: running the same command again goes on after
    Ctrl-C and tries failed cells again. A case whose pictures are not given
    is left out.
    """
    folders = {"pictures": pictures, "cifar": cifar, "mnist": mnist, **_pairs(folder or [])}
    given = [*(assignments or []), *([f"device={device}"] if device else [])]
    suite = read_suite(cases, folders, given).only(case or None, method or None, seeds)
    if list_:
        _list(suite, plugins_dir, no_plugins, json)
        return
    if dry_run:
        _show_plan(suite, out, jobs, plugins_dir, no_plugins, json)
        return
    if plot:
        from conceptnet_ml.bench import plots

        plots.require()
    command = _command(cases, case, method, seeds, suite, given)
    results = _measure(suite, out, jobs, plugins_dir, no_plugins, command, not only_report)
    _show(results, out, plot, json)


def _measure(
    suite: Suite, out: Path, jobs: int | None, plugins_dir: Path | None, no_plugins: bool, command: str, work: bool
) -> dict[str, Any]:
    from conceptnet_ml.bench.runner import run_bench
    from conceptnet_ml.runtime.progress import Progress

    options.load(plugins_dir, no_plugins)  # says which plugins cannot be used
    try:
        with Stopper() as stopper, Progress() as progress:
            return run_bench(
                suite,
                out,
                jobs=jobs,
                plugins_dir=plugins_dir,
                no_plugins=no_plugins,
                progress=progress,
                stopper=stopper,
                command=command,
                work=work,
            )
    except (Interrupted, KeyboardInterrupt) as stop:
        mend = "Go on with the same command; --report writes what is finished into the tables."
        raise Interrupted("stopped; finished cells are kept", mend) from stop


def _show(results: dict[str, Any], out: Path, plot: bool, json: bool) -> None:
    from conceptnet_ml.bench import report
    from conceptnet_ml.bench.results import counts

    files = report.write_report(results, out, plot)
    if json:
        options.print_json(results)
    else:
        typer.echo(files["md"].read_text(encoding="utf-8"))
        listing = ", ".join(str(path) for path in files.values())
        options.console(stderr=True).print(f"written: {listing}", markup=False, soft_wrap=True)
    failed = counts(results)["failed"]
    if failed:
        one = failed == 1
        raise CellsFailed(
            f"{failed} cell{'' if one else 's'} failed; the tables say why.",
            f"Running the same command again tries {'it' if one else 'them'} again.",
        )


def _list(suite: Suite, plugins_dir: Path | None, no_plugins: bool, json: bool) -> None:
    plugins = options.load(plugins_dir, no_plugins)
    methods = {
        ORDINARY: "ordinary training",
        LEARNED: "the learner",
        FORCED: "the first refused round, trained all the same",
        **{record.name: record.summary for record in plugins.all("baseline")},
    }
    if json:
        rows = [
            {
                "case": case.name,
                "note": case.note,
                "settings": {name: show_value(value) for name, value in case.written.items()},
                "marks": list(case.marks),
                "needs": list(case.missing),
                "targets": [target.words() for target in case.targets],
            }
            for case in suite.cases
        ]
        options.print_json({"cases": rows, "methods": methods, "seeds": list(suite.seeds)})
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = options.console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, style in (("case", "bold cyan"), ("settings", ""), ("targets", ""), ("", "yellow")):
        table.add_column(name, style=style, overflow="fold")
    for case in suite.cases:
        settings = ", ".join(f"{name}={show_value(value)}" for name, value in case.written.items())
        needs = "needs " + ", ".join(map(flag_of, case.missing)) if case.missing else ""
        own = "; ".join(target.words() for target in case.targets if target not in suite.targets)
        table.add_row(Text(case.name), Text(settings), Text(own), Text(needs))
    console.print(table)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, style in (("method", "bold cyan"), ("what it is", "")):
        table.add_column(name, style=style, overflow="fold")
    for name, what in methods.items():
        table.add_row(Text(name), Text(what))
    console.print(table)


def _show_plan(
    suite: Suite, out: Path, jobs: int | None, plugins_dir: Path | None, no_plugins: bool, json: bool
) -> None:
    from conceptnet_ml.bench.cells import Store
    from conceptnet_ml.bench.estimate import seconds_left
    from conceptnet_ml.bench.pool import default_jobs, threads_for
    from conceptnet_ml.bench.runner import check_suite, planned

    store = Store(out)
    methods = check_suite(suite, options.load(plugins_dir, no_plugins))
    store.check(suite)
    rows = planned(suite, store, methods)
    groups = store.groups(suite, methods)
    jobs = min(jobs or default_jobs(max(1, len(groups))), max(1, len(groups)))
    seconds = seconds_left(suite, store, groups, methods, jobs) if groups else 0.0
    if json:
        options.print_json({"cells": rows, "jobs": jobs, "threads": threads_for(jobs), "seconds_left": seconds})
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    states = ("to do", "finished", "failed", "left out")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("case", *states):
        table.add_column(name, justify="left" if name == "case" else "right")
    for case in suite.cases:
        mine = [row["state"] for row in rows if row["case"] == case.name]
        table.add_row(Text(case.name), *(str(mine.count(state) or "") for state in states))
    console = options.console()
    console.print(table)
    todo = sum(len(group.methods) for group in groups)
    console.print(
        f"{todo} of {len(rows)} cells to measure, {jobs} at a time with {threads_for(jobs)} threads each: "
        f"roughly {_span(seconds)}. Methods: {', '.join(methods)}.",
        markup=False,
        soft_wrap=True,
    )


def _command(
    cases: Path | None,
    case: list[str] | None,
    method: list[str] | None,
    seeds: str | None,
    suite: Suite,
    given: list[str],
) -> str:
    """The command as the tables show it: what was measured, without where this machine keeps things."""
    words = ["bench", *([cases.name] if cases else [])]
    for flag, values in (
        ("--case", case),
        ("--method", method),
        ("--seeds", [seeds] if seeds else []),
        ("--set", given),
    ):
        for value in values or []:
            words += [flag, shlex.quote(value)]
    return " ".join(["conceptnet-ml", *words, *map(flag_of, suite.folders)])


def _pairs(texts: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not name.isidentifier() or not path:
            raise SettingsError(f"--folder '{text}' is not NAME=FOLDER.", "Write it as in --folder pictures=photos.")
        found[name] = path
    return found


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
