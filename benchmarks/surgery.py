"""What operating on a trained network costs: splitting, merging, forgetting, beside pruning as many units.

    python benchmarks/surgery.py --pictures FOLDER --cifar FOLDER --seeds 3 --out runs/surgery

``--pictures`` is an ImageFolder of two classes, ``--cifar`` holds train/CLASS/* and test/CLASS/*; a case whose
pictures are not given is left out. Every stage is operated on by itself, on the same trained network. All units are
chosen, and all readers fitted, on training images; the test set is looked at once for each network. A finished case and
seed is read, not repeated. Prints Markdown and writes OUT/surgery.json.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from image_views import ImageViews
from pruning import prune_units, similar_units
from torch import Tensor
from torch.nn import functional

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.data.load import load_data
from conceptnet_ml.network.build import build_network
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import TrainingJob, predict_set, to_float, train
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.runtime import devices, seeding
from conceptnet_ml.surgery.batchnorm import recalibrate
from conceptnet_ml.surgery.dependency_graph import dependency_group
from conceptnet_ml.surgery.forget import forget_units
from conceptnet_ml.surgery.merge import importances, merge_units
from conceptnet_ml.surgery.split import split_unit

DEVICE = torch.device("cpu")
SHARE = 0.2
"""Part of a stage's units that is merged away or pruned."""


@dataclass(frozen=True)
class Case:
    """One kind of network on one kind of picture.

    With a trap the network is trained where the cue tells the class, the epoch after a split where it does not, so
    that something is left to learn.

    Args:
        most: Training images per class, None for all.
        tested: Test images, the first of them in an order of the seed's.
        fitted: Training images that readers are fitted and units chosen on.
        works: What is done.
    """

    name: str
    source: str
    backbone: str = "small"
    epochs: int = 16
    most: int | None = None
    seeds: int = 9
    trap: str = "none"
    tested: int = 2000
    fitted: int = 768
    works: tuple[str, ...] = ("split", "merge", "forget")


CASES = (
    Case("photographs, small", "pictures"),
    Case("photographs whose wheels stop telling the class, small", "pictures", trap="wheels", works=("split",)),
    Case("CIFAR-10, small", "cifar", most=400),
    Case(
        "photographs, resnet18",
        "pictures",
        "torchvision:resnet18",
        epochs=4,
        most=600,
        seeds=1,
        tested=450,
        fitted=256,
        works=("merge",),
    ),
)


class Bench:
    """One trained network and its data."""

    def __init__(self, case: Case, source: str, seed: int) -> None:
        self.case, self.seed = case, seed
        self.settings = Settings.model_validate(
            {
                "seed": seed,
                "data": {"source": source, "train_limit": case.most, "trap": case.trap},
                "network": {"backbone": case.backbone},
            }
        )
        plugins = load_plugins()
        self.data: Data = load_data(self.settings, plugins)
        self.dtype = devices.choose_precision("auto", DEVICE)
        fresh = build_network(self.settings, self.data.classes, self.data.shape[1:], plugins)
        began = time.monotonic()
        self.network = self.trained(fresh, case.epochs, self.settings.training.rate)
        self.seconds = time.monotonic() - began
        self.later = self.data.train if case.trap == "none" else self.data.worlds["unbiased"]()
        order = torch.randperm(len(self.data.train), generator=seeding.generator(seed))
        self.batches = [to_float(self.data.train.take(part), DEVICE) for part in order[: case.fitted].split(128)]
        test = self.data.tests["test"]
        self.test = test.subset(torch.randperm(len(test), generator=seeding.generator(seed))[: case.tested])
        self.logits = self.answers(self.network, self.test)

    def trained(
        self, network: StagedNetwork, epochs: int, rate: float, images: ImageSet | None = None
    ) -> StagedNetwork:
        """A copy after ordinary training."""
        network = copy.deepcopy(network)
        images = self.data.train if images is None else images
        job = TrainingJob(len(images), epochs, rate, self.seed, DEVICE, self.dtype, settings=self.settings.training)
        train(network, ImageViews(images, DEVICE), job)
        return network

    @staticmethod
    def answers(network: StagedNetwork, images: ImageSet) -> Tensor:
        """Logits in fp32."""
        return predict_set(network, images, DEVICE, None)

    def accuracy(self, logits: Tensor) -> float:
        """In per cent of the test images."""
        return 100 * float((logits.argmax(1) == self.test.labels).double().mean())

    def cost(self, network: StagedNetwork) -> dict[str, float]:
        """Points of test accuracy lost, and the root mean square change of the logits, a share of their deviation."""
        logits = self.answers(network, self.test)
        change = (logits - self.logits).square().mean().sqrt() / self.logits.std(0).mean()
        return {"points": self.accuracy(self.logits) - self.accuracy(logits), "change": float(change)}


def changed(one: StagedNetwork, other: StagedNetwork, images: Tensor, training: bool) -> float:
    """Largest change of a logit."""
    with torch.no_grad():
        first, second = (copy.deepcopy(network).train(training)(images) for network in (one, other))
    return float((first - second).abs().max())


def cosine(network: StagedNetwork, stage: str, units: tuple[int, int]) -> float:
    """Of the filters that write two units, where several layers write them the largest."""
    found = []
    for tie in dependency_group(network, stage).of("writes"):
        if tie.name == "weight":
            rows = network.get_submodule(tie.path).weight.detach()[list(units)].flatten(1)
            found.append(float(functional.cosine_similarity(rows[0], rows[1], dim=0)))
    return max(found)


def split(ctx: Bench, stage: str) -> dict[str, Any]:
    """Split one unit into two, train one epoch, beside equal shares."""
    network, units = ctx.network, ctx.network.stage(stage).units
    unit = int(torch.randint(units, (1,), generator=seeding.generator(ctx.seed)))
    after = split_unit(network, stage, unit, 2, seed=ctx.seed)
    uneven = split_unit(network, stage, unit, 2, (0.3, 0.7))
    even = split_unit(network, stage, unit, 2, (0.5, 0.5))
    rate = ctx.settings.training.warm_rate
    taught = ctx.trained(after, 1, rate, ctx.later)
    batch = ctx.batches[0]
    return {
        "evaluation": max(changed(network, one, batch, False) for one in (after, uneven)),
        "training": max(changed(network, one, batch, True) for one in (after, uneven)),
        "cosine": cosine(taught, stage, (unit, units)),
        "cosine, shares 0.3 : 0.7": cosine(ctx.trained(uneven, 1, rate, ctx.later), stage, (unit, units)),
        "cosine, equal shares": cosine(ctx.trained(even, 1, rate, ctx.later), stage, (unit, units)),
        "duplicate": changed(network, merge_units(uneven, stage, [[unit, units]], ctx.batches), batch, False),
    }


def merge(ctx: Bench, stage: str) -> dict[str, Any]:
    """Merge a fifth of a stage's units away, beside random groups and pruning."""
    network, units = ctx.network, ctx.network.stage(stage).units
    count = round(SHARE * units)
    importance = importances(network, stage, ctx.batches)
    with torch.no_grad():
        maps = [network.run_until(batch, stage) for batch in ctx.batches]
    groups = similar_units(maps, count, importance)
    order = torch.randperm(units, generator=seeding.generator(ctx.seed)).tolist()
    pairs = [order[2 * number : 2 * number + 2] for number in range(count)]
    lost = [unit for members in groups for unit in members[1:]]
    least = importance.argsort()[:count].tolist()
    began = time.monotonic()
    merged = merge_units(network, stage, groups, ctx.batches)
    seconds = time.monotonic() - began
    found: dict[str, Any] = {"units": units, "count": count, "seconds": seconds, "merged": ctx.cost(merged)}
    found["random pairs merged"] = ctx.cost(merge_units(network, stage, pairs, ctx.batches))
    for name, chosen in (("same", lost), ("least", least)):
        zeroed = prune_units(network, stage, chosen)
        found[f"{name} pruned"] = ctx.cost(zeroed)
        recalibrate(zeroed, ctx.batches, network, stage)
        found[f"{name} pruned, recalibrated"] = ctx.cost(zeroed)
        held = forget_units(network, stage, chosen, ctx.batches)
        recalibrate(held, ctx.batches, network, stage)
        found[f"{name} at means, recalibrated"] = ctx.cost(held)
    silent = ctx.trained(merged, 1, ctx.settings.training.warm_rate)
    found["closed after training"] = float(silent.run_until(ctx.batches[0], stage)[:, lost].abs().max().detach())
    return found


def forget(ctx: Bench, stage: str) -> dict[str, Any]:
    """Forget one unit, train one epoch: how far it still differs from image to image, and how far its level moved."""
    network = ctx.network
    unit = int(importances(network, stage, ctx.batches).argmax())
    held = forget_units(network, stage, [unit], ctx.batches)
    taught = ctx.trained(held, 1, ctx.settings.training.warm_rate)
    with torch.no_grad():
        before = network.run_until(ctx.batches[0], stage)[:, unit]
        after = taught.run_until(ctx.batches[0], stage)[:, unit]
        level = float(held.run_until(ctx.batches[0], stage)[:, unit].mean())
    return {
        "spread before": float(before.max() - before.min()),
        "spread after training": float(after.max() - after.min()),
        "level": level,
        "level after training": float(after.mean()),
    }


def run(case: Case, source: str, seed: int) -> dict[str, Any]:
    """All figures of one case and seed."""
    ctx = Bench(case, source, seed)
    found: dict[str, Any] = {
        "case": case.name,
        "seed": seed,
        "accuracy": ctx.accuracy(ctx.logits),
        "training seconds": ctx.seconds,
    }
    for work in (split, merge, forget):
        if work.__name__ not in case.works:
            continue
        found[work.__name__] = {stage: work(ctx, stage) for stage in ctx.network.stage_names}
    return found


METHODS = (
    "merged",
    "random pairs merged",
    "same pruned",
    "least pruned",
    "same pruned, recalibrated",
    "least pruned, recalibrated",
    "same at means, recalibrated",
    "least at means, recalibrated",
)


def mean(rows: list[dict[str, Any]], *path: str) -> float:
    """Of a figure over the seeds."""
    values = []
    for row in rows:
        value: Any = row
        for name in path:
            value = value[name]
        values.append(value)
    return sum(values) / len(values)


def show(name: str, rows: list[dict[str, Any]]) -> None:
    """A case's tables in Markdown."""
    seeds = len(rows)
    print(f"\n## {name}\n\n{seeds} seed{'s' * (seeds > 1)}; test accuracy {mean(rows, 'accuracy'):.1f}.\n")
    for work, shown in (("split", show_split), ("merge", show_merge), ("forget", show_forget)):
        if work in rows[0]:
            shown(rows)


def show_split(rows: list[dict[str, Any]]) -> None:
    """The worst of all seeds."""
    print("| split | largest change of a logit, evaluation | training | copies merged again ", end="")
    print("| cosine of the copies after an epoch | shares .3 : .7 | equal shares |\n" + "| --- " * 7 + "|")
    for stage in rows[0]["split"]:
        worst = {key: max(row["split"][stage][key] for row in rows) for key in rows[0]["split"][stage]}
        least = min(row["split"][stage]["cosine, equal shares"] for row in rows)
        print(
            f"| {stage} | {worst['evaluation']:.1e} | {worst['training']:.1e} | {worst['duplicate']:.1e} "
            f"| {worst['cosine']:.4f} | {worst['cosine, shares 0.3 : 0.7']:.4f} | {least:.4f} |"
        )


def show_merge(rows: list[dict[str, Any]]) -> None:
    """Means of the seeds."""
    stages = list(rows[0]["merge"])
    counts = {stage: f"{rows[0]['merge'][stage]['count']} of {rows[0]['merge'][stage]['units']}" for stage in stages}
    print("\n| fewer units | " + " | ".join(f"{stage}, {counts[stage]}" for stage in stages) + " |")
    print("| --- " * (1 + len(stages)) + "|")
    for method in METHODS:
        cells = [
            f"{mean(rows, 'merge', stage, method, 'points'):.2f} ({mean(rows, 'merge', stage, method, 'change'):.3f})"
            for stage in stages
        ]
        print(f"| {method} | " + " | ".join(cells) + " |")


def show_forget(rows: list[dict[str, Any]]) -> None:
    """Spreads are the worst of all seeds, levels their means."""
    print(
        "\n| constant | closed units, after an epoch | forgotten unit: spread before | after, and an epoch later ",
        end="",
    )
    print("| level | an epoch later |\n" + "| --- " * 6 + "|")
    for stage in rows[0]["forget"]:
        held = {key: mean(rows, "forget", stage, key) for key in rows[0]["forget"][stage]}
        closed = max(row["merge"][stage]["closed after training"] for row in rows)
        spread = max(row["forget"][stage]["spread after training"] for row in rows)
        print(
            f"| {stage} | {closed:.1e} | {held['spread before']:.2f} | {spread:.1e} "
            f"| {held['level']:.3f} | {held['level after training']:.3f} |"
        )


def main() -> None:
    """Run every case whose pictures are given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures")
    parser.add_argument("--cifar")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--out", type=Path, default=Path("runs/surgery"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for case in CASES:
        folder = getattr(options, case.source)
        if not folder or options.only not in case.name:
            continue
        mine = []
        for seed in range(min(options.seeds, case.seeds)):
            path = options.out / f"{case.name.replace(', ', '-')}-{seed}.json"
            if not path.exists():
                path.write_text(json.dumps(run(case, f"folder:{folder}", seed), indent=1))
            mine.append(json.loads(path.read_text()))
        show(case.name, mine)
        rows += mine
    (options.out / "surgery.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
