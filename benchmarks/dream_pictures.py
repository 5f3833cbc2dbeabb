"""Are dreams what was asked for? The last part of ``benchmarks/dreams.py``; by itself it trains one network.

    python benchmarks/dream_pictures.py FOLDER SEED OUT.pt

Two networks a seed are trained on the same pictures from different seeds: pictures of classes are dreamed from noise in
the first, and the second, the witness, is asked what it sees.
"""

from __future__ import annotations

import functools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from image_views import ImageViews
from torch import Tensor

from conceptnet_ml import DreamRequest, Objective, RenderSettings, ZoomSettings, dream, zoom
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.data.load import load_data
from conceptnet_ml.network.build import build_network
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import TrainingJob, predict_set, train
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.runtime import devices

DEVICE = torch.device("cpu")
MOST = 1000
"""Training images per class; the photographs have as many or a few more."""
WITNESS = 1000
"""Added to a seed, the witness's."""
RECIPES = ("fourier", "maco", "pixels", "natural")
EACH = 10
"""Pictures of each class."""
FRAMES = 100


def settings_of(folder: str, seed: int) -> Settings:
    """The package's defaults on a folder of pictures."""
    return Settings.model_validate({"seed": seed, "data": {"source": f"folder:{folder}", "train_limit": MOST}})


def trained(folder: str, seed: int, path: Path) -> tuple[StagedNetwork, float]:
    """The default network after ordinary training, kept in ``path``, and its test accuracy in per cent."""
    settings, plugins = settings_of(folder, seed), load_plugins()
    data = load_data(settings, plugins)
    network = build_network(settings, data.classes, data.shape[1:], plugins)
    dtype = devices.choose_precision("auto", DEVICE)
    if path.exists():
        kept = torch.load(path)
        network.load_state_dict(kept["network"])
        return network.eval(), kept["accuracy"]
    job = TrainingJob(len(data.train), settings.training.epochs, settings.training.rate, seed, DEVICE, dtype)
    train(network, ImageViews(data.train, DEVICE), job)
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


def measured(folder: str, seed: int, name: str, out: Path) -> dict[str, Any]:
    """Class pictures of one network from noise by every recipe: what it, and its witness, take them for."""
    network, accuracy = trained(folder, seed, out / f"{name}-{seed}.pt")
    witness, its = trained(folder, seed + WITNESS, out / f"{name}-{seed + WITNESS}.pt")
    plugins = load_plugins()
    data = load_data(settings_of(folder, seed), plugins)
    found: dict[str, Any] = {"accuracy": accuracy, "witness": its, "classes": data.classes, "recipes": {}}
    labels = torch.arange(len(data.classes)).repeat_interleave(EACH)
    requests = [DreamRequest(Objective.logit(label, data.classes[label]), n) for n, label in enumerate(labels.tolist())]
    for recipe in RECIPES:
        began = time.monotonic()
        made = dream(network, requests, plugins.get("dreamer", recipe).function("recipe")(data.train.images[:2048]))
        seconds = time.monotonic() - began
        images = torch.stack([one.image for one in made])
        pictured = ImageSet(images, labels)
        seen = {who: predict_set(net, pictured, DEVICE, None) for who, net in (("own", network), ("witness", witness))}
        found["recipes"][recipe] = {
            **{who: float((logits.argmax(1) == labels).float().mean()) for who, logits in seen.items()},
            "rose": sum(one.rose for one in made) / len(made),
            "seconds": seconds / len(made),
            "steps": sum(one.steps for one in made) / len(made),
        }
    found["units"] = risen(network, seed)
    return found


def zoomed(folder: str, seed: int, name: str, out: Path) -> dict[str, Any]:
    """The zoom loop from photographs at an early and the last stage: how the last frame correlates with the first, as
    it is and without each channel's mean, which the loop holds; beside it photographs with each other."""
    network, _ = trained(folder, seed, out / f"{name}-{seed}.pt")
    test = load_data(settings_of(folder, seed), load_plugins()).tests["test"]
    photographs = [test.images[n] for n in range(seed, len(test), len(test) // 3)][:3]
    pairs = [(test.images[n], test.images[-1 - n]) for n in range(0, len(test) // 2, 7)]
    found: dict[str, Any] = {"raw": [], "plain": [], "photographs": [correlation(*pair) for pair in pairs]}
    found["photographs, plain"] = [centred(*pair) for pair in pairs]
    for stage in (network.stage_names[1], network.stage_names[-1]):
        for number, photograph in enumerate(photographs):
            frames = list(
                zoom(
                    network,
                    Objective.layer(stage),
                    photograph,
                    ZoomSettings(FRAMES),
                    settings=RenderSettings(seed=number),
                )
            )
            found["raw"].append(correlation(frames[0].image, frames[-1].image))
            found["plain"].append(centred(frames[0].image, frames[-1].image))
    return found


def correlation(first: Tensor, last: Tensor) -> float:
    """Pearson's correlation of two pictures, uint8 (C, H, W) each; 0 where one of them is flat."""
    one, other = (image.float().flatten() - image.float().mean() for image in (first, last))
    length = float(one.norm() * other.norm())
    return float(one @ other) / length if length else 0.0


def centred(first: Tensor, last: Tensor) -> float:
    """Correlation without each channel's mean."""
    one, other = (image.float() - image.float().mean((1, 2), keepdim=True) for image in (first, last))
    return float((one * other).sum() / (one.norm() * other.norm()).clamp_min(1e-9))


def kept(path: Path, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What ``work`` finds, or found before."""
    if not path.exists():
        path.write_text(json.dumps(work(), indent=1))
    return json.loads(path.read_text())


def risen(network: StagedNetwork, seed: int) -> list[int]:
    """Units of every stage, dreamed by the default recipe from noise: how many rose, are known to have no slope, and
    all."""
    places = [(stage.name, unit) for stage in network.stages for unit in range(stage.units)]
    made = [
        one
        for name in network.stage_names
        for one in dream(
            network, [DreamRequest(Objective.unit(stage, unit), seed) for stage, unit in places if stage == name]
        )
    ]
    return [sum(one.rose for one in made), sum(one.outcome == "no gradient" for one in made), len(made)]


def show_pictures(pictures: str | None, cifar: str | None, seeds: int, out: Path) -> None:
    """Measure, or read, and print."""
    print("\n### Class pictures from noise, and what an independently trained network sees\n")
    print(
        "| pictures | accuracy: dreamed, witness | recipe | taken for its class by the witness, per seed | by itself "
        "| rose | steps | s a dream |\n" + "| --- " * 8 + "|"
    )
    rest = []
    for name, folder in (("pictures", pictures), ("cifar", cifar)):
        if not folder:
            continue
        rows = [
            kept(out / f"recognised-{name}-{seed}.json", functools.partial(measured, folder, seed, name, out))
            for seed in range(seeds)
        ]
        zooms = [
            kept(out / f"zoom-{name}-{seed}.json", functools.partial(zoomed, folder, seed, name, out))
            for seed in range(seeds)
        ]
        scores = ", ".join(f"{row['accuracy']:.0f} / {row['witness']:.0f}" for row in rows)
        for recipe in RECIPES:
            cells = [
                [row["recipes"][recipe][key] for row in rows] for key in ("witness", "own", "rose", "steps", "seconds")
            ]
            told = [", ".join(f"{100 * value:.0f}" for value in cells[0])]
            told += [f"{100 * statistics.fmean(values):.0f}" for values in cells[1:3]]
            told += [f"{statistics.fmean(cells[3]):.0f}", f"{statistics.fmean(cells[4]):.2f}"]
            print(f"| {name}, {len(rows[0]['classes'])} classes | {scores} | {recipe} | " + " | ".join(told) + " |")
        units = ", ".join("{} rose, {} without slope of {}".format(*row["units"]) for row in rows)
        sizes = {key: [abs(value) for row in zooms for value in row[key]] for key in zooms[0]}
        size = {key: f"{statistics.fmean(values):.2f}" for key, values in sizes.items()}
        signed = [value for row in zooms for value in row["raw"]]
        below, within = (sum(value < 0.1 for value in values) for values in (signed, sizes["raw"]))
        rest += [
            f"- {name}: frame {FRAMES} of the zoom loop and the first, {below} of {len(signed)} correlations below .1, "
            f"{within} within ±.1, mean {statistics.fmean(signed):.2f}; "
            f"mean size {size['raw']}, without the channels' means {size['plain']}; two photographs: "
            f"{size['photographs']}, {size['photographs, plain']}.",
            f"- {name}: units of all stages, default recipe: {units}.",
        ]
    print("\n" + "\n".join(rest))


if __name__ == "__main__":
    devices.setup_threads()
    print(trained(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))[1])
