"""SiFer, the feature sieve: what an early layer can tell by itself is erased from it, again and again."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from conceptnet_ml import BaselineContext, StagedNetwork

POSITION = 1
"""The stage the auxiliary head reads, counted from 0: the end of the first block of layers, the authors' default."""
DEPTH = 2
"""Convolutions of the head, their default; each has ``WIDTH`` times the stage's units (256 for 64 units)."""
WIDTH = 4
EVERY = 5
"""Steps between erasures, their default."""
LEARN, FORGET = 1.0, 10.0
"""Weights of the head's own loss and of the erasure beside the network's loss. Theirs are 10 and 10, at a fiftieth of
this rate; a head that learns ten times as fast as the network would diverge here."""
SLOWER = 0.5
"""Share of the usual learning rate: at the whole of it the erasure tears the early layers apart now and then."""


class Sieve(nn.Module):
    """A network and the head at its early stage; answers as the network does.

    The count of steps is a buffer, so that a stopped training erases at the same steps when it goes on.
    """

    steps: Tensor

    def __init__(self, network: StagedNetwork, classes: int) -> None:
        super().__init__()
        self.network = network
        stage = network.stages[min(POSITION, len(network.stages) - 1)]
        self.stage = stage.name
        layers: list[nn.Module] = []
        units = stage.units
        for _ in range(DEPTH):
            layers += [nn.Conv2d(units, WIDTH * stage.units, 3, stride=2, padding=1, bias=False)]
            units = WIDTH * stage.units
            layers += [nn.BatchNorm2d(units), nn.ReLU()]
        self.head = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(units, classes))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


def sieving(sieve: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The network's loss, the head's loss on maps that do not learn from it, and every so often the erasure: the layers
    below are trained to make the head, as it stands, answer every class alike."""
    assert isinstance(sieve, Sieve)
    maps = sieve.network.run_until(images, sieve.stage)
    loss = functional.cross_entropy(sieve.network.run_from(maps, sieve.stage).float(), labels)
    loss = loss + LEARN * functional.cross_entropy(sieve.head(maps.detach()).float(), labels)
    if int(sieve.steps) % EVERY == 0:
        still = {name: weight.detach() for name, weight in sieve.head.named_parameters()}
        told = functional_call(sieve.head, still, (maps,)).float()
        loss = loss - FORGET * told.log_softmax(1).mean()
    sieve.steps += 1
    return loss


def fit(context: BaselineContext) -> StagedNetwork:
    """Train with the sieve from fresh weights, for as many epochs as the learner's network had in all.

    Tiwari and Shenoy, arXiv 2301.13293, Algorithm 1: one optimizer step on the weighted sum of the three losses. Cost:
    about 1.5 times that of as much plain training with the default network.
    """
    network = context.fresh()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seed("head"))
        sieve = Sieve(network, context.classes).to(context.device)
    epochs = context.ordinary_epochs + context.epochs
    return context.train("train", sieve, context.plain, epochs, SLOWER * context.rate, sieving).network
