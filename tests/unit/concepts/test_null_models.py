"""Shuffled copies know nothing, and what must exceed them does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from conceptnet_ml.concepts import null_models as nulls
from conceptnet_ml.concepts.attribution import (
    Attribution,
    ablate,
    attribute,
    margin_over_mean,
    passes,
    rank_correlation,
    unit_weights,
)
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.concepts.scores import Batches, FindEvidence, gather_evidence
from conceptnet_ml.config.settings import ConceptSettings, Settings
from conceptnet_ml.network.build import build_network
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.runtime import seeding

CLASSES = ("car", "poodle")


@pytest.fixture(scope="module")
def network() -> StagedNetwork:
    return build_network(Settings(), CLASSES, (32, 32), load_plugins(use_entry_points=False)).eval()


@pytest.fixture(scope="module")
def images() -> Batches:
    draw = torch.Generator().manual_seed(0)
    return [(torch.rand(24, 3, 32, 32, generator=draw), torch.arange(24) % 2) for _ in range(3)]


def test_a_shuffled_copy_has_the_same_weights_elsewhere(network: StagedNetwork, images: Batches) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    copied = nulls.shuffle_weights(Readout("classes", network), images, 0).network
    weights = dict(copied.named_parameters())
    for name, value in network.named_parameters():
        assert torch.equal(weights[name].flatten().sort().values, value.flatten().sort().values)
    assert any(not torch.equal(weights[name], value) for name, value in network.named_parameters())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    again = nulls.shuffle_weights(Readout("classes", network), images, 0).network
    other = nulls.shuffle_weights(Readout("classes", network), images, 1).network
    pictures = images[0][0]
    assert torch.equal(copied(pictures), again(pictures))
    assert not torch.equal(copied(pictures), other(pictures))


def test_a_shuffled_copys_batch_norms_are_those_of_the_images(network: StagedNetwork, images: Batches) -> None:
    copied = nulls.shuffle_weights(Readout("classes", network), images, 0).network
    norm = next(part for part in copied.modules() if isinstance(part, nn.BatchNorm2d))
    seen: list[Tensor] = []
    handle = norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    for batch, _ in images:
        copied(batch)
    handle.remove()
    torch.testing.assert_close(norm.running_mean, torch.cat(seen).mean((0, 2, 3)), atol=1e-4, rtol=1e-3)
    assert not any(part.training for part in copied.modules())


def test_answers_at_chance_know_nothing() -> None:
    right = torch.arange(100) % 2
    settings = ConceptSettings()
    for share, known in ((1.0, True), (0.64, True), (0.6, False), (0.5, False), (0.1, False)):
        answers = torch.where(torch.arange(100) < 100 * share, right, 1 - right)
        assert nulls.better_than_chance(nn.functional.one_hot(answers).float(), right, settings) == known


def test_the_first_images_are_taken(images: Batches) -> None:
    taken = nulls.first_images(images, 30)
    assert [len(batch) for batch, _ in taken] == [24, 6]
    assert torch.equal(taken[1][0], images[1][0][:6])


def test_the_largest_figures_are_those_of_the_shuffled_copies(network: StagedNetwork, images: Batches) -> None:
    readout, settings = Readout("classes", network), ConceptSettings(edge_points=1, edge_groups=2)
    stage = network.stage_names[-2]
    weights, effects = [], []
    for number in range(nulls.COPIES):
        copied = nulls.shuffle_weights(readout, images, seeding.seed_for(5, "shuffled", number))
        evidence = gather_evidence(copied.network, stage, copied.head(stage), images, 2, settings)
        effects.append(float(evidence.ablation_effects(torch.arange(len(evidence.mean))).max()))
        margins = replace(evidence, head=margin_over_mean(evidence.head))
        weights.append(float(unit_weights(margins, 5)[0].abs().max()))
    assert nulls.largest_weight(readout, images, stage, 2, settings, 5) == pytest.approx(max(weights), rel=1e-4)
    found = nulls.largest_effect(readout, images, stage, 2, settings, 5)
    assert 0 < found <= max(effects) * 1.0001  # only the units with the largest estimates are confirmed
    assert nulls.largest_weight(readout, images, stage, 2, settings, 6) != pytest.approx(max(weights), rel=1e-4)


def test_an_edge_stands_only_above_the_null_and_off_zero() -> None:
    edge = lambda weight, low, high, null: Attribution(0, 0, weight, low, high, 0.0, 0.0, None, null).is_supported  # noqa: E731
    assert edge(0.5, 0.4, 0.6, 0.3)
    assert edge(-0.5, -0.6, -0.4, 0.3)
    assert edge(0.5, 0.4, 0.6, None)
    assert not edge(0.5, 0.4, 0.6, 0.5)
    assert not edge(0.5, -0.1, 0.9, 0.3)
    assert not edge(0.5, 0.0, 0.9, 0.3)


def test_groups_of_one_unit_predict_an_ablation_that_the_classic_path_does_not() -> None:
    """An answer that needs either of two units and is helped a little by a third: neither is missed while the other is
    there, which the common path cannot see."""
    draw = torch.Generator().manual_seed(0)
    maps = torch.rand(60, 3, 2, 2, generator=draw) + 0.5
    right = torch.arange(60) % 2
    maps[right == 1] *= 0.1

    def respond(maps: Tensor) -> Tensor:
        score = torch.maximum(maps[:, 0], maps[:, 1] + 0.4).amax((1, 2)) + 0.5 * maps[:, 2].mean((1, 2))
        return torch.stack([score, -score], 1)

    evidence = FindEvidence([(maps, right)], margin_over_mean(respond), 2, ConceptSettings(edge_points=16))
    falls = torch.stack([ablate(evidence, evidence.mean, parent, torch.arange(3)) for parent in range(2)])
    ways = {}
    for groups in (1, 3):
        settings = ConceptSettings(edge_points=16, edge_groups=groups)
        ways[groups], _ = unit_weights(replace(evidence, settings=settings), seed=0)
    errors = {groups: float((weights - falls).abs().mean()) for groups, weights in ways.items()}
    assert errors[3] < 0.2 * errors[1]
    assert rank_correlation(ways[3][0], falls[0]) == pytest.approx(1.0)


def test_progress_ends_where_it_was_said_to_end() -> None:
    """Also where there are fewer units than groups and edges are asked for, and of uneven parents."""
    maps = torch.rand(30, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    right = (torch.arange(30) % 3 == 0).long()
    done: list[int] = []
    evidence = FindEvidence(
        [(maps[:20], right[:20]), (maps[20:], right[20:])], lambda maps: maps.mean((2, 3))[:, :2], 2, ConceptSettings()
    )
    attribute(evidence, 0, advance=done.append)
    assert passes(evidence) == sum(done) == 30 * (3 + 3)
    assert len(done) > 3, "it moves on the way"


def test_no_correlation_where_nothing_varies() -> None:
    assert rank_correlation(torch.ones(5), torch.arange(5.0)) is None
    assert rank_correlation(torch.arange(5.0), torch.arange(5.0) ** 3) == pytest.approx(1.0)
    assert rank_correlation(torch.arange(5.0), -torch.arange(5.0)) == pytest.approx(-1.0)
