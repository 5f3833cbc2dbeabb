"""Kills runs at their writes and changes their files, and counts what goes wrong (docs/results/trust.md).

    python benchmarks/trust.py kills --count 20           # 'learn' killed before 20 of its writes, and its disk full
    python benchmarks/trust.py fuzz RUN --seconds 60      # every reader of a run's files on changed files

Exit code 1 where anything was lost, or raised something else than an error in words. Edits are killed at every write by
``pytest -m slow tests/statistical/test_editing.py``. Needs a system with fork.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import hashlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from torture import count_writes, forked

from conceptnet_ml import learn
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.sources import resolve_settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.editing.history import EditHistory
from conceptnet_ml.errors import ConceptNetError
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.report.page import write_page
from conceptnet_ml.storage.run_folder import Run
from conceptnet_ml.storage.tensors import load_tree

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


def fuzz(run: Path, seconds: float, seed: int) -> int:
    """Change one file of a copy of the run at a time and read it."""
    draw, end = random.Random(seed), time.monotonic() + seconds
    count, taken, bad = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder, "run")
        shutil.copytree(run, copied)
        readers = _readers(copied, Path(folder))
        whole = {path: path.read_bytes() for path in readers}
        while time.monotonic() < end:
            path = draw.choice([*readers])
            path.write_bytes(_changed(whole[path], path.suffix, draw))
            name = path.name if path.parent.name != "steps" else "steps"
            count[name] += 1
            try:
                readers[path]()
                taken[name] += 1
            except ConceptNetError:
                pass
            except Exception as error:  # what is looked for
                bad[name, f"{type(error).__name__}: {str(error)[:80]}"] += 1
            path.write_bytes(whole[path])
    for name in count:
        print(f"{name:20} {count[name]:8} changed, {taken[name]:7} read all the same")
    for (name, what), times in bad.most_common():
        print(f"{name}: {what} ({times})")
    print(f"{sum(count.values())} inputs, {sum(bad.values())} answered by something else than an error in words")
    return len(bad)


def _readers(run: Path, beside: Path) -> dict[Path, Callable[[], object]]:
    """For each file what reads it."""
    exporter = load_plugins(use_entry_points=False).get("exporter", "graphml")
    parse, graphml, toml = exporter.function("parse"), beside / "x.graphml", beside / "x.toml"
    exporter.function("write")(ConceptGraph.read(run), graphml)
    toml.write_text('depth = 2\n[data]\nsource = "x"\nclasses = ["a", "b"]\n[probe]\nprice = 0.5\n')

    def history() -> None:
        edits = EditHistory(Run.open(run))
        edits.pending(), edits.descriptions(), edits.apply(ConceptGraph.read(run))

    found: dict[Path, Callable[[], object]] = {
        run / "settings.json": lambda: Settings.of_run(Run.open(run).settings),
        run / "graph.json": lambda: ConceptGraph.read(run).check(),
        run / "model.json": lambda: Run.open(run).load_model(),
        run / "edits" / "log.json": history,
        graphml: lambda: ConceptGraph.read(graphml, parse),
        toml: lambda: resolve_settings(toml),
    }
    pages = ("summary.json", "metrics.jsonl", "environment.json")
    found |= {run / name: lambda: write_page(run, beside / "x.html") for name in pages}
    steps = sorted((run / "steps").rglob("*.json"), key=lambda path: path.stat().st_size)[:3]
    found |= {path: lambda path=path: load_tree(path) for path in steps}  # type: ignore[misc]
    return {path: read for path, read in found.items() if path.exists()}


def _changed(content: bytes, suffix: str, draw: random.Random) -> bytes:
    """Some bytes changed, or in JSON some values."""
    if suffix == ".json" and draw.random() < 0.7:
        return json.dumps(_changed_tree(json.loads(content), draw)).encode()
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5))):
        place = draw.randrange(len(found) or 1)
        longer = bytes(draw.randrange(256) for _ in range(draw.randrange(1, 5)))
        found[place : place + draw.choice((0, 1, 20, len(found)))] = draw.choice((b"", longer))
    return bytes(found)


def _changed_tree(tree: Any, draw: random.Random) -> Any:
    tree = copy.deepcopy(tree)
    paths = [*_paths(tree, ())]
    for path in draw.choices(paths, k=draw.choice((1, 1, 2))):
        if not path:
            return draw.choice(ODD)
        with contextlib.suppress(KeyError, IndexError, TypeError):  # the first change took the second's place away
            inside = tree
            for key in path[:-1]:
                inside = inside[key]
            if draw.random() < 0.3:
                del inside[path[-1]]
            else:
                inside[path[-1]] = draw.choice(ODD)
    return tree


def _paths(tree: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(tree, dict | list):
        for key in tree if isinstance(tree, dict) else range(min(len(tree), 6)):
            yield from _paths(tree[key], (*path, key))


def main() -> int:
    """The part that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("kills", "fuzz"))
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.part == "kills":
        return int(kills(given.count, given.seed) > 0)
    if given.run is None:
        parser.error("fuzz needs a run folder")
    return int(fuzz(given.run, given.seconds, given.seed) > 0)


if __name__ == "__main__":
    sys.exit(main())
