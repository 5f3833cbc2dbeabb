"""What a network answers, tried before it is trained: at random, by the others of its batch, or squashed already."""

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

SQUASHING = (nn.Sigmoid, nn.Hardsigmoid, nn.Tanh, nn.Hardtanh, nn.ReLU)
"""Layers after which an answer has no room: not last in a network that is trained by cross entropy."""


def steady_answers(network: nn.Module, images: Tensor) -> Tensor:
    """Answers (B, classes) to images (B, C, H, W), in [0, 1] and on the network's device, in evaluation mode.

    Raises:
        SettingsError: It answers at random, or from a state of its own: the same images twice have other answers.
            Stages, probes and figures are of no use then.

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
