"""Learning from failure: a network that is made to fall for the cue says from which images a second one shall learn."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml import BaselineContext, StagedNetwork, ViewMaker

POWER = 0.7
"""q of the generalized cross entropy (Zhang and Sabuncu, arXiv 1805.07836): theirs and the paper's."""
SMOOTHING = 0.7
"""Weight of what was before in the moving average of an image's loss: the authors' code."""


class Failing(nn.Module):
    """The biased and the debiased network, and the moving loss of every training image under each.

    Args:
        labels: (N,) classes of the training images, in the order of the views.
    """

    labels: Tensor
    losses: Tensor
    seen: Tensor

    def __init__(self, biased: StagedNetwork, debiased: StagedNetwork, labels: Tensor) -> None:
        super().__init__()
        self.biased, self.debiased = biased, debiased
        self.register_buffer("labels", labels)
        self.register_buffer("losses", torch.zeros(2, len(labels)))
        self.register_buffer("seen", torch.zeros(len(labels), dtype=torch.bool))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (2, B, K), the biased network's first."""
        return torch.stack([self.biased(images), self.debiased(images)])

    def difficulty(self, losses: Tensor, places: Tensor) -> Tensor:
        """W = b / (b + d), (B,), of both networks' moving losses b and d, each divided by the largest of its class.

        Args:
            losses: (2, B) cross entropy of these images now, by which their moving losses are updated first.
            places: (B,) their positions among the training images.
        """
        moved = SMOOTHING * self.losses[:, places] + (1 - SMOOTHING) * losses
        self.losses[:, places] = torch.where(self.seen[places], moved, losses)
        self.seen[places] = True
        classes = int(self.labels.max()) + 1
        most = self.losses.new_zeros(2, classes)
        most.scatter_reduce_(1, self.labels.expand(2, -1), self.losses, "amax")
        biased, debiased = self.losses[:, places] / most[:, self.labels[places]].clamp_min(1e-12)
        return biased / (biased + debiased + 1e-8)


def fit(context: BaselineContext) -> StagedNetwork:
    """Train both networks together from fresh weights, and return the debiased one (Nam et al., arXiv 2007.02561).

    Each is trained for as many epochs as the learner's network had in all, so the cost is twice that of as much plain
    training. Not as published: both begin with the same weights, and W is divided by its mean over the batch, since the
    run's optimizer, other than Adam, would all but stop where W is small.
    """
    labels = context.plain.images.labels[context.plain.pool]
    pair = Failing(context.fresh(), context.fresh(), labels).to(context.device)
    epochs = context.ordinary_epochs + context.epochs
    return context.train("train", pair, numbered(context.plain), epochs, objective=failing).debiased


def numbered(views: ViewMaker) -> ViewMaker:
    """These views, whose labels (B, 2) are class and position among the training images."""

    def make(indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images, labels = views(indices, generator)
        return images, torch.stack([labels, indices.to(labels.device)], 1)

    return make


def failing(pair: nn.Module, images: Tensor, told: Tensor) -> Tensor:
    """The biased network's generalized cross entropy, and the debiased one's, its mean weighted by W."""
    assert isinstance(pair, Failing)
    labels, places = told.unbind(1)
    biased, debiased = pair(images).float()
    losses = torch.stack([functional.cross_entropy(one, labels, reduction="none") for one in (biased, debiased)])
    weights = pair.difficulty(losses.detach(), places)
    return generalized(losses[0]).mean() + (weights * losses[1]).sum() / weights.sum().clamp_min(1e-8)


def generalized(losses: Tensor) -> Tensor:
    """(1 − pᑫ) / q, of cross entropies −log p: what is right already moves the weights most."""
    return (1 - torch.exp(-POWER * losses)) / POWER
