"""One cell: the network of a method, and everything that is measured on it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from conceptnet_ml.adaptation.curves import Adapter
from conceptnet_ml.bench.cases import FORCED, LEARNED, ORDINARY
from conceptnet_ml.concepts.model import GeneralizedModel
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.evaluation.accuracy import accuracies
from conceptnet_ml.evaluation.baselines import KIND, baseline_of, baseline_seconds, lacking, train_baselines
from conceptnet_ml.evaluation.linear_probe import cue_set, decodability
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.results.learned_run import LearnedRun
from conceptnet_ml.runtime import devices
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import Learned

ADAPTED = ("aligned", "conflict", "random", "absent")
"""Test sets that are measured after adapting."""
KEPT = ("accuracy", "worst_group")
"""What a cell keeps of each test set."""
TURNED = 8
"""Examples per class of the world turned round."""


class NoAnswer(Exception):
    """A method has no answer for a case, and why; nothing went wrong."""


@dataclass
class FinishedRun:
    """The run that the cells of a case and seed share.

    Args:
        opened: As it lies in its folder.
        ctx, learned: Its context and what its rounds ended with.
        ks: Labelled examples per class to adapt on.
        draws: How often those are drawn.
        partial: Names of trainings that were cut off and resumed, whose seconds are those of their last part.
        seconds: How long the whole run took, where it was made in one go.
    """

    opened: LearnedRun
    ctx: Context
    learned: Learned
    ks: tuple[int, ...]
    draws: int
    partial: list[str] = field(default_factory=list)
    seconds: float | None = None

    def cost(self, seconds: Mapping[str, float], trainings: Iterable[str]) -> dict[str, Any]:
        """Seconds, and as a multiple of ordinary training in the same run."""
        total = sum(seconds.values())
        return {
            "seconds": total,
            **{f"{part}_seconds": value for part, value in seconds.items()},
            "times_ordinary": total / max(self.ctx.seconds("ordinary"), 1e-9),
            "partial": bool({"ordinary", *trainings} & set(self.partial)),
        }


def measure_cell(run: FinishedRun, method: str) -> dict[str, Any]:
    """Every figure that the tables have of a method on one case and seed.

    Cost: training the method, unless the run remembers it, one pass over the test sets, and the adaptation. Raises
    NoAnswer where the method cannot be used on this case.
    """
    ctx, summary = run.ctx, run.opened.summary()
    devices.reset_peak_memory(ctx.device)
    network, cost = _trained(run, method)
    peak = devices.peak_memory(ctx.device)
    if method in (ORDINARY, LEARNED):
        # trained with the run itself, in one process: the peak is the learner's
        peak = summary["peak_memory_gib"] if method == LEARNED else math.nan
    table = accuracies({method: network}, ctx.data.tests, ctx.device, ctx.dtype)
    result: dict[str, Any] = {
        "test_sets": {
            name: {"images": row["images"], **{key: row[method][key] for key in KEPT if key in row[method]}}
            for name, row in table.items()
        },
        "cost": cost,
        "peak_memory_gib": peak,
        "notes": [],
    }
    result |= _after_adapting(run, network, result["notes"])
    if (cues := cue_set(ctx.data)) is not None:
        staged = network.network if isinstance(network, GeneralizedModel) else network
        assert isinstance(staged, StagedNetwork)
        targets = {"class": cues[1], "cue": cues[2]}
        seed = ctx.seed("decodability")
        result["decodability"] = decodability(staged, cues[0], targets, ctx.device, ctx.dtype, seed)
    if method not in (ORDINARY, LEARNED, FORCED) and not run.learned.epochs:
        result["notes"].append("no round was kept; trained for as long as one round would have taken")
    if method == LEARNED:
        result["rounds"] = summary["rounds"]
        result["families"] = _families(summary["test_sets"])
        cost["times_ordinary_per_round"] = summary["cost"]["times_ordinary_per_round"]
        result["run_seconds"] = run.seconds
        result["data_notes"] = summary["notes"]
    return result


def _after_adapting(run: FinishedRun, network: nn.Module, notes: list[str]) -> dict[str, Any]:
    """Accuracy after adapting to a few examples of the new world, and of the world turned round.

    The examples are held-out training images with random cues, the same for all methods; no test image is among them.
    """
    ctx, worlds, result = run.ctx, run.ctx.data.worlds, {}

    def rows(world: str, tests: Mapping[str, ImageSet], ks: tuple[int, ...]) -> list[dict[str, Any]]:
        pool = worlds[world]().subset(ctx.held)
        fewest = int(torch.bincount(pool.labels, minlength=ctx.classes).min())
        too_many = ", ".join(str(k) for k in ks if k > fewest)
        if world == "unbiased" and too_many:
            notes.append(f"k = {too_many}: the pool has {fewest} held-out images of a class")
        enough = [k for k in ks if k <= fewest]
        adapter = Adapter.of(network, pool, tests, ctx.device, ctx.dtype)
        return adapter.curve(enough, run.draws, ctx.seed("adaptation"))

    if "unbiased" in worlds:
        tests = {name: ctx.data.tests[name] for name in ADAPTED if name in ctx.data.tests}
        result["adaptation"] = rows("unbiased", tests, run.ks)
    if "turned train" in worlds and "turned test" in worlds:
        found = rows("turned train", {"turned": worlds["turned test"]()}, (0, TURNED))
        result["turned"] = [{"k": row["k"], **row["test_sets"]["turned"]} for row in found]
    return result


def _families(test_sets: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Accuracy of every family's variants alone, by family and test set."""
    found: dict[str, dict[str, float]] = {}
    for name, row in test_sets.items():
        for method, entry in row.items():
            if method.startswith("family "):
                found.setdefault(method, {})[name] = entry["accuracy"]
    return found


def _trained(run: FinishedRun, method: str) -> tuple[nn.Module, dict[str, Any]]:
    """The method's network and what its training cost."""
    ctx, learned = run.ctx, run.learned
    if method == ORDINARY:
        return learned.ordinary, run.cost({"ordinary": ctx.seconds("ordinary")}, ["ordinary"])
    if method == LEARNED:
        families = {key: readout.family for key, readout in learned.families.items() if readout.family is not None}
        parts = {part: ctx.seconds(part) for part in ("probing", "rounds")}
        names = [name for name, (kind, _) in ctx.timings.items() if kind in parts]
        return GeneralizedModel(learned.network, families).eval(), run.cost(parts, names)
    if method == FORCED:
        again, forced = run.opened.reopen(ctx.progress, ctx.stopper, show_refused=True)
        if forced.refused is None:
            raise NoAnswer("no round was refused")
        names = [name for name, (kind, _) in again.timings.items() if kind == KIND]
        return forced.refused, run.cost({"training": again.seconds(KIND)}, names)
    record, _ = baseline_of(method, ctx.plugins)
    if lack := lacking(record, ctx.data, ctx.settings.data.target):
        raise NoAnswer(lack)
    network = train_baselines(ctx, learned, names=[method])[method]
    own = f"control/{method}"
    names = [name for name in ctx.timings if name == own or name.startswith(f"{own}/")]
    return network, run.cost({"training": baseline_seconds(ctx, method)}, names)
