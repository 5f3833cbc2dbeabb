"""DivDis as published: a few labels of the new world choose the head."""

from __future__ import annotations

import torch
from torch import Tensor

from conceptnet_ml import BaselineContext, StagedNetwork

from .divdis import diverse_heads

QUERIES = 4
"""Labels of unbiased images that choose the head: the fewest the authors' code reports on."""


def fit(context: BaselineContext) -> StagedNetwork:
    """As ``divdis``, but the head is chosen by active querying: ``QUERIES`` labels, of the held-out images with random
    cues on which the heads differ most. No learner without labels of the cue has these."""
    assert context.unbiased is not None
    heads, world = diverse_heads(context), context.unbiased()
    with torch.no_grad():
        parts = [heads(world.raw(numbers)).float().softmax(2).cpu() for numbers in context.held.split(256)]
    return heads.alone(queried(torch.cat(parts, 1), world.images.labels[context.held]) if parts else 0)


def queried(told: Tensor, labels: Tensor) -> int:
    """0 or 1: the head that is right more often on the images on which the heads differ most; 0 where both are.

    Args:
        told: (2, N, K) the heads' probabilities.
        labels: (N,), of which ``QUERIES`` are read.
    """
    differ = (told[0] - told[1]).abs().sum(1)
    asked = differ.argsort(descending=True, stable=True)[:QUERIES]
    right = (told[:, asked].argmax(2) == labels[asked]).sum(1)
    return int(right[1] > right[0])
