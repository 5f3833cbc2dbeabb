"""Each family of torchvision and timm: one training and one round at 64 px, or the least that it takes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from planted import COARSE, PLUGINS, planted_data, settings
from torch.nn import functional

from conceptnet_ml import learn
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.network.build import build_network

TORCHVISION = {
    "resnet18": 64,
    "convnext_tiny": 64,
    "efficientnet_b0": 64,
    "efficientnet_v2_s": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "regnet_x_400mf": 64,
    "densenet121": 64,
    "vgg11_bn": 64,
    "shufflenet_v2_x0_5": 64,
    "squeezenet1_1": 64,
    "googlenet": 64,
    "inception_v3": 75,
    "mnasnet0_5": 64,
    "alexnet": 64,
    "swin_t": 64,
}
TIMM = {
    "resnet10t": 64,
    "resnetv2_18": 64,
    "test_convnext": 64,
    "test_efficientnet": 64,
    "mobilenetv3_small_050": 64,
    "regnetx_002": 64,
    "ghostnet_050": 64,
    "inception_next_atto": 64,
    "hrnet_w18_small": 64,
    "dpn48b": 64,
    "test_mambaout": 64,
    "pvt_v2_b0": 64,
    "test_coatnet": 64,
    "mobilevit_xxs": 64,
    "swin_tiny_patch4_window7_224": 64,
}
BACKBONES = [
    *(pytest.param(f"torchvision:{name}", side, id=name) for name, side in TORCHVISION.items()),
    *(pytest.param(f"timm:{name}", side, id=f"timm-{name}") for name, side in TIMM.items()),
]


def pictures(side: int) -> Data:
    def scaled(images: ImageSet) -> ImageSet:
        larger = functional.interpolate(images.images.float(), size=(side, side), mode="bilinear")
        return ImageSet(larger.round().to(torch.uint8), images.labels)

    small = planted_data("own", 48)
    return Data(
        "planted", small.classes, scaled(small.train), {"test": scaled(small.tests["test"].subset(torch.arange(16)))}
    )


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "side"), BACKBONES)
def test_a_family_is_trained_and_goes_through_a_round(backbone: str, side: int, tmp_path: Path, hasty: None) -> None:
    if backbone.startswith("timm:") and importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    network = {"backbone": backbone}
    stages = build_network(settings(network=network), ("a", "b"), (side, side), PLUGINS).stage_names
    chosen = settings(
        network=network,
        training={"batch": 16, "epochs": 1, "above_chance": False},  # of an epoch
        round={"keep": (f"{stages[-1]}/classes/1/pixels",), "limit": 1, "epochs": 1, "closures": 0},
        probe={"view_steps": 2, "dreamt": 0},
        concepts=COARSE | {"probe_images": 32, "merge_images": 32},
        plugins={"representations": ("pixels",)},
    )
    run = learn(pictures(side), settings=chosen, out=tmp_path / "run", plugins=PLUGINS)
    assert run.graph.check() == []
    (entry,) = run.summary()["rounds"]
    assert (entry["stage"], entry["decision"]) == (stages[-1], "kept")
    assert [family["stage"] for family in run.summary()["families"]] == [stages[-1]]
