"""``bench``: any set of cases × methods × seeds, measured into one table."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conceptnet_ml.bench.cases import FORCED, LEARNED, MATRIX, ORDINARY, Suite, flag_of, read_suite
from conceptnet_ml.cli import options
from conceptnet_ml.cli.options import OUTPUT, SETTINGS, argument, option
from conceptnet_ml.config.values import show_value
from conceptnet_ml.errors import ConceptNetError, Interrupted, SettingsError
from conceptnet_ml.runtime.signals import Stopper

if TYPE_CHECKING:
    from conceptnet_ml.bench.places import ProcessPlace
    from conceptnet_ml.plugins import Plugins

WHAT, WHERE, HOW = "What is measured", "Where the pictures lie", "How"
EXAMPLES = options.examples(
    ("bench --list", "cases and methods"),
    ("bench --pictures photos --dry-run", "how many cells, how long"),
    ("bench --pictures photos", "all that photos suffice for"),
    ("bench --case wheels --method learned", "a part of it"),
    ("bench mine.toml --folder mine=photos", "cases of your own"),
    ("bench --on ray --pictures photos", "on all machines of a Ray cluster"),
    ("bench --matrix --case '*/drawings/*'", "every trap on the embedded drawings, one picture"),
)
METHOD_HELP = "ordinary, learned, forced-round or a baseline; repeatable; default: the file's, else all"
CASES_HELP = "file of cases; default: those that come with the package"
CASE_HELP = "only this case, or those that a pattern with * fits; repeatable"
MATRIX_HELP = "every trap × exceptions × data × network, drawn into one picture"
BACKBONE_HELP = "a network of the matrix; repeatable; default: the file's"
OUT_HELP = "where finished cells are kept; default: runs/bench, runs/matrix"
FOLDER_HELP = "what {NAME} stands for; repeatable"
JOBS_HELP = "processes side by side; default: by cores and memory"
ON_HELP = "local: this machine; ray or ray:HOST:PORT: the machines of a Ray cluster"
DRY_RUN_HELP = "say what is left to measure and how long, and stop"
JOIN_HELP = "measure nothing; one table and picture of results.json that were measured apart; repeatable"
REPORT_HELP = "measure nothing; write what is finished into the tables"
SET_HELP = "a setting of all cases; repeatable"


class CellsFailed(ConceptNetError):
    """Some cells could not be measured; the others are in the tables."""


def pictures_of(name: str, what: str) -> Any:
    """The flag of a folder of pictures, which an environment variable can give, too."""
    return option(f"--{name}", "FOLDER", WHERE, what, envvar=f"CONCEPTNET_{name.upper()}")


def bench(
    cases: Annotated[Path | None, argument("CASES.toml", CASES_HELP)] = None,
    matrix: Annotated[bool, option("--matrix", None, WHAT, MATRIX_HELP)] = False,
    case: Annotated[list[str] | None, option("--case", "NAME", WHAT, CASE_HELP)] = None,
    method: Annotated[list[str] | None, option("--method", "NAME", WHAT, METHOD_HELP)] = None,
    backbone: Annotated[list[str] | None, option("--backbone", "NAME", WHAT, BACKBONE_HELP)] = None,
    seeds: Annotated[str | None, option("--seeds", "SEEDS", WHAT, "how many, as in 3, or which, as in 0,1,2")] = None,
    pictures: Annotated[str | None, pictures_of("pictures", "ImageFolder of two classes, train/ and test/")] = None,
    cifar: Annotated[str | None, pictures_of("cifar", "CIFAR-10 as an ImageFolder, train/ and test/ by class")] = None,
    mnist: Annotated[str | None, pictures_of("mnist", "where torchvision keeps MNIST")] = None,
    folder: Annotated[list[str] | None, option("--folder", "NAME=FOLDER", WHERE, FOLDER_HELP)] = None,
    out: Annotated[Path | None, option("--out", "FOLDER", OUTPUT, OUT_HELP)] = None,
    plot: Annotated[bool, option("--plot/--no-plot", None, OUTPUT, "draw the results")] = True,
    json: options.Json = False,
    jobs: Annotated[int | None, option("--jobs", "COUNT", HOW, JOBS_HELP, min=1)] = None,
    on: Annotated[str, option("--on", "PLACE", HOW, ON_HELP)] = "local",
    device: Annotated[str | None, options.device_option(HOW)] = None,
    list_: Annotated[bool, option("--list", None, HOW, "list cases and methods, and stop")] = False,
    dry_run: Annotated[bool, option("--dry-run", None, HOW, DRY_RUN_HELP)] = False,
    only_report: Annotated[bool, option("--report", None, HOW, REPORT_HELP)] = False,
    join: Annotated[list[Path] | None, option("--join", "RESULTS.json", HOW, JOIN_HELP)] = None,
    assignments: Annotated[list[str] | None, option("--set", "NAME=VALUE", SETTINGS, SET_HELP)] = None,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Measure every method on every case with every seed, into one table with intervals and a plot.

    Finished cells are kept: running the same command again goes on after
    Ctrl-C and tries failed cells again. A case whose pictures are not given
    is left out.
    """
    if join:
        chosen: dict[str, Any] = {"CASES.toml": cases, "--matrix": matrix, "--case": case, "--method": method}
        chosen |= {"--backbone": backbone, "--seeds": seeds, "--set": assignments}
        _join(join, [name for name, given in chosen.items() if given], out or Path("runs", "joined"), plot, json)
        return
    folders = {"pictures": pictures, "cifar": cifar, "mnist": mnist, **_folders(folder or [])}
    given = [*(assignments or []), *([f"device={device}"] if device else [])]
    plugins = options.load(plugins_dir, no_plugins)
    suite = read_suite(cases or (MATRIX if matrix else None), folders, given, backbone or None, plugins.models)
    if matrix and not any(case.place for case in suite.cases):
        raise SettingsError(f"--matrix: {suite.source} has no [matrix].", "Leave the flag out, or give another file.")
    suite = suite.only(case or None, method or None, seeds)
    flags = {"--case": case, "--method": method, "--backbone": backbone, "--seeds": [seeds] if seeds else None}
    words = ["conceptnet-ml bench", *([cases.name] if cases else []), *(["--matrix"] if matrix else [])]
    for flag, values in {**flags, "--set": given}.items():
        words += [f"{flag} {shlex.quote(value)}" for value in values or ()]
    words += map(flag_of, suite.folders)  # without where this machine keeps them
    suite = replace(suite, command=" ".join(words))
    out = out or Path("runs") / ("matrix" if matrix else "bench")
    if list_:
        _list(suite, plugins, json)
        return
    place = 0 if only_report and not dry_run else _place(on, jobs)  # before the plot: what measures is missed first
    if dry_run:
        _show_plan(suite, out, place, plugins, json)
        return
    if plot:
        from conceptnet_ml.bench import plots

        plots.require()
    _show(_measure(suite, out, place, plugins_dir, no_plugins), out, plot, json)


def _join(files: list[Path], chosen: list[str], out: Path, plot: bool, json: bool) -> None:
    from conceptnet_ml.bench.results import join_results
    from conceptnet_ml.storage.files import disk_errors

    if chosen:
        raise SettingsError(f"--join takes all that is in the files: leave out {', '.join(chosen)}.")
    results = join_results(files)
    with disk_errors(out, "write"):
        out.mkdir(parents=True, exist_ok=True)
    _show(results, out, plot, json)


def _place(on: str, jobs: int | None) -> int | ProcessPlace | None:
    """Where cells are measured: as many processes of this machine, or a cluster, which is joined."""
    if on == "local":
        return jobs
    from conceptnet_ml.bench.ray_cluster import cluster_named

    return cluster_named(on, jobs)


def _measure(
    suite: Suite, out: Path, jobs: int | ProcessPlace | None, plugins_dir: Path | None, no_plugins: bool
) -> dict[str, Any]:
    from conceptnet_ml.bench.runner import run_bench
    from conceptnet_ml.runtime.progress import Progress

    where: dict[str, Any] = {"jobs": jobs, "plugins_dir": plugins_dir, "no_plugins": no_plugins}
    try:
        with Stopper() as stopper, Progress() as progress:
            return run_bench(suite, out, **where, progress=progress, stopper=stopper)
    except (Interrupted, KeyboardInterrupt) as stop:
        mend = "--report writes what is finished into the tables. Go on with the same command."
        raise Interrupted("stopped; finished cells are kept", mend, stopper.exit_code) from stop


def _show(results: dict[str, Any], out: Path, plot: bool, json: bool) -> None:
    from conceptnet_ml.bench.report import write_report
    from conceptnet_ml.bench.results import counts

    files = write_report(results, out, plot)
    if json:
        options.print_json(results)
    else:
        typer.echo(files["md"].read_text(encoding="utf-8"))
        listing = ", ".join(str(path) for path in files.values())
        options.console(stderr=True).print(f"written: {listing}", markup=False, soft_wrap=True)
    if failed := counts(results)["failed"]:
        cells, them = ("1 cell", "it") if failed == 1 else (f"{failed} cells", "them")
        raise CellsFailed(f"{cells} failed; the tables say why.", f"Running the same command again tries {them} again.")


def _list(suite: Suite, plugins: Plugins, json: bool) -> None:
    methods = {
        ORDINARY: "ordinary training",
        LEARNED: "the learner",
        FORCED: "the first refused round, trained all the same",
        **{record.name: record.summary for record in plugins.all("baseline")},
    }
    if json:
        found = [
            {
                "case": case.name,
                "note": case.about.note,
                "settings": {name: show_value(value) for name, value in case.changes.items()},
                "marks": list(case.marks),
                "needs": list(case.missing),
                "targets": [target.words() for target in case.targets],
            }
            for case in suite.cases
        ]
        options.print_json({"cases": found, "methods": methods, "seeds": list(suite.seeds)})
        return
    rows = []
    for case in suite.cases:
        settings = ", ".join(f"{name}={show_value(value)}" for name, value in case.changes.items())
        targets = "; ".join(target.words() for target in case.targets if target not in suite.targets)
        rows.append({"case": case.name, "settings": settings, "targets": targets, "": case.needs})
    columns = [name for name in ("case", "settings", "targets", "") if any(row[name] for row in rows)]
    styles = {"case": "bold cyan", "method": "bold cyan", "": "yellow"}
    console = options.console()
    cells = [[row[name] for name in columns] for row in rows]
    console.print(options.table(columns, cells, styles=styles, pad_edge=False))
    console.print(options.table(("method", "what it is"), methods.items(), styles=styles, pad_edge=False))


def _show_plan(suite: Suite, out: Path, jobs: int | ProcessPlace | None, plugins: Plugins, json: bool) -> None:
    from conceptnet_ml.bench.plan import plan_bench

    plan = plan_bench(suite, out, plugins, jobs)
    if json:
        options.print_json({name: value for name, value in plan.items() if name != "methods"})
        return
    states = ("to do", "finished", "failed", "left out")
    found: dict[str, list[str]] = {}  # of a matrix, a line for each of its columns
    lines = {case.name: ", ".join([*case.place.values()][2:]) or case.name for case in suite.cases}
    for cell in plan["cells"]:
        found.setdefault(lines[cell["case"]], []).append(cell["state"])
    rows = [(name, *(str(own.count(state) or "") for state in states)) for name, own in found.items()]
    console = options.console()
    console.print(options.table(("case", *states), rows, right=states, pad_edge=False))
    left = sum(cell["state"] in ("to do", "failed") for cell in plan["cells"])
    console.print(
        f"{left} of {len(plan['cells'])} cells to measure, {plan['jobs']} at a time with {plan['threads']} threads "
        f"each: roughly {_duration(plan['seconds_left'])}. Methods: {', '.join(plan['methods'])}.",
        markup=False,
        soft_wrap=True,
    )


def _folders(texts: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not name.isidentifier() or not path:
            raise SettingsError(f"--folder '{text}' is not NAME=FOLDER.", "Write it as in --folder pictures=photos.")
        found[name] = path
    return found


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
