"""The public API: what the command line does, in the same number of lines."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from conceptnet_ml.conclude import conclude
from conceptnet_ml.config import overrides
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.sources import OVERRULING, default_folder, flatten
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.load import load_data, trap_names
from conceptnet_ml.dreams.recipe import recipe_of
from conceptnet_ml.editing.by_hand import decisions_by_hand
from conceptnet_ml.editing.history import EditHistory
from conceptnet_ml.errors import Interrupted, SettingsError
from conceptnet_ml.evaluation.accuracy import unlabelled
from conceptnet_ml.evaluation.baselines import check_baselines
from conceptnet_ml.learner import run_learner
from conceptnet_ml.network.build import build_network
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.plugins import Plugins, load_plugins
from conceptnet_ml.results.learned_run import LearnedRun
from conceptnet_ml.runtime import devices
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.steps.context import Context
from conceptnet_ml.storage.run_folder import Run
from conceptnet_ml.version import __version__

WORDS = ("keep", "undo")
"""The settings of the group ``round`` by which the user overrules the rule."""


def learn(
    data: Settings | Data | str | Path | None = None,
    *,
    depth: int | None = None,
    settings: Settings | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    keep: Sequence[str] = (),
    undo: Sequence[str] = (),
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
        resume: A run folder to go on with instead; its own settings are used. A finished one is opened again where its
            network was edited since, where the user's words on its rounds are others now, here or in its graph.json, or
            where the pictures of the new world are others.
        keep, undo: Rounds to keep or to undo whatever the rule says, beside those in the settings.
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
    run = None if resume is None else Run.open(resume, write=True)
    with run or contextlib.nullcontext():
        if run is not None:
            chosen, origins = _going_on(run, settings, (keep, undo), origins or {}, progress)
        else:
            chosen = _overruled(_settings(data, depth, settings), keep, undo)
            if out is not None:
                Run.check_free(out)
        device, dtype = devices.prepare(chosen.device, chosen.training.precision)
        _check_names(chosen, plugins)
        with progress.task("load images"):
            images = given if given is not None else load_data(chosen, plugins)
        images = images.to(device)
        check_baselines(chosen.plugins.controls, plugins, images)
        network = build_network(chosen, images.classes, (images.shape[1], images.shape[2]), plugins)
        edited = run is not None and _has_new_edits(run, chosen)
        if run is None or not run.complete or _differs(run, chosen):
            _check_words_and_target(chosen, network)
        if run is None:
            folder = Path(out) if out is not None else default_folder(chosen)
            environment = devices.environment(device, dtype)
            run = Run.create(folder, chosen.model_dump(mode="json"), dict(origins or {}), environment, __version__)
        elif ((changes := _differs(run, chosen)) or edited) and _revise(run, changes, origins or {}, edited):
            progress.say("Models that adapt saved in this run are gone: what they were fitted to changes.")
        with run:
            EditHistory(run).adopt()
            ctx = Context(chosen, plugins, images, run, progress, stopper, device, dtype)
            try:
                if not run.complete:
                    conclude(ctx, run_learner(ctx))
            except Interrupted as error:
                raise Interrupted(error.message, f"Go on with learn(resume='{run.path}').") from error
    return LearnedRun(run, plugins, images)


def plan(settings: Settings, plugins: Plugins | None = None) -> list[tuple[str, str]]:
    """What :func:`learn` would do, checked as far as it can be without training: (what, how) pairs.

    Raises:
        SettingsError, DataError, PluginError: As :func:`learn` would.
    """
    plugins = load_plugins() if plugins is None else plugins
    device, dtype = devices.prepare(settings.device, settings.training.precision)
    _check_names(settings, plugins)
    data = load_data(settings, plugins)
    check_baselines(settings.plugins.controls, plugins, data)
    network = build_network(settings, data.classes, (data.shape[1], data.shape[2]), plugins)
    _check_words_and_target(settings, network)
    bench_held = round(settings.data.holdout * len(data.train))
    worked = [*reversed(network.stage_names)][: settings.depth]
    steps = max(1, (len(data.train) - bench_held) // settings.training.batch)
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


def check_settings(settings: Settings, plugins: Plugins) -> None:
    """Refuse what can be refused before an image is read: names of plugins, the device, the precision.

    Raises:
        SettingsError, PluginError: As :func:`learn` would.
    """
    devices.choose_precision(settings.training.precision, devices.choose_device(settings.device))
    _check_names(settings, plugins)


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


def _overruled(settings: Settings, keep: Sequence[str], undo: Sequence[str]) -> Settings:
    """Settings with more words on rounds; the newest count."""
    kept, undone = overrides.amended(settings.round, keep, undo)
    return settings.model_copy(update={"round": settings.round.model_copy(update={"keep": kept, "undo": undone})})


def _going_on(
    run: Run,
    settings: Settings | None,
    given: tuple[Sequence[str], Sequence[str]],
    origins: Mapping[str, str],
    progress: Progress,
) -> tuple[Settings, Mapping[str, str]]:
    """The settings of a run that goes on, with the words on its rounds given now or found in its graph.json."""
    stored = Settings.model_validate(run.settings)
    chosen = stored if settings is None else settings
    edited = decisions_by_hand(run)
    if edited != ([], []):
        said = ", ".join([*(f"keep {name}" for name in edited[0]), *(f"undo {name}" for name in edited[1])])
        progress.say(f"{run.path / 'graph.json'} was changed by hand: {said}")
        origins = {
            **origins,
            **{f"round.{verb}": "graph.json" for verb, names in zip(WORDS, edited, strict=True) if names},
        }
    new = []
    for verb, by_hand, argument in zip(WORDS, edited, given, strict=True):
        before = getattr(stored.round, verb)
        new.append([*by_hand, *argument, *(name for name in getattr(chosen.round, verb) if name not in before)])
    return _overruled(chosen, *new), origins


def _differs(run: Run, chosen: Settings) -> dict[str, Any]:
    """Of what may be another in a finished run and asks for work, what is: by dotted name."""
    stored, wanted = flatten(Settings.model_validate(run.settings)), flatten(chosen)
    return {name: wanted[name] for name in (*OVERRULING, "data.target") if stored[name] != wanted[name]}


def _has_new_edits(run: Run, chosen: Settings) -> bool:
    """Whether the user edited the run's network since it was learned; edits rest on its rounds as they were decided."""
    history = EditHistory(run)
    history.mend()
    if history.log() and any(name in OVERRULING for name in _differs(run, chosen)):
        raise SettingsError(
            f"{run.path} has edits, which rest on its rounds as they were decided",
            f"Take them back first: graph undo {run.path} --count {len(history.log())}.",
        )
    return history.pending() is not None


def _revise(run: Run, changes: Mapping[str, Any], origins: Mapping[str, str], edited: bool) -> bool:
    """Write the run's new settings and take away what no longer holds; whether adapted models were among that."""
    settings = Settings.model_validate(run.settings).model_dump(mode="json")
    for name, value in changes.items():
        group, _, field = name.partition(".")
        settings[group][field] = value
    sources = {name: origins.get(name, "argument") for name in changes}
    adapted = edited or any(name in OVERRULING for name in changes)
    gone = adapted and any((run.path / "adapted").glob("*.json"))
    run.revise(settings, {**run.origins, **sources}, adapted=adapted)
    return gone


def _check_words_and_target(settings: Settings, network: StagedNetwork) -> None:
    """The user's words name rounds there can be, and every picture of the new world can be read."""
    overrides.check_overrides(settings, network.stage_names)
    if settings.data.target is not None:
        pictures = unlabelled(settings.data.target, network.image_size)
        for part in torch.arange(len(pictures)).split(256):
            pictures.take(part)


def _check_names(settings: Settings, plugins: Plugins) -> None:
    """Every plugin the settings name is there and loads, and there is something to train; before anything starts."""
    if settings.data.minimum == 0:
        raise SettingsError("data.minimum 0 leaves nothing to train on", "Give at least 1; 0 is for evaluating.")
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
            for function in record.functions():
                record.function(function)
            if kind == "dreamer":
                recipe_of(record)
    backbone, _, argument = settings.network.backbone.partition(":")
    if not argument:
        plugins.get("backbone", backbone)
    if not chosen.representations:
        raise SettingsError("plugins.representations is empty", "Name at least one, as in colour,pixels.")
