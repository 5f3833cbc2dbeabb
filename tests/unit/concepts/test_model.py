"""Detectors and variants: by hand, through a state dict, as an exact split; families in the model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from conceptnet_ml.concepts.evidence import SplitEvidence
from conceptnet_ml.concepts.model import (
    Detector,
    Family,
    GeneralizedModel,
    Trunk,
    Variants,
    restore_detector,
    restore_variants,
)
from conceptnet_ml.concepts.scores import open_shares
from conceptnet_ml.config.settings import ConceptSettings
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_plugins.specializers import attention


@pytest.fixture
def maps() -> Tensor:
    return 1 + torch.randn(6, 5, 3, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def detector() -> Detector:
    torch.manual_seed(1)
    return Detector(torch.rand(5), 0.5 + torch.rand(5)).requires_grad_(False)


def test_a_detector_reads_normalised_units() -> None:
    made = Detector(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 0.5])).requires_grad_(False)
    made.weight.weight.copy_(torch.tensor([3.0, -1.0]).view(1, 2, 1, 1))
    made.weight.bias.fill_(0.25)  # type: ignore[union-attr]
    units = torch.tensor([5.0, 3.0]).view(1, 2, 1, 1)
    assert made(units).item() == pytest.approx(3 * (5 - 1) / 2 - (3 - 2) / 0.5 + 0.25)


def test_variants_read_where_the_detector_looks() -> None:
    made = Variants(torch.zeros(2), torch.ones(2), 3, temperature=0.5)
    units = torch.tensor([[1.0, 5.0], [2.0, 7.0]]).view(1, 2, 1, 2)
    assert made.read(units, torch.tensor([9.0, -9.0]).view(1, 1, 1, 2)).flatten().tolist() == pytest.approx([1.0, 2.0])
    assert made.read(units, torch.zeros(1, 1, 1, 2)).flatten().tolist() == pytest.approx([3.0, 4.5])
    share = torch.tensor(1.0 / 0.5).sigmoid().item()  # softmax of two logits one apart, at temperature one half
    leaning = made.read(units, torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)).flatten().tolist()
    assert leaning == pytest.approx([1 + 4 * share, 2 + 5 * share])
    assert made(units, torch.zeros(1, 1, 1, 2)).shape == (1, 3)


def test_a_detector_comes_back_from_its_state(detector: Detector, maps: Tensor) -> None:
    assert torch.equal(restore_detector(detector.state_dict())(maps), detector(maps))


def test_variants_come_back_from_their_state(detector: Detector, maps: Tensor) -> None:
    torch.manual_seed(2)
    made = Variants(torch.rand(5), 0.5 + torch.rand(5), 4, temperature=0.3)
    restored = restore_variants(made.state_dict())
    assert torch.equal(restored(maps, detector(maps)), made(maps, detector(maps)))
    assert float(restored.temperature) == pytest.approx(0.3)


@pytest.mark.parametrize("count", [2, 3, 10])
@pytest.mark.parametrize("temperature", [0.25, 1.0])
def test_the_split_is_exact_before_it_learns(
    count: int, temperature: float, detector: Detector, maps: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "STEPS", 0)
    settings = ConceptSettings(temperature=temperature)
    parents = torch.arange(6) % count
    variants = attention.split(SplitEvidence(detector, maps, parents, count, 0, settings))
    looks = detector(maps)
    answers = variants(maps, looks)
    attended = ((looks.flatten(1) / temperature).softmax(1) * looks.flatten(1)).sum(1)
    torch.testing.assert_close(answers.sum(1), attended)
    # Unequal shares: were all copies the same, they would get the same gradients.
    assert answers.std(1).min() > 0
    assert len(variants.weight.weight[:, 0].unique()) == count


def test_a_split_that_learned_tells_the_parents(detector: Detector, maps: Tensor) -> None:
    parents = torch.arange(6) % 2
    maps = maps.clone()
    maps[parents == 1, 2] += 3
    variants = attention.split(SplitEvidence(detector, maps, parents, 2, 0, ConceptSettings()))
    assert torch.equal(variants(maps, detector(maps)).argmax(1), parents)


def staged() -> StagedNetwork:
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3, 2, 1), nn.BatchNorm2d(5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2)
    )
    return StagedNetwork(model, (12, 12), stages=["2"]).eval().requires_grad_(False)


def family(network: StagedNetwork, detector: Detector) -> Family:
    torch.manual_seed(4)
    return Family(Trunk(network, "2"), detector, Variants(torch.rand(5), torch.ones(5), 2, 1.0)).requires_grad_(False)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(5))


def test_a_family_is_its_parts_in_a_row(detector: Detector, images: Tensor) -> None:
    network = staged()
    one = family(network, detector)
    units = network.run_until(images, "2")
    assert torch.equal(Trunk(network, "2")(images), units)
    torch.testing.assert_close(one(images), one.variants(units, detector(units)))


class Refuses(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise AssertionError("a family with no weight was asked")


def test_without_weights_the_model_is_the_network_and_asks_no_family(detector: Detector, images: Tensor) -> None:
    network = staged()
    refusing = Family(Refuses(), detector, nn.Identity())
    model = GeneralizedModel(network, {"block3.1": refusing}).eval()
    assert torch.equal(model(images), network(images))
    assert torch.equal(GeneralizedModel(network).eval()(images), network(images))


def test_weights_add_the_families_answers(detector: Detector, images: Tensor) -> None:
    network = staged()
    one, other = family(network, detector), family(network, detector)
    other.variants.weight.weight.neg_()  # type: ignore[union-attr, operator]
    model = GeneralizedModel(network, {"block3.1": one, "block3.2": other}).eval()
    model.alpha[0] = 0.5
    torch.testing.assert_close(model(images), network(images) + 0.5 * one(images))
    model.alpha[1] = -2.0
    torch.testing.assert_close(model(images), network(images) + 0.5 * one(images) - 2 * other(images))
    assert [name for name, _ in model.named_families()] == ["block3.1", "block3.2"]
    assert "alpha" in model.state_dict()


def test_pooled_gates_are_the_open_share_of_each_cell() -> None:
    gates = torch.zeros(1, 1, 4, 4)
    gates[..., 0, 0] = gates[..., 2:, 2:] = 1
    assert open_shares(gates, (2, 2)).flatten().tolist() == [0.25, 0.0, 0.0, 1.0]
    assert open_shares(gates.bool(), (1, 1)).item() == pytest.approx(5 / 16)
