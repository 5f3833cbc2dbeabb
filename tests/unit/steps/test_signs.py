"""Signs that are weighed image by image, and how sure they are, on images whose answers are written by hand."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor

from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.steps.records import Trained
from conceptnet_ml.steps.signs import iota_of, sure_of_places, weigh_sides
from conceptnet_ml.steps.target import LEAST, SURE, sure_of_target
from conceptnet_ml.swap.stop_rule import Decision

LABELS = torch.arange(200) % 2


def share(of: float) -> Tensor:
    """So many of 200 images, and every class as often."""
    return (torch.arange(200) < round(200 * of)).double()


@pytest.mark.parametrize(
    ("shares", "outside", "figure", "grade"),
    [
        ((0.2, 0.8), False, "answers as the outside says", "sure"),
        ((0.9, 0.1, 0.9, 0.6, 0.9), True, "answers as the widened outside says", "sure"),
        ((0.9, 0.1, 0.6, 0.9, 0.9), False, "learned from the outside", "sure"),
        ((0.9, 0.1, 0.9, 0.6, 0.56), True, "answers as the widened outside says", "close call"),
        ((0.9, 0.1, 0.9, 0.6, 0.4), False, "answers as the widened outside says", "sure"),
    ],
)
def test_which_side_is_exchanged_and_how_sure_it_is(
    shares: tuple[float, ...], outside: bool, figure: str, grade: str
) -> None:
    names = ("by_rest", "by_part", "rest", "part", "by_wider_rest")
    found, sure = weigh_sides(dict(zip(names, map(share, shares), strict=False)), LABELS, 2, 0.1)
    assert found == outside
    assert (sure.grade, sure.figure.startswith(figure), sure.images) == (grade, True, 200)
    assert sure.low <= sure.value <= sure.high


@pytest.mark.parametrize(
    ("others", "fell", "grade"), [(0.4, 0.02, "sure"), (0.15, 0.02, "close call"), (0.02, 0.0, "sure")]
)
def test_how_sure_it_is_that_places_are_left(others: float, fell: float, grade: str) -> None:
    right = torch.ones(200, dtype=torch.bool)
    hits = right, share(1 - fell) > 0
    trained = Trained(cast(StagedNetwork, None), Decision(True, ""), 1.0, 1 - fell, 1.0, hits=hits)
    views = torch.stack([share(1.0), share(others), share(0.0)])
    sure = sure_of_places(views, trained, 0.08, LABELS, 2)
    assert sure is not None
    assert sure.value == pytest.approx(others - 4 * fell)
    assert sure.grade == grade
    assert (
        sure_of_places(views, Trained(trained.network, trained.decision, 1.0, 1 - fell, 1.0), 0.08, LABELS, 2) is None
    )


def test_iota_of_places_that_no_image_answers_rightly() -> None:
    assert iota_of(0, 0, 0) == 0
    assert iota_of(40, 10, 6) == 0.1


@pytest.mark.parametrize(("now", "grade"), [(0.5, "sure"), (0.94, "close call"), (1.0, "sure")])
def test_how_sure_it_is_that_a_cue_goes_its_own_way_in_the_new_world(now: float, grade: str) -> None:
    held, new = [share(1.0)] * 2, [share(now), share(1.0)]
    sure = sure_of_target([one > 0 for one in held], [one > 0 for one in new], LABELS)
    assert sure.value == pytest.approx(1 - now)
    assert sure.least >= LEAST
    assert sure.images == 400
    assert sure.grade == grade
    assert SURE == 3.0
