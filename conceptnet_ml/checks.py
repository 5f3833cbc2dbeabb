"""What is checked before a run, new or resumed: what can be refused is refused before anything is trained.

Settings check their own types (:mod:`conceptnet_ml.config.sources`); what a run folder rules out is checked by the two
paths of :mod:`conceptnet_ml.api`.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from conceptnet_ml.config import overrides
from conceptnet_ml.config.plugin_settings import with_plugin_defaults
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.values import trap_arguments
from conceptnet_ml.contract.step_kinds import CALLS, try_step
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.data.load import load_data, unlabelled, wrong_labels
from conceptnet_ml.data.sampling import check_class_names, split_holdout
from conceptnet_ml.data.traps import check_traps
from conceptnet_ml.dreams.recipe import recipe_of
from conceptnet_ml.errors import DataError, PluginError, SettingsError
from conceptnet_ml.evaluation.baselines import baseline_of, check_baselines
from conceptnet_ml.network.answers import TRIED, doubtful_answers
from conceptnet_ml.network.build import build_network, fetch_weights
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import to_float
from conceptnet_ml.plugins import BUILT_IN, Plugins, load_plugins
from conceptnet_ml.records import Record, Representation, Trap
from conceptnet_ml.runtime import devices
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.steps.target import fewest_pictures
from conceptnet_ml.storage.hashing import tensor_digest
from conceptnet_ml.swap.representation import box_cells, fitting, open_cells, place_gate

FAR = 0.02
"""Most that ``decode(encode(x))`` may differ from x, of values in [0, 1]: five grey levels."""


@dataclass(frozen=True)
class Session:
    """Plugins, progress display and stop signal of one call.

    Args:
        plugins: Loaded plugins; default: the built-ins and what is installed.
        progress: Where progress is shown; default: nowhere.
        stopper: Asked whether to stop; default: never.
    """

    plugins: Plugins = field(default_factory=load_plugins)
    progress: Progress = field(default_factory=lambda: Progress(quiet=True))
    stopper: Stopper = field(default_factory=Stopper)


@dataclass(frozen=True)
class Checked:
    """What a run starts from, checked as far as it can be without training.

    Args:
        settings: All settings.
        data: The images, on the device; a trap is laid already.
        network: A network as the settings build it, to look at.
        device, dtype: Where and in which autocast type networks run.
        new_world: What ``data.target`` holds, in words; empty where it is not set, or a finished run needs it no more.
        exchanged: What ``round.exchange`` names, in words; likewise.
    """

    settings: Settings
    data: Data
    network: StagedNetwork
    device: torch.device
    dtype: torch.dtype | None
    new_world: str = ""
    exchanged: str = ""


def check_plan(settings: Settings, session: Session, data: Data | None = None, finished: bool = False) -> Checked:
    """Check everything that a run with these settings needs, load its images and build its network. Raises
    SettingsError, DataError or PluginError where something is wrong; nothing was written or trained then.

    Args:
        data: The images, where they are not loaded as the settings say.
        finished: Whether the run is finished and nothing of it is to be done again: its pictures of the new world may
            be gone.
    """
    device, dtype = devices.prepare(settings.device, settings.training.precision, settings.training.memory_format)
    check_names(settings, session.plugins)
    if not finished:
        _check_target(settings)
    fetch_weights(settings, session.plugins)
    with session.progress.task("load images"):
        images = data if data is not None else load_data(settings, session.plugins)
    check_class_names(images.name, images.classes)
    if reason := wrong_labels(images):
        raise DataError(f"{images.name}: {reason}", "Labels are places in classes: 0 for the first.")
    images = images.to(device)
    check_baselines(settings.plugins.controls, session.plugins, images, settings.data.target)
    channels, height, width = images.shape
    network = build_network(settings, images.classes, (height, width), session.plugins, channels=channels)
    if not finished:
        _check_trainable(settings.network.backbone, network)
    new_world = exchanged = ""
    if not finished:
        two = images.train.take(torch.arange(2)).float() / 255
        named = settings.plugins.representations
        used = fitting(named, session.plugins, channels)
        if missing := ", ".join(name for name in named if name not in used):
            note = f"left out, as they take three channels: the representations {missing}"
            images = replace(images, notes=(*images.notes, note))
        tried = [session.plugins.get("representation", name) for name in used]
        for record in tried:
            _try_representation(record, two)
        for kind in CALLS:
            step = session.plugins.get(kind, getattr(settings.plugins, kind))
            if session.plugins.origin(step) != BUILT_IN:
                try_step(step)
        places = [one.name for one in tried if isinstance(one, Representation) and one.gate == "place"]
        overrides.check_overrides(settings, network.stage_names, places)
        if exchanged := _check_exchange(settings, (height, width), places):
            session.progress.say(f"exchanged first: {exchanged}")
        if count := len(prints := _check_target(settings, images.read_size, channels)):
            height, width = images.read_size
            new_world = f"{count} unlabelled pictures of {settings.data.target}, read at {width}×{height} px"
            doubts = [*_already_seen(images, prints), *_too_few(images, settings, count)]
            images = replace(images, notes=(*images.notes, *doubts))
            for doubt in doubts:
                session.progress.say(f"warning: {doubt}")
    notes = _about_stages(settings, network, finished)
    if not finished:
        few = images.train.take(torch.arange(min(TRIED, len(images.train))))
        notes += doubtful_answers(network, to_float(few, network.mean.device))
    for note in notes:
        session.progress.say(f"note: {note}")
    images = replace(images, notes=(*images.notes, *notes))
    return Checked(settings, images, network, device, dtype, new_world, exchanged)


def _check_exchange(settings: Settings, size: tuple[int, int], places: Sequence[str]) -> str:
    """What ``round.exchange`` names in images of this height and width, in words; empty where it names nothing. Raises
    SettingsError where that cannot be exchanged.

    Args:
        places: The representations whose gates are of places.
    """
    named, probe, (height, width) = settings.round.exchange, settings.probe, size
    if named is None:
        return ""
    if settings.round.limit == 0:
        raise SettingsError(f"round.exchange: {named} takes a round, and round.limit is 0", "Raise round.limit.")
    if not places:
        known = ", ".join(settings.plugins.representations)
        raise SettingsError(
            f"round.exchange: of the representations {known} none has gates of places",
            "Name one that has, as in --set plugins.representations=colour,pixels.",
        )
    gate, grow = place_gate(named, size, probe.cells), round(probe.grow * max(size))
    share, trained = (float(open_cells(gate, size, probe.threshold, around).mean()) for around in (0, grow))
    if trained in (0, 1):
        wrong = "is the whole image: nothing would be left" if trained else "opens not one pixel"
        mend = f"Name {'less' if trained else 'more'} of the image, which is {width}×{height} px."
        raise SettingsError(f"round.exchange: {named} {wrong}", mend)
    grid = (gate.shape[2], gate.shape[3])
    down, across = height / grid[0], width / grid[1]
    parts = []
    for name, boxes in overrides.parse_places(named).items():
        spans = []
        for rows, columns in (box_cells(box, grid) for box in boxes):
            ends = (across * columns.start, across * columns.stop, down * rows.start, down * rows.stop)
            spans.append("x {:g} to {:g}, y {:g} to {:g}".format(*ends))
        parts.append(f"{name} ({'; '.join(spans)} px)")
    wider = f" (in training {100 * trained:.0f} %, with {grow} px around them)" if grow else ""
    covers = f"{100 * share:.0f} % of an image of {width}×{height} px{wider}"
    return f"{', '.join(parts)}, in whole cells of {across:.3g}×{down:.3g} px: {covers}, by the user's word"


def _check_trainable(backbone: str, network: StagedNetwork) -> None:
    """Raises SettingsError where the network cannot be trained, or copied: rounds and controls train copies of it."""
    if network.training_error:
        raise SettingsError(
            f"network.backbone '{backbone}' cannot be trained: {network.training_error}",
            "Give a network that returns logits in training mode, too, and whose weights may change; what is to stay "
            "as it is, network.freeze names.",
        )
    try:
        copy.deepcopy(network)
    except Exception as error:  # a user's network may hold anything
        raise SettingsError(
            f"network.backbone '{backbone}' cannot be copied: {type(error).__name__}: {error}",
            "Keep locks, open files, generators and the like out of the module, or let it define __deepcopy__.",
        ) from error


def _about_stages(settings: Settings, network: StagedNetwork, finished: bool) -> list[str]:
    """Which modules are no stages, of a network that names its own, and that there are fewer stages than wanted."""
    notes, stages = [], network.stage_names
    if not finished and settings.network.stages is None and (left := network.unstaged()):
        why = "what is below them, be it only its size, is used above them, or maps grow there"
        notes.append(f"no stages are {', '.join(left)}: {why}")
    if settings.depth > len(stages):
        has = f"{settings.network.backbone} has {len(stages)} stages, all are worked through"
        notes.append(f"depth {settings.depth}: {has}: {', '.join(reversed(stages))}")
    return notes


def check_settings(settings: Settings, plugins: Plugins, also: Collection[str] = (), here: bool = True) -> None:
    """Refuse what can be refused before an image is read: names of plugins, the device, the precision, traps, a folder
    without pictures. Raises SettingsError, DataError or PluginError as :func:`check_plan` would.

    Args:
        also: As in :func:`with_own_settings`.
        here: Whether the device must be one of this machine.
    """
    if here:
        devices.choose_precision(settings.training.precision, devices.choose_device(settings.device))
    with_own_settings(settings, Session(plugins), also)
    _check_target(settings)


def _check_target(settings: Settings, size: tuple[int, int] | None = None, channels: int | None = None) -> list[str]:
    """There are pictures of the new world, with so many channels; at a ``size`` every one of them is read, and has a
    fingerprint."""
    if settings.data.target is None:
        return []
    try:
        pictures = unlabelled(settings.data.target, size or (64, 64), settings.data.megapixels, channels)
        return _fingerprints(pictures) if size else []
    except DataError as error:
        mend = (
            "Give a folder of pictures of the world the network is meant for, without labels; or none, to go without."
        )
        raise DataError(f"data.target: {error.message}", mend) from error


def _fingerprints(images: ImageSet) -> list[str]:
    return [tensor_digest(image) for part in torch.arange(len(images)).split(256) for image in images.take(part)]


def _already_seen(data: Data, prints: list[str]) -> list[str]:
    """A sentence for each set that has pictures of the new world, pixel for pixel. Sets that are streamed are left out:
    they would all be read once more. Training images count as they are trained on, with their traps."""
    sets = {"training images, no new world": data.train}
    sets |= {
        f"images of the test set '{name}', on which accuracy then says less": one for name, one in data.tests.items()
    }
    found = {what: set(_fingerprints(images)) for what, images in sets.items() if images.resident}
    counts = {what: sum(one in known for one in prints) for what, known in found.items()}
    return [
        f"data.target: {count} of its {len(prints)} pictures are {what}: give others"
        for what, count in counts.items()
        if count
    ]


def _too_few(data: Data, settings: Settings, count: int) -> list[str]:
    """A sentence where so many pictures of the new world cannot decide anything."""
    held = len(split_holdout(data.train, settings.data.holdout, 0)[1])
    least = fewest_pictures(held, len(data.classes))
    if least is not None and count >= least:
        return []
    takes = f"at least {least}, better a few hundred" if least else "more held-out images (data.holdout)"
    return [f"data.target: {count} pictures, beside {held} held-out images, are too few to decide: it takes {takes}"]


def _try_representation(record: Record, images: Tensor) -> None:
    """Take two images there and back: a mistake is not to be found after an hour of training. Raises PluginError."""
    assert isinstance(record, Representation)

    def must(holds: bool, what: str) -> None:
        if not holds:
            raise PluginError(f"representation '{record.name}': {what}", "See docs/plugins.md, Representation.")

    encode, decode = record.function("encode"), record.function("decode")
    encoding = encode(images)
    pair = isinstance(encoding, tuple)
    swapped = encoding[0] if pair else encoding
    found = tuple(swapped.shape) if isinstance(swapped, Tensor) else type(swapped).__name__
    wanted = "(B, C, H, W) with a place gate" if record.gate == "place" else "a tensor (B, C, …)"
    dims = isinstance(swapped, Tensor) and swapped.ndim > 1 and (record.gate != "place" or swapped.ndim == 4)
    must(dims and len(swapped) == len(images), f"encode must return {wanted}, first of a pair or alone; here {found}")
    if record.regional:
        encode(images, where=torch.ones_like(images[:, :1]))
    opened = swapped.detach().requires_grad_()  # gates are found by the slope through decode
    made = decode((opened, *encoding[1:]) if pair else opened)
    found = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
    must(found == tuple(images.shape), f"decode must return images {tuple(images.shape)}, not {found}")
    must(made.requires_grad, "decode is not differentiable")
    far = float((made.detach() - images).abs().max())
    must(far <= FAR, f"decode(encode(x)) must be x; in two of the images it is off by up to {far:.2g} of 1")
    if record.masks is not None:
        masks, one = record.function("masks")(encoding), tuple(swapped.shape[1:])
        found = tuple(masks.shape) if isinstance(masks, Tensor) else type(masks).__name__
        shared = zip(reversed(found[1:]), reversed(one), strict=False)
        fits = isinstance(found, tuple) and 1 < len(found) <= swapped.ndim and all(n in (1, all_) for n, all_ in shared)
        must(fits, f"masks must return (C, …), … broadcasting to one image's encoding {one}; here {found}")


def with_own_settings(settings: Settings, session: Session, also: Collection[str] = ()) -> tuple[Settings, Session]:
    """The settings with everything that the plugins in use declare, and plugins that have these values.

    Args:
        also: Names of records that are in use without being chosen by the settings.

    Raises:
        SettingsError, PluginError: As by :func:`check_names`; a setting of a plugin that is not loaded or not in use,
            or one that it does not have; a value that is not allowed.
    """
    plugins = session.plugins
    check_names(settings, plugins)
    used = {name for _, name in plugins.chosen(settings)}
    whole = with_plugin_defaults(settings, plugins.models, used.union(also))
    return whole, replace(session, plugins=plugins.with_settings(whole.plugin))


def check_names(settings: Settings, plugins: Plugins) -> None:
    """Every plugin the settings name is there and loads, there is something to train, traps suit what is known."""
    overrides.parse_places(settings.round.exchange)
    if settings.data.minimum == 0:
        raise SettingsError("data.minimum 0 leaves nothing to train on", "Give at least 1; 0 is for evaluating.")
    freeze, idle = settings.network.freeze, ""
    if settings.training.epochs == 0:
        idle = "training.epochs 0 leaves fresh weights as they are, and there is nothing in them to look for"
    elif freeze is not None:
        idle = f"network.freeze '{freeze}' leaves fresh weights as they are up to there"
    if idle and not settings.network.trained:
        raise SettingsError(
            idle,
            "Name trained weights (--set network.weights=FILE), or say that the backbone brings its own "
            "(--set network.pretrained=true).",
        )
    chosen, arguments = settings.plugins, trap_arguments(settings.data.trap)
    for setting in ("representations", "controls", "loggers"):
        wanted = getattr(chosen, setting)
        if twice := next((name for name in wanted if wanted.count(name) > 1), None):
            raise SettingsError(f"plugins.{setting} names '{twice}' twice", "Name each once.")
    for name in chosen.controls:
        baseline_of(name, plugins)
    for kind, name in plugins.chosen(settings):
        if kind in ("dataset", "backbone"):
            continue
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
    traps = [plugins.get("trap", name) for name in arguments]
    check_traps([trap for trap in traps if isinstance(trap, Trap)], arguments, settings.data)
