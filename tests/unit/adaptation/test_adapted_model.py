"""Adapting: the evidence by hand and by quadrature, the last layer of any network, worlds with a planted cue."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conceptnet_ml.adaptation import model_averaging
from conceptnet_ml.adaptation.adapted_model import AdaptedModel, adapt, last_linear, model_outputs
from conceptnet_ml.adaptation.curves import curve, draw_shots
from conceptnet_ml.adaptation.model_averaging import ModelOutputs, average_models, crossfit
from conceptnet_ml.concepts.model import Detector, Family, GeneralizedModel, Trunk, Variants
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.errors import DataError
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import predict_set

CPU = torch.device("cpu")


def painted(red: Tensor, blue: Tensor, seed: int = 0, labels: Tensor | None = None) -> ImageSet:
    """Noise around red that says one thing and blue that says another: 1 bright, 0 dark."""
    noise = np.random.default_rng(seed).normal(0, 25, (len(red), 3, 8, 8))
    middle = torch.stack([90 + 70 * red, torch.full_like(red, 128), 90 + 70 * blue], 1)[:, :, None, None].numpy()
    pixels = torch.from_numpy(np.clip(middle + noise, 0, 255).astype(np.uint8))
    return ImageSet(pixels, red if labels is None else labels)


def random_cues(count: int, seed: int, turned: bool = False) -> ImageSet:
    """Class by red, a random cue by blue; turned round, the cue is the label."""
    draws = torch.from_numpy(np.random.default_rng(seed).integers(0, 2, (2, count)))
    return painted(draws[0], draws[1], seed, draws[1] if turned else None)


def plain(bias: bool = True) -> StagedNetwork:
    """Reads the mean of red: class 1 if it is bright."""
    torch.manual_seed(0)
    layers = OrderedDict(block=nn.Conv2d(3, 3, 1), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(3, 2))
    network = StagedNetwork(nn.Sequential(layers), (8, 8), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    with torch.no_grad():
        network.model.block.weight.copy_(torch.eye(3)[:, :, None, None])  # type: ignore[union-attr]
        network.model.block.bias.zero_()  # type: ignore[union-attr]
        network.model.fc.weight.copy_(torch.tensor([[-3.0, 0, 0], [3.0, 0, 0]]))  # type: ignore[union-attr]
        network.model.fc.bias.zero_()  # type: ignore[union-attr]
    if not bias:
        network.model.fc.bias = None  # type: ignore[union-attr]
    return network.eval()


@pytest.fixture
def model() -> GeneralizedModel:
    """The network reads the class and not blue; a family reads the cue, five times as loud, its threshold off."""
    network, before = plain(), plain()
    with torch.no_grad():
        network.model.block.weight[2].zero_()  # type: ignore[union-attr]
    detector = Detector(torch.zeros(3), torch.ones(3)).requires_grad_(False)
    detector.weight.weight.zero_()
    variants = Variants(torch.zeros(3), torch.ones(3), 2, 1.0).requires_grad_(False)
    variants.weight.weight.copy_(torch.tensor([[0, 0, -15.0], [0, 0, 15.0]]))
    variants.weight.bias.copy_(torch.tensor([6.0, -6.0]))
    family = Family(Trunk(before, before.stage_names[-1]), detector, variants)
    return GeneralizedModel(network, {"blue.1": family}).eval()


def accuracy(model: nn.Module, images: ImageSet) -> float:
    return float((predict_set(model, images, CPU, None).argmax(1) == images.labels).double().mean())


# ------------------------------------------------------------------------------------------------------ evidence


def test_the_evidence_of_the_network_alone_is_the_integral() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    logits = torch.tensor([[1.0, -1.0], [0.4, -0.4], [-0.8, 0.8], [0.2, -0.2]], dtype=torch.float64)
    margin = model_averaging._margin(logits.numpy())
    assert margin == pytest.approx((2 + 0.8 + 1.6 + 0.4) / 4)
    outputs = ModelOutputs(logits, torch.zeros(4, 0, 2).double(), torch.zeros(4, 0).double())
    problem = model_averaging._Problem.of(outputs, labels)
    found = problem.solve(model_averaging._Hypothesis("kept", (0,), False, None, 1.0))
    grid = np.linspace(-15, 25, 40001)
    right = np.array([0.5, 0.2, 0.4, -0.1])[:, None] * 2 * 2 / margin * grid
    prior = (
        np.exp(-0.5 * ((grid - model_averaging.MARGIN) / model_averaging.SPREAD) ** 2)
        / model_averaging.SPREAD
        / np.sqrt(2 * np.pi)
    )
    integral = np.log((np.exp(-np.log1p(np.exp(-right)).sum(0)) * prior).sum() * (grid[1] - grid[0]))
    assert found.evidence == pytest.approx(integral, abs=0.05)


def test_the_layers_curvature_is_exact_for_two_classes() -> None:
    generator = np.random.default_rng(0)
    features, chances = generator.normal(size=(12, 4)), generator.uniform(0.1, 0.9, (12, 1))
    shares = np.concatenate([chances, 1 - chances], 1)
    dense = 0.3 * np.eye(8)
    for row, share in zip(features, shares, strict=True):
        dense += np.kron(np.outer(row, row), np.diag(share) - np.outer(share, share))
    assert model_averaging._layer_curvature(features, shares, 0.3) == pytest.approx(np.linalg.slogdet(dense)[1])


@pytest.mark.parametrize("experts", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("layer", [False, True])
def test_the_priors_sum_to_one(experts: int, layer: bool) -> None:
    listed = list(model_averaging._hypotheses(experts, layer))
    assert sum(one.prior for one in listed) == pytest.approx(1)
    assert len({(one.experts, one.biased, one.ridge) for one in listed}) == len(listed)


def test_reduced_features_give_the_same_layer() -> None:
    features = np.random.default_rng(1).normal(size=(6, 9)) + 3
    turned, back, mean = model_averaging._reduced(features)
    assert turned.shape == (6, 6)
    assert (turned**2).sum(1).mean() == pytest.approx(1)
    np.testing.assert_allclose((features - mean) @ back, turned, atol=1e-12)


def test_weights_do_not_depend_on_the_examples_order() -> None:
    generator = torch.Generator().manual_seed(0)
    answers = ModelOutputs(
        *(torch.randn(*shape, generator=generator).double() for shape in ((16, 3), (16, 2, 3), (16, 5)))
    )
    labels = torch.arange(16) % 3
    order = torch.randperm(16, generator=generator)
    one, other = average_models(answers, labels), average_models(answers.take(order), labels[order])
    torch.testing.assert_close(one.logits(answers), other.logits(answers), atol=2e-2, rtol=1e-2)
    assert sum(one.beliefs.values()) == pytest.approx(1)


def test_crossfit_gives_up_a_network_that_is_wrong() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    signs = (2.0 * labels - 1).double()
    features = torch.randn(400, 4, generator=generator).double()
    features[:, 2] += 2 * signs  # the network does not read it
    features[:, 0] = 5 * (2.0 * torch.randint(0, 2, (400,), generator=generator) - 1).double()  # a cue, now at random
    answers = ModelOutputs(torch.stack([-features[:, 0], features[:, 0]], 1), features[:, None, :2], features)
    chosen, rest = torch.arange(32), torch.arange(32, 400)
    found = crossfit(answers.take(chosen), labels[chosen])
    right = found.logits(answers.take(rest)).argmax(1) == labels[rest]
    assert float(right.double().mean()) > 0.9
    assert found.alpha.tolist() == [0]
    assert found.beliefs["refitted"] == 1
    one = crossfit(answers.take(torch.arange(2)), labels[:2])
    assert torch.isfinite(one.layer).all()
    assert one.alpha.tolist() == [0]


def test_crossfit_keeps_a_network_that_is_right() -> None:
    labels = torch.arange(16) % 2
    features = torch.randn(16, 30, generator=torch.Generator().manual_seed(1)).double()
    answers = ModelOutputs(torch.eye(2).double()[labels] * 8, torch.zeros(16, 0, 2).double(), features)
    assert crossfit(answers, labels).beliefs["kept"] == 1


# --------------------------------------------------------------------------------------------------- the last layer


class Odd(nn.Module):
    """No last linear layer: a 1×1 convolution, or a log-softmax after the linear one."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv = nn.Conv2d(3, 2, 1)
        self.fc = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        if self.kind == "convolution":
            return self.conv(images).mean((2, 3))
        logits = self.fc(images.mean((2, 3)))
        return logits.log_softmax(1) if self.kind == "log-softmax" else logits


def test_the_last_linear_layer_is_found() -> None:
    images = random_cues(4, 0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(3), nn.Linear(3, 5), nn.GELU())
    timm_like = nn.Sequential(OrderedDict(stem=nn.Conv2d(3, 3, 1), head=nn.Sequential(*head, nn.Linear(5, 2))))
    assert last_linear(plain(), images, CPU) == "model.fc"
    assert last_linear(timm_like, images, CPU) == "head.5"
    assert last_linear(Odd("linear"), images, CPU) == "fc"
    assert last_linear(Odd("convolution"), images, CPU) is None
    assert last_linear(Odd("log-softmax"), images, CPU) is None


@pytest.mark.slow
def test_the_last_linear_layer_of_a_resnet_is_found() -> None:
    from torchvision.models import resnet18

    assert last_linear(resnet18(num_classes=2), painted(torch.arange(2), torch.arange(2)), CPU) == "fc"


@pytest.mark.parametrize("network", [plain(), plain(bias=False), Odd("convolution"), Odd("linear")])
def test_the_adapted_network_answers_as_it_was_fitted(network: nn.Module) -> None:
    examples, others = random_cues(12, 1, turned=True), random_cues(6, 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    layer = last_linear(network, examples, CPU)
    expected = average_models(model_outputs(network, examples, CPU, None, layer), examples.labels)
    adapted = adapt(network, examples)
    wanted = expected.logits(model_outputs(network, others, CPU, None, layer))
    torch.testing.assert_close(predict_set(adapted, others, CPU, None).double(), wanted, atol=1e-4, rtol=1e-4)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    again = AdaptedModel(network, layer, adapted.fitted())
    assert torch.equal(predict_set(again, others, CPU, None), predict_set(adapted, others, CPU, None))
    assert bool(adapted.notes()) == (layer is None)


def test_adapting_goes_on_from_the_adapted_model(model: GeneralizedModel) -> None:
    turned, others = random_cues(32, 3, turned=True), random_cues(8, 4)
    first = adapt(model, turned)
    layer = last_linear(first, turned, CPU)
    expected = average_models(model_outputs(first, turned, CPU, None, layer), turned.labels).logits(
        model_outputs(first, others, CPU, None, layer)
    )
    second = adapt(first, turned)
    torch.testing.assert_close(predict_set(second, others, CPU, None).double(), expected, atol=1e-3, rtol=1e-3)


# ------------------------------------------------------------------------------------------------------------ worlds


def test_two_examples_leave_a_right_network_alone(model: GeneralizedModel) -> None:
    pool, test = random_cues(200, 5), random_cues(300, 6)
    before = accuracy(model, test)
    assert before > 0.97
    rows = curve(model, pool, {"random": test}, (0, 2), draws=10)
    assert rows[0]["test_sets"]["random"]["accuracy"] == pytest.approx(before)
    assert rows[1]["test_sets"]["random"]["accuracy"] > before - 0.02
    assert rows[1]["beliefs"]["kept"] > 0.5


def test_eight_examples_turn_to_the_family(model: GeneralizedModel) -> None:
    pool, test = random_cues(200, 7, turned=True), random_cues(300, 8, turned=True)
    assert accuracy(model, test) < 0.6
    (row,) = curve(model, pool, {"turned": test}, (8,), draws=10)
    assert row["test_sets"]["turned"]["lowest"] > 0.95
    assert row["beliefs"]["families"] > 0.95
    chosen = draw_shots(pool.labels, 8, 0)
    adapted = adapt(model, pool.subset(chosen))
    assert float(adapted.alpha[0]) > 0
    assert accuracy(adapted, test) > 0.95
    without = GeneralizedModel(model.network)
    (plainly,) = curve(without, pool, {"turned": test}, (2,), draws=10)
    assert plainly["beliefs"]["families"] == 0


def test_a_curve_is_the_same_twice_and_says_what_is_forgotten(model: GeneralizedModel) -> None:
    pool, test = random_cues(60, 9, turned=True), random_cues(60, 10, turned=True)
    reds = torch.arange(60) % 2
    tests = {"turned": test, "aligned": painted(reds, reds, 11)}
    rows = curve(model, pool, tests, (0, 4), draws=3, seed=5)
    assert rows == curve(model, pool, tests, (0, 4), draws=3, seed=5)
    assert rows[0]["forgotten"] == 0
    start, end = (row["test_sets"]["aligned"]["accuracy"] for row in rows)
    assert rows[1]["forgotten"] == pytest.approx(start - end)
    assert [row["draws"] for row in rows] == [1, 3]
    network = model.network
    assert curve(network, pool, tests, (4,), 3) == curve(network, pool, tests, (4,), 3, rule="crossfit")


def test_a_family_with_other_answers_than_classes_says_nothing(model: GeneralizedModel) -> None:
    variants = Variants(torch.zeros(3), torch.ones(3), 3, 1.0)
    family = Family(model.families[0].trunk, model.families[0].detector, variants)  # type: ignore[arg-type]
    odd = GeneralizedModel(model.network, {"three": family})
    adapted = adapt(odd, random_cues(8, 12))
    assert torch.isfinite(adapted.alpha).all()
    assert accuracy(odd, random_cues(50, 13)) > 0.9


# ------------------------------------------------------------------------------------------------------------- shots


def test_shots_are_nested_and_of_every_class() -> None:
    labels = torch.arange(30) % 3
    few, many = draw_shots(labels, 2, 0), draw_shots(labels, 5, 0)
    assert torch.bincount(labels[few]).tolist() == [2, 2, 2]
    assert set(few.tolist()) < set(many.tolist())
    assert not torch.equal(few, draw_shots(labels, 2, 0, draw=1))


def test_mistakes_are_named(model: GeneralizedModel) -> None:
    images = random_cues(10, 14)
    with pytest.raises(DataError, match="'car' has 1 in the pool"):
        draw_shots(torch.tensor([0, 1, 1]), 2, 0, classes=("car", "poodle"))
    with pytest.raises(DataError, match="100 examples per class"):
        curve(model, images, {"test": images}, (2, 100))
    with pytest.raises(DataError, match="no example"):
        adapt(model, images.subset(torch.arange(0)))
    with pytest.raises(DataError, match="label 2"):
        adapt(model, images.with_labels(torch.full((10,), 2)))
    with pytest.raises(DataError, match="no labels"):
        adapt(model, images.images)
