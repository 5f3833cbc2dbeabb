"""Frames as one animation: WebP, or GIF with one palette for all frames."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, features

from conceptnet_ml.drawing.pictures import ImageLike, to_image
from conceptnet_ml.errors import SettingsError, nearest

SUFFIXES = (".webp", ".gif")

_QUALITY = 88

_SAMPLE = 32_000  # pixels the palette is made of

_WEBP_LIMIT = 16_383  # px a side

_BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], dtype=np.float32) / 16 - 15 / 32

_DITHER = 14.0  # levels between neighbouring colours that the pattern bridges


def animation(frames: Sequence[ImageLike], suffix: str = ".webp", fps: float = 12.0, scale: int = 1) -> bytes:
    """Frames of one size as an animation that repeats endlessly.

    A GIF has 256 colours: they are chosen once, from all frames, and mixed by a fixed pattern, so that what does not
    change in the frames does not flicker. The same frames give the same bytes.

    Args:
        frames: uint8 (C, H, W) each, or PIL images.
        suffix: ``.webp`` or ``.gif``.
        fps: Frames a second; GIF counts in hundredths of a second, and viewers slow down what is faster than 50.
        scale: Whole-number enlargement.

    Raises:
        SettingsError: As :func:`check_animation`.
        ValueError: No frames, or frames of several sizes.
    """
    check_animation(suffix, fps)
    images = [to_image(frame) for frame in frames]
    if not images:
        raise ValueError("an animation needs at least one frame")
    if len({image.size for image in images}) > 1:
        raise ValueError(f"frames of several sizes: {sorted({image.size for image in images})}")
    if scale != 1:
        size = (images[0].width * scale, images[0].height * scale)
        images = [image.resize(size, Image.Resampling.BICUBIC) for image in images]
    if suffix == ".webp" and max(images[0].size) > _WEBP_LIMIT:
        raise SettingsError(f"a WebP can be {_WEBP_LIMIT:,} px wide and high at most", "Make the frames smaller.")
    options: dict[str, Any] = {"save_all": True, "loop": 0}
    if suffix == ".webp":
        options |= {"format": "WEBP", "duration": _durations(len(images), fps, 1), "quality": _QUALITY, "method": 4}
    else:
        images = _in_one_palette(images)
        options |= {"format": "GIF", "duration": _durations(len(images), fps, 10), "optimize": False, "disposal": 1}
    buffer = io.BytesIO()
    images[0].save(buffer, append_images=images[1:], **options)
    return buffer.getvalue()


def check_animation(suffix: str, fps: float) -> None:
    """Refuse what :func:`animation` would, before the frames are made.

    Raises:
        SettingsError: Unknown suffix, a speed it cannot have, or this Pillow cannot write WebP.
    """
    if suffix not in SUFFIXES:
        raise SettingsError(f"an animation cannot be a '{suffix}' file", nearest(suffix, SUFFIXES))
    most = 50 if suffix == ".gif" else 1000
    if not 0 < fps <= most:
        raise SettingsError(f"a {suffix} cannot show {fps:g} frames a second", f"Give more than 0, at most {most}.")
    if suffix == ".webp" and not features.check("webp"):
        raise SettingsError("this installation of Pillow cannot write WebP", "Write a .gif, or reinstall pillow.")


def _durations(count: int, fps: float, unit: int) -> list[int]:
    """Milliseconds of each frame in whole units, never more than half a unit off the true time in the sum."""
    ends = [math.floor(place * 1000 / fps / unit + 0.5) * unit for place in range(count + 1)]
    return [after - before for before, after in itertools.pairwise(ends)]


def _in_one_palette(images: Sequence[Image.Image]) -> list[Image.Image]:
    stride = max(1, math.isqrt(len(images) * images[0].width * images[0].height // _SAMPLE))
    sample = np.concatenate([np.asarray(image)[::stride, ::stride] for image in images])
    palette = Image.fromarray(sample).quantize(256, Image.Quantize.MEDIANCUT, kmeans=1)
    height, width = images[0].height, images[0].width
    pattern = np.tile(_BAYER, (-(-height // 4), -(-width // 4)))[:height, :width, None] * _DITHER
    mixed = [(np.asarray(image) + pattern).clip(0, 255).round().astype(np.uint8) for image in images]
    return [Image.fromarray(image).quantize(palette=palette, dither=Image.Dither.NONE) for image in mixed]
