"""What units do: scores, AUROC and effects against slow references, and the built-in discoverer on planted units."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from conceptnet_ml.concepts.scores import (
    FindEvidence,
    auroc,
    balanced_sample,
    gather_evidence,
    mean_ranks,
    spectrum,
    unit_scores,
)
from conceptnet_ml.config.settings import ConceptSettings
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.swap.probe import margin_over_runner_up
from conceptnet_plugins.discoverers.units import find


def brute_force(scores: Tensor, positive: Tensor) -> float:
    """Share of (positive, negative) pairs in the right order, ties one half."""
    yes, no = scores[positive], scores[~positive]
    pairs = (yes[:, None] > no[None]).double() + 0.5 * (yes[:, None] == no[None]).double()
    return float(pairs.mean())


@pytest.mark.parametrize("levels", [2, 4, 1000])
def test_auroc_against_all_pairs(levels: int) -> None:
    draw = torch.Generator().manual_seed(levels)
    scores = torch.randint(levels, (57, 5), generator=draw).float()
    positive = torch.rand(57, generator=draw) < 0.3
    scores[:, 0] += positive
    expected = [brute_force(scores[:, column], positive) for column in range(5)]
    assert auroc(scores, positive).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("levels", [1, 4, 1000])
def test_ranks_are_scipys(levels: int) -> None:
    values = torch.randint(levels, (60, 5), generator=torch.Generator().manual_seed(levels)).double()
    values[3, 4] = torch.nan
    torch.testing.assert_close(
        mean_ranks(values), torch.from_numpy(rankdata(values.numpy(), axis=0)), rtol=0, atol=0, equal_nan=True
    )


def test_auroc_at_its_ends() -> None:
    positive = torch.tensor([True, True, False, False])
    columns = torch.tensor([[3.0, 0.0, 1.0], [2.0, 1.0, 1.0], [1.0, 2.0, 1.0], [0.0, 3.0, 1.0]])
    assert auroc(columns, positive).tolist() == [1.0, 0.0, 0.5]


def test_unit_scores_are_the_mean_of_the_strongest_tenth() -> None:
    maps = torch.arange(20.0).view(1, 1, 4, 5).repeat(2, 3, 1, 1)
    maps[1, 2] = -maps[1, 2]
    scores = unit_scores(maps)
    assert scores.tolist() == [[18.5, 18.5, 18.5], [18.5, 18.5, -0.5]]
    assert unit_scores(torch.tensor([1.0, 5.0, 2.0, 0.0]).view(1, 1, 2, 2)).item() == 5.0  # at least one place


def test_margins_are_against_the_strongest_other() -> None:
    responses = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [0.0, 0.0, -1.0]])
    assert margin_over_runner_up(responses, torch.tensor([0, 1, 2])).tolist() == [1.0, -2.0, -1.0]


def evidence(weight: Tensor, maps: Tensor, parents: Tensor, **changes: float) -> FindEvidence:
    """Maps in uneven batches under a linear head on their means."""
    batches = [(maps[:7], parents[:7]), (maps[7:], parents[7:])]
    head = lambda maps: maps.mean((2, 3)) @ weight.T  # noqa: E731
    return FindEvidence(batches, head, len(weight), ConceptSettings(**changes))  # type: ignore[arg-type]


def test_the_mean_is_over_images_not_over_batches() -> None:
    maps = torch.rand(20, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    found = evidence(torch.zeros(2, 4), maps, torch.arange(20) % 2)
    torch.testing.assert_close(found.mean, maps.mean(0))
    scores, parents = found.scores()
    torch.testing.assert_close(scores, unit_scores(maps))
    assert torch.equal(parents, torch.arange(20) % 2)


def test_answers_are_the_heads_of_all_maps() -> None:
    maps, weight = torch.rand(20, 4, 3, 3), torch.rand(2, 4)
    answers, right = evidence(weight, maps, torch.arange(20) % 2).answers()
    torch.testing.assert_close(answers, maps.mean((2, 3)) @ weight.T)
    assert torch.equal(right, torch.arange(20) % 2)


def test_on_a_linear_head_estimated_effects_are_real_ones() -> None:
    draw = torch.Generator().manual_seed(0)
    maps, weight = torch.rand(20, 6, 3, 3, generator=draw), torch.randn(2, 6, generator=draw)
    parents = (torch.arange(20) % 3 == 0).long()
    found = evidence(weight, maps, parents)
    estimated = found.estimated_effects()
    torch.testing.assert_close(found.ablation_effects(torch.arange(6)), estimated, atol=1e-5, rtol=1e-4)
    pooled = maps.mean((2, 3))
    by_hand = [
        (weight[parent] - weight[1 - parent]) * (pooled[parents == parent].mean(0) - pooled.mean(0))
        for parent in range(2)
    ]
    torch.testing.assert_close(estimated, torch.stack(by_hand), atol=1e-5, rtol=1e-4)


def test_ablation_effects_are_those_of_a_real_network() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3, 2, 1), nn.ReLU(), nn.Conv2d(5, 6, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 3)
    )
    network = StagedNetwork(model, (16, 16), stages=["1"]).eval()
    images, parents = torch.rand(9, 3, 16, 16), torch.arange(9) % 3
    batches = [(images[:4], parents[:4]), (images[4:], parents[4:])]
    found = gather_evidence(network, "1", lambda maps: network.run_from(maps, "1"), batches, 3, ConceptSettings())
    effects = found.ablation_effects(torch.tensor([3, 0]))
    with torch.no_grad():
        maps = network.run_until(images, "1")
        for column, unit in enumerate((3, 0)):
            without = maps.clone()
            without[:, unit] = maps[:, unit].mean(0)
            fall = margin_over_runner_up(network(images), parents) - margin_over_runner_up(
                network.run_from(without, "1"), parents
            )
            expected = torch.stack([fall[parents == parent].mean() for parent in range(3)])
            torch.testing.assert_close(effects[:, column], expected, atol=1e-5, rtol=1e-4)


def test_balanced_takes_as_many_of_each_class_from_the_pool() -> None:
    labels = torch.tensor([0] * 30 + [1] * 8 + [2] * 20)
    pool = torch.arange(58)[torch.arange(58) % 5 != 0]
    numbers = balanced_sample(labels, pool, 1000, 3)
    assert torch.bincount(labels[numbers]).tolist() == [6, 6, 6]  # class 1 has six images in the pool
    assert set(numbers.tolist()) <= set(pool.tolist())
    assert len(numbers.unique()) == 18
    assert torch.bincount(labels[balanced_sample(labels, pool, 12, 3)]).tolist() == [4, 4, 4]
    assert torch.equal(numbers, balanced_sample(labels, pool, 1000, 3))
    assert not torch.equal(numbers, balanced_sample(labels, pool, 1000, 4))


def noise(count: int = 400, units: int = 24) -> tuple[Tensor, Tensor]:
    maps = torch.rand(count, units, 5, 5, generator=torch.Generator().manual_seed(5))
    return maps, torch.arange(count) % 2


def test_the_discoverer_finds_the_planted_units_and_no_others() -> None:
    maps, parents = noise()
    weight = torch.zeros(2, 24)
    maps[parents == 1, 3, 1, 2] += 2.0  # tells the class, and the head rests on it
    maps[parents == 1, 7, 4, 0] += 2.0
    maps[parents == 1, 5, 2, 2] += 2.0  # tells the class, but the head ignores it
    weight[1, [3, 7]] = torch.tensor([8.0, 6.0])
    weight[1, 9] = 30.0  # the head rests on it, but it does not tell the class
    (finding,) = find(evidence(weight, maps, parents))
    assert finding.parent == 1
    assert finding.units == (3, 7)  # strongest first
    assert finding.effect[0] > finding.effect[1] > 0
    assert min(finding.auc) > 0.99
    # Class 0 has no unit of its own: it is told by what it lacks.


def test_the_discoverer_takes_no_more_units_than_cover_the_effect() -> None:
    maps, parents = noise()
    weight = torch.zeros(2, 24)
    maps[parents == 1, :4, 1, 2] += 2.0
    weight[1, :4] = torch.tensor([8.0, 4.0, 1.0, 1.0])
    for coverage, units in ((0.5, (0,)), (0.8, (0, 1)), (1.0, (0, 1, 2, 3))):
        (finding,) = find(evidence(weight, maps, parents, coverage=coverage))
        assert set(finding.units) == set(units)
        assert finding.share >= coverage - 0.05


def test_the_discoverer_confirms_by_real_ablation() -> None:
    """A saturated unit has no gradient; its real effect is found, not the estimated zero."""
    maps, parents = noise()
    maps[parents == 1, 3] += 3.0

    def head(maps: Tensor) -> Tensor:
        level = maps[:, 3].mean((1, 2))
        return torch.stack([0 * level, 9 * (level - 2.2).clamp(0, 1)], 1)

    found = FindEvidence([(maps, parents)], head, 2, ConceptSettings(confirm=24))
    assert found.estimated_effects()[1, 3] == 0
    finding = next(finding for finding in find(found) if finding.parent == 1)
    assert finding.units == (3,)
    assert finding.effect[0] > 1


def test_the_discoverer_finds_nothing_in_noise() -> None:
    maps, parents = noise()
    weight = torch.randn(2, 24, generator=torch.Generator().manual_seed(0))
    assert find(evidence(weight, maps, parents)) == []


def test_statistics_of_a_wide_stage_take_one_pass_over_the_images() -> None:
    """2,048 units on 2,048 images: scores, AUROC, estimated effects and the confirmed ones."""
    torch.manual_seed(0)
    wide = nn.Sequential(
        nn.Conv2d(3, 2048, 4, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 2)
    )
    network = StagedNetwork(wide, (8, 8)).eval()
    (stage,) = network.stage_names
    images, labels = torch.rand(2048, 3, 8, 8), torch.arange(2048) % 2
    passed = []
    wide[0].register_forward_hook(lambda _module, args, _output: passed.append(len(args[0])))
    batches = list(zip(images.split(256), labels.split(256), strict=True))
    evidence = gather_evidence(
        network, stage, lambda maps: network.run_from(maps, stage), batches, 2, ConceptSettings()
    )
    find(evidence)
    assert evidence.mean.shape == (2048, 2, 2)
    assert sum(passed) == 2048


def test_the_spectrum_says_where_every_class_lies() -> None:
    scores = torch.cat([torch.arange(11.0), torch.arange(11.0) + 20])
    parents = torch.arange(22) // 11
    low, high = spectrum(scores, parents, 2)
    spread = float(scores.double().std())
    assert low == pytest.approx(((1 - 15) / spread, (5 - 15) / spread, (9 - 15) / spread))
    assert high == pytest.approx(((21 - 15) / spread, (25 - 15) / spread, (29 - 15) / spread))
    assert spectrum(torch.ones(4), torch.tensor([0, 0, 1, 1]), 2) == ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
