"""Analogies: planted pairs of units are matched, independent ones are not, and exchanging them translates."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from conceptnet_ml.concepts.analogies import (
    UnitChanges,
    UnitExchange,
    UnitMatches,
    _correlation,
    exchanged_units,
    match_units,
    measure_translation,
)
from conceptnet_ml.concepts.evidence import FeatureAnalogy
from conceptnet_ml.concepts.scores import FindEvidence

PAIRS, HALF = 200, 20


def changes(seed: int, noise: float | None) -> tuple[UnitChanges, list[int]]:
    """Units 0 to 19 fall and 20 to 39 rise in all pairs; ``order[u]`` is the unit that rises as far as u falls, but for
    noise. Without noise given, as far as it likes."""
    draw = torch.Generator().manual_seed(seed)
    order = torch.randperm(HALF, generator=draw)
    left = 1 + 0.5 * torch.randn(PAIRS, HALF, generator=draw)
    came = 1 + 0.5 * torch.randn(PAIRS, HALF, generator=draw)
    if noise is not None:
        came[:, order] = left + 0.5 * noise * torch.randn(PAIRS, HALF, generator=draw)
    moved = torch.cat([left, came], 1).clamp_min(0.01)
    rose = torch.cat([-torch.ones(PAIRS, HALF), torch.ones(PAIRS, HALF)], 1)
    hosts = torch.zeros(PAIRS, dtype=torch.int64)
    return UnitChanges(hosts, 1 - hosts, rose, moved), [HALF + int(unit) for unit in order]


def replaced_units(units: int, pairs: list[tuple[int, int]]) -> Tensor:
    """(units,) sources under which the second unit of each pair replaces the first, and stays itself."""
    sources = torch.arange(units)
    for one, other in pairs:
        sources[one] = other
    return sources


def matched(these: UnitChanges, seed: int = 0) -> UnitMatches:
    found = match_units(these, 0, 1, torch.Generator().manual_seed(seed))
    assert found is not None
    return found


def standing(found: UnitMatches) -> list[tuple[int, int]]:
    return [pair for pair, score, null in zip(found.pairs, found.scores, found.nulls, strict=True) if score > null]


def test_permuted_and_noised_units_are_recovered() -> None:
    right = of = wrong = 0
    for seed in range(5):
        these, partners = changes(seed, noise=0.5)
        pairs = standing(matched(these))
        carrying = [pair[0] for pair in matched(these).pairs]
        right += sum(partners[leaves] == comes for leaves, comes in pairs)
        wrong += sum(partners[leaves] != comes for leaves, comes in pairs)
        # A unit that no longer carries the answer is not asked; nor can one be matched whose partner is not.
        asked = {comes for _, comes in matched(these).pairs}
        of += sum(partners[leaves] in asked for leaves in carrying)
    assert right >= 0.95 * of
    assert of >= 5 * 15
    assert wrong <= 0.1 * right


def test_independent_units_are_hardly_ever_matched() -> None:
    """A match in twenty passes by chance, by the null's making."""
    found = [matched(changes(seed, noise=None)[0], seed) for seed in range(10)]
    assert sum(len(standing(one)) for one in found) <= 0.1 * sum(len(one.pairs) for one in found)


def test_two_features_are_tied_as_a_whole_by_what_no_pair_alone_would_show() -> None:
    """With ten times the noise hardly half of the pairs stand by themselves; their sum still does. That of
    independent units does not, but for one time in twenty."""
    planted = [matched(changes(seed, noise=5.0)[0], seed) for seed in range(10)]
    assert sum(len(standing(one)) for one in planted) < 0.5 * sum(len(one.pairs) for one in planted)
    assert all(float(one.scores.sum()) > one.null > 0 for one in planted)
    empty = [matched(changes(seed, noise=None)[0], seed) for seed in range(20)]
    assert sum(float(one.scores.sum()) > one.null for one in empty) <= 4


def test_each_unit_is_matched_once_and_too_few_pairs_give_nothing() -> None:
    these, _ = changes(0, noise=0.2)
    pairs = matched(these).pairs
    assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)
    few = UnitChanges(these.hosts[:5], these.donors[:5], these.activations[:5], these.attributions[:5])
    assert match_units(few, 0, 1, torch.Generator()) is None


def test_matching_is_reproducible() -> None:
    one, other = (matched(changes(1, noise=0.5)[0]) for _ in range(2))
    assert one.pairs == other.pairs
    assert torch.equal(one.scores, other.scores)


CLASSES, EACH = 4, 3


def world(seed: int) -> tuple[Tensor, Tensor, Tensor, list[FeatureAnalogy]]:
    """Maps in which each class has three units of its own with scales of their own, and a head that adds them up."""
    draw = torch.Generator().manual_seed(seed)
    units = CLASSES * EACH + 12
    right = torch.arange(160) % CLASSES
    scale = 0.5 + 2 * torch.rand(units, generator=draw)
    maps = 0.2 * torch.randn(160, units, 3, 3, generator=draw)
    weight = torch.zeros(CLASSES, units)
    for c in range(CLASSES):
        own = slice(c * EACH, (c + 1) * EACH)
        maps[right == c, own] += 1
        weight[c, own] = 1 / scale[own]
    tied = [
        FeatureAnalogy(c, o, tuple((c * EACH + k, o * EACH + k) for k in range(EACH)), 1.0, 0.0, 0.0)
        for c in range(CLASSES)
        for o in range(CLASSES)
        if c != o
    ]
    return maps * scale.view(-1, 1, 1), right, weight, tied


def test_exchanging_matched_units_translates_and_random_ones_do_not() -> None:
    for seed in range(3):
        maps, right, weight, tied = world(seed)
        head = lambda these, w=weight: these.mean((2, 3)) @ w.T  # noqa: E731
        evidence = FindEvidence([(maps[:100], right[:100]), (maps[100:], right[100:])], head, CLASSES)
        found = measure_translation(evidence, tied, torch.Generator().manual_seed(seed))
        assert found.classes == CLASSES * (CLASSES - 1)
        assert found.units == EACH
        assert found.translated >= 0.8
        assert found.random <= 0.4


def test_an_exchange_of_a_unit_with_itself_changes_nothing() -> None:
    maps, *_ = world(0)
    assert torch.equal(UnitExchange(maps).take(maps, exchanged_units(maps.shape[1], [(2, 2)])), maps)
    assert exchanged_units(5, [(0, 3), (3, 4), (1, 2)]).tolist() == [3, 2, 1, 0, 4]


def test_moved_maps_have_the_mean_and_spread_of_the_unit_they_replace() -> None:
    maps, *_ = world(0)
    moved = UnitExchange(maps).take(maps, replaced_units(maps.shape[1], [(0, 5)]))
    torch.testing.assert_close(moved[:, 0].mean(), maps[:, 0].mean(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(moved[:, 0].std(), maps[:, 0].std(), atol=1e-4, rtol=1e-4)


def test_in_a_redundant_network_an_analogue_replaces_a_unit_and_a_random_unit_does_not() -> None:
    """Every unit the head reads has a permuted, rescaled, noised double that it does not read."""
    for seed in range(3):
        draw = torch.Generator().manual_seed(seed)
        right = torch.arange(200) % 10
        read = torch.randn(200, 10, 4, 4, generator=draw) * 0.5
        read[torch.arange(200), right] += 1.5
        order = torch.randperm(10, generator=draw)
        doubles = (3 * read + 1.0 + 0.6 * torch.randn(200, 10, 4, 4, generator=draw))[:, order]
        maps = torch.cat([read, doubles], 1)
        flat = maps.mean((2, 3))
        _, columns = linear_sum_assignment(_correlation(flat[:, :10], flat[:, 10:]).numpy(), maximize=True)
        assert (order[torch.as_tensor(columns)] == torch.arange(10)).float().mean() >= 0.95
        exchange = UnitExchange(maps)

        def accuracy(
            pairs: list[tuple[int, int]], exchange: UnitExchange = exchange, maps: Tensor = maps, right: Tensor = right
        ) -> float:
            shown = exchange.take(maps, replaced_units(20, pairs))[:, :10].mean((2, 3))
            return float((shown.argmax(1) == right).float().mean())

        before = accuracy([])
        random = torch.randperm(10, generator=draw).tolist()
        assert before > 0.95
        assert accuracy([(unit, 10 + int(found)) for unit, found in enumerate(columns)]) >= 0.8 * before
        assert accuracy([(unit, 10 + found) for unit, found in enumerate(random)]) <= 0.4 * before
