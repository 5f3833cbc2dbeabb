"""SHADOW: hidden layers dream of the image by the same weights turned round, and the dreams keep its label."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml import BaselineContext, SettingsError, StagedNetwork

POSITION = 0
"""The stage that is gone back from, counted from 0. A layer of few units with a stride is not turned round by its
transpose: with the default network a dream correlates with its image at .7, from the next stages at .2 and .0."""
KEPT = 0.5
"""ρ, the share of a layer's units that take part in the dream."""


class Shadowed(nn.Module):
    """A network and how many dreams it has had, which seeds the next; answers as the network does."""

    dreams: Tensor

    def __init__(self, network: StagedNetwork, stage: str, seed: int) -> None:
        super().__init__()
        self.network, self.stage, self.seed = network, stage, seed
        self.register_buffer("dreams", torch.zeros((), dtype=torch.int64))

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def generator(self) -> torch.Generator:
        """Of the next batch of dreams."""
        self.dreams += 1
        return torch.Generator().manual_seed((self.seed + int(self.dreams)) % 2**63)


def fit(context: BaselineContext) -> StagedNetwork:
    """Train from fresh weights, every image beside its dream, for as many epochs as the learner's network had in all.

    Arora, Liang and Ma, arXiv 1511.05653, whose dreams come from the network as it is at that step, as here. Their
    layers are fully connected and without batch norms; here a batch norm is its factor on the way down, and the scale
    of every layer is taken from the image's own way up, since trained weights are not scaled as random ones are. Cost:
    about twice that of as much plain training.

    Raises:
        SettingsError: The network has no such way down.
    """
    return train_on_dreams(context, POSITION, shadowing)


def train_on_dreams(
    context: BaselineContext, position: int, objective: Callable[[nn.Module, Tensor, Tensor], Tensor]
) -> StagedNetwork:
    """A network trained by this objective on the dreams of the stage at this position."""
    network = context.fresh().to(context.device)
    stage = network.stages[min(position, len(network.stages) - 1)].name
    first = context.plain.raw(context.plain.pool[:2])
    dream(network, first, stage, torch.Generator().manual_seed(0))  # refused before it is trained
    whole = Shadowed(network, stage, context.seed("dreams"))
    epochs = context.ordinary_epochs + context.epochs
    return context.train("train", whole, context.plain, epochs, objective=objective).network


def shadowing(shadowed: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the images and of their dreams, one batch to the batch norms; dreams carry no gradient."""
    assert isinstance(shadowed, Shadowed)
    dreams = dream(shadowed.network, images, shadowed.stage, shadowed.generator())
    return functional.cross_entropy(shadowed.network(torch.cat([images, dreams])).float(), labels.repeat(2))


def dream(network: StagedNetwork, images: Tensor, stage: str, generator: torch.Generator) -> Tensor:
    """Images (B, 3, H, W), floats in [0, 1], sent up to a stage and down again by the transposed weights.

    On the way down autograd is the transposed network: of convolutions, strides, batch norms, sums of branches, and of
    pools with their switches. Only ReLUs are another: they pass on what is positive and kept, at the norm the image had
    there. The image comes last, in the network's own normalisation, and nothing of it is left out.

    Raises:
        SettingsError: Something other than convolutions and ReLU modules is on the way.
    """
    passed: list[nn.Module] = []
    hooks = [part.register_forward_hook(partial(_turn, passed, generator)) for part in network.modules()]
    modes = [(part, part.training) for part in network.modules()]
    try:
        network.eval()  # a batch norm's statistics are no function of the batch, so that its transpose is a factor
        with torch.enable_grad():
            leaves = images.detach().requires_grad_(True)
            maps = network.run_until(leaves, stage)
            _check_way(passed, stage)
            (signal,) = torch.autograd.grad(maps, leaves, maps.detach())
    finally:
        for part, mode in modes:
            part.training = mode
        for hook in hooks:
            hook.remove()
    normalised = (images - network.mean) / network.std
    return (matched(signal * network.std, normalised) * network.std + network.mean).clamp(0, 1)


def thinned(signal: Tensor, kept: Tensor, share: float = KEPT) -> Tensor:
    """h = relu(s) ⊙ k / ρ, one layer of the generative model: s is Wᵀ of the layer above, k is 1 where it is kept.

    With weights (n, m) drawn from a normal distribution and α = 2/(ρn), x = relu(αWh) ⊙ k leads back to h by
    relu(Wᵀx + b) where h is sparse. What comes back beside h has a spread of √(2/(ρn)) ‖h‖ in every unit: with b = 0 it
    is half of ‖h‖² for m = n/4, with b 1.5 times the spread below zero a twelfth."""
    return signal.relu() * kept / share


def matched(signal: Tensor, pattern: Tensor) -> Tensor:
    """The signal (B, …) at the norm that each image's pattern (B, …) has."""
    norms = [one.float().flatten(1).norm(dim=1).view(-1, *[1] * (one.ndim - 1)) for one in (pattern, signal)]
    return signal * (norms[0] / norms[1].clamp_min(1e-12)).to(signal.dtype)


class _Relu(torch.autograd.Function):
    """ReLU on the way up, a layer of the generative model on the way down, whatever the signs were on the way up."""

    @staticmethod
    def forward(ctx, maps: Tensor, kept: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        answers = maps.relu()
        ctx.save_for_backward(answers, kept)
        return answers

    @staticmethod
    def backward(ctx, signal: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        answers, kept = ctx.saved_tensors
        return matched(thinned(signal, kept), answers), None


def _turn(
    passed: list[nn.Module], generator: torch.Generator, part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
) -> Tensor | None:
    """A forward hook: notes what is passed and turns ReLUs into those that have a way down."""
    passed.append(part)
    if not isinstance(part, nn.ReLU):
        return None
    kept = torch.rand(output.shape, generator=generator) < KEPT
    return _Relu.apply(inputs[0], kept.to(output.device))  # type: ignore[no-any-return]


def _check_way(passed: list[nn.Module], stage: str) -> None:
    """Whether what was passed on the way up has a way down."""
    others = [part for part in passed if type(part).__module__ == nn.ReLU.__module__ and not isinstance(part, nn.ReLU)]
    kinds = {type(part) for part in passed}
    if others or not {nn.Conv2d, nn.ReLU} <= kinds:
        found = f"passes {type(others[0]).__name__}" if others else "has not both"
        raise SettingsError(
            f"baseline 'shadow' goes back through nn.Conv2d and nn.ReLU, and up to stage '{stage}' the network {found}",
            "Choose such a network, as network.backbone=small or torchvision:resnet18, or leave this baseline out.",
        )
