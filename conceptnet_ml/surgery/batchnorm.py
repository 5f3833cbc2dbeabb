"""Statistics of activations: their moments; batch norms' running ones after an operation."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from conceptnet_ml.network.batch_norms import estimate_batch_norms
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.surgery.dependency_graph import dependency_group

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass
class Moments:
    """Sums over rows (n, C) of activations, in double on the CPU; batches are added one by one.

    Args:
        count: n.
        total: (C,) sums.
        squares: (C, C) sums of products, or (C,) of squares.
    """

    count: int = 0
    total: Any = 0.0
    squares: Any = 0.0

    def add(self, rows: Tensor, products: bool = True) -> None:
        """Add rows, with all products of their columns or with squares alone."""
        rows = rows.double()
        self.count += len(rows)
        self.total = self.total + rows.sum(0).cpu()
        self.squares = self.squares + (rows.T @ rows if products else rows.square().sum(0)).cpu()

    @property
    def mean(self) -> Tensor:
        """(C,)."""
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """(C, C), or the variances (C,) where squares alone were added."""
        mean = self.mean
        return self.squares / self.count - (mean[:, None] * mean if self.squares.ndim == 2 else mean.square())


def channel_rows(maps: Tensor) -> Tensor:
    """Maps (B, C, h, w) as rows (B·h·w, C)."""
    return maps.detach().movedim(1, -1).flatten(0, -2)


@torch.no_grad()
def recalibrate(
    network: StagedNetwork,
    batches: Sequence[Tensor],
    reference: StagedNetwork | None = None,
    since: str | None = None,
) -> None:
    """Re-estimate running statistics in place, as :func:`estimate_batch_norms` does, or correct them.

    Args:
        network: Only its running statistics change; modes stay.
        batches: Float images (B, 3, H, W), of one size if their parts are to count alike.
        reference: The network before it was operated on. Statistics are then only corrected by what the operation
            changed in them: shifted by the difference of the means, scaled by the ratio of the variances. So what the
            operation did not change stays the same exactly, for any images.
        since: Only batch norms behind this stage; None for all.

    Cost: one pass of the images, one more for a reference.
    """
    after = _statistics(network, batches)
    before = _statistics(reference, batches) if reference is not None else {}
    if since is not None:
        trace = dependency_group(network, since).trace
        later = trace.data[trace.data.index(trace.places[since]) + 1 :]
        after = {str(node.target): after[str(node.target)] for node in later if str(node.target) in after}
    for name, (mean, variance) in after.items():
        norm = network.get_submodule(name)
        assert isinstance(norm, _BatchNorm)
        if norm.running_mean is None or norm.running_var is None:
            continue
        if name in before and norm.running_mean.shape == before[name][0].shape:
            old_mean, old_variance = before[name]
            # With eps, as batch norm computes it: the variance of a channel that is almost constant is noise.
            ratio = (variance + norm.eps) / (old_variance + norm.eps)
            mean = norm.running_mean + mean - old_mean
            variance = ((norm.running_var + norm.eps) * ratio - norm.eps).clamp_min(0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)


def _statistics(network: StagedNetwork, batches: Sequence[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """The estimated mean and variance of each batch norm; the network stays as it is."""
    norms = estimate_batch_norms(copy.deepcopy(network), (images.to(network.mean.device) for images in batches))
    return {path: (norm.running_mean, norm.running_var) for path, norm in norms.items()}  # type: ignore[misc]
