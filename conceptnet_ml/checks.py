"""What is checked before a run, new or resumed: what can be refused is refused before anything is trained.

Settings check their own types (:mod:`conceptnet_ml.config.sources`); what a run folder rules out is checked by the two
paths of :mod:`conceptnet_ml.api`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from conceptnet_ml.config import overrides
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.load import load_data, trap_names, trap_parts, unlabelled
from conceptnet_ml.data.traps import check_traps
from conceptnet_ml.dreams.recipe import recipe_of
from conceptnet_ml.errors import DataError, SettingsError
from conceptnet_ml.evaluation.baselines import check_baselines
from conceptnet_ml.network.build import build_network
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.plugins import Plugins, load_plugins
from conceptnet_ml.runtime import devices
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.signals import Stopper


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
    """

    settings: Settings
    data: Data
    network: StagedNetwork
    device: torch.device
    dtype: torch.dtype | None
    new_world: str = ""


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
    with session.progress.task("load images"):
        images = data if data is not None else load_data(settings, session.plugins)
    images = images.to(device)
    check_baselines(settings.plugins.controls, session.plugins, images)
    network = build_network(settings, images.classes, (images.shape[1], images.shape[2]), session.plugins)
    new_world = ""
    if not finished:
        overrides.check_overrides(settings, network.stage_names)
        if count := _check_target(settings, images.read_size):
            height, width = images.read_size
            new_world = f"{count} unlabelled pictures of {settings.data.target}, read at {width}×{height} px"
    return Checked(settings, images, network, device, dtype, new_world)


def check_depth(checked: Checked) -> None:
    """A new network has the stages it is to work through, else SettingsError; a run begun before goes on with all."""
    depth, stages = checked.settings.depth, checked.network.stage_names
    if depth > len(stages):
        has = f"{checked.settings.network.backbone} has {len(stages)} stages, {', '.join(stages)}"
        raise SettingsError(f"depth {depth}: {has}", "Give at most their number, or name more in network.stages.")


def check_settings(settings: Settings, plugins: Plugins) -> None:
    """Refuse what can be refused before an image is read: names of plugins, the device, the precision, traps, a folder
    without pictures. Raises SettingsError, DataError or PluginError as :func:`check_plan` would.
    """
    devices.choose_precision(settings.training.precision, devices.choose_device(settings.device))
    check_names(settings, plugins)
    _check_target(settings)


def _check_target(settings: Settings, size: tuple[int, int] | None = None) -> int:
    """How many pictures of the new world there are; at a ``size``, every one of them can be read."""
    if settings.data.target is None:
        return 0
    try:
        pictures = unlabelled(settings.data.target, size or (64, 64))
        for part in torch.arange(len(pictures) if size else 0).split(256):
            pictures.take(part)
        return len(pictures)
    except DataError as error:
        raise DataError(f"data.target: {error.message}", error.mend) from error


def check_names(settings: Settings, plugins: Plugins) -> None:
    """Every plugin the settings name is there and loads, there is something to train, traps suit what is known."""
    if settings.data.minimum == 0:
        raise SettingsError("data.minimum 0 leaves nothing to train on", "Give at least 1; 0 is for evaluating.")
    chosen = settings.plugins
    names = {
        "dataset": (),
        "trap": trap_names(settings.data.trap),
        "representation": chosen.representations,
        "discoverer": (chosen.discoverer,),
        "stop_rule": (chosen.stop_rule,),
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
    arguments = dict(trap_parts(settings.data.trap))
    check_traps([plugins.get("trap", name) for name in arguments], arguments, settings.data)
