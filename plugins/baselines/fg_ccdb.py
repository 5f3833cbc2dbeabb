"""FG-CCDB: a network made to overfit the cue sorts the images, and every class is shown each sort equally often."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from conceptnet_ml import BaselineContext, DrawnViews, StagedNetwork
from conceptnet_ml.data.sampling import balancing, surest

SUBSET = 0.1
"""γ, share of the training images that the first biased network is trained on: the paper's."""
KEPT = 0.5
"""β, share of each class, its surest images, that each further biased network is trained on: the paper's."""
ENHANCED = 3
"""How often the images are chosen anew and a biased network is trained on them: the paper's."""


def fit(context: BaselineContext) -> StagedNetwork:
    """Train biased networks, one on the surest images of the other, weigh by the last one's answers, train again from
    fresh weights (Zhao and Zhang, arXiv 2505.06831; written from descriptions of the paper, not from its text).

    A biased network passes over its own images as often as ordinary training passes over all. All trainings together
    take as many epochs as the learner's network had in all, where that leaves the last one no fewer than ordinary
    training. What is missing: checkpoints chosen by the worst class of a validation set, and a loss on the distances of
    features that the authors' code is said to add to the biased networks' training on digits.
    """
    labels = context.plain.images.labels[context.plain.pool]
    generator = torch.Generator().manual_seed(context.seed("subset"))
    shown = torch.zeros(len(labels))
    shown[torch.randperm(len(labels), generator=generator)[: max(1, round(SUBSET * len(labels)))]] = 1
    used = 0
    for stage in range(ENHANCED + 1):
        epochs = max(1, round(context.ordinary_epochs * float(shown.mean())))
        network = context.train(f"bias-{stage}", context.fresh(), DrawnViews(context.plain, shown), epochs)
        answers = context.batched(f"answers-{stage}", partial(_answers, context, network))
        shown, used = surest(answers, labels, KEPT), used + epochs
    weights = balancing(answers.argmax(1), labels)
    epochs = max(context.ordinary_epochs, context.ordinary_epochs + context.epochs - used)
    return context.train("train", context.fresh(), DrawnViews(context.plain, weights), epochs)


def _answers(context: BaselineContext, network: StagedNetwork, places: Tensor) -> Tensor:
    with torch.no_grad():
        return context.answers(network, context.plain.raw(context.plain.pool[places])).log_softmax(1).cpu()
