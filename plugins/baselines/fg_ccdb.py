"""FG-CCDB: a network made to overfit the cue sorts the images, and every class is shown each sort equally often."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from conceptnet_ml import BaselineContext, StagedNetwork, ViewMaker

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
        network = context.train(f"bias-{stage}", context.fresh(), drawn(context, shown), epochs)
        answers = context.batched(f"answers-{stage}", partial(_answers, context, network))
        shown, used = surest(answers, labels), used + epochs
    weights = balancing(answers.argmax(1), labels, context.classes)
    epochs = max(context.ordinary_epochs, context.ordinary_epochs + context.epochs - used)
    return context.train("train", context.fresh(), drawn(context, weights), epochs)


def drawn(context: BaselineContext, weights: Tensor) -> ViewMaker:
    """Training images drawn at random, with replacement, as often as their weights (N,) say."""
    ends = weights.double().cumsum(0)

    def make(indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        draws = torch.rand(len(indices), generator=generator, dtype=torch.float64) * ends[-1]
        return context.plain(torch.searchsorted(ends, draws, right=True), generator)

    return make


def surest(answers: Tensor, labels: Tensor) -> Tensor:
    """(N,) 1 for the share ``KEPT`` of each class whose own class has the highest log probability (N, K), else 0."""
    sure = answers.gather(1, labels[:, None])[:, 0]
    kept = torch.zeros(len(labels))
    for c in labels.unique():
        members = torch.nonzero(labels == c).flatten()
        order = sure[members].argsort(descending=True, stable=True)
        kept[members[order[: max(1, round(KEPT * len(members)))]]] = 1
    return kept


def balancing(sorts: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(N,) weights under which every class shows each sort, the biased network's answer, as often as all images do.

    With M[i, j] images of sort i in class j and q[i] the share of sort i, an image weighs q[i] / M[i, j]; classes weigh
    alike where each has all sorts. The paper's aim, W ⊙ p(sort | class) = q with W = q / p, is met by this. Described
    are weights W / M of single images; drawn by those, a rare sort would be seen more than a frequent one.
    """
    counts = torch.zeros(classes, classes, dtype=torch.float64)
    counts.index_put_((sorts, labels), torch.ones(len(labels), dtype=torch.float64), accumulate=True)
    return counts.sum(1)[sorts] / len(labels) / counts[sorts, labels]


def _answers(context: BaselineContext, network: StagedNetwork, places: Tensor) -> Tensor:
    with torch.no_grad():
        return context.answers(network, context.plain.raw(context.plain.pool[places])).log_softmax(1).cpu()
