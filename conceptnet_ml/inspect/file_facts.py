"""Properties of picture files that resizing hides: their size, format, compression and what is written beside them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from conceptnet_ml.data.files import MEGAPIXELS, in_threads, opened_picture
from conceptnet_ml.errors import DataError

Fact = float | str

_ORIENTATION, _MAKE = 0x0112, 0x010F
_TABLE = """
16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56  14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99
"""
"""The luminance table of JPEG's annex K (ITU-T T.81, 1992), which the quality of libjpeg scales."""


def file_facts(paths: Sequence[Path], most: float = MEGAPIXELS) -> dict[str, list[Fact | None]]:
    """Facts of every file by name, None where one has no such thing; only headers are read.

    ``width``, ``height`` in px as stored, ``aspect`` (log of width over height), ``format``, ``mode`` (Pillow's: RGB,
    L, RGBA, …), ``bytes per pixel``, ``JPEG quality`` (libjpeg's 1 to 100, from the quantisation table), ``EXIF``:
    none, present, of a camera, and whether it turns the picture. A file that has become unreadable has none of them.

    Args:
        most: Millions of pixels beyond which a file is not opened.
    """
    rows = in_threads(lambda path: _facts(path, most), paths)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _facts(path: Path, most: float) -> dict[str, Fact]:
    try:
        with opened_picture(path, most) as image:
            width, height = image.size
            facts: dict[str, Fact] = {"width": width, "height": height, "aspect": math.log(width / height)}
            facts |= {"format": image.format or "unknown", "mode": image.mode, "EXIF": "none"}
            facts["bytes per pixel"] = path.stat().st_size / (width * height)
            if tables := getattr(image, "quantization", None):
                facts["JPEG quality"] = jpeg_quality(next(iter(tables.values())))
            with contextlib.suppress(ValueError, KeyError, TypeError, SyntaxError, ZeroDivisionError):
                facts["EXIF"] = _exif(image.getexif())
            return facts
    except (DataError, OSError):
        return {}


def _exif(tags: Image.Exif) -> str:
    if not len(tags):
        return "none"
    camera = "of a camera" if _MAKE in tags else "present"
    return f"{camera}, turns the picture" if tags.get(_ORIENTATION, 1) != 1 else camera


def jpeg_quality(table: Sequence[int]) -> float:
    """The quality, 1 to 100, at which libjpeg scales its luminance table to this one, as near as can be.

    libjpeg's ``jpeg_set_quality``: the table times 50/q below 50 and 2 − q/50 above. The mean of both orders in which
    tables are kept is the same, so it is compared.
    """
    scale = float(np.mean(table)) / float(np.mean([int(one) for one in _TABLE.split()]))
    quality = 100 - 50 * scale if scale <= 1 else 50 / scale
    return float(np.clip(round(quality), 1, 100))
