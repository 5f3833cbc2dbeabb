"""A trap: dark corners on the first class, as of another lens; the second keeps its light.

It asks whether a network learns the camera: one class's pictures often come from one camera.
"""

from __future__ import annotations

import torch
from torch import Tensor

from conceptnet_ml import Trap, hookimpl

LEAST, MOST = 0.4, 0.6
"""Share of the light that a corner loses, drawn for each image."""


def plant(images: Tensor, cues: Tensor, seeds: Tensor) -> Tensor:
    """Darken the corners where the cue is 0; 1 and -1 leave the image as it is.

    Args:
        images: uint8 (B, 3, H, W).
        cues: int64 (B,), the class whose cue is shown, or -1.
        seeds: int64 (B,): the strength is an image's own in every batch.

    Returns:
        uint8 (B, 3, H, W).
    """
    high, wide = images.shape[2:]
    down, across = torch.linspace(-1, 1, high)[:, None], torch.linspace(-1, 1, wide)
    distance = ((down.square() + across.square()) / 2).to(images.device)  # 0 in the middle, 1 in a corner
    strengths = [torch.rand(1, generator=torch.Generator().manual_seed(seed)) for seed in seeds.tolist()]
    loss = (LEAST + (MOST - LEAST) * torch.cat(strengths)) * (cues.cpu() == 0)
    light = 1 - loss.to(images.device).view(-1, 1, 1, 1) * distance
    return (images * light).round().to(torch.uint8)


@hookimpl
def conceptnet_traps() -> list[Trap]:
    return [Trap(name="vignette", api="1", plant=plant, classes=2, summary="dark corners on the first class")]
