"""φ, ι and r where they are known beforehand, and what is decided from them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from conceptnet_ml.data import ImageSet
from conceptnet_ml.decisions import Measured, decide, residual
from conceptnet_ml.measuring import best_move, exchange, measure
from conceptnet_ml.probing import Objective, Prober
from conceptnet_ml.records import Representation
from conceptnet_ml.settings import ProbeSettings, RoundSettings
from conceptnet_ml.swaps import Codec, Views

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


def in_corners() -> ImageSet:
    """The feature is the object: each image of class 1 has it in one of four corners, too far apart to be moved."""
    corners = [(0, 0), (0, 14), (14, 0), (14, 14)]
    return black_with_red([corners[image // 2 % 4] if image % 2 else None for image in range(COUNT)])


def most_red(images: Tensor) -> Tensor:
    """Class 1 is red anywhere."""
    red = torch.nn.functional.avg_pool2d(images[:, 0], 2, 1).flatten(1).amax(1)
    return torch.stack([torch.zeros_like(red), 20 * (red - 0.5)], 1)


def blind(images: Tensor) -> Tensor:
    """Always class 1, whatever the image, with a gradient of nothing."""
    return torch.stack([0 * images.sum((1, 2, 3)), 1 + 0 * images.sum((1, 2, 3))], 1)


def look(images: ImageSet, objective: Objective = most_red, codec: Codec = PLACE, **changes: float) -> Measured:
    numbers = torch.arange(len(images))
    settings = ProbeSettings(cells=8, **{"price": 2.0, "batch": 10, **changes})  # type: ignore[arg-type]
    views = Views(images, numbers, [], 2, CPU)
    return measure(Prober(objective, codec, settings), views, numbers, images.labels, seed=0)


def test_a_thing_among_others_has_phi_and_iota_one() -> None:
    measured = look(in_one_place())
    assert measured.images == (12, 12)
    assert measured.flips == (1.0, 1.0)
    assert measured.others == (1.0, 1.0)
    assert measured.mates == (0.0, 0.0)
    assert measured.phi == measured.iota == measured.contrast == 1.0
    assert 0 < measured.price < 0.15
    assert decide(measured, RoundSettings()).keep


def test_a_thing_that_sits_elsewhere_in_others_is_moved_under_the_gate() -> None:
    measured = look(nearby())
    assert measured.phi == 1.0
    assert measured.iota is not None
    assert measured.iota > 0.8
    assert decide(measured, RoundSettings()).keep


def test_the_object_itself_flips_but_cannot_be_exchanged() -> None:
    measured = look(in_corners())
    assert measured.flips == (1.0, 1.0)
    # Class 0: only every fourth donor has a square in this corner. Class 1: any dark donor takes the square away, but
    # so do three class-mates of four.
    assert measured.others[0] < 0.5
    assert measured.others[1] == 1.0
    assert measured.mates[0] == 0.0
    assert measured.mates[1] > 0.5
    assert measured.iota is not None
    assert measured.iota < 0.4
    assert not decide(measured, RoundSettings()).keep


def test_the_best_move_lays_one_gate_on_another() -> None:
    gates, others = torch.zeros(3, 1, 8, 8), torch.zeros(3, 1, 8, 8)
    gates[:, 0, 3:5, 2:4] = 1
    others[0, 0, 4:6, 4:6] = 1  # one down, two to the right of it
    others[1, 0, 3:5, 2:4] = 1  # there already
    down, right = best_move(gates, others)  # the third has no gate at all
    assert down.tolist() == [-1, 0, 0]
    assert right.tolist() == [-2, 0, 0]


def test_a_gate_that_never_pays_flips_nothing() -> None:
    measured = look(in_one_place(), price=1e6)
    assert measured.flips == (0.0, 0.0)
    assert measured.price == 0.0
    assert measured.iotas == (None, None)
    assert measured.iota is None
    decision = decide(measured, RoundSettings())
    assert not decision.keep
    assert "φ" in decision.reason


def test_only_images_answered_rightly_count() -> None:
    images = in_one_place()
    images.labels[:4] = 1 - images.labels[:4]  # four wrong labels, two of each kind
    measured = look(images)
    assert measured.images == (10, 10)
    assert measured.answered == pytest.approx(20 / 24)


def test_a_class_never_answered_has_no_images_and_flips_nothing() -> None:
    measured = look(in_one_place(), blind)
    assert measured.images == (0, 12)
    assert measured.flips == (0.0, 0.0)


def test_a_whole_swap_flips_everything_at_full_price() -> None:
    measured = look(in_one_place(), codec=WHOLE)
    assert (measured.flips, measured.mates, measured.price) == ((1.0, 1.0), (0.0, 0.0), 1.0)
    assert measured.gate == "whole"


def test_measuring_is_reproducible() -> None:
    assert look(in_corners()) == look(in_corners())


def test_a_region_keeps_the_swap_out_of_the_rest() -> None:
    images, numbers = in_one_place(), torch.arange(COUNT)
    prober = Prober(most_red, PLACE, ProbeSettings(cells=8, price=2.0))
    views = Views(images, numbers, [], 2, CPU)
    assert measure(prober, views, numbers, images.labels, 0).phi > 0.0
    closed = lambda who: torch.zeros(len(who), 1, SIDE, SIDE)  # noqa: E731
    assert measure(prober, views, numbers, images.labels, 0, closed).phi == 0.0


def test_exchange_hardens_the_gate() -> None:
    gates = torch.zeros(1, 1, SIDE, SIDE)
    gates[..., 4, 4], gates[..., 9, 9] = 0.6, 0.4
    images, donors = torch.zeros(1, 3, SIDE, SIDE), torch.ones(1, 3, SIDE, SIDE)
    swapped = exchange(Prober(most_red, PLACE, ProbeSettings()), images, donors, gates, grow=0)
    assert swapped.sum() == 3
    assert (swapped[0, :, 4, 4] == 1).all()
    grown = exchange(Prober(most_red, PLACE, ProbeSettings()), images, donors, gates, grow=2)
    assert grown.sum() == 3 * 25


KEEP = Measured("pixels", "place", (10, 10), (0.5, 0.1), (0.4, 0.1), (0.1, 0.0), 0.1)


def test_phi_iota_and_contrast_by_hand() -> None:
    assert KEEP.phi == pytest.approx(0.3)
    assert KEEP.iotas == (pytest.approx(0.4 / 0.5 - 0.1), None)
    assert KEEP.iota == pytest.approx(0.7)
    assert KEEP.contrast == pytest.approx(0.3 - 0.05)
    record = KEEP.record()
    assert record["phi"] == KEEP.phi
    assert record["iota"] == KEEP.iota
    assert record["representation"] == "pixels"


@pytest.mark.parametrize(("above", "keep"), [(0.01, True), (-0.01, False)])
def test_a_place_swap_is_judged_by_its_interchangeability(above: float, keep: bool) -> None:
    settings = RoundSettings()
    others = settings.interchangeable + above
    measured = Measured("pixels", "place", (9, 9), (1.0, 1.0), (others, others), (0.0, 0.0), 0.1)
    decision = decide(measured, settings)
    assert decision.keep is keep
    assert f"{others:.2f}" in decision.reason
    assert f"{settings.interchangeable:.2f}" in decision.reason


def test_the_networks_errors_count_against_a_place_swap() -> None:
    settings = RoundSettings()
    perfect = Measured("pixels", "place", (9, 9), (1.0, 1.0), (0.9, 0.9), (0.0, 0.0), 0.1, answered=1.0)
    assert decide(perfect, settings).keep
    assert not decide(replace(perfect, answered=0.6), settings).keep
    assert decide(replace(perfect, answered=0.6), RoundSettings(imperfection=0.0)).keep


@pytest.mark.parametrize(("above", "keep"), [(0.01, True), (-0.01, False)])
def test_a_global_swap_is_judged_by_its_contrast(above: float, keep: bool) -> None:
    settings = RoundSettings()
    flips = settings.decisive + above
    measured = Measured("colour", "whole", (9, 9), (flips, flips), (1.0, 1.0), (0.0, 0.0), 1.0)
    assert decide(measured, settings).keep is keep


def test_what_class_mates_change_too_does_not_keep_a_global_swap() -> None:
    measured = Measured("colour", "whole", (9, 9), (1.0, 1.0), (1.0, 1.0), (0.5, 0.5), 1.0)
    assert not decide(measured, RoundSettings()).keep


@pytest.mark.parametrize("gate", ["place", "whole", "channel"])
def test_what_hardly_ever_flips_is_refused(gate: str) -> None:
    settings = RoundSettings(decisive=0.0, interchangeable=-9.0)
    few = settings.flips - 0.01
    measured = Measured("it", gate, (9, 9), (few, few), (few, few), (0.0, 0.0), 0.1)
    decision = decide(measured, settings)
    assert not decision.keep
    assert "φ" in decision.reason


def test_an_undefined_iota_is_refused_with_its_reason() -> None:
    measured = Measured("pixels", "place", (9, 9), (0.15, 0.15), (0.15, 0.15), (0.0, 0.0), 0.1)
    decision = decide(measured, RoundSettings(flips=0.05))
    assert not decision.keep
    assert "undefined" in decision.reason
    assert decide(replace(measured, flips=(0.3, 0.3), others=(0.3, 0.3)), RoundSettings(flips=0.05)).keep


class Bright(nn.Module):
    """Class 1 is red anywhere; as a network."""

    def forward(self, images: Tensor) -> Tensor:
        return most_red(images)


def test_residual_accuracy_counts_right_answers_on_views() -> None:
    images, numbers = in_one_place(), torch.arange(COUNT)
    assert residual(Bright(), Views(images, numbers, [], 2, CPU), numbers, 0, None) == 1.0
    images.labels[:6] = 1 - images.labels[:6]
    assert residual(Bright(), Views(images, numbers, [], 2, CPU), numbers, 0, None) == pytest.approx(18 / 24)
