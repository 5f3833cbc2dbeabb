"""Kills runs at their writes and changes their files, and counts what goes wrong (docs/results/trust.md).

    python benchmarks/trust.py kills --count 20           # 'learn' killed before 20 of its writes, and its disk full
    python benchmarks/trust.py fuzz --count 1000000 --table fuzz.json   # every reader of files on changed files

Exit code 1 where anything was lost, or raised something else than an error in words. Edits are killed at every write by
``pytest -m slow tests/statistical/test_editing.py``. Needs a system with fork.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from torture import count_writes, forked

from conceptnet_ml import learn
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet

RESULTS = ("graph.json", "model.safetensors", "model.json")
ODD: list[Any] = [None, True, 0, -1, 1e308, 10**30, "x", "", "\x00", "\ud800", [], {}, [1], {"a": 1}, [[]]]


def small_run(out: Path) -> None:
    """A run of a few seconds on drawn noise; goes on where it is there already."""
    import torch

    labels = torch.arange(64) % 2
    pixels = torch.randint(0, 90, (64, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    pixels[labels == 1, 0, :6, :6] = 250
    data = Data("noise", ("a", "b"), ImageSet(pixels, labels), {"test": ImageSet(pixels[:20], labels[:20])})
    tables = {
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
    settings = Settings.model_validate({"device": "cpu", **tables})
    begun = (out / "settings.json").exists()
    learn(data, settings=None if begun else settings, out=None if begun else out, resume=out if begun else None)


def kills(count: int, seed: int) -> int:
    """Cut learning short before ``count`` of its writes, killed and with a full disk by turns, and go on."""
    draw, lost, codes = random.Random(seed), 0, Counter[int]()
    with tempfile.TemporaryDirectory() as folder:
        whole, cut = Path(folder, "whole"), Path(folder, "cut")
        writes = count_writes(lambda: small_run(whole), whole)
        wanted = _results(whole)
        for number, at in enumerate(draw.sample(range(1, writes + 1), min(count, writes))):
            shutil.rmtree(cut, ignore_errors=True)
            codes[forked(lambda: small_run(cut), cut, at, full=bool(number % 2))] += 1
            if forked(lambda: small_run(cut), cut) or _results(cut) != wanted:
                lost += 1
                print(f"write {at} of {writes}: what it goes on to is not what it was", flush=True)
    print(f"{writes} writes, {sum(codes.values())} cut short (exit codes {dict(codes)}), {lost} lost")
    return lost


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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, help="where 'fuzz' keeps its counts, and goes on")
    parser.add_argument("--only", type=int, help="the one input of 'fuzz' that is tried")
    given = parser.parse_args()
    if given.part == "kills":
        return int(kills(given.count or 20, given.seed) > 0)
    from fuzzing import fuzz

    return int(fuzz(given.count or 20_000, given.seed, given.table, given.only) > 0)


if __name__ == "__main__":
    sys.exit(main())
