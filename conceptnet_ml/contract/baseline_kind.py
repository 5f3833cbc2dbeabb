"""What baselines promise: they train, repeat themselves by the seed, and go on where they were stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.config.settings import DataSettings, Settings, TrainingSettings
from conceptnet_ml.contract.trial import Trial, soft_images
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.errors import Interrupted
from conceptnet_ml.evaluation.baselines import BaselineContext, train_baselines
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.records import Record
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import Learned
from conceptnet_ml.storage.run_folder import Run

Weights = dict[str, Tensor]


def small_context(folder: Path, plugins: Plugins, seed: int = 0, side: int = 16) -> Context:
    """A workbench over soft pictures, brighter in class 1, with a world of other labels."""
    labels = torch.arange(64) % 2
    whole = ImageSet(((soft_images(64, side, side) + 0.1 * labels[:, None, None, None]) * 255).to(torch.uint8), labels)
    worlds = {"unbiased": lambda: whole.with_labels(1 - labels)}
    data = Data("soft", ("dark", "bright"), whole, {"test": whole}, worlds=worlds)
    training = TrainingSettings(epochs=2, batch=16, least_steps=12, precision="fp32")
    settings = Settings(device="cpu", seed=seed, training=training, data=DataSettings(holdout=0.25))
    run = Run.create(folder / f"run-{seed}", settings.model_dump(mode="json"), {}, {}, "0")
    return Context(settings, plugins, data, run, Progress(quiet=True), Stopper(), torch.device("cpu"), None)


def trained_weights(ctx: Context, record: Record) -> dict[str, Tensor]:
    """The weights a baseline ends with, after ordinary training of no epochs and one epoch of equal compute."""
    fresh = ctx.network()
    learned = Learned(fresh, fresh, epochs=1)
    return train_baselines(ctx, learned, [record.name])[record.name].state_dict()


def check_baseline(trial: Trial) -> None:
    """:func:`check_training`, :func:`check_stops`, and :func:`check_views` of what has views. Cost: it is trained five
    times, of two epochs on 64 images."""
    weights = trained_weights(small_context(trial.folder / "whole", trial.plugins), trial.record)
    check_training(trial, weights)
    check_stops(trial, weights)
    if "views" in trial.record.functions():
        check_views(trial)


def check_training(trial: Trial, weights: Weights) -> None:
    """Finite weights of the ordinary network's shapes, other than before, the same again, others with another seed.

    Args:
        weights: What it ended with in one go.
    """
    record, folder, plugins = trial.record, trial.folder, trial.plugins
    before = small_context(folder / "before", plugins).network().state_dict()
    assert {name: value.shape for name, value in weights.items()} == {name: v.shape for name, v in before.items()}
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert any(not torch.equal(weights[name], before[name]) for name in weights)
    again = trained_weights(small_context(folder / "again", plugins), record)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    other = trained_weights(small_context(folder / "other", plugins, seed=1), record)
    assert any(not torch.equal(weights[name], other[name]) for name in weights)


def check_stops(trial: Trial, whole: Weights) -> int:
    """Stopped again and again it ends with the weights it ends with in one go; returns how often it was stopped."""
    record = trial.record
    ctx = small_context(trial.folder / "stopped", trial.plugins)
    stops = 0
    while True:
        ctx.stopper = Patience(2 + stops)  # what is read back asks, too
        try:
            found = trained_weights(ctx, record)
            break
        except Interrupted:
            stops += 1
            assert stops < 60
    assert all(torch.equal(whole[name], found[name]) for name in whole)
    return stops


def check_views(trial: Trial) -> None:
    """Floats in [0, 1] with their labels, the same from the same generator."""
    record: Any = trial.record
    ctx = small_context(trial.folder, trial.plugins)
    make = record.function("views")(BaselineContext(ctx, record, ctx.network(), 1))
    indices = torch.arange(16)
    found, told = make(indices, torch.Generator().manual_seed(0))
    assert found.shape == (16, 3, 16, 16)
    assert found.dtype == torch.float32
    assert 0 <= found.min() <= found.max() <= 1
    assert torch.equal(told, ctx.labels[ctx.fit[:16]])
    again, _ = make(indices, torch.Generator().manual_seed(0))
    assert torch.equal(again, found)


class Patience(Stopper):
    """Asks to stop when it has been asked so many times whether to."""

    def __init__(self, patience: int) -> None:
        super().__init__()
        self.patience = patience

    @property
    def requested(self) -> bool:
        self.patience -= 1
        return self.patience < 0
