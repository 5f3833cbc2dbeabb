"""Step 1, find: the features, among a stage's units, that a readout's answers rest on."""

from __future__ import annotations

from dataclasses import asdict, replace

from conceptnet_ml.concepts import null_models
from conceptnet_ml.concepts.scores import Finding, spectrum
from conceptnet_ml.errors import PluginError
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import Site


def find(ctx: Context, site: Site) -> list[Finding]:
    """What the discoverer of the settings finds at a stage, on views of the probe set under the readout's swaps.

    A unit belongs to a feature only if :data:`null_models.MARGIN` times as much hangs on it as on any unit of networks
    with shuffled weights. Near chance accuracy there are no findings.

    Returns:
        At most one feature per class or variant.

    Raises:
        PluginError: The discoverer returns something else than findings.
    """
    readout, name = site.readout, site.name

    def work() -> list[dict[str, object]]:
        evidence = ctx.evidence(site.stage, name, readout)
        discoverer = ctx.plugins.get("discoverer", ctx.settings.plugins.discoverer)
        with frozen(*readout.modules()):
            answers, right = evidence.answers()
            if not null_models.better_than_chance(answers, right, evidence.settings):
                return []
            found = discoverer.function("find")(evidence)
        if not all(isinstance(finding, Finding) for finding in found):
            raise PluginError(f"discoverer '{discoverer.name}' must return a list of Finding")
        images, seed = ctx.probe_views(name, readout.swaps), ctx.seed(name, "null")
        null = (
            null_models.largest_effect(readout, images, site.stage, ctx.classes, evidence.settings, seed)
            if found
            else 0.0
        )
        ctx.run.log(event="find", name=name, null=null)
        kept = [above for finding in found if (above := _above(finding, null_models.MARGIN * null)) is not None]
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
