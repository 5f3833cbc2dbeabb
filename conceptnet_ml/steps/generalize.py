"""Step 3, generalize: merge what the probes tie together, and train the network to do without its difference."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.concepts.evidence import Analogy, FeatureAnalogy, Merged, MergeEvidence, Translation
from conceptnet_ml.concepts.localization import judge
from conceptnet_ml.concepts.model import Trunk, pooled
from conceptnet_ml.concepts.readout import Parents
from conceptnet_ml.concepts.scores import Finding, spectrum, unit_scores
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.steps import analogies, find
from conceptnet_ml.steps.context import Workbench
from conceptnet_ml.steps.records import Trained
from conceptnet_ml.swap.representation import IMAGE, Codec
from conceptnet_ml.swap.stop_rule import residual, stands
from conceptnet_ml.swap.views import Swap, open_cells


def merge(
    bench: Workbench, stage: str, name: str, parents: Parents, swaps: list[Swap], swap: Swap, findings: list[Finding]
) -> Merged:
    """Merge the findings and their analogues into one feature with a detector at the stage."""
    record = bench.plugins.get("generalizer", bench.settings.plugins.generalizer)

    def work() -> dict[str, Any]:
        numbers, maps, targets = _evidence(bench, stage, name, parents, swaps, swap)
        labels = bench.labels[numbers].to(bench.device)
        tied, features = analogies.find(bench, stage, name, parents, swaps, swap)
        tested = analogies.translate(bench, stage, name, parents, swaps, features)
        members = {finding.parent: finding.units for finding in findings}
        for analogy in tied:
            for parent, unit in ((analogy.parent, analogy.unit), (analogy.other, analogy.analogue)):
                members[parent] = tuple(dict.fromkeys((*members.get(parent, ()), unit)))
        effects = _analogues(bench, stage, name, parents, swaps, findings, members)
        half = len(numbers) // 2
        evidence = MergeEvidence(
            maps[:half],
            targets[:half],
            labels[:half],
            members,
            bench.classes,
            bench.seed(name, "merge"),
            bench.settings.concepts,
        )
        detector = record.function("merge")(evidence)
        looks = detector(maps).detach()
        quality = judge(looks[half:], targets[half:], labels[half:], bench.classes)
        return {
            "state": detector.state_dict(),
            "members": sorted([parent, *units] for parent, units in members.items()),
            "effects": effects,
            "analogies": [asdict(analogy) for analogy in tied],
            "features": [asdict(feature) for feature in features],
            "translation": None if tested is None else asdict(tested),
            "spectrum": spectrum(unit_scores(looks)[:, 0], labels, bench.classes),
            **quality,
        }

    with bench.progress.task(f"{name} merge"):
        done = bench.once(f"{name}/merge", work)
    detector = record.function("restore")(done["state"]).to(bench.device).eval().requires_grad_(False)
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
    bench: Workbench,
    stage: str,
    name: str,
    parents: Parents,
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
    with frozen(*parents.modules()):
        falls = find.look(bench, stage, name, parents, swaps).falls([[unit] for unit in units])
    return [(parent, unit, float(falls[parent, units.index(unit)])) for parent, unit in brought]


def train_views(
    bench: Workbench,
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
    settings = bench.settings.round
    seed = bench.seed(name, "r")
    before, after = (bench.views(bench.held, kept) for kept in (swaps, [*swaps, swap]))
    numbers = bench.held
    if classes is not None:
        numbers = numbers[torch.isin(bench.labels[numbers], torch.tensor(classes))]
    r_before = residual(network, before, numbers, seed, bench.dtype)
    views = bench.views(bench.fit, [*swaps, swap], settings.mix)
    count = settings.epochs
    rate = bench.settings.training.warm_rate
    trained = bench.train(f"{name}/train-{swap.codec.name}-{count}", network, views, count, rate, spends)
    r_after = residual(trained, after, numbers, seed, bench.dtype)
    r_without = residual(trained, before, numbers, seed, bench.dtype)
    decision = stands(r_before, r_after, r_without, 1 / bench.classes, settings)
    bench.run.log(
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
    bench: Workbench, stage: str, name: str, parents: Parents, swaps: list[Swap], swap: Swap
) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers, maps and targets of the probe set.

    The target is where the image's own feature is, as the share of each cell of the stage: found by a probe with the
    blurred image as the donor, since the gate of a real donor also marks where the donor's feature comes in.
    """
    numbers = bench.probe_set[: bench.settings.concepts.merge_images]
    views = bench.views(bench.fit, swaps)
    price = bench.settings.concepts.own_price
    prober = bench.prober(parents, Codec(IMAGE))
    look = Trunk(parents.network, stage)
    maps, targets = [], []
    with frozen(*parents.modules()):
        for place, part in enumerate(numbers.split(bench.settings.probe.batch)):
            with torch.no_grad():
                images = views.of(part, bench.generator(name, "merge", place))
                maps.append(look(images).float())
            if swap.codec.gate != "place":
                places = torch.ones(len(part), 1, *bench.size, device=bench.device)
            else:
                soft = prober.own(images, bench.labels[part].to(bench.device), price)
                places = open_cells(soft, bench.size, bench.settings.probe.threshold, 0)
            targets.append(pooled(places, (maps[-1].shape[2], maps[-1].shape[3])))
    return numbers, torch.cat(maps), torch.cat(targets)
