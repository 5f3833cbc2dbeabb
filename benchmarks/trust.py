"""Kills runs at their writes and changes their files, and counts what goes wrong (docs/results/trust.md).

    python benchmarks/trust.py kills --what dream --count 20 --moments 10   # before 20 of its writes, 10 times between
    python benchmarks/trust.py fuzz --count 1000000 --table fuzz.json   # every reader of files on changed files

Exit code 1 where anything was lost, or raised something else than an error in words. Edits are killed at every write by
``pytest -m slow tests/statistical/test_editing.py``. Needs a system with fork.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from commands import noise_pictures
from torture import count_writes, forked

from conceptnet_ml import learn
from conceptnet_ml.bench import worker
from conceptnet_ml.bench.cases import read_suite
from conceptnet_ml.bench.cells import CellStore
from conceptnet_ml.bench.report import write_report
from conceptnet_ml.bench.results import collect_results
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.sources import show_value
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.data.load import load_data
from conceptnet_ml.galleries.gallery import gallery
from conceptnet_ml.galleries.requests import GalleryRequest
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.results.learned_run import LearnedRun
from conceptnet_ml.storage.run_folder import Run

PLUGINS = load_plugins(use_entry_points=False)
RESULTS = ("graph.json", "model.safetensors", "model.json")
UNEQUAL = ("lock", "metrics.jsonl")
"""What two runs of the same work need not have alike: times."""

ODD: list[Any] = [None, True, 0, -1, 1e308, 10**30, "x", "", "\x00", "\ud800", [], {}, [1], {"a": 1}, [[]]]


SMALL: dict[str, dict[str, Any]] = {
    "training": {"epochs": 2, "least_steps": 0, "batch": 16, "precision": "fp32", "above_chance": False},
    "probe": {"steps": 2, "view_steps": 2, "cells": 4},
    "round": {"limit": 1, "epochs": 1, "closures": 0, "purify": 0},
    "concepts": {
        "bootstrap": 10,
        "probe_images": 32,
        "merge_images": 32,
        "confirm": 4,
        "edges": 4,
        "edge_groups": 1,
    },
    "dreams": {"steps": 2, "megapixels": 0.01},
    "plugins": {"controls": (), "representations": ("colour", "pixels")},
}
"""Settings of a run of a few seconds."""


def noise() -> Data:
    """Two classes of noise of 16 px, one with a red corner."""
    labels = torch.arange(64) % 2
    pixels = torch.randint(0, 90, (64, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    pixels[labels == 1, 0, :6, :6] = 250
    return Data("noise", ("a", "b"), ImageSet(pixels, labels), {"test": ImageSet(pixels[:20], labels[:20])})


def small_run(out: Path) -> None:
    """A run of a few seconds on drawn noise; goes on where it is there already."""
    settings = Settings.model_validate({"device": "cpu", **SMALL})
    begun = (out / "settings.json").exists()
    learn(noise(), settings=None if begun else settings, out=None if begun else out, resume=out if begun else None)


def kills(what: str, count: int, seed: int, moments: int = 0) -> int:
    """Cut work short before ``count`` of its writes, killed and with a full disk by turns, and at moments in between;
    then do it again: it must come to what it would have. Prints a line; returns how often it did not.

    Args:
        what: One of :data:`WORK`.
        count: Writes, drawn from all of them.
        seed: Of the draw.
        moments: How often it is killed at any moment instead.
    """
    draw, lost, codes = random.Random(seed), 0, Counter[int]()
    with tempfile.TemporaryDirectory() as folder:
        fresh, work, state = WORK[what](Path(folder))
        cut = Path(folder, "cut")
        fresh(cut)
        began = time.monotonic()
        writes = count_writes(lambda: work(cut), cut)
        seconds = time.monotonic() - began
        wanted = state(cut)
        cuts: list[int | float] = [*draw.sample(range(1, writes + 1), min(count, writes))]
        cuts += [draw.uniform(0, seconds) for _ in range(moments)]
        for number, at in enumerate(cuts):
            fresh(cut)
            if isinstance(at, float):
                codes[_killed_after(lambda: work(cut), at)] += 1
            else:
                codes[forked(lambda: work(cut), cut, at, full=bool(number % 2))] += 1
            again = forked(lambda: work(cut), cut)
            if again or state(cut) != wanted or _litter(cut):
                lost += 1
                print(f"{what}, cut at {at} of {writes}: done again ({again}) it is not what it was", flush=True)
    print(
        f"{what}: {writes} writes, {sum(codes.values())} cut short (exit codes {dict(codes)}), {lost} lost", flush=True
    )
    return lost


def _killed_after(work: Callable[[], object], seconds: float) -> int:
    """Do the work in a child that is killed after so many seconds; its exit code."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _litter(folder: Path) -> list[Path]:
    """What no process that ended well leaves."""
    return [path for path in folder.rglob("*") if path.name.startswith(".") or path.name == "lock.owner"]


def _learning(folder: Path) -> Work:
    return lambda cut: shutil.rmtree(cut, ignore_errors=True), small_run, _results


def _adapting(folder: Path) -> Work:
    """To two pictures a class, in a copy of a finished run, all else of which stays as it was."""
    small_run(folder / "whole")
    noise_pictures(folder / "new", {"a": 40.0, "b": 90.0}, 12, np.random.default_rng(0))
    data = load_data(
        Settings.model_validate({"data": {"source": f"folder:{folder / 'new'}", "image_size": 16}}), PLUGINS
    )

    def fresh(cut: Path) -> None:
        shutil.rmtree(cut, ignore_errors=True)
        shutil.copytree(folder / "whole", cut)

    def work(cut: Path) -> None:
        opened = LearnedRun(Run.open(cut), PLUGINS, noise())
        opened.adapt(data, shots=2, draws=1, name="new")
        opened.adapted("new")
        opened.folder.close()

    return fresh, work, lambda cut: _digests(cut, "*")


def _dreaming(folder: Path) -> Work:
    """Two classes and a unit of a run, with a cache: the same command goes on in its folder."""
    small_run(folder / "whole")
    Run.open(folder / "whole").close()

    def work(cut: Path) -> None:
        chosen = {"layers": ("block3",), "units": "1,2", "cache": cut / "cache", "device": "cpu", "steps": 2}
        request = GalleryRequest(classes=("a",), **chosen)  # type: ignore[arg-type]
        gallery(folder / "whole", cut / "out", request, plugins=PLUGINS)

    return lambda cut: shutil.rmtree(cut, ignore_errors=True), work, lambda cut: _digests(cut, "out/*.png")


def _benching(folder: Path) -> Work:
    """One case, two methods, measured in the process that is cut short, as a worker does it."""
    noise_pictures(folder / "photos", {"a": 40.0, "b": 90.0}, 24, np.random.default_rng(0))
    (folder / "cases.toml").write_text(CASE)
    given = [f"{group}.{name}={show_value(value)}" for group, table in SMALL.items() for name, value in table.items()]
    suite = read_suite(folder / "cases.toml", {"mine": str(folder / "photos")}, ["device=cpu", *given])
    (case,) = suite.cases

    def work(cut: Path) -> None:
        """Measure what is left to measure."""
        store = CellStore(cut)
        with store.locked():
            for group in store.groups(suite, ("ordinary", "learned")):
                order = worker.order(suite, group, store.begin(group), None, True)
                if (code := _as_worker(order)) != 0:
                    raise RuntimeError(f"the worker ended with {code}")
        write_report(collect_results(suite, store, ("ordinary", "learned"), PLUGINS, {}), cut, plot=False)

    def state(cut: Path) -> list[str]:
        cells = [CellStore(cut).cell(case, 0, method) or {} for method in ("ordinary", "learned")]
        return [json.dumps([cell.get("state"), cell.get("test_sets"), cell.get("rounds")]) for cell in cells]

    return lambda cut: shutil.rmtree(cut, ignore_errors=True), work, state


def _as_worker(order: dict[str, Any]) -> int:
    """The order carried out in this process, its input left open. What a full disk raises in it is raised."""
    read, write = os.pipe()
    os.write(write, json.dumps(order).encode() + b"\n")
    sys.stdin = open(read)  # noqa: SIM115  # a thread reads from it until the process ends
    return worker.main()


Work = tuple[Callable[[Path], object], Callable[[Path], object], Callable[[Path], list[str]]]
"""What makes a folder ready, what is done in it and may be cut short, and what it must come to."""

WORK: dict[str, Callable[[Path], Work]] = {
    "learn": _learning,
    "adapt": _adapting,
    "dream": _dreaming,
    "bench": _benching,
}


CASE = """seeds = 1
ks = [2]
draws = 1
[cases.mine]
data = { source = "folder:{mine}", trap = "tint" }
"""


def _digests(folder: Path, pattern: str) -> list[str]:
    found = [path for path in sorted(folder.rglob(pattern)) if path.is_file() and path.name not in UNEQUAL]
    return [f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in found]


def _results(run: Path) -> list[str]:
    found = [run / name for name in RESULTS] + sorted((run / "pictures").rglob("*.png"))
    summary = json.loads((run / "summary.json").read_text())
    kept = [summary[name] for name in ("rounds", "test_sets", "notes", "graph")]
    return [*(hashlib.sha256(path.read_bytes()).hexdigest() for path in found), json.dumps(kept)]


def main() -> int:
    """The part that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("kills", "fuzz"))
    parser.add_argument("--count", type=int, help="of cuts (20) or inputs (20,000)")
    parser.add_argument("--what", choices=[*WORK], help="is killed; default: all of them")
    parser.add_argument("--moments", type=int, default=0, help="how often it is killed at any moment, too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, help="where 'fuzz' keeps its counts, and goes on")
    parser.add_argument("--only", type=int, help="the one input of 'fuzz' that is tried")
    given = parser.parse_args()
    if given.part == "kills":
        chosen = [given.what] if given.what else [*WORK]
        return int(sum(kills(what, given.count or 20, given.seed, given.moments) for what in chosen) > 0)
    from fuzzing import fuzz

    return int(fuzz(given.count or 20_000, given.seed, given.table, given.only) > 0)


if __name__ == "__main__":
    sys.exit(main())
