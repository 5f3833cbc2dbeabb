"""Running statistics: estimated from images, and put right after a training too short to have settled them."""

from __future__ import annotations

import copy

import pytest
import torch
from image_views import ImageViews
from torch import Tensor, nn

from conceptnet_ml.config.settings import TrainingSettings
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.network.batch_norms import estimate_batch_norms, settle_batch_norms
from conceptnet_ml.network.training import TrainingJob, predict_set, train

CPU = torch.device("cpu")
IMAGES = 90


def images() -> ImageSet:
    """Noise, brighter in class 1."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(IMAGES) % 2
    pixels = torch.randint(60, 120, (IMAGES, 3, 12, 12), generator=draw) + 40 * labels[:, None, None, None]
    return ImageSet(pixels.to(torch.uint8), labels)


VIEWS = ImageViews(images(), CPU)


def trained(momentum: float | None, epochs: int) -> tuple[nn.Sequential, TrainingJob]:
    """A small network and its training, of five steps an epoch."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs in (3, 8, 8):
        layers += [nn.Conv2d(inputs, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8, momentum=momentum), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    settings = TrainingSettings(batch=16, precision="fp32")
    job = TrainingJob(IMAGES, epochs, 0.05, 7, CPU, settings=settings)
    train(network, VIEWS, job)
    return network, job


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def accuracy(network: nn.Module) -> float:
    return float((predict_set(network, images(), CPU, None).argmax(1) == images().labels).double().mean())


def test_a_trained_network_of_slow_statistics_is_at_chance_until_they_are_settled() -> None:
    network, job = trained(0.01, 12)
    assert accuracy(network) == 0.5
    before = state(network)
    assert settle_batch_norms(network, VIEWS, job)
    assert accuracy(network) > 0.95
    assert not any(part.training for part in network.modules())
    after = state(network)
    changed = {name.rpartition(".")[2] for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}
    settle_batch_norms(network, VIEWS, job)
    assert all(torch.equal(value, after[name]) for name, value in state(network).items()), "the same every time"


@pytest.mark.parametrize(
    ("momentum", "epochs", "short"),
    [(0.1, 8, True), (0.1, 9, False), (0.01, 91, True), (0.01, 92, False), (None, 1, False)],
)
def test_statistics_that_are_settled_stay_the_same_to_the_bit(momentum: float | None, epochs: int, short: bool) -> None:
    """0.9⁴⁰ = 0.015 and 0.9⁴⁵ = 0.009; 0.99⁴⁵⁵ = 0.0103 and 0.99⁴⁶⁰ = 0.0098. A cumulative average has no memory."""
    network, job = trained(momentum, 1)
    job.epochs = epochs
    before = state(network)
    assert settle_batch_norms(network, VIEWS, job) is short
    assert all(torch.equal(value, before[name]) for name, value in state(network).items()) is not short


def test_batch_norms_that_are_kept_in_evaluation_mode_are_left_alone() -> None:
    class Frozen(nn.Sequential):
        def train(self, mode: bool = True) -> Frozen:
            super().train(mode)
            self[1].eval()
            return self

    plain, job = trained(0.01, 1)
    network = Frozen(*copy.deepcopy(plain))
    before = state(network)
    assert settle_batch_norms(network, VIEWS, job)
    assert {name for name, value in state(network).items() if not torch.equal(value, before[name])} == {
        f"{place}.{what}" for place in (4, 7) for what in ("running_mean", "running_var", "num_batches_tracked")
    }


def test_an_estimate_is_the_mean_over_the_batches() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1), nn.BatchNorm2d(1))
    first, second = torch.tensor([0.0, 2.0]).view(2, 1, 1, 1), torch.tensor([4.0, 4.0]).view(2, 1, 1, 1)
    assert list(estimate_batch_norms(network, [first, second], only=["0"])) == ["0"]
    assert (float(network[0].running_mean), float(network[0].running_var)) == (2.5, 1.0)
    assert (float(network[1].running_mean), float(network[1].running_var)) == (0.0, 1.0)
    assert network[0].momentum == 0.1
