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
from conceptnet_ml.steps.exceptions import after_exceptions
from conceptnet_ml.steps.records import Descent, Learned, Outcome, ProbeResult, Site
from conceptnet_ml.swap.interchangeability import SwapMeasurement
from conceptnet_ml.swap.stop_rule import USER, Decision

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


PROBED = ProbeResult(SwapMeasurement("x", "place", (9, 9), (1, 1), (1, 1), (0, 0), 0.1), Decision(False, "it is not"))
UNDECIDED = replace(PROBED, decision=Decision(False, "it errs", undecided=True))
KEPT = replace(PROBED, decision=Decision(True, "it is"))


def stages(
    monkeypatch: pytest.MonkeyPatch,
    keeps: set[str],
    reader: Readout | None = None,
    probed: Any = PROBED,
    world: Any = None,
) -> Any:
    """The rounds of two stages in order, by whom they asked, where these are kept; what went down; and the rounds in
    which places came too late.

    Args:
        reader: Whom the first round that keeps nothing says to ask, or that does not decide.
        world: What pictures of the new world say of what was refused; None for no such pictures.
    """
    target = world is not None
    world = world or (lambda site, probed: probed)
    asked: list[tuple[str, Any]] = []
    went: list[tuple[str, Readout]] = []
    late: list[str] = []
    readers = [reader]

    def generalize(ctx: object, learned: object, site: Site, findings: object, probed: ProbeResult) -> Any:
        asked.append((site.name, site.readout.told))
        late.extend([site.name] if "would have come before it" in probed.decision.reason else [])
        after = replace(site.readout, swaps=[cast(Any, "kept")], told=None)
        cast(Any, learned).says += [site.readout.told] if site.readout.told and site.name in keeps else []
        return Outcome(PROBED, site.name in keeps, "", next_readout=after)

    def descend(ctx: object, learned: object, site: Site, readout: Readout | None, below: str | None) -> Descent:
        if readout is None:
            return Descent()
        went.append((site.name, readout))
        return Descent(below, (), (readout,))

    fakes: dict[str, Any] = {
        "describe": lambda ctx, learned, stage, readout: readout,
        "find": lambda *_: [],
        "probe_channels": lambda *_: None,
        "probe": lambda ctx, site, channels: [PROBED if site.readout.told else probed],
        "read_exceptions": lambda ctx, learned, site, outcomes: readers.pop() if readers and site.at_top else None,
        "generalize": generalize,
        "specialize": lambda *_: SimpleNamespace(readout=FAMILY),
        "weigh_target": lambda ctx, site, probed: world(site, probed),
        "descend": descend,
        "_end_round": lambda *_: None,
        "train_refused": lambda *_: None,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(learner, name, fake)
    data = SimpleNamespace(target="new" if target else None)
    settings = SimpleNamespace(depth=2, round=SimpleNamespace(limit=3, epochs=1), data=data)
    given = {"settings": settings, "epochs": lambda count: count, "codec": CTX.codec, "on_round": lambda _: None}
    ctx = cast(Context, SimpleNamespace(**given))
    ordinary = SimpleNamespace(stage_names=("block1", "block2", "block3"))
    said: list[Any] = []
    learned = cast(Learned, SimpleNamespace(ordinary=ordinary, refused=None, add=lambda *_: None, says=said))
    learner.learn_stages(ctx, learned, CLASSES)
    return asked, went, late


def test_the_loop_goes_down_into_a_kept_family_and_into_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """One round is kept at the top, the second is not: the stage below asks the family and the object."""
    asked, *_ = stages(monkeypatch, {"block3/classes/1"})
    names = ["block3/classes/1", "block3/classes/2", "block2/block3.1/1", "block2/block3.leaf/1"]
    assert [name for name, _ in asked] == names


@pytest.mark.parametrize("probed", [PROBED, UNDECIDED, KEPT])
def test_the_next_round_asks_who_reads_what_contradicts(probed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is kept, and before places are exchanged or weighed."""
    reader = replace(CLASSES, told=0.9)
    asked, _, late = stages(monkeypatch, {"block3/classes/2"}, reader, probed)
    assert late == ([] if probed is PROBED else ["block3/classes/3"]), "no places after that but by a reader"
    first = [("block3/classes/1", None)] if probed is PROBED else []
    rest = [("block3/classes/2", 0.9), ("block3/classes/3", None)]
    assert [one for one in asked if one[0].startswith("block3")] == first + rest


@pytest.mark.parametrize(("probed", "again"), [(PROBED, False), (UNDECIDED, True), (KEPT, True)])
def test_where_nothing_it_reads_is_exchanged_places_have_waited(
    probed: Any, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where none did, or they are not exchanged either, the object goes down once."""
    asked, went, _ = stages(monkeypatch, set(), replace(CLASSES, told=0.9), probed)
    told = [told for name, told in asked if name.startswith("block3")]
    assert told == ([0.9, None] if again else [None, 0.9])
    top = [readout for name, readout in went if name.startswith("block3")]
    assert [(readout.key, readout.told) for readout in top] == [("block3.leaf", None)]


@pytest.mark.parametrize("reader", [None, replace(CLASSES, told=0.9)])
def test_pictures_of_the_new_world_are_asked_where_nobody_reads_a_cue(
    reader: Readout | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That two networks come apart there does not say which of them reads the cue; what contradicts it does."""
    judged: list[str] = []

    def world(site: Site, probed: ProbeResult) -> ProbeResult:
        judged.append(site.name)
        return KEPT if site.at_top and site.readout.told is None else probed

    asked, *_ = stages(monkeypatch, set(), reader, world=world)
    top = [name for name in judged if name.startswith("block3/")]
    told_in_vain = ["block3/classes/2", "block3/classes/3"]
    assert top == (["block3/classes/1"] if reader is None else told_in_vain)
    last = [name for name, _ in asked if name == top[-1]]
    assert len(last) == 2, "what they keep is generalized"


def test_once_a_cue_with_exceptions_was_exchanged_no_places_are_but_by_a_reader() -> None:
    """And what the user says, and what is of the whole image."""
    site = Site.of_round("block3", CLASSES, 3)
    before, after = (cast(Learned, SimpleNamespace(says=says)) for says in ([], ["said"]))
    refused = after_exceptions(after, site, KEPT)
    assert not refused.decision.keep
    assert "would have come before it" in refused.decision.reason
    colour = replace(KEPT, measured=replace(KEPT.measured, gate="whole"))
    asked = replace(KEPT, decision=replace(KEPT.decision, evidence=USER))
    below = Site.of_round("block2", FAMILY, 1)
    reader = Site.of_round("block3", replace(CLASSES, told=0.9), 2)
    for learned, at, probed in (
        (before, site, KEPT),
        (after, site, colour),
        (after, site, asked),
        (after, below, KEPT),
        (after, reader, KEPT),
    ):
        assert after_exceptions(learned, at, probed) is probed


def test_an_edited_network_is_trained_on_views_as_rounds_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the kept swaps, and balanced by what cues with exceptions say."""
    shown: list[Any] = []
    monkeypatch.setattr(learner, "round_views", lambda ctx, name, swaps, says: (swaps, says))
    history = SimpleNamespace(digest=str, network=lambda number: {})
    settings = SimpleNamespace(round=SimpleNamespace(epochs=1), training=SimpleNamespace(warm_rate=0.1))
    ctx = SimpleNamespace(settings=settings, history=history, network=lambda state: NETWORK, epochs=lambda count: count)
    ctx.train = lambda name, network, views, epochs, rate: shown.append(views) or network
    learned = SimpleNamespace(swaps=["kept"], says=["said"], epochs=0, network=None)
    learner._train_edited(cast(Context, ctx), cast(Learned, learned), 1)
    assert shown == [(["kept"], ["said"])]


def test_an_object_below_the_top_is_no_top() -> None:
    """Its regional swap is exchanged in places, and is not widened for that."""
    site = Site.of_round("block2", replace(CLASSES, key="block3.leaf", elementary=3), 1)
    assert not site.at_top
    assert Site.of_round("block3", CLASSES, 1).at_top
    swap, ctx = SimpleNamespace(codec=SimpleNamespace(gate="place")), SimpleNamespace(classes=2)
    probed = SimpleNamespace(decision=SimpleNamespace(classes=None), measured=SimpleNamespace(alone=None, told=None))
    assert close(cast(Context, ctx), site, [], cast(Any, swap), cast(Any, probed)) == (swap, ())
