"""What a bench would do: the state of every cell, and how long the rest will take, roughly."""

from __future__ import annotations

import math
import statistics
import time
from pathlib import Path
from typing import Any

from conceptnet_ml.bench.cases import Suite
from conceptnet_ml.bench.cells import DONE, LEFT_OUT, CellGroup, CellStore
from conceptnet_ml.bench.places import ProcessPlace, default_jobs, threads_for
from conceptnet_ml.bench.results import REMEASURE
from conceptnet_ml.bench.runner import check_suite
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.storage.files import damaged

IMAGES = 2100
"""Training images assumed where no case was measured yet: two classes of 1,200, less the held-out."""

LOOP, RIVAL, START = 4.0, 2.0, 20.0
"""Probing and rounds, and a rival with its adaptation, in ordinary trainings; seconds to start and load the images."""


def plan_bench(
    suite: Suite, out: str | Path, plugins: Plugins, jobs: int | ProcessPlace | None = None
) -> dict[str, Any]:
    """What :func:`run_bench` would do in this folder; cost: about a second where nothing is measured yet. Raises as
    ``run_bench`` would.

    Args:
        suite, out, jobs: As for ``run_bench``.
        plugins: Where methods are looked up.

    Returns:
        ``methods``; ``cells``: ``{case, seed, method, state}`` each, the state ``to do``, ``finished``, ``failed`` or
        ``left out``; ``jobs`` and ``threads`` of each; ``seconds_left``.
    """
    store = CellStore(Path(out))
    here = jobs is None or isinstance(jobs, int)
    methods = check_suite(suite, plugins, here)
    store.check(suite)
    groups = store.groups(suite, methods)
    if isinstance(jobs, int | None):
        jobs = max(1, min(jobs or default_jobs(max(1, len(groups))), len(groups)))
        threads = threads_for(jobs)
    else:
        jobs, threads = jobs.width(groups)
    with damaged(store.out / "cells", REMEASURE):
        seconds = _seconds_left(suite, store, groups, methods, jobs, threads) if groups else 0.0
    return {
        "methods": list(methods),
        "cells": cell_states(suite, store, methods),
        "jobs": jobs,
        "threads": threads,
        "seconds_left": seconds,
    }


def cell_states(suite: Suite, store: CellStore, methods: tuple[str, ...]) -> list[dict[str, Any]]:
    """Every cell as :func:`plan_bench` returns them."""
    rows = []
    for case, seed, method in suite.cells(methods):
        state = LEFT_OUT
        if not case.missing:
            state = store.state(suite, case, seed, method)
            state = "finished" if state in (DONE, LEFT_OUT) else state
        rows.append({"case": case.name, "seed": seed, "method": method, "state": state})
    return rows


def _seconds_left(
    suite: Suite, store: CellStore, groups: list[CellGroup], methods: tuple[str, ...], jobs: int, threads: int
) -> float:
    """Seconds that the workers need for these groups: by finished cells of the same network, else by a few steps."""
    cells = [
        (case.settings.network, store.cell(case, seed, method) or {}) for case, seed, method in suite.cells(methods)
    ]
    pace: dict[str, tuple[float, float]] = {}
    for settings in {group.case.settings.network.backbone: group.case.settings for group in groups}.values():
        own = [cell for network, cell in cells if network.backbone == settings.network.backbone]
        runs = [cell["run_seconds"] for cell in own if cell.get("run_seconds")]
        rivals = [cell["seconds"] for cell in own if "seconds" in cell]
        ordinary = 0.0 if runs and rivals else _ordinary_seconds(settings, threads)
        guess = START + (1 + LOOP) * ordinary, RIVAL * ordinary
        pace[settings.network.backbone] = guess if ordinary else (statistics.mean(runs), statistics.mean(rivals))
    lengths = []
    for group in groups:
        run, rival = pace[group.case.settings.network.backbone]
        begun = (store.folder(group.case, group.seed) / "run" / "DONE").exists()
        lengths.append((START if begun else run) + rival * len(group.methods))
    return max([sum(lengths) / jobs, *lengths])


def _ordinary_seconds(settings: Settings, threads: int) -> float:
    """Seconds of ordinary training of these settings' network on pictures of 64 px, from a few steps by as many threads
    as a worker has: more of them beside other work wait for each other, up to a hundred times as long."""
    import torch

    from conceptnet_ml.network.build import build_network
    from conceptnet_ml.network.training import TrainingJob, train
    from conceptnet_ml.plugins import load_plugins
    from conceptnet_ml.runtime import devices

    device = devices.choose_device(settings.device)
    dtype = devices.choose_precision(settings.training.precision, device)
    batch = settings.training.batch
    network = build_network(settings, ("a", "b"), (64, 64), load_plugins()).to(device)
    images = torch.rand(batch, 3, 64, 64, device=device)
    labels = torch.zeros(batch, dtype=torch.int64, device=device)

    def seconds(steps: int) -> float:
        start = time.monotonic()
        job = TrainingJob(batch, steps, 0.01, 0, device, dtype, settings=settings.training)
        train(network, lambda numbers, generator: (images[: len(numbers)], labels[: len(numbers)]), job)
        return time.monotonic() - start

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        seconds(1)  # the first is slower than the rest
        step = seconds(4) / 4
    finally:
        torch.set_num_threads(before)
    return step * settings.training.epochs * math.ceil(IMAGES / batch)
