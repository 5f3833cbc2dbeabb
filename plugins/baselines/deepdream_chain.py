"""The literal chain A → B → C of DeepDream pictures: each network dreams the images the next one is trained on."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from conceptnet_ml import BaselineContext, StagedNetwork, Views

LINKS = 2
"""A is the training images with the ordinary network; B and C are dreamed."""
STEPS = 10
STEP = 1.5 / 255
"""Steps and their mean size per pixel: one octave of the published DeepDream (Mordvintsev, Olah and Tyka, Inceptionism,
2015). Images of this size have no smaller octaves to begin with."""
JITTER = 1 / 7
"""Random shift before each step, as a share of the side: theirs, 32 of 224 px."""


def fit(context: BaselineContext) -> StagedNetwork:
    """Dream every image toward another class, keep its label, train on the dreams in its place, and again.

    Pixels are free: no donor, no gate, plain gradient ascent on the logit. Each link's images are dreamed from those of
    the link before, by the network trained on those. The links share the equal compute; dreaming comes on top, at
    ``STEPS`` passes forward and back for each image and link. With two classes the dreamed pattern tells the label, and
    a network may learn that instead of the image.
    """
    network, views = context.ordinary, context.plain
    for link in range(1, LINKS + 1):
        dreams = context.batched(f"dream-{link}", partial(_dream, context, network, views, link))
        views = context.views(dreams)
        epochs = context.epochs * link // LINKS - context.epochs * (link - 1) // LINKS
        network = context.train(f"train-{link}", network, views, epochs, context.warm_rate)
    return network


def _dream(context: BaselineContext, network: StagedNetwork, views: Views, link: int, places: Tensor) -> Tensor:
    """uint8 (B, 3, H, W): the images at these places of the views, dreamed toward another class each."""
    numbers = views.pool[places]
    generator = torch.Generator().manual_seed(context.seed("target", link))
    away = torch.randint(1, context.classes, (len(views),), generator=generator)[places]
    targets = (views.images.labels[numbers] + away) % context.classes
    generator = torch.Generator().manual_seed(context.seed("jitter", link))
    dreamed = ascend(context, network, views.raw(numbers), targets.to(context.device), generator)
    return (dreamed * 255).round().to(torch.uint8).cpu()


def ascend(
    context: BaselineContext, network: StagedNetwork, images: Tensor, targets: Tensor, generator: torch.Generator
) -> Tensor:
    """Gradient ascent of the targets' logits on the pixels, each image's gradient divided by its mean size."""
    reach = [round(JITTER * side) for side in images.shape[-2:]]
    for _ in range(STEPS):
        shift = [int(torch.randint(-most, most + 1, (1,), generator=generator)) for most in reach]
        moved = images.roll(shift, (2, 3)).requires_grad_(True)
        logits = context.answers(network, moved).gather(1, targets[:, None])
        (slope,) = torch.autograd.grad(logits.sum(), moved)
        slope = slope / slope.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-12)
        images = (moved.detach() + STEP * slope).clamp(0, 1).roll([-by for by in shift], (2, 3))
    return images
