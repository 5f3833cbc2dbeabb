"""Pictures as they are held, what is laid over them, and the sheet of swaps; how they look is judged by eye."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from conceptnet_ml.drawing.layout import RIGHT, WRONG
from conceptnet_ml.drawing.masks import gate_overlay
from conceptnet_ml.drawing.pictures import PAPER, TILE, enlarge, scaled, to_image, to_png
from conceptnet_ml.drawing.sheets import SwapExample, probe_sheet

RED = torch.zeros(3, 64, 64, dtype=torch.uint8)
RED[0] = 255
BLUE = RED.flip(0)


def colours(image: Image.Image) -> set[tuple[int, int, int]]:
    return {tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3)}


@pytest.mark.parametrize(
    "picture",
    [RED, RED.permute(1, 2, 0), RED.numpy(), RED.permute(1, 2, 0).numpy(), to_image(RED)],
    ids=["chw tensor", "hwc tensor", "chw array", "hwc array", "pillow"],
)
def test_every_way_to_hold_an_image_gives_the_same_picture(picture):
    assert np.array_equal(np.asarray(to_image(picture)), RED.permute(1, 2, 0).numpy())


def test_a_grey_picture_is_shown_in_grey():
    assert to_image(torch.full((4, 5), 7, dtype=torch.uint8)).getpixel((4, 3)) == (7, 7, 7)
    assert to_image(torch.full((1, 4, 5), 7, dtype=torch.uint8)).size == (5, 4)


@pytest.mark.parametrize(
    "picture", [torch.rand(3, 8, 8), torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "car.png", np.zeros((0, 3, 3))]
)
def test_what_is_not_a_picture_is_refused(picture):
    with pytest.raises(ValueError, match="not a picture"):
        to_image(picture)


def test_png_reads_back_and_is_the_same_every_time():
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(to_png(RED)))), RED.permute(1, 2, 0).numpy())
    assert to_png(RED) == to_png(RED.clone())


def test_small_images_are_enlarged_and_large_ones_are_not_let_fill_the_sheet():
    assert enlarge(Image.new("RGB", (32, 48))).size == (128, 192)
    assert enlarge(Image.new("RGB", (112, 112))).size == (112, 112)
    assert enlarge(Image.new("RGB", (1024, 2048))).size == (2 * TILE, 4 * TILE)
    assert enlarge(Image.new("RGB", (8, 8)), 20).size == (24, 24)
    assert scaled(Image.new("RGB", (10, 3)), 0.1).size == (1, 1)


def example(gate: torch.Tensor | None, seen: str, swapped: torch.Tensor = BLUE) -> SwapExample:
    return SwapExample(RED, BLUE, swapped, gate, label="car", donor_label="dog", seen_before="car", seen=seen)


def test_every_image_of_every_row_is_on_the_sheet():
    others = [torch.full_like(RED, 99), torch.full_like(RED, 55)]
    sheet = probe_sheet([example(None, "car", other) for other in others])
    assert {(255, 0, 0), (0, 0, 255), (99, 99, 99), (55, 55, 55), PAPER} <= colours(sheet)


def test_words_are_drawn_and_stay_on_the_sheet():
    bare, worded = probe_sheet([example(None, "car")]), probe_sheet([example(None, "car")], "A title " * 20)
    assert worded.width == bare.width
    assert worded.height > bare.height
    edge = np.concatenate([np.asarray(worded)[:, -20:].reshape(-1, 3), np.asarray(worded)[-20:].reshape(-1, 3)])
    assert (edge == PAPER).all()
    long = probe_sheet([example(None, "a class with a name that is far longer than its tile is wide")])
    assert long.width == bare.width
    assert long.height > bare.height
    assert (np.asarray(long)[:, -20:] == PAPER).all()


def test_an_empty_sheet_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        probe_sheet([])


def test_gate_overlay_keeps_what_is_open_and_fades_what_is_closed():
    gate = torch.zeros(1, 16, 16)
    gate[:, 4:12, 4:12] = 1
    overlay = np.asarray(gate_overlay(RED, gate)).astype(int)
    assert overlay.shape == (128, 128, 3)
    centre, corner = overlay[64, 64], overlay[2, 2]
    assert centre[0] - centre[2] > 80, "open: still red"
    assert np.ptp(corner) <= 1, "closed: grey"
    outline = (overlay == (190, 30, 40)).all(-1)
    rows, columns = np.nonzero(outline)
    assert (rows.min(), columns.min()) == (32, 32)
    assert (rows.max(), columns.max()) == (95, 95)
    assert not (np.asarray(gate_overlay(RED, torch.zeros(16, 16))) == (190, 30, 40)).all(-1).any()


def test_gate_overlay_takes_a_gate_of_bytes_as_the_same_gate():
    gate = (torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) * 255).round()
    assert to_png(gate_overlay(RED, gate / 255)) == to_png(gate_overlay(RED, gate.to(torch.uint8)))


def test_gate_overlay_refuses_what_is_not_a_gate():
    with pytest.raises(ValueError, match="not a gate"):
        gate_overlay(RED, torch.zeros(3, 4, 4))


def test_probe_sheet_marks_a_flip_in_red_and_the_right_class_in_green():
    shown = [np.asarray(probe_sheet([example(torch.ones(1, 4, 4), seen)])) for seen in ("dog", "car")]
    flipped, kept = ({tone: (sheet == tone).all(-1).sum() for tone in (RIGHT, WRONG)} for sheet in shown)
    assert flipped[WRONG] > 0
    assert kept[WRONG] == 0
    assert kept[RIGHT] == 2 * flipped[RIGHT] > 0, "under the image and under the swapped view"


def test_a_sheet_of_swaps_has_a_legend():
    plain, told = (probe_sheet([example(torch.ones(1, 4, 4), "dog")], "t", note) for note in ("", "Refused."))
    assert told.height > plain.height
    assert "Refused." in told.info["layout"]


def test_probe_sheet_without_gates_has_one_column_less():
    gated = probe_sheet([example(torch.ones(4, 4), "dog")], "colour")
    whole = probe_sheet([example(None, "dog")], "colour")
    assert gated.width - whole.width == 128 + 12
