"""D-BAT: a second network, trained to disagree with the ordinary one on unlabelled images of the new world."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml import BaselineContext, StagedNetwork

WEIGHT = 1.0
"""α, of the disagreement: the default of the authors' code, and theirs on dominoes whose unlabelled halves are drawn at
random. Elsewhere they search it, from 10⁻⁶ to 1."""


class Second(nn.Module):
    """The network in training. It answers images that lie side by side in one batch, so that batch norms treat
    the labelled ones and the others alike."""

    def __init__(self, network: StagedNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Logits (2·B, K) of images (B, 2·C, H, W), those of the first C channels first."""
        return self.network(torch.cat(images.chunk(2, 1)))


def fit(context: BaselineContext) -> StagedNetwork:
    """Train from fresh weights on labels and on disagreement, and return the second network (Pagliardini et al., arXiv
    2202.04414, Algorithm 2 for two networks).

    It is shown pictures of the new world without labels: those of ``--target``, as a learner may be, else the training
    images with the cue drawn at random, which is more than a learner sees. The first network is the ordinary one. As
    many epochs as the learner's network had in all; a step passes an unlabelled image for every labelled one, and the
    first network answers it, too, so it costs about 2.3 times a plain one.

    Not as published: labelled and unlabelled images are one batch, not two, whose batch norms may differ: with two, the
    second network answered by the cue turned round, wrongly where it fits (two seeds of a generated case). And it
    begins with the weights the ordinary one began with. The paper also answers by both networks together; this is the
    second alone.
    """
    assert context.unlabelled is not None
    views = context.paired(context.plain, context.unlabelled())
    epochs = context.ordinary_epochs + context.epochs
    objective = partial(disagreeing, context)
    return context.train("train", Second(context.fresh()), views, epochs, objective=objective).network


def disagreeing(context: BaselineContext, second: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the labelled images, and α times the agreement on those beside them."""
    with torch.no_grad():
        first = context.answers(context.ordinary, images.chunk(2, 1)[1]).softmax(1)
    labelled, others = second(images).float().chunk(2)
    return functional.cross_entropy(labelled, labels) + WEIGHT * agreement(first, others.softmax(1))


def agreement(first: Tensor, second: Tensor) -> Tensor:
    """Mean of −log(p (1 − q) + q (1 − p)), of probabilities (B, K): p the first network's largest, q the second's for
    the same class."""
    most, where = first.max(1)
    same = second.gather(1, where[:, None])[:, 0]
    return -(most * (1 - same) + same * (1 - most) + 1e-7).log().mean()
