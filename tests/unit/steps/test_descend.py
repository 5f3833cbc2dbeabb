"""What a stage hands down: families, and the object that is left."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from conceptnet_ml import learner
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.steps.closure import close
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.descend import leaf
from conceptnet_ml.steps.records import Descent, Learned, Outcome, Site

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


def test_the_loop_goes_down_into_a_kept_family_and_into_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """One round is kept at the top, the second is not: the stage below asks the family and the object."""
    asked: list[str] = []

    def generalize(ctx: object, learned: object, site: Site, *_: object) -> Any:
        asked.append(site.name)
        after = replace(site.readout, swaps=["kept"])
        keep = site.name == "block3/classes/1"
        return SimpleNamespace(keep=keep, next_readout=after, probed=PLACES.probed)

    fakes: dict[str, Any] = {
        "describe": lambda ctx, learned, stage, readout: readout,
        "find": lambda *_: [],
        "probe_channels": lambda *_: None,
        "probe": lambda *_: [object()],
        "generalize": generalize,
        "specialize": lambda *_: SimpleNamespace(readout=FAMILY),
        "descend": lambda ctx, learned, site, readout, below: Descent(below, (), (readout,)),
        "_end_round": lambda *_: None,
        "train_refused": lambda *_: None,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(learner, name, fake)
    settings = SimpleNamespace(depth=2, round=SimpleNamespace(limit=3, epochs=1))
    ctx = cast(Context, SimpleNamespace(settings=settings, epochs=lambda count: count, codec=CTX.codec))
    ordinary = SimpleNamespace(stage_names=("block1", "block2", "block3"))
    learned = cast(Learned, SimpleNamespace(ordinary=ordinary, refused=None, add=lambda *_: None))
    learner.learn_stages(ctx, learned, CLASSES)
    assert asked == ["block3/classes/1", "block3/classes/2", "block2/block3.1/1", "block2/block3.leaf/1"]


def test_an_object_below_the_top_is_no_top() -> None:
    """Its regional swap is exchanged in places, and is not widened for that."""
    site = Site.of_round("block2", replace(CLASSES, key="block3.leaf", elementary=3), 1)
    assert not site.at_top
    assert Site.of_round("block3", CLASSES, 1).at_top
    swap, ctx = SimpleNamespace(codec=SimpleNamespace(gate="place")), SimpleNamespace(classes=2)
    probed = SimpleNamespace(decision=SimpleNamespace(classes=None), measured=SimpleNamespace(alone=None))
    assert close(cast(Context, ctx), site, [], cast(Any, swap), cast(Any, probed)) == (swap, ())
