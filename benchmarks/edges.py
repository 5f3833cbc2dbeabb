"""Do edges say what taking a unit out does, and is there none where weights are shuffled?

    python benchmarks/edges.py --pictures FOLDER --cifar FOLDER --seeds 3 --out runs/edges

For each case (photographs with wheels on every car, three stages deep; ten CIFAR-10 classes, two) and seed a run is
made or read back. Then for the classes and for every family, at every stage below their own:

- *agreement*: Spearman's rank correlation, over the units, of the weights with the real fall by ablation of each unit,
  mean and least over the answers; beside it that of the classic path of integrated gradients (one group, eight
  midpoints) at the same cost, and of the weights of shuffled copies against the real network's falls.
- *gap* of both.
- *edges that stand*, of the settings' most per answer; in blank (shuffled, untrained) networks there should be none,
  and no feature.

Prints Markdown, writes OUT/edges.json. About six minutes a seed on one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from conceptnet_ml import LearnedRun, Settings, learn, open_run
from conceptnet_ml.bench.intervals import summarize
from conceptnet_ml.concepts import null_models as nulls
from conceptnet_ml.concepts.attribution import ablate, margin_over_mean, rank_correlation, unit_weights
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.concepts.scores import gather_evidence
from conceptnet_ml.network.build import build_network
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.descend import edges_to
from conceptnet_ml.steps.find import find
from conceptnet_ml.steps.records import Site

IMAGES = 512
SHUFFLED, UNTRAINED = 5, 5


def cases(pictures: str | None, cifar: str | None) -> dict[str, dict[str, Any]]:
    """Settings of the cases whose data is at hand."""
    found: dict[str, dict[str, Any]] = {}
    if pictures:
        found["wheels"] = {"depth": 3, "data": {"source": f"folder:{pictures}", "trap": "wheels"}}
    if cifar:
        found["CIFAR-10"] = {"depth": 2, "data": {"source": f"folder:{cifar}", "train_limit": 1000}}
    return found


def made(values: dict[str, Any], seed: int, folder: Path, progress: Progress) -> LearnedRun:
    """The run of a case and seed, read back where there is one."""
    if (folder / "DONE").exists():
        return open_run(folder)
    values = {**values, "seed": seed, "plugins": {"dreamer": "none", "controls": ()}}
    return learn(settings=Settings.model_validate(values), out=folder, progress=progress)


def transition(ctx: Context, readout: Readout, stage: str) -> dict[str, Any]:
    """What the weights of one set of answers at one stage say against real ablations."""
    images = nulls.first_images(ctx.probe_views("edges", readout.swaps), IMAGES)
    classes, concepts = ctx.classes, ctx.settings.concepts
    with frozen(*readout.modules()):
        evidence = gather_evidence(
            readout.network, stage, margin_over_mean(readout.head(stage)), images, classes, concepts
        )
        mean, units = evidence.mean, torch.arange(len(evidence.mean))
        falls = torch.stack([ablate(evidence, mean, parent, units) for parent in range(classes)])
        ways = {"grouped": (concepts.edge_groups, concepts.edge_points), "classic": (1, 8)}
        result: dict[str, Any] = {}
        for name, (groups, points) in ways.items():
            way = concepts.model_copy(update={"edge_groups": groups, "edge_points": points})
            weights, gaps = unit_weights(replace(evidence, settings=way), seed=0)
            result[name] = {"agreement": agreements(weights, falls), "gap": gaps.tolist()}
            result[name]["error"] = float((weights - falls).abs().mean() / falls.abs().mean())
            result[name]["largest"] = float(weights.abs().max())
    result["shuffled"] = []
    for number in range(nulls.COPIES):
        copied = nulls.shuffle_weights(readout, images, number)
        head = margin_over_mean(copied.head(stage))
        with frozen(*copied.modules()):
            evidence = gather_evidence(copied.network, stage, head, images, classes, concepts)
            weights, _ = unit_weights(evidence, seed=0)
        result["shuffled"].append({"agreement": agreements(weights, falls), "largest": float(weights.abs().max())})
    return result


def agreements(weights: torch.Tensor, falls: torch.Tensor) -> list[float | None]:
    """Rank correlation per answer."""
    return [rank_correlation(mine, theirs) for mine, theirs in zip(weights, falls, strict=True)]


def nothing(ctx: Context, readout: Readout, stage: str, seed: int) -> dict[str, list[int]]:
    """Edges that stand and features found where the network knows nothing."""
    images = nulls.first_images(ctx.probe_views("edges", readout.swaps), IMAGES)
    stages = [name for name in ctx.network().stage_names if name != stage]
    found: dict[str, list[int]] = {"edges": [], "features": []}

    def count(name: str, blank: Readout) -> None:
        edges = [edge for lower in stages for edge in edges_to(ctx, Site(lower, blank, f"{name}/{lower}"))]
        found["edges"].append(sum(edge.is_supported for edge in edges))
        found["features"].append(
            sum(len(find(ctx, Site(s, blank, f"{name}/find-{s}"))) for s in ctx.network().stage_names)
        )

    for number in range(SHUFFLED):
        count(f"shuffled/{number}", nulls.shuffle_weights(readout, images, 1000 + number))
    for number in range(UNTRAINED):
        fresh = build_network(ctx.settings, ctx.data.classes, ctx.size, ctx.plugins, seed=1000 * seed + number)
        blank = Readout("classes", fresh.to(ctx.device).eval())
        count(f"untrained/{number}", nulls.shuffle_weights(blank, images, number) if number % 2 else blank)
    return found


def measure(run: LearnedRun, seed: int) -> dict[str, Any]:
    """Every transition of a run, what its graph drew, and blank networks in its place."""
    ctx, learned = run.reopen()
    try:
        names = [*ctx.network().stage_names]
        everyone = {"classes": Readout("classes", learned.ordinary), **learned.families}
        result: dict[str, Any] = {"transitions": {}}
        for key, parents in everyone.items():
            top = parents.stage if parents.family is not None else None
            for stage in names if top is None else names[: names.index(top)]:
                result["transitions"][f"{key} → {stage}"] = transition(ctx, parents, stage)
        drawn = [edge for story in learned.rounds for edge in story.edges]
        result["drawn"] = [sum(edge.is_supported for edge in drawn), len(drawn)]
        result["blank"] = nothing(ctx, everyone["classes"], names[-1], seed)
    finally:
        ctx.run.close()
    return result


def report(results: dict[str, list[dict[str, Any]]]) -> str:
    """The tables."""
    lines = []
    for case, seeds in results.items():
        lines += [
            f"### {case}",
            "",
            "| answers → stage | agreement, least of the answers | classic path | shuffled copies | gap | classic gap "
            "| largest weight | in shuffled copies |",
            "| --- |" + " --- |" * 7,
        ]
        keys = dict.fromkeys(key for seed in seeds for key in seed["transitions"])
        for key in keys:
            rows = [seed["transitions"][key] for seed in seeds if key in seed["transitions"]]
            cells = [both([row[way]["agreement"] for row in rows]) for way in ("grouped", "classic")]
            cells.append(mean([v for row in rows for one in row["shuffled"] for v in one["agreement"]]))
            cells += [mean([v for row in rows for v in row[way]["gap"]], 3) for way in ("grouped", "classic")]
            cells.append(mean([row["grouped"]["largest"] for row in rows]))
            cells.append(mean([max(one["largest"] for one in row["shuffled"]) for row in rows]))
            lines.append(f"| {key} ({len(rows)}) | " + " | ".join(cells) + " |")
        drawn = ", ".join("{} of {}".format(*seed["drawn"]) for seed in seeds)
        lines += ["", f"Edges that stand, per seed: {drawn}.", ""]
        for what in ("edges", "features"):
            counts = [seed["blank"][what] for seed in seeds]
            lines.append(f"Blank networks, {what} per network: {counts}.")
        lines.append("")
    return "\n".join(lines)


def both(values: list[list[float | None]]) -> str:
    """Mean over seeds of the answers' mean, and the least of all."""
    known = [[value for value in row if value is not None] for row in values]
    found = summarize([sum(row) / len(row) for row in known if row])
    span = "" if found["low"] is None else f" [{found['low']:.2f}, {found['high']:.2f}]"
    return f"{found['mean']:.2f}{span}, {min(v for row in known for v in row):.2f}"


def mean(values: list[float | None], digits: int = 2) -> str:
    """Of what is known."""
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.{digits}f}" if known else "–"


def run_cases(
    description: str | None, measure: Callable[[LearnedRun, int], dict[str, Any]], report: Callable[..., str], name: str
) -> None:
    """Measure every case and seed that the arguments name, write OUT/NAME after each, print the tables."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures")
    parser.add_argument("--cifar")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/edges"))
    options = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {}
    with Progress() as progress:
        for case, values in cases(options.pictures, options.cifar).items():
            for seed in range(options.seeds):
                run = made(values, seed, options.out / f"{case}-{seed}", progress)
                results.setdefault(case, []).append(measure(run, seed))
                (options.out / name).write_text(json.dumps(results, indent=1))
    print(report(results))


if __name__ == "__main__":
    run_cases(__doc__, measure, report, "edges.json")
