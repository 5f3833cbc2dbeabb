"""Step 5, descend: what each variant (or class) is built from, one stage down."""

from __future__ import annotations

from dataclasses import asdict

import torch

from conceptnet_ml.concepts import null_models as nulls
from conceptnet_ml.concepts.attribution import Attribution, attribute, margin_over_mean
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.network.basis import direction_count
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.steps.context import Context
from conceptnet_ml.swap.views import Swap


def descend(ctx: Context, stage: str, name: str, readout: Readout, swaps: list[Swap]) -> list[Attribution]:
    """Edges from the readout's answers to units of a lower stage, the strongest confirmed by ablation.

    What is attributed is each answer's margin over the mean of the others: what two answers share tells them apart from
    nothing. Edges that stand (:attr:`Attribution.is_supported`) lead to the next stage's candidates. Answers that are
    hardly right
    more often than chance are built from nothing: they have no edges.
    """
    settings = ctx.settings.concepts

    def work() -> list[dict[str, object]]:
        images = ctx.probe_views(name, swaps)
        with frozen(*readout.modules()):
            batches = nulls.maps_of(readout, images, stage)
            respond = margin_over_mean(readout.head(stage))
            with torch.no_grad():
                answers = torch.cat([respond(maps) for maps, _ in batches])
        if not nulls.knows(answers, torch.cat([right for _, right in batches]), settings):
            return []
        null = nulls.largest_weight(readout, images, stage, ctx.classes, settings, ctx.seed(name, "null"))
        with frozen(*readout.modules()):
            edges = attribute(
                batches,
                respond,
                ctx.classes,
                points=settings.edge_points,
                keep=settings.edges,
                bootstrap=settings.bootstrap,
                seed=ctx.seed(name, "descend"),
                groups=settings.edge_groups,
                null=null,
                width=direction_count(readout.network, stage),
            )
        return [asdict(edge) for edge in edges]

    with ctx.progress.task(f"{name} descend to {stage}"):
        edges = [Attribution(**edge) for edge in ctx.once(f"{name}/descend-{stage}", work)]
    _log(ctx, name, stage, edges)
    return edges


def _log(ctx: Context, name: str, stage: str, edges: list[Attribution]) -> None:
    """Per answer: how well predicted and real effects agree, and how many edges stand."""
    ctx.run.log(
        event="descend",
        name=name,
        to=stage,
        stand=sum(edge.is_supported for edge in edges),
        edges=len(edges),
        null=edges[0].null if edges else None,
        agreement={edge.parent: edge.agreement for edge in edges},
    )
