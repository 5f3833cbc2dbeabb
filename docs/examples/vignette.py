"""A trap: dark corners on the first class, as of another lens; the second keeps its light.

It asks whether a network learns the camera: one class's pictures often come from one camera. How dark they are is a
setting of its own, ``--set plugin.vignette.least=0.2``.
"""

from __future__ import annotations

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from conceptnet_ml import Trap, hookimpl


class Dark(BaseModel):
    """Share of the light that a corner loses, drawn for each image between the two."""

    least: float = Field(0.4, ge=0, le=1, description="least share of the light that a corner loses")
    most: float = Field(0.6, ge=0, le=1, description="most of it")


def plant(images: Tensor, cues: Tensor, seeds: Tensor, own: Dark) -> Tensor:
    """Darken the corners where the cue is 0; 1 and -1 leave the image as it is.

    Args:
        images: uint8 (B, 3, H, W).
        cues: int64 (B,), the class whose cue is shown, or -1.
        seeds: int64 (B,): the strength is an image's own in every batch.
        own: The settings.

    Returns:
        uint8 (B, 3, H, W).
    """
    high, wide = images.shape[2:]
    down, across = torch.linspace(-1, 1, high)[:, None], torch.linspace(-1, 1, wide)
    distance = ((down.square() + across.square()) / 2).to(images.device)  # 0 in the middle, 1 in a corner
    strengths = [torch.rand(1, generator=torch.Generator().manual_seed(seed)) for seed in seeds.tolist()]
    loss = (own.least + (own.most - own.least) * torch.cat(strengths)) * (cues.cpu() == 0)
    light = 1 - loss.to(images.device).view(-1, 1, 1, 1) * distance
    return (images * light).round().to(torch.uint8)


@hookimpl
def conceptnet_traps() -> list[Trap]:
    about = "dark corners on the first class"
    return [Trap(name="vignette", api="1", plant=plant, settings=Dark, classes=2, summary=about)]
