"""An autoencoder against memorizing: a decoder rebuilds the image from late maps, and the network makes that hard."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from conceptnet_ml import BaselineContext, StagedNetwork

STEPS = 4
"""Steps of the decoder for each one of the network: a decoder that lags behind is fooled, and a fresh one is not."""
WIDTH = 32
"""Channels of the decoder at the first resolution, half as many at each further one, at least 8."""
RATE = 1e-3
"""Of the decoder's optimizer, Adam with its usual averages."""
MEANS = (0.9, 0.999)
WEIGHT = 1.0
"""Of the pull beside the classes' loss, when the ramp has come to its end. A reconstruction that is perfect costs so
much, one that is the class's mean nothing."""
RAMP = 10.0
"""λ(p) = 2 / (1 + exp(−10 p)) − 1, p the share of the training that is over (Ganin and Lempitsky, arXiv 1409.7495)."""
BETA = 2.0
"""Weight of the reconstruction's error in the literal form."""


class Decoder(nn.Module):
    """Maps (B, C, h, w) to images (B, channels, H, W) in (0, 1): twice as large again and again, a convolution each.

    Args:
        units, cells: C, and (h, w).
        channels, size: Of the images.
        width: Channels after the first convolution.
    """

    def __init__(
        self, units: int, cells: tuple[int, int], channels: int, size: tuple[int, int], width: int = WIDTH
    ) -> None:
        super().__init__()
        self.sizes = [size]
        while any(2 * cell <= side for cell, side in zip(cells, self.sizes[0], strict=True)):
            self.sizes.insert(0, (-(-self.sizes[0][0] // 2), -(-self.sizes[0][1] // 2)))
        widths = [max(8, width >> place) for place in range(len(self.sizes))]
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in zip([units, *widths], widths, strict=False)
        )
        self.last = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        for size, layer in zip(self.sizes, self.layers, strict=True):
            maps = layer(functional.interpolate(maps, size)).relu()
        return self.last(maps).sigmoid()


class Contest(nn.Module):
    """A network and the decoder of its last stage; answers as the network does.

    The decoder takes its steps within the network's, so its weights are none of the network's optimizer, and what its
    own optimizer remembers are buffers: a stopped training goes on as if it had not been stopped.

    Args:
        decoder: Takes the maps of the stage.
        means: (K, channels, H, W), each class's mean image.
        variance: Of pixels within the classes.
        images: How many images the training will have seen in all.
    """

    means: Tensor
    seen: Tensor
    taken: Tensor
    slopes: Tensor
    squares: Tensor

    def __init__(self, network: StagedNetwork, decoder: Decoder, means: Tensor, variance: float, images: int) -> None:
        super().__init__()
        self.network, self.decoder = network, decoder.requires_grad_(False)
        self.stage = network.stages[-1].name
        self.variance, self.images = variance, images
        count = sum(weight.numel() for weight in decoder.parameters())
        self.register_buffer("means", means)
        for name in ("seen", "taken"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))
        for name in ("slopes", "squares"):
            self.register_buffer(name, torch.zeros(count))

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    @property
    def ramp(self) -> float:
        """λ, from 0 at the beginning to 1."""
        return 2 / (1 + math.exp(-RAMP * int(self.seen) / self.images)) - 1

    def answer(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, K) and the last stage's maps, from one pass."""
        maps = self.network.run_until(images, self.stage)
        return self.network.run_from(maps, self.stage).float(), maps.float()

    def teach(self, code: Tensor, images: Tensor, steps: int) -> None:
        """So many steps of Adam on the decoder's mean squared error, all on these codes and images."""
        for _ in range(steps):
            weights = {name: weight.detach().requires_grad_() for name, weight in self.decoder.named_parameters()}
            loss = (functional_call(self.decoder, weights, (code,)) - images).square().mean()
            slopes = torch.autograd.grad(loss, list(weights.values()))
            self._step(torch.cat([slope.flatten() for slope in slopes]))

    @torch.no_grad()
    def _step(self, slopes: Tensor) -> None:
        self.taken += 1
        self.slopes.lerp_(slopes, 1 - MEANS[0])
        self.squares.lerp_(slopes.square(), 1 - MEANS[1])
        mean, square = (
            kept / (1 - share ** int(self.taken))
            for kept, share in zip((self.slopes, self.squares), MEANS, strict=True)
        )
        change = RATE * mean / (square.sqrt() + 1e-8)
        weights = list(self.decoder.parameters())
        for weight, part in zip(weights, change.split([weight.numel() for weight in weights]), strict=True):
            weight.sub_(part.view(weight.shape))


def fit(context: BaselineContext) -> StagedNetwork:
    """Train against the decoder from fresh weights, for as many epochs as the learner's network had in all.

    The decoder sees the maps at a fixed norm, so that they cannot hide by growing small or large. The network is not
    rewarded for any error of the decoder's, which has no end, but pulls what the decoder makes of an image toward the
    mean image of its class: who knows the class and no more can rebuild no better than that. Gradients are clipped by
    ``training.clip``. Cost: about four times that of as much plain training with the default network; without the
    decoder's further steps, as in the literal form, twice.
    """
    return contest(context, confusing)


def contest(context: BaselineContext, objective: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> StagedNetwork:
    """A network trained beside a decoder by this objective."""
    network = context.fresh().to(context.device).eval()
    plain, stage = context.plain, network.stages[-1].name
    with torch.no_grad():
        first = plain.raw(plain.pool[:2])
        maps = network.run_until(first, stage)
    epochs = context.ordinary_epochs + context.epochs
    means, variance = class_means(context)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seed("decoder"))
        size, cells = ((one.shape[2], one.shape[3]) for one in (first, maps))
        decoder = Decoder(maps.shape[1], cells, first.shape[1], size)
    both = Contest(network, decoder, means, variance, max(1, epochs * len(plain))).to(context.device)
    return context.train("train", both, plain, epochs, objective=objective).network


def class_means(context: BaselineContext) -> tuple[Tensor, float]:
    """Each class's mean image (K, 3, H, W), and the mean variance of pixels around them. Cost: two passes."""
    plain, labels = context.plain, context.plain.images.labels
    parts = plain.pool.split(512)
    means = torch.zeros(context.classes, *plain.raw(plain.pool[:1]).shape[1:], device=context.device)
    for numbers in parts:
        means.index_add_(0, labels[numbers].to(means.device), plain.raw(numbers))
    means /= labels[plain.pool].bincount(minlength=context.classes).clamp_min(1).to(means)[:, None, None, None]
    away = [(plain.raw(part) - means[labels[part].to(means.device)]).square().mean() * len(part) for part in parts]
    return means, max(float(torch.stack(away).sum()) / len(plain), 1e-6)


def scaled(maps: Tensor) -> Tensor:
    """Maps (B, C, h, w) at a root mean square of one each."""
    return maps / maps.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-6)


def confusing(both: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The working form: cross entropy, and the pull of the reconstruction toward its class's mean image."""
    assert isinstance(both, Contest)
    logits, maps = both.answer(images)
    with torch.autocast(images.device.type, enabled=False):
        code = scaled(maps)
        both.teach(code.detach(), images, STEPS)
        away = (both.decoder(code) - both.means[labels]).square().mean() / both.variance
    loss = functional.cross_entropy(logits, labels) + WEIGHT * both.ramp * away
    both.seen += len(images)
    return loss


def misleading(both: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The literal form: cross entropy − β · reconstruction error, one step of the decoder for each of the network's."""
    assert isinstance(both, Contest)
    logits, maps = both.answer(images)
    with torch.autocast(images.device.type, enabled=False):
        both.teach(maps.detach(), images, 1)
        error = (both.decoder(maps) - images).square().mean()
    return functional.cross_entropy(logits, labels) - BETA * error
