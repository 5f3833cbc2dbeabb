"""Running statistics of batch norms: estimated from images, and after a training too short to have settled them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from conceptnet_ml.network.training import TrainingJob, ViewMaker, augment
from conceptnet_ml.runtime import devices, layout, seeding

UNSETTLED = 0.01
"""Weight that the values from before a training may have in the running statistics after it."""

BATCHES = 16
"""Batches of training views that statistics are estimated from again."""


@torch.no_grad()
def estimate_batch_norms(
    network: nn.Module, batches: Iterable[Tensor], only: Container[str] | None = None
) -> dict[str, _BatchNorm]:
    """Estimate running statistics from these images alone, in place: the mean over the batches of their moments.

    Batches, float images (B, 3, H, W), count alike whatever their sizes. The network is left in evaluation mode.
    Returns the batch norms, by path; with ``only``, those of these paths alone are estimated.
    """
    found = {path: part for path, part in network.named_modules() if isinstance(part, _BatchNorm)}
    norms = {path: norm for path, norm in found.items() if norm.track_running_stats and (only is None or path in only)}
    momenta = [norm.momentum for norm in norms.values()]
    network.eval()
    for norm in norms.values():
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
        norm.train()
    if norms:
        for images in batches:
            network(images)
    for norm, momentum in zip(norms.values(), momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    return norms


def settle_batch_norms(network: nn.Module, views: ViewMaker, job: TrainingJob) -> bool:
    """Estimate running statistics again where a training was too short for them; returns whether it was.

    After n steps of momentum m the values from before have the weight (1 − m)ⁿ. Variances begin at one, often many
    times the true ones, so a network that was trained well may answer at chance: for 43 steps with the usual momentum
    of 0.1, for 458 with MobileNet's 0.01. Batch norms that are in evaluation mode in training, too, stay as they are.

    Views are augmented as in training, by random numbers of their own. Cost: :data:`BATCHES` batches forward, or none.
    """
    network.train()
    norms = {path: part for path, part in network.named_modules() if isinstance(part, _BatchNorm)}
    moving = {path: norm.momentum for path, norm in norms.items() if norm.training and norm.track_running_stats}
    network.eval()
    short = any(momentum is not None and (1 - momentum) ** job.steps > UNSETTLED for momentum in moving.values())
    if short:
        with devices.autocast(job.device, job.dtype):
            estimate_batch_norms(network, _augmented(views, job, layout.is_narrow(network)), moving)
    return short


def _augmented(views: ViewMaker, job: TrainingJob, narrow: layout.Narrow) -> Iterator[Tensor]:
    for number in range(BATCHES):
        generator = seeding.generator(seeding.seed_for(job.seed, "batch norms", number))
        images, _ = views(torch.randperm(job.images, generator=generator)[: job.batch], generator)
        yield layout.arranged(augment(images, job.settings, generator), narrow)
