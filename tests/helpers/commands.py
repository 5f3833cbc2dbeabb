"""The real command, in a process of its own or in this one, and pictures of noise for it."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
Level = float | tuple[float, float, float]
Done = subprocess.CompletedProcess[str]

COARSE = """
[concepts]
bootstrap = 10
probe_images = 64
merge_images = 64
confirm = 8
edges = 4
edge_groups = 1
"""
"""Settings for runs whose detectors and edges are not judged."""

TINY = f"""
[training]
least_steps = 0
batch = 16
epochs = 2
[probe]
cells = 8
steps = 4
[round]
limit = 1
epochs = 1
purify = 0
closures = 0
[dreams]
witness = false
megapixels = 0.02
steps = 2
[plugins]
controls = []
representations = ["colour"]
{COARSE}"""
"""Settings for runs of a second, of which nothing is asked but that they are whole: a round, a few dreams."""


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "cli.py", *map(str, words)]


def surroundings() -> dict[str, str]:
    """One thread a process, no colours, a known width, and none of the user's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CONCEPTNET_")}
    return kept | {"COLUMNS": "100", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}


def run(*words: str | Path) -> Done:
    """The command as it is started from a shell. Most of a short one's time goes into loading torch."""
    return subprocess.run(command(*words), cwd=ROOT, env=surroundings(), capture_output=True, text=True, timeout=300)


def call(*words: str | Path, at: Path = ROOT, **variables: str) -> Done:
    """The same program without a new process: for what is no matter of the process itself.

    Args:
        at: The folder it is started in.
        variables: More variables of the environment.
    """
    from conceptnet_ml.cli.main import app

    arguments, here = ["cli.py", *map(str, words)], Path.cwd()
    gc.freeze()  # or the collection below would look through all that was ever loaded
    # Like a process's: bytes below, no terminal.
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    code = 0
    os.chdir(at)
    try:
        with (
            patch.object(sys, "argv", arguments),
            patch.dict(os.environ, surroundings() | variables, clear=True),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            app(prog_name="cli.py")  # it would find out that pytest is running
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        os.chdir(here)
        gc.collect()  # the end of a process lets go of a run's lock; so does the end of what held it
        gc.unfreeze()
    if code == 130:
        raise KeyboardInterrupt  # it was pytest that the user wanted to stop
    texts = (stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(arguments, code, *texts)


def noise_pictures(
    folder: Path, classes: Mapping[str, Level], count: int, noise: np.random.Generator, side: int = 16
) -> None:
    """``count`` pictures of ``side`` px for each class in ``folder/CLASS``: noise around a brightness or a colour."""
    for name, level in classes.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.clip(noise.normal(level, 40, (side, side, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


def noise_runs(root: Path, *names: str) -> None:
    """Pictures of two classes of noise in ``root/photos``, and finished runs on them in ``root/NAME``."""
    noise_pictures(root / "photos", {"bright": 150, "dark": 100}, 20, np.random.default_rng(0))
    (root / "tiny.toml").write_text(TINY)
    words = ("learn", "--data", f"folder:{root / 'photos'}", "--config", root / "tiny.toml", "--out")
    for name in names:
        done = call(*words, root / name)
        assert done.returncode == 0, done.stderr
