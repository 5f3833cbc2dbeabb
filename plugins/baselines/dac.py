"""Decompose-and-compose: what the network looks at, put among what it does not look at in images of other classes."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml import BaselineContext, StagedNetwork, ViewMaker

from .last_layer import answered, last_linear
from .masktune import attributed

QUANTILES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Of an image's attribution: above which of them a pixel counts as looked at is found for each image."""
EASY = 0.8
"""Share of the training images, those of least loss, that are decomposed: the default of the authors' code."""
WEIGHT = 6.0
"""α, of the decomposed and of the composed images beside the images as they are: likewise."""


class Head(nn.Module):
    """A network of which the last layer alone is trained, anew; its batch norms stay as they are.

    Args:
        network: Changed in place.
    """

    def __init__(self, network: StagedNetwork, classes: int) -> None:
        super().__init__()
        self.network, self.classes = network.requires_grad_(False), classes
        layer = last_linear(network, classes).requires_grad_(True)
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)

    def train(self, mode: bool = True) -> Head:
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        layer = last_linear(self.network, self.classes)
        with torch.no_grad():
            _, features = answered(self.network, layer, images)
        return layer(features)


def fit(context: BaselineContext) -> StagedNetwork:
    """Train the ordinary network's last layer anew on images composed of parts (Noohdani et al., arXiv 2402.18919).

    What the ordinary network looks at is taken for what makes the class. Where it looks at the cue, this teaches the
    cue; ``dac-inverted`` takes the rest for it.

    Equal compute in passes over the images, three to a step and none backward through the network. Decomposing costs
    about eight passes forward on top. The last layer is trained by the run's optimizer in place of Adam.

    Raises:
        SettingsError: The network does not end in a linear layer.
    """
    return recomposed(context, inverted=False)


def recomposed(context: BaselineContext, inverted: bool) -> StagedNetwork:
    """As :func:`fit`; inverted, what the network does not look at is taken for what makes the class."""
    masks = context.batched("mask", partial(_decomposed, context))
    losses = context.batched("loss", partial(_losses, context))
    easy = torch.nonzero(losses <= losses.quantile(EASY)).flatten()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seed("layer"))
        head = Head(copy.deepcopy(context.ordinary), context.classes)
    views = composed(context, masks ^ inverted, easy)
    return context.train("train", head, views, context.epochs, objective=composing).network.requires_grad_(True)


def composed(context: BaselineContext, masks: Tensor, easy: Tensor) -> ViewMaker:
    """Images as they are, and two made of random easy ones, side by side: (B, 3·C, H, W), and labels (B, 2) of both.

    The second is what the mask m of an easy image x shows, the mean colour elsewhere. The third also shows there what
    the mask n of an easy image y of another class hides: m x + (1 − m)(1 − n) y + (1 − m) n mean.

    Args:
        masks: (N, 1, H, W) booleans, what makes the class, for the images in the order of ``plain``.
        easy: Positions of the easy ones.
    """
    plain = context.plain
    labels = plain.images.labels[plain.pool]
    foreign = [easy[labels[easy] != c] for c in range(context.classes)]

    def make(indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images, told = plain(indices, generator)
        hosts = easy[torch.randint(len(easy), (len(indices),), generator=generator)]
        draws = torch.rand(len(hosts), generator=generator, dtype=torch.float64).tolist()
        pools = [foreign[c] if len(foreign[c]) else easy for c in labels[hosts].tolist()]
        others = torch.stack([pool[int(draw * len(pool))] for pool, draw in zip(pools, draws, strict=True)])
        one, other = plain.raw(plain.pool[hosts]), plain.raw(plain.pool[others])
        shown, taken = masks[hosts].to(one.device), masks[others].to(one.device)
        mean = one.mean((0, 2, 3), keepdim=True)
        alone = torch.where(shown, one, mean)
        among = torch.where(shown | taken, alone, other)
        return torch.cat([images, alone, among], 1), torch.stack([told, labels[hosts].to(told.device)], 1)

    return make


def composing(head: nn.Module, images: Tensor, told: Tensor) -> Tensor:
    """Cross entropy of the images as they are, and α times that of the decomposed and of the composed ones, by the sum
    of these weights: the paper's optimizer does not mind how large a loss is, the run's does."""
    labels, hosts = told.unbind(1)
    parts = zip(images.chunk(3, 1), (labels, hosts, hosts), (1.0, WEIGHT, WEIGHT), strict=True)
    losses = [weight * functional.cross_entropy(head(part).float(), right) for part, right, weight in parts]
    return torch.stack(losses).sum() / (1 + 2 * WEIGHT)


def _decomposed(context: BaselineContext, places: Tensor) -> Tensor:
    """(B, 1, H, W) booleans: each image's attribution above the quantile at the elbow of the loss of what is shown."""
    numbers = context.plain.pool[places]
    images, network = context.plain.raw(numbers), context.ordinary
    labels = context.plain.images.labels[numbers].to(images.device)
    heat = attributed(network, images, labels)
    bounds = heat.flatten(1).quantile(heat.new_tensor(QUANTILES), dim=1)
    masks = heat >= bounds[..., None, None, None]
    with torch.no_grad():
        shown = [torch.where(mask, images, network.mean) for mask in masks]
        losses = [functional.cross_entropy(context.answers(network, part), labels, reduction="none") for part in shown]
    return masks[elbows(torch.stack(losses)), torch.arange(len(images), device=images.device)].cpu()


def elbows(losses: Tensor) -> Tensor:
    """(B,) which of the quantiles, rising with (Q, B) losses: where the curve is farthest below its chord, the last one
    where it is nowhere below. Kneedle's elbow (Satopää et al., 2011) without its threshold of sensitivity."""
    along = torch.linspace(0, 1, len(losses), device=losses.device)[:, None]
    least, most = losses.aminmax(dim=0)
    below = along - (losses - least) / (most - least).clamp_min(1e-12)
    depth, where = below[:-1].max(0)
    return torch.where(depth > 0, where, len(losses) - 1)


def _losses(context: BaselineContext, places: Tensor) -> Tensor:
    numbers = context.plain.pool[places]
    with torch.no_grad():
        answers = context.answers(context.ordinary, context.plain.raw(numbers)).cpu()
    return functional.cross_entropy(answers, context.plain.images.labels[numbers], reduction="none")
