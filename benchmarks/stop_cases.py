"""Does the stop rule hold on cases it was not made on? One line per case: what is right, what it decided, and why.

    python benchmarks/stop_cases.py --cifar FOLDER --mnist FOLDER --seed 0

``--cifar`` holds ``train/CLASS/*``, ``--mnist`` is what torchvision's MNIST takes as its root. Only the first decision
at the top stage of each case is looked at, from training images alone.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from conceptnet_ml import Data, ImageSet, Settings, load_plugins, runtime
from conceptnet_ml.imagefiles import in_threads, read_image
from conceptnet_ml.interrupt import Stopper
from conceptnet_ml.progress import Progress
from conceptnet_ml.runs import Run
from conceptnet_ml.steps.probe import probe
from conceptnet_ml.traps import lay_traps
from conceptnet_ml.workbench import Parents, Workbench

CASES = (
    ("automobile", "truck", "none", "undo"),
    ("automobile", "truck", "wheels", "keep"),
    ("bird", "deer", "none", "undo"),
    ("ship", "frog", "none", "undo"),
    ("ship", "frog", "wheels", "keep"),
    ("bird", "deer", "tint", "keep"),
    ("digit 3", "digit 8", "none", "undo"),
    ("digit 3", "digit 8", "wheels", "keep"),
)
PER_CLASS = 1200


def main() -> None:
    """Print one row per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, required=True)
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("| case | right | decided | by | why |\n| --- | --- | --- | --- | --- |")
    for first, second, trap, right in CASES:
        pair = [images(options, name) for name in (first, second)]
        kept, reasons = decide(pair, (first, second), trap, options.seed)
        decided = f"keep ({kept})" if kept else "undo"
        print(
            f"| {first}/{second}, {trap} | {right} | {decided} | {'✓' if bool(kept) == (right == 'keep') else '✗'} "
            f"| {'; '.join(reasons)} |",
            flush=True,
        )


def images(options: argparse.Namespace, name: str) -> torch.Tensor:
    """uint8 (PER_CLASS, 3, H, W) training images of a class."""
    if name.startswith("digit "):
        from torchvision.datasets import MNIST

        digits = MNIST(options.mnist, train=True)
        chosen = digits.data[digits.targets == int(name[-1])][:PER_CLASS]
        return torch.nn.functional.pad(chosen, (2, 2, 2, 2))[:, None].expand(-1, 3, -1, -1).contiguous()
    files = sorted((options.cifar / "train" / name).iterdir())[:PER_CLASS]
    return torch.stack(in_threads(lambda path: read_image(path, 32), files))


def decide(pair: list[torch.Tensor], names: tuple[str, str], trap: str, seed: int) -> tuple[str, list[str]]:
    """The representation of the first kept swap ("" for none) and the reasons."""
    settings = Settings.model_validate({"seed": seed})
    plugins = load_plugins()
    runtime.setup_threads()
    device = runtime.choose_device("auto")
    labels = torch.arange(2).repeat_interleave(PER_CLASS)
    train = ImageSet(torch.cat(pair), labels)
    tiny = train.subset(torch.tensor([0, len(train) - 1]))  # traps also make test sets; nothing here looks at one
    data = Data("/".join(names), names, train, {"test": tiny})
    data = lay_traps(data, [plugins.get("trap", part) for part in trap.split("+") if part != "none"], seed)
    with tempfile.TemporaryDirectory() as folder, Run.create(Path(folder) / "run", {}, {}, {}, "") as run:
        dtype = runtime.choose_precision("auto", device)
        bench = Workbench(settings, plugins, data, run, Progress(quiet=True), Stopper(), device, dtype)
        training = settings.training
        network = bench.train("ordinary", bench.network(), bench.views(bench.fit, []), training.epochs, training.rate)
        judged = probe(bench, "stop", Parents("classes", network), [])
    kept = next((one.measured.representation for one in judged if one.decision.keep), "")
    reasons = [f"{o.measured.representation}: φ {o.measured.phi:.2f}, {o.decision.reason}" for o in judged]
    return kept, reasons


if __name__ == "__main__":
    main()
