"""Deep feature reweighting: the ordinary network with its last layer fitted anew to a few unbiased examples."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml import BaselineContext, SettingsError, StagedNetwork

SHOTS = 8
"""Labelled examples per class, from the held-out images with random cues."""
STRENGTH = 1.0
"""C, the weight of the data against the l1 norm of the weights: the first of the paper's grid, its least penalty."""
STEPS = 2000


def fit(context: BaselineContext) -> StagedNetwork:
    """Logistic regression with an l1 penalty on standardised features (Kirichenko et al., arXiv 2204.02937).

    The paper balances known groups of cue and class; here nobody knows the cue, so examples are balanced by class.
    Cost: one forward pass over the examples, then fractions of a second on the CPU.

    Raises:
        SettingsError: A class has fewer held-out images, or the network does not end in a linear layer.
    """
    network = copy.deepcopy(context.ordinary)
    layer = last_linear(network, context.classes)
    assert context.unbiased is not None
    pool = context.unbiased()
    generator = torch.Generator().manual_seed(context.seed("examples"))
    numbers = _examples(context.held, pool.images.labels, context.classes, generator)
    features = _inputs(network, layer, pool.raw(numbers))
    weight, bias = logistic(features.double().cpu(), pool.images.labels[numbers], context.classes)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return network


def last_linear(network: StagedNetwork, classes: int) -> nn.Linear:
    """The linear layer that gives the logits: the last of the network's modules, with a column for each class.

    Raises:
        SettingsError: The network ends otherwise.
    """
    leaves = [module for module in network.modules() if not list(module.children())]
    linear = [module for module in leaves if isinstance(module, nn.Linear) and module.bias is not None]
    if not linear or linear[-1].out_features != classes:
        raise SettingsError(
            "this baseline fits the last layer, and the network does not end in a linear layer with a bias",
            "Choose another network.backbone, or leave this baseline out.",
        )
    return linear[-1]


def logistic(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Weights (K, F) and biases (K,) of features as they are: least C · Σ cross entropy + ‖weights‖₁ once standardised.

    Proximal gradient with momentum (FISTA), the step from the largest curvature; features that are constant get no
    weight. Float64 in and out, deterministic.
    """
    mean, spread = features.mean(0), features.std(0, unbiased=False)
    scale = torch.where(spread > 1e-6, 1 / spread.clamp_min(1e-6), torch.zeros_like(spread))
    design = torch.cat([(features - mean) * scale, features.new_ones(len(features), 1)], 1)
    wanted = functional.one_hot(labels, classes).to(design.dtype)
    rate = 2 / (STRENGTH * float(torch.linalg.matrix_norm(design, 2)) ** 2)
    weights = ahead = design.new_zeros(design.shape[1], classes)
    momentum = 1.0
    for _ in range(STEPS):
        slope = STRENGTH * design.T @ ((design @ ahead).softmax(1) - wanted)
        moved = ahead - rate * slope
        shrunk = functional.softshrink(moved, rate)
        shrunk[-1] = moved[-1]  # the bias is not penalised
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = shrunk + (momentum - 1) / following * (shrunk - weights)
        weights, momentum = shrunk, following
    weight = (weights[:-1] * scale[:, None]).T
    return weight, weights[-1] - weight @ mean


def _examples(held: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    order = held[torch.randperm(len(held), generator=generator)]
    chosen = []
    for c in range(classes):
        mine = order[labels[order] == c]
        if len(mine) < SHOTS:
            raise SettingsError(
                f"baseline 'last-layer' needs {SHOTS} held-out images of each class, class {c} has {len(mine)}",
                "Raise data.holdout, or leave this baseline out.",
            )
        chosen.append(mine[:SHOTS])
    return torch.cat(chosen)


def _inputs(network: StagedNetwork, layer: nn.Linear, images: Tensor) -> Tensor:
    with torch.no_grad():
        return answered(network, layer, images)[1].float()


def answered(network: StagedNetwork, layer: nn.Linear, images: Tensor) -> tuple[Tensor, Tensor]:
    """A network's logits (B, K), and what reaches this layer of it, (B, F); both can be differentiated."""
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        return network(images), seen[-1]
    finally:
        handle.remove()
