"""What an inspection says in words."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conceptnet_ml import api
from conceptnet_ml.config.overrides import parse_places
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.inspect.findings import _of_property, verdict_sentence
from conceptnet_ml.inspect.inspection import inspect_data, place_note, telling_place
from conceptnet_ml.inspect.place_box import box_of
from conceptnet_ml.inspect.properties import PLACE, PROPERTIES
from conceptnet_ml.inspect.property_results import PropertyResult, _beside
from conceptnet_ml.inspect.property_rule import fit_rule
from conceptnet_ml.inspect.property_score import PropertyScore
from conceptnet_ml.runtime.progress import Progress

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


def test_it_says_whether_accuracy_on_the_test_set_would_show_it() -> None:
    assert "The test set has it, too (the rule names 95 %)" in _of_property(place(test=0.95), CLASSES).text
    without = _of_property(place(test=0.5), CLASSES).text
    assert "little of it or nothing (the rule names 50 %): a network that rests on it fails there" in without


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


def test_a_box_spans_what_hangs_together_with_the_strongest_cell_and_nothing_else() -> None:
    strengths = np.full((16, 16), 0.1)
    strengths[12, 5:11] = 0.9
    strengths[13, 6:9:2] = 0.6  # a gap of one cell between letters
    strengths[2, 2] = 0.8  # a part of the object, elsewhere
    strengths[11, 5] = 0.4  # above what is said to tell, but less than half as much as the strongest
    box = box_of(strengths)
    assert box is not None
    assert (box.rows, box.columns, box.is_edge) == ((12, 14), (5, 11), False)
    strengths[13:, 10] = 0.9
    assert (box := box_of(strengths)) is not None
    assert (box.rows, box.is_edge) == ((12, 16), True)
    strengths[0, :] = 0.9
    assert (box := box_of(strengths)) is not None
    assert not box.is_edge, "a frame tells elsewhere at the edge, too"
    assert box_of(np.full((16, 16), 0.9)) is None, "no cell tells more than the others"
    strengths[:, [0, -1]] = strengths[-1] = 0.9
    assert box_of(strengths) is None, "what goes all around is no place"


def dates(dated: bool = True) -> Data:
    """Grain of 64 px; in one class with a date across two regions."""
    draw = torch.Generator().manual_seed(0)
    grain = torch.randint(0, 256, (80, 3, 64, 64), dtype=torch.uint8, generator=draw)
    labels = torch.arange(80) % 2
    if dated:
        grain[labels == 1, :, 50:59, 26:53] = 255
    return Data("dates", ("bare", "dated"), ImageSet(grain, labels), {"test": ImageSet(grain[:8], labels[:8])})


def test_a_date_across_two_regions_is_named_by_its_box() -> None:
    found = inspect_data(dates())
    (place,) = [one for one in found.results if one.about.name == PLACE]
    assert place.differs == "the box x 24 to 56, y 48 to 60 px of 64 × 64"
    assert parse_places(place.places) == {"0.375,0.75,0.875,0.9375": ((0.375, 0.75, 0.875, 0.9375),)}
    assert place.score.accuracy > 0.99
    (finding,) = [one for one in found.findings if one.about == PLACE]
    assert finding.text.startswith("One place, the box x 24 to 56, y 48 to 60 px of 64 × 64, alone names ")
    assert "--exchange 0.375,0.75,0.875,0.9375" in found.learn_command(places=finding.places)


def test_a_border_of_which_a_box_is_all_is_said_to_be_no_frame() -> None:
    border = replace(place(), about=next(one for one in PROPERTIES if one.name == "border"), differs="the box x 1 to 2")
    text = _of_property(replace(border, places="0.5,0.5,1,1"), CLASSES).text
    assert "by their edge or frame. It may be no frame: the box x 1 to 2 reaches the edge" in text
    assert "Most often" not in text
    assert "no frame" not in _of_property(replace(border, places="border", differs=""), CLASSES).text


def test_learn_says_beforehand_where_the_classes_differ_and_how_to_look() -> None:
    settings = Settings.model_validate({"seed": 3, "data": {"source": "folder:my photos", "train_limit": 40}})
    note = place_note(dates(), settings)
    assert note.startswith(
        "the classes differ in one place, the box x 24 to 56, y 48 to 60 px of 64 × 64: alone it names"
    )
    assert "100 % of the training images rightly (chance 50 %)" in note
    assert "learn --exchange 0.375,0.75,0.875,0.9375. " in note
    assert note.endswith(": conceptnet-ml inspect 'folder:my photos' --set seed=3 --set data.train_limit=40")
    assert place_note(dates(), settings, named=False).endswith(": inspect_data"), "which loads nothing by settings"
    assert not place_note(dates(dated=False), settings)
    exchanged = settings.model_copy(update={"round": settings.round.model_copy(update={"exchange": "border"})})
    assert not place_note(dates(), exchanged), "the user has said what to exchange"
    assert telling_place(replace(dates(), train=dates().train.subset(torch.arange(2))), 0) is None


def test_learn_prints_it_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "execute", lambda checked, run, session: run.close())
    said = io.StringIO()
    settings = Settings.model_validate({"device": "cpu"})
    api.learn(dates(), settings=settings, out=tmp_path / "run", progress=Progress(stream=said))
    assert "note: the classes differ in one place, the box x 24 to 56" in " ".join(said.getvalue().split())
