"""Words on pictures: measured and wrapped in the one font that is bundled, so that they look the same everywhere."""

from __future__ import annotations

import functools
import io
import math
from importlib import resources

from PIL import ImageFont

FONT = "fonts/DejaVuSans.ttf"


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The bundled font, DejaVu Sans, ``size`` px high. What it lacks is drawn as an empty box."""
    data = resources.files("conceptnet_ml.drawing").joinpath(FONT).read_bytes()
    return ImageFont.truetype(io.BytesIO(data), size, layout_engine=ImageFont.Layout.BASIC)


def line_height(size: int) -> int:
    """From one line to the next, in px."""
    return size + 4 + size // 7


def text_width(text: str, size: int) -> int:
    """Width of a line in px."""
    return math.ceil(font(size).getlength(text))


def wrap(text: str, size: int, room: int) -> list[str]:
    """The text in lines of at most ``room`` px, broken between words; the end of a longer word becomes …."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", size) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(_cut(word, size, room))
    return lines


def _cut(word: str, size: int, room: int) -> str:
    if text_width(word, size) <= room:
        return word
    while word and text_width(word + "…", size) > room:
        word = word[:-1]
    return word + "…"
