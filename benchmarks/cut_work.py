"""Work that ``python benchmarks/trust.py kills`` cuts short: ``learn``, ``adapt``, ``dream``, ``bench`` and edits, each
on drawn noise and as small as it can be, for it is begun many hundred times.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from commands import noise_pictures
from PIL import Image

from conceptnet_ml import Editor, learn
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
from conceptnet_ml.editing.history import EditHistory
from conceptnet_ml.galleries.gallery import gallery
from conceptnet_ml.galleries.requests import GalleryRequest
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.results.learned_run import LearnedRun
from conceptnet_ml.storage.run_folder import Run

PLUGINS = load_plugins(use_entry_points=False)
RESULTS = ("graph.json", "model.safetensors", "model.json")
UNEQUAL = ("lock", "lock.owner", "metrics.jsonl")
"""What two runs of the same work need not have alike: times, and process ids."""

STEPS = (
    "conceptnet_plugins.generalizers.detector.STEPS",
    "conceptnet_plugins.specializers.attention.STEPS",
    "conceptnet_ml.swap.gate_predictor.STEPS",
)
"""Lengths of small fits, which are not judged here."""

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
    "dreams": {"steps": 2, "megapixels": 0.002},
    "plugins": {"controls": (), "representations": ("colour", "pixels")},
}
"""Settings of a run of a few seconds."""

CASE = """seeds = 1
ks = [2]
draws = 1
[cases.mine]
data = { source = "folder:{mine}", trap = "tint" }
"""


@dataclass(frozen=True)
class Work:
    """Something that is done in a folder and may be cut short.

    Args:
        fresh: Makes a folder ready.
        do: What is done in it; once more, it goes on with what is there.
        state: What the folder has come to, equal for equal results.
        between: Whether the folder is sound right after it was cut short; what was there before must be.
        same: Whether a state is what it should be, where equality asks too much.
    """

    fresh: Callable[[Path], object]
    do: Callable[[Path], object]
    state: Callable[[Path], Any]
    between: Callable[[Path], bool] = lambda cut: True
    same: Callable[[Any, Any], bool] = lambda found, wanted: found == wanted


def shorten() -> None:
    """Small fits take a few steps, in this process and its children."""
    for name in STEPS:
        patch(name, 5).start()


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


def _empty(cut: Path) -> None:
    shutil.rmtree(cut, ignore_errors=True)


def _copied(whole: Path) -> Callable[[Path], object]:
    def fresh(cut: Path) -> None:
        _empty(cut)
        shutil.copytree(whole, cut)

    return fresh


def _learning(folder: Path) -> Work:
    small_run(folder / "whole")  # what is loaded and compiled once is so by now
    return Work(_empty, small_run, _results)


def _adapting(folder: Path) -> Work:
    """To two pictures a class, in a copy of a finished run, all else of which stays as it was."""
    small_run(folder / "whole")
    noise_pictures(folder / "new", {"a": 40.0, "b": 90.0}, 12, np.random.default_rng(0))
    data = load_data(
        Settings.model_validate({"data": {"source": f"folder:{folder / 'new'}", "image_size": 16}}), PLUGINS
    )

    def work(cut: Path) -> None:
        opened = LearnedRun(Run.open(cut), PLUGINS, noise())
        opened.adapt(data, shots=2, draws=1, name="new")
        opened.adapted("new")
        opened.folder.close()

    before = _results(folder / "whole")
    return Work(_copied(folder / "whole"), work, lambda cut: _digests(cut, "*"), lambda cut: _results(cut) == before)


def _dreaming(folder: Path) -> Work:
    """Two classes and a unit of a run, with a cache: the same command goes on in its folder. Its dreams are equal to a
    level of a byte (docs/results/trust.md)."""
    small_run(folder / "whole")
    Run.open(folder / "whole").close()

    def work(cut: Path) -> None:
        chosen = {"layers": ("block3",), "units": "1,2", "cache": cut / "cache", "device": "cpu", "steps": 2}
        request = GalleryRequest(classes=("a",), **chosen)  # type: ignore[arg-type]
        if not _whole(cut / "out" / "dreams.json"):
            gallery(folder / "whole", cut / "out", request, plugins=PLUGINS)

    def state(cut: Path) -> dict[str, np.ndarray]:
        found = sorted((cut / "out").glob("*.png"))
        return {path.name: np.asarray(Image.open(path)).astype(int) for path in found}

    def same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> bool:
        apart = [abs(found[name] - wanted[name]) for name in wanted if name in found and name != "sheet.png"]
        near = all(one.max() <= 1 and (one > 0).mean() < 0.01 for one in apart)
        return found.keys() == wanted.keys() and near

    return Work(_empty, work, state, same=same)


def _whole(record: Path) -> bool:
    return record.exists() and not json.loads(record.read_text())["stopped"]


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

    return Work(_empty, work, state)


def _as_worker(order: dict[str, Any]) -> int:
    """The order carried out in this process, its input left open. What a full disk raises in it is raised."""
    read, write = os.pipe()
    os.write(write, json.dumps(order).encode() + b"\n")
    sys.stdin = open(read)  # noqa: SIM115  # a thread reads from it until the process ends
    return worker.main()


def _editing(verb: str, back: bool = False) -> Callable[[Path], Work]:
    """An edit, or its undo. Cut short at any write the run is as before or as after, and graph, model and summary
    belong together."""

    def make(folder: Path) -> Work:
        small_run(folder / "whole")
        Run.open(folder / "whole").adapted("kept").save({"of": "the network as it is"})
        nodes = _nodes(verb, ConceptGraph.read(folder / "whole"))
        arguments = (*nodes, "x") if verb == "rename" else nodes

        def edit(cut: Path) -> None:
            if not EditHistory(Run.open(cut)).log():
                editor = Editor(LearnedRun(Run.open(cut), PLUGINS, noise()), PLUGINS)
                getattr(editor, verb.split()[0])(*arguments)

        def undo(cut: Path) -> None:
            with Run.open(cut, write=True) as run:  # which clears what a killed process left
                history = EditHistory(run)
                history.undo() if history.log() else history.repair()

        patch("time.time", lambda: 1.0).start()  # is in the log
        shutil.copytree(folder / "whole", folder / "edited")
        edit(folder / "edited")
        ends = [_edited(folder / "whole"), _edited(folder / "edited")]
        return Work(
            _copied(folder / ("edited" if back else "whole")),
            undo if back else edit,
            _edited,
            lambda cut: _edited(cut) in ends,
        )

    return make


def _nodes(verb: str, graph: ConceptGraph) -> tuple[str, ...]:
    top = graph.stages[-1]
    if verb == "forget family":
        return (next(node.label for node in graph.nodes("generalized") if node.state is None),)
    if verb == "rename":
        return (graph.nodes("feature")[0].id,)
    return (f"{top}:1", f"{top}:2") if verb == "merge" else (f"{top}:1",)


def _edited(run: Path) -> list[str]:
    """Results and adapted models by checksum, as a reader opens the run, and that they belong together."""
    EditHistory(Run.open(run)).mend()
    log = EditHistory(Run.open(run)).log()
    whole = Run.open(run).summary().get("edits", []) == [f"{entry['number']}. {entry['said']}" for entry in log]
    parts = ("steps", "pictures", "edits", "dreams", "checkpoints", "settings.json", "environment.json")
    return [str(whole), *(one for one in _digests(run, "*") if not one.startswith(parts))]


def _digests(folder: Path, pattern: str) -> list[str]:
    found = [path for path in sorted(folder.rglob(pattern)) if path.is_file() and path.name not in UNEQUAL]
    return [f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in found]


def _results(run: Path) -> list[str]:
    found = [run / name for name in RESULTS] + sorted((run / "pictures").rglob("*.png"))
    summary = json.loads((run / "summary.json").read_text())
    kept = [summary[name] for name in ("rounds", "test_sets", "notes", "graph")]
    return [*(hashlib.sha256(path.read_bytes()).hexdigest() for path in found), json.dumps(kept)]


VERBS = ("rename", "merge", "split", "forget", "forget family")

WORK: dict[str, Callable[[Path], Work]] = {
    "learn": _learning,
    "adapt": _adapting,
    "dream": _dreaming,
    "bench": _benching,
    **{verb: _editing(verb) for verb in VERBS},
    **{f"undo {verb}": _editing(verb, back=True) for verb in VERBS},
}
