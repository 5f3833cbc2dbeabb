"""The real command in a process of its own, and pictures of noise for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
Level = float | tuple[float, float, float]


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "cli.py", *map(str, words)]


def surroundings() -> dict[str, str]:
    """One thread a process, no colours, and none of the user's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CONCEPTNET_")}
    return kept | {"NO_COLOR": "1", "OMP_NUM_THREADS": "1"}


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), cwd=ROOT, env=surroundings(), capture_output=True, text=True, timeout=300)


def noise_pictures(folder: Path, classes: Mapping[str, Level], count: int, noise: np.random.Generator) -> None:
    """``count`` pictures of 32 px for each class in ``folder/CLASS``: noise around a brightness or a colour."""
    for name, level in classes.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.clip(noise.normal(level, 40, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
