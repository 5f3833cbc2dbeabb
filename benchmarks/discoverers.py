"""Units or directions: what does each discoverer find in the same network, and how much hangs on it?

    python benchmarks/discoverers.py --pictures FOLDER --cifar FOLDER --out runs/discoverers

``--pictures`` is an ImageFolder of cars and dogs, ``--cifar`` holds train/CLASS/* and test/CLASS/*. A case whose
pictures are not given is left out. What is finished is read, not repeated. The network is that of ordinary training.
What is found comes from the training images, *joint* and all that follows from held-out ones. Prints Markdown and
writes OUT/discoverers.json.

- *of*: how many units or directions there are; *kept*: how much of the maps' variance; *found*: classes that have a
  feature, of all classes; *members*: mean size of a feature; *share*: of the summed positive effect of all units
  (directions), each ablated alone, what a feature's members carry.
- *joint*: fall of the class's margin when all members are replaced by their means at once; *rest*: when what directions
  leave out is; both as shares of the fall when the whole stage is.
- *deletion*: replaced by their means one by one, in the order of their effect on the class, up to ``MOST`` of all units
  or directions; mean share of the margin that is left, less is better. *insertion*: from the stage's mean, the same put
  back one by one; mean share of the margin regained, more is better. In brackets random orders, then the gain.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml import Settings, auroc, load_plugins
from conceptnet_ml.bench.intervals import summarize
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.concepts.scores import FindEvidence, gather_evidence
from conceptnet_ml.data.load import load_data
from conceptnet_ml.network.basis import BasisEvidence, Directions, Network, with_basis
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.runtime import devices, seeding
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.steps.context import Context
from conceptnet_ml.storage.run_folder import Run
from conceptnet_ml.swap.probe import margin_over_runner_up

KINDS = ("units", "nmf", "kmeans", "drawn, half", "sae", "drawn, twice")
"""Discoverers, and as a control activations drawn at random for directions, as many as nmf and kmeans have, or the
autoencoder."""
STAGES = ("block3", "block2")
MOST = 16
"""Units or directions replaced or put back, one by one."""
ORDERS = 5
"""Random orders."""
PROBED = 1024
"""Probe images; the learner takes twice as many."""
PLUGINS = load_plugins()


def cases(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Settings of the data by name of the case."""
    found: dict[str, dict[str, Any]] = {}
    if options.pictures is not None:
        found["cars and dogs"] = {"source": f"folder:{options.pictures}"}
        found["cars and dogs, wheels"] = {"source": f"folder:{options.pictures}", "trap": "wheels"}
    if options.cifar is not None:
        found["CIFAR-10"] = {"source": f"folder:{options.cifar}", "train_limit": 1000}
    return found


def measure(data: dict[str, Any], seed: int, folder: Path, rows: list[dict[str, Any]]) -> None:
    """The figures of one case and seed: a row for each stage and discoverer that is not there yet."""
    settings = Settings.model_validate({"seed": seed, "data": data, "concepts": {"probe_images": PROBED}})
    devices.setup_threads()
    device = devices.choose_device(settings.device)
    dtype = devices.choose_precision(settings.training.precision, device)
    images = load_data(settings, PLUGINS)
    stored = (folder / "settings.json").exists()
    run = (
        Run.open(folder, write=True)
        if stored
        else Run.create(folder, settings.model_dump(mode="json"), {}, devices.environment(device, dtype), "0")
    )
    with run:
        ctx = Context(settings, PLUGINS, images, run, Progress(quiet=True), Stopper(), device, dtype)
        training = settings.training
        network = ctx.train("ordinary", ctx.network(), ctx.views(ctx.fit, []), training.epochs, training.rate)
        seen = ctx.probe_views("directions", [])
        plain = ctx.views(ctx.held, [])
        held = [(plain.raw(part), ctx.labels[part].to(device)) for part in ctx.held.split(256)]
        for stage, kind in _missing(rows):
            with frozen(network):
                rows.append({"stage": stage, "kind": kind, **_judge(ctx, network, stage, kind, seen, held)})


def _missing(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    done = {(row["stage"], row["kind"]) for row in rows}
    return [(stage, kind) for stage in STAGES for kind in KINDS if (stage, kind) not in done]


def _drawn(evidence: BasisEvidence, kind: str) -> Directions:
    """Activations at random places as directions, none of them faint."""
    rows = evidence.places(16_384)
    strong = rows[rows.norm(dim=1) > rows.norm(dim=1).mean()]
    return Directions(strong[: evidence.units * 2 if kind.endswith("twice") else evidence.units // 2])


def _judge(
    ctx: Context, network: StagedNetwork, stage: str, kind: str, seen: list[Any], held: list[Any]
) -> dict[str, Any]:
    drawn = kind.startswith("drawn")
    record, settings = PLUGINS.get("discoverer", "units" if drawn else kind), ctx.settings.concepts
    began, explained = time.monotonic(), 1.0
    described: Network = network
    if drawn or "basis" in record.functions():
        with torch.no_grad():
            maps = [network.run_until(images, stage).float() for images, _ in seen]
        evidence = BasisEvidence(maps, ctx.seed(stage, "directions"), settings)
        made = _drawn(evidence, kind) if drawn else record.function("basis")(evidence)
        basis = made.to(ctx.device).eval().requires_grad_(False)
        explained, described = evidence.explained(basis), with_basis(network, stage, basis)
    learning = time.monotonic() - began
    head = Readout("classes", described).head(stage)
    evidence = gather_evidence(described, stage, head, seen, ctx.classes, settings)
    found = {finding.parent: finding for finding in record.function("find")(evidence)}
    scores, right = evidence.scores()
    aucs = torch.stack([auroc(scores, right == parent) for parent in range(ctx.classes)])
    told = gather_evidence(described, stage, head, held, ctx.classes, settings)
    orders = _orders(evidence, aucs)
    row: dict[str, Any] = {
        "count": scores.shape[1],
        "explained": explained,
        "found": len(found) / ctx.classes,
        "members": _mean([len(finding.units) for finding in found.values()]),
        "share": _mean([finding.share for finding in found.values()]),
        "learning_seconds": learning,
    }
    each = [
        _curves(told, evidence.mean, parent, orders[parent], finding.units if (finding := found.get(parent)) else ())
        for parent in range(ctx.classes)
    ]
    return row | {name: _mean([one[name] for one in each]) for name in each[0]}


def _orders(evidence: FindEvidence, aucs: Tensor) -> list[list[int]]:
    """For each class, units or directions by falling effect; the strongest are confirmed by ablation."""
    effects = evidence.estimated_effects()
    strongest = effects.topk(min(evidence.settings.confirm, effects.shape[1]), 1).indices
    units = strongest.flatten().unique()
    confirmed = evidence.ablation_effects(units)
    for parent in range(len(effects)):
        mine = torch.isin(units, strongest[parent])
        effects[parent, units[mine]] = confirmed[parent, mine]
    return [row.argsort(descending=True).tolist() for row in effects]


@torch.no_grad()
def _curves(
    told: FindEvidence, mean: Tensor, parent: int, order: list[int], members: tuple[int, ...]
) -> dict[str, float]:
    """What becomes of a class's margin, on its own held-out images, as shares of what the whole stage carries."""
    maps = torch.cat([these[right == parent] for these, right in told.batches])
    right = torch.full((len(maps),), parent, device=maps.device)
    width = maps.shape[1] if told.width is None else told.width

    def margin(these: Tensor) -> float:
        return float(margin_over_runner_up(told.head(these), right).mean())

    def with_means(which: list[int]) -> Tensor:
        changed = maps.clone()
        changed[:, which] = mean[which]
        return changed

    def back(which: list[int]) -> Tensor:
        changed = mean.expand_as(maps).clone()
        changed[:, which] = maps[:, which]
        return changed

    top, bottom = margin(maps), margin(mean.expand_as(maps))
    carried = top - bottom
    most = min(MOST, width)

    def deletion(these: list[int]) -> float:
        left = [(margin(with_means(these[:count])) - bottom) / carried for count in range(1, most + 1)]
        return sum(left) / most

    def insertion(these: list[int]) -> float:
        won = [(margin(back(these[:count])) - bottom) / carried for count in range(1, most + 1)]
        return sum(won) / most

    draws = [
        torch.randperm(width, generator=seeding.generator(seeding.seed_for(parent, "order", draw))).tolist()
        for draw in range(ORDERS)
    ]
    found = {
        "joint": (top - margin(with_means(list(members)))) / carried if members else 0.0,
        "rest": (top - margin(with_means(list(range(width, maps.shape[1]))))) / carried,
        "deletion": deletion(order),
        "deletion_random": sum(deletion(draw) for draw in draws) / ORDERS,
        "insertion": insertion(order),
        "insertion_random": sum(insertion(draw) for draw in draws) / ORDERS,
    }
    found["deletion_gain"] = found["deletion_random"] - found["deletion"]
    found["insertion_gain"] = found["insertion"] - found["insertion_random"]
    return found


def _mean(values: list[Any]) -> float:
    return sum(values) / len(values) if values else 0.0


def table(results: dict[str, list[list[dict[str, Any]]]]) -> str:
    """Markdown: means over seeds, in brackets their range (from five seeds on, 95 % bootstrap intervals)."""
    lines = []
    for case, seeds in results.items():
        for stage in STAGES:
            lines += [
                "",
                f"**{case}**, {stage}",
                "",
                "| | of | kept, % | found | members | share | joint | rest | deletion (random) | gain | "
                "insertion (random) | gain |",
                "|" + " --- |" * 12,
            ]
            for kind in KINDS:
                mine = [next(row for row in rows if (row["stage"], row["kind"]) == (stage, kind)) for rows in seeds]

                def cell(name: str, mine: list[dict[str, Any]] = mine, scale: float = 1, digits: int = 2) -> str:
                    one = summarize([scale * row[name] for row in mine])
                    ends = "" if one["low"] is None else f" [{one['low']:.{digits}f}, {one['high']:.{digits}f}]"
                    return f"{one['mean']:.{digits}f}{ends}"

                def alone(name: str, mine: list[dict[str, Any]] = mine, digits: int = 2) -> str:
                    return f"{_mean([row[name] for row in mine]):.{digits}f}"

                cells = [
                    kind,
                    alone("count", digits=0),
                    cell("explained", scale=100, digits=0) if kind != "units" else "100",
                    alone("found"),
                    cell("members", digits=1),
                    cell("share"),
                    cell("joint"),
                    cell("rest") if kind != "units" else "0",
                    f"{alone('deletion')} ({alone('deletion_random')})",
                    cell("deletion_gain"),
                    f"{alone('insertion')} ({alone('insertion_random')})",
                    cell("insertion_gain"),
                ]
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines[1:])


def main() -> None:
    """Measure every case and seed, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--cifar", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/discoverers"))
    options = parser.parse_args()
    results: dict[str, list[list[dict[str, Any]]]] = {}
    for case, data in cases(options).items():
        for seed in range(options.seeds):
            folder = options.out / f"{case.replace(', ', '-').replace(' ', '-')}-{seed}"
            done = options.out / f"{folder.name}.json"
            rows = json.loads(done.read_text()) if done.exists() else []
            if _missing(rows):
                measure(data, seed, folder, rows)
                done.write_text(json.dumps(rows, indent=1))
            results.setdefault(case, []).append(rows)
    if not results:
        parser.error("give --pictures, --cifar or both")
    (options.out / "discoverers.json").write_text(json.dumps(results, indent=1))
    print(table(results))


if __name__ == "__main__":
    main()
