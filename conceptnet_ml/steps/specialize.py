"""Step 4, specialize: split a generalized feature into one variant per class or parent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.concepts import Family, Merged, SplitEvidence, Trunk
from conceptnet_ml.probing import frozen
from conceptnet_ml.swaps import Swap
from conceptnet_ml.workbench import Parents, Workbench


@dataclass(frozen=True)
class Split:
    """A family: detector, variants, and how well the variants alone tell the classes apart.

    Args:
        family: Answers like a network, (B, 3, H, W) to (B, classes).
        accuracy: On held-out training images.
    """

    family: Family
    accuracy: float


def split(bench: Workbench, stage: str, name: str, parents: Parents, swaps: list[Swap], merged: Merged) -> Split:
    """Variants of a merged feature, read where its detector looks.

    Args:
        swaps: Swaps below this feature, under whose views the variants must still tell the classes apart; none for a
            feature that was just found.
    """
    record = bench.plugins.get("specializer", bench.settings.plugins.specializer)
    trunk = Trunk(parents.network, stage)

    def work() -> dict[str, Any]:
        maps = _maps(bench, name, trunk, swaps)
        labels = bench.labels[bench.probe_set].to(bench.device)
        evidence = SplitEvidence(
            merged.detector, maps, labels, bench.classes, bench.seed(name, "split"), bench.settings.concepts
        )
        variants = record.function("split")(evidence)
        family = Family(trunk, merged.detector, variants)
        return {"state": variants.state_dict(), "accuracy": accuracy(bench, name, family, swaps)}

    with bench.progress.task(f"{name} specialize"):
        done = bench.once(f"{name}/split", work)
    variants = record.function("restore")(done["state"]).to(bench.device).eval().requires_grad_(False)
    return Split(Family(trunk, merged.detector, variants), done["accuracy"])


def _maps(bench: Workbench, name: str, trunk: Trunk, swaps: list[Swap]) -> Tensor:
    views = bench.views(bench.fit, swaps)
    maps = []
    with torch.no_grad(), frozen(trunk):
        for place, numbers in enumerate(bench.probe_set.split(bench.settings.probe.batch)):
            maps.append(trunk(views.of(numbers, bench.generator(name, "split", place))).float())
    return torch.cat(maps)


def accuracy(bench: Workbench, name: str, family: Family, swaps: list[Swap]) -> float:
    """How well a family alone tells the classes apart, on views of the held-out images under these swaps."""
    views = bench.views(bench.held, swaps)
    right = 0
    with torch.no_grad(), frozen(family):
        for place, numbers in enumerate(bench.held.split(bench.settings.probe.batch)):
            answers = family(views.of(numbers, bench.generator(name, "accuracy", place))).argmax(1).cpu()
            right += int((answers == bench.labels[numbers]).sum())
    return right / len(bench.held)
