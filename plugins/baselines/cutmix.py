"""CutMix: a box of another image is pasted in, and the labels are mixed by area."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from conceptnet_ml import BaselineContext, StagedNetwork, ViewMaker


def fit(context: BaselineContext) -> StagedNetwork:
    """Train from fresh weights, as an augmentation is meant to be used, for as many epochs as the learner's network had
    in all: from the ordinary network, which fits every image through its shortcut, little is learned any more."""
    return context.train("train", context.fresh(), views(context), context.ordinary_epochs + context.epochs)


def views(context: BaselineContext) -> ViewMaker:
    """Every image with a box of a random other one; labels (B, K), each class's share of the area.

    The box covers 1 − λ of the image with λ from Beta(1, 1), the uniform distribution, and the image's aspect; its
    middle is anywhere, so it may be cut off at the edge, and λ is then what remains of the image (Yun et al., CutMix,
    arXiv 1905.04899, with the setting of its ImageNet experiments: every image is mixed). Donors are any images of
    the training set, as in a shuffled batch.
    """
    plain = context.plain
    labels = functional.one_hot(plain.images.labels, context.classes).float()

    def make(indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        numbers = plain.pool[indices]
        donors = plain.pool[torch.randint(len(plain), (len(numbers),), generator=generator)]
        images, material = plain.raw(numbers), plain.raw(donors)
        boxes = _boxes(len(numbers), images.shape[2], images.shape[3], generator)
        share = boxes.float().mean((1, 2, 3))[:, None]
        mixed = (1 - share) * labels[numbers] + share * labels[donors]
        return torch.where(boxes.to(images.device), material, images), mixed.to(images.device)

    return make


def _boxes(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """(count, 1, H, W) booleans: one box each, whole pixels."""
    side = torch.rand(count, generator=generator).sqrt()  # √(1 − λ), λ uniform
    rows = _inside(height, side, torch.rand(count, generator=generator))
    columns = _inside(width, side, torch.rand(count, generator=generator))
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _inside(size: int, side: Tensor, middle: Tensor) -> Tensor:
    """(count, size) booleans: the pixels of an interval around a middle, cut off at both ends."""
    first, last = ((middle + sign * side / 2).mul(size).round().clamp(0, size)[:, None] for sign in (-1, 1))
    places = torch.arange(size)[None]
    return (places >= first) & (places < last)
