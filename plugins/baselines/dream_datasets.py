"""Data sets of dreams, A → B → C: each dreamed from the one before, by the network that learned it."""

from __future__ import annotations

import torch
from torch import Tensor

from conceptnet_ml import BaselineContext, Recipe, StagedNetwork

from ..dreamers import deepdream, swap, turn
from .dreamed import beside, dreamed

TIMES = 2
"""How often where the user says nothing: B and C."""


def fit(context: BaselineContext) -> StagedNetwork:
    """Dream every image toward another class, keep its label, train a fresh network on it, and again.

    Dreams are exchanges: a donor of the other class gives what its class is told by, through a gate, so that a dream
    holds nothing but what was in images. They stand beside the images, half of what is shown, so that the network also
    sees what it will be asked about. How often: ``dream-datasets:3``; each network's figures are logged.

    Cost: ordinary training each time, and 48 passes forward and back for each image's dream.
    """
    return generations(context, swap.recipe(), alone=False)


def turned(context: BaselineContext) -> StagedNetwork:
    """As :func:`fit`, by dreams that change an image as little as will do; 128 passes for each."""
    return generations(context, turn.recipe(), alone=False)


def literal(context: BaselineContext) -> StagedNetwork:
    """As it was first put: DeepDreams take the place of the images, and the next ones are dreamed from them.

    Unlike ``deepdream-chain``, which shares equal compute among its links and goes on from the ordinary network, each
    network starts from fresh weights and takes as long as ordinary training. Dreams: 40 passes for each.
    """
    return generations(context, deepdream.recipe(), alone=True)


def generations(context: BaselineContext, recipe: Recipe, alone: bool) -> StagedNetwork:
    """The last of as many networks as the argument says.

    Args:
        alone: Whether dreams take the images' place, in place of standing beside them.
    """
    network, views = context.ordinary, context.plain
    for time in range(1, int(context.argument or TIMES) + 1):
        views = context.views(dreamed(context, f"dream-{time}", network, views, elsewhere(context, time), recipe))
        shown = views if alone else beside(context.plain, views)
        network = context.train(f"train-{time}", context.fresh(), shown, context.ordinary_epochs)
        context.measure(f"train-{time}", network)
    return network


def elsewhere(context: BaselineContext, time: int) -> Tensor:
    """(N,) for each image of ``plain`` a class other than its own, drawn at random for this time."""
    generator = torch.Generator().manual_seed(context.seed("targets", time))
    away = torch.randint(1, context.classes, (len(context.plain),), generator=generator)
    return (context.plain.images.labels[context.plain.pool].cpu() + away) % context.classes
