"""Networks: the small default, those of published protocols, torchvision's, and timm's where timm is installed."""

from __future__ import annotations

from conceptnet_ml.hookspecs import hookimpl
from conceptnet_ml.records import API, Backbone


@hookimpl
def conceptnet_backbones() -> list[Backbone]:
    return [
        Backbone(
            name="small",
            api=API,
            summary="residual network of three blocks; small:2 has twice the channels",
            build="conceptnet_plugins.backbones.small:build",
        ),
        Backbone(
            name="published",
            api=API,
            summary="small networks of published protocols: published:lenet of D-BAT, published:mlp of LfF",
            build="conceptnet_plugins.backbones.published:build",
        ),
        Backbone(
            name="torchvision",
            api=API,
            summary="any classification model of torchvision, as in torchvision:resnet18",
            build="conceptnet_plugins.backbones.torchvision_models:build",
        ),
        Backbone(
            name="timm",
            api=API,
            summary="any model of timm, where timm is installed, as in timm:resnet18",
            build="conceptnet_plugins.backbones.timm_models:build",
        ),
    ]
