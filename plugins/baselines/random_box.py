"""The control for the dream: the same transplants, donors and labels, but the place is a random box."""

from __future__ import annotations

import torch
from torch import Tensor

from conceptnet_ml import BaselineContext, ViewMaker


def views(context: BaselineContext) -> ViewMaker:
    """Every image gets a box of a random donor of any class; boxes cover, on average, what the learner's swaps do."""
    plain, donors = context.plain, context.plain.donors

    def make(indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        numbers = plain.pool[indices]
        images = plain.raw(numbers)
        material = plain.raw(donors.uniform(len(numbers), generator))
        boxes = _boxes(len(numbers), images.shape[2], images.shape[3], context.share, generator).to(images.device)
        return torch.where(boxes, material, images), plain.images.labels[numbers].to(images.device)

    return make


def _boxes(count: int, height: int, width: int, share: float, generator: torch.Generator) -> Tensor:
    """(count, 1, H, W) booleans: one box each, its area 0.5–1.5 times the share of the image, its shape random."""
    area = share * (0.5 + torch.rand(count, generator=generator))
    aspect = torch.exp((torch.rand(count, generator=generator) - 0.5) * 1.4)
    tall, wide = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    top = torch.rand(count, generator=generator) * (1 - tall)
    left = torch.rand(count, generator=generator) * (1 - wide)
    rows = ((torch.arange(height) + 0.5) / height)[None]
    columns = ((torch.arange(width) + 0.5) / width)[None]
    inside_rows = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
    inside_columns = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
    return (inside_rows[:, :, None] & inside_columns[:, None, :])[:, None]
