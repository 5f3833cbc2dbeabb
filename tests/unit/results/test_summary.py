"""What the summary says where nothing is kept."""

from __future__ import annotations

from typing import Any

import pytest

from conceptnet_ml.results.summary import few_words, why_nothing

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
