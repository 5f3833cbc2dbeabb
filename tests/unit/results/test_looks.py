"""What an exchange takes, in words, by pictures made for it."""

from __future__ import annotations

import pytest
import torch

from conceptnet_ml.results.looks import look_words, looks_words, where_words
from conceptnet_ml.results.verdict import sharing

SIDE = 30


def gate(rows: slice, columns: slice) -> torch.Tensor:
    found = torch.zeros(2, 1, SIDE, SIDE, dtype=torch.bool)
    found[..., rows, columns] = True
    return found


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        (slice(20, 30), slice(0, 30), ["low"]),
        (slice(0, 8), slice(20, 28), ["high", "right"]),
        (slice(10, 20), slice(10, 20), []),
        (slice(0, 30), slice(0, 30), []),
    ],
)
def test_places_are_called_by_the_third_they_lie_in(rows: slice, columns: slice, words: list[str]) -> None:
    assert where_words(gate(rows, columns)) == words
    assert where_words(gate(slice(0, 0), slice(0, 0))) == []


def test_a_frame_lies_along_the_edge() -> None:
    assert where_words(~gate(slice(3, 27), slice(3, 27))) == ["along the edge"]


def test_looks_are_said_where_they_differ_from_the_rest() -> None:
    where = gate(slice(5, 15), slice(5, 15))
    grey = torch.full((2, 3, SIDE, SIDE), 0.5)
    assert look_words(grey, where) == []
    dark = grey - 0.3 * where
    assert look_words(dark, where)[0] == "dark"
    red = grey + where * torch.tensor([0.3, -0.15, -0.15])[:, None, None]
    assert "red" in look_words(red, where)
    noise = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) - 0.5
    assert look_words(grey + 0.5 * noise * where, where) == ["full of detail"]
    assert look_words(grey + 0.5 * noise * ~where, where) == ["plain"]


def test_the_words_name_the_classes() -> None:
    looks = [{"class": 1, "words": "low, dark", "share": 0.1}, {"class": 0, "words": "bright", "share": 0.1}]
    assert looks_words(looks, ("car", "poodle")) == "in poodle low, dark; in car bright"
    assert looks_words([], ("car", "poodle")) == ""
    same = [{**one, "words": "low"} for one in looks]
    assert looks_words(same, ("car", "poodle")) == "low"
    assert looks_words(same, ("car", "poodle", "cat")) == "in poodle and car low"
    probe = {"representation": "pixels", "classes": None}
    entry = {"chosen": "pixels", "representations": [probe], "looks": looks[:1]}
    assert sharing(entry, ("car", "poodle")) == "car and poodle (in poodle low, dark)"
    assert sharing(entry | {"looks": []}, ("car", "poodle")) == "car and poodle"
