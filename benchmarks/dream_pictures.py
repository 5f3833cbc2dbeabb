"""Are dreams what was asked for? The last part of ``benchmarks/dreams.py``; by itself it trains one network.

    python benchmarks/dream_pictures.py FOLDER SEED OUT.pt

Two networks a seed are trained on the same pictures from different seeds: pictures of classes are dreamed from noise in
the first, and the second, the witness, is asked what it sees.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from conceptnet_ml import runtime
from conceptnet_ml.data import load_data
from conceptnet_ml.network import StagedNetwork, build_network
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.settings import Settings
from conceptnet_ml.training import Job, Plain, predict_set, train

DEVICE = torch.device("cpu")
MOST = 1000
"""Training images per class; the photographs have as many or a few more."""
WITNESS = 1000
"""Added to a seed, the witness's."""


def settings_of(folder: str, seed: int) -> Settings:
    """The package's defaults on a folder of pictures."""
    return Settings.model_validate({"seed": seed, "data": {"source": f"folder:{folder}", "train_limit": MOST}})


def trained(folder: str, seed: int, path: Path) -> tuple[StagedNetwork, float]:
    """The default network after ordinary training, kept in ``path``, and its test accuracy in per cent."""
    settings, plugins = settings_of(folder, seed), load_plugins()
    data = load_data(settings, plugins)
    network = build_network(settings, data.classes, data.shape[1:], plugins)
    dtype = runtime.choose_precision("auto", DEVICE)
    if path.exists():
        kept = torch.load(path)
        network.load_state_dict(kept["network"])
        return network.eval(), kept["accuracy"]
    job = Job(len(data.train), settings.training.epochs, settings.training.rate, seed, DEVICE, dtype)
    train(network, Plain(data.train, DEVICE), job)
    test = data.tests["test"]
    accuracy = 100 * float((predict_set(network, test, DEVICE, dtype).argmax(1) == test.labels).float().mean())
    torch.save({"network": network.state_dict(), "accuracy": accuracy}, path)
    return network.eval(), accuracy


def trained_weights(folder: str, seed: int, out: Path) -> str:
    """Path of the weights of the small network, trained in a process of its own: memory that this one touches would
    count as its children's."""
    path = out / f"pictures-{seed}.pt"
    if not path.exists():
        subprocess.run([sys.executable, __file__, folder, str(seed), str(path)], check=True)
    return str(path)


def show_pictures(pictures: str | None, cifar: str | None, seeds: int, out: Path) -> None:
    pass


if __name__ == "__main__":
    runtime.setup_threads()
    print(trained(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))[1])
