"""Where the true masks of parts are known: how well a detector finds them, beside the best single unit."""

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
    parts = _telling_parts(test.masks, test.labels, ctx.classes)
    if parts is None:
        return None
    numbers = torch.arange(len(test))[:: max(1, len(test) // IMAGES)]
    labels = test.labels[numbers]
    with torch.no_grad(), frozen(family):
        maps = torch.cat([family.trunk(to_float(test.take(part), ctx.device)).float() for part in numbers.split(256)])
        scores = family.detector(maps)
    cells = part_cells(test.masks, parts, numbers, labels, (maps.shape[2], maps.shape[3])).to(ctx.device)
    labels = labels.to(ctx.device)
    units = [fit_to_masks(maps[:, unit : unit + 1], cells, labels, ctx.classes) for unit in range(maps.shape[1])]
    best = max(range(len(units)), key=lambda unit: units[unit]["overlap"])
    return {
        "parts": parts,
        "detector": fit_to_masks(scores, cells, labels, ctx.classes),
        "best_unit": {"unit": best, **units[best]},
    }


def part_cells(
    masks: Mapping[str, Tensor], parts: Sequence[str], numbers: Tensor, labels: Tensor, size: tuple[int, int]
) -> Tensor:
    """The cells (B, 1, h, w) of a stage that belong to each image's part, 0 or 1: at least a fifth of the cell does.

    Args:
        masks, parts: By part, uint8 (N, H, W) of 0 and 1; and per class, the part meant.
        numbers, labels: (B,) which of the N images, and their classes.
        size: Height and width of the stage's maps.
    """
    chosen = torch.stack([masks[parts[int(c)]][n] for n, c in zip(numbers, labels, strict=True)])
    return (open_shares(chosen[:, None], size) >= CELL).float()


def fit_to_masks(scores: Tensor, cells: Tensor, labels: Tensor, classes: int) -> dict[str, Any]:
    """Overlap and coverage of the true cells, (N, 1, h, w) of 0 and 1, by score maps of that shape that are opened at
    their highest places, as many as are true; labels (N,) are class numbers."""
    opened = open_as_much(scores, cells)
    both, either = torch.minimum(opened, cells), torch.maximum(opened, cells)
    groups = [labels == c for c in range(classes)]
    coverage = [float(both[group].sum() / cells[group].sum().clamp_min(1e-9)) for group in groups]
    overlaps = [float(both[group].sum() / either[group].sum().clamp_min(1e-9)) for group in groups]
    return {"overlap": sum(overlaps) / classes, "overlaps": overlaps, "coverage": coverage}


def _telling_parts(masks: Mapping[str, Tensor], labels: Tensor, classes: int) -> list[str] | None:
    """Per class, the part that most of its images have and few others do; None where a class has none."""
    has = {name: mask.flatten(1).any(1).float() for name, mask in masks.items()}
    parts = []
    for c in range(classes):
        gaps = {name: float(one[labels == c].mean() - one[labels != c].mean()) for name, one in has.items()}
        best = max(gaps, key=lambda name: gaps[name], default=None)
        if best is None or not gaps[best] > 0.5:
            return None
        parts.append(best)
    return parts
