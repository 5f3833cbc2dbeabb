"""One cell: the network of a method, and everything that is measured on it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from conceptnet_ml.adaptation.curves import Adapter
from conceptnet_ml.bench.cases import FORCED, LEARNED, ORDINARY
from conceptnet_ml.concepts.model import GeneralizedModel
from conceptnet_ml.evaluation.accuracy import accuracies
from conceptnet_ml.evaluation.baselines import KIND, baseline_seconds, train_baselines
from conceptnet_ml.evaluation.linear_probe import cue_set, decodability
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.results.learned_run import LearnedRun
from conceptnet_ml.runtime import devices
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import Learned

ADAPTED = ("aligned", "conflict", "random", "absent")
"""Test sets that are looked at after adapting."""
TURNED = 8
"""Examples per class of the world turned round."""


class LeftOut(Exception):
    """A cell that has no answer for this case, and why; nothing went wrong."""


@dataclass
class Ground:
    """A finished run, and what its cells share.

    Args:
        opened: The run.
        bench, learned: Its workbench and what its loop ended with.
        ks: Labelled examples per class to adapt on.
        draws: How often those are drawn.
        partial: Names of trainings that were cut off and gone on with, whose seconds are those of their last part.
        seconds: How long the whole run took, where it was made in one go.
    """

    opened: LearnedRun
    ctx: Context
    learned: Learned
    ks: tuple[int, ...]
    draws: int
    partial: list[str] = field(default_factory=list)
    seconds: float | None = None


def measure_cell(ground: Ground, method: str) -> dict[str, Any]:
    """Everything a table says of a method on one case and seed.

    Cost: training the method, unless the run remembers it, one pass over the test sets, and the adaptation.

    Raises:
        LeftOut: The method has no answer here.
    """
    ctx = ground.ctx
    devices.reset_peak_memory(ctx.device)
    network, cost = _trained(ground, method)
    peak = devices.peak_memory(ctx.device)
    if method in (ORDINARY, LEARNED):
        # trained with the run itself, in one process: the peak is the learner's
        peak = ground.opened.summary()["peak_memory_gib"] if method == LEARNED else math.nan
    table = accuracies({method: network}, ctx.data.tests, ctx.device, ctx.dtype)
    result: dict[str, Any] = {
        "test_sets": {
            name: {"images": row["images"], "accuracy": row[method]["accuracy"]} for name, row in table.items()
        },
        "cost": cost,
        "peak_memory_gib": peak,
        "notes": [],
    }
    _adapt(ground, network, result)
    _decode(ground, network, result)
    if method not in (ORDINARY, LEARNED, FORCED) and not ground.learned.epochs:
        result["notes"].append("no round was kept; trained for as long as one round would have taken")
    if method == LEARNED:
        summary = ground.opened.summary()
        result["rounds"] = summary["rounds"]
        result["families"] = _families(summary["test_sets"])
        cost["times_ordinary_per_round"] = summary["cost"]["times_ordinary_per_round"]
        result["run_seconds"] = ground.seconds
        result["data_notes"] = summary["notes"]
    return result


def _adapt(ground: Ground, network: nn.Module, result: dict[str, Any]) -> None:
    """Accuracy after adapting to a few examples of the new world, and of the world turned round.

    The examples are held-out training images with random cues, the same for all methods; no test image is among them.
    """
    ctx = ground.ctx
    worlds, tests, seed = ctx.data.worlds, ctx.data.tests, ctx.seed("adaptation")
    if "unbiased" in worlds:
        pool = worlds["unbiased"]().subset(ctx.held)
        fewest = int(torch.bincount(pool.labels, minlength=ctx.classes).min())
        ks = [k for k in ground.ks if k <= fewest]
        if len(ks) < len(ground.ks):
            asked = ", ".join(str(k) for k in ground.ks if k > fewest)
            result["notes"].append(f"k = {asked}: the pool has {fewest} held-out images of a class")
        shown = {name: tests[name] for name in ADAPTED if name in tests}
        result["adaptation"] = Adapter.of(network, pool, shown, ctx.device, ctx.dtype).curve(ks, ground.draws, seed)
    if "turned train" in worlds and "turned test" in worlds:
        pool = worlds["turned train"]().subset(ctx.held)
        fewest = int(torch.bincount(pool.labels, minlength=ctx.classes).min())
        ks = [k for k in (0, TURNED) if k <= fewest]
        shown = {"turned": worlds["turned test"]()}
        rows = Adapter.of(network, pool, shown, ctx.device, ctx.dtype).curve(ks, ground.draws, seed)
        result["turned"] = [{"k": row["k"], **row["test_sets"]["turned"]} for row in rows]


def _decode(ground: Ground, network: nn.Module, result: dict[str, Any]) -> None:
    """What a line reads off each stage: the class, and the cue."""
    ctx = ground.ctx
    found = cue_set(ctx.data)
    if found is None:
        return
    staged = network.network if isinstance(network, GeneralizedModel) else network
    assert isinstance(staged, StagedNetwork)
    images, classes, cues = found
    targets = {"class": classes, "cue": cues}
    result["decodability"] = decodability(staged, images, targets, ctx.device, ctx.dtype, ctx.seed("decodability"))


def _families(test_sets: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Accuracy of every family's variants alone, by family and test set."""
    found: dict[str, dict[str, float]] = {}
    for name, row in test_sets.items():
        for method, entry in row.items():
            if method.startswith("family "):
                found.setdefault(method, {})[name] = entry["accuracy"]
    return found


def _trained(ground: Ground, method: str) -> tuple[nn.Module, dict[str, Any]]:
    """The method's network and what its training cost."""
    ctx, learned = ground.ctx, ground.learned
    ordinary = ctx.seconds("ordinary")
    if method == ORDINARY:
        return learned.ordinary, _cost(ground, {"ordinary": ordinary}, ["ordinary"])
    if method == LEARNED:
        families = {key: parents.family for key, parents in learned.families.items() if parents.family is not None}
        parts = {part: ctx.seconds(part) for part in ("probing", "rounds")}
        names = [name for name, (kind, _) in ctx.timings.items() if kind in parts]
        return GeneralizedModel(learned.network, families).eval(), _cost(ground, parts, names)
    if method == FORCED:
        again, forced = ground.opened.reopen(ctx.progress, ctx.stopper, show_refused=True)
        if forced.refused is None:
            raise LeftOut("no round was refused")
        names = [name for name, (kind, _) in again.timings.items() if kind == KIND]
        return forced.refused, _cost(ground, {"training": again.seconds(KIND)}, names)
    for need in getattr(ctx.plugins.get("baseline", method), "needs", ()):
        if need not in ctx.data.worlds:
            raise LeftOut(f"needs {need} images, which these data do not have")
    network = train_baselines(ctx, learned, names=[method])[method]
    mine = f"control/{method}"
    names = [name for name in ctx.timings if name == mine or name.startswith(f"{mine}/")]
    return network, _cost(ground, {"training": baseline_seconds(ctx, method)}, names)


def _cost(ground: Ground, seconds: dict[str, float], names: list[str]) -> dict[str, Any]:
    """Seconds, and as a multiple of ordinary training in the same run."""
    total = sum(seconds.values())
    return {
        "seconds": total,
        **{f"{part}_seconds": value for part, value in seconds.items()},
        "times_ordinary": total / max(ground.ctx.seconds("ordinary"), 1e-9),
        "partial": bool({"ordinary", *names} & set(ground.partial)),
    }
