"""How many changed copies of pictures ``inspect`` finds, and how many pairs of others it takes for copies.

    python benchmarks/near_duplicates.py PHOTOS/train --count 600

Every picture of a folder of classes is stored once more in each of seven ways. Printed is the share that is found
beside its original, and how many pairs of originals are found, of all that there are.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from conceptnet_ml.inspect.near_duplicates import find_duplicates
from conceptnet_ml.inspect.pixel_measures import thumbnails


def stored(quality: int) -> Callable[[Image.Image], Image.Image]:
    """To a JPEG file of this quality and back."""

    def change(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer).convert("RGB")

    return change


def rim_cut(width: int) -> Callable[[Image.Image], Image.Image]:
    """So many px cut off on all sides, the rest brought to the old size."""
    return lambda one: one.crop((width, width, one.width - width, one.height - width)).resize(one.size, 3)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 75": stored(75),
    "JPEG 30": stored(30),
    "half the size": lambda one: one.resize((one.width // 2, one.height // 2), 3).resize(one.size, 3),
    "less light": lambda one: one.point(lambda level: 0.85 * level + 10),
    "rim of 1 px cut": rim_cut(1),
    "rim of 2 px cut": rim_cut(2),
    "rim of 4 px cut": rim_cut(4),
}


def tensor(images: list[Image.Image]) -> Tensor:
    return torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])


def main() -> None:
    """Change every picture in every way, and count which are taken for copies of what they were."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="CLASS/PICTURE, all of one size")
    parser.add_argument("--count", type=int, default=600, help="pictures a class")
    given = parser.parse_args()
    files = [file for one in sorted(given.folder.iterdir()) for file in sorted(one.iterdir())[: given.count]]
    images = [Image.open(file).convert("RGB") for file in files]
    labels = torch.zeros(len(images), dtype=torch.int64)
    originals = (*thumbnails(tensor(images)), labels)
    changed = {name: (*thumbnails(tensor([change(one) for one in images])), labels) for name, change in CHANGES.items()}
    found = find_duplicates(originals, changed)
    among = sum(pair.found_in == "train" for pair in found.pairs)
    print(f"of {len(images) * (len(images) - 1) // 2} pairs of originals: {among}")
    for name in CHANGES:
        own = sum(pair.found_in == name and pair.train == pair.other for pair in found.pairs)
        print(f"{name}: {100 * own / len(images):.1f} %")


if __name__ == "__main__":
    main()
