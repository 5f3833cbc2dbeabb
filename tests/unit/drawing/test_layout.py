"""Boxes and the words in them: sizes and places, measured in pixels."""

from __future__ import annotations

import itertools
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from conceptnet_ml.drawing import text as text_module
from conceptnet_ml.drawing.layout import (
    FRAME,
    INK,
    RIGHT,
    WRONG,
    Box,
    Caption,
    below,
    beside,
    draw,
    framed,
    grid,
    heading,
    placed,
    text,
)
from conceptnet_ml.drawing.pictures import PAPER
from conceptnet_ml.drawing.text import font, line_height, pieces, text_width, wrap

RED, BLUE = ((255, 0, 0), (0, 0, 255))


def tile(width: int, height: int, colour: tuple[int, int, int] = RED) -> Box:
    return framed(Image.new("RGB", (width, height), colour))


def span(image: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what has this colour."""
    rows, columns = np.nonzero((np.asarray(image) == colour).all(-1))
    return tuple(int(value) for value in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))


def inked(image: Image.Image) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is drawn in dark."""
    return image.convert("L").point(lambda value: 255 * (value < 200)).getbbox()


def test_boxes_stand_beside_and_below_one_another_and_empty_ones_take_no_room():
    pair = beside([tile(10, 20), Box(0, 0), tile(30, 5, BLUE)], gap=4)
    assert (pair.width, pair.height) == (44, 20)
    assert span(draw(pair, margin=2), RED) == (2, 2, 12, 22)
    assert span(draw(pair, margin=2), BLUE) == (16, 2, 46, 7)
    pile = below([Box(0, 0), tile(10, 20), tile(30, 5, BLUE)], gap=4)
    assert (pile.width, pile.height) == (30, 29)
    assert span(draw(pile, margin=2), BLUE) == (2, 26, 32, 31)
    assert below([]) == beside([]) == Box(0, 0)


def test_a_box_is_placed_in_a_larger_one():
    assert span(draw(placed(tile(10, 6), 20, 10), 2), RED) == (2, 2, 12, 8)
    assert span(draw(placed(tile(10, 6), 20, 10, 0.5, 1), 2), RED) == (7, 6, 17, 12)


def test_the_columns_of_a_grid_are_as_wide_as_their_widest_box():
    table = grid([[tile(10, 10), tile(5, 5)], [tile(20, 2), tile(6, 8, BLUE), tile(3, 3)]], gap=1)
    assert (table.width, table.height) == (20 + 1 + 6 + 1 + 3, 10 + 1 + 8)
    assert span(draw(table, 2), BLUE) == (2 + 21, 2 + 11, 2 + 27, 2 + 19)


def test_a_picture_has_a_frame_outside_of_itself():
    assert span(draw(tile(10, 6), 5), FRAME) == (4, 4, 16, 12)


def test_words_are_as_large_as_they_say_and_have_their_colour():
    for size in (11, 14, 28):
        box = text("Eφιgq|", size)
        sheet = draw(box, 10)
        left, top, right, bottom = inked(sheet)
        assert box.width == text_width("Eφιgq|", size)
        assert box.height == line_height(size)
        assert 10 <= left <= right <= 10 + box.width + 1
        assert 10 <= top <= bottom <= 10 + box.height
    assert INK in {colour for _, colour in draw(text("|||", 28)).getcolors(9999)}
    for tone, colour in (("right", RIGHT), ("wrong", WRONG)):
        assert colour in {shown for _, shown in draw(text(Caption("|||", tone), 28)).getcolors(9999)}
    assert text("", 14) == Box(0, 0)


def test_words_are_wrapped_to_their_room_and_centred_in_it():
    words = "several words that do not fit on one line"
    lines = wrap(words, 13, 100)
    assert " ".join(lines) == words
    assert len(lines) > 2
    assert all(text_width(line, 13) <= 100 for line in lines)
    for line, after in itertools.pairwise(lines):
        assert text_width(f"{line} {after.split()[0]}", 13) > 100
    (cut,) = wrap("pneumonoultramicroscopicsilicovolcanoconiosis", 13, 100)
    assert cut.endswith("…")
    assert 85 < text_width(cut, 13) <= 100
    assert text(words, 13, room=100).height == len(lines) * line_height(13)
    left, _, right, _ = inked(draw(text("ll", 13, room=100, centred=True), 0))
    assert abs((left + right) / 2 - 50) <= 1


def test_a_heading_may_be_wider_than_a_narrow_sheet_and_never_than_a_wide_one():
    assert heading("A title", 22, 20).width == text_width("A title", 22)
    assert heading("A title " * 30, 22, 600, "A note " * 100).width <= 600
    assert heading("", 22, 600) == Box(0, 0)


@pytest.mark.parametrize("letter", "φιλατρ×→–−≥≤…·%řéßЖ")
def test_the_bundled_font_has_the_letters_of_the_field(letter):
    missing, glyph = font(16).getmask("\U0010fffe"), font(16).getmask(letter)
    assert (glyph.size, bytes(glyph)) != (missing.size, bytes(missing))


def test_the_bundled_font_is_used_and_its_licence_lies_beside_it():
    assert font(13).getname() == ("DejaVu Sans", "Book")
    licence = resources.files("conceptnet_ml.drawing").joinpath("fonts/LICENSE").read_text(encoding="utf-8")
    assert "Bitstream Vera Fonts Copyright" in licence


def test_a_sheet_is_light_paper():
    assert draw(Box(4, 3), 5).getcolors() == [(14 * 13, PAPER)]


def test_letters_that_no_font_has_are_spelt(monkeypatch):
    monkeypatch.setattr(text_module, "_system_fonts", lambda size: ())
    pieces.cache_clear()
    try:
        assert pieces("φ Dvořák 犬", 13) == (("φ Dvořák ?", font(13)),)
        assert text_width("犬", 13) == text_width("?", 13)
    finally:
        pieces.cache_clear()


def test_letters_the_bundled_font_lacks_come_from_one_of_the_system(monkeypatch):
    other = font(20)  # stands for a font of the system
    monkeypatch.setattr(text_module, "_system_fonts", lambda size: (other,))
    monkeypatch.setattr(text_module, "_has", lambda one, letter: letter.isascii() or one is other)
    pieces.cache_clear()
    try:
        assert pieces("dog 犬", 13) == (("dog ", font(13)), ("犬", other))
        width = font(13).getlength("dog ") + other.getlength("犬")
        assert width <= text_width("dog 犬", 13) < width + 1
    finally:
        pieces.cache_clear()
