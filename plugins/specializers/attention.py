"""Split a generalized feature into one variant per class or parent."""

from __future__ import annotations

import torch
from torch import nn

from conceptnet_ml import Detector, SplitEvidence, Variants

STEPS = 200
RATE = 0.05
DECAY = 1e-2
"""L2 penalty on the variants' weights, towards the exact split they start from."""


def split(evidence: SplitEvidence) -> Variants:
    """Variants that start as an exact split of the detector and learn to tell the parents apart where it looks.

    The copies' shares are unequal and sum to one, so that at the start Σ_c v_c(x) is the detector's own answer at the
    places it looks at, and the copies get different gradients. Then cross entropy on the parents, full-batch Adam.

    Cost: ``STEPS`` products of an (N, C) matrix with (C, parents).
    """
    detector = evidence.detector
    maps = evidence.maps
    if isinstance(detector, Detector):
        mean, scale = detector.mean.flatten(), detector.scale.flatten()
    else:
        mean, scale = maps.mean((0, 2, 3)), maps.std((0, 2, 3)).clamp_min(1e-3)
    variants = Variants(mean, scale, evidence.count, evidence.settings.temperature).to(maps.device)
    if isinstance(detector, Detector):
        _split_exactly(variants, detector)
    with torch.no_grad():
        reads = (variants.read(maps, detector(maps)) - variants.mean) / variants.scale
    start = [parameter.detach().clone() for parameter in variants.parameters()]
    optimizer = torch.optim.Adam(variants.parameters(), lr=RATE)
    for _ in range(STEPS):
        loss = nn.functional.cross_entropy(variants.weight(reads), evidence.parents)
        pull = sum((now - then).square().sum() for now, then in zip(variants.parameters(), start, strict=True))
        optimizer.zero_grad()
        (loss + DECAY * pull).backward()
        optimizer.step()
    return variants.eval().requires_grad_(False)


def _split_exactly(variants: Variants, detector: Detector) -> None:
    """Copies with unequal shares that sum to one: half of them a little more than their part, half a little less."""
    count = variants.weight.out_features
    shares = 1 + 0.2 * torch.linspace(-1, 1, count)
    shares = (shares / shares.sum()).to(detector.weight.weight.device)
    with torch.no_grad():
        assert detector.weight.bias is not None
        variants.weight.weight.copy_(shares[:, None] * detector.weight.weight.flatten()[None])
        variants.weight.bias.copy_(shares * detector.weight.bias)
