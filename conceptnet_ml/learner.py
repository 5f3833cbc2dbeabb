"""The learner: the five steps, stage by stage from the top, round by round within a stage.

Holds no tensor arithmetic. What a step computes is remembered by the run, so going on after a stop is running this
again from the top.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from conceptnet_ml import steps
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.steps import channel_probe as lower
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import ProbeResult, Round, StageBasis
from conceptnet_ml.swap.views import Swap


@dataclass
class Learned:
    """What a run ends with.

    Args:
        ordinary: The network after ordinary training.
        network: The network after the last good round.
        swaps: All kept swaps.
        stories: Every round, in order, kept or not.
        families: Every family by its name, as it answers after all rounds; a story's own is as it was found.
        refused: The network of the first refused round, where the settings ask for it.
        epochs: Passes over the views of all kept rounds together.
        directions: By stage, the directions that take the units' place there; empty where units are looked at.
    """

    ordinary: StagedNetwork
    network: StagedNetwork
    swaps: list[Swap] = field(default_factory=list)
    stories: list[Round] = field(default_factory=list)
    families: dict[str, Readout] = field(default_factory=dict)
    refused: StagedNetwork | None = None
    epochs: int = 0
    directions: dict[str, StageBasis] = field(default_factory=dict)


def run_loop(ctx: Context) -> Learned:
    """Ordinary training, then find · probe · generalize · specialize · descend for ``depth`` stages from the top."""
    settings = ctx.settings
    fresh = ctx.network()
    stages = [*reversed(fresh.stage_names)]
    plain = ctx.views(ctx.fit, [])
    ordinary = ctx.train("ordinary", fresh, plain, settings.training.epochs, settings.training.rate, "ordinary")
    ctx.partners = steps.probe.partners(ctx, ordinary)
    learned = Learned(ordinary, ordinary)
    _descend(ctx, learned, stages, Readout("classes", ordinary))
    for number in ctx.history.adopted():
        _go_on(ctx, learned, stages, number)
    return learned


def _descend(ctx: Context, learned: Learned, stages: list[str], readout: Readout) -> None:
    """Work through ``depth`` stages from the top."""
    above = [readout]
    for place, stage in enumerate(stages[: ctx.settings.depth]):
        below = stages[place + 1] if place + 1 < len(stages) else None
        above = [family for readout in above for family in _work_at(ctx, learned, stage, below, readout)]


def _go_on(ctx: Context, learned: Learned, stages: list[str], number: int) -> None:
    """From the network as the user edited it: trained on the views of all kept swaps, and worked through once more."""
    ctx.edited = ctx.history.basis(number)
    settings = ctx.settings
    views = ctx.views(ctx.fit, learned.swaps, settings.round.mix)
    network = ctx.network(ctx.history.network(number))
    name = f"edit{number}"
    learned.network = ctx.train(f"{name}/train", network, views, settings.round.epochs, settings.training.warm_rate)
    learned.epochs += settings.round.epochs
    _descend(ctx, learned, stages, Readout(name, learned.network, swaps=list(learned.swaps)))


def _work_at(ctx: Context, learned: Learned, stage: str, below: str | None, readout: Readout) -> list[Readout]:
    """All rounds of one stage for one readout; returns the readout for the stage below."""
    families: list[tuple[Round, Readout]] = []
    readout = _describe(ctx, learned, stage, readout)
    for number in range(1, ctx.settings.round.limit + 1):
        name = f"{stage}/{readout.key}/{number}"
        story = _round(ctx, learned, stage, name, number, readout)
        learned.stories.append(story)
        if story.family is not None:
            families.append((story, story.family))
        if story.decision != "kept":
            break
        assert story.successor is not None
        readout = story.successor
    if not families and ctx.settings.round.limit:
        families = [(story, _leaf(ctx, stage, story))]
    if below is not None:
        families = [(story, _describe(ctx, learned, below, family)) for story, family in families]
        for story, family in families:
            story.edges = steps.descend.descend(ctx, below, story.name, family, family.swaps)
            story.below = below
            family.candidates = tuple(sorted({edge.unit for edge in story.edges if edge.is_supported}))
    return [family for _, family in families]


def _describe(ctx: Context, learned: Learned, stage: str, readout: Readout) -> Readout:
    """The readout with a stage of their network described by directions, if the discoverer has any."""
    found = learned.directions.get(stage) or steps.find.describe(ctx, stage, learned.ordinary)
    if found is None:
        return readout
    learned.directions[stage] = found
    return replace(readout, network=found.in_place(readout.network))


def _round(ctx: Context, learned: Learned, stage: str, name: str, number: int, readout: Readout) -> Round:
    """One round: one feature per class generalized, or the reason why not.

    Representations are tried cheapest and most global first; the first whose swap is kept, before and after training,
    is the round's. One that is undone after training makes way for the next. The user may overrule all of that.
    """
    findings = steps.find.find(ctx, stage, name, readout, readout.swaps)
    story = Round(name, stage, number, readout, findings)
    if readout.elementary is not None:
        story.channels = lower.channels(ctx, stage, name, readout)
    reasons = []
    codecs = steps.probe.codecs(ctx, readout)
    for codec in codecs:
        judged = steps.probe.probe_representation(ctx, name, readout, readout.swaps, codec)
        if story.channels is not None:
            judged = lower.same_channels(judged, story.channels)
        judged = ctx.overrule.before(name, judged, [codec.name for codec in codecs])
        story.judged.append(judged)
        reasons.append(f"{codec.name}: {judged.decision.reason}")
        if not judged.decision.keep:
            continue
        reasons[-1] += _generalize(ctx, learned, story, judged)
        if story.decision == "kept":
            break
    if not codecs:
        reasons = ["no representation is more elementary than what is above"]
    story.reason = "; ".join(reasons[-1:] if story.decision == "kept" else reasons)
    if story.decision != "kept":
        _overrule(ctx, learned, story)
    for said in ctx.overrule.said.get(name, ()):
        ctx.run.log(event="overruled", name=name, reason=said)
        ctx.progress.say(f"{name}: {said}")
    if story.decision == "leaf":
        _show_refused(ctx, learned, name, readout, story)
    return story


def _overrule(ctx: Context, learned: Learned, story: Round) -> None:
    """Where nothing was kept, the user may keep the round all the same; or it was the user who did not keep it."""
    insisted = ctx.overrule.insisted(story.name, story.judged)
    refused = ctx.overrule.refused(story.name, story.judged)
    if insisted is not None:
        found = _generalize(ctx, learned, story, insisted)
        story.reason = f"{insisted.measured.representation}: {insisted.decision.reason}{found}"
    elif refused is not None and story.chosen is None:
        story.decision, story.chosen = "undone", refused


def _generalize(ctx: Context, learned: Learned, story: Round, chosen: ProbeResult) -> str:
    """Steps 3 and 4 with one representation; the story tells whether it is kept. Returns what was found, in words."""
    name, stage, readout = story.name, story.stage, story.readout
    swap = steps.probe.swap_of(ctx, name, readout, readout.swaps, chosen)
    story.chosen, story.swap, story.decision = chosen, swap, "undone"
    reason = _close(ctx, learned, story)
    _train(ctx, learned, story)
    assert story.trained is not None
    if story.swap is not swap and not _spares(ctx, story.trained):
        reason += f", but that leaves too little, r {story.trained.r_after:.2f}: it is dropped"
        story.swap = swap
        _train(ctx, learned, story)
    story.trained = ctx.overrule.after(name, swap.codec.name, story.trained)
    reason += f"; {story.trained.decision.reason}"
    if story.trained.decision.keep:
        successor, keeps, taught = _successor(ctx, name, stage, readout, story)
        reason += taught
        if keeps:
            _keep(ctx, learned, story, successor)
    return reason


def _train(ctx: Context, learned: Learned, story: Round) -> None:
    """Train on the views of all kept swaps and the story's; what is not its first swap is a step of its own."""
    assert story.swap is not None
    assert story.chosen is not None
    name = story.name
    if story.swap.widened:
        name += f"/closure-{story.swap.widened}"
    classes = story.chosen.decision.classes
    story.trained = steps.generalize.train_views(ctx, name, learned.network, learned.swaps, story.swap, classes)


def _spares(ctx: Context, trained: steps.generalize.Trained) -> bool:
    """Whether a widened swap leaves enough of the object."""
    chance = 1 / ctx.classes
    least = chance + ctx.settings.round.spares * (trained.r_before - chance)
    return trained.decision.keep and trained.r_after >= least


def _close(ctx: Context, learned: Learned, story: Round) -> str:
    """Widen a place-gated swap until a fresh network, trained on the views, no longer finds the feature in them.

    Before the round's own training, which is the dear part. Returns what was found, in words.
    """
    assert story.swap is not None
    assert story.chosen is not None
    found, classes = "", story.chosen.decision.classes
    if story.readout.family is not None or story.swap.codec.gate != "place":
        return found
    for turn in range(1, ctx.settings.round.closures + 1):
        name = f"{story.name}/closure-{turn}"
        check = steps.closure.check_closure(ctx, name, learned.swaps, story.swap, classes)
        story.closures.append(check)
        found += f"; {check.reason}"
        if check.closed:
            break
        story.swap = steps.closure.widened(ctx, name, learned.swaps, story.swap, check)
    return found


def _keep(ctx: Context, learned: Learned, story: Round, successor: Readout) -> None:
    """The round stands: its swap goes into all later views, its feature is merged and split."""
    name, stage, readout, swap = story.name, story.stage, story.readout, story.swap
    assert swap is not None
    assert story.trained is not None
    story.decision, story.successor = "kept", successor
    learned.network = story.trained.network
    learned.swaps = [*learned.swaps, swap]
    learned.epochs += ctx.settings.round.epochs
    if successor.family is None:
        story.successor = _describe(ctx, learned, stage, replace(successor, network=learned.network))
    else:
        learned.families[successor.key] = successor
    story.merged = steps.generalize.merge(ctx, stage, name, readout, readout.swaps, swap, story.findings)
    story.split = steps.specialize.split(ctx, stage, name, readout, readout.swaps, story.merged)
    key = f"{readout.key}.{stage}.{story.number}" if readout.key != "classes" else f"{stage}.{story.number}"
    story.family = Readout(key, readout.network, stage, story.split.family, list(readout.swaps), swap.codec.record.cost)
    learned.families[key] = story.family


def _successor(ctx: Context, name: str, stage: str, readout: Readout, story: Round) -> tuple[Readout, bool, str]:
    """Whose answer the next round at this stage is about, whether anything of it remains, and why.

    At the top that is the network itself, trained on the new views; below it the parent's family, taught anew what
    tells its variants apart when what was just found no longer does.
    """
    assert story.swap is not None
    swaps = [*readout.swaps, story.swap]
    if readout.family is None:
        return replace(readout, swaps=swaps), True, ""
    story.taught = steps.specialize.teach(ctx, name, readout, story.swap)
    story.taught = ctx.overrule.after(name, story.swap.codec.name, story.taught)
    taught = story.taught.decision
    return replace(story.taught.readout, swaps=swaps), taught.keep, f"; {taught.reason}"


def _leaf(ctx: Context, stage: str, story: Round) -> Readout:
    """The object itself as the parent of the stage below: the answers stay the network's own."""
    readout = story.readout
    spatial = [one.measured for one in story.judged if one.measured.gate == "place"]
    cost = ctx.codec(spatial[0].representation).record.cost if spatial else readout.elementary
    return replace(readout, key=f"{stage}.leaf", elementary=cost)


def _show_refused(ctx: Context, learned: Learned, name: str, readout: Readout, story: Round) -> None:
    """Train a refused round all the same, for its figures only."""
    if not ctx.settings.round.show_refused or learned.refused is not None:
        return
    best = max(story.judged, key=lambda judged: (judged.measured.gate == "place", judged.measured.phi))
    swap = steps.probe.swap_of(ctx, name, readout, readout.swaps, best)
    learned.refused = steps.generalize.train_views(
        ctx, f"{name}/refused", learned.network, learned.swaps, swap, spends="controls"
    ).network
