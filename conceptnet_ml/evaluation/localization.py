"""Where the true masks of parts are known: does a detector find them, and how does it compare with single units?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.concepts.model import Family
from conceptnet_ml.concepts.scores import open_as_much, open_shares
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.network.training import to_float
from conceptnet_ml.steps.context import Context

IMAGES = 600

CELL = 0.2


def compare_with_masks(ctx: Context, family: Family) -> dict[str, Any] | None:
    """Overlap and coverage of the true masks by the detector and by the best single unit of the stage.

    A class's true mask is the part that most of its images and hardly any other class's have; a cell of the stage
    belongs to it if at least a fifth of the cell does. Maps are opened at their highest places, over all classes
    together, until as many cells are open as the masks have. *Coverage* of a class is the share of its masks' cells
    found; *overlap* is the intersection over union within a class, averaged over the classes, so that a map that knows
    one class only cannot do well. The best single unit is the one with the greatest overlap.

    Returns:
        None where the data knows no masks of parts for every class.
    """
    test = ctx.data.tests["test"]
    known = _parts(test.masks, test.labels, ctx.classes)
    if known is None:
        return None
    parts = [known[c] for c in range(ctx.classes)]
    numbers = torch.arange(len(test))[:: max(1, len(test) // IMAGES)]
    labels = test.labels[numbers]
    with torch.no_grad(), frozen(family):
        maps = torch.cat([family.trunk(to_float(test.take(part), ctx.device)).float() for part in numbers.split(256)])
        found = family.detector(maps)
    targets = part_cells(test.masks, parts, numbers, labels, (maps.shape[2], maps.shape[3])).to(ctx.device)
    labels = labels.to(ctx.device)
    detector = fit_to_masks(found, targets, labels, ctx.classes)
    units = [fit_to_masks(maps[:, unit : unit + 1], targets, labels, ctx.classes) for unit in range(maps.shape[1])]
    best = max(range(len(units)), key=lambda unit: units[unit]["overlap"])
    return {"parts": parts, "detector": detector, "best_unit": {"unit": best, **units[best]}}


def part_cells(
    masks: Mapping[str, Tensor], parts: Sequence[str], numbers: Tensor, labels: Tensor, size: tuple[int, int]
) -> Tensor:
    """The cells of a stage that belong to each image's part: at least a fifth of the cell does.

    Args:
        masks: By part, uint8 (N, H, W) of 0 and 1.
        parts: Per class, the part meant.
        numbers, labels: (B,) which of the N images, and their classes.
        size: Height and width of the stage's maps.

    Returns:
        (B, 1, h, w) floats, 0 or 1.
    """
    chosen = torch.stack([masks[parts[int(c)]][n] for n, c in zip(numbers, labels, strict=True)])
    return (open_shares(chosen[:, None], size) >= CELL).float()


def fit_to_masks(scores: Tensor, targets: Tensor, labels: Tensor, classes: int) -> dict[str, Any]:
    """Overlap and coverage of the true cells by a score map that is opened at its highest places, as many as are true.

    Args:
        scores: (N, 1, h, w).
        targets: (N, 1, h, w), 0 or 1.
        labels: (N,).
        classes: How many there are.
    """
    opened = open_as_much(scores, targets)
    both, either = torch.minimum(opened, targets), torch.maximum(opened, targets)
    coverage = [float(both[labels == c].sum() / targets[labels == c].sum().clamp_min(1e-9)) for c in range(classes)]
    overlaps = [float(both[labels == c].sum() / either[labels == c].sum().clamp_min(1e-9)) for c in range(classes)]
    return {"overlap": sum(overlaps) / classes, "overlaps": overlaps, "coverage": coverage}


def _parts(masks: dict[str, Tensor], labels: Tensor, classes: int) -> dict[int, str] | None:
    """The part that tells each class: most of its images have it and few others do."""
    parts: dict[int, str] = {}
    for c in range(classes):
        best, margin = "", 0.5
        for name, mask in masks.items():
            has = mask.flatten(1).any(1).float()
            gap = float(has[labels == c].mean() - has[labels != c].mean())
            if gap > margin:
                best, margin = name, gap
        if not best:
            return None
        parts[c] = best
    return parts
