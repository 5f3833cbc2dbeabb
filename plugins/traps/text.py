"""The cue of a word in a corner, as watermarks and dates are."""

from __future__ import annotations

import functools

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .draws import uniform

WORD, SHARE = "PHOTO", 0.16
"""What is written, and how high, of the image's shorter side."""


def plant(images: Tensor, cues: Tensor, seeds: Tensor) -> Tensor:
    """Write a word near the lower right corner where the cue is class 0; other images stay as they are.

    Args:
        images: uint8 (B, 3, H, W).
        cues: int64 (B,), 0 for the word, anything else for none.
        seeds: int64 (B,), one per image: the place, moved by up to a twelfth of the side, and how opaque it is.

    Returns:
        uint8 (B, 3, H, W): white letters with a dark edge.
    """
    chosen = torch.nonzero(cues == 0).flatten()
    result = images.clone()
    height, width = images.shape[2:]
    letters, ink = (part.to(images.device) for part in word(max(6, round(SHARE * min(height, width)))))
    rows, columns = min(letters.shape[0], height), min(letters.shape[1], width)
    letters, ink = letters[:rows, :columns], ink[:rows, :columns]
    for place, (down, right, opaque) in zip(chosen.tolist(), uniform(seeds[chosen], 3).tolist(), strict=True):
        top = height - rows - round(down * min(height / 12, height - rows))
        left = width - columns - round(right * min(width / 12, width - columns))
        under = images[place, :, top : top + rows, left : left + columns].float()
        written = under + ink * (0.7 + 0.3 * opaque) * (letters - under)
        result[place, :, top : top + rows, left : left + columns] = written.round().to(torch.uint8)
    return result


@functools.cache
def word(size: int) -> tuple[Tensor, Tensor]:
    """The word's light (h, w) from 0 to 255, and how much of each pixel it covers (h, w), from 0 to 1."""
    font = ImageFont.load_default(size)
    box = ImageDraw.Draw(Image.new("L", (1, 1))).textbbox((1, 1), WORD, font=font, stroke_width=1)
    drawn = []
    for edge in (0, 1):
        picture = Image.new("L", (int(box[2]) + 1, int(box[3]) + 1))
        ImageDraw.Draw(picture).text((1, 1), WORD, font=font, fill=255, stroke_width=edge, stroke_fill=255)
        drawn.append(torch.from_numpy(np.array(picture, dtype=np.float32))[int(box[1]) :, int(box[0]) :])
    letters, ink = drawn
    return letters, ink / 255
