"""From the settings to a staged network: backbones, a user's own module, stored weights."""

from __future__ import annotations

import copy
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.errors import SettingsError, nearest
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.runtime import seeding


def build_network(
    settings: Settings,
    classes: Sequence[str],
    image_size: tuple[int, int],
    plugins: Plugins,
    seed: int | None = None,
) -> StagedNetwork:
    """The network of ``settings.network`` with fresh weights, or those of ``settings.network.weights``.

    Args:
        settings: All settings of the run.
        classes: Names of the classes.
        image_size: Height and width of the images in px.
        plugins: Where the backbone is looked up by name; what is no name there is taken for ``module:callable``, called
            with ``num_classes=`` or the number of classes where it takes one.
        seed: Of the fresh weights; by default derived from ``settings.seed``. The global random state is left alone.

    Raises:
        SettingsError: No such backbone, stage or weights, or they do not fit the data.
    """
    name, _, argument = settings.network.backbone.partition(":")
    weights = settings.network.weights
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.seed_for(settings.seed, "network") if seed is None else seed)
        if argument and name not in {record.name for record in plugins.all("backbone")}:
            if weights and not weights.endswith(".safetensors"):
                raise SettingsError(f"network.weights '{weights}' is no .safetensors file", "Give a .safetensors file.")
            model = _users_model(settings.network.backbone, len(classes), plugins)
        else:
            build = plugins.get("backbone", name).function("build")
            model = build(argument, len(classes), image_size, settings.network)
    network = StagedNetwork(model, image_size, settings.network.stages, classes=classes)
    if weights and weights.endswith(".safetensors"):
        _load_weights(network, Path(weights))
    return network


def save_alone(network: StagedNetwork, path: Path) -> None:
    """Save a network as a ``.pt2`` program that needs torch alone: ``torch.export.load(path).module()(images)``.

    It takes any number of float images in [0, 1] of the network's size, on the CPU, and answers as in evaluation mode.
    """
    alone = copy.deepcopy(network).cpu().eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    example = torch.rand(2, network.channels, *network.image_size).contiguous(memory_format=torch.channels_last)
    dynamic = ({0: torch.export.Dim("batch", min=1)},)
    with torch.no_grad():
        program = torch.export.export(alone, (example,), dynamic_shapes=dynamic)
    unfinished = path.with_name(f".unfinished-{path.stem}.pt2")  # torch wants this ending and says so
    torch.export.save(program, unfinished)
    os.replace(unfinished, path)


def _users_model(target: str, classes: int, plugins: Plugins) -> nn.Module:
    module_name, _, attribute = target.partition(":")
    known = nearest(module_name, (record.name for record in plugins.all("backbone")))
    try:
        with _working_directory_importable():
            found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise SettingsError(f"network.backbone '{target}' cannot be imported: {error}") from error
        message = f"network.backbone '{target}': there is neither a backbone nor a module named '{module_name}'"
        raise SettingsError(message, known) from error
    except Exception as error:
        raise SettingsError(f"network.backbone '{target}' cannot be imported: {error}") from error
    build = getattr(found, attribute, None)
    if build is None:
        raise SettingsError(
            f"network.backbone: module '{module_name}' has no '{attribute}'", nearest(attribute, vars(found))
        )
    if isinstance(build, nn.Module):
        return copy.deepcopy(build)
    try:
        model = _call(build, classes)
    except Exception as error:
        raise SettingsError(f"network.backbone '{target}' failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise SettingsError(
            f"network.backbone '{target}' returned {type(model).__name__}", "It must return a torch.nn.Module."
        )
    return model


def _call(build: Callable[..., Any], classes: int) -> Any:
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


@contextmanager
def _working_directory_importable() -> Iterator[None]:
    """As if by ``python -m``: an installed command does not look for modules where it is called."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _load_weights(network: StagedNetwork, path: Path) -> None:
    """Load a state dict, of the staged network or of the classifier inside it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except FileNotFoundError as error:
        raise SettingsError(
            f"network.weights: '{path}' does not exist", "Give the path of a .safetensors file."
        ) from error
    except (SafetensorError, OSError) as error:
        raise SettingsError(f"network.weights: '{path}' cannot be read: {error}") from error
    target: nn.Module = network if any(name.startswith("model.") for name in state) else network.model
    try:
        target.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise SettingsError(
            f"network.weights: '{path}' does not fit the backbone: {reason}",
            "Use weights of the same backbone with as many classes.",
        ) from error
