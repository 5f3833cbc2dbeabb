"""Swaps by hand-computed values, donors by their counts, views by what they must and must not contain."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.records import Representation
from conceptnet_ml.swap.pairs import Donors
from conceptnet_ml.swap.representation import Codec, RegionalCodec, open_cells
from conceptnet_ml.swap.views import PARTS, PartViews, Swap, Views

CPU = torch.device("cpu")


def same(images: Tensor) -> Tensor:
    return images


def mean_and_rest(images: Tensor, where: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The mean colour (over ``where``), and the image without it."""
    weights = torch.ones_like(images[:, :1]) if where is None else where
    mean = (images * weights).sum((2, 3), keepdim=True) / weights.sum((2, 3), keepdim=True)
    return mean, images - mean


def together(encoding: tuple[Tensor, Tensor]) -> Tensor:
    return encoding[0] + encoding[1]


PLACE = Codec(Representation(name="place", api="1", encode=same, decode=same, gate="place"))
CHANNEL = Codec(Representation(name="channel", api="1", encode=same, decode=same, gate="channel"))
WHOLE = Codec(Representation(name="whole", api="1", encode=mean_and_rest, decode=together, gate="whole", regional=True))
COLOUR = Codec(load_plugins(use_entry_points=False).get("representation", "colour"))  # type: ignore[arg-type]


def constant(*values: float, side: int = 4) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, side, side).clone()


def test_place_gate_at_image_resolution() -> None:
    gate = torch.zeros(1, 1, 4, 4)
    gate[..., 0, 0], gate[..., 1, 2] = 1, 0.25
    swapped = PLACE.swap(constant(0.2), constant(0.6), gate)
    expected = constant(0.2)
    expected[..., 0, 0], expected[..., 1, 2] = 0.6, 0.3
    torch.testing.assert_close(swapped, expected)


def test_coarse_place_gate_is_upsampled_bilinearly() -> None:
    swapped = PLACE.swap(constant(0.0), constant(1.0), torch.tensor([[1.0, 0.0], [1.0, 0.0]]).view(1, 1, 2, 2))
    torch.testing.assert_close(swapped[0, 0, 0], torch.tensor([1.0, 0.75, 0.25, 0.0]))


def test_channel_gate() -> None:
    swapped = CHANNEL.swap(constant(0.2), constant(0.6), torch.tensor([[0.0, 0.5, 1.0]]))
    torch.testing.assert_close(swapped[0, :, 0, 0], torch.tensor([0.2, 0.4, 0.6]))


def test_whole_swap_exchanges_the_first_part_and_keeps_the_second() -> None:
    image = torch.tensor([0.1, 0.5, 0.1, 0.5]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    swapped = WHOLE.swap(image, constant(0.6, side=2))
    torch.testing.assert_close(swapped[0, 0].flatten(), torch.tensor([0.4, 0.8, 0.4, 0.8]))


def test_swap_stays_in_range() -> None:
    image = torch.tensor([0.0, 1.0, 0.0, 1.0]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    swapped = WHOLE.swap(image, constant(0.9, side=2))
    torch.testing.assert_close(swapped[0, 0].flatten(), torch.tensor([0.4, 1.0, 0.4, 1.0]))


def test_swap_is_differentiable_in_the_gate() -> None:
    gate = torch.full((1, 1, 4, 4), 0.5, requires_grad=True)
    PLACE.swap(constant(0.2), constant(0.6), gate).sum().backward()
    assert gate.grad is not None
    torch.testing.assert_close(gate.grad, torch.full((1, 1, 4, 4), 3 * 0.4))


def test_regional_swap_leaves_the_rest_untouched_and_looks_at_its_places_only() -> None:
    image, donor = constant(0.2), constant(0.9)
    image[..., :2] = 0.3
    donor[..., 2:] = 0.6
    left, right = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    left[..., :2], right[..., 2:] = 1, 1
    swapped = WHOLE.swap(image, donor, where=(left, right))
    assert torch.equal(swapped[..., 2:], image[..., 2:])
    # The image's mean on its left (0.3) gives way to the donor's mean on its right (0.6).
    torch.testing.assert_close(swapped[..., :2], torch.full((1, 3, 4, 2), 0.6))


def test_regional_codec_changes_what_its_gate_opens_and_takes_from_the_donors_own_places() -> None:
    image, donor = constant(0.2), constant(0.9)
    donor[..., 2:] = 0.6
    gate, own = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    gate[..., :1], own[..., 2:] = 1, 1
    gate.requires_grad_(True)
    swapped = RegionalCodec(WHOLE.record).swap(image, donor, gate, (own, own))
    torch.testing.assert_close(swapped[..., 1:], image[..., 1:])
    torch.testing.assert_close(swapped[..., :1], torch.full((1, 3, 4, 1), 0.6))
    (slope,) = torch.autograd.grad(swapped.sum(), gate)
    assert slope.abs().max() > 0


def test_a_regional_swap_changes_the_images_own_gate_and_region_and_comes_before_transplants(ruler: ImageSet) -> None:
    gates, own = torch.zeros(8, 1, 8, 8), torch.zeros(8, 1, 8, 8)
    gates[..., :2], own[..., 3:5] = 1, 1
    regional = Swap(RegionalCodec(WHOLE.record), gates, regions=own)
    indices, images, _ = batch(Views(ruler, torch.arange(8), [regional], 2, CPU))
    raw = 100 + 2 * torch.tensor(RULER)[indices]
    levels = {100 + 2 * step for step in RULER}
    row = (images[:, 0, 0] * 255).round().long()
    width = row.shape[1]
    assert torch.equal(row[:, -1], raw)
    for changed in (0, width // 2):  # in the gate, and in the region
        assert set(row[:, changed].tolist()) <= levels
        assert (row[:, changed] != raw).any()
    transplant = Swap(PLACE, gates)
    assert Views(ruler, torch.arange(8), [transplant, regional], 2, CPU).swaps == [regional, transplant]


class Counting:
    """The mean colour and the rest, counting how often an image is taken apart."""

    def __init__(self) -> None:
        self.calls = 0

    def encode(self, images: Tensor, where: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return mean_and_rest(images, where)


def test_a_mixer_takes_images_and_donors_apart_once_whatever_the_gates() -> None:
    counting = Counting()
    record = Representation(name="it", api="1", encode=counting.encode, decode=together, gate="channel", regional=True)
    image, donor = constant(0.2, 0.4), constant(0.6, 0.1)
    mixer = Codec(record).mixer(image, donor)
    for part in (0.0, 0.25, 1.0):
        torch.testing.assert_close(mixer(torch.full((2, 3), part)), image + part * (donor - image))
    assert counting.calls == 2
    everywhere = torch.ones(2, 1, 4, 4)
    mixer = RegionalCodec(record).mixer(image, donor, (everywhere, everywhere))
    for _ in range(3):  # the gate says over which places the image's own is taken; the donor's does not depend on it
        mixer(everywhere)
    assert counting.calls == 2 + 1 + 3


def test_a_donors_encoding_serves_as_well_as_the_donor() -> None:
    image, donor = constant(0.2), constant(0.6)
    for codec in (WHOLE, COLOUR):
        encoding = codec.encode(donor)
        torch.testing.assert_close(codec.swap(image, encoding), codec.swap(image, donor))


def test_what_is_left_alone_may_be_anything() -> None:
    """The second part of an encoding is handed on as it is."""

    def encode(images: Tensor) -> tuple[Tensor, dict[str, object]]:
        return images.mean((2, 3)), {"rest": images, "note": "as it is"}

    def decode(encoding: tuple[Tensor, dict[str, Tensor]]) -> Tensor:
        mean, kept = encoding
        return kept["rest"] - kept["rest"].mean((2, 3), keepdim=True) + mean[..., None, None]

    anything = Codec(Representation(name="it", api="1", encode=encode, decode=decode, gate="whole"))
    torch.testing.assert_close(anything.swap(constant(0.2), constant(0.6)), constant(0.6))


def test_open_cells_by_hand() -> None:
    gates = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).view(1, 1, 2, 2)
    # Bilinear weights along a side of 8 px are 1, 1, .875, .625, .375, …: products above .5 miss the cell's far corner.
    hard = open_cells(gates, (8, 8), 0.5, 0)
    expected = torch.zeros(8, 8)
    expected[:4, :4] = 1
    expected[3, 3] = 0
    assert torch.equal(hard[0, 0], expected)
    grown = open_cells(gates, (8, 8), 0.5, 1)
    expected[:5, :5] = 1
    expected[4, 4] = 0
    assert torch.equal(grown[0, 0], expected)


def test_open_cells_grows_by_so_many_px_and_not_more() -> None:
    gates = torch.zeros(1, 1, 16, 16)
    gates[..., 8, 8] = 1
    for grow in (0, 1, 2, 3):
        rows = torch.nonzero(open_cells(gates, (16, 16), 0.5, grow)[0, 0].any(1)).flatten()
        assert rows.tolist() == list(range(8 - grow, 9 + grow))
    assert not open_cells(gates, (16, 16), 1.0, 3).any()


def test_a_swap_joins_the_images_own_gate_with_the_donors() -> None:
    gates = torch.zeros(2, 1, 4, 4)
    gates[0, ..., 0, 0], gates[1, ..., 3, 3] = 1, 1
    one, other = torch.tensor([0]), torch.tensor([1])
    swapped = Swap(PLACE, gates).apply(constant(0.2), constant(0.6), one, other)
    expected = constant(0.2)
    expected[..., 0, 0] = expected[..., 3, 3] = 0.6
    torch.testing.assert_close(swapped, expected)


LABELS = torch.tensor([0] * 50 + [1] * 5 + [2] * 20)


def test_outside_its_gates_an_image_takes_over_all_but_what_it_has_inside() -> None:
    gates = torch.zeros(2, 1, 4, 4)
    gates[0, 0, 0, 0] = gates[1, 0, 1, 1] = 1
    swap = Swap(PLACE, gates, outside=True)
    swapped = swap.apply(constant(0.2), constant(0.6), torch.tensor([0]), torch.tensor([1]))
    expected = constant(0.6)
    expected[..., 0, 0] = expected[..., 1, 1] = 0.2  # the donor's own thing leaves, too
    torch.testing.assert_close(swapped, expected)


def test_uniform_donors_come_from_all_classes_alike_and_from_all_their_images() -> None:
    donors = Donors(LABELS, torch.arange(75), 3).uniform(6000, torch.Generator().manual_seed(0))
    counts = torch.bincount(LABELS[donors], minlength=3) / 6000
    assert (counts - 1 / 3).abs().max() < 0.03  # five standard deviations
    within = torch.bincount(donors, minlength=75)
    assert (within > 0).all()
    assert 320 < within[50:55].min() <= within[50:55].max() < 480  # 400 expected


def test_foreign_donors_and_mates() -> None:
    donors = Donors(LABELS, torch.arange(75), 3)
    numbers = torch.arange(75).repeat(20)
    draw = torch.Generator().manual_seed(0)
    foreign, mates = donors.foreign(numbers, draw), donors.mates(numbers, draw)
    assert not (LABELS[foreign] == LABELS[numbers]).any()
    assert torch.equal(LABELS[mates], LABELS[numbers])
    for own in range(3):  # both other classes alike
        shares = torch.bincount(LABELS[foreign[LABELS[numbers] == own]], minlength=3).double()
        assert shares[own] == 0
        assert shares.sort().values[1] / shares.sum() > 0.3


def test_partners_are_the_classes_foreign_donors_come_from() -> None:
    donors = Donors(LABELS, torch.arange(75), 3, torch.tensor([[1], [2], [1]]))
    numbers = torch.arange(75).repeat(20)
    draw = torch.Generator().manual_seed(0)
    foreign = LABELS[donors.foreign(numbers, draw)]
    assert torch.equal(foreign, torch.tensor([1, 2, 1])[LABELS[numbers]])
    # Class-mates and the donors of views are not touched by it, or the cue would tell groups of classes apart.
    assert torch.equal(LABELS[donors.mates(numbers, draw)], LABELS[numbers])
    counts = torch.bincount(LABELS[donors.uniform(6000, draw)], minlength=3) / 6000
    assert (counts - 1 / 3).abs().max() < 0.03
    several = Donors(LABELS, torch.arange(75), 3, torch.tensor([[1, 2], [0, 2], [0, 1]]))
    shares = torch.bincount(LABELS[several.foreign(torch.zeros(2000, dtype=torch.int64), draw)], minlength=3)
    assert shares[0] == 0
    assert abs(int(shares[1]) - int(shares[2])) < 250


def test_donors_come_from_the_pool() -> None:
    pool = torch.tensor([3, 9, 52, 60, 61])
    donors = Donors(LABELS, pool, 3)
    draw = torch.Generator().manual_seed(0)
    drawn = torch.cat([donors.uniform(300, draw), donors.foreign(pool.repeat(50), draw), donors.mates(pool, draw)])
    assert set(drawn.tolist()) == set(pool.tolist())


# Differences between any two of these are all different, so a difference tells both.
RULER = (0, 1, 4, 9, 15, 22, 32, 34)


@pytest.fixture
def ruler() -> ImageSet:
    """Eight one-coloured grey images of known brightness, four of each class."""
    pixels = (100 + 2 * torch.tensor(RULER)).view(-1, 1, 1, 1).expand(8, 3, 8, 8)
    return ImageSet(pixels.to(torch.uint8), torch.arange(8) % 2)


def batch(views: Views, times: int = 16, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    indices = torch.arange(len(views)).repeat(times)
    return (indices, *views(indices, torch.Generator().manual_seed(seed)))


def test_views_keep_their_own_labels_and_are_reproducible(ruler: ImageSet) -> None:
    views = Views(ruler, torch.arange(8), [Swap(WHOLE, None)], 2, CPU)
    indices, images, labels = batch(views)
    assert torch.equal(labels, indices % 2)
    assert torch.equal(images, batch(views)[1])
    assert not torch.equal(images, batch(views, seed=1)[1])
    assert len(views) == 8


def test_views_of_a_whole_swap_have_the_brightness_of_any_classs_donor(ruler: ImageSet) -> None:
    indices, images, _ = batch(Views(ruler, torch.arange(8), [Swap(WHOLE, None)], 2, CPU), times=64)
    steps = (images.mean((1, 2, 3)) * 255 - 100) / 2
    donors = torch.tensor([RULER.index(round(float(step))) for step in steps])
    for own in (0, 1):
        mine = donors[indices % 2 == own] % 2 == own
        assert 0.38 < float(mine.double().mean()) < 0.62  # one half expected, 256 draws


def test_what_is_exchanged_along_is_the_same_donors() -> None:
    """Its mean and its spread: of a donor's own pair, whatever else the images have."""

    def spread_and_rest(images: Tensor) -> tuple[Tensor, Tensor]:
        mean, spread = images.mean((1, 2, 3), keepdim=True), images.std((1, 2, 3), keepdim=True)
        return spread, (images - mean) / spread

    def spread_again(encoding: tuple[Tensor, Tensor]) -> Tensor:
        return encoding[0] * encoding[1] + 0.5

    spread = Codec(Representation(name="spread", api="1", encode=spread_and_rest, decode=spread_again, gate="whole"))
    draw = torch.Generator().manual_seed(0)
    deviations = torch.linspace(0.01, 0.05, 8).view(-1, 1, 1, 1)
    images = 0.5 + deviations * torch.randn(8, 3, 16, 16, generator=draw)
    shift = torch.linspace(-0.2, 0.2, 8).view(-1, 1, 1, 1)
    pool = ImageSet(((images + shift) * 255).round().to(torch.uint8), torch.arange(8) % 2)
    swap = Swap(WHOLE, None, along=(spread,))
    views = Views(pool, torch.arange(8), [swap], 2, CPU)
    assert swap.codecs == (spread, WHOLE)
    found = views.of(torch.arange(8), torch.Generator().manual_seed(1))
    raw = views.raw(torch.arange(8))
    means, spreads = found.mean((1, 2, 3)), found.std((1, 2, 3))
    nearest = (means[:, None] - raw.mean((1, 2, 3))).abs().argmin(1)
    assert len(nearest.unique()) > 2
    torch.testing.assert_close(spreads, raw.std((1, 2, 3))[nearest], atol=0.003, rtol=0)
    assert Swap(WHOLE, None).codecs == (WHOLE,)


def test_views_of_a_colour_swap_have_their_donors_statistics() -> None:
    draw = torch.Generator().manual_seed(0)
    tints = 0.4 + 0.2 * torch.rand(12, 3, 1, 1, generator=draw)
    spreads = 0.05 + 0.05 * torch.rand(12, 1, 1, 1, generator=draw)
    images = tints + spreads * torch.randn(12, 3, 16, 16, generator=draw)
    whole = ImageSet((images.clamp(0, 1) * 255).round().to(torch.uint8), torch.arange(12) % 3)
    _, views, _ = batch(Views(whole, torch.arange(12), [Swap(COLOUR, None)], 3, CPU), times=4)
    raw = whole.images.float() / 255
    means, deviations = views.mean((2, 3)), views.std((2, 3))
    gaps = (means[:, None] - raw.mean((2, 3))[None]).abs().amax(2)
    donors = gaps.argmin(1)
    assert gaps.amin(1).max() < 2e-3
    assert (deviations - raw.std((2, 3))[donors]).abs().max() < 4e-3
    assert len(donors.unique()) == 12


def test_statistics_are_exchanged_before_places_whatever_the_order_they_were_found_in(ruler: ImageSet) -> None:
    gates = torch.zeros(8, 1, 8, 8)
    gates[..., 4:] = 1
    levels = {100 + 2 * step for step in RULER}
    for swaps in ([Swap(WHOLE, None), Swap(PLACE, gates)], [Swap(PLACE, gates), Swap(WHOLE, None)]):
        indices, images, _ = batch(Views(ruler, torch.arange(8), swaps, 2, CPU))
        left, right = (images[:, 0, 0, column] * 255 for column in (0, -1))
        # Each half has the level of one image exactly. Were places first, the statistics would move both halves alike
        # and their difference would still say whose image it is.
        assert set(left.round().long().tolist()) <= levels
        assert set(right.round().long().tolist()) <= levels
        own = 100 + 2 * torch.tensor(RULER)[indices]
        assert (left.round().long() != own).any()
        assert (left != right).any()


def test_a_later_swap_pastes_the_donors_view(ruler: ImageSet) -> None:
    """The second swap takes everything over, so what is seen is the donor's view, itself made of two images."""
    right, everything = torch.zeros(8, 1, 8, 8), torch.ones(8, 1, 8, 8)
    right[..., 4:] = 1
    _, images, _ = batch(Views(ruler, torch.arange(8), [Swap(PLACE, right), Swap(PLACE, everything)], 2, CPU))
    mixed = (images[:, 0, 0, 0] - images[:, 0, 0, -1]).abs() > 1e-6
    assert 0.7 < float(mixed.double().mean()) < 1  # every eighth pair is one image twice


def test_a_second_donor_gives_what_it_has_and_takes_nothing_away(ruler: ImageSet) -> None:
    # Each image is open at one corner of its own: what comes in there twice comes from two donors.
    gates = torch.zeros(len(ruler), 1, 8, 8)
    gates[:, :, 0, 0] = 1
    gates[ruler.labels == 1, :, 0, 0], gates[ruler.labels == 1, :, 7, 7] = 0, 1
    once = Views(ruler, torch.arange(len(ruler)), [Swap(PLACE, gates)], 2, CPU)
    twice = Views(ruler, torch.arange(len(ruler)), [Swap(PLACE, gates, again=1.0)], 2, CPU)
    single, double = batch(once)[1], batch(twice)[1]
    untouched = torch.ones(8, 8, dtype=torch.bool)
    untouched[0, 0] = untouched[7, 7] = False
    assert torch.equal(single[..., untouched], double[..., untouched])
    first, last = (double[:, 0, 0, 0] != single[:, 0, 0, 0]), (double[:, 0, 7, 7] != single[:, 0, 7, 7])
    assert first.any()
    assert last.any()
    assert not (first & last).any(), "a second donor is open at one corner, and leaves the first one's in the other"


def test_views_come_from_the_pool_alone(ruler: ImageSet) -> None:
    pool = torch.tensor([1, 2, 7])
    views = Views(ruler, pool, [Swap(WHOLE, None)], 2, CPU)
    indices, images, labels = batch(views)
    assert torch.equal(labels, pool[indices] % 2)
    steps = (images.mean((1, 2, 3)) * 255 - 100) / 2
    assert {round(float(step)) for step in steps} == {RULER[1], RULER[2], RULER[7]}


def test_mix_leaves_its_share_of_images_as_they_are(ruler: ImageSet) -> None:
    swap = Swap(WHOLE, None)
    raw = ruler.images.float() / 255
    for mix, low, high in ((1.0, 1.0, 1.0), (0.5, 0.45, 0.7), (0.0, 0.0, 0.25)):
        indices, images, _ = batch(Views(ruler, torch.arange(8), [swap], 2, CPU, mix), times=64)
        kept = (images - raw[indices]).abs().amax((1, 2, 3)) < 1e-6
        assert low <= float(kept.double().mean()) <= high  # one image in eight meets itself as its donor


def test_views_without_swaps_are_the_images(ruler: ImageSet) -> None:
    indices, images, _ = batch(Views(ruler, torch.arange(8), [], 2, CPU))
    torch.testing.assert_close(images, (ruler.images.float() / 255)[indices])


def test_parts_of_what_is_given_stand_among_parts_of_a_third_image() -> None:
    count, side = 60, 4 * PARTS
    images = torch.arange(count).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, side, side).clone()
    gates = torch.zeros(count, 1, side, side)
    gates[..., : side // 2] = 1
    swap = Swap(PLACE, gates)
    views = PartViews(ImageSet(images, torch.arange(count) % 2), torch.arange(count), [swap], 2, CPU)
    seen = (views.of(torch.arange(count), torch.Generator().manual_seed(0)) * 255).round()[:, 0]
    own = seen == torch.arange(count).view(-1, 1, 1)
    inside, outside = seen[..., : side // 2], seen[..., side // 2 :]
    assert abs(float(own[..., : side // 2].float().mean()) - 0.5) < 0.1  # a random half of the gates is its own
    assert float(own[..., side // 2 :].float().mean()) < 0.1  # and nothing else
    assert (outside == outside[:, :1, :1]).all()  # the host
    assert max(len(view.unique()) for view in inside) == 2  # itself and a third image
    assert (inside != outside[:, :1, :1]).float().mean() > 0.9
    parts = own[..., : side // 2].view(count, PARTS, 4, PARTS // 2, 4)
    assert (parts == parts[:, :, :1, :, :1]).all()  # part by part
