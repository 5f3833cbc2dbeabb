"""Step 3, generalize: close a swap, train the network on its views, and merge what the probes tie together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.concepts.evidence import Analogy, FeatureAnalogy, Merged, MergeEvidence, Translation
from conceptnet_ml.concepts.model import Trunk
from conceptnet_ml.concepts.scores import Finding, map_quality, open_shares, spectrum, unit_scores
from conceptnet_ml.data.sampling import FEW, balancing
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import ViewMaker
from conceptnet_ml.steps.analogies import find_analogies, translate
from conceptnet_ml.steps.closure import close, joined, named
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.exceptions import read_views
from conceptnet_ml.steps.family import refit
from conceptnet_ml.steps.gates import swap_of
from conceptnet_ml.steps.ordinary import wilson
from conceptnet_ml.steps.purify import places_left, purify, rests_outside, train_cue, turn
from conceptnet_ml.steps.records import Closure, Learned, Outcome, ProbeResult, Round, Site, Trained
from conceptnet_ml.steps.signs import mean_of
from conceptnet_ml.steps.stage_basis import describe
from conceptnet_ml.swap.interchangeability import above_chance
from conceptnet_ml.swap.representation import IMAGE, Codec, open_cells
from conceptnet_ml.swap.stop_rule import HELD_OUT, USER, decide_round, residual_hits, share, sure_of_round
from conceptnet_ml.swap.sureness import LIKELY, sure_words
from conceptnet_ml.swap.views import DrawnViews, Swap

WHOLE = "what was exchanged is a part of the object"
"""Said where all that can be exchanged is all that there is. Where a cue stands beside an object, what is still found
in the views is the rest of the cue, and the object is left when that is exchanged, too. Two strokes of a digit each
tell it and are exchanged as easily, and with both nothing is left: they are the object."""

TELLS = 0.95
"""What a cue that leaves little of the class must tell by itself, as a share of what the network tells by all."""

OPEN = 0.55
"""How much of what a reader says, above chance, may be told by the views of its swap."""


def generalize(ctx: Context, learned: Learned, site: Site, findings: list[Finding], probed: ProbeResult) -> Outcome:
    """Close the swap, train on its views, and, where the round stands, merge its feature into a generalized one.

    Places that the user named are exchanged as they are: their gate is not purified, closed or widened. Once something
    was exchanged at the top, a close call is given up: what an ordinary network hung on first is gone, and what is left
    is the object sooner than not.

    Args:
        learned: The network trained so far and the kept swaps.
        findings: The features of the round, to be merged.
        probed: The representation to use; nothing is done where its decision is not to keep it.
    """
    reason = f"{probed.measured.representation}: {probed.decision.reason}"
    if not probed.decision.keep:
        return Outcome(probed, False, reason)
    sure = probed.decision.sureness
    close_call = sure is not None and sure.agree < LIKELY and probed.decision.evidence == HELD_OUT
    if sure and close_call and (learned.swaps or probed.measured.nature is not None) and site.at_top:
        when = "once something was exchanged no more is" if learned.swaps else "what decides in part is not exchanged"
        return _given_up(probed, f"{reason}; but {when} by so little ({sure_words(sure.record())})")
    first, given = swap_of(ctx, site, probed), bool(site.readout.given)
    if not given:
        first = purify(ctx, site, first, probed)
    asked = ctx.override_rule.side(site.name, probed)
    swap, closures = (first, ()) if asked or given else close(ctx, site, learned.swaps, first, probed)
    if given and asked is None:
        outside, side = False, ""
    elif asked is None:
        outside, side = rests_outside(ctx, site, first, swap, probed)
    else:
        outside, side = asked, f"the user decided to exchange what is {'out' if asked else 'in'}side the gates"
    if first.along:
        because = "which decides in part, too" if probed.along else "where it leaves traces"
        reason += f"; with it {' and '.join(codec.name for codec in first.along)}, {because}"
    reason += "".join(f"; {what}" for what in (*(check.reason for check in closures), side) if what)
    if outside and asked is None and len(ctx.held) < FEW:
        return _given_up(
            probed, f"{reason}; but of {len(ctx.held)} held-out images, too few to tell which side is meant"
        )
    if outside:
        first = swap = turn(first)
    elif (why := _gives_way(probed, closures)) and probed.decision.evidence != USER:
        return _given_up(probed, f"{reason}; {why}: {probed.rival} is exchanged instead")
    while True:
        if why := _still_read(ctx, learned, site, swap, probed):
            return _given_up(probed, f"{reason}; {why}")
        trained = _train(ctx, learned, site, swap, probed)
        if swap is first or site.readout.told is not None or _spares(ctx, trained):  # a reader finds no object
            break
        reason += f", but that leaves too little, r {trained.r_after:.2f}"
        if probed.decision.evidence == HELD_OUT:
            return _given_up(probed, f"{reason}: {WHOLE}")
        reason += ": it is dropped"
        swap = first
    if why := _a_part(ctx, site, probed, trained):
        return _given_up(probed, f"{reason}; {why}")
    if asked is None and not given and trained.decision.keep:
        swap, opened, left = _open_places(ctx, learned, site, swap, probed, trained)
        reason += left
        if opened is None:
            return _given_up(probed, reason)
        trained = opened
    trained = ctx.override_rule.after_training(site.name, swap.codec.name, trained)
    reason += f"; {trained.decision.reason}"
    if not trained.decision.keep:  # where another is kept after it, this is all that is said of it
        said = f"{probed.decision.reason}; trained, and undone: {trained.decision.reason}"
        probed = replace(probed, decision=replace(probed.decision, reason=said))
    ended = Outcome(probed, False, reason, swap, closures, trained)
    if not trained.decision.keep:
        return ended
    under = [*site.readout.swaps, swap]
    if site.readout.family is None:  # at the top: the network itself, as it was trained
        fitted, keep = None, True
        after = replace(site.readout, network=trained.network, swaps=under, told=None, says=None, given="")
        readout = describe(ctx, learned, site.stage, after)
    else:
        fitted = ctx.override_rule.after_training(site.name, swap.codec.name, refit(ctx, site, swap))
        keep, readout = fitted.decision.keep, replace(fitted.readout, swaps=under)
        reason += f"; {fitted.decision.reason}"
    merged = merge(ctx, site, swap, findings) if keep else None
    return replace(ended, keep=keep, reason=reason, refit=fitted, merged=merged, next_readout=readout if keep else None)


def _given_up(probed: ProbeResult, reason: str) -> Outcome:
    """Of a swap that is not taken, though its probe would have it."""
    said = reason.removeprefix(f"{probed.measured.representation}: ")
    return Outcome(replace(probed, decision=probed.decision.instead(False, said)), False, reason)


def _gives_way(probed: ProbeResult, closures: Sequence[Closure]) -> str:
    """Why a swap of places gives way to the representation that waits; empty where it does not."""
    if probed.rival and closures and not closures[-1].closed:
        return "it stays open"
    return f"any donor's {probed.rival} serves, too" if probed.gives_way else ""


def _still_read(ctx: Context, learned: Learned, site: Site, swap: Swap, probed: ProbeResult) -> str:
    """Of a network that reads a cue with exceptions: why its swap is not taken, where a fresh one still reads what it
    says of the views. It is something else than what is exchanged then: on few images a reader of the object learns
    those that contradict it by heart, and is sure of them. Empty where nothing speaks against it."""
    if site.readout.says is None or probed.decision.evidence == USER:
        return ""
    _, left = read_views(ctx, f"{named(site, swap)}/left", [*learned.swaps, swap], site.readout.says)
    return f"of the views {left:.2f} of it is still read, above chance: it is something else" if left >= OPEN else ""


def _a_part(ctx: Context, site: Site, probed: ProbeResult, trained: Trained) -> str:
    """Of places that leave little of the class: why they are given up where a network that sees nothing else tells less
    than the whole image does (``TELLS``), and so many are held out that it is no chance. Empty where nothing speaks
    against them.

    Where the object beside a cue is hard little of the class is left, and what the network tells it tells by the cue,
    which is read by itself as well. Some strokes of a digit tell most digits, and the others few: they are the object.
    """
    measured, decision = probed.measured, probed.decision
    asked = measured.gate == "place" and measured.told is None and decision.classes is None and trained.decision.keep
    asked = asked and decision.evidence == HELD_OUT and site.at_top and not site.readout.given
    if not asked or _spares(ctx, trained):
        return ""
    _, hits = train_cue(ctx, replace(site, name=f"{site.name}/cue-1"), swap_of(ctx, site, probed))
    most, whole = wilson(float(hits.sum()), len(hits))[1], trained.r_before
    if above_chance(most, ctx.classes) >= TELLS * above_chance(whole, ctx.classes):
        return ""
    part = f"by itself it tells {mean_of(hits):.2f}, all of the image {whole:.2f}"
    return f"little is left, r {trained.r_after:.2f}, and {part}: {WHOLE}"


def train_refused(ctx: Context, learned: Learned, ended: Round) -> StagedNetwork | None:
    """Train the first refused round all the same, for its figures only, where the settings ask for it."""
    if not ctx.settings.round.show_refused or ended.decision != "leaf":
        return None
    best = max(ended.probed, key=lambda one: (one.measured.gate == "place", one.measured.phi))
    swap = swap_of(ctx, ended.site, best)
    return train_views(ctx, f"{ended.name}/refused", learned, swap, timed_as="controls").network


def _train(ctx: Context, learned: Learned, site: Site, swap: Swap, probed: ProbeResult) -> Trained:
    """Train on the views of all kept swaps and this one; a widened swap is a step of its own."""
    name = named(site, swap)
    says = [*learned.says, *([] if site.readout.says is None else [site.readout.says])]
    return train_views(ctx, name, learned, swap, probed.decision.classes, says=says)


def _open_places(
    ctx: Context, learned: Learned, site: Site, swap: Swap, probed: ProbeResult, trained: Trained
) -> tuple[Swap, Trained | None, str]:
    """The round, trained once more with all places opened that images have in common, where a part of the cue is left
    there; else as it was. None where that leaves too little: see :data:`WHOLE`. And what to say of it."""
    settings = ctx.settings.round
    top = site.at_top and swap.codec.gate == "place" and probed.decision.classes is None
    if not top or swap.outside or not settings.purify or settings.places > 1:
        return swap, trained, ""
    places, iota, sure = places_left(ctx, site, swap, trained)
    trained = replace(trained, asked=sure)
    if not places.any():
        return swap, trained, ""
    wider = joined(swap, places)
    again = _train(ctx, learned, site, wider, probed)
    found = f"; places that images have in common still change the answer (ι {iota:.2f})"
    if not _spares(ctx, again):
        found += f", but to open them leaves too little, r {again.r_after:.2f}"
        if probed.decision.evidence == HELD_OUT:
            return swap, None, f"{found}: {WHOLE}"
        return swap, trained, found
    return (
        wider,
        replace(again, left=iota, asked=sure),
        f"{found}: they are opened, r {trained.r_after:.2f} → {again.r_after:.2f}",
    )


def _spares(ctx: Context, trained: Trained) -> bool:
    """Whether a widened swap leaves enough of the object."""
    chance = 1 / ctx.classes
    least = chance + ctx.settings.round.spares * (trained.r_before - chance)
    return trained.decision.keep and trained.r_after >= least


def train_views(
    ctx: Context,
    name: str,
    learned: Learned,
    swap: Swap,
    classes: tuple[int, ...] | None = None,
    timed_as: str = "rounds",
    says: Sequence[Tensor] = (),
) -> Trained:
    """Train on the views of all kept swaps and this one, and decide on held-out images whether the round stands.

    r, the residual accuracy, is the share of held-out views answered rightly: before, by the network as it was on the
    views of the swaps kept so far; after, by the new one on the new views. A round is undone if hardly anything is left
    to learn, and if the new network answers the views *better* than the same images without the swap. A network that
    uses the evidence that is left scores alike on both. One that learned the opposite of the swapped cue, since that
    was the object itself, scores worse without the swap. Where only some classes share the feature, only their images
    count. How pictures were taken takes nothing of an object away: of one that is hard little was left to begin with,
    and a round stands whatever is.

    Args:
        name: Of the step.
        learned: The network to start from and the kept swaps.
        classes: Those that share the feature, None for all.
        timed_as: What its time counts as.
        says: What cues with exceptions say of every image, (N,) each, see :func:`round_views`.
    """
    settings = ctx.settings.round
    if swap.codec.record.nature is not None:  # it holds hardly anything of the object, which may be hard
        settings = settings.model_copy(update={"remains": 0.0})
    seed = ctx.seed(name, "r")
    before, after = (ctx.views(ctx.held, kept) for kept in (learned.swaps, [*learned.swaps, swap]))
    numbers = ctx.held
    if classes is not None:
        numbers = numbers[torch.isin(ctx.labels[numbers], torch.tensor(classes))]
    hits_before = residual_hits(learned.network, before, numbers, seed, ctx.dtype)
    views = round_views(ctx, name, [*learned.swaps, swap], says)
    count = ctx.epochs(settings.epochs)
    network, rate, step = learned.network, ctx.settings.training.warm_rate, f"{name}/train-{swap.codec.name}-{count}"
    several = {codec.name for codec in swap.along} - set(swap.codec.record.along)
    if swap.outside or several:  # the network rests on what is exchanged, all over the image: it has little to keep
        how = "outside" if swap.outside else "anew"
        network, rate, step = ctx.network(), ctx.settings.training.rate, f"{step}-{how}"
    trained = ctx.train(step, network, views, count, rate, timed_as)
    hits_after = residual_hits(trained, after, numbers, seed, ctx.dtype)
    hits_without = residual_hits(trained, before, numbers, seed, ctx.dtype)
    hits = hits_before, hits_after, hits_without
    r_before, r_after, r_without = map(share, hits)
    sure = sure_of_round(hits, ctx.labels[numbers], ctx.classes, settings)
    decision = replace(decide_round(r_before, r_after, r_without, 1 / ctx.classes, settings), sureness=sure)
    ctx.run.log(
        event="round",
        name=name,
        swap=swap.name,
        r_before=r_before,
        r_after=r_after,
        r_without=r_without,
        keep=decision.keep,
        sureness=sure.record(),
    )
    return Trained(trained, decision, r_before, r_after, r_without, hits=(hits_before, hits_after))


def round_views(ctx: Context, name: str, swaps: Sequence[Swap], says: Sequence[Tensor]) -> ViewMaker:
    """What a network is trained on under these swaps: views of the images that are not held out.

    Where a cue with exceptions was exchanged, what is left of it in the views must not tell the class. So they are
    drawn such that in every class the cue says each class as often: all of them where all of it is left, every second
    one where nothing is found. The few images that contradict the cue are shown again and again for that, which costs
    where it is not needed; but so short a search misses what is faint.

    Args:
        name: Of the step.
        says: What each such cue says of every image, (N,).
    """
    views = ctx.views(ctx.fit, swaps, ctx.settings.round.mix)
    if not says:
        return views
    names = [*(f"{name}/left-{place}" for place in range(1, len(says))), f"{name}/left"]
    left = max(read_views(ctx, at, swaps, one)[1] for at, one in zip(names, says, strict=True))
    sorts = torch.unique(torch.stack([one[ctx.fit] for one in says]), dim=1, return_inverse=True)[1]
    balanced = balancing(sorts, ctx.labels[ctx.fit])
    share = (1 + left) / 2
    return DrawnViews(views, share * balanced / balanced.sum() + (1 - share) / len(balanced))


def merge(ctx: Context, site: Site, swap: Swap, findings: list[Finding]) -> Merged:
    """Merge the findings and their analogues into one feature with a detector at the stage."""
    name = site.name
    record = ctx.plugins.get("generalizer", ctx.settings.plugins.generalizer)

    def work() -> dict[str, Any]:
        numbers, maps, targets = _evidence(ctx, site, swap)
        labels = ctx.labels[numbers].to(ctx.device)
        tied, features = find_analogies(ctx, site, swap)
        tested = translate(ctx, site, features)
        members = {finding.parent: finding.units for finding in findings}
        for analogy in tied:
            for parent, unit in ((analogy.parent, analogy.unit), (analogy.other, analogy.analogue)):
                members[parent] = tuple(dict.fromkeys((*members.get(parent, ()), unit)))
        effects = _analogues(ctx, site, findings, members)
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
        looks = record.guard("merge", detector)(maps)
        record.must_return("merge", "logits of maps", looks, (len(maps), 1, *maps.shape[2:]))
        looks = looks.detach()
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
    ctx: Context, site: Site, findings: list[Finding], members: dict[int, tuple[int, ...]]
) -> list[tuple[int, int, float]]:
    """What hangs on the members that analogies brought in: (parent, unit, real mean fall of the parent's margin)."""
    own = {finding.parent: finding.units for finding in findings}
    brought = [(parent, unit) for parent, units in members.items() for unit in units if unit not in own.get(parent, ())]
    if not brought:
        return []
    units = sorted({unit for _, unit in brought})
    with frozen(*site.readout.modules()):
        falls = ctx.evidence(site.stage, site.name, site.readout).falls([[unit] for unit in units])
    return [(parent, unit, float(falls[parent, units.index(unit)])) for parent, unit in brought]


def _evidence(ctx: Context, site: Site, swap: Swap) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers, maps and targets of the probe set.

    The target is where the image's own feature is, as the share of each cell of the stage: found by a probe with the
    blurred image as the donor, since the gate of a real donor also marks where the donor's feature comes in. Where the
    user named places, it is there.
    """
    numbers = ctx.probe_set[: ctx.settings.concepts.merge_images]
    readout, name = site.readout, site.name
    views = ctx.views(ctx.fit, readout.swaps)
    price = ctx.settings.concepts.own_price
    prober = ctx.prober(readout, Codec(IMAGE))
    trunk = Trunk(readout.network, site.stage)
    maps, targets = [], []
    with frozen(*readout.modules()):
        for place, part in enumerate(numbers.split(ctx.settings.probe.batch)):
            with torch.no_grad():
                images = views.of(part, ctx.generator(name, "merge", place))
                maps.append(trunk(images).float())
            if swap.codec.gate != "place":
                places = torch.ones(len(part), 1, *ctx.size, device=ctx.device)
            else:
                if (given := swap.codec.given) is None:
                    soft = prober.own_gates(images, ctx.labels[part].to(ctx.device), price)
                else:
                    soft = given.to(ctx.device).expand(len(part), -1, -1, -1)
                places = open_cells(soft, ctx.size, ctx.settings.probe.threshold, 0)
            targets.append(open_shares(places, (maps[-1].shape[2], maps[-1].shape[3])))
    return numbers, torch.cat(maps), torch.cat(targets)
