"""A stage of a readout's network described by directions in place of its units, if the discoverer has any."""

from __future__ import annotations

from dataclasses import replace

import torch

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.errors import PluginError
from conceptnet_ml.network.basis import BasisEvidence, Network, basis_width, without_basis
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import Learned, StageBasis


def describe(ctx: Context, learned: Learned, stage: str, readout: Readout) -> Readout:
    """The readout with a stage of its network described by directions, if the discoverer has any."""
    found = learned.directions.get(stage) or stage_basis(ctx, stage, learned.ordinary)
    if found is None:
        return readout
    learned.directions[stage] = found
    return replace(readout, network=found.in_place(readout.network))


def stage_basis(ctx: Context, stage: str, network: Network) -> StageBasis | None:
    """The directions of a stage, learned once in the life of a run; None where the discoverer looks at units.

    They are learned from the probe images without swaps. Later rounds keep them, so that a direction stays the same
    thing; what they no longer explain of a trained network's maps is passed on beside them.

    Args:
        network: Whose maps they are learned from, the same for every round.

    Raises:
        PluginError: The discoverer's basis cannot encode and decode.
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
