"""φ, ι and r where they are known beforehand, and what is decided from them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from conceptnet_ml.config.settings import ProbeSettings, RoundSettings
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.records import Representation
from conceptnet_ml.swap.interchangeability import SwapMeasurement, measure_swap, pooled_iota
from conceptnet_ml.swap.probe import LogitsFn, Prober
from conceptnet_ml.swap.representation import Codec
from conceptnet_ml.swap.stop_rule import decide_round, residual_accuracy
from conceptnet_ml.swap.views import Views
from conceptnet_plugins.stop_rules.interchangeable import decide, sharing_classes

CPU = torch.device("cpu")
SIDE = 16
COUNT = 24


def same(images: Tensor) -> Tensor:
    return images


PLACE = Codec(Representation(name="place", api="1", encode=same, decode=same, gate="place"))
WHOLE = Codec(Representation(name="whole", api="1", encode=same, decode=same, gate="whole"))


def black_with_red(places: list[tuple[int, int] | None]) -> ImageSet:
    """Dark images; those of class 1 have a red square of 2 px at their place."""
    images = torch.zeros(len(places), 3, SIDE, SIDE, dtype=torch.uint8)
    for image, place in enumerate(places):
        if place is not None:
            row, column = place
            images[image, 0, row : row + 2, column : column + 2] = 255
    return ImageSet(images, torch.tensor([int(place is not None) for place in places]))


def in_one_place() -> ImageSet:
    """The feature is one thing among others: always in the same place."""
    return black_with_red([(6, 6) if image % 2 else None for image in range(COUNT)])


def nearby() -> ImageSet:
    """The same, a little elsewhere in every image."""
    return black_with_red([(5 + image % 3, 4 + image % 5) if image % 2 else None for image in range(COUNT)])


SPOTS = ((2, 2), (2, 12), (12, 2))


def odd_or_even() -> ImageSet:
    """The feature is the object: of three squares each may be there, and whether their number is odd is the class."""
    images = torch.zeros(32, 3, SIDE, SIDE, dtype=torch.uint8)
    shown = torch.arange(32)[:, None] // torch.tensor([1, 2, 4]) % 2
    for image, squares in enumerate(shown.tolist()):
        for (row, column), there in zip(SPOTS, squares, strict=True):
            images[image, 0, row : row + 2, column : column + 2] = 255 * there
    return ImageSet(images, shown.sum(1) % 2)


def odd(images: Tensor) -> Tensor:
    """Class 1 has an odd number of squares."""
    even = torch.ones(len(images), device=images.device)
    for row, column in SPOTS:
        even = even * (1 - 2 * images[:, 0, row : row + 2, column : column + 2].mean((1, 2)))
    return torch.stack([5 * even, -5 * even], 1)


def most_red(images: Tensor) -> Tensor:
    """Class 1 is red anywhere."""
    red = torch.nn.functional.avg_pool2d(images[:, 0], 2, 1).flatten(1).amax(1)
    return torch.stack([torch.zeros_like(red), 20 * (red - 0.5)], 1)


def blind(images: Tensor) -> Tensor:
    """Always class 1, whatever the image, with a gradient of nothing."""
    return torch.stack([0 * images.sum((1, 2, 3)), 1 + 0 * images.sum((1, 2, 3))], 1)


def measure(
    images: ImageSet,
    logits: LogitsFn = most_red,
    codec: Codec = PLACE,
    hopeless: float = 0.0,
    partners: Tensor | None = None,
    **changes: float,
) -> SwapMeasurement:
    numbers = torch.arange(len(images))
    settings = ProbeSettings(cells=8, **{"price": 2.0, "batch": 10, **changes})  # type: ignore[arg-type]
    views = Views(images, numbers, [], int(images.labels.max()) + 1, CPU, partners=partners)
    return measure_swap(Prober(logits, codec, settings), views, 0, hopeless=hopeless)


def test_a_thing_among_others_has_phi_and_iota_one() -> None:
    measured = measure(in_one_place())
    assert measured.images == measured.asked == (12, 12)
    assert measured.flips == (1.0, 1.0)
    assert measured.others == (1.0, 1.0)
    assert measured.mates == (0.0, 0.0)
    assert measured.phi == measured.iota == measured.contrast == 1.0
    assert measured.met == ((0, 1, 36, 36), (1, 0, 36, 36))  # three others for each of twelve images
    assert 0 < measured.price < 0.15
    assert decide(measured, RoundSettings()).keep


def test_a_thing_that_sits_elsewhere_in_others_comes_in_through_their_own_gates() -> None:
    measured = measure(nearby())
    assert measured.flips == measured.others == (1.0, 1.0)
    # A class-mate's square comes in where it is in him, as mine goes out where it is in me.
    assert measured.mates == (0.0, 0.0)
    assert measured.iota == 1.0


def test_the_object_itself_flips_but_cannot_be_exchanged() -> None:
    measured = measure(odd_or_even(), odd)
    assert measured.phi > 0.5
    # A part of it fits its own whole only: a class-mate's changes the answer too.
    assert min(measured.mates) > 0.2
    assert measured.iota < 0.3
    assert not decide(measured, RoundSettings()).keep


def test_what_misses_by_less_than_is_shown_is_shown_finer() -> None:
    """Else it would look as if the errors alone refused it."""
    measured = SwapMeasurement("pixels", "place", (50, 50), (1, 1), (0.528, 0.528), (0, 0), 0.1, answered=0.95)
    reason = decide(measured, RoundSettings(interchangeable=0.53)).reason
    assert reason.startswith("ι 0.528 < 0.530, and − 0.50 for errors < 0.53: it cannot be exchanged")


def test_a_gate_that_never_pays_flips_nothing() -> None:
    measured = measure(in_one_place(), price=1e6)
    assert measured.flips == (0.0, 0.0)
    assert measured.price == 0.0
    assert measured.iotas == (0.0, 0.0)
    assert measured.iota == 0.0
    decision = decide(measured, RoundSettings())
    assert not decision.keep
    assert "φ" in decision.reason


def test_only_images_answered_rightly_count() -> None:
    images = in_one_place()
    images.labels[:4] = 1 - images.labels[:4]  # four wrong labels, two of each kind
    measured = measure(images)
    assert measured.images == (10, 10)
    assert measured.asked == (12, 12)
    assert measured.answered == pytest.approx(20 / 24)
    assert [met[:3] for met in measured.met] == [(0, 1, 30), (1, 0, 30)]


def test_a_class_never_answered_has_no_images_and_flips_nothing() -> None:
    measured = measure(in_one_place(), blind)
    assert measured.images == (0, 12)
    assert measured.flips == (0.0, 0.0)


def test_a_whole_swap_flips_everything_at_full_price() -> None:
    measured = measure(in_one_place(), codec=WHOLE)
    assert (measured.flips, measured.mates, measured.price) == ((1.0, 1.0), (0.0, 0.0), 1.0)
    assert measured.gate == "whole"


def blue(images: Tensor) -> tuple[Tensor, Tensor]:
    """The blue channel, and the others: nothing of what the answer rests on is exchanged."""
    return images[:, 2:], images[:, :2]


def beside_blue(encoding: tuple[Tensor, Tensor]) -> Tensor:
    return torch.cat([encoding[1], encoding[0]], 1)


BLUE = Codec(Representation(name="blue", api="1", encode=blue, decode=beside_blue, gate="channel"))
RED = Codec(Representation(name="red", api="1", encode=same, decode=same, gate="channel"))


class Counted:
    """Logits that count the images they are asked about."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, images: Tensor) -> Tensor:
        self.asked += len(images)
        return most_red(images)


def test_a_swap_that_changes_nothing_when_whole_is_not_examined() -> None:
    objective = Counted()
    measured = measure(in_one_place(), objective, BLUE, hopeless=0.4)
    assert objective.asked == 3 * COUNT  # as it is, with one donor, with one class-mate
    assert (measured.phi, measured.contrast, measured.price, measured.met) == (0.0, 0.0, 1.0, ())
    assert measured.asked == (12, 12)
    assert not decide(measured, RoundSettings()).keep
    everything = Counted()
    measure(in_one_place(), everything, BLUE, hopeless=-1.0)
    assert everything.asked > 15 * COUNT


def test_a_swap_that_changes_answers_when_whole_is_examined() -> None:
    measured = measure(in_one_place(), codec=RED, hopeless=0.4)
    assert measured.flips == measured.others == (1.0, 1.0)
    assert measured.mates == (0.0, 0.0)
    assert measured.price == pytest.approx(1 / 3)  # the red channel alone
    assert len(measured.met) == 2


def test_a_place_gate_is_always_examined() -> None:
    assert measure(odd_or_even(), odd, hopeless=0.9).met


def squares_of_three_classes() -> ImageSet:
    """Class 1 and 2 have a square at a place of their own, class 0 has none."""
    places = [None, (6, 6), (6, 10)]
    images = black_with_red([places[image % 3] for image in range(COUNT)])
    return ImageSet(images.images, torch.arange(COUNT) % 3)


def by_place(images: Tensor) -> Tensor:
    first, second = (images[:, 0, 6:8, column : column + 2].mean((1, 2)) for column in (6, 10))
    return 10 * torch.stack([torch.full_like(first, 0.5), first, second], 1)


def test_partners_are_the_only_classes_met() -> None:
    everyone = measure(squares_of_three_classes(), by_place)
    assert {met[:2] for met in everyone.met} == {(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)}
    assert sum(met[2] for met in everyone.met) == 3 * COUNT
    few = measure(squares_of_three_classes(), by_place, partners=torch.tensor([[1], [0], [1]]))
    assert few.met == ((0, 1, 24, 24), (1, 0, 24, 24), (2, 1, 24, 24))
    assert few.iotas == (1.0, 1.0, 1.0)


def test_measuring_is_reproducible() -> None:
    assert measure(odd_or_even(), odd) == measure(odd_or_even(), odd)


def test_a_region_keeps_the_swap_out_of_the_rest() -> None:
    images, numbers = in_one_place(), torch.arange(COUNT)
    prober = Prober(most_red, PLACE, ProbeSettings(cells=8, price=2.0))
    views = Views(images, numbers, [], 2, CPU)
    assert measure_swap(prober, views, 0).phi > 0.0
    closed = lambda who: torch.zeros(len(who), 1, SIDE, SIDE)  # noqa: E731
    assert measure_swap(prober, views, 0, closed).phi == 0.0


def test_a_hard_swap_opens_what_is_above_the_threshold() -> None:
    gates = torch.zeros(1, 1, SIDE, SIDE)
    gates[..., 4, 4], gates[..., 9, 9] = 0.6, 0.4
    images, donors = torch.zeros(1, 3, SIDE, SIDE), torch.ones(1, 3, SIDE, SIDE)
    swapped = Prober(most_red, PLACE, ProbeSettings()).hard_swap(images, donors, gates)
    assert swapped.sum() == 3
    assert (swapped[0, :, 4, 4] == 1).all()
    channels = Prober(most_red, RED, ProbeSettings()).hard_swap(images, donors, torch.tensor([[0.6, 0.4, 0.0]]))
    assert channels.mean((2, 3)).tolist() == [[1.0, 0.0, 0.0]]
    assert torch.equal(Prober(most_red, WHOLE, ProbeSettings()).hard_swap(images, donors, None), donors)


KEEP = SwapMeasurement("pixels", "place", (10, 10), (0.5, 0.1), (0.4, 0.1), (0.1, 0.0), 0.1)


def test_phi_iota_and_contrast_by_hand() -> None:
    assert KEEP.phi == pytest.approx(0.3)
    assert KEEP.iotas == (pytest.approx(0.4 - 0.1), pytest.approx(0.1 - 0.0))
    assert KEEP.iota == pytest.approx(0.1)  # of two, the lower
    assert KEEP.contrast == pytest.approx(0.3 - 0.05)
    assert replace(KEEP, answered=0.9).iota_less_errors(2.0) == pytest.approx(0.1 - 2 * 0.1)
    record = KEEP.record()
    assert record["phi"] == KEEP.phi
    assert record["iota"] == KEEP.iota
    assert record["representation"] == "pixels"


@pytest.mark.parametrize(
    ("iotas", "expected"),
    [
        ((), 0.0),
        ((0.4,), 0.4),
        ((0.9, 0.1), 0.1),
        ((0.9, 0.2, 0.5), 0.35),
        ((1.0, 0.2, 0.9, 0.1), 0.4),
        ((0.3, 0.9, 0.8, 0.5, -0.2), 0.35),
    ],
)
def test_pooled_iota_leaves_out_the_class_in_which_iota_is_highest(iotas: tuple[float, ...], expected: float) -> None:
    assert pooled_iota(iotas) == pytest.approx(expected)


def four_classes(
    shares: tuple[int, ...], rates: tuple[float, float] = (1.0, 0.2), mates: tuple[float, float] = (0.0, 0.5)
) -> SwapMeasurement:
    """What a probe finds if these of four classes share a feature.

    Args:
        rates: How often a swap changes the answer between two that share it, and otherwise.
        mates: The same for class-mates of those that share it, and of the others.
    """
    met = tuple(
        (host, donor, 10, round(10 * rates[not (host in shares and donor in shares)]))
        for host in range(4)
        for donor in range(4)
        if host != donor
    )
    others = tuple(sum(hits for host, _, _, hits in met if host == c) / 30 for c in range(4))
    mine = tuple(mates[c not in shares] for c in range(4))
    return SwapMeasurement("pixels", "place", (10,) * 4, (0.9,) * 4, others, mine, 0.1, 1.0, (10,) * 4, met)


def test_within_some_classes_only_their_meetings_count() -> None:
    measured = replace(four_classes((0, 2, 3), rates=(0.9, 0.1)), asked=(10, 10, 10, 12))
    assert measured.iotas == tuple(pytest.approx(x) for x in (1.9 / 3, 0.1 - 0.5, 1.9 / 3, 1.9 / 3))
    iotas, score = measured.within((0, 2, 3), 2.0)
    assert iotas == (pytest.approx(0.9),) * 3
    # 30 right of 32: class 1's images are not asked about.
    assert score == pytest.approx(0.9 - 2 * 2 / 32)
    iotas, score = measured.within((0, 1), 0.0)
    assert iotas == (pytest.approx(0.1), pytest.approx(0.1 - 0.5))
    assert score == pytest.approx(-0.4)


def test_within_classes_that_never_met_nothing_can_be_exchanged() -> None:
    measured = replace(four_classes((0, 1, 2, 3)), met=((0, 1, 10, 10),))
    assert measured.within((0, 2), 0.0)[0] == (0.0, 0.0)


def test_sharing_finds_the_classes_that_share_a_feature() -> None:
    settings = RoundSettings()
    assert sharing_classes(four_classes((0, 2, 3)), settings) == (0, 2, 3)
    assert sharing_classes(four_classes((1, 3)), settings) == (1, 3)
    assert sharing_classes(four_classes(()), settings) == ()
    # A search finds something by chance: what would do for all classes is not enough for some.
    assert settings.interchangeable < 0.7
    assert sharing_classes(four_classes((0, 1), rates=(0.7, 0.2)), settings) == ()
    # Without a count of who met whom, and among two classes, there is nothing to search.
    assert sharing_classes(replace(four_classes((0, 2, 3)), met=()), settings) == ()
    assert sharing_classes(replace(KEEP, met=((0, 1, 9, 9), (1, 0, 9, 9)), asked=(10, 10)), settings) == ()


def test_the_errors_of_those_that_share_it_count_against_them() -> None:
    settings = RoundSettings()
    measured = four_classes((1, 3))
    assert sharing_classes(replace(measured, asked=(20, 10, 20, 10)), settings) == (1, 3)
    assert sharing_classes(replace(measured, asked=(10, 13, 10, 13)), settings) == ()


def test_a_feature_that_some_classes_share_is_kept_for_them() -> None:
    settings = RoundSettings()
    found = decide(four_classes((0, 2, 3)), settings)
    assert found.keep
    assert found.classes == (0, 2, 3)
    assert "3 of 4 classes share it, ι 1.00" in found.reason
    everyone = decide(four_classes((0, 1, 2, 3)), settings)
    assert everyone.keep
    assert everyone.classes is None
    nobody = decide(four_classes(()), settings)
    assert not nobody.keep
    assert nobody.classes is None
    assert "the object" in nobody.reason


@pytest.mark.parametrize(
    ("before", "after", "without", "keep", "why"),
    [
        (1.0, 0.9, 0.95, True, "0.95 without the swap"),
        (1.0, 0.626, 0.9, True, "≥ 0.62"),  # chance 0.5 and a quarter of what was above it
        (1.0, 0.624, 0.9, False, "the least that must remain"),
        (0.4, 0.51, 0.6, True, "≥ 0.50"),  # below chance nothing was learned
        (0.4, 0.49, 0.6, False, "the least that must remain"),
        (1.0, 0.9, 0.851, True, "without the swap"),
        (1.0, 0.9, 0.849, False, "it was the object itself"),
        (1.0, 0.5, 0.1, False, "the least that must remain"),
    ],
)
def test_a_round_stands_if_enough_remains_and_it_did_not_learn_against_the_swap(
    before: float, after: float, without: float, keep: bool, why: str
) -> None:
    decision = decide_round(before, after, without, 0.5, RoundSettings())
    assert decision.keep is keep
    assert why in decision.reason
    assert f"r {before:.2f} → {after:.2f}" in decision.reason


def test_how_far_a_round_may_learn_against_the_swap_is_a_setting() -> None:
    assert decide_round(1.0, 0.9, 0.7, 0.5, RoundSettings(inverted=0.21)).keep
    assert not decide_round(1.0, 0.9, 0.7, 0.5, RoundSettings(inverted=0.19)).keep


@pytest.mark.parametrize(("above", "keep"), [(0.01, True), (-0.01, False)])
def test_a_place_swap_is_judged_by_its_interchangeability(above: float, keep: bool) -> None:
    settings = RoundSettings()
    others = settings.interchangeable + above
    measured = SwapMeasurement("pixels", "place", (9, 9), (1.0, 1.0), (others, others), (0.0, 0.0), 0.1)
    decision = decide(measured, settings)
    assert decision.keep is keep
    assert f"{others:.2f}" in decision.reason
    assert f"{settings.interchangeable:.2f}" in decision.reason


@pytest.mark.parametrize(("iota", "keep"), [(0.55, False), (0.64, False), (0.66, True)])
def test_once_places_were_exchanged_a_further_swap_must_be_surer(iota: float, keep: bool) -> None:
    measured = SwapMeasurement("it", "place", (9, 9), (1, 1), (iota, iota), (0, 0), 0.1)
    assert decide(measured, RoundSettings()).keep
    later = decide(replace(measured, later=True), RoundSettings())
    assert later.keep is keep
    assert "0.65" in later.reason
    assert not later.undecided


def test_the_networks_errors_count_against_a_place_swap() -> None:
    settings = RoundSettings()
    perfect = SwapMeasurement("pixels", "place", (9, 9), (1.0, 1.0), (0.9, 0.9), (0.0, 0.0), 0.1, answered=1.0)
    assert decide(perfect, settings).keep
    assert not decide(replace(perfect, answered=0.6), settings).keep
    assert decide(replace(perfect, answered=0.6), RoundSettings(imperfection=0.0)).keep


def test_where_only_errors_speak_against_a_place_swap_what_contradicts_it_is_asked_first() -> None:
    settings = RoundSettings()
    measured = SwapMeasurement("pixels", "place", (9, 9), (1.0, 1.0), (0.7, 0.7), (0.0, 0.0), 0.1, answered=0.95)
    asked = decide(measured, settings)
    assert (asked.keep, asked.undecided) == (False, True)
    objects = replace(measured, others=(0.5, 0.5))
    assert not decide(objects, settings).undecided


@pytest.mark.parametrize(("above", "keep"), [(0.01, True), (-0.01, False)])
def test_a_global_swap_is_judged_by_its_contrast(above: float, keep: bool) -> None:
    settings = RoundSettings()
    flips = settings.decisive + above
    measured = SwapMeasurement("fourier", "channel", (9, 9), (flips, flips), (1.0, 1.0), (0.0, 0.0), 1.0)
    assert decide(measured, settings).keep is keep


@pytest.mark.parametrize(("wider", "more", "keep"), [(-0.01, 0.01, True), (0.01, 0.01, False), (-0.01, -0.01, False)])
def test_channels_that_hold_the_whole_image_must_decide_alone_through_a_narrow_gate(
    wider: float, more: float, keep: bool
) -> None:
    settings = RoundSettings()
    flips, price = settings.decisive + more, settings.narrow + wider
    measured = SwapMeasurement("waves", "channel", (9, 9), (flips, flips), (1, 1), (0, 0), price, entire=True)
    decision = decide(measured, settings)
    assert (decision.keep, decision.last) == (keep, keep)
    assert decide(replace(measured, entire=False), settings).keep == (more > 0), "of amplitudes any gate will do"


def test_what_class_mates_change_too_does_not_keep_a_global_swap() -> None:
    measured = SwapMeasurement("colour", "whole", (9, 9), (1.0, 1.0), (1.0, 1.0), (0.9, 0.9), 1.0)
    assert not decide(measured, RoundSettings()).keep


@pytest.mark.parametrize(
    ("gate", "errors", "keep"), [("whole", 0.0, True), ("whole", 0.05, False), ("channel", 0.0, False)]
)
def test_colour_that_decides_in_part_is_kept_where_the_network_hardly_errs(
    gate: str, errors: float, keep: bool
) -> None:
    measured = SwapMeasurement("it", gate, (9, 9), (0.5, 0.5), (0.5, 0.5), (0.0, 0.0), 1.0, answered=1 - errors)
    decision = decide(measured, RoundSettings())
    assert decision.keep is keep
    assert "contrast 0.50" in decision.reason
    assert not decide(measured, RoundSettings(partly=1.0)).keep
    assert not decide(replace(measured, in_part=False), RoundSettings()).keep, "only what is judged by its own measure"


@pytest.mark.parametrize(("more", "keep"), [(0.01, True), (-0.01, False)])
@pytest.mark.parametrize("later", [False, True])
def test_how_pictures_were_taken_is_kept_where_nature_gives_classes_less_whatever_the_errors(
    more: float, keep: bool, later: bool
) -> None:
    settings = RoundSettings()
    least = 0.15 + (settings.partly if later else settings.technical)
    flips = (least + more,) * 2
    measured = SwapMeasurement("it", "whole", (9, 9), flips, (1, 1), (0, 0), 1.0, 0.8, nature=0.15, later=later)
    decision = decide(measured, settings)
    assert (decision.keep, decision.last) == (keep, keep)
    assert decision.compared is not None
    assert decision.compared.least == least
    assert not decide(replace(measured, nature=None), settings).keep, "of colour errors are taken off"
    assert not decide(replace(measured, in_part=False), settings).keep, "only what is judged by its own measure"


@pytest.mark.parametrize("gate", ["place", "whole", "channel"])
def test_what_hardly_ever_flips_is_refused(gate: str) -> None:
    settings = RoundSettings(decisive=0.0, interchangeable=-9.0)
    few = settings.flips - 0.01
    measured = SwapMeasurement("it", gate, (9, 9), (few, few), (few, few), (0.0, 0.0), 0.1)
    decision = decide(measured, settings)
    assert not decision.keep
    assert "φ" in decision.reason


class Bright(nn.Module):
    """Class 1 is red anywhere; as a network."""

    def forward(self, images: Tensor) -> Tensor:
        return most_red(images)


def test_residual_accuracy_counts_right_answers_on_views() -> None:
    images, numbers = in_one_place(), torch.arange(COUNT)
    assert residual_accuracy(Bright(), Views(images, numbers, [], 2, CPU), numbers, 0, None) == 1.0
    images.labels[:6] = 1 - images.labels[:6]
    assert residual_accuracy(Bright(), Views(images, numbers, [], 2, CPU), numbers, 0, None) == pytest.approx(18 / 24)


def test_a_verdict_says_what_was_measured() -> None:
    settings = RoundSettings()
    found = SwapMeasurement("pixels", "place", (100, 100), (0.9, 0.9), (0.9, 0.9), (0.0, 0.0), 0.1)
    assert decide(found, settings).keep
    errs = decide(replace(found, answered=0.9), settings)
    assert not errs.keep
    assert "errs too often to tell" in errs.reason
    fixed = decide(replace(found, mates=(0.8, 0.8)), settings)
    assert "it cannot be exchanged" in fixed.reason
    still = replace(found, flips=(0.0, 0.0))
    assert "no cheap gate" in decide(still, settings).reason
    assert "exchanging it changes few answers" in decide(replace(still, gate="whole"), settings).reason


@pytest.mark.parametrize(
    ("gate", "figures", "keep"),
    [
        ("place", (0.9, 0.5, 0.1), True),  # φ, what other donors and what class-mates change
        ("place", (0.9, 0.4, 0.1), False),
        ("whole", (0.5, 0.5, 0.1), True),
        ("whole", (0.4, 0.4, 0.1), False),
    ],
)
def test_what_changes_the_answers_of_a_network_that_reads_a_cue_alone_is_the_cue(
    gate: str, figures: tuple[float, float, float], keep: bool
) -> None:
    phi, others, mates = ((one, one) for one in figures)
    measured = SwapMeasurement("x", gate, (90, 90), phi, others, mates, 0.1, answered=0.9, told=0.85)
    decision = decide(measured, RoundSettings())
    assert decision.keep is keep
    assert decision.last is (keep and gate != "place"), "what is of the whole image waits for places"
    assert not decision.undecided
    assert "contradicting images" in decision.reason
    assert not decide(replace(measured, told=None), RoundSettings()).keep, "a tenth of errors speaks against any other"


@pytest.mark.parametrize(("price", "keep"), [(0.3, True), (0.31, False)])
def test_waves_that_hold_the_whole_image_must_be_narrow_for_a_reader_too(price: float, keep: bool) -> None:
    measured = SwapMeasurement("waves", "channel", (90, 90), (0.9,) * 2, (0.9,) * 2, (0.0,) * 2, price, told=0.85)
    assert decide(replace(measured, entire=True), RoundSettings()).keep is keep


def test_what_rounds_to_the_threshold_is_shown_with_three_decimals() -> None:
    """``0.20 < 0.20`` would read as false."""
    settings = RoundSettings()
    shares = {"images": (17, 18), "others": (0.0, 0.0), "mates": (0.0, 0.0), "price": 1.0, "answered": 1.0}
    few = SwapMeasurement("blocks", "whole", flips=(0.1176, 0.2778), **shares)
    assert decide(few, settings).reason.startswith("φ 0.198 < 0.200: ")
    fewer = replace(few, flips=(0.1, 0.1))
    assert decide(fewer, settings).reason.startswith("φ 0.10 < 0.20: ")
    almost = replace(few, flips=(0.798, 0.798), others=(0.798, 0.798), gate="channel")
    assert decide(almost, settings).reason.startswith("contrast 0.798 < 0.800: ")
    told = replace(almost, gate="place", others=(settings.read - 0.002,) * 2, told=0.9)
    assert f"ι {settings.read - 0.002:.3f} < {settings.read:.3f}" in decide(told, settings).reason
