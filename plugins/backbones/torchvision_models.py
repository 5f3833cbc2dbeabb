"""Any classification model of torchvision, by name."""

from __future__ import annotations

import inspect
from typing import Any

import torchvision
from torch import nn

from conceptnet_ml.config.settings import NetworkSettings
from conceptnet_ml.errors import SettingsError, nearest


def build(argument: str, classes: int, image_size: tuple[int, int], settings: NetworkSettings) -> nn.Module:
    """The model of this name, as in ``torchvision:resnet18``, with ``classes`` outputs.

    Weights given by name (``DEFAULT``, ``IMAGENET1K_V1``) are downloaded by torchvision, once; their last layer is
    replaced by a fresh one and their normalisation is used. Without them the weights are fresh and nothing is loaded.

    Raises:
        SettingsError: torchvision has no such model or weights, they cannot be downloaded, or the model has no last
            linear layer that could be replaced.
    """
    names = torchvision.models.list_models(module=torchvision.models)
    if argument not in names:
        what = f"torchvision has no classification model '{argument}'" if argument else "torchvision needs a model name"
        raise SettingsError(f"network.backbone: {what}", nearest(argument or "resnet18", names))
    by_name = settings.weights is not None and settings.weights_file is None
    options = _options(argument, image_size)
    if not by_name:
        fresh = torchvision.models.get_model(argument, weights=None, num_classes=classes, **options)
        fresh.class_names = _class_names(argument, classes)
        return fresh
    weights = _weights(argument, str(settings.weights))
    try:
        model = torchvision.models.get_model(argument, weights=weights)
    except OSError as error:  # no network, a full disk
        raise SettingsError(
            f"network.weights: '{weights}' of '{argument}' cannot be downloaded: {error}",
            "Leave network.weights out for fresh weights, or give a .safetensors file.",
        ) from error
    _drop_side_outputs(model)
    _replace_head(model, argument, classes)
    preset = weights.transforms()
    model.input_mean, model.input_std = tuple(preset.mean), tuple(preset.std)
    return model


def _class_names(name: str, classes: int) -> tuple[str, ...]:
    """The names of ImageNet's classes, for weights of torchvision's own that the network may be given."""
    each = (weights.meta.get("categories", ()) for weights in torchvision.models.get_model_weights(name))
    return next((tuple(names) for names in each if len(names) == classes), ())


def _options(name: str, image_size: tuple[int, int]) -> dict[str, Any]:
    """Arguments some families need: no side outputs, quiet initialisation, the size of the images."""
    signature = inspect.signature(torchvision.models.get_model_builder(name))
    module = inspect.getmodule(torchvision.models.get_model_builder(name))
    options: dict[str, Any] = {}
    if module is not None and module.__name__.rpartition(".")[2] in ("googlenet", "inception"):
        options.update(aux_logits=False, init_weights=True)
    if "vision_transformer" in getattr(module, "__name__", "") and image_size[0] == image_size[1]:
        options["image_size"] = image_size[0]
    return options if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()) else {}


def _weights(name: str, wanted: str) -> Any:
    known = torchvision.models.get_model_weights(name)
    short = wanted.rpartition(".")[2]
    if short not in known.__members__:
        raise SettingsError(
            f"network.weights: '{name}' has no weights named '{wanted}'", nearest(short, known.__members__)
        )
    return known[short]


def _drop_side_outputs(model: nn.Module) -> None:
    if getattr(model, "aux_logits", False):
        model.aux_logits = False  # type: ignore[assignment]
        for name in ("aux1", "aux2", "AuxLogits"):
            if hasattr(model, name):
                setattr(model, name, None)


def _replace_head(model: nn.Module, name: str, classes: int) -> None:
    """A fresh last layer: the last linear layer, or the last convolution where the classifier is one."""
    layers = [(path, part) for path, part in model.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    path, last = layers[-1]
    outputs = last.out_features if isinstance(last, nn.Linear) else last.out_channels
    if outputs != 1000:
        raise SettingsError(f"network.backbone: the last layer of '{name}' was not found", "Choose another model.")
    fresh: nn.Module
    if isinstance(last, nn.Linear):
        fresh = nn.Linear(last.in_features, classes, bias=last.bias is not None)
    else:
        fresh = nn.Conv2d(last.in_channels, classes, kernel_size=1, bias=last.bias is not None)
    parent, _, attribute = path.rpartition(".")
    setattr(model.get_submodule(parent), attribute, fresh)
