"""Step 1, find: the features, among a stage's units, that the parents' answers rest on."""

from __future__ import annotations

from dataclasses import asdict, replace

import torch

from conceptnet_ml import nulls
from conceptnet_ml.errors import PluginError
from conceptnet_ml.finding import FindEvidence, Finding, gather
from conceptnet_ml.probing import frozen
from conceptnet_ml.swaps import Swap
from conceptnet_ml.workbench import Parents, Workbench


def find(bench: Workbench, stage: str, name: str, parents: Parents, swaps: list[Swap]) -> list[Finding]:
    """What the discoverer of the settings finds at a stage, on views of the probe set under the kept swaps.

    A unit belongs to a feature only if more hangs on it than on any unit of networks with shuffled weights. Answers that
    are hardly right more often than chance rest on nothing.
    """

    def work() -> list[dict[str, object]]:
        evidence = look(bench, stage, name, parents, swaps)
        discoverer = bench.plugins.get("discoverer", bench.settings.plugins.discoverer)
        with frozen(*parents.modules()):
            with torch.no_grad():
                answers = torch.cat([evidence.head(maps) for maps, _ in evidence.batches])
            right = torch.cat([right for _, right in evidence.batches])
            if not nulls.knows(answers, right, evidence.settings):
                return []
            found = discoverer.function("find")(evidence)
        if not all(isinstance(finding, Finding) for finding in found):
            raise PluginError(f"discoverer '{discoverer.name}' must return a list of Finding")
        images, seed = bench.probe_views(name, swaps), bench.seed(name, "null")
        null = nulls.largest_effect(parents, images, stage, bench.classes, evidence.settings, seed) if found else 0.0
        bench.run.log(event="find", name=name, null=null)
        return [asdict(kept) for finding in found if (kept := _above(finding, null)) is not None]

    with bench.progress.task(f"{name} find"):
        return [Finding(**finding) for finding in bench.once(f"{name}/find", work)]


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


def look(bench: Workbench, stage: str, name: str, parents: Parents, swaps: list[Swap]) -> FindEvidence:
    """The probe set's maps at a stage, one view of each image under the kept swaps."""
    return gather(
        parents.network,
        stage,
        parents.head(stage),
        bench.probe_views(name, swaps),
        bench.classes,
        bench.settings.concepts,
    )
