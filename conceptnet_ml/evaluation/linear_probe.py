"""What a linear probe can read off each stage: the class, and the cue.

A network that no longer rests on a cue need not stop computing it. A linear probe on a stage's units measures how much
of class and cue is there (Alain and Bengio, arXiv 1610.01644), on images whose cue says nothing of their class, so that
one cannot be read off the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from conceptnet_ml.adaptation.logistic_regression import LogisticProblem, fit_logistic
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import to_float
from conceptnet_ml.runtime import devices, seeding

RIDGE = 1e-2
"""Penalty on the mean-square of a probe's weights, per image; units are standardised."""

WORLD = "turned test"

_BATCH = 512


def cue_set(data: Data) -> tuple[ImageSet, Tensor, Tensor] | None:
    """Images with a random cue, their classes (N,) and their cues (N,); None where the data has no such world.

    In the world turned round every image shows one random cue, and its label is the cue. Its number is that of the test
    image it was made from, whose label is its class.
    """
    if WORLD not in data.worlds:
        return None
    turned = data.worlds[WORLD]()
    return turned, data.tests["test"].labels, turned.labels


def decodability(
    network: StagedNetwork,
    images: ImageSet,
    targets: dict[str, Tensor],
    device: torch.device,
    dtype: torch.dtype | None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """How well a linear probe on each stage's mean-pooled units reads each target.

    Args:
        network: Read only.
        images: N images.
        targets: Named labels, each (N,) of numbers from 0, as in ``{"class": …, "cue": …}``.
        device, dtype: Where and in which autocast type the network runs.
        seed: Of the split: a probe is fitted on one half of the images and tested on the other.

    Returns:
        ``[{"stage": name, target: share of right answers, …}]``, from input to output.

    Cost: one pass over the images, and a convex problem of units × classes unknowns per stage and target.
    """
    pooled = _pooled(network, images, device, dtype)
    order = torch.randperm(len(images), generator=seeding.generator(seeding.seed_for(seed, "decodability")))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    return [
        {"stage": stage, **{name: _probe_accuracy(pooled[stage], labels, *halves) for name, labels in targets.items()}}
        for stage in network.stage_names
    ]


@torch.no_grad()
def _pooled(
    network: StagedNetwork, images: ImageSet, device: torch.device, dtype: torch.dtype | None
) -> dict[str, Tensor]:
    """(N, C) float64 on the CPU for each stage: the mean of every unit's map."""
    network.to(device).eval()
    parts: dict[str, list[Tensor]] = {name: [] for name in network.stage_names}
    for places in torch.arange(len(images)).split(_BATCH):
        with devices.autocast(device, dtype):
            maps, _ = network.run_all(to_float(images.take(places), device))
        for name, found in maps.items():
            parts[name].append(found.float().mean((2, 3)).double().cpu())
    return {name: torch.cat(found) for name, found in parts.items()}


def _probe_accuracy(features: Tensor, labels: Tensor, fit: Tensor, test: Tensor) -> float:
    """Accuracy on the test images of a multinomial logistic regression with a ridge, fitted to others."""
    mean, spread = features[fit].mean(0), features[fit].std(0, unbiased=False).clamp_min(1e-9)
    design = torch.cat([(features - mean) / spread, torch.ones(len(features), 1)], 1).numpy()
    classes = int(labels.max()) + 1
    truth = np.eye(classes)[labels[fit].numpy()]
    penalised = np.ones((design.shape[1], 1))
    penalised[-1] = 0  # the intercept
    problem = LogisticProblem(design[fit.numpy()], truth, RIDGE, penalised, divisor=len(fit))
    layer = fit_logistic(problem, 300)[0].reshape(-1, classes)
    return float(((design[test.numpy()] @ layer).argmax(1) == labels[test].numpy()).mean())
