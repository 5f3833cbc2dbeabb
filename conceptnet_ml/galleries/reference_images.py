"""Held-out real images that a run keeps to compare its dreams with, without loading the data again."""

from __future__ import annotations

import torch

from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.results.learned_run import LearnedRun
from conceptnet_ml.steps.context import Context

STEP = "album/real"

MOST, BYTES = 512, 16 * 2**20
"""So many images, and so many bytes of them, at most."""


def draw_reference_images(ctx: Context) -> ImageSet:
    """Held-out images of a run, drawn at random once and kept in its folder."""

    def draw() -> dict[str, torch.Tensor]:
        order = torch.randperm(len(ctx.held), generator=ctx.generator("album"))
        each = ctx.size[0] * ctx.size[1] * 3
        chosen = ctx.held[order[: max(1, min(MOST, BYTES // each))]]
        return {"images": ctx.data.train.take(chosen).cpu(), "labels": ctx.labels[chosen]}

    ctx.independent(STEP)
    found = ctx.once(STEP, draw)
    return ImageSet(found["images"], found["labels"])


def kept_reference_images(opened: LearnedRun) -> ImageSet | None:
    """The same of a finished run; None where it drew no album."""
    if not opened.folder.has_step(STEP):
        return None
    found = opened.folder.step_value(STEP)
    return ImageSet(found["images"], found["labels"])
