"""Any model of timm, by name, where timm is installed."""

from __future__ import annotations

import importlib
import inspect

from torch import nn

from conceptnet_ml.config.settings import NetworkSettings
from conceptnet_ml.errors import SettingsError, nearest


def build(argument: str, classes: int, image_size: tuple[int, int], settings: NetworkSettings) -> nn.Module:
    """The timm model of this name, as in ``timm:resnet18``, with ``classes`` outputs and fresh weights.

    With ``network.weights=pretrained`` timm downloads its weights; then, and with a file, their normalisation is used.

    Raises:
        SettingsError: timm is not installed, has no such model, or the weights are named otherwise.
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
    sized = "img_size" in inspect.signature(timm.model_entrypoint(argument)).parameters
    model = timm.create_model(
        argument, pretrained=pretrained, num_classes=classes, **({"img_size": image_size} if sized else {})
    )
    if weights:
        model.input_mean, model.input_std = model.default_cfg["mean"], model.default_cfg["std"]
    return model
