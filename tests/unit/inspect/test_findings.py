"""What an inspection says in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from conceptnet_ml.inspect.findings import _of_property, verdict_sentence
from conceptnet_ml.inspect.properties import PLACE, PROPERTIES
from conceptnet_ml.inspect.property_results import PropertyResult, _beside
from conceptnet_ml.inspect.property_rule import fit_rule
from conceptnet_ml.inspect.property_score import PropertyScore

CLASSES = ("car", "dog")


def place(**tests: float) -> PropertyResult:
    """One place that tells dog, by what is missing there: the mark is on the cars."""
    rng = np.random.default_rng(0)
    labels = np.arange(20) % 2
    values = rng.normal(size=(20, 1)) + 5 * labels[:, None]
    rule = fit_rule(values, labels, 2)
    score = PropertyScore(0.97, 0.93, 0.99, 1, 0.94, 0.85, 0.5, 0.1, np.zeros(20), rule)
    about = next(one for one in PROPERTIES if one.name == PLACE)
    return PropertyResult(about, score, 0.1, tests, "the region bottom, right", values)


def test_it_says_which_classes_are_told_apart_and_not_what_a_mark_is_answered() -> None:
    text = _of_property(place(test=0.95), CLASSES).text
    assert "a network might tell dog from car by what is there, or is missing there." in text
    assert "might answer" not in text
    assert "from the others by" in _of_property(place(test=0.95), (*CLASSES, "cat")).text


@pytest.mark.parametrize(("share", "said"), [(0.08, True), (0.5, False), (0.95, False)])
def test_a_test_set_on_which_the_rule_is_far_below_chance_is_in_the_verdict(share: float, said: bool) -> None:
    finding = _of_property(place(test=0.95, field=share), CLASSES)
    words = "On 'field' the same rule names 8 %, far below chance: there it goes with other classes"
    assert (words in finding.text) == said
    assert (words in verdict_sentence([finding], CLASSES)) == said
    assert "far below" not in _of_property(replace(place(), tests={}), CLASSES).text


def test_a_place_is_named_with_the_regions_beside_it_that_tell_the_same_class() -> None:
    found = np.full((16, 2), 0.4)
    found[15] = 0.5, 0.95  # bottom, right
    found[14] = 0.9, 0.7  # beside it; tells the other class, and this one by half of what is left to tell
    found[11] = 0.9, 0.6  # above it; by a third, as much as a part of the object
    found[13] = 0.4, 0.9  # not beside it
    assert _beside(found, 15) == [14]
    found[15, 1] = 0.55  # a quarter; so little is told by chance
    found[14, 1] = found[11, 1] = 0.5
    assert _beside(found, 15) == []
