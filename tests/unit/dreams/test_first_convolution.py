"""The first convolution's slope is the usual one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from conceptnet_ml.dreams.activations import Layers
from conceptnet_ml.dreams.first_convolution import Stem, is_stem
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_plugins.backbones.small import SmallNet


@pytest.mark.parametrize("padding", [0, 1, 2, 3])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (5, 2), (7, 2), (3, 3), (5, 3), (11, 4), (16, 16)])
def test_slope(kernel: int, stride: int, padding: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 5, kernel, stride, padding).double().requires_grad_(False)
    assert is_stem(conv)
    images = torch.randn(2, 3, 96, 48, dtype=torch.float64, requires_grad=True)
    maps, again = conv(images), Stem(copy.deepcopy(conv))(images)
    slope = torch.randn_like(maps)
    assert torch.equal(maps, again)
    (usual,), (found,) = (torch.autograd.grad(one, images, slope) for one in (maps, again))
    assert (usual - found).abs().max() < 1e-12
    assert found.is_contiguous()


def test_sides_that_the_stride_does_not_divide_are_left_to_the_usual_slope() -> None:
    conv = nn.Conv2d(3, 5, 3, 2, 1).requires_grad_(False)
    images = torch.randn(2, 3, 9, 7, requires_grad=True)
    slopes = [torch.autograd.grad(one(images).square().sum(), images)[0] for one in (conv, Stem(conv))]
    assert torch.equal(*slopes)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(3, 4, 3),
        nn.Conv2d(8, 4, 3, 2),
        nn.Conv2d(4, 4, 3, 2, groups=2),
        nn.Conv2d(3, 4, 3, 2, dilation=2),
        nn.Conv2d(3, 4, 3, 2, padding=1, padding_mode="reflect"),
        nn.Conv2d(3, 4, (3, 5), 2),
        nn.Conv2d(3, 4, 3, (2, 1)),
        nn.Conv2d(3, 4, 1, 2),
    ],
)
def test_others_are_no_stems(conv: nn.Module) -> None:
    assert not is_stem(conv)


def test_a_layer_s_slope_is_the_network_s_and_its_type_the_image_s() -> None:
    torch.manual_seed(0)
    network = StagedNetwork(SmallNet(2, (64, 64)), (64, 64)).eval().requires_grad_(False)
    layers = Layers(network, ["block1"], fold=False)
    assert any(isinstance(module, Stem) for module in layers.modules())
    assert not any(isinstance(module, Stem) for module in network.modules())
    images = torch.rand(2, 3, 64, 64, requires_grad=True)
    usual = torch.autograd.grad(network.run_until(images, "block1").square().sum(), images)[0]
    found = torch.autograd.grad(layers(images)["block1"].square().sum(), images)[0]
    assert (usual - found).abs().max() < 1e-5 * usual.abs().max()
    with torch.autocast("cpu", torch.bfloat16):
        maps = layers(images)["block1"]
    half = torch.autograd.grad(maps.float().square().sum(), images)[0]
    assert maps.dtype is torch.bfloat16
    assert half.dtype is torch.float32
    assert torch.nn.functional.cosine_similarity(usual.flatten(), half.flatten(), dim=0) > 0.99
