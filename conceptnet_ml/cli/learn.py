"""``learn``: train, then find, probe, generalize, specialize and descend."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conceptnet_ml.cli import options
from conceptnet_ml.cli.options import DATA, NETWORK, option, setting
from conceptnet_ml.config.sources import (
    DEFAULT,
    FLAGS,
    Resolved,
    default_folder,
    flatten,
    resolve_settings,
    resume_settings,
    source_of,
)
from conceptnet_ml.config.values import show_value
from conceptnet_ml.errors import ConceptNetError, Interrupted, SettingsError, quoted
from conceptnet_ml.runtime.device_names import check_device_name
from conceptnet_ml.runtime.signals import Stopper

EXAMPLES = options.examples(
    ("learn --depth 2", "two stages deep"),
    ("learn --data folder:photos --trap wheels", "a planted cue"),
    ("learn --config cars.toml --set round.limit=2", "from a file"),
    ("learn --depth 2 --dry-run", "say what, do nothing"),
    ("learn --resume runs/NAME", "go on after Ctrl-C"),
    ("learn --resume runs/NAME --undo block3/classes/2", "decide otherwise"),
    ("learn --data folder:photos --exchange bottom,right", "you know the place"),
)
FIRST, DECIDING = None, "Decide rounds yourself"
"""Panels of the help: what everyone needs first stands with --help, at the top; what a run's page offers after what a
run begins with."""
RESUME_HELP = "go on with a run, under its own settings"
DRY_RUN_HELP = "check everything, say what would be done, and stop"

if TYPE_CHECKING:
    from conceptnet_ml.plugins import Plugins
    from conceptnet_ml.results.learned_run import LearnedRun


def learn(
    ctx: typer.Context,
    data: Annotated[str | None, setting("data.source", FIRST, "PICTURES")] = None,
    depth: Annotated[str | None, setting("depth", FIRST, "STAGES")] = None,
    target: Annotated[str | None, setting("data.target", FIRST, "FOLDER")] = None,
    out: Annotated[Path | None, option("--out", "FOLDER", FIRST, "new run folder; default: runs/DATA-TIME")] = None,
    resumed: Annotated[Path | None, option("--resume", "RUN", FIRST, RESUME_HELP)] = None,
    dry_run: Annotated[bool, option("--dry-run", None, FIRST, DRY_RUN_HELP)] = False,
    trap: Annotated[str | None, setting("data.trap", DATA, "NAME[:ARGUMENT][+…]")] = None,
    skip_bad: Annotated[bool | None, setting("data.skip_bad", DATA)] = None,
    root: Annotated[str | None, setting("data.root", DATA, "FOLDER")] = None,
    download: Annotated[bool | None, setting("data.download", DATA)] = None,
    memory: Annotated[str | None, setting("data.memory", DATA, "GIB")] = None,
    backbone: Annotated[str | None, setting("network.backbone", NETWORK, "NAME[:ARGUMENT]")] = None,
    control: Annotated[list[str] | None, setting("plugins.controls", NETWORK, "NAME")] = None,
    seed: Annotated[str | None, setting("seed", NETWORK, "NUMBER")] = None,
    device: Annotated[str | None, setting("device", NETWORK, "DEVICE")] = None,
    keep: Annotated[list[str] | None, setting("round.keep", DECIDING, "ROUND")] = None,
    undo: Annotated[list[str] | None, setting("round.undo", DECIDING, "ROUND")] = None,
    exchange: Annotated[list[str] | None, setting("round.exchange", DECIDING, "PLACE[+…]")] = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    json: options.Json = False,
    trust: options.Trust = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Train a network, generalize what its decisions rest on, and leave a run folder with a better one.

    [bold]--depth[/] is the one dial: how many stages to work through, from the top.
    Ctrl-C stops where the run can be resumed.
    """
    given = {name: ctx.params[flag.removeprefix("--").replace("-", "_")] for name, flag in FLAGS.items()}
    flags = {name: list(value) or None if isinstance(value, list | tuple) else value for name, value in given.items()}
    flags["round.exchange"] = "+".join(exchange) if exchange else None
    plugins = options.load(plugins_dir, no_plugins)
    if data is not None and data not in {record.name for record in plugins.all("dataset")}:
        flags["data.source"] = source_of(data)  # a folder's path is one
    if resumed is None:
        resolved = resolve_settings(config, assignments or (), flags, plugins.models)
        if out is not None and not _of_several():  # of several ranks the first may have begun already
            from conceptnet_ml.storage.run_folder import Run

            Run.check_free(out)
        if not _of_several():
            options.check_given(resolved.settings, plugins)
    else:
        resolved = _resolve_resumed(resumed, out, config, assignments or [], flags, plugins)
        check_device_name(resolved.settings.device)
    if dry_run:
        if os.environ.get("RANK", "0") == "0" or not _of_several():
            _show_plan(resolved, plugins, json)
        return
    run = _learn(resolved, out or default_folder(resolved.settings), resumed, plugins)
    if run is None:
        return
    summary = run.summary()
    if json:
        options.print_json({"run": str(run.path), **summary})
        return
    from conceptnet_ml.results.summary import tables
    from conceptnet_ml.results.verdict import headline

    look = (
        f"\nThe run is in {run.path}; {run.path / 'report.html'} explains it, in any browser. Look at what it found: "
    )
    look += f"{options.program()} graph show {run.path}"
    for part in (headline(summary), *tables(summary, brief=True), look):
        options.console().print(part, markup=False)


def _resolve_resumed(
    run: Path,
    out: Path | None,
    config: Path | None,
    assignments: list[str],
    flags: dict[str, Any],
    plugins: Plugins,
) -> Resolved:
    from conceptnet_ml.config.settings import Settings
    from conceptnet_ml.storage.run_folder import Run

    if out is not None:
        raise SettingsError("--out and --resume contradict each other.", "A resumed run stays in its folder.")
    stored = Run.open(run)
    settings = Settings.of_run(stored.settings, run / "settings.json")
    return resume_settings(settings, stored.origins, config, assignments, flags, plugins.models)


def _of_several() -> bool:
    """Whether torchrun started this process and others."""
    return os.environ.get("WORLD_SIZE", "1") != "1" and "LOCAL_RANK" in os.environ


def _learn(resolved: Resolved, out: Path, resumed: Path | None, plugins: Plugins) -> LearnedRun | None:
    """The finished run; None for a rank that does not tell of it. What goes wrong on all ranks the first one tells."""
    from conceptnet_ml.runtime import ranks

    with ranks.united():
        try:
            run = _learn_here(resolved, out, resumed, plugins)
        except ConceptNetError as error:
            if ranks.is_first() or not ranks.is_shared(error):
                raise
            raise typer.Exit(error.exit_code) from error
        return run if ranks.is_first() else None


def _learn_here(resolved: Resolved, out: Path, resumed: Path | None, plugins: Plugins) -> LearnedRun:
    from conceptnet_ml import learn
    from conceptnet_ml.runtime import ranks
    from conceptnet_ml.runtime.progress import Progress

    folder, speaks = resumed or out, ranks.is_first()
    options.began.append(folder)
    stopping = Stopper() if speaks else Stopper(says="")
    try:
        with stopping as stopper, Progress(quiet=not speaks) as progress:
            progress.say(f"{', '.join(_changed(resolved))}; run folder {folder}")
            return learn(
                settings=resolved.settings,
                out=None if resumed else out,
                resume=resumed,
                plugins=plugins,
                progress=progress,
                stopper=stopper,
                origins=resolved.origins,
            )
    except (Interrupted, KeyboardInterrupt) as stop:
        started = (folder / "settings.json").exists()
        if not started:
            raise Interrupted("stopped; nothing was begun", "", stopper.exit_code) from stop
        kept = f"stopped; all finished steps are kept in {folder}, and of a training what was saved of it"
        raise Interrupted(kept, f"Go on with: {options.resume()} {quoted(folder)}", stopper.exit_code) from stop


def _changed(resolved: Resolved) -> list[str]:
    """The depth, and every setting that is not at its default."""
    values = flatten(resolved.settings)
    shown = [name for name in values if name == "depth" or resolved.origins[name] != DEFAULT]
    return [f"{name}={show_value(values[name])}" for name in shown]


def _show_plan(resolved: Resolved, plugins: Plugins, json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from conceptnet_ml import plan

    rows = plan(resolved.settings, plugins)
    if json:
        notes = [how for what, how in rows if what == "note"]
        steps = {what: how for what, how in rows if what != "note"}
        options.print_json({"plan": steps, "notes": notes, "settings": resolved.settings.model_dump(mode="json")})
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for what, how in [*rows, ("settings", ", ".join(_changed(resolved)))]:
        table.add_row(Text(what, style="bold"), Text(how))
    options.console().print(table)
