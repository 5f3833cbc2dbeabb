"""A backbone without batch norms: residual blocks with group norms, for small batches.

Group norms (Wu and He 2018, arXiv 1803.08494) compute the same in training and in use, whatever else is in a batch.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml import Backbone, hookimpl
from conceptnet_ml.config.settings import NetworkSettings
from conceptnet_ml.errors import SettingsError

WIDTH = 24
"""Channels of the first stage; each further one has twice as many at half the resolution."""
GROUPS = 8


class Block(nn.Module):
    """Maps (B, before, h, w) to (B, after, h / 2, w / 2). Each of the network's is a stage: its units are found."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
        self.two = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.past = nn.Conv2d(before, after, 1, stride=2, bias=False)
        self.norm1, self.norm2 = nn.GroupNorm(GROUPS, after), nn.GroupNorm(GROUPS, after)

    def forward(self, maps: Tensor) -> Tensor:
        inner = functional.relu(self.norm1(self.one(maps)))
        return functional.relu(self.norm2(self.two(inner)) + self.past(maps))


class Net(nn.Module):
    """Normalised images (B, 3, H, W) to logits (B, classes)."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.block1, self.block2 = Block(3, width), Block(width, 2 * width)
        self.block3 = Block(2 * width, 4 * width)
        self.pool, self.flat = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.head = nn.Linear(4 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.block3(self.block2(self.block1(images)))
        return self.head(self.flat(self.pool(maps)))


def build(argument: str, classes: int, image_size: tuple[int, int], settings: NetworkSettings) -> nn.Module:
    """Fresh weights; torch's generator is seeded for them. ``--backbone groups:48`` has 48 channels at first.

    Raises:
        SettingsError: The argument is no multiple of ``GROUPS``.
    """
    if argument and (not argument.isdecimal() or not int(argument) or int(argument) % GROUPS):
        raise SettingsError(f"network.backbone 'groups:{argument}' is no width", f"Give a multiple of {GROUPS}.")
    return Net(classes, int(argument or WIDTH))


@hookimpl
def conceptnet_backbones() -> list[Backbone]:
    return [Backbone(name="groups", api="1", build=build, summary="residual blocks with group norms; groups:WIDTH")]
