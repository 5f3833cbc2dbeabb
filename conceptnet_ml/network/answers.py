"""What a network answers, tried before it is trained: at random, always the same, by the others of its batch, or
squashed already.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.hook_route import hooked
from conceptnet_ml.network.modes import eval_mode

BATCH, TRIED = 4, 12
"""Pictures at a time, and in all: as few as will do, as the network may be large."""

APART = 1e-3
"""Of the spread of the answers, from which two are not the same but for the order of sums."""

EQUAL = 1e-6
"""Of the largest answer, up to which answers are the same but for rounding."""

CHANGE = 0.1
"""Standard deviation of what is added to each weight, about what a fresh layer of a hundred inputs has."""

SQUASHING = (nn.Sigmoid, nn.Hardsigmoid, nn.Tanh, nn.Hardtanh, nn.ReLU)
"""Layers after which an answer has no room: not last in a network that is trained by cross entropy."""


def steady_answers(network: nn.Module, images: Tensor) -> Tensor:
    """Answers (B, classes) to images (B, C, H, W), in [0, 1] and on the network's device, in evaluation mode.

    Raises:
        SettingsError: It answers at random, or from a state of its own: the same images twice have other answers.
            Stages, probes and figures are of no use then. Or its answers do not depend on the image, and training
            cannot change that.

    Cost: two passes. The random state is left alone.
    """
    cards = [images.device] if images.device.type == "cuda" else []
    with eval_mode(network), torch.random.fork_rng(devices=cards):
        first, second = (torch.cat([network(batch).detach() for batch in images.split(BATCH)]) for _ in range(2))
    if (apart := float((first - second).abs().max())) > APART * _spread(first):
        raise SettingsError(
            f"the network answers at random: the same {len(first)} images twice, in evaluation mode, have answers that "
            f"differ by up to {apart:.2g}, where answers spread by {_spread(first):.2g}",
            "Let what it draws or counts depend on self.training, as nn.Dropout does: "
            "functional.dropout(x, training=self.training).",
        )
    if _same(first) and _is_constant(network, images):
        raise SettingsError(
            f"the network's answers do not depend on the image: {len(first)} images, and as many of noise, have the "
            "same, also with its weights changed at random, so that training cannot help",
            "Look for what loses the image on the way, in evaluation mode: features that are multiplied by 0 or never "
            "used, a stored tensor that is returned, a layer that lets nothing pass.",
        )
    return first


def doubtful_answers(network: nn.Module, images: Tensor) -> list[str]:
    """What is to be said of a network's answers before it is trained, a sentence each. Arguments, errors and cost are
    those of :func:`steady_answers`, and three passes of a few of the images.

    Raises:
        SettingsError: Or no gradient leads from the answers to the images, by which gates and dreams are found.
    """
    answers, notes = steady_answers(network, images), []
    if not _has_slope(network, images[:1]):
        raise SettingsError(
            "no gradient leads from the network's answers back to the image, by which gates and dreams are found",
            "Something on the way detaches, rounds or looks up: leave it out.",
        )
    with eval_mode(network):
        alone = torch.cat([network(batch[:1]).detach() for batch in images.split(BATCH)])
    if float((answers[::BATCH] - alone).abs().max()) > 10 * APART * _spread(answers):
        notes.append(
            "the network's answer to a picture depends on the others in its batch, also in evaluation mode, as with "
            "batch norms that keep no statistics (track_running_stats=False): figures then depend on how pictures are "
            "put together"
        )
    if bool((answers >= 0).all()) and float((answers.sum(1) - 1).abs().max()) < 1e-4:
        notes.append(
            "the network answers with probabilities: they are never negative and sum to one, as after a softmax. It is "
            "trained by the cross entropy of logits, which takes the softmax itself; of probabilities it is trained "
            "poorly, and never gets sure. Take its last layer, the softmax, off"
        )
    elif last := _squashed_by(network, images[:BATCH]):
        notes.append(
            f"the network ends in {last}, which leaves its answers no room: it is trained by the cross entropy of "
            "logits, which may be any numbers. Take that layer off"
        )
    return notes


def _spread(answers: Tensor) -> float:
    return float(answers.std()) + 1e-6


def _same(answers: Tensor) -> bool:
    """Whether all images have the same answers; NaN is not the same."""
    return bool((answers - answers[:1]).abs().max() <= EQUAL * answers.abs().max())


def _is_constant(network: nn.Module, images: Tensor) -> bool:
    """Whether noise has the same answers, too, and all still do with other weights: a fresh network whose last layer
    begins with zeros answers all images alike and can be trained. Weights and random state are left as they were.
    Cost: two passes of twice the images, and a copy of the trained weights.
    """
    drawn = torch.Generator().manual_seed(0)
    trial = torch.cat([images, torch.rand(images.shape, generator=drawn).to(images)])
    trained = [value for value in network.parameters() if value.requires_grad]
    kept = [value.detach().clone() for value in trained]

    def same() -> bool:
        return _same(torch.cat([network(batch).detach() for batch in trial.split(BATCH)]))

    with eval_mode(network):
        if not same():
            return False
        try:
            for value in trained:
                value.add_(torch.randn(value.shape, generator=drawn).to(value), alpha=CHANGE)
            return same()
        finally:
            for value, before in zip(trained, kept, strict=True):
                value.copy_(before)


def _has_slope(network: nn.Module, images: Tensor) -> bool:
    """Whether answers can be differentiated by the images."""
    leaf = images.clone().requires_grad_()
    with eval_mode(network), torch.enable_grad():
        answers = network(leaf)
        if not answers.requires_grad:
            return False
        return torch.autograd.grad(answers.sum(), leaf, allow_unused=True)[0] is not None


def _squashed_by(network: nn.Module, images: Tensor) -> str:
    """The layer whose output is the network's answer, where it is one of :data:`SQUASHING`; else empty."""
    outputs: list[tuple[str, Tensor]] = []

    def note(path: str, module: nn.Module, output: object) -> None:
        if isinstance(module, SQUASHING) and isinstance(output, Tensor):
            outputs.append((type(module).__name__, output))

    with eval_mode(network), hooked(network, note):
        answer = network(images)
    return next((name for name, output in outputs if output.shape == answer.shape and torch.equal(output, answer)), "")
