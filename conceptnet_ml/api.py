"""The public API: what the command line does, in the same number of lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conceptnet_ml import __version__, runtime
from conceptnet_ml.configuration import default_folder
from conceptnet_ml.data import Data, load_data, trap_names
from conceptnet_ml.errors import Interrupted, SettingsError
from conceptnet_ml.interrupt import Stopper
from conceptnet_ml.learner import run_loop
from conceptnet_ml.network import build_network
from conceptnet_ml.opened import LearnedRun
from conceptnet_ml.plugins import Plugins, load_plugins
from conceptnet_ml.progress import Progress
from conceptnet_ml.reporting import conclude
from conceptnet_ml.runs import Run
from conceptnet_ml.settings import Settings
from conceptnet_ml.workbench import Workbench


def learn(
    data: Settings | Data | str | Path | None = None,
    *,
    depth: int | None = None,
    settings: Settings | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    plugins: Plugins | None = None,
    progress: Progress | None = None,
    stopper: Stopper | None = None,
    origins: Mapping[str, str] | None = None,
) -> LearnedRun:
    """Train a network, then find, probe, generalize, specialize and descend; leave a run folder.

    Args:
        data: A folder, a source such as ``"torchvision:CIFAR10"``, or :class:`Data`; default: the settings' source. All
            settings may be given here instead.
        depth: How many stages to work through, from the top; default: the settings' depth.
        settings: Everything else.
        out: A new or empty folder for the run; default: ``runs/NAME-TIME``.
        resume: A run folder to go on with instead; its own settings are used.
        plugins: Loaded plugins; default: the built-ins and what is installed.
        progress: Where progress is shown; default: nowhere.
        stopper: Asked whether to stop; default: never.
        origins: Where each setting came from, for the run folder.

    Returns:
        The finished run.

    Raises:
        SettingsError, DataError, PluginError: Something is wrong with what was given; nothing was trained.
        Interrupted: The stopper said so; ``resume`` goes on from there.
        TrainingDiverged: The loss became NaN.
    """
    given = data if isinstance(data, Data) else None
    plugins = load_plugins() if plugins is None else plugins
    progress = Progress(quiet=True) if progress is None else progress
    stopper = Stopper() if stopper is None else stopper
    if resume is not None:
        run = Run.open(resume, write=True)
        chosen = Settings.model_validate(run.settings) if settings is None else settings
    else:
        chosen = _settings(data, depth, settings)
        run = None
        if out is not None:
            Run.check_free(out)
    device, dtype = _machine(chosen)
    _check_names(chosen, plugins)
    with progress.task("load images"):
        images = given if given is not None else load_data(chosen, plugins)
    images = _on_device(images, chosen, device)
    build_network(chosen, images.classes, (images.shape[1], images.shape[2]), plugins)
    if run is None:
        folder = Path(out) if out is not None else default_folder(chosen)
        environment = runtime.environment(device, dtype)
        run = Run.create(folder, chosen.model_dump(mode="json"), dict(origins or {}), environment, __version__)
    with run:
        bench = Workbench(chosen, plugins, images, run, progress, stopper, device, dtype)
        try:
            if not run.finished:
                conclude(bench, run_loop(bench))
        except Interrupted as error:
            raise Interrupted(error.message, f"Go on with learn(resume='{run.path}').") from error
    return LearnedRun(run, plugins, images)


def plan(settings: Settings, plugins: Plugins | None = None) -> list[tuple[str, str]]:
    """What :func:`learn` would do, checked as far as it can be without training: (what, how) pairs.

    Raises:
        SettingsError, DataError, PluginError: As :func:`learn` would.
    """
    plugins = load_plugins() if plugins is None else plugins
    device, dtype = _machine(settings)
    _check_names(settings, plugins)
    data = load_data(settings, plugins)
    network = build_network(settings, data.classes, (data.shape[1], data.shape[2]), plugins)
    bench_held = round(settings.data.holdout * len(data.train))
    worked = [*reversed(network.stage_names)][: settings.depth]
    steps = (len(data.train) - bench_held) // settings.training.batch
    rows = [
        (
            "data",
            f"{data.name}: {len(data.train)} images of {len(data.classes)} classes, {data.shape[2]}×{data.shape[1]} px",
        ),
        ("classes", ", ".join(data.classes)),
        ("test sets", ", ".join(f"{name} ({len(images)})" for name, images in data.tests.items())),
        ("held out", f"{bench_held} training images, for the decisions"),
        (
            "network",
            f"{settings.network.backbone}, stages " + " → ".join(f"{s.name} ({s.units})" for s in network.stages),
        ),
        ("worked on", ", then ".join(worked)),
        ("device", f"{device}, {'fp32' if dtype is None else str(dtype).removeprefix('torch.')}"),
        ("ordinary training", f"{settings.training.epochs} epochs of {steps} steps"),
        ("rounds", f"at most {settings.round.limit} a stage, {settings.round.epochs} epochs of views each"),
        ("representations", ", ".join(settings.plugins.representations)),
        ("controls", ", ".join(settings.plugins.controls) or "none"),
    ]
    return rows + [("note", note) for note in data.notes]


def open_run(path: str | Path, plugins: Plugins | None = None, device: str | None = None) -> LearnedRun:
    """A finished run: its model, graph and figures.

    Args:
        path: The run folder.
        plugins: Loaded plugins; default: the built-ins and what is installed.
        device: Where to run the model; default: the run's own device, if this machine has it.

    Raises:
        DataError: No run there, not finished, damaged, or of another version.
    """
    return LearnedRun(Run.open(path), load_plugins() if plugins is None else plugins, device=device)


def _settings(data: Any, depth: int | None, settings: Settings | None) -> Settings:
    if isinstance(data, Settings):
        if settings is not None:
            raise SettingsError("settings were given twice", "Give them once, or give the data first.")
        settings, data = data, None
    values = (settings or Settings()).model_dump()
    if isinstance(data, Data):
        values["data"]["source"] = data.name
    elif data is not None:
        text = str(data)
        values["data"]["source"] = f"folder:{text}" if isinstance(data, Path) or Path(text).is_dir() else text
    if depth is not None:
        values["depth"] = depth
    return Settings.model_validate(values)


def _machine(settings: Settings) -> tuple[Any, Any]:
    runtime.setup_threads()
    device = runtime.choose_device(settings.device)
    return device, runtime.choose_precision(settings.training.precision, device)


def _check_names(settings: Settings, plugins: Plugins) -> None:
    """Every plugin the settings name is there and loads, before anything long starts."""
    chosen = settings.plugins
    names = {
        "dataset": (),
        "trap": trap_names(settings.data.trap),
        "representation": chosen.representations,
        "discoverer": (chosen.discoverer,),
        "generalizer": (chosen.generalizer,),
        "specializer": (chosen.specializer,),
        "dreamer": () if chosen.dreamer == "none" else (chosen.dreamer,),
        "baseline": chosen.controls,
    }
    for kind, wanted in names.items():
        for name in wanted:
            record = plugins.get(kind, name)
            for field in type(record).__dataclass_fields__.values():
                if field.type == "Function":
                    record.function(field.name)
    if not chosen.representations:
        raise SettingsError("plugins.representations is empty", "Name at least one, as in colour,pixels.")


def _on_device(data: Data, settings: Settings, device: Any) -> Data:
    if not data.train.resident:
        return Data(
            data.name,
            data.classes,
            data.train.to(device),
            {name: images.to(device) for name, images in data.tests.items()},
            data.notes,
            data.skipped,
        )
    return Data(data.name, data.classes, data.train.to(device), data.tests, data.notes, data.skipped)
