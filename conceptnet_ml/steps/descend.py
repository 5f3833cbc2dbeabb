"""Step 5, descend: what a readout's answers are built from, one stage down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from conceptnet_ml.concepts import null_models
from conceptnet_ml.concepts.attribution import Attribution, attribute, margin_over_mean, passes
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.concepts.scores import gather_evidence
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import Descent, Learned, Outcome, Site
from conceptnet_ml.steps.stage_basis import describe


def leaf(ctx: Context, site: Site, outcomes: Sequence[Outcome]) -> Readout | None:
    """The object itself, where nothing more is kept, as the readout of the stage below: its answers stay what they are.

    The network rests on the object more than it did before the swaps kept above, and an object has parts, too
    (docs/decisions/0053-below-the-object.md). None below a family that something was found below: it has had its turn.

    Args:
        outcomes: Of the representations tried. Where one exchanged places, only cheaper ones are tried below.
    """
    if site.number > 1 and site.readout.family is not None:
        return None
    spatial = [one.probed.measured for one in outcomes if one.probed.measured.gate == "place"]
    cost = ctx.codec(spatial[0].representation).record.cost if spatial else site.readout.elementary
    return replace(site.readout, key=site.key_below("leaf"), elementary=cost)


def descend(ctx: Context, learned: Learned, site: Site, readout: Readout | None, below: str | None) -> Descent:
    """The readout of the stage below, with the edges that say which of its units are candidates there.

    Args:
        site: The round that found the readout.
        readout: A new family or a leaf; None where nothing goes down.
        below: The stage below, None where there is none.
    """
    if readout is None or below is None:
        return Descent()
    readout = describe(ctx, learned, below, readout)
    edges = edges_to(ctx, Site(below, readout, site.name))
    candidates = tuple(sorted({edge.unit for edge in edges if edge.is_supported}))
    return Descent(below, tuple(edges), (replace(readout, candidates=candidates),))


def edges_to(ctx: Context, site: Site) -> list[Attribution]:
    """Edges from a readout's answers to units of a lower stage, the strongest confirmed by ablation.

    What is attributed is each answer's margin over the mean of the others: what two answers share does not tell them
    apart. Supported edges (:attr:`Attribution.is_supported`) lead to the next stage's candidates. Near chance accuracy
    there are no edges.

    Cost: ``concepts.edge_points`` forward and backward passes from the stage on over the probe set, and one forward
    pass for each ablation.
    """
    settings, readout, stage = ctx.settings.concepts, site.readout, site.stage

    def work() -> list[dict[str, object]]:
        images = ctx.probe_views(site.name, readout.swaps)
        with frozen(*readout.modules()):
            head = margin_over_mean(readout.head(stage))
            evidence = gather_evidence(readout.network, stage, head, images, ctx.classes, settings)
            answers, right = evidence.answers()
        if not null_models.better_than_chance(answers, right, settings):
            return []
        seed = ctx.seed(site.name, "null")
        null = null_models.largest_weight(readout, images, stage, ctx.classes, settings, seed)
        task.total = passes(evidence)
        with frozen(*readout.modules()):
            edges = attribute(evidence, ctx.seed(site.name, "descend"), null, task.advance)
        return [asdict(edge) for edge in edges]

    with ctx.progress.task(f"{site.name} descend to {stage}") as task:
        edges = [Attribution(**edge) for edge in ctx.once(f"{site.name}/descend-{stage}", work)]
    ctx.run.log(
        event="descend",
        name=site.name,
        to=stage,
        stand=sum(edge.is_supported for edge in edges),
        edges=len(edges),
        null=edges[0].null if edges else None,
        agreement={edge.parent: edge.agreement for edge in edges},
    )
    return edges
