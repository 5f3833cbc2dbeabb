"""The cues of print: what is written in the colour of its class, and the paper around it in another one of its own.

Together, as ``ink+paper``, they are the two cues of FB-Biased-MNIST, foreground and background, as vb-mitigator makes
it. There is no noise, and no shade: ink is one even colour, however light the pixel was.
"""

from __future__ import annotations

import torch
from torch import Tensor

from conceptnet_ml import TrapGround
from conceptnet_ml.errors import DataError

from .coloured import check_colours, check_grey

INK = (
    (255, 50, 50),
    (50, 255, 50),
    (50, 50, 255),
    (225, 225, 50),
    (225, 50, 225),
    (50, 255, 255),
    (255, 128, 50),
    (255, 50, 128),
    (128, 50, 255),
    (50, 50, 50),
)
"""One a class. None is black: what was written stays told from what was not."""
PAPER = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (225, 225, 0),
    (225, 0, 225),
    (0, 255, 255),
    (255, 128, 0),
    (255, 0, 128),
    (128, 0, 255),
    (128, 128, 128),
)
LEAST = 0.1
"""Least share of black pixels that is taken for paper."""


def prepare_ink(ground: TrapGround) -> None:
    """Refuse images with colours, of which all would be lost, and more classes than inks. Raises DataError."""
    check_colours("ink", ground, len(INK))
    mend = "Choose grey images, such as digits; where there is paper, too, the ink comes first: ink+paper."
    check_grey("ink", ground, mend)


def prepare_paper(ground: TrapGround) -> None:
    """Refuse images that are not drawn on black, and more classes than papers. Raises DataError."""
    check_colours("paper", ground, len(PAPER))
    share = float((ground.sample.amax(1) == 0).float().mean())
    if share < LEAST:
        raise DataError(
            f"trap 'paper' needs images on black; of those of {ground.name} {share:.0%} is black.",
            "Choose another trap, such as border or tint, or images such as digits.",
        )


def plant_ink(images: Tensor, cues: Tensor, seeds: Tensor) -> Tensor:
    """Give every pixel that is not black the ink of the image's cue; -1 leaves the image as it is.

    Args:
        images: uint8 (B, 3, H, W).
        cues: int64 (B,), 0 to 9 or -1.
        seeds: Not used: the ink is the same for all images of a class.

    Returns:
        uint8 (B, 3, H, W).
    """
    return _painted(images, cues, INK, images.amax(1, keepdim=True) > 0)


def plant_paper(images: Tensor, cues: Tensor, seeds: Tensor) -> Tensor:
    """Give every black pixel the paper of the image's cue; :func:`plant_ink` otherwise."""
    return _painted(images, cues, PAPER, images.amax(1, keepdim=True) == 0)


def _painted(images: Tensor, cues: Tensor, colours: tuple[tuple[int, ...], ...], where: Tensor) -> Tensor:
    cues = cues.to(images.device)
    paint = torch.tensor(colours, dtype=torch.uint8, device=images.device)[cues.clamp_min(0)][:, :, None, None]
    return torch.where(where & (cues >= 0).view(-1, 1, 1, 1), paint, images)
