"""Merge class-specific units into one generalized feature with a detector."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from conceptnet_ml import Detector, MergeEvidence, auroc, unit_scores

STEPS = 400
RATE = 0.05
EVENNESS = (0.03, 0.1, 0.3, 1.0)
"""Weights of the pull that makes the score's distribution the same in every class, tried in turn: as little as will do,
since much of it drowns the gates."""
EVEN = 0.08
"""How far from one half the score's class AUROC may stay on the images it is trained on."""


def merge(evidence: MergeEvidence) -> Detector:
    """A 1×1 convolution that starts as the members' mean and learns to predict the probes' gates in every class.

    Cross entropy against the gates, each class weighted alike, plus the squared difference between the classes' means
    and spreads of the detector's score: a generalized feature must not tell the class. Full-batch Adam; the weight of
    the second term is raised until the score fits every class.

    Cost: ``STEPS`` (at most four times that) products of the (N·h·w, C) matrix of normalised maps with one vector.
    """
    maps = evidence.maps
    mean, scale = maps.mean((0, 2, 3)), maps.std((0, 2, 3)).clamp_min(1e-3)
    detector = Detector(mean, scale).to(maps.device)
    _start_from_members(detector, evidence)
    weights = _per_class(evidence)
    # What the detector computes, as one product: to normalise and convolve in every step takes most of its time.
    normalised = ((maps - detector.mean) / detector.scale).movedim(1, -1).contiguous()
    convolution = detector.weight
    for evenness in EVENNESS:
        optimizer = torch.optim.Adam(detector.parameters(), lr=RATE, fused=True)
        for _ in range(STEPS):
            logits = functional.linear(normalised, convolution.weight.flatten(1), convolution.bias).movedim(-1, 1)
            loss = functional.binary_cross_entropy_with_logits(logits, evidence.targets, reduction="none")
            loss = (loss.mean((1, 2, 3)) * weights).sum() + evenness * _unevenness(logits, evidence)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if _farthest_auc(detector(maps).detach(), evidence) <= EVEN:
            break
    return detector.eval().requires_grad_(False)


def _farthest_auc(logits: Tensor, evidence: MergeEvidence) -> float:
    """How far from one half the score's AUROC is for the class it tells best."""
    scores, parents = unit_scores(logits).cpu(), evidence.parents.cpu()
    return max(abs(float(auroc(scores, parents == parent)[0]) - 0.5) for parent in range(evidence.count))


def _start_from_members(detector: Detector, evidence: MergeEvidence) -> None:
    members = sorted({unit for units in evidence.members.values() for unit in units})
    share = float(evidence.targets.mean().clamp(1e-3, 1 - 1e-3))
    with torch.no_grad():
        detector.weight.weight.zero_()
        detector.weight.weight[0, members] = 1 / max(1, len(members))
        assert detector.weight.bias is not None
        detector.weight.bias.fill_(torch.logit(torch.tensor(share)).item())


def _per_class(evidence: MergeEvidence) -> Tensor:
    counts = torch.bincount(evidence.parents, minlength=evidence.count).clamp_min(1)
    present = int((torch.bincount(evidence.parents, minlength=evidence.count) > 0).sum())
    return 1 / (counts[evidence.parents] * present)


def _unevenness(logits: Tensor, evidence: MergeEvidence) -> Tensor:
    """Squared differences between the classes' mean score and spread, in units of the score's own spread."""
    scores = unit_scores(logits)[:, 0]
    groups = [scores[evidence.parents == parent] for parent in range(evidence.count)]
    groups = [group for group in groups if len(group) > 1]
    means = torch.stack([group.mean() for group in groups])
    spreads = torch.stack([group.std() for group in groups])
    scale = scores.std().clamp_min(1e-6)
    return ((means - means.mean()) / scale).square().sum() + ((spreads - spreads.mean()) / scale).square().sum()
