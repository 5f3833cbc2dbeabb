"""How well a score map fits true or probed places."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.concepts.scores import auroc, unit_scores


def map_quality(logits: Tensor, targets: Tensor, parents: Tensor, count: int) -> dict[str, Any]:
    """How well a detector's map fits the gates: class AUC, coverage per class, overlap.

    Args:
        logits: (N, 1, h, w), any score map.
        targets: (N, 1, h, w) in [0, 1], the gates' open share of each cell.
        parents: (N,).
        count: Number of parents.
    """
    scores = unit_scores(logits).cpu()
    aucs = [float(auroc(scores, parents.cpu() == parent)[0]) for parent in range(count)]
    found = open_as_much(logits, targets)
    covered = []
    for parent in range(count):
        mine = parents == parent
        covered.append(float((found * targets)[mine].sum() / targets[mine].sum().clamp_min(1e-9)))
    both = torch.minimum(found, targets).sum()
    return {
        "auc": aucs,
        "coverage": covered,
        "overlap": float(both / torch.maximum(found, targets).sum().clamp_min(1e-9)),
    }


def open_as_much(scores: Tensor, targets: Tensor) -> Tensor:
    """The highest-scoring places of all images together, as many as the targets have open area; 0 or 1."""
    count = max(1, min(scores.numel(), round(float(targets.sum()))))
    # Exactly so many: a unit that is silent almost everywhere must not be credited with all its zeros.
    opened = torch.zeros(scores.numel(), device=scores.device)
    opened[scores.flatten().topk(count).indices] = 1
    return opened.view(scores.shape)
