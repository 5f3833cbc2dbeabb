"""Step 3, generalize: merge what the probes tie together, and train the network to do without its difference."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.concepts.evidence import Analogy, FeatureAnalogy, Merged, MergeEvidence, Translation
from conceptnet_ml.concepts.localization import map_quality
from conceptnet_ml.concepts.model import Trunk, pooled
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.concepts.scores import Finding, spectrum, unit_scores
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.steps import analogies, find
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import Trained
from conceptnet_ml.swap.representation import IMAGE, Codec
from conceptnet_ml.swap.stop_rule import decide_round, residual
from conceptnet_ml.swap.views import Swap, open_cells


def merge(
    ctx: Context, stage: str, name: str, readout: Readout, swaps: list[Swap], swap: Swap, findings: list[Finding]
) -> Merged:
    """Merge the findings and their analogues into one feature with a detector at the stage."""
    record = ctx.plugins.get("generalizer", ctx.settings.plugins.generalizer)

    def work() -> dict[str, Any]:
        numbers, maps, targets = _evidence(ctx, stage, name, readout, swaps, swap)
        labels = ctx.labels[numbers].to(ctx.device)
        tied, features = analogies.find_analogies(ctx, stage, name, readout, swaps, swap)
        tested = analogies.translate(ctx, stage, name, readout, swaps, features)
        members = {finding.parent: finding.units for finding in findings}
        for analogy in tied:
            for parent, unit in ((analogy.parent, analogy.unit), (analogy.other, analogy.analogue)):
                members[parent] = tuple(dict.fromkeys((*members.get(parent, ()), unit)))
        effects = _analogues(ctx, stage, name, readout, swaps, findings, members)
        half = len(numbers) // 2
        evidence = MergeEvidence(
            maps[:half],
            targets[:half],
            labels[:half],
            members,
            ctx.classes,
            ctx.seed(name, "merge"),
            ctx.settings.concepts,
        )
        detector = record.function("merge")(evidence)
        looks = detector(maps).detach()
        quality = map_quality(looks[half:], targets[half:], labels[half:], ctx.classes)
        return {
            "state": detector.state_dict(),
            "members": sorted([parent, *units] for parent, units in members.items()),
            "effects": effects,
            "analogies": [asdict(analogy) for analogy in tied],
            "features": [asdict(feature) for feature in features],
            "translation": None if tested is None else asdict(tested),
            "spectrum": spectrum(unit_scores(looks)[:, 0], labels, ctx.classes),
            **quality,
        }

    with ctx.progress.task(f"{name} merge"):
        done = ctx.once(f"{name}/merge", work)
    detector = record.function("restore")(done["state"]).to(ctx.device).eval().requires_grad_(False)
    return Merged(
        detector,
        {parent: tuple(units) for parent, *units in done["members"]},
        [Analogy(**analogy) for analogy in done["analogies"]],
        tuple(done["auc"]),
        tuple(done["coverage"]),
        done["overlap"],
        None if done.get("translation") is None else Translation(**done["translation"]),
        tuple(tuple(place) for place in done.get("spectrum", ())),  # of a version that did not say, as the next ones
        {(parent, unit): effect for parent, unit, effect in done.get("effects", ())},
        tuple(_feature(entry) for entry in done.get("features", ())),
    )


def _feature(entry: dict[str, Any]) -> FeatureAnalogy:
    return FeatureAnalogy(**{**entry, "pairs": tuple((int(one), int(other)) for one, other in entry["pairs"])})


def _analogues(
    ctx: Context,
    stage: str,
    name: str,
    readout: Readout,
    swaps: list[Swap],
    findings: list[Finding],
    members: dict[int, tuple[int, ...]],
) -> list[tuple[int, int, float]]:
    """What hangs on the members that analogies brought in: (parent, unit, real mean fall of the parent's margin)."""
    own = {finding.parent: finding.units for finding in findings}
    brought = [(parent, unit) for parent, units in members.items() for unit in units if unit not in own.get(parent, ())]
    if not brought:
        return []
    units = sorted({unit for _, unit in brought})
    with frozen(*readout.modules()):
        falls = find.collect_evidence(ctx, stage, name, readout, swaps).falls([[unit] for unit in units])
    return [(parent, unit, float(falls[parent, units.index(unit)])) for parent, unit in brought]


def train_views(
    ctx: Context,
    name: str,
    network: StagedNetwork,
    swaps: list[Swap],
    swap: Swap,
    classes: tuple[int, ...] | None = None,
    spends: str = "rounds",
) -> Trained:
    """Train on the views of all kept swaps and this one, and decide on held-out images whether the round stands.

    r, the residual accuracy, is the share of held-out views answered rightly: before, by the network as it was on the
    views of the swaps kept so far; after, by the new one on the new views. A round is undone if hardly anything is left
    to learn, and if the new network answers the views *better* than the same images without the swap. Whoever looks at
    what was left alone finds it in both; only one who learned to answer against what is exchanged, since it was the
    object itself, is lost where nothing was exchanged. Where some classes only share the feature, theirs are the images
    that count.
    """
    settings = ctx.settings.round
    seed = ctx.seed(name, "r")
    before, after = (ctx.views(ctx.held, kept) for kept in (swaps, [*swaps, swap]))
    numbers = ctx.held
    if classes is not None:
        numbers = numbers[torch.isin(ctx.labels[numbers], torch.tensor(classes))]
    r_before = residual(network, before, numbers, seed, ctx.dtype)
    views = ctx.views(ctx.fit, [*swaps, swap], settings.mix)
    count = settings.epochs
    rate = ctx.settings.training.warm_rate
    trained = ctx.train(f"{name}/train-{swap.codec.name}-{count}", network, views, count, rate, spends)
    r_after = residual(trained, after, numbers, seed, ctx.dtype)
    r_without = residual(trained, before, numbers, seed, ctx.dtype)
    decision = decide_round(r_before, r_after, r_without, 1 / ctx.classes, settings)
    ctx.run.log(
        event="round",
        name=name,
        swap=swap.name,
        r_before=r_before,
        r_after=r_after,
        r_without=r_without,
        keep=decision.keep,
    )
    return Trained(trained, decision, r_before, r_after, r_without)


def _evidence(
    ctx: Context, stage: str, name: str, readout: Readout, swaps: list[Swap], swap: Swap
) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers, maps and targets of the probe set.

    The target is where the image's own feature is, as the share of each cell of the stage: found by a probe with the
    blurred image as the donor, since the gate of a real donor also marks where the donor's feature comes in.
    """
    numbers = ctx.probe_set[: ctx.settings.concepts.merge_images]
    views = ctx.views(ctx.fit, swaps)
    price = ctx.settings.concepts.own_price
    prober = ctx.prober(readout, Codec(IMAGE))
    look = Trunk(readout.network, stage)
    maps, targets = [], []
    with frozen(*readout.modules()):
        for place, part in enumerate(numbers.split(ctx.settings.probe.batch)):
            with torch.no_grad():
                images = views.of(part, ctx.generator(name, "merge", place))
                maps.append(look(images).float())
            if swap.codec.gate != "place":
                places = torch.ones(len(part), 1, *ctx.size, device=ctx.device)
            else:
                soft = prober.own(images, ctx.labels[part].to(ctx.device), price)
                places = open_cells(soft, ctx.size, ctx.settings.probe.threshold, 0)
            targets.append(pooled(places, (maps[-1].shape[2], maps[-1].shape[3])))
    return numbers, torch.cat(maps), torch.cat(targets)
