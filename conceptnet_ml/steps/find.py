"""Step 1, find: the features, among a stage's units, that the parents' answers rest on."""

from __future__ import annotations

from dataclasses import asdict, replace

import torch

from conceptnet_ml.concepts import null_models as nulls
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.concepts.scores import FindEvidence, Finding, gather, spectrum
from conceptnet_ml.errors import PluginError
from conceptnet_ml.network.basis import BasisEvidence, Network, basis_width, without_basis
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import StageBasis
from conceptnet_ml.swap.views import Swap


def describe(ctx: Context, stage: str, network: Network) -> StageBasis | None:
    """The directions of a stage, learned once in the life of a run; None where the discoverer looks at units.

    They are learned from the probe images as they are. Later rounds keep them, so that a direction stays the same
    thing; what they no longer explain of a trained network's maps is passed on beside them.

    Args:
        network: Whose maps they are learned from, the same for every round.
    """
    record = ctx.plugins.get("discoverer", ctx.settings.plugins.discoverer)
    if "basis" not in record.functions():
        return None

    def work() -> dict[str, object]:
        source = without_basis(network)
        with torch.no_grad(), frozen(source):
            views = ctx.probe_views("directions", [])
            maps = [source.run_until(images, stage).float() for images, _ in views]
        evidence = BasisEvidence(maps, ctx.seed(stage, "directions"), ctx.settings.concepts)
        basis = record.function("basis")(evidence)
        if not (callable(getattr(basis, "encode", None)) and callable(getattr(basis, "decode", None))):
            raise PluginError(f"discoverer '{record.name}': its basis must be a module with encode and decode")
        return {"state": basis.state_dict(), "explained": evidence.explained(basis)}

    with ctx.progress.task(f"{stage} directions"):
        done = ctx.once(f"{stage}/directions", work, "probing")
    basis = record.function("restore")(done["state"]).to(ctx.device).eval().requires_grad_(False)
    found = StageBasis(stage, basis, basis_width(basis, without_basis(network).stage(stage).units), done["explained"])
    ctx.run.log(event="directions", stage=stage, count=found.count, explained=found.explained)
    return found


def find(ctx: Context, stage: str, name: str, readout: Readout, swaps: list[Swap]) -> list[Finding]:
    """What the discoverer of the settings finds at a stage, on views of the probe set under the kept swaps.

    A unit belongs to a feature only if :data:`nulls.MARGIN` times as much hangs on it as on any unit of networks with
    shuffled weights. Answers that are hardly right more often than chance rest on nothing.
    """

    def work() -> list[dict[str, object]]:
        evidence = collect_evidence(ctx, stage, name, readout, swaps)
        discoverer = ctx.plugins.get("discoverer", ctx.settings.plugins.discoverer)
        with frozen(*readout.modules()):
            with torch.no_grad():
                answers = torch.cat([evidence.head(maps) for maps, _ in evidence.batches])
            right = torch.cat([right for _, right in evidence.batches])
            if not nulls.knows(answers, right, evidence.settings):
                return []
            found = discoverer.function("find")(evidence)
        if not all(isinstance(finding, Finding) for finding in found):
            raise PluginError(f"discoverer '{discoverer.name}' must return a list of Finding")
        images, seed = ctx.probe_views(name, swaps), ctx.seed(name, "null")
        null = nulls.largest_effect(readout, images, stage, ctx.classes, evidence.settings, seed) if found else 0.0
        ctx.run.log(event="find", name=name, null=null)
        kept = [above for finding in found if (above := _above(finding, nulls.MARGIN * null)) is not None]
        scores, _ = evidence.scores()
        with frozen(*readout.modules()):
            together = evidence.falls([one.units for one in kept])
        return [
            asdict(
                replace(
                    one,
                    together=float(together[one.parent, place]),
                    spectrum=spectrum(scores[:, list(one.units)].mean(1), right, ctx.classes),
                )
            )
            for place, one in enumerate(kept)
        ]

    with ctx.progress.task(f"{name} find"):
        return [Finding(**finding) for finding in ctx.once(f"{name}/find", work)]


def _above(finding: Finding, null: float) -> Finding | None:
    """A finding without the units whose effect is no more than this; None where none is left."""
    kept = [place for place, effect in enumerate(finding.effect) if effect > null]
    if not kept:
        return None
    effect = tuple(finding.effect[place] for place in kept)
    return replace(
        finding,
        units=tuple(finding.units[place] for place in kept),
        auc=tuple(finding.auc[place] for place in kept),
        effect=effect,
        share=finding.share * sum(effect) / sum(finding.effect),
    )


def collect_evidence(ctx: Context, stage: str, name: str, readout: Readout, swaps: list[Swap]) -> FindEvidence:
    """The probe set's maps at a stage, one view of each image under the kept swaps."""
    return gather(
        readout.network,
        stage,
        readout.head(stage),
        ctx.probe_views(name, swaps),
        ctx.classes,
        ctx.settings.concepts,
    )
