"""A network of two convolutions, small enough to reckon by hand, and a seeded generator."""

from __future__ import annotations

import torch
from torch import nn

from conceptnet_ml.network.staged_network import StagedNetwork


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(activation: type[nn.Module] = nn.ReLU, size: tuple[int, int] = (8, 8)) -> StagedNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 4, 3, padding=1), activation(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, padding=1)]
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2)]
        return StagedNetwork(nn.Sequential(*layers, activation(), *head), size, normalise=False)
