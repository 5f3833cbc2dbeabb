"""Batch norm's statistics after an operation on the network."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.surgery.dependency_graph import dependency_group

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@torch.no_grad()
def recalibrate(
    network: StagedNetwork,
    batches: Sequence[Tensor],
    reference: StagedNetwork | None = None,
    since: str | None = None,
) -> None:
    """Take batch norm's running statistics anew, in place: their mean over the batches, as training mode sees them.

    Args:
        network: Nothing but its running statistics changes; modes stay.
        batches: Float images (B, 3, H, W), of one size if their parts are to count alike.
        reference: The network before it was operated on. Given that, statistics are only corrected by what the
            operation changed in them: shifted by the difference of the means, scaled by the ratio of the variances.
            What an operation leaves as it was then stays as it was, exactly, whichever images are at hand.
        since: Only batch norms behind this stage; None for all.

    Cost: one pass of the images, one more for a reference.
    """
    after = _statistics(network, batches)
    before = _statistics(reference, batches) if reference is not None else None
    behind = None if since is None else _behind(network, since)
    for name, (mean, variance) in after.items():
        norm = network.get_submodule(name)
        assert isinstance(norm, NORMS)
        if (behind is not None and name not in behind) or norm.running_mean is None or norm.running_var is None:
            continue
        if before is not None and norm.running_mean.shape == before[name][0].shape:
            old_mean, old_variance = before[name]
            # With eps, as in what batch norm computes: the variance of a channel that is all but constant is noise.
            ratio = (variance + norm.eps) / (old_variance + norm.eps)
            mean = norm.running_mean + mean - old_mean
            variance = ((norm.running_var + norm.eps) * ratio - norm.eps).clamp_min(0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)


def _behind(network: StagedNetwork, stage: str) -> set[str]:
    """Paths of the modules that run after a stage."""
    trace = dependency_group(network, stage).trace
    later = trace.data[trace.data.index(trace.places[stage]) + 1 :]
    return {str(node.target) for node in later if node.op == "call_module"}


def _statistics(network: StagedNetwork, batches: Sequence[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean over the batches of each batch norm's mean and variance; the network stays as it is."""
    probe = copy.deepcopy(network).eval()
    norms = {name: part for name, part in probe.named_modules() if isinstance(part, NORMS) and part.track_running_stats}
    for norm in norms.values():
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
        norm.train()
    with torch.no_grad():
        for images in batches:
            probe(images.to(network.mean.device))
    return {name: (norm.running_mean, norm.running_var) for name, norm in norms.items()}  # type: ignore[misc]
