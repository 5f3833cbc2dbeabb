"""MaskTune: mask what the trained network looked at most, and train on to find something else."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from conceptnet_ml import BaselineContext, StagedNetwork, ViewMaker

RATE = 0.01
"""Peak learning rate of the single epoch: the paper's on biased MNIST, which it does not lower for the finetuning."""
DEVIATIONS = 2.0
"""A pixel is masked where its saliency is so many standard deviations above the image's mean, both over what is
positive."""


def fit(context: BaselineContext) -> StagedNetwork:
    """One epoch of finetuning on masked images at a small rate (Asgari Taghanaki et al., arXiv 2210.00055)."""
    return context.train("train", context.ordinary, views(context), 1, RATE)


def views(context: BaselineContext) -> ViewMaker:
    """The training images with their most salient pixels black. As a baseline of its own, the variant with equal
    compute: as many epochs on them as the learner's rounds took. Cost: one pass forward and half a pass back."""
    return context.views(context.batched("mask", partial(_masked, context)))


def _masked(context: BaselineContext, places: Tensor) -> Tensor:
    numbers = context.plain.pool[places]
    images = context.plain.raw(numbers)
    labels = context.plain.images.labels[numbers].to(images.device)
    kept = ~salient(context.ordinary, images, labels)
    return (images * kept * 255).round().to(torch.uint8).cpu()


def salient(network: StagedNetwork, images: Tensor, labels: Tensor) -> Tensor:
    """(B, 1, H, W) booleans: where :func:`attributed` is highest. Images and labels are as there."""
    heat = attributed(network, images, labels).flatten(1)
    positive = (heat > 0).to(heat.dtype)
    count = positive.sum(1, keepdim=True).clamp_min(1)
    mean = heat.sum(1, keepdim=True) / count
    deviation = (((heat - mean) * positive).square().sum(1, keepdim=True) / count).sqrt()
    return (heat > mean + DEVIATIONS * deviation).view(len(images), 1, *images.shape[-2:])


def attributed(network: StagedNetwork, images: Tensor, labels: Tensor) -> Tensor:
    """XGradCAM for the labels at the last stage (Fu et al., arXiv 2008.02312), (B, 1, H, W), none below 0.

    Args:
        images: Floats in [0, 1] (B, 3, H, W).
        labels: (B,), on the images' device.
    """
    stage = network.stage_names[-1]
    with torch.no_grad():
        maps = network.run_until(images, stage)
    maps.requires_grad_(True)
    logits = network.run_from(maps, stage).gather(1, labels[:, None])
    (slope,) = torch.autograd.grad(logits.sum(), maps)
    maps = maps.detach()
    weights = (slope * maps).sum((2, 3), keepdim=True) / maps.sum((2, 3), keepdim=True).clamp_min(1e-7)
    heat = (weights * maps).sum(1, keepdim=True).relu()
    return functional.interpolate(heat, images.shape[-2:], mode="bilinear", align_corners=False)
