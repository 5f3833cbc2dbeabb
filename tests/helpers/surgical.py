"""Networks to operate on."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_plugins.backbones.small import SmallNet

SIZE = (32, 32)


class Chained(nn.Module):
    """An identity shortcut, a gate, a flatten: a channel of the stage is in many places."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, stride=4, padding=1, bias=False), nn.BatchNorm2d(6), nn.SiLU())
        self.inner = nn.Conv2d(6, 6, 3, padding=1)
        self.depth = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.norm = nn.BatchNorm2d(6)
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 6).view(6, 1, 1))
        self.squeeze = nn.Conv2d(6, 3, 1)
        self.excite = nn.Conv2d(3, 6, 1)
        self.top = nn.Conv2d(6, 5, 3, stride=2, padding=1)
        self.head = nn.Linear(5 * 4 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.depth(functional.relu(self.inner(x)))) * self.scale
        gate = torch.sigmoid(self.excite(functional.relu(self.squeeze(functional.adaptive_avg_pool2d(y, 1)))))
        x = functional.relu(x + gate * y)
        return self.head(torch.flatten(functional.relu(self.top(x)), 1))


class LastFirst(nn.Module):
    """Flattens with the channels last, and concatenates."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3, stride=4, padding=1)
        self.right = nn.Conv2d(3, 5, 3, stride=4, padding=1)
        self.both = nn.BatchNorm2d(9)
        self.head = nn.Linear(9 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.both(torch.cat([torch.relu(self.left(x)), torch.relu(self.right(x))], 1))
        x = functional.max_pool2d(x, 4).permute(0, 2, 3, 1)
        return self.head(x.reshape(x.shape[0], -1))


class Counting(nn.Module):
    """Its code counts on eight channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x).view(-1, 8, 64).mean(2))


class Mixing(nn.Module):
    """What follows its stage is group norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU())
        self.mixed = nn.GroupNorm(2, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mixed(self.stem(x)).mean((2, 3)))


class Untraceable(nn.Module):
    """Its code asks for a value of the data."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        if float(x.detach().mean()) < -1e9:
            raise RuntimeError("never")
        return self.head(self.stem(x).mean((2, 3)))


OWN = {
    "small": lambda: SmallNet(3, SIZE),
    "chained": Chained,
    "lastfirst": LastFirst,
    "counting": Counting,
    "mixing": Mixing,
    "untraceable": Untraceable,
}


def fresh(name: str, seed: int = 0) -> StagedNetwork:
    """A network of this name with fresh weights, in training mode, dropout and stochastic depth off."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = OWN[name]() if name in OWN else torchvision.models.get_model(name, weights=None, num_classes=3)
    for part in model.modules():
        if "Dropout" in type(part).__name__ or "Stochastic" in type(part).__name__:
            part.p = 0.0
    return StagedNetwork(model, SIZE if name in OWN or "resnet" in name else (64, 64))


def images(count: int = 8, seed: int = 1, size: tuple[int, int] = SIZE) -> Tensor:
    """Smooth noise: neighbouring pixels are alike, as in pictures."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return functional.interpolate(coarse, size, mode="bilinear")


def used(name: str) -> StagedNetwork:
    """A network whose batch norms have seen images and have scales and shifts of their own, in evaluation mode."""
    return copy.deepcopy(_used(name))


@functools.cache
def _used(name: str) -> StagedNetwork:
    network = fresh(name)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1.5, generator=generator)
                part.bias.uniform_(-0.5, 0.5, generator=generator)
        for step in range(20):
            network(images(16, step, network.image_size))
    return network.eval()


def ablated(
    network: StagedNetwork, images: Tensor, stage: str, units: Sequence[int] | Tensor, values: Tensor | float = 0.0
) -> Tensor:
    """Logits (B, classes) with some units of a stage at a constant: one for each of them, or one for all."""
    maps = network.run_until(images, stage)
    places = torch.as_tensor(units, dtype=torch.int64)
    constants = torch.as_tensor(values, dtype=maps.dtype).expand(len(places))[:, None, None]
    return network.run_from(maps.index_copy(1, places, constants.expand(len(maps), -1, *maps.shape[2:])), stage)
