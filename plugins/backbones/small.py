"""A small residual network, the default: quick on a CPU, and good enough to fall for every shortcut."""

from __future__ import annotations

import torch
from torch import nn

from conceptnet_ml.config.settings import NetworkSettings
from conceptnet_ml.errors import SettingsError

SMALL_SIDE = 40
"""Images up to this side (px) keep their resolution in the stem."""


class Block(nn.Module):
    """Residual block: conv 3×3, batch norm, ReLU, conv 3×3, batch norm, plus a 1×1 shortcut; then ReLU.

    Maps (B, channels, H, W) to (B, width, ⌈H/2⌉, ⌈W/2⌉). After He et al., arXiv 1512.03385.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Conv2d(channels, width, 1, stride=2)
        self.relu2 = nn.ReLU()

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        inner = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(maps)))))
        return self.relu2(inner + self.shortcut(maps))


class SmallNet(nn.Module):
    """A stem (5×5 stride 2; 3×3 stride 1 for sides up to 40 px), three residual blocks, mean pooling, one linear layer.

    Stages: ``stem`` and ``block1`` with 16·width channels, ``block2`` with 32·width, ``block3`` with 64·width.
    """

    def __init__(self, classes: int, image_size: tuple[int, int], width: int = 1) -> None:
        super().__init__()
        first, second, third = 16 * width, 32 * width, 64 * width
        kernel, stride = (3, 1) if min(image_size) <= SMALL_SIDE else (5, 2)
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, kernel, stride=stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(),
        )
        self.block1 = Block(first, first)
        self.block2 = Block(first, second)
        self.block3 = Block(second, third)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(third, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.block3(self.block2(self.block1(self.stem(images))))
        return self.head(self.pool(maps).flatten(1))


def build(argument: str, classes: int, image_size: tuple[int, int], settings: NetworkSettings) -> nn.Module:
    """The ``small`` backbone; the argument is the width, a whole number that multiplies the channels (1 if empty).

    Raises:
        SettingsError: The width is not a whole number from 1 to 64, or weights are asked for by name.
    """
    if argument and not (argument.isdecimal() and 1 <= int(argument) <= 64):
        raise SettingsError(
            f"network.backbone 'small:{argument}' is not a width", "Give a whole number from 1 to 64, as in small:2."
        )
    if settings.weights and not settings.weights_file:
        raise SettingsError(
            f"network.weights '{settings.weights}': the backbone 'small' has no weights by name",
            "Give a .safetensors file, or use a torchvision backbone.",
        )
    return SmallNet(classes, image_size, int(argument or 1))
