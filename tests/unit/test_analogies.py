"""Analogies: planted pairs of units are matched, independent ones are left in the dustbin."""

from __future__ import annotations

import torch
from torch import Tensor

from conceptnet_ml.analogies import _match
from conceptnet_ml.concepts import Analogy
from conceptnet_ml.finding import Finding

PAIRS, UNITS = 200, 16
PARTNERS = {4: 11, 9: 2, 13: 0}
"""Which unit of class 0 falls when this unit of class 1 rises."""


def match(rises: Tensor, falls: Tensor, seed: int = 0) -> list[Analogy]:
    units = tuple(PARTNERS)
    finding = Finding(1, units, (1.0,) * len(units), (1.0,) * len(units), 1.0)
    return _match(finding, 0, rises.clamp_min(0), falls.clamp_min(0), torch.Generator().manual_seed(seed))


def changes(seed: int, strength: float) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    rises = 1 + 0.5 * torch.randn(PAIRS, len(PARTNERS), generator=draw)
    falls = 1 + 0.5 * torch.randn(PAIRS, UNITS, generator=draw)
    for column, fallen in enumerate(PARTNERS.values()):
        falls[:, fallen] += strength * (rises[:, column] - 1)
    return rises, falls


def test_planted_partners_are_found() -> None:
    for seed in range(5):
        found = match(*changes(seed, strength=2.0))
        assert {analogy.analogue: analogy.unit for analogy in found} == PARTNERS
        assert all((analogy.parent, analogy.other) == (0, 1) for analogy in found)
        assert all(analogy.score > analogy.null for analogy in found)


def test_each_unit_is_matched_once() -> None:
    rises, falls = changes(0, strength=0.0)
    falls[:, 5] += 2 * (rises.mean(1) - 1)  # one unit that goes with all three
    found = match(rises, falls)
    assert len({analogy.unit for analogy in found}) == len(found)
    assert len({analogy.analogue for analogy in found}) == len(found)


def test_the_features_own_units_are_not_its_analogues() -> None:
    rises, falls = changes(0, strength=0.0)
    falls[:, 4] += 3 * (rises[:, 0] - 1)
    assert 4 not in {analogy.unit for analogy in match(rises, falls)}


def test_independent_units_are_hardly_ever_matched() -> None:
    """Over ten draws of noise, at most one match in ten chances."""
    matched = sum(len(match(*changes(seed, strength=0.0), seed)) for seed in range(10))
    assert matched <= 0.1 * 10 * len(PARTNERS)


def test_matching_is_reproducible() -> None:
    assert match(*changes(1, strength=1.0)) == match(*changes(1, strength=1.0))
