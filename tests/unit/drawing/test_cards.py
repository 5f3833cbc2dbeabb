"""Sheets, sprites, animations, masks and strips of dreams: sizes, places and marks; how they look is judged by eye."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, features

from conceptnet_ml.drawing.animation import animation
from conceptnet_ml.drawing.layout import RIGHT, WRONG, Caption
from conceptnet_ml.drawing.masks import active, crop_active, masked, threshold
from conceptnet_ml.drawing.node_sheet import Example, node_strip
from conceptnet_ml.drawing.pictures import PAPER, to_image, to_png
from conceptnet_ml.drawing.sheets import Card, card_sheet, dream_card, sprite, three_digits
from conceptnet_ml.dreams.judgement import activation_rank
from conceptnet_ml.errors import SettingsError


def plain(*colour: int, side: int = 16) -> torch.Tensor:
    """(len(colour), side, side) of one colour."""
    return torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(-1, side, side).contiguous()


def colours(image: Image.Image) -> set[tuple[int, int, int]]:
    return {colour for _, colour in image.getcolors(image.width * image.height)}


def noise(count: int, side: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=generator)


def a_dream(**changes: object) -> SimpleNamespace:
    fields = {"objective": SimpleNamespace(name="block3 unit 7"), "seed": 4, "image": plain(1, 2, 3), "before": 0.01}
    return SimpleNamespace(**{**fields, "reached": 5.25, "outcome": "stalled", **changes})


def test_one_channel_is_grey_three_are_colour_and_others_a_strip():
    assert colours(to_image(plain(9))) == {(9, 9, 9)}
    assert colours(to_image(plain(9, 8, 7))) == {(9, 8, 7)}
    two = to_image(plain(1, 2))
    assert two.size == (33, 16)
    assert (two.getpixel((15, 0)), two.getpixel((16, 0)), two.getpixel((17, 0))) == ((1,) * 3, PAPER, (2,) * 3)
    five = to_image(plain(1, 2, 3, 4, 5))
    assert five.size == (3 * 16 + 2, 2 * 16 + 1)
    assert five.getpixel((17, 17)) == (5, 5, 5)


@pytest.mark.parametrize(
    "image", [torch.rand(3, 4, 4), plain(1)[None], torch.zeros(3, 0, 4, dtype=torch.uint8), "x.png"]
)
def test_what_is_no_dream_is_refused(image):
    with pytest.raises(ValueError, match="not a"):
        to_image(image)


@pytest.mark.parametrize(("count", "side", "channels"), [(1, 28, 1), (5, 64, 3), (64, 32, 3), (3, 512, 3), (150, 8, 3)])
def test_a_sheet_shows_every_dream_and_keeps_its_margins(count, side, channels):
    images = [plain(*(place,) * channels, side=side) for place in range(count)]
    sheet = card_sheet([Card(image, f"unit {n}") for n, image in enumerate(images)], "Units", note="A note.")
    assert {(n, n, n) for n in range(count)} <= colours(sheet)
    array = np.asarray(sheet)
    for edge in (array[:20], array[-20:], array[:, :20], array[:, -20:]):
        assert (edge == PAPER).all()


def test_small_pictures_are_enlarged_by_whole_numbers():
    board = torch.zeros(1, 2, 2, dtype=torch.uint8)
    board[0, 0, 0] = board[0, 1, 1] = 255
    sheet = np.asarray(card_sheet([Card(board)]))
    assert sheet.shape == (384 + 2 * 28, 384 + 2 * 28, 3)
    assert len(np.unique(sheet[28:-28, 28:-28, 0])) > 2, "smoothly"


def test_lines_have_their_tones_and_a_dream_that_never_rose_says_so():
    good = card_sheet([Card(plain(5), "a", ["plain", Caption("recognised", "right")])])
    assert RIGHT in colours(good)
    assert WRONG not in colours(good)
    assert WRONG in colours(card_sheet([dream_card(a_dream(outcome="never rose"))]))
    assert WRONG not in colours(card_sheet([dream_card(a_dream())]))


def test_what_a_dream_began_with_stands_below_it():
    card = Card(plain(0, 200, 0), "car", ["a line"], start=plain(200, 0, 0))
    made = np.asarray(card_sheet([card]))
    green, red = ((made == colour).all(-1).nonzero() for colour in ((0, 200, 0), (200, 0, 0)))
    assert len(green[0]) == 384 * 384
    assert red[0].min() > green[0].max()
    assert len(red[0]) == 115 * 115


@pytest.mark.parametrize("outcome", ["never rose", "all steps"])
def test_what_real_images_say_of_a_dream_that_never_rose_is_of_its_start(outcome):
    """Which may well be above the best of them: a sentence of its own would say that of the dream."""
    fell = "" if outcome == "all steps" else outcome
    rank = activation_rank(5.0, torch.arange(4.0), fell)
    (line,) = dream_card(a_dream(outcome=outcome), rank=rank).lines[1:]
    if fell:
        assert line == Caption("never rose: its start is 1.7 × the best of 4 images", "wrong")
    else:
        assert line == "1.7 × the best of 4 images"


def test_a_card_says_what_was_reached():
    made = dream_card(a_dream(), "above all real images")
    assert made.name == "block3 unit 7"
    assert list(made.lines) == ["seed 4 · 0.01 → 5.25", "above all real images"]
    assert [three_digits(value) for value in (0.01234, -4.5, 1234.4, float("nan"))] == [
        "0.0123",
        "−4.5",
        "1,234",
        "nan",
    ]


def test_an_empty_sheet_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        card_sheet([])


def test_a_sheet_and_a_strip_are_the_same_every_time():
    def both() -> tuple[bytes, bytes]:
        images = noise(3, 8)
        strip = node_strip("n", free=Card(images[0]), examples=[Example("car", images[1], torch.eye(4))], cutoff=0.5)
        return to_png(card_sheet([Card(image, "φ → x", ["…"]) for image in images])), to_png(strip)

    assert both() == both()


def test_a_sprite_has_no_gaps_and_its_index_finds_every_unit():
    images = noise(7, 6)
    whole, index = sprite({10 + seed: a_dream(seed=seed, image=image) for seed, image in enumerate(images)})
    assert whole.size == (18, 18)
    assert {key: index[key] for key in ("size", "tile", "columns")} == {"size": [18, 18], "tile": [6, 6], "columns": 3}
    assert json.loads(json.dumps(index)) == index
    assert list(index["units"]) == [str(unit) for unit in range(10, 17)]
    assert index["units"]["14"] == {
        "box": [6, 6, 6, 6],
        "name": "block3 unit 7",
        "reached": 5.25,
        "outcome": "stalled",
        "seed": 4,
    }
    for image, found in zip(images, index["units"].values(), strict=True):
        x, y, width, height = found["box"]
        cut = np.asarray(whole)[y : y + height, x : x + width]
        assert np.array_equal(cut, image.permute(1, 2, 0).numpy())


def test_a_sprite_is_about_square():
    made = [sprite(dict(enumerate([a_dream()] * count)))[1]["columns"] for count in (2, 4, 10)]
    assert made == [2, 2, 4]


def durations(data: bytes) -> list[int]:
    with Image.open(io.BytesIO(data)) as image:
        found = []
        for frame in range(image.n_frames):
            image.seek(frame)
            image.load()
            found.append(image.info["duration"])
        return found


@pytest.mark.skipif(not features.check("webp"), reason="this Pillow has no WebP")
def test_a_webp_has_every_frame_for_its_time():
    assert durations(animation(noise(6, 32), ".webp", 30)) == [33, 34, 33, 33, 34, 33]
    assert animation(noise(3, 32), ".webp") == animation(noise(3, 32), ".webp")


def test_a_gif_has_every_frame_for_its_time():
    data = animation(noise(6, 32), ".gif", 30, scale=2)
    assert durations(data) == [30, 40, 30, 30, 40, 30]
    assert data == animation(noise(6, 32), ".gif", 30, scale=2)
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (64, 64)
        assert image.info["loop"] == 0


def test_what_stands_still_in_the_frames_stands_still_in_a_gif():
    ramp = torch.linspace(0, 255, 64).to(torch.uint8).expand(3, 64, 64)
    frames = []
    for step in range(4):
        frame = ramp.clone()
        frame[:, :8] = noise(1, 64)[0, :, step : step + 8]
        frames.append(frame)
    with Image.open(io.BytesIO(animation(frames, ".gif"))) as image:
        shown = []
        for step in range(4):
            image.seek(step)
            shown.append(np.asarray(image.convert("RGB"))[8:].astype(int))
    assert all(np.array_equal(shown[0], other) for other in shown[1:])
    assert abs(shown[0].mean() - ramp[0, 8:].float().mean().item()) < 2
    assert np.abs(shown[0] - ramp[0, 8:].numpy()[..., None]).max() < 24


def test_animations_that_cannot_be_are_refused(monkeypatch):
    frames = noise(2, 8)
    with pytest.raises(SettingsError, match=r"\.mp4"):
        animation(frames, ".mp4")
    with pytest.raises(SettingsError, match="60 frames"):
        animation(frames, ".gif", 60)
    with pytest.raises(ValueError, match="several sizes"):
        animation([plain(1), plain(1, side=8)])
    with pytest.raises(ValueError, match="at least one"):
        animation([])
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(SettingsError, match="cannot write WebP"):
        animation(frames, ".webp")


def test_the_threshold_is_exceeded_by_its_share_of_all_activations():
    maps = torch.arange(1, 1001).float()[torch.randperm(1000, generator=torch.Generator().manual_seed(0))]
    assert threshold(maps.view(10, 10, 10)) == 980
    assert threshold(torch.tensor([[[1.0, 5.0], [2.0, 3.0]]])) == 3, "the strongest is always in"
    assert threshold(torch.zeros(4, 2, 2)) == 0


def test_a_map_is_enlarged_bilinearly_from_the_centres_of_its_cells():
    row = torch.tensor([[0.0, 1.0]])
    values = {cutoff: active(row, cutoff, (1, 4))[0].tolist() for cutoff in (-0.1, 0.2, 0.3, 0.8, 1.0)}
    # 0, 1/4, 3/4, 1
    assert values == {
        -0.1: [True] * 4,
        0.2: [False, True, True, True],
        0.3: [False, False, True, True],
        0.8: [False, False, False, True],
        1.0: [False] * 4,
    }
    corner = active(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), 0.5, (4, 4))
    assert corner.tolist() == [[True, True, False, False], [True, True, False, False], [False] * 4, [False] * 4]


def test_what_lies_outside_a_mask_is_dimmed_and_its_border_drawn():
    unit_map = torch.zeros(4, 4)
    unit_map[1:3, 1:3] = 1
    shown = np.asarray(masked(to_image(plain(100, 150, 200, side=64)), unit_map, 0.5))
    assert tuple(shown[32, 32]) == (100, 150, 200)
    assert tuple(shown[2, 2]) == (40, 60, 80)
    rows, columns = np.nonzero((shown == (255, 214, 10)).all(-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (16, 47, 16, 47)
    silent = np.asarray(masked(to_image(plain(100, 150, 200, side=64)), torch.zeros(4, 4), 0.0))
    assert (silent == (40, 60, 80)).all()


def strip(classes: int, **more: object) -> Image.Image:
    dreams = [Card(plain(0, 10 + n, 0), f"class {n}", start=plain(10 + n, 0, 0)) for n in range(classes)]
    return node_strip("block3 unit 7", "unit · block3", from_real=dreams, **more)


def test_for_a_small_place_a_masked_picture_is_cut_to_what_is_active():
    unit_map = torch.zeros(8, 8)
    unit_map[6, 6] = 1.0
    image = to_image(plain(100, 150, 200, side=160))
    dark, small = masked(image, unit_map, 0.5), crop_active(masked(image, unit_map, 0.5))
    assert small.size == (80, 80)
    lit = [(np.asarray(one) == (100, 150, 200)).all(-1) for one in (dark, small)]
    assert lit[0].sum() == lit[1].sum() > 0
    assert crop_active(image).size == image.size


def test_a_strip_shows_every_picture_of_its_node():
    examples = [Example("car", plain(0, 0, 50 + n)) for n in range(3)]
    many = colours(strip(8, free=Card(plain(1, 2, 3), lines=["seed 0"]), examples=examples, cutoff=0.5))
    assert {(1, 2, 3), *((0, 0, 50 + n) for n in range(3)), *((0, 10 + n, 0) for n in range(8))} <= many
    assert {(10 + n, 0, 0) for n in range(8)} <= many, "starts are there, small"
    beside, under = strip(2, examples=[*examples, examples[0]]), strip(2, examples=examples)
    for made, size in ((beside, 160), (under, 48)):
        assert (np.asarray(made) == (10, 0, 0)).all(-1).sum() == size * size
        assert (np.asarray(made) == (0, 10, 0)).all(-1).sum() == 160 * 160, "what it began with covers no dream"


def test_a_strip_masks_its_examples_and_says_how_honest_it_is():
    example = Example("car", plain(100, 150, 200), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    without, with_mask = (node_strip("n", examples=[example], cutoff=cutoff) for cutoff in (None, 0.5))
    assert (40, 60, 80) in colours(with_mask)
    assert (40, 60, 80) not in colours(without)
    noted = node_strip("n", examples=[example], notes=[Caption("seen as a car", "right"), "far out"])
    assert noted.height > without.height
    assert RIGHT in colours(noted)


@pytest.mark.parametrize("side", [8, 28, 64, 224, 512])
def test_a_strip_stays_of_a_slides_size(side):
    image = noise(1, side)[0]
    made = node_strip(
        "A label that is long " * 6,
        "unit",
        free=Card(image),
        from_real=[Card(image, "car", start=image)] * 2,
        examples=[Example("car", image)] * 4,
    )
    assert 900 < made.width < 2000
    assert made.height < 1100
    assert (np.asarray(made)[:, -20:] == PAPER).all()


def test_a_node_without_pictures_is_refused():
    with pytest.raises(ValueError, match="no pictures"):
        node_strip("n")
