"""The public API: what the command line does, in the same number of lines.

``learn`` is either :func:`start_run` or :func:`resume_run`; both check everything first and end in :func:`execute`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import torch

from conceptnet_ml.checks import Checked, Session, check_plan, with_own_settings
from conceptnet_ml.conclude import conclude
from conceptnet_ml.config import overrides
from conceptnet_ml.config.plugin_settings import flat_plugin
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.sources import OVERRULING, default_folder, flatten, source_of
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.sampling import few_decide, split_holdout
from conceptnet_ml.editing.history import EditHistory, decisions_by_hand
from conceptnet_ml.errors import DataError, Interrupted, SettingsError
from conceptnet_ml.inspect.inspection import place_note
from conceptnet_ml.learner import run_learner
from conceptnet_ml.network.build import check_backbone, name_backbone
from conceptnet_ml.network.joint_norms import check_norms
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import describe_epochs
from conceptnet_ml.plugins import Plugins, load_plugins
from conceptnet_ml.results.badges import decision_line
from conceptnet_ml.results.learned_run import LearnedRun
from conceptnet_ml.results.loggers import open_loggers
from conceptnet_ml.results.report import round_record
from conceptnet_ml.runtime import devices, ranks
from conceptnet_ml.runtime.code import sources
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.outline import RunOutline
from conceptnet_ml.storage.follower_run import FollowerRun
from conceptnet_ml.storage.hashing import sha256
from conceptnet_ml.storage.run_folder import Run
from conceptnet_ml.swap.representation import fitting
from conceptnet_ml.version import __version__

RoundNames = tuple[Sequence[str], Sequence[str]]
"""Names of rounds to keep and to undo."""

PLUGIN_DEFAULT = "the plugin's default"
"""Where a setting comes from that a plugin declares and nobody gave."""


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
    trust: bool = False,
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
        trust: Import a network that the run to go on with names as ``module:callable`` even if you never named it.

    Returns:
        The finished run.

    Raises:
        SettingsError, DataError, PluginError: Something is wrong with what was given; nothing was trained.
        Interrupted: The stopper said so; ``resume`` goes on from there.
        TrainingDiverged, NothingLearned: The loss became NaN; ordinary training ended no better than chance.
    """
    given = data if isinstance(data, Data) else None
    session = Session(
        load_plugins() if plugins is None else plugins, progress or Progress(quiet=True), stopper or Stopper()
    )
    if resume is not None:
        if trust:
            _check_backbone(Run.open(resume), session.plugins, trust)
        return resume_run(resume, session, settings, (keep, undo), given, origins or {})
    return start_run(_overruled(_settings(data, depth, settings), (keep, undo)), session, given, out, origins or {})


def start_run(
    settings: Settings, session: Session, data: Data | None, out: str | Path | None, origins: Mapping[str, str]
) -> LearnedRun:
    """A new run in a new folder. Raises as :func:`learn`."""
    if out is not None:
        ranks.first(lambda: Run.check_free(out))
    name_backbone(settings, session.plugins)
    settings, session = ranks.agreed(lambda: with_own_settings(settings, session))
    checked = ranks.agreed(lambda: check_plan(settings, session, data))
    _check_ranks(checked, session.plugins)
    held = split_holdout(checked.data.train, settings.data.holdout, 0)[1]
    for note in few_decide(len(held), len(checked.data.classes), settings.data.holdout):
        session.progress.say(f"note: {note}")
    if ranks.is_first() and (note := place_note(checked.data, settings, data is None)):
        session.progress.say(f"note: {note}")
    folder = ranks.first(lambda: Path(out) if out is not None else default_folder(settings))
    environment = devices.environment(checked.device, checked.dtype, checked.network.narrow)
    environment["data"] = checked.data.digests()
    environment["plugins"] = session.plugins.packages()
    origins = dict.fromkeys(flat_plugin(settings), PLUGIN_DEFAULT) | dict(origins)
    values = settings.model_dump(mode="json")
    made: list[Run] = []
    ranks.first(lambda: made.append(Run.create(folder, values, origins, environment, __version__)))
    return execute(checked, made[0] if made else FollowerRun.open(folder), session)


def resume_run(
    path: str | Path,
    session: Session,
    settings: Settings | None,
    words: RoundNames,
    data: Data | None,
    origins: Mapping[str, str],
) -> LearnedRun:
    """Go on with a run: one that was stopped, one whose rounds the user decides otherwise, or one that was edited.

    Raises as :func:`learn`.
    """
    opened = Run if ranks.is_first() else FollowerRun
    with ranks.agreed(lambda: opened.open(path, write=True)) as run:
        session.plugins.expect(run.plugin_files())
        _check_backbone(run, session.plugins)
        chosen, origins = _resumed_settings(run, settings, words, origins, session.progress)
        chosen, session = ranks.agreed(lambda: with_own_settings(chosen, session))

        def check() -> tuple[dict[str, Any], bool, Checked]:
            changes = _changes(run, chosen)
            _check_rounds(run, chosen)
            edited = _has_new_edits(run, changes)
            return changes, edited, check_plan(chosen, session, data, finished=run.complete and not changes)

        changes, edited, checked = ranks.agreed(check)
        _check_ranks(checked, session.plugins)
        ranks.agreed(lambda: _check_same(run, checked, session.progress))
        if (changes or edited) and _revise(run, changes, origins, edited):
            session.progress.say("Models that adapt saved in this run are gone: what they were fitted to changes.")
        return execute(checked, run, session)


def execute(checked: Checked, run: Run, session: Session) -> LearnedRun:
    """Learn and conclude; what the run has finished already is read back. Raises Interrupted where the stopper said so,
    TrainingDiverged where the loss became NaN, NothingLearned where ordinary training ended at chance.
    """
    with run:
        ranks.first(EditHistory(run).adopt)
        plugins, progress, stopper = session.plugins, session.progress, session.stopper
        if ranks.size() > 1:
            stopper = ranks.RankStopper(stopper)
        ctx = Context(checked.settings, plugins, checked.data, run, progress, stopper, checked.device, checked.dtype)
        ctx.on_round = lambda round: progress.say(
            decision_line(round_record(round, ctx.override_rule.overruled.get(round.name, ())), checked.data.classes)
        )
        stages = min(checked.settings.depth, len(checked.network.stage_names))
        progress.outline = RunOutline(checked.settings.model_copy(update={"depth": stages}), len(ctx.fit))
        try:
            if not ranks.first(lambda: run.complete):
                with open_loggers(run, plugins, checked.settings, progress.say) if ranks.is_first() else nullcontext():
                    conclude(ctx, run_learner(ctx))
        except Interrupted as error:
            mend = f"Go on with learn(resume='{run.path}')."
            raise Interrupted(error.message, mend, stopper.exit_code) from error
        finally:
            progress.outline = None
    return LearnedRun(run, session.plugins, checked.data)


def _check_ranks(checked: Checked, plugins: Plugins) -> None:
    """Several ranks have the same program, settings and pictures, and a part of each batch. Raises SettingsError where
    they have not; costs nothing in a process by itself."""
    if (count := ranks.size()) == 1:
        return
    settings = checked.settings
    ranks.agreed(lambda: _check_parts(checked, count))
    files = plugins.packages()
    ranks.check_alike(
        {
            "code": f"{sources(files)}, torch {torch.__version__}",
            "plugins": ", ".join(PurePath(file).name for file in files) or "none",
            "settings": sha256(settings.model_dump_json(exclude={"device"}), 12),
            "data": " ".join(checked.data.digests().values()),
            "precision": str(checked.dtype),
        },
        {
            "code": "Start all ranks with the same package, plugins and torch.",
            "plugins": "Install the same plugins on all machines.",
            "settings": "Start all ranks with the same words.",
            "data": "Give all ranks the same pictures.",
            "precision": "Say which: --set training.precision=fp32.",
        },
    )


def _check_parts(checked: Checked, count: int) -> None:
    """A batch and the network can be shared by so many ranks, or SettingsError."""
    batch, share = checked.settings.training.batch, checked.settings.data.holdout
    fit = len(split_holdout(checked.data.train, share, 0)[0])
    if batch % count:
        fitting = ", ".join(str(one) for one in range(2, min(batch, 64) + 1) if batch % one == 0)
        mend = f"Start as many as divide it ({fitting}), or give another --set training.batch=…."
        raise SettingsError(f"training.batch {batch} cannot be cut into {count} equal parts, one a rank", mend)
    if fit < 2 * count:
        raise SettingsError(f"{fit} images are too few for {count} ranks", "Start fewer, or one process alone.")
    check_norms(checked.network)


def plan(settings: Settings, plugins: Plugins | None = None) -> list[tuple[str, str]]:
    """What :func:`learn` would do, checked as far as it can be without training: (what, how) pairs. Raises
    SettingsError, DataError or PluginError as :func:`learn` would.
    """
    session = Session() if plugins is None else Session(plugins)
    name_backbone(settings, session.plugins)
    settings, session = ranks.agreed(lambda: with_own_settings(settings, session))
    checked = check_plan(settings, session)
    data, network = checked.data, checked.network
    used = devices.environment(checked.device, checked.dtype, network.narrow)
    fit, held = (len(part) for part in split_holdout(data.train, settings.data.holdout, 0))
    lengths = partial(describe_epochs, images=fit, settings=settings.training)
    worked = [*reversed(network.stage_names)][: settings.depth]
    size, epochs = f"{data.shape[2]}×{data.shape[1]} px", settings.training.epochs
    stages = " → ".join(f"{stage.name} ({stage.units})" for stage in network.stages)
    rows = [
        ("data", f"{data.name}: {len(data.train)} images of {len(data.classes)} classes, {size}"),
        ("classes", ", ".join(data.classes)),
        ("test sets", ", ".join(f"{name} ({len(images)})" for name, images in data.tests.items())),
        ("held out", f"{held} training images, for the decisions"),
        *([("new world", checked.new_world)] if checked.new_world else []),
        *([("exchanged first", checked.exchanged)] if checked.exchanged else []),
        ("network", f"{settings.network.backbone}{_weights(settings, network)}, stages {stages}"),
        ("worked on", ", then ".join(worked)),
        ("device", ", ".join(str(used[name]) for name in ("device", "precision", "memory_format"))),
        ("ordinary training", lengths(epochs) if epochs else "none: the weights stay as they are given"),
        ("rounds", f"at most {settings.round.limit} a stage: {lengths(settings.round.epochs)}"),
        ("representations", ", ".join(fitting(settings.plugins.representations, session.plugins, data.shape[0]))),
        ("controls", ", ".join(settings.plugins.controls) or "none"),
        ("logged by", ", ".join(("metrics.jsonl", *settings.plugins.loggers))),
    ]
    return rows + [
        ("note", note) for note in (*few_decide(held, len(data.classes), settings.data.holdout), *data.notes)
    ]


def _weights(settings: Settings, network: StagedNetwork) -> str:
    """Where trained weights come from, and what is done to the images before they meet them."""
    if not settings.network.trained:
        return ""
    mean, std = (", ".join(f"{one:.3g}" for one in values.flatten()) for values in (network.mean, network.std))
    plain = not network.mean.any() and bool((network.std == 1).all())
    seen = "images in [0, 1]" if plain else f"images less {mean}, divided by {std}"
    training = settings.training
    head = f"{training.head_epochs} epochs of the head alone first; " if training.head_epochs else ""
    rates = f"{head}rate {training.rate:g}, in rounds {training.warm_rate:g}"
    rates = rates if training.epochs else "never trained itself"
    return f" with weights {settings.network.weights or 'of its own'} ({rates}; {seen})"


def _check_backbone(run: Run, plugins: Plugins, trust: bool = False) -> None:
    check_backbone(Settings.of_run(run.settings, run.path / "settings.json"), plugins, run.path, trust)


def open_run(
    path: str | Path, plugins: Plugins | None = None, device: str | None = None, trust: bool = False
) -> LearnedRun:
    """A finished run: its model, graph and figures. Raises DataError where there is no run, or it is not finished,
    damaged, of another version, or names code that you have not named before.

    Args:
        path: The run folder.
        plugins: Loaded plugins; default: the built-ins and what is installed.
        device: Where to run the model; default: the run's own device, if this machine has it.
        trust: Import a network that the run names as ``module:callable`` even if you never named it yourself.
    """
    return LearnedRun(Run.open(path), load_plugins() if plugins is None else plugins, device=device, trust=trust)


def _settings(data: Any, depth: int | None, settings: Settings | None) -> Settings:
    if isinstance(data, Settings):
        if settings is not None:
            raise SettingsError("settings were given twice", "Give them once, or give the data first.")
        settings, data = data, None
    values = (settings or Settings()).model_dump()
    if isinstance(data, Data):
        values["data"]["source"] = data.name
    elif data is not None:
        values["data"]["source"] = source_of(data)
    if depth is not None:
        values["depth"] = depth
    return Settings.model_validate(values)


def _overruled(settings: Settings, words: RoundNames) -> Settings:
    """Settings with more words on rounds; the newest count."""
    kept, undone = overrides.add_overrides(settings.round, *words)
    return settings.model_copy(update={"round": settings.round.model_copy(update={"keep": kept, "undo": undone})})


def _resumed_settings(
    run: Run, settings: Settings | None, given: RoundNames, origins: Mapping[str, str], progress: Progress
) -> tuple[Settings, Mapping[str, str]]:
    """The settings of a run that goes on, with the words on its rounds given now or found in its graph.json."""
    stored = Settings.of_run(run.settings, run.path / "settings.json")
    chosen = stored if settings is None else settings
    edited = decisions_by_hand(run)
    verbs = ("keep", "undo")
    if edited != ([], []):
        sentence = ", ".join(f"{verb} {name}" for verb, names in zip(verbs, edited, strict=True) for name in names)
        progress.say(f"{run.path / 'graph.json'} was changed by hand: {sentence}")
        by_hand = {f"round.{verb}": "graph.json" for verb, names in zip(verbs, edited, strict=True) if names}
        origins = {**origins, **by_hand}
    new = []
    for verb, names, argument in zip(verbs, edited, given, strict=True):
        before = getattr(stored.round, verb)
        new.append([*names, *argument, *(name for name in getattr(chosen.round, verb) if name not in before)])
    return _overruled(chosen, (new[0], new[1])), origins


def _changes(run: Run, chosen: Settings) -> dict[str, Any]:
    """Of the settings that may change in a finished run and ask for work, those that did, by dotted name."""
    stored, wanted = flatten(Settings.of_run(run.settings, run.path / "settings.json")), flatten(chosen)
    return {name: wanted[name] for name in (*OVERRULING, "data.target") if stored[name] != wanted[name]}


def _check_rounds(run: Run, chosen: Settings) -> None:
    """Of the new words on the rounds of a finished run, one names a round that it had, or SettingsError: others may be
    about rounds that come to be by that one, but by themselves they change nothing, and what rests on the run would
    be lost."""
    if not run.complete:
        return
    stored = Settings.of_run(run.settings, run.path / "settings.json").round
    before = overrides.parse_overrides(stored.keep, stored.undo)
    new = [one for one in overrides.parse_overrides(chosen.round.keep, chosen.round.undo) if one not in before]
    had = [entry["name"] for entry in run.summary().get("rounds", [])]
    places = {name.rpartition("/")[0] for name in had}  # what is said of other stages is checked with the network
    there = all(one.round.rpartition("/")[0] in places for one in new)
    if new and there and not any(one.round in had for one in new):
        raise SettingsError(f"{new[0]}: {run.path} had no such round", f"Its rounds: {', '.join(had)}.")


def _has_new_edits(run: Run, changes: Mapping[str, Any]) -> bool:
    """Whether the user edited the run's network since it was learned; edits rest on its rounds as they were decided."""
    history = EditHistory(run)
    history.repair()
    if history.log() and any(name in OVERRULING for name in changes):
        raise SettingsError(
            f"{run.path} has edits, which rest on its rounds as they were decided",
            f"Take them back first: graph undo {run.path} --count {len(history.log())}.",
        )
    return history.pending() is not None


def _check_same(run: Run, checked: Checked, progress: Progress) -> None:
    """A run goes on with the pictures it began with, which may lie elsewhere now; what else is another, and makes other
    sums, is said. Raises DataError where the pictures are others.
    """
    before, now = run.environment(), devices.environment(checked.device, checked.dtype, checked.network.narrow)
    source, moved = run.settings.get("data", {}).get("source"), checked.settings.data.source
    known = before.get("data") if isinstance(before, dict) else None
    if moved != source and not isinstance(known, dict):
        raise DataError(
            f"{run.path} does not say by what its pictures are known: it was begun by a version of before",
            f"Put them where they were: {source}.",
        )
    if isinstance(known, dict) and (moved != source or not run.complete):
        found = checked.data.digests()
        if found["labels"] != known.get("labels") or (moved != source and found != known):
            raise DataError(
                f"{moved}: these are not the pictures that the run began with ({source})",
                "Name the folder they were moved to, or start a new run.",
            )
        if found != known:
            progress.say("warning: pictures look otherwise than when the run began: they, or Pillow, were changed")
    if moved != source:
        run.move_data(moved)
        progress.say(f"the pictures lie in {moved} now, and are the same")
    if not run.complete and isinstance(before, dict):
        names = ("threads", "device", "precision", "memory_format", "processor", "torch")
        others = [f"{name} {before[name]} → {now[name]}" for name in names if before.get(name, now[name]) != now[name]]
        if others:
            progress.say(
                f"warning: this run began with others: {', '.join(others)}. It goes on, but sums are taken in another "
                "order: its weights will not be those of a run in one go."
            )


def _revise(run: Run, changes: Mapping[str, Any], origins: Mapping[str, str], edited: bool) -> bool:
    """Write the run's new settings and take away what no longer holds; whether adapted models were among that."""
    settings = copy.deepcopy(run.settings)  # as they are stored: finished steps name their digest
    for name, value in changes.items():
        group, _, field = name.partition(".")
        settings.setdefault(group, {})[field] = value
    sources = {name: origins.get(name, "argument") for name in changes}
    adapted = edited or any(name in OVERRULING for name in changes)
    gone = adapted and any((run.path / "adapted").glob("*.json"))
    run.revise(settings, {**run.origins, **sources}, adapted=adapted)
    return gone
