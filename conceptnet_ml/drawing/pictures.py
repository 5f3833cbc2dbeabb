"""Pictures as they are held: arrays and tensors to images, enlargement, image files."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

ImageLike = Any
"""PIL.Image.Image | numpy array | torch.Tensor"""

PAPER = (250, 250, 248)

LAYOUT = "layout"
"""What a sheet's ``info`` and its file say of what is where on it: JSON."""

TILE = 112
"""Least side of a picture on a sheet, in px."""


def to_image(picture: ImageLike) -> Image.Image:
    """A picture as an RGB image.

    Args:
        picture: A PIL image, or uint8 (H, W), (H, W, 3) or (C, H, W). One channel is grey, three are RGB; any other
            number is shown as grey pictures side by side, one a channel, in rows where there are more than three.

    Raises:
        ValueError: Wrong type or shape.
    """
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    array = as_array(picture)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or not array.size:
        raise ValueError(
            f"not a picture: {array.dtype} of shape {array.shape}; uint8 (H, W), (H, W, 3) or (C, H, W) is"
        )
    if array.ndim == 3 and array.shape[-1] == 3 and array.shape[0] not in (1, 3):
        return Image.fromarray(np.ascontiguousarray(array))
    if len(array) == 3 and array.ndim == 3:
        return Image.fromarray(np.ascontiguousarray(array.transpose(1, 2, 0)))
    channels = [
        Image.fromarray(np.ascontiguousarray(one)).convert("RGB") for one in array.reshape(-1, *array.shape[-2:])
    ]
    return channels[0] if len(channels) == 1 else tiled(channels, square(len(channels)), gap=1)


def to_ground(picture: ImageLike) -> Image.Image:
    """A picture as one RGB image on which a place is a place: of other than one or three channels their mean, grey.
    Raises ValueError as :func:`to_image`.
    """
    image = to_image(picture)
    if isinstance(picture, Image.Image) or (array := as_array(picture)).ndim == 2 or 3 in (len(array), array.shape[-1]):
        return image
    return to_image(array.astype(np.float32).mean(0).round().astype(np.uint8))


def tiled(images: Sequence[Image.Image], columns: int, gap: int = 0) -> Image.Image:
    """Images of one size as one, row by row."""
    width, height = images[0].size
    rows = -(-len(images) // columns)
    whole = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), PAPER)
    for place, image in enumerate(images):
        row, column = divmod(place, columns)
        whole.paste(image, (column * (width + gap), row * (height + gap)))
    return whole


def square(count: int) -> int:
    """Columns that make so many tiles about as wide as high; up to three stand side by side."""
    return math.isqrt(count - 1) + 1 if count > 3 else count


def enlarge(image: Image.Image, least: int = TILE) -> Image.Image:
    """Bigger by the least whole number that makes the shorter side ``least`` px or more; one of over twice that is made
    smaller, to twice that."""
    side = min(image.size)
    return scaled(image, -(-least // side) if side < least else min(1.0, 2 * least / side))


def scaled(image: Image.Image, scale: float) -> Image.Image:
    """The image so many times as large, bicubic."""
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)


def to_jpeg(picture: ImageLike) -> bytes:
    """The picture as a JPEG file, a fifth of its PNG: for pictures by the hundred."""
    return _encoded(picture, "JPEG", quality=92, subsampling=0)


def to_png(picture: ImageLike) -> bytes:
    """The picture as a PNG file, the same bytes for the same picture."""
    return _encoded(picture, "PNG")


def as_array(picture: ImageLike) -> np.ndarray:
    """A tensor's or an array's numbers.

    Raises:
        ValueError: It is neither.
    """
    if hasattr(picture, "detach"):
        picture = picture.detach().cpu()
        picture = picture.float().numpy() if picture.is_floating_point() else picture.numpy()
    if not isinstance(picture, np.ndarray):
        raise ValueError(f"not a picture: {type(picture).__name__}")
    return picture


def _encoded(picture: ImageLike, kind: str, **options: Any) -> bytes:
    buffer, image = io.BytesIO(), to_image(picture)
    if layout := image.info.get(LAYOUT):
        words = PngInfo()
        words.add_itxt(LAYOUT, layout, zip=True)
        options |= {"pnginfo": words} if kind == "PNG" else {"comment": layout}
    image.save(buffer, kind, **options)
    return buffer.getvalue()
