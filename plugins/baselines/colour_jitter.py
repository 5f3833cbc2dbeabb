"""Random brightness, contrast, saturation and hue: what one does who knows that colour is the cue."""

from __future__ import annotations

import torch
from torch import Tensor

from conceptnet_ml import BaselineContext, StagedNetwork, ViewMaker

STRENGTH = 0.8
"""Brightness, contrast and saturation are scaled by factors from 1 − 0.8 to 1 + 0.8 (SimCLR, arXiv 2002.05709)."""
TURN = 0.5
"""Hues are turned by up to half a circle either way, so by any angle: the strongest there is. SimCLR's 0.2 would leave
most classes of a colour cue apart."""
LUMA = (0.299, 0.587, 0.114)
"""Red, green and blue in the luminance, as in ITU-R BT.601."""


def fit(context: BaselineContext) -> StagedNetwork:
    """Train from fresh weights, as an augmentation is meant to be used, for as many epochs as the learner's network had
    in all: from the ordinary network, which fits every image through its shortcut, little is learned any more."""
    return context.train("train", context.fresh(), views(context), context.ordinary_epochs + context.epochs)


def views(context: BaselineContext) -> ViewMaker:
    """Every image with its own random colours and its own label."""
    plain = context.plain

    def make(indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images, labels = plain(indices, generator)
        draws = torch.rand(len(images), 4, generator=generator).mul(2).sub(1).to(images.device)
        return jittered(images, draws), labels

    return make


def jittered(images: Tensor, draws: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue of each image changed, in this order, each clipped to [0, 1].

    Args:
        images: Floats in [0, 1] (B, 3, H, W).
        draws: (B, 4) in [−1, 1], how far each of the four is changed; 0 leaves it.
    """
    bright, contrast, saturation = (1 + STRENGTH * draws[:, :3]).T[:, :, None, None, None]
    luma = images.new_tensor(LUMA).view(1, 3, 1, 1)
    images = (images * bright).clamp(0, 1)
    images = _blend(images, (images * luma).sum(1, keepdim=True).mean((2, 3), keepdim=True), contrast)
    images = _blend(images, (images * luma).sum(1, keepdim=True), saturation)
    return _turned(images, TURN * draws[:, 3])


def _blend(images: Tensor, other: Tensor, weight: Tensor) -> Tensor:
    return (other + weight * (images - other)).clamp(0, 1)


def _turned(images: Tensor, turns: Tensor) -> Tensor:
    """Hues turned by these parts (B,) of a circle; value and saturation (of HSV) stay."""
    red, green, blue = images.unbind(1)
    value, least = images.amax(1), images.amin(1)
    chroma = value - least
    safe = chroma.clamp_min(1e-6)
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixth = sixth + 6 * turns[:, None, None]
    channels = []
    for start in (5, 3, 1):
        place = (start + sixth).remainder(6)
        channels.append(value - chroma * torch.minimum(place, 4 - place).clamp(0, 1))
    return torch.stack(channels, -1).permute(0, 3, 1, 2)
