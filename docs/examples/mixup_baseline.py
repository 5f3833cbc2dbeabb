"""A baseline: mixup, two images and their labels blended (Zhang et al. 2018, arXiv 1710.09412).

As an augmentation it trains from fresh weights, for as many epochs as the learner's network had in all.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from conceptnet_ml import Baseline, BaselineContext, StagedNetwork, ViewMaker, hookimpl


def fit(context: BaselineContext) -> StagedNetwork:
    """A network trained on the blends. A training that is stopped goes on, without a line for it here."""
    return context.train("train", context.fresh(), blends(context), context.ordinary_epochs + context.epochs)


def blends(context: BaselineContext) -> ViewMaker:
    """Image numbers (B,) and a generator to images (B, 3, H, W) and each class's share of them (B, K).

    The share is uniform in [0, 1], Beta(1, 1) of the paper; partners are any training images.
    """
    plain = context.plain

    def make(indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images, labels = plain(indices, generator)
        others, theirs = plain(torch.randint(len(plain), indices.shape, generator=generator), generator)
        share = torch.rand(len(indices), generator=generator).to(images.device)
        mine, other = (functional.one_hot(one, context.classes).float() for one in (labels, theirs))
        blended = torch.lerp(others, images, share.view(-1, 1, 1, 1))
        return blended, torch.lerp(other, mine, share[:, None])

    return make


@hookimpl
def conceptnet_baselines() -> list[Baseline]:
    return [Baseline(name="mixup", api="1", fit=fit, summary="two images and their labels blended, from fresh weights")]
