"""Images of any number of channels in NumPy's ``.npy`` files, as uint8 tensors.

The files' heads are read here: ``numpy.load`` parses them as Python, and the parser of CPython 3.11 fails now and then
where several threads use it at a time, as those that read images do.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

SUFFIX = ".npy"

MOST_CHANNELS = 64
"""Of an image; a longer side is its height or its width."""

_KIND = re.compile(r"'descr': *'([<>|=]?[a-zA-Z]\d*)'")
_ORDER = re.compile(r"'fortran_order': *(True|False)")
_SHAPE = re.compile(r"'shape': *\(([\d, ]*)\)")


@dataclass(frozen=True)
class _Head:
    """What a ``.npy`` file says of its values, and at which byte they begin."""

    kind: np.dtype
    by_columns: bool
    shape: tuple[int, ...]
    begin: int

    @staticmethod
    def of(path: Path | str) -> _Head:
        """Raises ValueError where the file is none, or holds no plain numbers."""
        with open(path, "rb") as file:
            major, _ = np.lib.format.read_magic(file)
            form = "<H" if major == 1 else "<I"
            (length,) = struct.unpack(form, file.read(struct.calcsize(form)))
            text = file.read(length).decode("latin-1")
            kind, order, shape = (pattern.search(text) for pattern in (_KIND, _ORDER, _SHAPE))
            if kind is None or order is None or shape is None:
                raise ValueError("it holds no array of plain numbers")
            sides = tuple(int(side) for side in shape[1].split(",") if side.strip())
            return _Head(np.dtype(kind[1]), order[1] == "True", sides, file.tell())


def is_array(path: object) -> bool:
    """Whether this is the path of an array."""
    return isinstance(path, str | Path) and Path(path).suffix.lower() == SUFFIX


def array_shape(path: Path | str) -> tuple[int, int, int]:
    """(C, H, W) of an array's image, from the file's head: three for an array (H, W), which is grey.

    Of three axes the shortest has the channels, the last of equally short ones: (H, W, C) and (C, H, W) are both read.

    Raises:
        ValueError: It is no image.
    """
    shape = _Head.of(path).shape
    axis = _channel_axis(shape)
    if axis is None:
        return 3, shape[0], shape[1]
    height, width = (side for place, side in enumerate(shape) if place != axis)
    return (3 if shape[axis] == 1 else shape[axis]), height, width


def read_array(path: Path | str, size: tuple[int, int] | None = None) -> Tensor:
    """An array's image as uint8 (C, H, W), brought to a size as pictures are, each channel by itself.

    uint8 is taken as it is, uint16 divided by 257, floats are taken as [0, 1]. One channel becomes three equal ones, as
    a grey picture's does.

    Raises:
        ValueError: It is no image, or has other values.
    """
    values = _values(path)
    axis = _channel_axis(values.shape)
    planes = values[None] if axis is None else np.moveaxis(values, axis, 0)
    levels = _levels(planes)
    if size is not None and levels.shape[1:] != size:
        fitted = [
            ImageOps.fit(Image.fromarray(np.ascontiguousarray(one)), size[::-1], method=Image.Resampling.BICUBIC)
            for one in levels
        ]
        levels = np.stack([np.array(one) for one in fitted])
    pixels = torch.from_numpy(np.ascontiguousarray(levels))
    return pixels.expand(3, -1, -1).contiguous() if len(pixels) == 1 else pixels


def _values(path: Path | str) -> np.ndarray:
    head = _Head.of(path)
    if head.kind.kind not in "buif":
        raise ValueError("it holds no array of plain numbers")
    count = math.prod(head.shape)
    values = np.fromfile(path, head.kind, count, offset=head.begin)
    if len(values) < count:
        raise ValueError("it is cut short")
    values = values.astype(head.kind.newbyteorder("="), copy=False)
    return values.reshape(head.shape, order="F" if head.by_columns else "C")


def _channel_axis(shape: tuple[int, ...]) -> int | None:
    """The axis of the channels; None for an array without one."""
    if len(shape) not in (2, 3) or not all(shape):
        raise ValueError(f"an array {shape} is no image: (H, W), (H, W, C) or (C, H, W) is")
    if len(shape) == 2:
        return None
    axis = 2 if shape[2] <= min(shape[:2]) else shape.index(min(shape))
    if shape[axis] > MOST_CHANNELS or axis == 1:
        raise ValueError(f"an array {shape} is no image of at most {MOST_CHANNELS} channels, first or last")
    return axis


def _levels(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        return np.rint(values / 257.0).astype(np.uint8)
    if values.dtype.kind != "f":
        raise ValueError(f"values of the type {values.dtype}: uint8, uint16 or floats in [0, 1] are read")
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise ValueError("floats outside of [0, 1]")
    return np.rint(values.astype(np.float64) * 255).astype(np.uint8)
