"""The built-in backbones: their stages, their last layers, and what they refuse."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn

from conceptnet_ml.config.settings import NetworkSettings, Settings
from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.build import build_network
from conceptnet_ml.network.fx_route import FxRoute
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.plugins import Plugins, load_plugins
from conceptnet_plugins.backbones import torchvision_models


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return load_plugins(use_entry_points=False)


def build(plugins: Plugins, backbone: str, side: int = 64, classes: int = 2, **more: object) -> StagedNetwork:
    settings = Settings(network=NetworkSettings(backbone=backbone, **more))  # type: ignore[arg-type]
    return build_network(settings, [str(number) for number in range(classes)], (side, side), plugins)


@pytest.mark.parametrize(("side", "sizes"), [(64, (32, 16, 8, 4)), (32, (32, 16, 8, 4)), (40, (40, 20, 10, 5))])
def test_small(side: int, sizes: tuple[int, ...], plugins: Plugins) -> None:
    network = build(plugins, "small", side)
    assert network.stage_names == ("stem", "block1", "block2", "block3")
    assert [stage.units for stage in network.stages] == [16, 16, 32, 64]
    assert [stage.size for stage in network.stages] == [(size, size) for size in sizes]


def test_small_is_wider_with_an_argument_and_takes_oblong_images(plugins: Plugins) -> None:
    assert [stage.units for stage in build(plugins, "small:2").stages] == [32, 32, 64, 128]
    settings = Settings()
    network = build_network(settings, ("a", "b"), (64, 48), plugins)
    assert network.stages[-1].size == (4, 3)
    for wrong in ("small:x", "small:0", "small:1.5"):
        with pytest.raises(SettingsError, match="not a width"):
            build(plugins, wrong)
    with pytest.raises(SettingsError, match="no weights by name"):
        build(plugins, "small", weights="DEFAULT")


def test_published_networks_are_as_they_are_described(plugins: Plugins) -> None:
    settings = Settings(network=NetworkSettings(backbone="published:lenet"))
    lenet = build_network(settings, ("a", "b"), (64, 32), plugins)
    assert [(stage.name, stage.units, stage.size) for stage in lenet.stages] == [
        ("conv1", 32, (64, 32)),
        ("conv2", 56, (28, 12)),
    ]
    layers = [part for part in lenet.modules() if isinstance(part, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(2016, 512), (512, 256), (256, 2)]
    mlp = build(plugins, "published:mlp", 28, 10)
    assert [(stage.name, stage.units, stage.size) for stage in mlp.stages] == [("pixels", 3, (28, 28))]
    layers = [part for part in mlp.modules() if isinstance(part, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [
        (2352, 100),
        (100, 100),
        (100, 100),
        (100, 10),
    ]
    images = torch.rand(2, 3, 28, 28)
    torch.testing.assert_close(mlp.run_until(images, "pixels"), (images - mlp.mean) / mlp.std)
    trained = {name for name, parameter in mlp.model.named_parameters() if parameter.requires_grad}
    assert not any("pixels" in name for name in trained)
    for wrong in ("published", "published:lenet5"):
        with pytest.raises(SettingsError, match=r"network\.backbone") as caught:
            build(plugins, wrong)
        assert "lenet, mlp" in caught.value.mend
    with pytest.raises(SettingsError, match="no weights by name"):
        build(plugins, "published:mlp", weights="DEFAULT")
    with pytest.raises(SettingsError, match="cannot take images of 8×8 px"):
        build(plugins, "published:lenet", 8)


FAMILIES = {
    "resnet18": (("relu", 64, 32), ("layer1", 64, 16), ("layer2", 128, 8), ("layer3", 256, 4), ("layer4", 512, 2)),
    "vgg11_bn": (
        ("features.2", 64, 64),
        ("features.6", 128, 32),
        ("features.13", 256, 16),
        ("features.20", 512, 8),
        ("features.27", 512, 4),
    ),
    "mobilenet_v2": (
        ("features.1", 16, 32),
        ("features.3", 24, 16),
        ("features.6", 32, 8),
        ("features.13", 96, 4),
        ("features.18", 1280, 2),
    ),
    "efficientnet_b0": (
        ("features.1", 16, 32),
        ("features.2", 24, 16),
        ("features.3", 40, 8),
        ("features.5", 112, 4),
        ("features.8", 1280, 2),
    ),
    "convnext_tiny": (("features.1", 96, 16), ("features.3", 192, 8), ("features.5", 384, 4), ("features.7", 768, 2)),
}


@pytest.mark.parametrize("name", list(FAMILIES))
def test_torchvision_families(name: str, plugins: Plugins) -> None:
    network = build(plugins, f"torchvision:{name}", classes=3)
    assert isinstance(network._route, FxRoute)
    assert [(stage.name, stage.units, stage.size[0]) for stage in network.stages] == list(FAMILIES[name])
    images = torch.rand(2, 3, 64, 64)
    for training in (False, True):
        network.train(training)
        torch.manual_seed(3)  # dropout and stochastic depth
        with torch.no_grad():
            expected = network(images)
            torch.manual_seed(3)
            maps, logits = network.run_all(images)
        assert expected.shape == (2, 3)
        torch.testing.assert_close(logits, expected)
        assert tuple(maps) == network.stage_names


STAGES = {
    "mobilenet_v3_small": ("features.0", "features.1", "features.3", "features.8", "features.12"),
    "regnet_x_400mf": ("stem", *(f"trunk_output.block{number}" for number in (1, 2, 3, 4))),
    "shufflenet_v2_x0_5": ("conv1", "stage2", "stage3", "conv5"),
    "squeezenet1_1": ("features.1", "features.4", "features.7", "features.12"),
    "googlenet": ("conv1", "conv3", "inception3b", "inception4e", "inception5b"),
    "mnasnet0_5": ("layers.7", "layers.8", "layers.9", "layers.11", "layers.16"),
    "densenet121": ("features.relu0", *(f"features.denseblock{n}" for n in (1, 2, 3)), "features.norm5.relu"),
}


@pytest.mark.parametrize("name", list(STAGES))
def test_stages_of_other_torchvision_families(name: str, plugins: Plugins) -> None:
    assert build(plugins, f"torchvision:{name}").stage_names == STAGES[name]


def test_the_least_size_of_inception_is_said(plugins: Plugins) -> None:
    with pytest.raises(SettingsError, match="cannot take images of 64×64 px") as caught:
        build(plugins, "torchvision:inception_v3")
    assert "data.image_size" in caught.value.mend


TIMM = {
    "resnet10t": ("act1", "layer1", "layer2", "layer3", "layer4"),
    "resnetv2_18": ("stem.conv", "stages.1", "stages.2", "norm"),
    "test_convnext": ("stem", "stages.1", "stages.2", "norm_pre"),
    "regnetx_002": ("stem", "s1", "s2", "s3", "final_conv"),
    "ghostnet_050": ("act1", "blocks.2", "blocks.4", "blocks.6", "blocks.9"),
    "test_coatnet": ("stem", "stages.0", "stages.1", "stages.2", "norm"),  # made for images of 160 px, unless told
    "test_mambaout": ("stem.act", "stem.norm2", "stages.1", "stages.2", "stages.3"),  # the channels last
    "pvt_v2_b0": ("patch_embed", "stages.1", "stages.2", "stages.3"),
}


@pytest.mark.parametrize("name", list(TIMM))
def test_stages_of_timm_families(name: str, plugins: Plugins) -> None:
    pytest.importorskip("timm")
    network = build(plugins, f"timm:{name}").eval()
    assert network.stage_names == TIMM[name]
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        logits = network(images)
        for stage, maps in network.run_all(images)[0].items():
            found = network.stage(stage)
            assert maps.shape == (2, found.units, *found.size)
            torch.testing.assert_close(network.run_from(maps, stage), logits)


def test_transformers_of_timm_have_no_stages(plugins: Plugins) -> None:
    pytest.importorskip("timm")
    with pytest.raises(SettingsError, match="no stages past its first layers: 'patch_embed'"):
        build(plugins, "timm:test_vit")


@pytest.mark.parametrize("name", ["googlenet", "squeezenet1_1", "shufflenet_v2_x0_5", "densenet121"])
@pytest.mark.slow
def test_other_families(name: str, plugins: Plugins) -> None:
    network = build(plugins, f"torchvision:{name}", classes=3)
    images = torch.rand(2, 3, 64, 64)
    network.eval()
    for stage in network.stages:
        torch.testing.assert_close(network.run_from(network.run_until(images, stage.name), stage.name), network(images))


def test_unknown_names(plugins: Plugins) -> None:
    with pytest.raises(SettingsError, match="no classification model 'resnet81'") as caught:
        build(plugins, "torchvision:resnet81")
    assert "Did you mean 'resnet18'" in caught.value.mend
    with pytest.raises(SettingsError, match="needs a model name"):
        build(plugins, "torchvision")
    with pytest.raises(SettingsError, match="no classification model 'fcn_resnet50'"):
        build(plugins, "torchvision:fcn_resnet50")
    with pytest.raises(SettingsError, match="no weights named 'IMAGENET1K_V9'") as caught:
        build(plugins, "torchvision:resnet18", weights="IMAGENET1K_V9")
    assert "IMAGENET1K_V1" in caught.value.mend


def test_too_small_images(plugins: Plugins) -> None:
    with pytest.raises(SettingsError, match="cannot take images of 16×16 px"):
        build(plugins, "torchvision:alexnet", side=16)


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "squeezenet1_1", "mobilenet_v3_small", "googlenet"])
def test_last_layer_is_replaced_beside_loaded_weights(name: str) -> None:
    import torchvision

    options = {"init_weights": False} if name == "googlenet" else {}
    with torch.device("meta"):  # no memory and no time for weights that nobody looks at
        model = torchvision.models.get_model(name, weights=None, **options)
        torchvision_models._drop_side_outputs(model)
        torchvision_models._replace_head(model, name, 5)
        kinds = [part for part in model.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
        assert getattr(kinds[-1], "out_features", None) == 5 or getattr(kinds[-1], "out_channels", None) == 5
        assert model.train()(torch.empty(2, 3, 224, 224)).shape == (2, 5)


def test_timm(plugins: Plugins) -> None:
    if importlib.util.find_spec("timm") is None:
        with pytest.raises(SettingsError, match="needs the package timm"):
            build(plugins, "timm:resnet18")
        return
    network = build(plugins, "timm:resnet18", classes=3)
    assert network.stage_names[-1] == "layer4"
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 3)
    with pytest.raises(SettingsError, match="no model 'resnet81'"):
        build(plugins, "timm:resnet81")
