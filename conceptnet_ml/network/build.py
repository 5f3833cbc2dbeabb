"""From the settings to a staged network: backbones, a user's own module, stored weights."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from conceptnet_ml.config import trust
from conceptnet_ml.config.settings import WEIGHT_FILES, Settings
from conceptnet_ml.errors import SettingsError, nearest
from conceptnet_ml.network.hook_route import PREFIX
from conceptnet_ml.network.modes import versioned
from conceptnet_ml.network.staged_network import StagedNetwork, plain, settle_lazy
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.runtime import seeding


def build_network(
    settings: Settings,
    classes: Sequence[str],
    image_size: tuple[int, int],
    plugins: Plugins,
    seed: int | None = None,
    channels: int = 3,
) -> StagedNetwork:
    """The network of ``settings.network`` with fresh weights, or those of ``settings.network.weights``.

    Args:
        settings: All settings of the run.
        classes: Names of the classes.
        image_size: Height and width of the images in px.
        plugins: Where the backbone is looked up by name; any other ``module:callable`` is a module of the user's.
        seed: Of the fresh weights; by default derived from ``settings.seed``. The global random state is left alone.
        channels: Of the images. Where they are not three, the first convolution of a backbone is built anew for them; a
            user's own network must take them.

    Batch norms of trained weights keep their statistics (docs/decisions/0079-head-first.md).

    Raises:
        SettingsError: No such backbone, stage or weights, or they do not fit the data.
    """
    name, _, argument = settings.network.backbone.partition(":")
    weights, file = settings.network.weights, settings.network.weights_file
    backbones = {record.name for record in plugins.all("backbone")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.seed_for(settings.seed, "network") if seed is None else seed)
        if argument and name not in backbones:
            if weights and not file:
                endings = ", ".join(WEIGHT_FILES)
                raise SettingsError(f"network.weights '{weights}' is no file of weights", f"Give one of {endings}.")
            model = load_users_module(settings.network.backbone, backbones, len(classes), "network.backbone ")
        else:
            build = plugins.get("backbone", name).function("build")
            model = build(argument, len(classes), image_size, settings.network)
            if channels != 3:
                _take_channels(model, channels, settings)
        settle_lazy(model, image_size)
    if file:
        other_classes = settings.training.epochs > 0
        load_weights(model, read_weights(file, "network.weights"), f"network.weights '{file}'", other_classes)
    chosen = settings.network
    network = StagedNetwork(model, image_size, chosen.stages, classes=classes, normalise=chosen.normalise)
    if chosen.freeze is not None:
        if chosen.freeze not in network.stage_names:
            raise SettingsError(
                f"network.freeze: the network has no stage '{chosen.freeze}'",
                nearest(chosen.freeze, network.stage_names),
            )
        network.freeze(chosen.freeze)
    if chosen.trained and chosen.keep_statistics:
        network.keep_statistics()
    return network.for_images(channels)


def build_untrained(
    settings: Settings,
    classes: Sequence[str],
    image_size: tuple[int, int],
    plugins: Plugins,
    seed: int,
    channels: int = 3,
) -> StagedNetwork:
    """The network of ``settings.network`` with fresh weights whatever it is to begin with: weights that the settings
    name are left out, those that a user's module brings are drawn again by each layer's own ``reset_parameters``.

    Arguments and errors as of :func:`build_network`. Cost: it is built twice.
    """
    bare = settings.model_copy(
        update={"network": settings.network.model_copy(update={"weights": None, "freeze": None, "pretrained": False})}
    )
    network, other = (build_network(bare, classes, image_size, plugins, one, channels) for one in (seed, seed + 1))
    if all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network.apply(_reset)
    return network


def _reset(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()


def fetch_weights(settings: Settings, plugins: Plugins) -> None:
    """Download weights that are given by a name, unless they are here, before anything else is done.

    Raises:
        SettingsError: There are none of this name, or they cannot be downloaded.
    """
    name, _, argument = settings.network.backbone.partition(":")
    backbones = {record.name for record in plugins.all("backbone")}
    if settings.network.weights is None or settings.network.weights_file or name not in backbones:
        return
    build = plugins.get("backbone", name).function("build")
    side = settings.data.image_size or 224
    with torch.random.fork_rng(devices=[]):
        build(argument, 2, (side, side) if isinstance(side, int) else side, settings.network)


def _take_channels(model: nn.Module, channels: int, settings: Settings) -> None:
    """Give a fresh backbone a first convolution for so many channels, drawn by the global random state; its
    normalisation was for three, so the images stay in [0, 1].

    Raises:
        SettingsError: It has trained weights, or its first layer is no convolution of three channels.
    """
    if settings.network.trained:
        raise SettingsError(
            f"network.weights: trained weights are for images of three channels, these have {channels}",
            "Leave network.weights out, or give your own network for them (network.backbone=module:callable).",
        )
    layers = [(path, part) for path, part in model.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    path, first = layers[0] if layers else ("", None)
    fits = isinstance(first, nn.Conv2d) and first.in_channels == 3 and first.groups == 1 and first.weight.requires_grad
    if not path or not fits or not isinstance(first, nn.Conv2d):
        raise SettingsError(
            f"network.backbone '{settings.network.backbone}' cannot be built for images of {channels} channels",
            "Choose small or a torchvision model, or a network of your own that takes them.",
        )
    parent, _, name = path.rpartition(".")
    fresh = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        first.dilation,  # type: ignore[arg-type]
        bias=first.bias is not None,
        padding_mode=first.padding_mode,
    )
    setattr(model.get_submodule(parent), name, fresh)
    for kept in ("input_mean", "input_std"):
        if hasattr(model, kept):
            setattr(model, kept, (float(kept == "input_std"),) * channels)


def name_backbone(settings: Settings, plugins: Plugins) -> None:
    """The user named this network himself: what it is may be imported now, and for run folders from now on."""
    trust.remember(settings.network.backbone, {record.name for record in plugins.all("backbone")})


def check_backbone(settings: Settings, plugins: Plugins, path: Path, trusted: bool = False) -> None:
    """Refuse a run folder at ``path`` that names a network as code which the user never named and that is not
    ``trusted`` now. Raises DataError.
    """
    if trusted:
        name_backbone(settings, plugins)
    trust.check_trusted(settings.network.backbone, {record.name for record in plugins.all("backbone")}, path)


def load_users_module(
    target: str, backbones: Iterable[str] = (), classes: int | None = None, where: str = ""
) -> nn.Module:
    """The network that ``module:callable`` names; the working directory is searched as well, as by ``python -m``.

    Args:
        target: The callable returns an ``nn.Module``, or is one; then a copy of it is taken.
        backbones: Names of the known backbones, for a suggestion where there is no such module.
        classes: Passed as ``num_classes``, or as the only argument, where the callable takes one; None passes nothing.
        where: Begins the messages: the setting it comes from, with a space.

    Raises:
        SettingsError: There is no such module or name, it fails, or it gives something else.
    """
    module_name, _, attribute = target.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        importlib.invalidate_caches()
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
            raise SettingsError(
                f"{where}'{target}': there is neither a backbone nor a module named '{module_name}'",
                nearest(module_name, backbones),
            ) from error
        raise SettingsError(f"{where}'{target}' cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(here)
    build = getattr(module, attribute, None)
    if build is None:
        known = [name for name in vars(module) if not name.startswith("_")]
        raise SettingsError(f"{where}'{target}': the module has no '{attribute}'", nearest(attribute, known))
    if isinstance(build, nn.Module):
        return copy.deepcopy(plain(build))
    try:
        model = build() if classes is None else _call(build, classes)
    except (Exception, SystemExit) as error:
        argument = "" if classes is None else ", or the number of classes alone"
        raise SettingsError(
            f"{where}'{target}' failed: {type(error).__name__}: {error}",
            f"Give a callable that takes no arguments{argument}.",
        ) from error
    if not isinstance(model, nn.Module):
        raise SettingsError(f"{where}'{target}' returned {type(model).__name__}", "It must return a torch.nn.Module.")
    return plain(model)


def read_weights(path: str | Path, where: str) -> dict[str, Tensor]:
    """The state dict in a .safetensors file, or in a .pt or .pth of tensors, also if it lies below a usual key there.

    Args:
        where: The setting or option it comes from, for messages.

    Raises:
        SettingsError: There is no such file, it cannot be read, or it holds no state dict.
    """
    found: Any
    try:
        if Path(path).suffix == ".safetensors":
            from safetensors.torch import load_file

            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SettingsError(f"{where}: '{path}' does not exist", "Give a file with a state dict.") from None
    except Exception as error:  # every reader has its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):
            reason = "it is damaged, or holds more than tensors, which may run code when it is read"
        raise SettingsError(
            f"{where}: '{path}' cannot be read: {reason}",
            "Give a .safetensors file, or a .pt of tensors alone: torch.save(network.state_dict(), FILE).",
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise SettingsError(f"{where}: '{path}' holds no state dict", "Save model.state_dict().")
    return {str(key).removeprefix("module."): value for key, value in found.items()}


def load_weights(model: nn.Module, state: Mapping[str, Tensor], where: str, other_classes: bool = False) -> None:
    """Load the model's own state dict, or that of a staged network around it, with its normalisation.

    Args:
        model: Before it is staged.
        state: As :func:`read_weights` returns it.
        where: The setting or option it comes from, for messages.
        other_classes: Whether weights of other classes will do, whose last layer is left out: the model's stays fresh.

    Raises:
        SettingsError: The weights do not fit.
    """
    if {"mean", "std"} <= set(state) and any(key.startswith(PREFIX) for key in state):
        for name in ("mean", "std"):
            object.__setattr__(model, f"input_{name}", tuple(state[name].flatten().tolist()))
        state = {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}
    if other_classes:
        state = {**state, **_fresh_head(model, state)}
    try:
        try:
            model.load_state_dict(state)
        except ValueError:  # of a module that asks for its version, which a file of tensors has not
            model.load_state_dict(versioned(model, state))
    except RuntimeError as error:
        raise SettingsError(
            f"{where}: the weights do not fit the network: {_misfit(model, state) or str(error)}",
            "Give weights of the same network (network.backbone), with as many classes.",
        ) from error


def _misfit(model: nn.Module, state: Mapping[str, Tensor]) -> str:
    """What is missing in a state dict, what the network has not, and what is of another shape there, three of each."""
    own = model.state_dict()
    shapes = [
        f"{name} {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    kinds = {
        "missing": [name for name in own if name not in state],
        "not of this network": [name for name in state if name not in own],
        "of another shape": shapes,
    }
    return "; ".join(
        f"{len(names)} {kind}: {', '.join(names[:3])}{', …' * (len(names) > 3)}"
        for kind, names in kinds.items()
        if names
    )


def _fresh_head(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's own last layer, where that is all by which the weights differ from it, and only in their classes."""
    own = model.state_dict()
    differing = {name for name in own.keys() & state.keys() if own[name].shape != state[name].shape}
    layers = {name.rpartition(".")[0] for name in differing}
    heads = [path for path, part in model.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1:]
    inner = any(own[name].shape[1:] != state[name].shape[1:] for name in differing)
    return {} if inner or [*layers] != heads else {name: own[name] for name in differing}


def _call(build: Callable[..., Any], classes: int) -> Any:
    """Call with the number of classes, in the way that the callable takes it."""
    try:
        parameters = inspect.signature(build).parameters.values()
    except (TypeError, ValueError):  # built in C
        return build(classes)
    if any(parameter.name == "num_classes" for parameter in parameters):
        return build(num_classes=classes)
    if any(parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) for parameter in parameters):
        return build(classes)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return build(num_classes=classes)
    return build()
