"""The user's words on rounds: what they may be, what they do to a decision, and what an edited graph says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from conceptnet_ml.config.overrides import (
    Override,
    PlaceBox,
    add_overrides,
    check_overrides,
    parse_override,
    parse_overrides,
    parse_places,
)
from conceptnet_ml.config.settings import RoundSettings, Settings
from conceptnet_ml.editing.history import decisions_by_hand
from conceptnet_ml.errors import ConceptNetError, DataError, GraphError, SettingsError
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.steps.override_rule import OverrideRule
from conceptnet_ml.steps.records import ProbeResult, Trained
from conceptnet_ml.storage.run_folder import Run
from conceptnet_ml.swap.interchangeability import SwapMeasurement
from conceptnet_ml.swap.stop_rule import Decision

NAME = "block3/classes/1"
TRIED = ("colour", "pixels")
STAGES = ("block1", "block2", "block3")


def judged(representation: str, keep: bool, phi: float = 1.0, iota: float = 0.9) -> ProbeResult:
    gate = "place" if representation == "pixels" else "whole"
    measured = SwapMeasurement(representation, gate, (9, 9), (phi, phi), (iota, iota), (0.0, 0.0), 0.1)
    return ProbeResult(measured, Decision(keep, "the rule's reason"))


def told(keep: tuple[str, ...] = (), undo: tuple[str, ...] = ()) -> OverrideRule:
    return OverrideRule(RoundSettings(keep=keep, undo=undo))


def trial(keep: bool) -> SimpleNamespace:
    return SimpleNamespace(decision=Decision(keep, "r 1.00 → 0.45"))


# ------------------------------------------------------------------------------------------------ words


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("block3/classes/2", Override(True, "block3", "classes", 2)),
        ("block3/classes/2/pixels", Override(True, "block3", "classes", 2, "pixels")),
        ("layer1.0/block3.leaf/1", Override(True, "layer1.0", "block3.leaf", 1)),
        (" block2/block3.1/3/colour ", Override(True, "block2", "block3.1", 3, "colour")),
        ("block3/classes/2/pixels:outside", Override(True, "block3", "classes", 2, "pixels", outside=True)),
        ("block3/classes/2:inside", Override(True, "block3", "classes", 2, outside=False)),
    ],
)
def test_a_round_is_named_as_it_is_printed(text: str, word: Override) -> None:
    assert parse_override(text, True) == word
    assert word.text == text.strip()


@pytest.mark.parametrize(
    "text", ["", "block3", "block3/classes", "block3/2", "block3/classes/0", "block3//2", "a/b/c/d"]
)
def test_what_names_no_round_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="not the name of a round") as error:
        parse_override(text, False)
    assert "block3/classes/2/pixels" in error.value.mend


@pytest.mark.parametrize(
    ("keep", "undo", "sound"),
    [
        ([NAME], [NAME], False),
        ([f"{NAME}/pixels"], [NAME], False),
        ([f"{NAME}/pixels"], [f"{NAME}/pixels"], False),
        ([f"{NAME}/pixels", f"{NAME}/colour"], [], False),
        ([f"{NAME}/pixels:outside", f"{NAME}:inside"], [], False),
        ([f"{NAME}/pixels:outside", NAME], [], True),
        ([NAME], [f"{NAME}/colour"], True),
        ([f"{NAME}/pixels"], [f"{NAME}/colour"], True),
        ([NAME, f"{NAME}/pixels"], ["block3/classes/2"], True),
        ([], [f"{NAME}/pixels", f"{NAME}/colour", NAME], True),
    ],
)
def test_what_contradicts_itself_is_refused(keep: list[str], undo: list[str], sound: bool) -> None:
    if sound:
        assert len(parse_overrides(keep, undo)) == len(keep) + len(undo)
        return
    with pytest.raises(SettingsError, match="contradict"):
        parse_overrides(keep, undo)


@pytest.mark.parametrize(
    ("word", "found", "mend"),
    [
        ("blok3/classes/1", "no stage 'blok3'", "Did you mean 'block3'"),
        ("block1/block2.1/1", "depth 2 does not reach", "--depth 3"),
        ("block3/classes/5", "at most 4 rounds", "round.limit"),
        ("block3/block3.1/1", "about the classes", "block3/classes/1"),
        ("block2/classes/1", "about what was found at block3", "block2/block3.1/1"),
        ("block3/classes/1/pixel", "no representation 'pixel'", "Did you mean 'pixels'"),
    ],
)
def test_rounds_that_cannot_be_are_refused_beforehand(word: str, found: str, mend: str) -> None:
    for verb in ("keep", "undo"):
        with pytest.raises(SettingsError, match=found) as error:
            check_overrides(Settings.model_validate({"depth": 2, "round": {verb: [word]}}), STAGES, ["pixels"])
        assert f"--{verb} {word}" in error.value.message
        assert mend in error.value.mend
    for sound in ("block3/classes/4", "block2/block3.leaf/1", "block2/block3.12/2/colour"):
        check_overrides(Settings.model_validate({"depth": 2, "round": {"keep": [sound]}}), STAGES, ["pixels"])


@pytest.mark.parametrize(
    ("verb", "word", "found"),
    [
        ("keep", "block3/classes/1:around", "no side of the gates"),
        ("undo", "block3/classes/1:outside", "exchanges no side"),
        ("keep", "block2/block3.1/1:outside", "sides are told apart at block3 only"),
        ("keep", "block3/classes/1/colour:outside", "gates of places"),
        ("keep", "block3/classes/1:outside", "gates of places"),
    ],
)
def test_a_side_is_named_for_a_round_at_the_top_that_is_kept(verb: str, word: str, found: str) -> None:
    with pytest.raises(SettingsError, match=found) as error:
        check_overrides(Settings.model_validate({"depth": 2, "round": {verb: [word]}}), STAGES, ["pixels"])
    assert f"--{verb} {word}" in error.value.message


def test_new_words_silence_old_ones_about_the_same() -> None:
    stored = RoundSettings(keep=("a/b/1", "a/b/2/pixels"), undo=("a/b/3", "a/b/4/colour"))
    assert add_overrides(stored, [], []) == (stored.keep, stored.undo)
    assert add_overrides(stored, ["a/b/1"], []) == (stored.keep, stored.undo)
    assert add_overrides(stored, [], ["a/b/1"]) == (("a/b/2/pixels",), ("a/b/3", "a/b/4/colour", "a/b/1"))
    assert add_overrides(stored, ["a/b/3/pixels"], []) == (("a/b/1", "a/b/2/pixels", "a/b/3/pixels"), ("a/b/4/colour",))
    assert add_overrides(stored, ["a/b/2/colour"], []) == (("a/b/1", "a/b/2/colour"), stored.undo)
    assert add_overrides(stored, ["a/b/4"], []) == (("a/b/1", "a/b/2/pixels", "a/b/4"), stored.undo)
    with pytest.raises(SettingsError, match="contradict"):
        add_overrides(stored, ["a/b/9"], ["a/b/9"])


@pytest.mark.parametrize(
    ("text", "places"),
    [
        (None, {}),
        ("bottom,right", {"bottom,right": ((0.75, 0.75, 1.0, 1.0),)}),
        (" Bottom,  Right", {"bottom,right": ((0.75, 0.75, 1.0, 1.0),)}),
        ("top of the middle,left", {"top of the middle,left": ((0.0, 0.25, 0.25, 0.5),)}),
        ("bottom", {"bottom": ((0.0, 0.75, 1.0, 1.0),)}),
        ("right of the middle", {"right of the middle": ((0.5, 0.0, 0.75, 1.0),)}),
        ("0.7,.85, 1,1", {"0.7,.85,1,1": ((0.7, 0.85, 1.0, 1.0),)}),
        ("top,left+0,0,1,0.1", {"top,left": ((0.0, 0.0, 0.25, 0.25),), "0,0,1,0.1": ((0.0, 0.0, 1.0, 0.1),)}),
    ],
)
def test_a_place_is_named_as_inspect_prints_it_or_by_a_box(
    text: str | None, places: dict[str, tuple[PlaceBox, ...]]
) -> None:
    assert parse_places(text) == places


def test_a_border_is_named_by_four_boxes_along_the_edges() -> None:
    (boxes,) = parse_places("border").values()
    assert len(boxes) == 4
    assert all(left in (0, 31 / 32) and top in (0, 31 / 32) for left, top, _, _ in boxes)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "names no place"),
        ("botom,right", "'botom,right' names no place"),
        ("right,bottom", "names no place"),
        ("0.1,0.2,0.3", "names no place"),
        ("bottom,right+", "'' names no place"),
        ("45,54,64,64", "45,54,64,64 reaches beyond the image"),
        ("-0.1,0,1,1", "reaches beyond the image"),
        ("nan,0,1,1", "reaches beyond the image"),
        ("0.5,0.5,0.5,1", "is empty"),
        ("0.5,0.8,1,0.7", "is empty"),
    ],
)
def test_what_names_no_place_is_refused_with_the_form(text: str, found: str) -> None:
    with pytest.raises(SettingsError, match=found) as error:
        parse_places(text)
    assert error.value.message.startswith("round.exchange: ")
    assert "as in bottom,right" in error.value.mend
    assert "LEFT,TOP,RIGHT,BOTTOM" in error.value.mend


# ------------------------------------------------------------------------------------------------ decisions


def test_without_words_the_rule_decides() -> None:
    ruler = told()
    one = judged("pixels", True)
    assert ruler.before_training(NAME, one, TRIED) == one
    assert ruler.kept_by_user(NAME, [judged("pixels", False)]) is None
    assert ruler.undone_by_user(NAME, [one]) is None
    refused = trial(False)
    assert ruler.after_training(NAME, "pixels", refused) is refused
    assert (ruler.basis, ruler.overruled) == ("", {})


def test_undo_refuses_what_the_rule_would_keep_and_says_both() -> None:
    ruler = told(undo=(NAME,))
    elsewhere = ruler.before_training("block3/classes/2", judged("colour", True), TRIED)
    assert elsewhere.decision == Decision(True, "the rule's reason")
    first, second = (ruler.before_training(NAME, judged(name, name == "pixels"), TRIED) for name in TRIED)
    assert not first.decision.keep
    assert first.decision.reason == "the rule's reason; the user says so too"
    assert not second.decision.keep
    assert second.decision.reason == "the user decided to undo it; the rule would keep it: the rule's reason"
    assert ruler.undone_by_user(NAME, [first, second]) == second
    assert ruler.overruled == {NAME: [f"pixels: {second.decision.reason}"]}


def test_undo_of_one_representation_leaves_the_others() -> None:
    ruler = told(undo=(f"{NAME}/colour",))
    assert not ruler.before_training(NAME, judged("colour", True), TRIED).decision.keep
    assert ruler.before_training(NAME, judged("pixels", True), TRIED).decision == Decision(True, "the rule's reason")


def test_keep_of_a_representation_takes_it_before_and_after_training_and_no_other() -> None:
    ruler = told(keep=(f"{NAME}/pixels",))
    colour = ruler.before_training(NAME, judged("colour", True), TRIED)
    assert not colour.decision.keep
    assert "decided to take pixels; the rule would keep it" in colour.decision.reason
    pixels = ruler.before_training(NAME, judged("pixels", False), TRIED)
    assert pixels.decision.keep
    assert pixels.decision.reason == "the user decided to keep it; the rule would refuse it: the rule's reason"
    assert ruler.kept_by_user(NAME, [colour, pixels]) is None


def test_keep_of_a_representation_that_is_not_tried_changes_nothing() -> None:
    ruler = told(keep=(f"{NAME}/pixels",))
    assert ruler.before_training(NAME, judged("colour", True), ("colour",)).decision == Decision(
        True, "the rule's reason"
    )
    story = SimpleNamespace(name=NAME, probed=[judged("colour", True)])
    assert ruler.unused_words([story]) == [f"--keep {NAME}/pixels: pixels was not tried in this round"]  # type: ignore[list-item]
    assert ruler.unused_words([]) == [f"--keep {NAME}/pixels: there was no such round"]


def test_keep_of_a_round_takes_the_place_gated_representation_nearest_to_the_rule() -> None:
    ruler = told(keep=(NAME,), undo=(f"{NAME}/windows",))
    near, far = judged("pixels", False, iota=0.5), judged("colour", False)
    windows = judged("pixels", False, iota=0.55)
    windows = ProbeResult(SwapMeasurement("windows", *list(vars(windows.measured).values())[1:]), windows.decision)
    weak = judged("pixels", False, iota=0.1)
    weak = ProbeResult(SwapMeasurement("patches", *list(vars(weak.measured).values())[1:]), weak.decision)
    seen = [ruler.before_training(NAME, one, TRIED) for one in (far, weak, near, windows)]
    assert not any(one.decision.keep for one in seen)
    before = ruler.basis
    taken = ruler.kept_by_user(NAME, seen)
    assert taken is not None
    assert taken.measured == near.measured
    assert taken.decision.keep
    assert seen[2] is taken
    assert ruler.basis != before


def test_keep_of_a_round_goes_by_the_scores_of_a_rule_that_gives_them() -> None:
    ruler = told(keep=(NAME,))
    strong, weak = judged("pixels", False, iota=0.5), judged("pixels", False, iota=0.1)
    weak = ProbeResult(SwapMeasurement("patches", *list(vars(weak.measured).values())[1:]), weak.decision)
    seen = [
        ProbeResult(one.measured, replace(one.decision, score=score)) for one, score in ((strong, -2.0), (weak, -1.0))
    ]
    taken = ruler.kept_by_user(NAME, seen)
    assert taken is not None
    assert taken.measured == weak.measured


def test_a_round_the_rule_undid_after_training_is_kept_without_another_before() -> None:
    ruler = told(keep=(NAME,))
    passed = ruler.before_training(NAME, judged("pixels", True), TRIED)
    assert passed.decision.reason == "the rule's reason; the user says so too"
    trained = Trained(None, Decision(False, "r 1.00 → 0.45"), 1.0, 0.45, 0.9)  # type: ignore[arg-type]
    assert ruler.after_training(NAME, "pixels", trained) is trained  # others are tried first
    assert ruler.basis == ""
    assert ruler.kept_by_user(NAME, [passed]) is passed
    assert ruler.basis == ""
    kept = ruler.after_training(NAME, "pixels", trained)
    assert kept.decision.keep
    assert kept.decision.reason == "the user decided to keep it; the rule would undo it: r 1.00 → 0.45"
    assert len(ruler.basis) == 16


def test_the_basis_is_what_was_overruled_in_order_and_nothing_else() -> None:
    one, same, other = told(undo=(NAME,)), told(undo=(NAME, "a/b/1")), told(undo=(NAME,))
    one.before_training(NAME, judged("pixels", True), TRIED)
    same.before_training(NAME, judged("colour", False), TRIED)
    same.before_training(NAME, judged("pixels", True), TRIED)
    other.before_training(NAME, judged("colour", True), TRIED)
    assert one.basis == same.basis != other.basis


def test_the_side_a_user_names_is_taken_and_what_rests_on_it_is_computed_anew() -> None:
    ruler = told(keep=(f"{NAME}/pixels:outside",))
    assert ruler.side(NAME, judged("colour", True)) is None
    assert ruler.basis == ""
    assert ruler.side(NAME, judged("pixels", True)) is True
    assert len(ruler.basis) == 16
    assert "outside its gates" in ruler.overruled[NAME][-1]
    assert ruler.undone_by_user(NAME, [judged("pixels", True)]) is None
    assert told(keep=(NAME,)).side(NAME, judged("pixels", True)) is None


def test_a_place_the_user_names_is_exchanged_in_all_classes_whatever_the_rule_says() -> None:
    ruler = told()
    ruler.exchange(NAME, "bottom,right")
    assert len(ruler.basis) == 16
    refused = ruler.before_training(NAME, judged("pixels", False), ("pixels",)).decision
    assert (refused.keep, refused.classes, refused.evidence) == (True, None, "the user")
    assert refused.reason == "the user decided to exchange bottom,right; the rule would refuse it: the rule's reason"
    assert ruler.overruled == {NAME: [f"pixels: {refused.reason}"]}
    some = replace(judged("pixels", True), decision=Decision(True, "the rule's reason", (0,)))
    agreed = ruler.before_training(NAME, some, ("pixels",)).decision
    assert (agreed.keep, agreed.classes, agreed.evidence) == (True, None, "the user")
    assert agreed.reason == "the user decided to exchange bottom,right; so would the rule: the rule's reason"
    trained = Trained(None, Decision(False, "r 1.00 → 0.45"), 1.0, 0.45, 0.9)  # type: ignore[arg-type]
    assert ruler.after_training(NAME, "pixels", trained).decision.keep
    elsewhere = ruler.before_training("block3/classes/2", judged("pixels", False), TRIED)
    assert elsewhere.decision == Decision(False, "the rule's reason")


def test_undoing_the_round_of_a_place_takes_it_back() -> None:
    ruler = told(undo=(NAME,))
    ruler.exchange(NAME, "bottom,right")
    assert not ruler.before_training(NAME, judged("pixels", True), ("pixels",)).decision.keep


def test_what_was_overruled_is_known_by_its_representation() -> None:
    ruler = told(undo=(f"{NAME}/colour",))
    for one in (judged("colour", True), judged("pixels", True)):
        ruler.before_training(NAME, one, TRIED)
    assert ruler.has_overruled(NAME, judged("colour", True))
    assert not ruler.has_overruled(NAME, judged("pixels", True))


# ------------------------------------------------------------------------------------------------ edited graphs


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of two rounds, the first kept and the second a leaf, as far as words on them go."""
    made = Run.create(tmp_path / "run", {}, {}, {}, "0")
    graph = ConceptGraph(("in", "out"), [("block3", 8)], network="n", settings="s", seed=0)
    for place, name in enumerate(graph.classes):
        graph.add_node("class", name, classes=[name])
        for number, decision in ((1, "kept"), (2, "leaf")):
            fields = {"stage": "block3", "round": number, "decision": decision, "representation": "pixels"}
            label = f"{name} in block3/classes/{number}"
            graph.add_node("feature", label, classes=[name], units=[place], **fields)
    whole = graph.add_node(
        "generalized", "what is exchanged in block3/classes/1", stage="block3", round=1, decision="kept"
    )
    for node in graph.nodes("feature"):
        if node.round == 1:
            graph.add_edge("generalizes", whole, node.id)
    made.save_graph(graph.to_json())
    rounds = [{"name": f"block3/classes/{n}", "decision": d} for n, d in ((1, "kept"), (2, "leaf"))]
    made.finish({"rounds": rounds}, "")
    return made


def edit(run: Run, label: str, **fields: object) -> None:
    path = run.path / "graph.json"
    content = json.loads(path.read_text())
    (node,) = [node for node in content["nodes"] if node["label"] == label]
    node |= fields
    path.write_text(json.dumps(content))


def test_an_unchanged_graph_says_nothing(run: Run) -> None:
    assert decisions_by_hand(run) == ([], [])
    edit(run, "in in block3/classes/2", decision="undone", reason="for another reason")
    assert decisions_by_hand(run) == ([], [])
    (run.path / "graph.json").unlink()
    assert decisions_by_hand(run) == ([], [])


def test_one_changed_node_speaks_for_its_round(run: Run) -> None:
    edit(run, "what is exchanged in block3/classes/1", decision="undone")
    assert decisions_by_hand(run) == ([], ["block3/classes/1"])
    edit(run, "out in block3/classes/2", decision="kept")
    assert decisions_by_hand(run) == (["block3/classes/2/pixels"], ["block3/classes/1"])
    edit(run, "in in block3/classes/2", decision="kept", representation="colour")
    with pytest.raises(SettingsError, match="contradict"):
        decisions_by_hand(run)


@pytest.mark.parametrize(
    ("fields", "kind", "reason"),
    [
        ({"units": [99]}, GraphError, "not the hash"),
        ({"classes": ["elsewhere"]}, GraphError, "no class 'elsewhere'"),
        ({"decision": "perhaps"}, GraphError, "decision"),
        ({"decision": None}, DataError, "has no decision"),
    ],
)
def test_a_broken_graph_is_refused_with_the_reason(
    run: Run, fields: dict[str, object], kind: type[ConceptNetError], reason: str
) -> None:
    edit(run, "in in block3/classes/2", **fields)
    with pytest.raises(kind, match=reason) as error:
        decisions_by_hand(run)
    assert str(run.path / "graph.json") in error.value.message
    assert error.value.mend
