"""DivDis: two heads that answer unlabelled images of the new world independently, one of which is chosen."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml import BaselineContext, StagedNetwork, Views

from .last_layer import answered, last_linear

DIVERSITY = 10.0
"""λ₁, of the mutual information between the heads: the default of the authors' code."""
BALANCE = 10.0
"""λ₂, of what keeps each head's answers as frequent as the labels: likewise."""


class Heads(nn.Module):
    """A network, whose last layer is the first head, and a second head on what reaches that layer.

    Args:
        prior: (K,) share of each class among the labels.
    """

    prior: Tensor

    def __init__(self, network: StagedNetwork, prior: Tensor) -> None:
        super().__init__()
        self.network = network
        layer = last_linear(network, len(prior))
        self.second = nn.Linear(layer.in_features, layer.out_features)
        self.register_buffer("prior", prior)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (2, B, K) of images (B, C, H, W); of images side by side, (B, 2·C, H, W), logits (2, 2·B, K) in one
        batch, those of the first C channels first."""
        layer = last_linear(self.network, len(self.prior))
        logits, features = answered(self.network, layer, torch.cat(images.split(self.network.channels, 1)))
        return torch.stack([logits, self.second(features)])

    def alone(self, head: int) -> StagedNetwork:
        """The network with this head, 0 or 1, alone; changed in place."""
        if head == 1:
            last_linear(self.network, len(self.prior)).load_state_dict(self.second.state_dict())
        return self.network


def fit(context: BaselineContext) -> StagedNetwork:
    """Train trunk and heads from fresh weights and return the trunk with one of the heads (Lee et al., arXiv
    2202.03418).

    It is shown pictures of the new world without labels: those of ``--target``, as a learner may be, else the training
    images with the cue drawn at random, which is more than a learner sees. As many epochs as the learner's network had
    in all; a step passes an unlabelled image for every labelled one, so it costs twice a plain one.

    Not as published: there a few labels of the new world choose the head, as in ``divdis-queried``; here there are
    none, and the head is taken that agrees less with the ordinary network on the unlabelled pictures. That is right
    where ordinary training fell for the cue, and wrong where it did not: then it is the head of the cue. Labelled and
    unlabelled images are one batch for batch norms, an option of the authors' code that is not its default.

    Raises:
        SettingsError: The network does not end in a linear layer.
    """
    assert context.unlabelled is not None
    heads = diverse_heads(context)
    return heads.alone(less_alike(context, heads, context.unlabelled()))


def diverse_heads(context: BaselineContext) -> Heads:
    """The trunk with both heads, trained."""
    assert context.unlabelled is not None
    labels = context.plain.images.labels[context.plain.pool]
    network = context.fresh()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seed("head"))
        heads = Heads(network, labels.bincount(minlength=context.classes) / len(labels)).to(context.device)
    views = context.paired(context.plain, context.unlabelled())
    epochs = context.ordinary_epochs + context.epochs
    return context.train("train", heads, views, epochs, objective=diversified)


def diversified(heads: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy of the heads on the labelled images; on those beside them λ₁ times the mutual information of
    the heads and λ₂ times the divergence of their mean answers from the labels' shares."""
    assert isinstance(heads, Heads)
    labelled, others = heads(images).float().chunk(2, 1)
    loss = torch.stack([functional.cross_entropy(one, labels) for one in labelled]).mean()
    told = others.softmax(2)
    mean = told.mean(1)
    balance = (mean * (_log(mean) - _log(heads.prior))).sum(1).mean()
    return loss + DIVERSITY * mutual_information(*told) + BALANCE * balance


def mutual_information(one: Tensor, other: Tensor) -> Tensor:
    """In nats, between the answers of two heads, probabilities (B, K) each, over a batch."""
    joint = one.T @ other / len(one)
    return (joint * (_log(joint) - _log(one.mean(0))[:, None] - _log(other.mean(0)))).sum()


def less_alike(context: BaselineContext, heads: nn.Module, pictures: Views) -> int:
    """0 or 1: the head that gives the ordinary network's answer to fewer of the pictures, 0 where both do as often.

    No label is read. Cost: a pass over the pictures with two networks.
    """
    alike = torch.zeros(2, dtype=torch.int64)
    with torch.no_grad():
        for numbers in pictures.pool.split(256):
            images = pictures.raw(numbers)
            ordinary = context.answers(context.ordinary, images).argmax(1)
            alike += (heads(images).argmax(2) == ordinary).sum(1).cpu()
    return int(alike[1] < alike[0])


def _log(shares: Tensor) -> Tensor:
    return shares.clamp_min(1e-12).log()
