"""How long the rest of a bench will take, roughly: from cells that are finished, else from a few training steps."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence

from conceptnet_ml.bench.cases import Suite
from conceptnet_ml.bench.cells import CellGroup, Store, methods_of
from conceptnet_ml.config.settings import Settings

IMAGES = 2100
"""Training images taken for granted where no case was measured yet: two classes of 1,200, less the held-out."""

LOOP, RIVAL, START = 4.0, 2.0, 20.0
"""Probing and rounds, and a rival with its adaptation, in ordinary trainings; seconds to start and load the images."""


def seconds_left(suite: Suite, store: Store, groups: Sequence[CellGroup], methods: Sequence[str], jobs: int) -> float:
    """Seconds that ``jobs`` workers need for these groups; cost: about a second where nothing is measured yet."""
    known = _known(suite, store, methods)
    runs = [seconds for name, seconds in known if name == ""]
    rivals = [seconds for name, seconds in known if name]
    if runs and rivals:
        run, rival = statistics.mean(runs), statistics.mean(rivals)
    else:
        ordinary = _ordinary(groups[0].case.settings) if groups else 0.0
        run, rival = START + (1 + LOOP) * ordinary, RIVAL * ordinary
    lengths = []
    for group in groups:
        begun = (store.folder(group.case, group.seed) / "run" / "DONE").exists()
        lengths.append((START if begun else run) + rival * len(group.methods))
    return max([sum(lengths) / max(1, jobs), *lengths])


def _known(suite: Suite, store: Store, methods: Sequence[str]) -> list[tuple[str, float]]:
    """Seconds of finished cells by method, and of whole runs under the empty name."""
    found = []
    for case in suite.cases:
        for seed in suite.seeds:
            for method in methods_of(case, methods):
                cell = store.cell(case, seed, method) or {}
                if "seconds" in cell:
                    found.append((method, cell["seconds"]))
                if cell.get("run_seconds"):
                    found.append(("", cell["run_seconds"]))
    return found


def _ordinary(settings: Settings) -> float:
    """Seconds of ordinary training on pictures of 64 px, from a few steps of the default network."""
    import torch

    from conceptnet_ml.network.build import build_network
    from conceptnet_ml.network.training import TrainingJob, train
    from conceptnet_ml.plugins import load_plugins
    from conceptnet_ml.runtime import devices

    device = devices.choose_device(settings.device)
    dtype = devices.choose_precision(settings.training.precision, device)
    batch = settings.training.batch
    network = build_network(Settings(), ("a", "b"), (64, 64), load_plugins()).to(device)
    images = torch.rand(batch, 3, 64, 64, device=device)
    labels = torch.zeros(batch, dtype=torch.int64, device=device)

    def steps(count: int) -> float:
        began = time.monotonic()
        train(network, lambda numbers, generator: (images[: len(numbers)], labels[: len(numbers)]), job(count))
        return time.monotonic() - began

    def job(count: int) -> TrainingJob:
        return TrainingJob(batch, count, 0.01, 0, device, dtype, settings=settings.training)

    steps(1)  # the first is never the usual one
    return steps(4) / 4 * settings.training.epochs * math.ceil(IMAGES / batch)
