"""Edges: complete, exact where the head is linear, and beside what a real intervention does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from conceptnet_ml.concepts.attribution import Attribution, attribute
from conceptnet_ml.concepts.scores import Batches, FindEvidence, Head
from conceptnet_ml.config.settings import ConceptSettings

UNITS, PARENTS = 6, 3


@pytest.fixture
def batches() -> Batches:
    draw = torch.Generator().manual_seed(0)
    maps = torch.rand(30, UNITS, 4, 4, generator=draw)
    maps += torch.randn(30, UNITS, 1, 1, generator=draw)
    right = torch.arange(30) % PARENTS
    return [(maps[:11], right[:11]), (maps[11:], right[11:])]


@pytest.fixture
def relu_net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(UNITS, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, PARENTS)
    ).requires_grad_(False)


def edges(batches: Batches, respond: Head, points: int = 64, keep: int = UNITS, seed: int = 0) -> list[Attribution]:
    settings = ConceptSettings(edge_points=points, edge_groups=1, edges=keep, bootstrap=100)
    return attribute(FindEvidence(batches, respond, PARENTS, settings), seed)


def joined(batches: Batches) -> tuple[Tensor, Tensor]:
    return torch.cat([maps for maps, _ in batches]), torch.cat([right for _, right in batches])


def test_edges_of_a_variant_sum_to_what_they_explain(batches: Batches, relu_net: nn.Module) -> None:
    maps, right = joined(batches)
    explained = relu_net(maps) - relu_net(maps.mean(0, keepdim=True))
    found = edges(batches, relu_net)
    for parent in range(PARENTS):
        mine = [edge for edge in found if edge.parent == parent]
        assert sorted(edge.unit for edge in mine) == list(range(UNITS))
        total = sum(edge.weight for edge in mine)
        expected = explained[right == parent, parent]
        assert abs(total - float(expected.mean())) < 0.01 * float(expected.abs().mean())
        assert all(edge.gap < 0.01 for edge in mine)


def test_the_gap_tells_how_incomplete_few_points_are(batches: Batches, relu_net: nn.Module) -> None:
    steep = lambda maps: relu_net(maps) + 5 * torch.sigmoid(20 * maps.mean((1, 2, 3)) - 8)[:, None]  # noqa: E731
    coarse, fine = (max(edge.gap for edge in edges(batches, steep, points)) for points in (2, 64))
    assert fine < 0.05 < coarse


def test_a_linear_head_is_explained_exactly(batches: Batches) -> None:
    weight = torch.randn(PARENTS, UNITS, generator=torch.Generator().manual_seed(2))
    maps, right = joined(batches)
    pooled = maps.mean((2, 3))
    for edge in edges(batches, lambda maps: maps.mean((2, 3)) @ weight.T, points=2):
        mine = pooled[right == edge.parent, edge.unit].mean() - pooled[:, edge.unit].mean()
        expected = float(weight[edge.parent, edge.unit] * mine)
        assert edge.weight == pytest.approx(expected, abs=1e-5)
        assert edge.ablation == pytest.approx(expected, abs=1e-5)
        assert edge.gap < 1e-4


def test_the_ablation_column_is_a_real_intervention(batches: Batches, relu_net: nn.Module) -> None:
    maps, right = joined(batches)
    for edge in edges(batches, relu_net):
        mine = maps[right == edge.parent]
        without = mine.clone()
        without[:, edge.unit] = maps[:, edge.unit].mean(0)
        fall = (relu_net(mine) - relu_net(without))[:, edge.parent].mean()
        assert edge.ablation == pytest.approx(float(fall), abs=1e-5)


def test_a_unit_that_is_not_read_has_no_weight(batches: Batches, relu_net: nn.Module) -> None:
    open_units = torch.ones(UNITS, 1, 1)
    open_units[4] = 0
    found = {edge.unit: edge for edge in edges(batches, lambda maps: relu_net(maps * open_units)) if edge.parent == 0}
    assert found[4].weight == found[4].ablation == found[4].low == found[4].high == 0
    assert abs(found[0].weight) > 0


def test_intervals_hold_the_weight_and_narrow_with_more_images(batches: Batches, relu_net: nn.Module) -> None:
    maps, right = joined(batches)
    few, many = edges(batches, relu_net), edges([(maps.repeat(16, 1, 1, 1), right.repeat(16))], relu_net)
    assert all(edge.low <= edge.weight <= edge.high for edge in few + many)
    assert all(edge.low < edge.high for edge in few)
    width = lambda found: sum(edge.high - edge.low for edge in found)  # noqa: E731
    assert width(few) / 6 < width(many) < width(few) / 3  # a quarter expected


def test_the_interval_covers_about_95_percent(relu_net: nn.Module) -> None:
    """Over many samples of a known population the interval holds the population's weight 85 to 100 times of 100."""
    weight = torch.ones(1, 1)
    hits = 0
    for sample in range(100):
        values = torch.randn(40, 1, 1, 1, generator=torch.Generator().manual_seed(sample))
        anchor = (torch.zeros(40, 1, 1, 1), torch.ones(40, dtype=torch.int64))  # keeps the mean map known: half of it
        batches = [(values, torch.zeros(40, dtype=torch.int64)), anchor]
        respond = lambda maps: (maps.mean((2, 3)) @ weight.T).repeat(1, 2)  # noqa: E731
        settings = ConceptSettings(edge_points=2, edge_groups=1, edges=1, bootstrap=200)
        edge = attribute(FindEvidence(batches, respond, 1, settings), sample)[0]
        # The weight is mean − mean/2; what varies between images is the value itself, about a true mean of zero.
        low, high = (bound + float(values.mean()) / 2 for bound in (edge.low, edge.high))
        hits += low <= 0 <= high
    assert 85 <= hits <= 100


def test_the_strongest_edges_are_kept(batches: Batches, relu_net: nn.Module) -> None:
    every, few = edges(batches, relu_net), edges(batches, relu_net, keep=2)
    for parent in range(PARENTS):
        strongest = sorted((edge for edge in every if edge.parent == parent), key=lambda edge: -abs(edge.weight))[:2]
        kept = [edge for edge in few if edge.parent == parent]
        assert [edge.unit for edge in kept] == [edge.unit for edge in strongest]


def test_the_same_seed_gives_the_same_edges(batches: Batches, relu_net: nn.Module) -> None:
    assert edges(batches, relu_net) == edges(batches, relu_net)
    other = edges(batches, relu_net, seed=1)
    assert other != edges(batches, relu_net)
    assert [edge.weight for edge in other] == [edge.weight for edge in edges(batches, relu_net)]


def test_batches_do_not_matter(batches: Batches, relu_net: nn.Module) -> None:
    one = edges([joined(batches)], relu_net)
    for mine, theirs in zip(edges(batches, relu_net), one, strict=True):
        assert (mine.parent, mine.unit) == (theirs.parent, theirs.unit)
        assert mine.weight == pytest.approx(theirs.weight, abs=1e-5)
        assert mine.ablation == pytest.approx(theirs.ablation, abs=1e-5)


def test_a_parent_without_images_has_no_edges(batches: Batches, relu_net: nn.Module) -> None:
    maps, right = joined(batches)
    found = edges([(maps[right != 1], right[right != 1])], relu_net)
    assert {edge.parent for edge in found} == {0, 2}
