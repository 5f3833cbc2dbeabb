"""A generalizer: the contrast between the units inside and outside the probes' gates, in closed form.

It pays on backbones with many units: the built-in ``detector`` takes hundreds of gradient steps at a rate that must
fit; this is linear discriminant analysis (Fisher 1936), a few C × C systems over statistics taken once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from conceptnet_ml import Detector, Generalizer, MergeEvidence, hookimpl

RIDGE = 0.1
"""Added to the variance of every normalised unit, 1 by itself: units that repeat each other share the weight."""
EVENNESS = 10.0
"""Weight of the differences between classes, counted as noise: a generalized feature must not tell the class."""
PASSES = 3
"""The places where the detector answers most depend on it, so their differences are added pass by pass."""


def merge(evidence: MergeEvidence) -> Detector:
    """A 1×1 convolution whose logit is the log odds that a place is inside a gate, each class counted alike.

    Units are taken as normal inside and outside, with one covariance. Cost: one (N·h·w, C) product with itself and
    ``PASSES`` with a vector.
    """
    maps, inside = evidence.maps, evidence.targets.flatten(1)[..., None]
    detector = Detector(maps.mean((0, 2, 3)), maps.std((0, 2, 3)).clamp_min(1e-3)).to(maps.device)
    units = ((maps - detector.mean) / detector.scale).flatten(2).transpose(1, 2)
    opened, closed = _middles(units, inside, evidence.parents), _middles(units, 1 - inside, evidence.parents)
    within, without = opened.mean(0), closed.mean(0)
    rest = (units - inside * within - (1 - inside) * without).flatten(0, 1)
    noise = rest.T @ rest / len(rest) + RIDGE * torch.eye(rest.shape[1], device=rest.device)
    uneven, weight = [opened - within, closed - without], within - without
    for _ in range(PASSES):
        tells = torch.cat(uneven)
        weight = torch.linalg.solve(noise + EVENNESS * tells.T @ tells, within - without)
        scores = units @ weight
        strongest = scores.topk(max(1, round(0.1 * scores.shape[1])), dim=1).indices
        peaks = _middles(units, torch.zeros_like(scores).scatter(1, strongest, 1.0)[..., None], evidence.parents)
        uneven.append(peaks - peaks.mean(0))
    with torch.no_grad():
        detector.weight.weight.copy_(weight.view(1, -1, 1, 1))
        share = inside.mean().clamp(1e-3, 1 - 1e-3)
        detector.weight.bias.fill_(float(torch.logit(share) - weight @ (within + without) / 2))
    return detector.eval().requires_grad_(False)


def _middles(units: Tensor, weights: Tensor, parents: Tensor) -> Tensor:
    """Each parent's weighted mean of units (N, places, C); zero, the mean of all, where nothing has a weight."""
    total, sums = weights.sum(1), (units * weights).sum(1)
    groups = [parents == parent for parent in parents.unique()]
    return torch.stack([sums[mine].sum(0) / total[mine].sum().clamp_min(1e-6) for mine in groups])


@hookimpl
def conceptnet_generalizers() -> list[Generalizer]:
    """The default ``restore`` serves: what ``merge`` returns is the core's own Detector."""
    return [Generalizer(name="contrast", api="1", merge=merge, summary="closed form: units inside against outside")]
