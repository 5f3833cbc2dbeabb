"""Two runs side by side, without networks: intervals by hand, and what cannot be compared."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from made_run import CLASSES, summary

from conceptnet_ml.errors import DataError, SettingsError
from conceptnet_ml.results.compare import _names, _paired, _pairing, _rounds, _unpaired, compare_runs
from conceptnet_ml.results.comparison import (
    ComparedAccuracy,
    ComparedFact,
    Comparison,
    Difference,
    difference_words,
    share_words,
)
from conceptnet_ml.results.concept_matches import ConceptMatches, likeness
from conceptnet_ml.steps.ordinary import wilson


def test_the_difference_of_two_shares_is_newcombes() -> None:
    """His first example (1998, table II, method 10): 56 of 70 less 48 of 80 is .2, between .0524 and .3339."""
    shares = 48 / 80, 56 / 70
    found = _unpaired(shares, [wilson(48, 80), wilson(56, 70)])
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    assert (found.how, found.sign, found.won) == ("unpaired", 1, None)


def answers(right: list[int]) -> dict[str, Any]:
    """A network that answers rightly where there is a 1."""
    labels = torch.zeros(len(right), dtype=torch.int64)
    return {"images": "same", "labels": labels, "answers": {"learned": 1 - torch.tensor(right, dtype=torch.int32)}}


def test_the_paired_difference_counts_only_images_on_which_the_two_differ() -> None:
    first, second = [1] * 60 + [0] * 40, [1] * 57 + [0] * 3 + [1] * 10 + [0] * 30
    found = _paired("learned", answers(first), answers(second))
    assert (found.won, found.lost, found.how) == (10, 3, "paired")
    assert found.value == pytest.approx(0.07)
    # (10 + 1) / 102 − (3 + 1) / 102 ± 1.96 √((11/102 + 4/102 − (7/102)²) / 102)
    assert (found.low, found.high) == pytest.approx((0.06863 - 0.07322, 0.06863 + 0.07322), abs=2e-4)
    assert found.sign == 0
    assert difference_words(found) == "+7.0 [−0.5, +14.2]"
    same = _paired("learned", answers(first), answers(first))
    assert (same.value, same.sign) == (0, 0)
    assert same.low < 0 < same.high


def test_answers_are_paired_only_where_they_are_known_and_of_the_same_images() -> None:
    one, other = answers([1]), answers([1]) | {"images": "others"}
    assert _pairing([one, one], same_data=False) == ("paired", ""), "the images say that they are the same"
    assert _pairing([one, other], same_data=True)[0] == "unpaired"
    assert _pairing([one, None], same_data=True)[0] == "unpaired"
    assert "--answer" in _pairing([one, None], same_data=True)[1]
    for some in ([one, other], [None, None]):
        how, why = _pairing(some, same_data=False)
        assert (how, "not compared" in why) == ("", True)


def test_rounds_are_compared_by_name_and_say_what_was_exchanged() -> None:
    one, other = summary(), summary()
    other["rounds"] = copy.deepcopy(other["rounds"][:1])
    other["rounds"][0] |= {"decision": "leaf", "chosen": None}
    first, second = _rounds((one, other))
    assert (first.name, first.decisions, first.representations) == ("top/classes/1", ("kept", "leaf"), ("pixels", None))
    assert "exchanges places that cover 15\u00a0% of an image (pixels)" in first.words[0]
    assert second.decisions == ("leaf", None)
    assert second.words[1] == ""


def test_runs_are_named_by_as_much_of_their_paths_as_tells_them_apart() -> None:
    assert _names(Path("/runs/a"), Path("/runs/b")) == ("a", "b")
    assert _names(Path("/x/first"), Path("/y/first")) == ("x/first", "y/first")
    assert _names(Path("/first"), Path("/y/first")) == ("//first", "y/first")


class Stub:
    """As much of an opened run as is looked at before anything is compared."""

    def __init__(self, path: Path, classes: tuple[str, ...] = CLASSES) -> None:
        self.folder, self.classes = self, classes
        self.path, self.package = path, "0.0.9"
        self.settings: dict[str, Any] = {}
        self.learned_network = "9f"

    def summary(self) -> dict[str, Any]:
        return {"data": "photos", "trap": "none", "rounds": []}

    def environment(self) -> dict[str, Any]:
        return {}


def test_one_run_twice_other_classes_and_what_a_version_lacks_are_said(tmp_path: Path) -> None:
    one: Any = Stub(tmp_path / "a")
    with pytest.raises(SettingsError, match="are one run"):
        compare_runs(one, Stub(tmp_path / "x" / ".." / "a"))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"other classes: a tells car and .*, b tells cat and dog"):
        compare_runs(one, Stub(tmp_path / "b", ("cat", "dog")))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"a by 0.0.9 and .*b by 0.0.9\): KeyError") as refused:
        compare_runs(one, Stub(tmp_path / "b"))  # type: ignore[arg-type]
    assert "this version" in refused.value.mend


def measured(name: str, low: float, high: float) -> ComparedAccuracy:
    one = Difference((low + high) / 2, low, high)
    return ComparedAccuracy(name, "learned", (10, 10), (0.5, 0.6), ((0.4, 0.6), (0.5, 0.7)), one, "")


def comparison(*rows: ComparedAccuracy) -> Comparison:
    runs: Any = (Stub(Path("a")), Stub(Path("b")))
    return Comparison(("a", "b"), runs, False, (), (ComparedFact("seed", ("0", "1")),), (), rows, (), ConceptMatches())


def test_the_headline_says_where_the_second_is_better_and_where_worse() -> None:
    rows = [measured("test", -0.02, 0.02), measured("far", 0.1, 0.2), measured("near", -0.2, -0.1)]
    found = comparison(*rows)
    assert found.headline == (
        "The learned network of b, beside that of a, is better on far (+15.0), worse on near (−15.0); on 1 of 3 test "
        "sets it may be chance."
    )
    assert "by no more than chance" in comparison(rows[0]).headline
    assert "cannot be compared" in comparison().headline
    assert any("Another seed" in note for note in found.notes)
    assert found.plain()["accuracy"][1]["difference"]["sign"] == 1
    assert share_words(rows[0], 1) == "60.0\u00a0% (50–70)"


def test_two_concepts_are_alike_within_the_classes_and_not_by_telling_them_apart() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    inner = torch.tensor([1.0, -1, 2, -2, 1, -1, 2, -2])
    other = torch.tensor([2.0, 2, -1, -1, 2, 2, -1, -1])

    def maps(scores: torch.Tensor, side: int = 4) -> torch.Tensor:
        return scores[:, None, None].expand(8, side, side)

    same = likeness(maps(inner), maps(inner + 9 * labels, 8), labels)
    assert same == pytest.approx((1, 1))
    assert same.mean == pytest.approx(1)
    assert likeness(maps(inner + 9 * labels), maps(other + 9 * labels), labels) == pytest.approx((0, 0), abs=0.01)
    assert likeness(maps(labels.float()), maps(labels.float()), labels) == (0, 0), "nothing but the class"


def test_a_cue_that_is_the_same_in_every_image_is_known_by_its_places() -> None:
    labels = torch.arange(64) % 2
    cue = torch.zeros(64, 4, 4)
    cue[:, 3, 3] = 5
    noise = [0.1 * torch.randn(64, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    found = likeness(cue + noise[0], cue + noise[1], labels)
    assert abs(found.images) < 0.4
    assert found.places > 0.9
    elsewhere = likeness(cue + noise[0], cue.flip(1) + noise[1], labels)
    assert elsewhere.mean < 0.2
