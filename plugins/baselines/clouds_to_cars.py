"""Clouds turned into cars: one class is learned against images of the others that were dreamed into it."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml import BaselineContext, StagedNetwork

from ..dreamers import deepdream
from .dreamed import dreamed

STEPS = 5
STEP = 1.5 / 255
"""Steps of a dream and their mean size per pixel. Five reach 7.5/255 on average, about the 8/255 to which networks of
images this small are usually trained to withstand changes (Madry et al., arXiv 1706.06083)."""


def fit(context: BaselineContext) -> StagedNetwork:
    """Train from fresh weights on all images, and beside each that is not of the class on a dream of it.

    What one network dreams carries that network's pattern, by which the next one tells dreams from images and learns
    nothing else. So the dreams are those of the network as it is at that step: they show what it takes for the class
    now, and have another label. This is adversarial training toward one class. The class is the first, or the one that
    is named, as in ``clouds-to-cars:deer``. As many epochs as the learner's network had in all.

    Cost: about four times that of as much plain training, where half of the images are of the class.
    """
    objective = partial(against_dreams, class_of(context))
    epochs = context.ordinary_epochs + context.epochs
    return context.train("train", context.fresh(), context.plain, epochs, objective=objective)


def literal(context: BaselineContext) -> StagedNetwork:
    """As it was first put: the ordinary network dreams the images of the others into the class by DeepDream, and a new
    one learns to tell the class from these dreams. It never sees the others as they are.

    Cost: that of as much plain training, and 40 passes forward and back for each dream.
    """
    targets = torch.full((len(context.plain),), class_of(context))
    dreams = dreamed(context, "dream", context.ordinary, context.plain, targets, deepdream.recipe())
    return context.train("train", context.fresh(), context.views(dreams), context.ordinary_epochs + context.epochs)


def class_of(context: BaselineContext) -> int:
    """The number of the class that the others are dreamed into."""
    return context.class_names.index(context.argument) if context.argument else 0


def against_dreams(into: int, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the images and of the dreams of those that are not of the class, one batch to the batch norms.
    An image and its dream count a half each, so that no class counts more than without dreams."""
    others = labels != into
    dreams = climb(network, images[others], torch.full_like(labels[others], into))
    loss = functional.cross_entropy(
        network(torch.cat([images, dreams])).float(), torch.cat([labels, labels[others]]), reduction="none"
    )
    return (loss * torch.cat([1 - others / 2, loss.new_full((len(dreams),), 0.5)])).sum() / len(images)


def climb(network: nn.Module, images: Tensor, into: Tensor) -> Tensor:
    """Images (B, C, H, W) after some steps toward classes (B,), each of an even mean size, without a gradient.

    The log-probability climbs, not the logit: what all classes gain is no step toward one.
    """
    mode = network.training
    network.eval()  # each image by itself, by the statistics of all
    images = images.detach()
    for _ in range(STEPS if len(images) else 0):
        with torch.enable_grad():
            moved = images.requires_grad_(True)
            gained = network(moved).float().log_softmax(1).gather(1, into[:, None])
            (slope,) = torch.autograd.grad(gained.sum(), moved)
        slope = slope / slope.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-12)
        images = (moved.detach() + STEP * slope).clamp(0, 1)
    network.train(mode)
    return images.detach()
