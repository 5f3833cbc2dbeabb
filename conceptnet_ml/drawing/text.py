"""Words on pictures: measured and wrapped in the one font that is bundled, so that they look the same everywhere.

Letters that it lacks, such as Chinese ones in class names, come from a font of the system if one has them.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import unicodedata
from importlib import resources

from PIL import ImageFont

FONT = "fonts/DejaVuSans.ttf"
SYSTEM_FONTS = ("NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "Arial.ttf")


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The bundled font, DejaVu Sans, ``size`` px high."""
    data = resources.files("conceptnet_ml.drawing").joinpath(FONT).read_bytes()
    return ImageFont.truetype(io.BytesIO(data), size, layout_engine=ImageFont.Layout.BASIC)


@functools.cache
def pieces(words: str, size: int) -> tuple[tuple[str, ImageFont.FreeTypeFont], ...]:
    """The words in pieces, each with the font it is drawn in; letters that no font has are spelt plainly or as ?."""
    found: list[tuple[str, ImageFont.FreeTypeFont]] = []
    for letter in words:
        chosen = next((one for one in (font(size), *_system_fonts(size)) if _has(one, letter)), None)
        if chosen is None:
            spelt = [one for one in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(one)]
            letter, chosen = "".join(one if _has(font(size), one) else "?" for one in spelt), font(size)
        if found and found[-1][1] is chosen:
            letter = found.pop()[0] + letter
        found.append((letter, chosen))
    return tuple(found)


@functools.cache
def _system_fonts(size: int) -> tuple[ImageFont.FreeTypeFont, ...]:
    found = []
    for name in SYSTEM_FONTS:
        with contextlib.suppress(OSError):
            found.append(ImageFont.truetype(name, size, layout_engine=ImageFont.Layout.BASIC))
    return tuple(found)


@functools.cache
def _has(one: ImageFont.FreeTypeFont, letter: str) -> bool:
    if letter.isascii():
        return True
    missing, glyph = one.getmask("\U0010fffe"), one.getmask(letter)
    return (glyph.size, bytes(glyph)) != (missing.size, bytes(missing))


def line_height(size: int) -> int:
    """From one line to the next, in px."""
    return size + 4 + size // 7


def text_width(text: str, size: int) -> int:
    """Width of a line in px."""
    return math.ceil(sum(chosen.getlength(piece) for piece, chosen in pieces(text, size)))


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
