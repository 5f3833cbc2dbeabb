"""Words on pictures: drawn, measured, shortened and folded, in a font that has their letters."""

from __future__ import annotations

import contextlib
import functools
import math
import unicodedata
from typing import Any

from PIL import ImageDraw, ImageFont

SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf")

_SPELT = {
    "φ": "phi",
    "ι": "iota",
    "λ": "lambda",
    "α": "alpha",
    "τ": "tau",
    "→": "->",
    "–": "-",
    "−": "-",
    "≥": ">=",
    "≤": "<=",
    "×": "x",
}


@functools.cache
def fonts(size: int) -> list[Any]:
    """Pillow's own font, which has little beyond ASCII, then what the system has of fonts with wide coverage."""
    found: list[Any] = [ImageFont.load_default(size)]
    for name in SYSTEM_FONTS:
        with contextlib.suppress(OSError):
            found.append(ImageFont.truetype(name, size))
    return found


@functools.cache
def drawable(text: str, size: int) -> list[tuple[str, Any]]:
    """The text in pieces, each with the first font that has its letters; what none has is spelt plainly."""
    pieces: list[tuple[str, Any]] = []
    first, *_ = choice = fonts(size)
    for character in text:
        font = next((font for font in choice if _has(font, character)), None)
        letters = _spelt(character, first) if font is None else character
        font = font or first
        if pieces and pieces[-1][1] is font:
            pieces[-1] = (pieces[-1][0] + letters, font)
        else:
            pieces.append((letters, font))
    return pieces


def _spelt(character: str, font: Any) -> str:
    plain = _SPELT.get(character) or unicodedata.normalize("NFKD", character)
    return "".join(c if _has(font, c) else "?" for c in plain if not unicodedata.combining(c))


@functools.cache
def _has(font: Any, character: str) -> bool:
    if character.isascii():
        return True
    missing, glyph = font.getmask("\U0010fffe"), font.getmask(character)
    return (glyph.size, bytes(glyph)) != (missing.size, bytes(missing))


def write_text(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, colour: Any, size: int, centred: bool = False
) -> None:
    """Draw a line of text, ``size`` px high, its upper left corner or the middle of its upper edge at a point."""
    x = at[0] - (text_width(text, size) / 2 if centred else 0)
    # One base line for all fonts, that of Pillow's own.
    base = at[1] + fonts(size)[0].getmetrics()[0]
    for piece, font in drawable(text, size):
        draw.text((x, base), piece, colour, font, anchor="ls")
        x += font.getlength(piece)


def text_width(text: str, size: int) -> int:
    """Width of a line in px."""
    return math.ceil(sum(font.getlength(piece) for piece, font in drawable(text, size)))


def shortened(text: str, size: int, room: int) -> str:
    """The text on one line of at most ``room`` px, its end replaced by … where it is longer."""
    text = " ".join(text.split())
    if text_width(text, size) <= room:
        return text
    while text and text_width(text + "…", size) > room:
        text = text[:-1]
    return text.rstrip() + "…"


def folded(text: str, size: int, room: int) -> list[str]:
    """The text in lines of at most ``room`` px, broken between words."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", size) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [shortened(line, size, room) for line in lines]
