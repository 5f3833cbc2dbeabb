"""Just train twice: what a shortly trained network gets wrong counts many times in the second training."""

from __future__ import annotations

import torch
from torch import Tensor

from conceptnet_ml import BaselineContext, StagedNetwork, ViewMaker

IDENTIFY = 0.2
"""Share of the epochs after which the first network's errors are taken: 60 of 300 on Waterbirds."""
UPWEIGHT = 50
"""λ, how often an error counts: the middle of the paper's grid of 20, 50 and 100, and its choice for CelebA."""


def fit(context: BaselineContext) -> StagedNetwork:
    """Train shortly, weigh the errors up, train again from fresh weights (Liu et al., arXiv 2107.09044).

    Both trainings together take as many epochs as the learner's network had in all. Where the cue always fits there
    are few errors, the hard images of any kind, and the second training is little else than the first.
    """
    total = context.ordinary_epochs + context.epochs
    first = max(1, round(IDENTIFY * context.ordinary_epochs))
    shortly = context.train("identify", context.fresh(), context.plain, first)

    def wrong(places: Tensor) -> Tensor:
        numbers = context.plain.pool[places]
        with torch.no_grad():
            answers = context.answers(shortly, context.plain.raw(numbers)).argmax(1).cpu()
        return answers != context.plain.images.labels[numbers]

    errors = context.batched("errors", wrong)
    return context.train("train", context.fresh(), upweighted(context, errors), max(1, total - first))


def upweighted(context: BaselineContext, errors: Tensor) -> ViewMaker:
    """Training images drawn at random, each error, (N,) booleans, ``UPWEIGHT`` times as often as the others."""
    places = torch.arange(len(errors)).repeat_interleave(torch.where(errors, UPWEIGHT, 1))

    def make(indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        drawn = places[torch.randint(len(places), (len(indices),), generator=generator)]
        return context.plain(drawn, generator)

    return make
