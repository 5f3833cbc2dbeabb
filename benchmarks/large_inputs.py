"""Large inputs: time and memory of what a run does with all its images, by their number and that of classes.

    python benchmarks/large_inputs.py --images 5000 10000 20000 --classes 10 1000
    python benchmarks/large_inputs.py --images 50000 --classes 1000 --side 64 --folder /scratch

Images are drawn once into a folder (JPEG, ImageFolder) and read again as a run would: in memory, and streamed. Each
line is a process of its own, so that its peak of memory is its own. Times are CPU seconds of the process.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from conceptnet_ml import load_plugins
from conceptnet_ml.concepts.scores import balanced_sample
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.load import load_data
from conceptnet_ml.data.sampling import split_holdout
from conceptnet_ml.runtime import devices, layout
from conceptnet_ml.runtime.seeding import generator
from conceptnet_ml.swap.views import Views

PARTS = ("read", "hold out", "probe set", "donors", "draw", "a pass")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="*", default=[5_000, 10_000, 20_000])
    parser.add_argument("--classes", type=int, nargs="*", default=[10, 1000])
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--folder", type=Path, help="where they are drawn; default: a temporary folder")
    return parser.parse_args()


def draw(folder: Path, count: int, classes: int, side: int) -> None:
    """So many images in a folder for each class, and one a class to test on."""
    noise = np.random.default_rng(0)
    for number in range(count + classes):
        part, name = ("train", number) if number < count else ("test", number - count)
        place = folder / part / f"c{name % classes:04}"
        place.mkdir(parents=True, exist_ok=True)
        coarse = noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((side, side)).save(place / f"{number}.jpg")


def measure(folder: Path, memory: float) -> tuple[dict[str, float], float]:
    """CPU seconds of each part, and GiB at most."""
    torch.set_num_threads(1)
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        seconds[name] = time.process_time() - began

    settings = Settings.model_validate({"data": {"source": f"folder:{folder}", "memory": memory, "minimum": 2}})
    with timed("read"):
        data = load_data(settings, load_plugins())
    with timed("hold out"):
        fit, _ = split_holdout(data.train, settings.data.holdout, 0)
    with timed("probe set"):
        balanced_sample(data.train.labels, fit, settings.concepts.probe_images, 0)
    with timed("donors"):
        views = Views(data.train, fit, [], len(data.classes), torch.device("cpu"))
    with timed("draw"):
        for part in fit.split(settings.training.batch):
            views.donors.uniform(len(part), generator(0))
            views.donors.foreign(part, generator(0))
    with timed("a pass"):
        for part in torch.arange(len(fit)).split(settings.training.batch):
            views(part, generator(0))
    return seconds, devices.peak_memory()


def apart(work: Callable[..., object], *arguments: object) -> object:
    """The value of a function in a process of its own, which begins without what this one holds."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def main() -> None:
    options = arguments()
    print(f"{layout.processor()}, torch {torch.__version__}, {options.side} px, JPEG, one thread, CPU seconds")
    print(f"| images | classes | kept | {' | '.join(PARTS)} | peak, GiB |\n|{' --- |' * (len(PARTS) + 4)}")
    for classes in options.classes:
        for count in options.images:
            with TemporaryDirectory(dir=options.folder) as folder:
                draw(Path(folder), count, classes, options.side)
                for kept, memory in (("in memory", 64.0), ("streamed", 1e-6)):
                    seconds, peak = apart(measure, Path(folder), memory)  # type: ignore[misc]
                    cells = " | ".join(f"{seconds[name]:.2f}" for name in PARTS)
                    print(f"| {count} | {classes} | {kept} | {cells} | {peak:.2f} |", flush=True)


if __name__ == "__main__":
    main()
