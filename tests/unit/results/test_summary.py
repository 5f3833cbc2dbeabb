"""What the summary says where nothing is kept."""

from __future__ import annotations

import re
from typing import Any

import pytest
from made_run import summary
from rich.table import Table

from conceptnet_ml.results.badges import decided
from conceptnet_ml.results.summary import (
    BRIEF,
    BY_WORD,
    LEGEND,
    _brief_rounds,
    _rounds,
    close_words,
    cost_words,
    few_words,
    loss_words,
    other_word,
    tables,
    to_text,
    why_nothing,
)
from conceptnet_ml.results.verdict import _not_kept, verdict
from conceptnet_ml.swap.sureness import with_interval

FOUND = {"name": "block3/classes/1", "decision": "undone", "chosen": "pixels", "r_before": 1.0, "r_after": 0.56}


@pytest.mark.parametrize(
    ("rounds", "words"),
    [
        ([], "No round was made"),
        ([{"decision": "leaf"}], "Nothing interchangeable was found"),
        ([{"decision": "undone", "overruled": ["by hand"]}], "No round is kept"),
        (
            [{**FOUND, "r_without": 0.9}],
            "hangs on something that can be exchanged (pixels), but a network that was trained",
        ),
    ],
)
def test_why_there_is_nothing(rounds: list[dict[str, Any]], words: str) -> None:
    said = why_nothing(rounds)
    assert words in said
    assert ("r 1.00 → 0.56, 0.90 where nothing is exchanged" in said) is ("but" in words)


@pytest.mark.parametrize(("held", "decision", "said"), [(38, "leaf", True), (300, "leaf", False), (38, "kept", False)])
def test_a_run_that_keeps_nothing_says_how_few_images_decided(held: int, decision: str, said: bool) -> None:
    words = few_words({"images": {"held_out": held}, "rounds": [{"decision": decision}]})
    assert ("Only 38 held-out images decided" in words) is said
    assert bool(words) is said


SURE = {"figure": "ι less errors", "value": 0.51, "low": 0.46, "high": 0.56, "least": 0.53, "images": 300}


@pytest.mark.parametrize(
    ("decision", "of", "word"),
    [
        ("kept", "pixels", "--undo block3/classes/1"),
        ("leaf", "pixels", "--keep block3/classes/1/pixels"),
        ("undone", "its training", "--keep block3/classes/1/pixels"),
    ],
)
def test_a_close_call_says_how_often_and_what_to_type(decision: str, of: str, word: str) -> None:
    entry = {"name": "block3/classes/1", "decision": decision, "chosen": "pixels"}
    entry["sureness"] = {**SURE, "of": of, "agree": 0.7}
    assert close_words(entry) == (
        f"a close call: other held-out images would have decided otherwise in 30 of 100 draws ({of}: ι less errors "
        "0.51 [0.46, 0.56], 0.53 asked)"
    )
    assert other_word(entry) == word
    assert not close_words({**entry, "sureness": {**SURE, "of": "pixels", "agree": 0.8}})
    assert not close_words({"name": "block3/classes/1", "decision": decision}), "a run of before"


def test_the_table_of_rounds_says_how_sure() -> None:
    one = {"representation": "pixels", "phi": 1.0, "iota": 0.5, "keep": True, "reason": "so"}
    entry = {**FOUND, "decision": "kept", "reason": "so", "representations": [one]}
    assert [*_rounds({"rounds": [entry]}).columns[-1].cells] == ["so"]
    one["sureness"], entry["r_sureness"] = {**SURE, "agree": 0.7}, {**SURE, "figure": "r", "agree": 1.0}
    (why,) = _rounds({"rounds": [entry]}).columns[-1].cells
    assert why == (
        "so (close call, 70 of 100 draws: 0.51 [0.46, 0.56]); its training (sure, 100 of 100 draws: r 0.51 "
        "[0.46, 0.56], 0.53 asked)"
    )


def test_a_round_that_waits_is_not_called_a_leaf_and_not_counted_as_refused() -> None:
    colour = {"representation": "colour", "gate": "whole", "phi": 0.0, "iota": 0.0, "keep": False, "reason": "few"}
    pixels = {**colour, "representation": "pixels", "gate": "place", "reason": "asked first"}
    entry = {"name": "block3/classes/1", "decision": "leaf", "reason": "", "chosen": None, "waits": True}
    entry |= {"representations": [colour, pixels]}
    *_, decisions, _ = (list(column.cells) for column in _rounds({"rounds": [entry]}).columns)
    assert decisions == ["refused", "waits"]
    assert decided(entry) == "not decided yet: another network is asked first, in the next round"
    assert _not_kept([entry], "") == ""
    assert "waits: another network is asked first" in LEGEND


def test_a_terminal_gets_accuracy_first_and_a_line_a_round() -> None:
    found = summary()
    found["rounds"][0]["representations"].append({**found["rounds"][0]["representations"][0], "representation": "more"})
    parts = [part for part in tables(found, brief=True) if isinstance(part, Table)]
    assert (parts[0].title, parts[-1].title) == ("Accuracy, %", "Rounds")
    assert len(parts[-1].rows) == len(found["rounds"])
    whole = next(part for part in tables(found) if isinstance(part, Table) and part.title == "Rounds")
    assert len(whole.rows) == len(found["rounds"]) + 1
    assert "summary.txt in the run folder has all" in str(parts[-1].caption)
    assert len(BRIEF) < len(LEGEND) * 3 / 4
    heads = [column.header for column in parts[-1].columns]
    assert heads == ["round", "exchanged", "answers change", "right", "decision", "why"]
    kept = [next(iter(column.cells)) for column in parts[-1].columns]
    assert kept[1:5] == ["pixels", "90 %", "98 → 90 %", "kept"]
    assert not re.search(r"[φι]|\d", kept[5]), "in plain words"
    assert [*parts[-1].columns[4].cells][1:] == ["left alone"]
    assert "more" in to_text(found)


def test_in_a_terminal_a_round_that_was_undone_says_why() -> None:
    reason = "pixels: ι 0.7; r 0.98 → 0.9, but 0.2 where nothing is exchanged: it was the object itself"
    undone = summary()["rounds"][0] | {"decision": "undone", "reason": reason}

    def why(held: int) -> list[Any]:
        return [*_brief_rounds({"rounds": [undone], "images": {"held_out": held}}).columns[-1].cells]

    assert why(200) == ["it was the object itself"]
    assert why(20) == ["20 held-out images are too few to tell whether it was the object"]


def test_a_figure_that_errors_pull_far_below_zero_is_not_told_to_two_digits() -> None:
    far = {"value": -2.4, "low": -3.1, "high": 0.62}
    assert with_interval(far) == "below -1 [below -1, 0.62]"
    assert with_interval({**far, "high": -1.5}) == "below -1"
    assert with_interval({"value": -0.4, "low": -1.0, "high": -0.001}) == "-0.40 [-1.00, 0.00]"


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        (("kept", "leaf", "leaf"), "2 more rounds were refused."),
        (("kept", "leaf", "undone"), "1 more round was refused; 1 more round was undone."),
        (("kept",), ""),
    ],
)
def test_what_became_of_the_other_rounds_is_counted_by_what_happened(decisions: tuple[str, ...], said: str) -> None:
    rounds = [{"decision": decision} for decision in decisions]
    assert _not_kept(rounds, " more") == said
    assert _not_kept(rounds, "") == said.replace(" more", "")


def test_the_legend_does_not_say_more_of_a_leaf_than_is_known() -> None:
    assert "leaf: nothing was kept: the object itself, or not told." in LEGEND


def test_a_loss_is_told_in_the_terminal_as_on_the_page() -> None:
    found = summary()
    warning = "Be careful: the learned network lost 9 points on 'test'."
    assert loss_words(found).startswith(warning)
    assert "show what was exchanged as the training images do" in loss_words(found), "a stamp in the test set, too"
    assert dict(verdict(found))["What to do next"] == loss_words(found)
    assert " ".join(to_text(found).split()).endswith(loss_words(found)), "the last words"
    found["test_sets"]["test"]["learned"]["accuracy"] = 0.95
    assert not loss_words(found), "four points"
    assert "Be careful" not in to_text(found)


def test_the_ordinary_network_itself_lost_nothing() -> None:
    found = summary()
    found["rounds"] = found["rounds"][1:]
    assert not loss_words(found)


def test_costs_are_told_in_times_and_in_minutes() -> None:
    cost = {"probing_seconds": 100.0, "rounds_seconds": 260.0, "ordinary_seconds": 14.0}
    cost |= {"times_ordinary": 25.7, "times_ordinary_per_round": 12.9}
    assert cost_words(cost, 1) == "25.7 × ordinary training (6 min beside 14 s)"
    assert cost_words(cost, 2) == "25.7 × ordinary training (12.9 × for each; 6 min beside 14 s)"
    assert cost_words(cost | {"times_ordinary": None}, 0) == "360 s, without ordinary training"


def test_a_run_that_keeps_nothing_says_in_a_line_that_a_known_place_can_be_exchanged() -> None:
    found = summary()
    assert BY_WORD not in " ".join(to_text(found).split())
    assert BY_WORD not in dict(verdict(found))["What to do next"]
    found["rounds"] = found["rounds"][1:]
    assert BY_WORD in " ".join(to_text(found).split())
    assert BY_WORD in dict(verdict(found))["What to do next"]
    assert "--exchange PLACE" in BY_WORD
