"""In which order the representations of a round come, and which of them come again at its end."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.config.settings import RoundSettings, Settings
from conceptnet_ml.steps import generalize
from conceptnet_ml.steps import probe as step
from conceptnet_ml.steps.channel_probe import moves_channels
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.override_rule import OverrideRule
from conceptnet_ml.steps.records import ChannelProbe, Learned, ProbeResult, Site
from conceptnet_ml.swap.interchangeability import SwapMeasurement
from conceptnet_ml.swap.stop_rule import HELD_OUT, USER, Decision
from conceptnet_ml.swap.sureness import Sureness

SITE = cast(Site, SimpleNamespace(name="block3/classes/1", readout=SimpleNamespace(told=None, says=None, given="")))


def decisions(
    monkeypatch: pytest.MonkeyPatch, rule: dict[str, Decision], site: Site = SITE, **words: tuple[str, ...]
) -> tuple[list[tuple[str, bool]], list[str]]:
    """Representation and decision of all that ``probe`` yields where nothing of it is kept in the end; their rivals,
    with ! where they give way to these."""
    found = probes(monkeypatch, rule, site, **words)
    return [(one.measured.representation, one.decision.keep) for one in found], [
        one.rival + "!" * one.gives_way for one in found
    ]


def probes(
    monkeypatch: pytest.MonkeyPatch, rule: dict[str, Decision], site: Site = SITE, **words: tuple[str, ...]
) -> list[ProbeResult]:
    """All that ``probe`` yields where nothing of it is kept in the end."""

    def judged(ctx: Context, site: Site, codec: Any) -> ProbeResult:
        iota = (IOTA.get(codec.name, 0.9),) * 2
        measured = SwapMeasurement(codec.name, codec.gate, (9, 9), (1.0, 1.0), iota, (0.0, 0.0), 0.1)
        measured = replace(measured, entire=codec.name == "waves", nature=NATURE.get(codec.name))
        return ProbeResult(measured, rule[codec.name])

    gates = {
        "colour": "whole",
        "sharpness": "whole",
        "fourier": "channel",
        "blocks": "whole",
        "waves": "channel",
        "pixels": "place",
    }
    codecs = [SimpleNamespace(name=name, gate=gates[name]) for name in rule]
    monkeypatch.setattr(step, "codecs", lambda ctx, readout: codecs)
    monkeypatch.setattr(step, "probe_representation", judged)
    rounds = RoundSettings(**cast(Any, words))
    settings = SimpleNamespace(round=rounds, network=SimpleNamespace(trained=False))
    ctx = cast(Context, SimpleNamespace(override_rule=OverrideRule(rounds), settings=settings))
    return list(step.probe(ctx, site, None))


IOTA: dict[str, float] = {"colour": 0.2}
"""Of representations, where it is not .9; what decides in part is hardly every donor's."""

NATURE = {"sharpness": 0.05, "blocks": 0.15}

SURE, CLOSE = (Sureness("ι less errors", 0.66, 0.5, 0.8, 0.65, agree, 300) for agree in (1.0, 0.6))

KEEP, LAST, REFUSE = Decision(True, "yes"), Decision(True, "in part", last=True), Decision(False, "no")


def test_what_decides_in_part_is_tried_after_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    found, rivals = decisions(monkeypatch, {"colour": LAST, "fourier": REFUSE, "pixels": KEEP})
    assert found == [("colour", False), ("fourier", False), ("pixels", True), ("colour", True)]
    assert rivals == ["", "colour", "colour", ""]


@pytest.mark.parametrize(("iota", "rival"), [(0.3, "colour"), (0.4, "colour!")])
def test_places_give_way_to_colour_of_which_any_donors_serves(
    iota: float, rival: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(IOTA, "colour", iota)
    found, rivals = decisions(monkeypatch, {"colour": LAST, "pixels": KEEP})
    assert found == [("colour", False), ("pixels", True), ("colour", True)]
    assert rivals == ["", rival, ""]


def test_a_spectrum_does_not_come_before_colour_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = decisions(monkeypatch, {"colour": LAST, "fourier": KEEP, "pixels": REFUSE})
    assert found == [("colour", False), ("fourier", False), ("pixels", False), ("colour", True), ("fourier", True)]
    assert decisions(monkeypatch, {"colour": REFUSE, "fourier": KEEP})[0] == [("colour", False), ("fourier", True)]


def test_how_pictures_were_taken_comes_first_of_what_waits_and_places_do_not_give_way_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits = {"colour": LAST, "blocks": LAST, "sharpness": LAST, "waves": LAST}
    monkeypatch.setitem(IOTA, "pixels", 0.7)
    found, _ = decisions(monkeypatch, {**waits, "pixels": REFUSE})
    kept = [name for name, keep in found if keep]
    assert kept == ["sharpness", "blocks", "waves", "colour"], "what nature gives least of first"
    monkeypatch.setitem(IOTA, "blocks", 0.6)
    found, _ = decisions(monkeypatch, {"blocks": LAST, "waves": LAST, "pixels": KEEP})
    kept = [name for name, keep in found if keep]
    assert kept == ["blocks", "waves", "pixels"], "places give way to waves, and waves to grain"
    monkeypatch.setitem(IOTA, "pixels", 1.0)
    found, rivals = decisions(monkeypatch, {"blocks": LAST, "pixels": KEEP})
    assert [name for name, keep in found if keep] == ["pixels", "blocks"]
    assert not any(rivals)


def test_what_else_of_how_pictures_were_taken_decides_goes_along_but_by_a_close_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits = {"colour": LAST, "sharpness": LAST, "blocks": LAST, "waves": LAST, "pixels": REFUSE}
    found = {one.measured.representation: one.along for one in probes(monkeypatch, waits) if one.decision.keep}
    assert found == {"sharpness": ("blocks",), "blocks": (), "waves": (), "colour": ()}
    close = replace(LAST, sureness=Sureness("contrast", 0.26, 0.2, 0.3, 0.25, 0.6, 300))
    found = {one.measured.representation: one.along for one in probes(monkeypatch, {**waits, "blocks": close})}
    assert not any(found.values())
    reader = cast(Site, SimpleNamespace(name=SITE.name, readout=SimpleNamespace(told=0.9, given="")))
    assert not any(one.along for one in probes(monkeypatch, waits, reader)), "a reader is asked for one"


@pytest.mark.parametrize(("iota", "first"), [(0.7, "waves"), (0.88, "pixels"), (1.0, "pixels")])
def test_waves_come_before_places_that_are_less_interchangeable(
    iota: float, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(IOTA, "pixels", iota)
    found, rivals = decisions(monkeypatch, {"waves": LAST, "pixels": KEEP})
    then = "pixels" if first == "waves" else "waves"
    assert found == [("waves", False), (first, True), (then, True)]
    assert not any(rivals), "a swap of places that stays open does not give way to waves"


@pytest.mark.parametrize(
    ("iota", "order"), [(0.86, ["pixels", "waves", "colour"]), (0.84, ["waves", "pixels", "colour"])]
)
def test_what_a_reader_reads_is_exchanged_by_what_it_is_most_easily_exchanged_by(
    iota: float, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(IOTA, "pixels", iota)
    monkeypatch.setitem(IOTA, "waves", 0.8)
    reader = cast(Site, SimpleNamespace(name=SITE.name, readout=SimpleNamespace(told=0.9, given="")))
    found, _ = decisions(monkeypatch, {"colour": LAST, "waves": LAST, "pixels": KEEP}, reader)
    assert [name for name, keep in found if keep] == order


def test_what_does_not_come_last_comes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found, rivals = decisions(monkeypatch, {"colour": KEEP, "pixels": REFUSE})
    assert (found, rivals) == ([("colour", True), ("pixels", False)], ["", ""])


@pytest.mark.parametrize(("words", "colour"), [({"keep": "/colour"}, True), ({"undo": "/colour"}, False)])
def test_the_users_word_on_it_is_taken_at_once(
    monkeypatch: pytest.MonkeyPatch, words: dict[str, str], colour: bool
) -> None:
    said = {name: (SITE.name + word,) for name, word in words.items()}
    found, _ = decisions(monkeypatch, {"colour": LAST, "pixels": REFUSE}, **said)
    assert found == [("colour", colour), ("pixels", False)]


@pytest.mark.parametrize(
    ("rival", "serves", "closed", "outside", "why"),
    [
        ("colour", False, False, False, "it stays open"),
        ("", False, False, False, ""),
        ("colour", False, True, False, ""),
        ("colour", False, False, True, ""),
        ("colour", True, True, False, "any donor's colour serves, too"),
        ("colour", True, True, True, ""),
    ],
)
def test_a_swap_gives_way_to_the_one_that_waits(
    rival: str, serves: bool, closed: bool, outside: bool, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = SwapMeasurement("pixels", "place", (9, 9), (1.0, 1.0), (0.9, 0.9), (0.0, 0.0), 0.1)
    probed = ProbeResult(measured, KEEP, rival=rival, gives_way=serves)
    checks = (SimpleNamespace(closed=closed, reason="a fresh network was asked"),)
    for name, result in {
        "swap_of": SimpleNamespace(along=()),
        "purify": SimpleNamespace(along=()),
        "turn": None,
        "rests_outside": (outside, ""),
    }.items():
        monkeypatch.setattr(generalize, name, lambda *_, result=result: result)
    monkeypatch.setattr(generalize, "close", lambda *_: (None, checks))

    def train(*_: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(generalize, "_train", train)
    ctx = cast(Context, SimpleNamespace(override_rule=OverrideRule(RoundSettings()), held=range(100)))
    if not why:
        with pytest.raises(InterruptedError):
            generalize.generalize(ctx, cast(Learned, SimpleNamespace(swaps=[])), SITE, [], probed)
        return
    outcome = generalize.generalize(ctx, cast(Learned, SimpleNamespace(swaps=[])), SITE, [], probed)
    assert not outcome.keep
    assert not outcome.probed.decision.keep
    assert outcome.reason == f"pixels: yes; a fresh network was asked; {why}: colour is exchanged instead"
    assert outcome.reason == f"pixels: {outcome.probed.decision.reason}"


@pytest.mark.parametrize(
    ("agree", "swaps", "evidence", "nature", "why"),
    [
        (0.57, 1, HELD_OUT, None, "once something was exchanged no more is"),
        (0.57, 0, HELD_OUT, None, ""),
        (0.57, 0, HELD_OUT, 0.05, "what decides in part is not exchanged"),
        (0.81, 1, HELD_OUT, 0.05, ""),
        (0.57, 1, USER, 0.05, ""),
    ],
)
def test_once_something_was_exchanged_no_more_is_by_a_close_call_and_never_how_pictures_were_taken(
    agree: float, swaps: int, evidence: str, nature: float | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = SwapMeasurement("it", "place", (9, 9), (1.0, 1.0), (0.9, 0.9), (0.0, 0.0), 0.1, nature=nature)
    sure = Sureness("ι less errors", 0.66, 0.5, 0.8, 0.65, agree, 300)
    probed = ProbeResult(measured, replace(KEEP, evidence=evidence, sureness=sure))

    def begin(*_: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(generalize, "swap_of", begin)
    learned, site = SimpleNamespace(swaps=[object()] * swaps), SimpleNamespace(readout=SITE.readout, at_top=True)
    words = (cast(Context, None), cast(Learned, learned), cast(Site, site), [], probed)
    if not why:
        with pytest.raises(InterruptedError):
            generalize.generalize(*words)
        return
    outcome = generalize.generalize(*words)
    assert not outcome.probed.decision.keep
    called = "close call, 57 of 100 draws: ι less errors 0.66 [0.50, 0.80], 0.65 asked"
    assert outcome.reason.endswith(f"{why} by so little ({called})")


@pytest.mark.parametrize(
    ("left", "evidence", "trained"), [(0.6, HELD_OUT, False), (0.4, HELD_OUT, True), (0.6, USER, True)]
)
def test_a_readers_swap_is_not_taken_where_the_views_still_tell_what_it_says(
    left: float, evidence: str, trained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = SwapMeasurement("colour", "whole", (9, 9), (1.0, 1.0), (0.9, 0.9), (0.0, 0.0), 1, told=0.9)
    probed = ProbeResult(measured, replace(KEEP, evidence=evidence))
    swap = SimpleNamespace(widened=0, along=())
    for name in ("swap_of", "purify"):
        monkeypatch.setattr(generalize, name, lambda *_: swap)
    monkeypatch.setattr(generalize, "close", lambda *_: (swap, ()))
    monkeypatch.setattr(generalize, "rests_outside", lambda *_: (False, ""))
    monkeypatch.setattr(generalize, "read_views", lambda *_: (None, left))

    def train(*_: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(generalize, "_train", train)
    ctx = cast(Context, SimpleNamespace(override_rule=OverrideRule(RoundSettings()), held=range(100)))
    readout = SimpleNamespace(says=torch.zeros(9), told=0.9, given="")
    site = cast(Site, SimpleNamespace(name=SITE.name, readout=readout))
    learned = cast(Learned, SimpleNamespace(swaps=[]))
    if trained:
        with pytest.raises(InterruptedError):
            generalize.generalize(ctx, learned, site, [], probed)
    else:
        outcome = generalize.generalize(ctx, learned, site, [], probed)
        assert not outcome.keep
        assert "of the views 0.60 of it is still read" in outcome.probed.decision.reason


@pytest.mark.parametrize(("told", "evidence", "trainings"), [(0.9, HELD_OUT, 1), (None, HELD_OUT, 1), (None, USER, 2)])
def test_what_a_reader_widens_is_not_dropped_for_what_it_leaves(
    told: float | None, evidence: str, trainings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object is of no use to it: what falls is the cue's, and a hard object is all that is left. What another one
    widens is the object then, and the round is given up, but where the user keeps it."""
    measured = SwapMeasurement("pixels", "place", (9, 9), (1.0, 1.0), (0.9, 0.9), (0.0, 0.0), 0.1, told=told)
    swap, wider = SimpleNamespace(widened=0, along=()), SimpleNamespace(widened=1, along=())
    trained: list[object] = []
    for name in ("swap_of", "purify"):
        monkeypatch.setattr(generalize, name, lambda *_: swap)
    monkeypatch.setattr(generalize, "close", lambda *_: (wider, ()))
    monkeypatch.setattr(generalize, "rests_outside", lambda *_: (False, ""))
    monkeypatch.setattr(generalize, "_spares", lambda *_: False)
    kept = SimpleNamespace(r_after=0.7, decision=SimpleNamespace(keep=True))
    monkeypatch.setattr(generalize, "_train", lambda ctx, learned, site, swap, probed: trained.append(swap) or kept)

    def stop(*_: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(generalize, "_open_places", stop)
    ctx = cast(Context, SimpleNamespace(override_rule=OverrideRule(RoundSettings()), held=range(100)))
    site = cast(Site, SimpleNamespace(name=SITE.name, readout=SimpleNamespace(says=None, told=told, given="")))
    probed, learned = ProbeResult(measured, replace(KEEP, evidence=evidence)), cast(Learned, SimpleNamespace(swaps=[]))
    if told is None and evidence == HELD_OUT:
        outcome = generalize.generalize(ctx, learned, site, [], probed)
        assert not outcome.probed.decision.keep
        assert outcome.reason == f"pixels: yes, but that leaves too little, r 0.70: {generalize.WHOLE}"
    else:
        with pytest.raises(InterruptedError):
            generalize.generalize(ctx, learned, site, [], probed)
    assert trained == [wider, swap][:trainings]


@pytest.mark.parametrize(
    ("tells", "held", "r_after", "given_up"),
    [
        (0.914, 7500, 0.41, True),  # strokes of digits
        (0.914, 7500, 0.60, False),  # there is an object beside them
        (0.990, 7500, 0.41, False),  # it is hard, and the cue is not
        (0.914, 40, 0.41, False),  # too few to tell
    ],
)
def test_places_that_leave_little_and_do_not_tell_the_class_are_the_object(
    tells: float, held: int, r_after: float, given_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = SwapMeasurement("pixels", "place", (9, 9), (1.0, 1.0), (0.9, 0.9), (0.0, 0.0), 0.1)
    for name in ("swap_of", "purify"):
        monkeypatch.setattr(generalize, name, lambda *_: SimpleNamespace(widened=0, along=()))
    monkeypatch.setattr(generalize, "close", lambda ctx, site, swaps, first, probed: (first, ()))
    monkeypatch.setattr(generalize, "rests_outside", lambda *_: (False, ""))
    monkeypatch.setattr(generalize, "train_cue", lambda *_: (None, torch.full((held,), tells)))
    kept = SimpleNamespace(r_before=0.99, r_after=r_after, decision=SimpleNamespace(keep=True))
    monkeypatch.setattr(generalize, "_train", lambda *_: kept)

    def stop(*_: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(generalize, "_open_places", stop)
    rounds = RoundSettings()
    ctx = SimpleNamespace(
        override_rule=OverrideRule(rounds), settings=SimpleNamespace(round=rounds), held=range(held), classes=10
    )
    readout = SimpleNamespace(told=None, says=None, given="", elementary=None)
    site = Site("block3", cast(Readout, readout), SITE.name)
    said = cast(Context, ctx), cast(Learned, SimpleNamespace(swaps=[])), site
    if given_up:
        outcome = generalize.generalize(*said, [], ProbeResult(measured, KEEP))
        assert not outcome.probed.decision.keep
        assert "little is left, r 0.41, and by itself it tells 0.91, all of the image 0.99" in outcome.reason
    else:
        with pytest.raises(InterruptedError):
            generalize.generalize(*said, [], ProbeResult(measured, KEEP))
    user = replace(KEEP, evidence=USER)
    with pytest.raises(InterruptedError):
        generalize.generalize(*said, [], ProbeResult(measured, user))


@pytest.mark.parametrize(("family", "swaps"), [(True, 1), (False, 0), (False, 1)])
@pytest.mark.parametrize(("decision", "moves", "keep"), [(KEEP, 0.9, True), (KEEP, 0.4, False), (LAST, 0.9, False)])
def test_below_the_top_a_swap_decides_alone_and_moves_the_channels(
    decision: Decision, moves: float, keep: bool, family: bool, swaps: int
) -> None:
    measured = SwapMeasurement("colour", "whole", (9, 9), (1.0, 1.0), (0.9, 0.9), (0.0, 0.0), 0.1)
    channels = cast(ChannelProbe, SimpleNamespace(moves={"colour": moves}))
    readout = cast(Readout, SimpleNamespace(family=object() if family else None, swaps=[None] * swaps))
    judged = moves_channels(ProbeResult(measured, decision), channels, readout).decision
    tells = swaps > 0 and not family  # below an object that swaps kept above it left with less, errors tell
    assert judged.keep is (keep or (decision.last and tells))
    assert ("must decide alone" in judged.reason) is (decision.last and not tells)


def test_the_reason_says_that_the_others_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = SwapMeasurement("colour", "whole", (9, 9), (1.0, 1.0), (0.9, 0.9), (0.0, 0.0), 0.1)
    refused = step._refused_at_first(ProbeResult(measured, LAST))
    assert refused.decision == replace(LAST, keep=False, reason="in part; the others are tried first")


@pytest.mark.parametrize(
    ("own", "fresh", "keep", "asked"),
    [
        (KEEP, KEEP, True, 1),
        (KEEP, REFUSE, False, 1),
        (REFUSE, KEEP, False, 0),
        (KEEP, replace(KEEP, classes=(0, 2)), True, 1),
        (replace(KEEP, sureness=SURE), replace(KEEP, sureness=CLOSE), True, 1),
    ],
)
def test_what_trained_weights_hang_on_is_exchanged_where_fresh_ones_hang_on_it_too(
    own: Decision, fresh: Decision, keep: bool, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained weights err on an object as little as on a cue, so their errors do not tell the two apart."""
    measured = SwapMeasurement("pixels", "place", (9, 9), (1.0, 1.0), (0.9, 0.9), (0.0, 0.0), 0.1)
    trained: list[tuple[str, int]] = []

    def judged(ctx: Context, site: Site, codec: Any) -> ProbeResult:
        return ProbeResult(measured, fresh if site.readout.network == "fresh" else own)

    def train(name: str, views: Any, epochs: int) -> str:
        trained.append((name, epochs))
        return "fresh"

    monkeypatch.setattr(step, "codecs", lambda ctx, readout: [SimpleNamespace(name="pixels", gate="place")])
    monkeypatch.setattr(step, "probe_representation", judged)
    chosen = Settings.model_validate({"network": {"pretrained": True}, "training": {"epochs": 0}})
    ctx = SimpleNamespace(
        settings=chosen,
        override_rule=OverrideRule(chosen.round),
        fit=None,
        views=lambda *_: None,
        epochs=lambda n: n,
        train_auxiliary=train,
    )
    site = Site.of_round("block3", Readout("classes", cast(Any, "own")), 1)
    (found,) = step.probe(cast(Context, ctx), site, None)
    assert (found.decision.keep, found.decision.classes) == (keep, fresh.classes if keep else None)
    assert trained == [("block3/classes/1/fresh/train", 16)] * asked, "for as long as a network that was left untouched"
    close = None if own.sureness is None or fresh.sureness is None else min(own.sureness.agree, fresh.sureness.agree)
    assert (found.decision.sureness and found.decision.sureness.agree) == close, "either may refuse"
    if asked:
        assert "a network from fresh weights, trained on the same images," in found.decision.reason
