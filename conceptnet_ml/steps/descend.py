"""Step 5, descend: what each variant (or class) is built from, one stage down."""

from __future__ import annotations

from dataclasses import asdict

import torch

from conceptnet_ml.concepts import null_models as nulls
from conceptnet_ml.concepts.attribution import Edge, attribute, margin
from conceptnet_ml.concepts.readout import Parents
from conceptnet_ml.network.basis import width
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.steps.context import Workbench
from conceptnet_ml.swap.views import Swap


def descend(bench: Workbench, stage: str, name: str, parents: Parents, swaps: list[Swap]) -> list[Edge]:
    """Edges from the parents' answers to units of a lower stage, the strongest confirmed by ablation.

    What is attributed is each answer's margin over the mean of the others: what two answers share tells them apart from
    nothing. Edges that stand (:attr:`Edge.stands`) lead to the next stage's candidates. Answers that are hardly right
    more often than chance are built from nothing: they have no edges.
    """
    settings = bench.settings.concepts

    def work() -> list[dict[str, object]]:
        images = bench.probe_views(name, swaps)
        with frozen(*parents.modules()):
            batches = nulls.maps_of(parents, images, stage)
            respond = margin(parents.head(stage))
            with torch.no_grad():
                answers = torch.cat([respond(maps) for maps, _ in batches])
        if not nulls.knows(answers, torch.cat([right for _, right in batches]), settings):
            return []
        null = nulls.largest_weight(parents, images, stage, bench.classes, settings, bench.seed(name, "null"))
        with frozen(*parents.modules()):
            edges = attribute(
                batches,
                respond,
                bench.classes,
                points=settings.edge_points,
                keep=settings.edges,
                bootstrap=settings.bootstrap,
                seed=bench.seed(name, "descend"),
                groups=settings.edge_groups,
                null=null,
                width=width(parents.network, stage),
            )
        return [asdict(edge) for edge in edges]

    with bench.progress.task(f"{name} descend to {stage}"):
        edges = [Edge(**edge) for edge in bench.once(f"{name}/descend-{stage}", work)]
    _log(bench, name, stage, edges)
    return edges


def _log(bench: Workbench, name: str, stage: str, edges: list[Edge]) -> None:
    """Per answer: how well predicted and real effects agree, and how many edges stand."""
    bench.run.log(
        event="descend",
        name=name,
        to=stage,
        stand=sum(edge.stands for edge in edges),
        edges=len(edges),
        null=edges[0].null if edges else None,
        agreement={edge.parent: edge.agreement for edge in edges},
    )
