"""An ordinary network falls for every trap, on drawn signs that take longer to learn than the cue."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from image_views import ImageViews
from planted import CPU, PLUGINS, QUICK, accuracy
from torch import nn

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.load import load_data
from conceptnet_ml.network.build import build_network
from conceptnet_ml.network.training import TrainingJob, train

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]


def signs(trap: str, seed: int, classes: int = 2, per_class: int = 120) -> tuple[Data, Settings]:
    """Faint drawn signs with a trap."""
    source = {"source": f"glyphs:{classes}:faint", "trap": trap, "train_limit": per_class}
    network = QUICK if trap in ("tint", "coloured") else {}  # a small cue is seen too late by the smaller network
    chosen = {"seed": seed, "data": source, "network": network, "training": {"batch": 64, "flip": False}}
    settings = Settings.model_validate(chosen)
    return load_data(settings, PLUGINS), settings


def trained(data: Data, settings: Settings, epochs: int) -> nn.Module:
    torch.manual_seed(settings.seed)
    network = build_network(settings, data.classes, (data.shape[1], data.shape[2]), PLUGINS)
    job = TrainingJob(len(data.train), epochs, 0.1, settings.seed, CPU, settings=settings.training)
    train(network, ImageViews(data.train, CPU), job)
    return network


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("trap", ["tint", "sticker", "coloured", "dominoes"])
def test_an_ordinary_network_falls_for_it(trap: str, seed: int) -> None:
    data, settings = signs(trap, seed)
    network = trained(data, settings, 8)
    found = accuracy(network, data)
    assert found["aligned"] > 0.95
    assert found["conflict"] < 0.15
    assert found["random"] == pytest.approx(0.5, abs=0.15)
    assert found["absent"] < 0.8
    # The world turned round: the network knows the cue well.
    turned = {name: data.worlds[name]() for name in ("turned train", "turned test")}
    worlds = accuracy(network, replace(data, tests={**turned, "unbiased": data.worlds["unbiased"]()}))
    assert min(worlds["turned train"], worlds["turned test"]) > 0.9
    assert worlds["unbiased"] == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("trap", ["sticker", "coloured"])
def test_ten_classes(trap: str, seed: int) -> None:
    data, settings = signs(trap, seed, classes=10, per_class=60)
    found = accuracy(trained(data, settings, 8), data)
    assert found["aligned"] > 0.9
    assert found["conflict"] < 0.1
    assert found["random"] < 0.3


@pytest.mark.slow
def test_the_signs_themselves_can_be_learned() -> None:
    data, settings = signs("none", 0, classes=10, per_class=400)
    assert accuracy(trained(data, settings, 12), data)["test"] > 0.9
