"""Sheets are cut up into the pictures and words that they were laid out of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptnet_ml.drawing import cutting
from conceptnet_ml.drawing.cutting import cut_sheet
from conceptnet_ml.drawing.node_sheet import AFTER, BEFORE, Example, node_strip
from conceptnet_ml.drawing.pictures import LAYOUT, to_jpeg, to_png
from conceptnet_ml.drawing.sheets import Card, SwapExample, probe_sheet

RED, BLUE, GREY = (
    np.broadcast_to(np.array(one, dtype=np.uint8), (128, 128, 3)) for one in ((255, 0, 0), (0, 0, 255), (9, 9, 9))
)


def test_a_round_is_cut_into_rows_with_their_words(tmp_path: Path) -> None:
    swaps = [SwapExample(RED, BLUE, GREY, np.ones((2, 2)), "car", "dog", "car", "dog")] * 2
    (tmp_path / "round.png").write_bytes(to_png(probe_sheet(swaps, "a long title above the pictures of the round")))
    sheet = cut_sheet(tmp_path / "round.png")
    assert [one.row for one in sheet.cuttings] == [0, 0, 0, 0, 1, 1, 1, 1]
    first = sheet.cuttings[:4]
    assert [one.heading for one in first] == ["image", "donor", "swapped view", "gate"]
    assert [one.caption[0].text for one in first] == ["seen: car", "dog", "seen: dog", "100% open"]
    assert [one.caption[0].tone for one in first] == ["right", "plain", "wrong", "plain"]
    for one, whole in zip(first, (RED, BLUE, GREY), strict=False):
        assert np.array_equal(np.asarray(one.image), whole)


def test_a_node_is_cut_into_dreams_and_real_images(tmp_path: Path) -> None:
    free = Card(RED, lines=["one line", "another"])
    strip = node_strip("node", free=free, examples=[Example("car", BLUE)] * 8, notes=["a note at the foot"])
    (tmp_path / "node.jpg").write_bytes(to_jpeg(strip))
    sheet = cut_sheet(tmp_path / "node.jpg")
    assert [one.heading for one in sheet.cuttings] == ["Free dream", *["Real images that answer most"] * 8]
    assert [line.text for line in sheet.cuttings[0].caption] == ["one line", "another"]
    assert sheet.foot == ("a note at the foot",)


def test_a_dream_in_two_networks_is_cut_into_before_and_after(tmp_path: Path) -> None:
    free = Card(RED, BEFORE, ["high"], after=Card(BLUE, AFTER, ["low"]))
    (tmp_path / "node.jpg").write_bytes(to_jpeg(node_strip("node", free=free, examples=[Example("car", BLUE)])))
    before, after, _ = cut_sheet(tmp_path / "node.jpg").cuttings
    assert [(one.heading, one.caption[0].text) for one in (before, after)] == [(BEFORE, "high"), (AFTER, "low")]
    assert np.asarray(before.image)[..., 0].mean() > 200 > 50 > np.asarray(after.image)[..., 0].mean()


def test_other_pictures_are_whole_and_other_files_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(to_png(BLUE))
    assert [one.caption for one in cut_sheet(tmp_path / "photo.png").cuttings] == [()]
    (tmp_path / "no.png").write_text("no picture")
    for name in ("no.png", "absent.png"):
        with pytest.raises(OSError, match=name):
            cut_sheet(tmp_path / name)


@pytest.mark.parametrize(
    "said",
    [
        {"pictures": [[0, 0, 999, 9]], "lines": []},
        {"pictures": [[0, 0, -1, 9]], "lines": []},
        {"pictures": [["a", 0, 9, 9]], "lines": []},
        {"pictures": [[0, 0, 9]], "lines": []},
        {"pictures": 3, "lines": []},
        {"pictures": [], "lines": [[0, 0, 9, 3, "plain"]]},
        {"pictures": [], "lines": [["x", 0, 9, "words", "plain"]]},
        [],
        "[" * 100_000,
    ],
)
def test_a_picture_that_says_something_else_of_itself_is_whole(tmp_path: Path, said: object) -> None:
    image = Image.new("RGB", (20, 20))
    image.info[LAYOUT] = said if isinstance(said, str) else json.dumps(said)
    (tmp_path / "x.png").write_bytes(to_png(image))
    assert [one.image.size for one in cut_sheet(tmp_path / "x.png").cuttings] == [(20, 20)]


def test_a_bomb_and_other_formats_are_no_sheets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "MOST_PIXELS", 399)
    Image.new("RGB", (20, 20)).save(tmp_path / "large.png")
    Image.new("RGB", (2, 2)).save(tmp_path / "x.png", format="EPS")
    for name in ("large.png", "x.png"):
        with pytest.raises(OSError, match=name):
            cut_sheet(tmp_path / name)
