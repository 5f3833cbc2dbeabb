"""Two packages of others, run by their own code on the same pictures: SpuCo 2.0.3 and BNNR 0.8.0.

::

    python -m venv OUTSIDE && OUTSIDE/bin/pip install spuco==2.0.3 bnnr==0.8.0
    OUTSIDE/bin/python benchmarks/outside.py pictures DIGITS --mnist MNIST
    OUTSIDE/bin/python benchmarks/outside.py spuco --mnist MNIST --seed 0 --method erm --method spare
    OUTSIDE/bin/python benchmarks/outside.py bnnr DIGITS --preset icd --limit 2400
    python benchmarks/outside.py trap WHEELS PHOTOS wheels          # the one part that needs this package
    OUTSIDE/bin/python benchmarks/outside.py bnnr WHEELS --preset icd
    python cli.py learn --data folder:DIGITS --set data.groups=folders --backbone benchmarks.outside:lenet

MNIST: the folder that torchvision keeps it in. DIGITS and WHEELS: new folders that ``folder:`` reads; the test images
of DIGITS lie in test/CLASS/COLOUR. SpuCo keeps the epoch with the best worst group of its validation pictures, whose
colours are drawn at random and known: that tells it the cue. BNNR chooses by an eighth of the training pictures. Every
line that is printed is JSON; accuracies are percentages, seconds are the processor's.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

PAIRS = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
CHOSEN = {"lr": 1e-2, "weight_decay": 1e-4, "momentum": 0.9}
"""Of SpuCo's kept results on these digits (quickstart/scripts/spuco_mnist/spuco_mnist_spare.csv) and its script of
balanced groups there; batches of 32 and 20 epochs are, too."""
TUTORIAL = {"lr": 1e-3, "weight_decay": 1e-2, "momentum": 0.9}
"""Of its tutorial of SPARE on these digits, there for the first look of one epoch, too."""
METHODS = ("erm", "jtt", "spare", "spare, tutorial", "eiil", "balanced")


def lenet(num_classes: int) -> nn.Module:
    """SpuCo's LeNet for 28 × 28 px, with its last layer."""
    first = (nn.Conv2d(3, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
    second = (nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    head = (nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, num_classes))
    return nn.Sequential(*first, *second, *head)


def digits(root: Path, split: str) -> Any:
    """SpuCoMNIST as in its tutorials, by seed 0: in training colours that fit 99.5 %, else at random, all balanced."""
    import matplotlib
    from spuco.datasets import SpuCoMNIST, SpuriousFeatureDifficulty
    from spuco.utils import set_seed

    # matplotlib 3.9 dropped what SpuCo 2.0.3 looks colours up with.
    matplotlib.cm.get_cmap = matplotlib.colormaps.__getitem__
    set_seed(0)
    strength = {"spurious_correlation_strength": 0.995} if split == "train" else {}
    large = SpuriousFeatureDifficulty.MAGNITUDE_LARGE
    found = SpuCoMNIST(str(root), large, PAIRS, split=split, download=False, **strength)
    found.initialize()
    return found


def pictures(given: argparse.Namespace) -> None:
    """SpuCoMNIST's training and test pictures as PNG files."""
    from torchvision.utils import save_image

    for split in ("train", "test"):
        found = digits(given.mnist, split)
        for number, (image, label) in enumerate(found):
            inner = (f"colour {found.spurious[number]}",) if split == "test" else ()
            place = given.folder.joinpath(split, "".join(map(str, PAIRS[label])), *inner)
            place.mkdir(parents=True, exist_ok=True)
            save_image(image, place / f"{number:05d}.png")
        report(split=split, pictures=len(found))


def spuco(given: argparse.Namespace) -> None:
    """SpuCo's methods with its trainers and its LeNet; fp32."""
    from spuco.evaluate import Evaluator
    from spuco.utils import set_seed

    sets = {split: digits(given.mnist, split) for split in ("train", "val", "test")}
    whole = torch.utils.data.DataLoader
    for name in ("utils.trainer", "utils.misc", "evaluate.evaluator"):  # without four workers for every epoch and group
        module = importlib.import_module(f"spuco.{name}")
        module.DataLoader = lambda *images, **how: whole(*images, **{**how, "num_workers": 0, "pin_memory": False})

    def evaluator(model: nn.Module, images: Any) -> Any:
        return Evaluator(images, images.group_partition, images.group_weights, 64, model)

    def measured(model: nn.Module) -> dict[str, float]:
        """Average and worst group of the test set; ``weighted``, which SpuCo reports, is as the training groups are."""
        found = evaluator(model, sets["test"])
        found.evaluate()
        weighted = sum(sets["train"].group_weights[group] * value for group, value in found.accuracies.items())
        return {"average": found.average_accuracy, "weighted": weighted, "worst": found.worst_group_accuracy[1]}

    for method in given.method or METHODS:
        set_seed(given.seed)  # every object of SpuCo seeds its draws by it
        began = time.process_time()
        robust, notes = trainer(method, sets["train"], given.epochs)
        robust.val_evaluator = evaluator(robust.trainer.model, sets["val"])
        robust.train()
        seconds = time.process_time() - began
        chosen = {"epoch": robust.best_epoch + 1, "validation": robust.best_wg_acc, **measured(robust.best_model)}
        last = measured(robust.trainer.model)
        report(method=method, seed=given.seed, seconds=seconds, last=last, chosen=chosen, **notes)


def trainer(method: str, images: Any, epochs: int) -> tuple[Any, dict[str, Any]]:
    """SpuCo's trainer of a method, and what it goes by. Images that errors of a network of one epoch name count 100
    times in JTT, and EIIL takes 20,000 steps, as in SpuCo's scripts of its animals: its notebooks of digits train for
    one epoch. ``balanced`` is told the true groups of all training images: what the others aim at."""
    from spuco import datasets, group_inference
    from spuco.models import model_factory

    def make(kind: str, model: nn.Module, data: Any, epochs: int, rates: dict[str, float], **further: Any) -> Any:
        optimizer = torch.optim.SGD(model.parameters(), **rates)
        found = getattr(importlib.import_module("spuco.robust_train"), kind)
        return found(model=model, trainset=data, batch_size=32, optimizer=optimizer, num_epochs=epochs, **further)

    model = model_factory("lenet", images[0][0].shape, len(PAIRS))
    if method == "erm":
        return make("ERM", model, images, epochs, CHOSEN), {}
    if method == "balanced":
        told = images.group_partition
        return make("GroupBalanceBatchERM", model, images, epochs, CHOSEN, group_partition=told), {}
    early = make("ERM", model, images, 1, TUTORIAL)
    early.train()
    logits, notes = early.trainer.get_trainset_outputs(), {}
    fresh = model_factory("lenet", images[0][0].shape, len(PAIRS))
    if method == "jtt":
        groups = group_inference.JTTInference(logits.argmax(1).tolist(), images.labels).infer_groups()
        indices = [*groups[0, 0], *groups[0, 1] * 100]
        robust = make("CustomSampleERM", fresh, images, epochs, CHOSEN, indices=indices)
    elif method == "eiil":
        groups = group_inference.EIIL(logits, images.labels, num_steps=20000, lr=1e-2).infer_groups()
        robust = make("GroupDRO", fresh, datasets.GroupLabeledDatasetWrapper(images, groups), epochs, CHOSEN)
    else:
        found = group_inference.SpareInference(logits.softmax(1), images.labels, max_clusters=5)
        groups = found.infer_groups()
        rates, powers = (CHOSEN, found.sampling_powers) if method == "spare" else (TUTORIAL, [20] * len(PAIRS))
        further = {"group_partition": groups, "sampling_powers": powers}
        robust, notes = make("SpareTrain", model, images, epochs, rates, **further), {"powers": powers}
    return robust, {"groups": {str(group): len(groups[group]) for group in sorted(groups)}, **notes}


def trap(given: argparse.Namespace) -> None:
    """Photographs with a cue by seed 0, training images and all of the trap's test sets, as PNG files."""
    from conceptnet_ml.config.settings import Settings
    from conceptnet_ml.data.load import load_data
    from conceptnet_ml.drawing.pictures import to_png
    from conceptnet_ml.plugins import load_plugins

    settings = Settings.model_validate({"data": {"source": f"folder:{given.photos}", "trap": given.trap}})
    data = load_data(settings, load_plugins(use_entry_points=False))
    for name, images in {"train": data.train, **data.tests}.items():
        part = name if name in ("train", "test") else f"test-{name}"
        for number, image in enumerate(images.take(torch.arange(len(images)))):
            place = given.folder / part / data.classes[images.labels[number]]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number:05d}.png").write_bytes(to_png(image))
        report(split=part, pictures=len(images))


def bnnr(given: argparse.Namespace) -> None:
    """BNNR's search over a preset's augmentations, by its ``quick_run``; ``none``: three times the epochs without."""
    from bnnr import BNNRConfig, IndexedDataset, get_preset, quick_run
    from bnnr.pipelines import _ImageFolderCNN
    from torch.utils.data import DataLoader, Subset

    torch.manual_seed(given.seed)
    train = folder(given.folder / "train")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(given.seed))[: given.limit].tolist()
    held, fit = order[: len(order) // 8], order[len(order) // 8 :]
    loaders = [DataLoader(IndexedDataset(Subset(train, part)), 64, shuffle=part is fit) for part in (fit, held)]
    model = (lenet if train[0][0].shape[-1] == 28 else _ImageFolderCNN)(len(train.classes))
    layers = [part for part in model.modules() if isinstance(part, nn.Conv2d)][-1:]
    looking = {"model": model, "target_layers": layers} if given.preset == "icd" else {}
    candidates = [] if given.preset == "none" else get_preset(given.preset, given.seed, **looking)
    length = {"m_epochs": given.epochs * (1 if candidates else 3), "max_iterations": 2 if candidates else 0}
    quiet = {"xai_enabled": False, "verbose": False, "save_checkpoints": False, "event_log_enabled": False}
    places = {"checkpoint_dir": given.out / "checkpoints", "report_dir": given.out / "reports"}
    config = BNNRConfig(device="cpu", seed=given.seed, xai_method=given.saliency, **length, **quiet, **places)
    began = time.process_time()
    found = quick_run(model, *loaders, candidates, config, target_layers=layers)
    seconds = time.process_time() - began
    accuracies = {part.name: by_group(model, folder(part)) for part in sorted(given.folder.glob("test*"))}
    notes = {"trained_on": len(fit), "path": found.best_path, "validation": found.best_metrics["accuracy"]}
    report(preset=given.preset, seed=given.seed, seconds=seconds, **notes, accuracies=accuracies)


def folder(path: Path) -> Any:
    """The pictures of a folder of classes, floats in [0, 1]."""
    from torchvision import datasets, transforms

    return datasets.ImageFolder(str(path), transforms.ToTensor())


@torch.no_grad()
def by_group(model: nn.Module, images: Any) -> dict[str, float]:
    """The average, and the worst of the innermost folders."""
    model.eval()
    right: dict[Path, list[float]] = {}
    answers = [model(batch).argmax(1) for batch, _ in torch.utils.data.DataLoader(images, batch_size=256)]
    for answer, (path, label) in zip(torch.cat(answers).tolist(), images.samples, strict=True):
        right.setdefault(Path(path).parent, []).append(100.0 * (answer == label))
    worst = min(sum(marks) / len(marks) for marks in right.values())
    return {"average": sum(map(sum, right.values())) / len(images), "worst": worst}


def report(**facts: Any) -> None:
    """A line of JSON."""
    print(json.dumps(facts), flush=True)


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The part to run, and what it is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    for run in (pictures, spuco, trap, bnnr):
        part = parts.add_parser(run.__name__, description=run.__doc__)
        part.set_defaults(run=run)
        if run is not spuco:
            part.add_argument("folder", type=Path)
        if run is trap:
            part.add_argument("photos", type=Path)
            part.add_argument("trap")
        if run in (pictures, spuco):
            part.add_argument("--mnist", type=Path, required=True)
        if run in (spuco, bnnr):
            part.add_argument("--seed", type=int, default=0)
            part.add_argument("--epochs", type=int, default=20 if run is spuco else 3)
        if run is spuco:
            part.add_argument("--method", action="append", choices=METHODS, help="may be repeated; default: all")
        if run is bnnr:
            part.add_argument("--preset", default="icd", help="none, or one of `bnnr list-presets`")
            part.add_argument("--saliency", default="opticam", help="gradcam costs a hundredth")
            part.add_argument("--limit", type=int, help="so many training pictures, held-out ones included")
            part.add_argument("--out", type=Path, default=Path("runs/bnnr"))
    return parser.parse_args(words)


if __name__ == "__main__":
    given = arguments()
    given.run(given)
