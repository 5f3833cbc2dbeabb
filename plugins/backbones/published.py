"""The small networks of published protocols: ``published:lenet`` and ``published:mlp``."""

from __future__ import annotations

import math

import torch
from torch import nn

from conceptnet_ml.config.settings import NetworkSettings
from conceptnet_ml.errors import SettingsError, nearest


class LeNet(nn.Module):
    """Convolution 3→32 (5×5, padded), mean pool 2, convolution 32→56 (5×5), mean pool 3, then layers of 512 and 256.

    The network of D-BAT's dominoes (Pagliardini et al., arXiv 2202.04414), where 64 × 32 px give 2,016 numbers to the
    first layer. ReLU after every layer but the last. Stages: ``conv1`` with 32 units, ``conv2`` with 56.
    """

    def __init__(self, classes: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(3, 32, 5, padding=2), nn.ReLU())
        self.pool1 = nn.AvgPool2d(2)
        self.conv2 = nn.Sequential(nn.Conv2d(32, 56, 5), nn.ReLU())
        self.pool2 = nn.AvgPool2d(3)
        cells = math.prod(max(1, (side // 2 - 4) // 3) for side in image_size)
        self.head = nn.Sequential(
            nn.Linear(56 * cells, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, classes)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.conv2(self.pool1(self.conv1(images)))
        return self.head(self.pool2(maps).flatten(1))


class MLP(nn.Module):
    """Three layers of 100 with ReLU, and a last one, on all pixels: the network of *Learning from Failure* for digits.

    Such a network has no places, which a stage needs. So the pixels themselves are its one stage, ``pixels``, of three
    units: a 1×1 convolution that is the identity and is not trained stands before the rest and changes nothing. The
    learner finds what a class hangs on among red, green and blue there.
    """

    def __init__(self, classes: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.pixels = nn.Conv2d(3, 3, 1, bias=False)
        nn.init.dirac_(self.pixels.weight)
        self.pixels.requires_grad_(False)
        layers: list[nn.Module] = []
        for inputs in (3 * math.prod(image_size), 100, 100):
            layers += [nn.Linear(inputs, 100), nn.ReLU()]
        self.head = nn.Sequential(*layers, nn.Linear(100, classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.pixels(images).flatten(1))


NETWORKS: dict[str, type[LeNet | MLP]] = {"lenet": LeNet, "mlp": MLP}


def build(argument: str, classes: int, image_size: tuple[int, int], settings: NetworkSettings) -> nn.Module:
    """The network of this name, with fresh weights.

    Raises:
        SettingsError: There is none of this name, or weights are asked for by name.
    """
    if argument not in NETWORKS:
        what = f"'published:{argument}' is no published network" if argument else "'published' needs a name"
        raise SettingsError(f"network.backbone {what}", nearest(argument, NETWORKS))
    if settings.weights and not settings.weights_file:
        raise SettingsError(
            f"network.weights '{settings.weights}': the backbone 'published' has no weights by name",
            "Give a .safetensors file, or use a torchvision backbone.",
        )
    return NETWORKS[argument](classes, image_size)
