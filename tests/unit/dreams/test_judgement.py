"""What a dream's numbers say: p-values, distances, energies, standings, by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn

from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.dreams.judgement import (
    ActivationRank,
    Judgement,
    Witness,
    activation_rank,
    coarse_share,
    energy,
    seen_words,
    tail_p,
    texture_patch,
    two_sided_p,
)
from conceptnet_ml.dreams.ood import ActivationReader, StageStatistics, ledoit_wolf
from conceptnet_ml.errors import DataError
from conceptnet_ml.network.staged_network import StagedNetwork

CPU = torch.device("cpu")
SIDE = 16


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


class Bright(nn.Module):
    """Logits (±brightness): the brighter an image, the lower the energy."""

    input_mean = (0.0, 0.0, 0.0)
    input_std = (1.0, 1.0, 1.0)

    def __init__(self, factor: float = 10.0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.conv.weight.data = torch.randn(6, 3, 3, 3, generator=draw)
        self.conv.weight.data[0] = 1 / 27
        self.conv.bias.data.zero_()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.last = nn.Linear(6, 2, bias=False)
        self.last.weight.data = torch.zeros(2, 6).index_put(
            (torch.tensor([0, 1]), torch.tensor([0, 0])), doubles(factor, -factor).float()
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.pool(self.conv(images)).flatten(1))


def network(factor: float = 10.0) -> StagedNetwork:
    return StagedNetwork(Bright(factor), (SIDE, SIDE), classes=("day", "night")).eval()


def pictures(count: int, seed: int, low: float = 0.3, high: float = 0.6) -> Tensor:
    """uint8 images of smooth noise around a brightness of their own."""
    draw = torch.Generator().manual_seed(seed)
    level = low + (high - low) * torch.rand(count, 1, 1, 1, generator=draw)
    coarse = torch.randn(count, 3, 4, 4, generator=draw)
    smooth = nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic")
    return ((level + 0.05 * smooth).clamp(0, 1) * 255).round().to(torch.uint8)


@pytest.fixture(scope="module")
def witness() -> Witness:
    return Witness.fit(network(), pictures(300, 0), pictures(199, 1), CPU)


# ------------------------------------------------------------------------------------------------ p-values


def test_p_is_the_rank_among_the_held_out_values() -> None:
    held = doubles(1, 2, 3, 4)
    assert tail_p(doubles(0, 2.5, 3, 4.5), held).tolist() == pytest.approx([1.0, 3 / 5, 3 / 5, 1 / 5])


def test_both_sides_count() -> None:
    p, low = two_sided_p(doubles(-9, 1.5, 2.5, 9), doubles(1, 2, 3, 4))
    assert p.tolist() == pytest.approx([2 / 5, 4 / 5, 1.0, 2 / 5])
    assert low.tolist() == [True, True, False, False]


def test_equal_values_and_rounding_are_no_evidence() -> None:
    held = torch.full((50,), 3.0, dtype=torch.float64)
    assert tail_p(doubles(3.0, 3.0 + 1e-7), held).tolist() == [1.0, 1.0]
    assert two_sided_p(doubles(3.0 - 1e-7), held)[0].item() == 1.0
    assert tail_p(doubles(3.1), held).item() == pytest.approx(1 / 51)


def test_what_is_no_number_is_as_far_out_as_can_be() -> None:
    held = doubles(1, 2, 3)
    assert tail_p(doubles(math.inf), held).item() == 0.25
    assert two_sided_p(doubles(math.inf, -math.inf), held)[0].tolist() == [0.5, 0.5]
    assert energy(torch.tensor([[1.0, math.nan], [0.0, 0.0]])).tolist() == pytest.approx([math.inf, -math.log(2)])


def test_energy_is_lower_where_the_network_is_surer() -> None:
    assert energy(torch.tensor([[0.0, 0.0], [5.0, 0.0]])).tolist() == pytest.approx(
        [-math.log(2), -math.log(1 + math.exp(5))]
    )


# ------------------------------------------------------------------------------------------------ distance


def test_shrinkage_by_hand() -> None:
    """S = diag(2, ½), target 1.25·I, ‖S − target‖² = 1.125; (mean ‖x‖⁴ − ‖S‖²) / n = (8.5 − 4.25) / 4 = 1.0625."""
    covariance, share = ledoit_wolf(torch.tensor([[2, 0], [-2, 0], [0, 1], [0, -1]], dtype=torch.float64))
    assert share == pytest.approx(1.0625 / 1.125)
    assert torch.allclose(covariance, torch.diag((1 - share) * doubles(2, 0.5) + share * 1.25))


def test_shrinkage_as_elsewhere() -> None:
    sklearn = pytest.importorskip("sklearn.covariance")
    rows = torch.randn(40, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64) @ torch.diag(
        torch.arange(1.0, 13.0, dtype=torch.float64)
    )
    theirs = sklearn.LedoitWolf(assume_centered=True).fit(rows.numpy())
    covariance, share = ledoit_wolf(rows)
    assert share == pytest.approx(theirs.shrinkage_)
    assert torch.allclose(covariance, torch.from_numpy(theirs.covariance_))


def test_distance_is_in_standard_deviations_from_the_nearest_mean() -> None:
    statistics = StageStatistics(
        torch.zeros(1), torch.ones(1, 1), doubles(0, 0, 10, 0).view(2, 2), torch.diag(1 / doubles(2, 1))
    )
    points = torch.tensor([[4, 0], [10, 3], [6, 0], [math.nan, 0]], dtype=torch.float64)
    assert statistics.mahalanobis(points).tolist() == pytest.approx([2.0, 3.0, 2.0, math.inf])
    scaled = dataclasses.replace(statistics, median=1.0, spread=0.5)
    assert scaled.distance(points)[:2].tolist() == pytest.approx([2.0, 4.0])


def test_a_picture_is_described_by_means_and_variances_over_places() -> None:
    statistics = StageStatistics(
        torch.tensor([1.0, 0.0]), torch.diag(torch.tensor([2.0, 1.0])), *[torch.empty(0, 0)] * 2
    )
    maps = torch.tensor([[[[0.0, 2.0], [0.0, 2.0]], [[3.0, 3.0], [3.0, 3.0]]]])
    assert statistics.describe(maps).tolist()[0] == pytest.approx([0.0, 3.0, math.log(4.0), math.log(1e-6)])


def test_real_images_are_scaled_to_their_median_and_95_percent() -> None:
    images = pictures(400, 0)
    reader = ActivationReader(network(), CPU, None)
    statistics = reader.fit(images)
    described, _ = reader.describe(images, statistics)
    for name, stage in statistics.items():
        assert stage.distance(described[name]).quantile(doubles(0.5, 0.95)).tolist() == pytest.approx([0, 1], abs=1e-6)


def test_each_class_has_its_own_mean_where_it_has_images_enough() -> None:
    reader, images = ActivationReader(network(), CPU, None), pictures(40, 0)
    means = [
        len(next(iter(reader.fit(images, labels).values())).means)
        for labels in (None, torch.arange(40) % 4, torch.arange(40) % 10)
    ]
    assert means == [1, 4, 1]
    with pytest.raises(ValueError, match="3 labels for 40 images"):
        reader.fit(images, torch.arange(3))


# ------------------------------------------------------------------------------------------------ the witness


def test_energy_too_low_and_too_high_both_tell(witness: Witness) -> None:
    dark, usual, bright = witness.judge(
        torch.stack([torch.full((3, SIDE, SIDE), v, dtype=torch.uint8) for v in (13, 115, 230)])
    )
    assert dark.energy_p <= 0.02
    assert bright.energy_p <= 0.02
    assert (dark.energy_low, bright.energy_low) == (False, True)
    assert usual.energy_p > 0.5


def test_pictures_are_judged_each_by_itself(witness: Witness) -> None:
    images = torch.cat([pictures(5, 3), torch.full((1, 3, SIDE, SIDE), 255, dtype=torch.uint8)])
    together, alone = witness.judge(images, 1), [witness.judge(image[None], 1)[0] for image in images]
    for one, other in zip(together, alone, strict=True):
        assert one.distance == pytest.approx(other.distance, rel=1e-4, abs=1e-4)
        assert (one.seen, one.stage, one.distance_p, one.energy_p) == (
            other.seen,
            other.stage,
            other.distance_p,
            other.energy_p,
        )


def test_the_expected_class_is_told_beside_the_seen_one(witness: Witness) -> None:
    first, second, third = witness.judge(pictures(3, 2), [0, 1, None])
    assert (first.seen, first.expected, first.recognised) == ("day", "day", True)
    assert first.expected_probability == first.probability
    assert (second.expected, second.recognised) == ("night", False)
    assert second.expected_probability == pytest.approx(1 - second.probability)
    assert (third.expected, third.expected_probability, third.recognised) == (None, None, None)
    assert witness.judge(pictures(0, 0)) == []


def test_pictures_of_another_size_are_resized(witness: Witness) -> None:
    small = pictures(4, 5)
    large = nn.functional.interpolate(small.float(), scale_factor=4, mode="nearest").to(torch.uint8)
    for one, other in zip(witness.judge(small), witness.judge(large), strict=True):
        assert other.energy == pytest.approx(one.energy, rel=0.02)


def test_distance_is_told_in_units_of_the_held_out_images(witness: Witness) -> None:
    judged = torch.tensor([one.distance for one in witness.judge(pictures(199, 1))], dtype=torch.float64)
    assert judged.quantile(doubles(0.5, 0.95)).tolist() == pytest.approx([0, 1], abs=1e-3)


def test_state_comes_back(witness: Witness) -> None:
    images = pictures(6, 4)
    again = Witness.restore(network(), witness.state(), CPU)
    assert again.judge(images) == witness.judge(images)
    assert (again.held, again.accuracy) == (199, None)


def test_accuracy_is_that_on_the_held_out_images() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    found = Witness.fit(network(), pictures(20, 0), pictures(4, 1), CPU, held_labels=labels)
    assert found.accuracy == 0.75


def test_one_set_of_images_is_halved() -> None:
    images = ImageSet(pictures(100, 0), torch.zeros(100, dtype=torch.int64))
    found = Witness.of(network(), images, CPU, labels=images.labels, seed=3)
    assert (found.held, found.accuracy) == (50, 1.0)
    assert torch.equal(
        found.calibration.energies, Witness.of(network(), images.images, CPU, seed=3).calibration.energies
    )


def test_too_few_images_are_said_to_be_too_few() -> None:
    found = Witness.fit(network(), pictures(2, 0), pictures(1, 1), CPU)
    (judged,) = found.judge(torch.full((1, 3, SIDE, SIDE), 255, dtype=torch.uint8))
    assert judged.least == 1.0
    assert judged.likeness == "too few real images to compare"
    for reference, held in ((1, 5), (5, 0)):
        with pytest.raises(DataError, match="too few"):
            Witness.fit(network(), pictures(reference, 0), pictures(held, 1), CPU)


@pytest.mark.parametrize(
    "reference", [pictures(1, 0).repeat(30, 1, 1, 1), torch.zeros(30, 3, SIDE, SIDE, dtype=torch.uint8)]
)
def test_images_that_are_all_the_same_give_numbers(reference: Tensor) -> None:
    found = Witness.fit(network(), reference, reference, CPU)
    same, other = found.judge(torch.cat([reference[:1], pictures(1, 9, 0.9, 1.0)]))
    assert (same.distance_p, same.energy_p, same.unlike) == (1.0, 1.0, False)
    assert other.distance_p == pytest.approx(1 / 31)
    for judged in (same, other):
        numbers = [value for value in dataclasses.astuple(judged) if isinstance(value, float)]
        assert all(math.isfinite(number) for number in numbers)


def test_a_network_that_answers_nothing_gives_numbers() -> None:
    dead = network(0.0)
    with torch.no_grad():
        dead.model.conv.weight.zero_()
    judged = Witness.fit(dead, pictures(50, 0), pictures(50, 1), CPU).judge(pictures(3, 2))
    assert all(one.energy_p == 1.0 and math.isfinite(one.distance) for one in judged)


def test_a_network_of_no_numbers_is_refused() -> None:
    broken = network()
    with torch.no_grad():
        broken.model.conv.bias.fill_(math.nan)
    with pytest.raises(DataError, match="no number"):
        Witness.fit(broken, pictures(5, 0), pictures(5, 1), CPU)


def test_pictures_that_cannot_be_judged_are_refused(witness: Witness) -> None:
    with pytest.raises(DataError, match="1 channels"):
        witness.judge(torch.zeros(1, 1, SIDE, SIDE, dtype=torch.uint8))
    with pytest.raises(ValueError, match="uint8"):
        witness.judge(torch.zeros(1, 3, SIDE, SIDE))
    with pytest.raises(ValueError, match="2 expected classes for 1"):
        witness.judge(pictures(1, 0), [0, 1])


# ------------------------------------------------------------------------------------------------ words


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        ({}, "seen: car 98 %, within the data: p = .40"),
        ({"distance_p": 0.004}, "seen: car 98 %, unlike the data: p < .01"),
        ({"energy_p": 0.0001}, "seen: car 98 %, unlike the data: p < .001"),
        ({"distance_p": 0.02}, "seen: car 98 %, unlike the data: p = .04"),
        ({"probability": 0.99999}, "seen: car 99 %, within the data: p = .40"),
        ({"probability": 1.0, "distance_p": 0.8, "energy_p": 0.9}, "seen: car 100 %, within the data: p = 1.00"),
        ({"least": 0.2}, "seen: car 98 %, too few real images to compare"),
    ],
)
def test_what_a_caption_says(changes: dict[str, float], phrase: str) -> None:
    plain = Judgement("car", 0.98, -5.0, 0.5, True, 0.1, 0.2, "image", 0.002)
    assert dataclasses.replace(plain, **changes).phrase == phrase


def test_how_far_more_than_texture_moved() -> None:
    """Of a picture with stripes of one px as good as nothing, of another real image all, of light as much as it is."""
    draw = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, (40, 3, 4, 4), generator=draw).repeat_interleave(8, 2).repeat_interleave(8, 3)
    real = real.to(torch.uint8)
    start, stripes = torch.full((3, 32, 32), 100, dtype=torch.uint8), torch.tensor([60, -60]).repeat(16)
    assert texture_patch(start) == 4
    assert coarse_share((start.int() + stripes).to(torch.uint8), start, real) == pytest.approx(0.0, abs=1e-6)
    assert coarse_share(real[0], start, real) == pytest.approx(1.0, abs=0.25)
    lighter, far = coarse_share(start + 40, start, real), (real.float() - 100).square().mean((1, 2, 3)).sqrt().median()
    assert lighter == pytest.approx(40 / float(far))


def test_of_several_starts_a_caption_says_in_how_many() -> None:
    car = Judgement("car", 0.98, -5.0, 0.5, True, 0.1, 0.2, "image", 0.002)
    dog = dataclasses.replace(car, seen="dog")
    assert seen_words([car]) == "seen: car 98 %"
    assert seen_words([dog, car, car, car]) == "seen: car in 3 of 4 starts, dog in 1"
    assert seen_words([dog] * 4) == "seen: dog in 4 of 4 starts"


REAL = torch.tensor([1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(
    ("reached", "real", "percentile", "ratio", "reach", "phrase"),
    [
        (16.4, REAL, 1.0, 4.1, 9.2667, "4.1 × the best of 4 images"),
        (4.04, REAL, 1.0, 1.01, 1.0267, "above the best of 4 images"),
        (3.5, REAL, 0.75, 0.875, 0.6667, "above 75 % of 4 images"),
        (1.0, REAL, 0.0, 0.25, -1.0, "above none of 4 images"),
        (-1.0, -REAL, 0.75, None, 1.0, "above 75 % of 4 images"),
        (5.0, -REAL, 1.0, None, 5.0, "above the best of 4 images, 5.0 × as far from the median"),
        (0.0, torch.zeros(9), 0.0, None, None, "above none of 9 images"),
        (2.0, torch.zeros(9), 1.0, None, None, "above the best of 9 images"),
        (8.0, torch.full((9,), 2.0), 1.0, 4.0, None, "4.0 × the best of 9 images"),
        (4000.0, torch.tensor([1.0, math.nan]), 1.0, 4000.0, None, "4,000 × the best of 1 image"),
        (math.nan, REAL, 0.0, None, None, "reached no number"),
    ],
)
def test_activation_rank(
    reached: float, real: Tensor, percentile: float, ratio: float | None, reach: float | None, phrase: str
) -> None:
    found = activation_rank(reached, real)
    assert isinstance(found, ActivationRank)
    assert (found.percentile, found.phrase) == (percentile, phrase)
    for value, wanted in ((found.ratio, ratio), (found.reach, reach)):
        assert value is None if wanted is None else value == pytest.approx(wanted, rel=1e-3)


def test_a_dream_that_never_rose_is_compared_by_its_start_and_says_so() -> None:
    found = [activation_rank(value, REAL, "never rose").phrase for value in (16.4, 4.04, 3.5, 1.0, math.nan)]
    assert found == [
        "never rose: its start is 4.1 × the best of 4 images",
        "never rose: its start is above the best of 4 images",
        "never rose: its start is above 75 % of 4 images",
        "never rose: its start is above none of 4 images",
        "never rose",
    ]


def test_there_must_be_something_to_stand_against() -> None:
    with pytest.raises(ValueError, match="no real image"):
        activation_rank(1.0, torch.tensor([math.nan]))
