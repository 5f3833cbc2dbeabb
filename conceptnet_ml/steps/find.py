"""Step 1, find: the features, among a stage's units, that the parents' answers rest on."""

from __future__ import annotations

from dataclasses import asdict

from conceptnet_ml.errors import PluginError
from conceptnet_ml.finding import FindEvidence, Finding, gather
from conceptnet_ml.probing import frozen
from conceptnet_ml.swaps import Swap
from conceptnet_ml.workbench import Parents, Workbench


def find(bench: Workbench, stage: str, name: str, parents: Parents, swaps: list[Swap]) -> list[Finding]:
    """What the discoverer of the settings finds at a stage, on views of the probe set under the kept swaps."""

    def work() -> list[dict[str, object]]:
        evidence = look(bench, stage, name, parents, swaps)
        discoverer = bench.plugins.get("discoverer", bench.settings.plugins.discoverer)
        with frozen(parents.network):
            found = discoverer.function("find")(evidence)
        if not all(isinstance(finding, Finding) for finding in found):
            raise PluginError(f"discoverer '{discoverer.name}' must return a list of Finding")
        return [asdict(finding) for finding in found]

    with bench.progress.task(f"{name} find"):
        return [Finding(**finding) for finding in bench.once(f"{name}/find", work)]


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
