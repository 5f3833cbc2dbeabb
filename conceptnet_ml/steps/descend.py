"""Step 5, descend: what each variant (or class) is built from, one stage down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import torch
from torch import Tensor

from conceptnet_ml.attribution import Edge, attribute
from conceptnet_ml.probing import frozen
from conceptnet_ml.swaps import Swap
from conceptnet_ml.workbench import Parents, Workbench


def descend(bench: Workbench, stage: str, name: str, parents: Parents, swaps: list[Swap]) -> list[Edge]:
    """Edges from the parents' answers to units of a lower stage, the strongest confirmed by ablation.

    What is attributed is each answer's margin over the mean of the others: what two answers share tells them apart from
    nothing. The units found are the next stage's candidates.
    """
    settings = bench.settings.concepts

    def work() -> list[dict[str, object]]:
        with frozen(parents.network):
            with torch.no_grad():
                batches = [
                    (parents.network.run_until(images, stage).float(), right)
                    for images, right in bench.probe_views(name, swaps)
                ]
            edges = attribute(
                batches,
                margin(parents.head(stage)),
                bench.classes,
                points=settings.edge_points,
                keep=settings.edges,
                bootstrap=settings.bootstrap,
                seed=bench.seed(name, "descend"),
            )
        return [asdict(edge) for edge in edges]

    with bench.progress.task(f"{name} descend to {stage}"):
        return [Edge(**edge) for edge in bench.once(f"{name}/descend-{stage}", work)]


def margin(head: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Each answer less the mean of the others, (B, answers)."""

    def answers(maps: Tensor) -> Tensor:
        found = head(maps)
        others = max(1, found.shape[1] - 1)
        return found - (found.sum(1, keepdim=True) - found) / others

    return answers
