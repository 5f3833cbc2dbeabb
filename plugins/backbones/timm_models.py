"""Any model of timm, by name, where timm is installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from torch import nn

from conceptnet_ml.config.settings import NetworkSettings
from conceptnet_ml.errors import SettingsError, nearest


def build(argument: str, classes: int, image_size: tuple[int, int], settings: NetworkSettings) -> nn.Module:
    """The timm model of this name, as in ``timm:resnet18``, with ``classes`` outputs and fresh weights.

    With ``network.weights=pretrained`` timm downloads its weights; then, and with a file, their normalisation is used.

    Raises:
        SettingsError: timm is not installed, has no such model, or its weights are named otherwise or cannot be
            downloaded.
    """
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        raise SettingsError("network.backbone 'timm' needs the package timm", "Run: pip install timm") from error
    if not timm.is_model(argument):
        raise SettingsError(
            f"network.backbone: timm has no model '{argument}'", nearest(argument, timm.list_models(f"{argument[:4]}*"))
        )
    weights = settings.weights or ""
    pretrained = weights == "pretrained"
    if weights and not pretrained and not settings.weights_file:
        raise SettingsError(
            f"network.weights '{weights}': timm knows no such weights", "Give 'pretrained' or a .safetensors file."
        )
    try:
        model = _create(timm.create_model, argument, image_size, pretrained=pretrained, num_classes=classes)
    except Exception as error:  # of timm's, of the hub's, of the network's
        if not pretrained:
            raise
        raise SettingsError(
            f"network.weights: the weights of '{argument}' cannot be downloaded: {str(error).partition(chr(10))[0]}",
            "Leave network.weights out for fresh weights, or give a .safetensors file.",
        ) from error
    if weights:
        model.input_mean, model.input_std = model.default_cfg["mean"], model.default_cfg["std"]
    network: nn.Module = model
    return network


def _create(create: Callable[..., Any], name: str, image_size: tuple[int, int], **options: Any) -> Any:
    """The model, made for images of this size where it is one that can be: timm tells by taking ``img_size`` or not."""
    try:
        return create(name, img_size=image_size, **options)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        return create(name, **options)
