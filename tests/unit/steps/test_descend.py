"""What a stage hands down: families, and the object that is left."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.descend import leaf
from conceptnet_ml.steps.records import Outcome, Site

NETWORK: Any = object()
CLASSES = Readout("classes", NETWORK)
FAMILY = Readout("block3.1", NETWORK, "block3", cast(Any, object()), elementary=3)
CTX = cast(Context, SimpleNamespace(codec=lambda *_: SimpleNamespace(record=SimpleNamespace(cost=3))))
PLACES = cast(
    Outcome, SimpleNamespace(probed=SimpleNamespace(measured=SimpleNamespace(gate="place", representation="x")))
)


def test_the_object_goes_down_after_whatever_was_kept_before_it() -> None:
    for number in (1, 2, 4):
        readout = replace(CLASSES, swaps=[cast(Any, "kept before")] * (number - 1))
        found = leaf(CTX, Site.of_round("block3", readout, number), [PLACES])
        assert found is not None
        assert (found.key, found.elementary, found.swaps) == ("block3.leaf", 3, readout.swaps)


@pytest.mark.parametrize(("number", "goes_down"), [(1, True), (2, False)])
def test_a_family_goes_down_as_an_object_only_where_nothing_was_found_below_it(number: int, goes_down: bool) -> None:
    found = leaf(CTX, Site.of_round("block2", FAMILY, number), [])
    assert (found is not None) is goes_down
    assert found is None or (found.key, found.elementary) == ("block3.1.block2.leaf", FAMILY.elementary)


def test_what_is_below_two_readouts_of_a_stage_has_two_names() -> None:
    sites = [Site.of_round("block2", readout, 1) for readout in (FAMILY, replace(FAMILY, key="block3.leaf"))]
    assert [site.key_below("leaf") for site in sites] == ["block3.1.block2.leaf", "block3.leaf.block2.leaf"]
    assert [Site.of_round("block3", CLASSES, 1).key_below(what) for what in (1, "leaf")] == ["block3.1", "block3.leaf"]
