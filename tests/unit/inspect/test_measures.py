"""Measures of pixels and files, and rules of one property, on inputs whose answer is known."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conceptnet_ml.config.overrides import parse_places
from conceptnet_ml.inspect.file_facts import file_facts
from conceptnet_ml.inspect.near_duplicates import find_duplicates
from conceptnet_ml.inspect.pixel_measures import REGIONS, pixel_measures, thumbnails
from conceptnet_ml.inspect.properties import PROPERTIES, number_columns, place_words
from conceptnet_ml.inspect.property_rule import fit_rule, stratified_folds
from conceptnet_ml.inspect.property_score import above, balanced_accuracy, score_property, strengths


def even(*levels: int, side: int = 32) -> torch.Tensor:
    """Images of one grey level each."""
    return torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, side, side).contiguous()


def noise(count: int, side: int = 32, seed: int = 0) -> torch.Tensor:
    """Smooth random pictures."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 5, generator=draw)
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic", align_corners=True)
    grain = 0.03 * torch.randn(count, 3, side, side, generator=draw)
    return (255 * (smooth + grain)).clamp(0, 255).to(torch.uint8)


def test_light_and_colour_of_even_images() -> None:
    images = even(10, 200)
    images[1, 0] = 250
    found = pixel_measures(images)
    np.testing.assert_allclose(found["brightness"][:, 0], [10, 0.299 * 250 + 0.701 * 200], rtol=1e-5)
    np.testing.assert_allclose(found["contrast"][:, 0], 0, atol=1e-4)
    np.testing.assert_allclose(found["saturation"][:, 0], [0, 50])
    np.testing.assert_allclose(found["colour cast"][1], [np.log(254 / 204), 0], atol=1e-6)


def test_a_frame_is_in_the_border_and_not_in_the_ring_within() -> None:
    images = even(100, 100)
    images[1, :, 0], images[1, :, -1], images[1, :, :, 0], images[1, :, :, -1] = 255, 255, 255, 255
    found = pixel_measures(images)
    np.testing.assert_allclose(found["border"][1, :6], [255] * 3 + [155] * 3)
    np.testing.assert_allclose(found["border within"][0], found["border within"][1])


def test_a_stamp_is_in_its_region_alone() -> None:
    images = even(100, 100)
    images[1, :, 24:, :8] = 200
    found = pixel_measures(images)
    changed = [name for name, values in found.items() if name.startswith("region") and (values[0] != values[1]).any()]
    assert changed == ["region 3,0"]
    assert place_words("region 3,0") == "bottom, left"
    assert place_words("region 1,2") == "top of the middle, right of the middle"
    for row, column in itertools.product(range(REGIONS), repeat=2):
        words = place_words(f"region {row},{column}")
        box = tuple(place / REGIONS for place in (column, row, column + 1, row + 1))
        assert parse_places(words) == {words.replace(", ", ","): (box,)}, "learn --exchange takes what inspect prints"


def test_blur_lowers_sharpness_and_contrast_does_not() -> None:
    sharp = noise(8)
    soft = torch.nn.functional.avg_pool2d(sharp.float(), 3, 1, 1, count_include_pad=False).to(torch.uint8)
    flat = (128 + (sharp.float() - 128) * 0.5).to(torch.uint8)
    found = [pixel_measures(one)["sharpness"].mean() for one in (sharp, soft, flat)]
    assert found[1] < found[0] - 0.5
    assert abs(found[2] - found[0]) < 0.1


@pytest.mark.parametrize("side", [32, 64, 100])
def test_a_grating_is_a_peak_across_it(side: int) -> None:
    images = noise(8, side).float()
    wave = 14 * torch.sin(2 * torch.pi / 5 * torch.arange(side))
    plain, upright = (pixel_measures(one.clamp(0, 255).to(torch.uint8))["pattern"] for one in (images, images + wave))
    across, down = np.split(upright - plain, 2, axis=1)
    assert across.mean(0).max() > 1.5
    assert abs(down.mean(0)).max() < 0.3


def test_blocks_are_told_from_the_same_picture_without() -> None:
    images = noise(4, 64)
    blocked = images.clone()
    for row in range(0, 64, 8):
        blocked[:, :, row : row + 8] += 3 * (row // 8 % 2)
    assert (pixel_measures(blocked)["blocks"] > pixel_measures(images)["blocks"]).all()


@pytest.mark.parametrize("side", [8, 15, 31])
def test_small_images_have_what_can_be_measured(side: int) -> None:
    found = pixel_measures(noise(2, side))
    assert ("pattern" in found) == (side >= 16)
    assert all(np.isfinite(values).all() for values in found.values())
    assert {one.name for one in PROPERTIES if one.where == "pixels"} - {*found, "place", "blocks", "pattern"} == set()


def test_facts_of_files(tmp_path: Path) -> None:
    picture = Image.fromarray(noise(1, 40)[0].permute(1, 2, 0).numpy())
    picture.resize((80, 40)).save(tmp_path / "a.jpg", quality=60)
    turned = Image.Exif()
    turned[0x0112] = 6
    picture.save(tmp_path / "b.jpg", quality=90, exif=turned)
    picture.convert("RGBA").save(tmp_path / "c.png")
    (tmp_path / "d.png").write_text("no picture")
    found = file_facts([tmp_path / name for name in ("a.jpg", "b.jpg", "c.png", "d.png")])
    assert found["width"] == [80, 40, 40, None]
    assert found["format"] == ["JPEG", "JPEG", "PNG", None]
    assert found["mode"] == ["RGB", "RGB", "RGBA", None]
    assert found["EXIF"] == ["none", "present, turns the picture", "none", None]
    assert found["JPEG quality"] == [60, 90, None, None]
    assert found["aspect"][0] == pytest.approx(np.log(2))


def test_words_become_numbers_and_what_is_missing_is_least() -> None:
    assert number_columns(["b", None, "a"])[:, 0].tolist() == [1, -1, 0]
    assert number_columns([3.0, None])[:, 0].tolist() == [3, 2]


# ------------------------------------------------------------------------------------------------ rules and scores


def test_folds_have_as_many_of_each_class() -> None:
    labels = np.repeat([0, 1], [50, 23])
    folds = stratified_folds(labels, 5, 0)
    assert np.bincount(folds[labels == 0]).tolist() == [10] * 5
    assert sorted(np.bincount(folds[labels == 1]).tolist()) == [4, 4, 5, 5, 5]


def test_bins_find_a_class_in_the_middle() -> None:
    values = np.random.default_rng(0).normal(size=(900, 1))
    labels = (abs(values[:, 0]) < 0.6).astype(np.int64)
    assert score_property(values, labels, 2, 0).accuracy > 0.85


def test_a_discriminant_finds_a_deviation_as_well_as_a_mean() -> None:
    draw, labels = np.random.default_rng(0), np.repeat([0, 1], 400)
    values = draw.normal(size=(800, 2))
    values[labels == 1, 1] *= 4
    rule = fit_rule(values, labels, 2)
    assert (rule.scores(values).argmax(1) == labels).mean() > 0.7  # at most 0.79; by the means alone 0.5


def test_nothing_there_scores_as_chance_does_and_shuffled_labels_as_well() -> None:
    """Of twenty intervals of 95 % at most four miss; one in a hundred times more would."""
    labels = np.repeat([0, 1], [1700, 300])
    scores = [score_property(np.random.default_rng(one).normal(size=(2000, 3)), labels, 2, one) for one in range(20)]
    assert sum(score.low < 0.5 < score.high for score in scores) >= 16
    assert abs(np.mean([score.accuracy for score in scores]) - 0.5) < 0.02
    assert abs(np.mean([score.shuffled for score in scores]) - 0.5) < 0.02
    assert max(score.strength_low for score in scores) < 0.1


def test_one_stamped_class_of_ten_is_told_though_accuracy_is_low() -> None:
    labels = np.repeat(np.arange(10), 60)
    score = score_property((labels == 7).astype(np.float64)[:, None], labels, 10, 0)
    assert score.told == 7
    assert score.strength > 0.85
    assert score.accuracy < 0.3


def test_figures_by_hand() -> None:
    labels, answers = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 0])
    assert balanced_accuracy(answers, labels, 2)[0] == pytest.approx((0.75 + 0.5) / 2)
    assert strengths(answers, labels, 2) == pytest.approx([0.25, 0.25])
    assert above(0.9, 0.6) == pytest.approx(0.75)
    assert above(0.5, -0.2) == 0.5


# ------------------------------------------------------------------------------------------------ near-duplicates


def hashed(images: torch.Tensor, labels: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return *thumbnails(images), torch.tensor(labels)


def test_copies_are_found_however_they_are_stored_and_others_are_not() -> None:
    images = noise(40, 64, seed=3)
    half = torch.nn.functional.interpolate(images[:3].float(), (40, 40), mode="area")
    back = torch.nn.functional.interpolate(half, (64, 64), mode="bilinear").to(torch.uint8)
    brighter = (images[:1].float() * 0.9 + 20).to(torch.uint8)
    train = hashed(torch.cat([images, brighter]), [n % 2 for n in range(40)] + [1])
    found = find_duplicates(train, {"test": hashed(torch.cat([back, noise(5, 64, seed=9)]), [0, 1, 1, 0, 0, 0, 0, 0])})
    assert [(one.train, one.other) for one in found.pairs if one.found_in == "train"] == [(0, 40)]
    assert (found.within, found.across) == (0, 2)
    assert {one.other for one in found.pairs if one.found_in == "test"} == {0, 1, 2}
    assert found.leaked == {"test": (3, 1)}
    assert found.complete


def test_an_even_picture_is_like_another_even_one() -> None:
    found = find_duplicates(hashed(torch.cat([even(10, 200), noise(3)]), [0, 0, 0, 1, 1]), {})
    assert (found.within, found.across) == (2, 0)
