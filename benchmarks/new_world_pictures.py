"""Unlabelled pictures of a trap's new world for ``--target``: training images with random cues that a run with
``data.train_limit`` is not given.

::

    python benchmarks/new_world_pictures.py CIFAR automobile,deer stripes TARGET --after 1200
    python benchmarks/new_world_pictures.py CIFAR automobile,truck dominoes:torchvision:MNIST TARGET --root MNIST
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.load import load_data
from conceptnet_ml.data.sampling import shuffled_by_class
from conceptnet_ml.drawing.pictures import to_png
from conceptnet_ml.plugins import load_plugins


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("folder", "classes", "trap", "out"):
        parser.add_argument(name)
    parser.add_argument("--root", help="where torchvision keeps what the trap is made of")
    parser.add_argument("--after", type=int, default=1200, help="data.train_limit of the run, whose seed is this one's")
    parser.add_argument("--count", type=int, default=450, help="pictures a class")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    data = {"source": f"folder:{given.folder}", "classes": given.classes.split(","), "trap": given.trap}
    root = {} if given.root is None else {"root": given.root}
    settings = Settings.model_validate({"seed": given.seed, "data": data | root})
    world = load_data(settings, load_plugins(use_entry_points=False)).worlds["unbiased"]()
    drawn = shuffled_by_class(world.labels, given.seed, "train_limit").values()
    numbers = torch.cat([places[given.after : given.after + given.count] for places in drawn])
    out = Path(given.out)
    out.mkdir(parents=True)
    order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(1))
    for place, image in enumerate(world.take(numbers[order])):
        (out / f"{place:04d}.png").write_bytes(to_png(image))
    print(f"{len(numbers)} pictures in {out}")


if __name__ == "__main__":
    main()
