"""The learner: the five steps, stage by stage from the top, round by round within a stage.

Holds no tensor arithmetic. What a step computes is remembered by the run, so going on after a stop is running this
again from the top.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from conceptnet_ml import steps
from conceptnet_ml.concepts.readout import Parents
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.steps import channel_probe as lower
from conceptnet_ml.steps.context import Workbench
from conceptnet_ml.steps.records import Story
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
    stories: list[Story] = field(default_factory=list)
    families: dict[str, Parents] = field(default_factory=dict)
    refused: StagedNetwork | None = None
    epochs: int = 0
    directions: dict[str, steps.find.Described] = field(default_factory=dict)


def run_loop(bench: Workbench) -> Learned:
    """Ordinary training, then find · probe · generalize · specialize · descend for ``depth`` stages from the top."""
    settings = bench.settings
    fresh = bench.network()
    stages = [*reversed(fresh.stage_names)]
    plain = bench.views(bench.fit, [])
    ordinary = bench.train("ordinary", fresh, plain, settings.training.epochs, settings.training.rate, "ordinary")
    bench.partners = steps.probe.partners(bench, ordinary)
    learned = Learned(ordinary, ordinary)
    _descend(bench, learned, stages, Parents("classes", ordinary))
    for number in bench.history.adopted():
        _go_on(bench, learned, stages, number)
    return learned


def _descend(bench: Workbench, learned: Learned, stages: list[str], parents: Parents) -> None:
    """Work through ``depth`` stages from the top."""
    above = [parents]
    for place, stage in enumerate(stages[: bench.settings.depth]):
        below = stages[place + 1] if place + 1 < len(stages) else None
        above = [family for parents in above for family in _work_at(bench, learned, stage, below, parents)]


def _go_on(bench: Workbench, learned: Learned, stages: list[str], number: int) -> None:
    """From the network as the user edited it: trained on the views of all kept swaps, and worked through once more."""
    bench.edited = bench.history.basis(number)
    settings = bench.settings
    views = bench.views(bench.fit, learned.swaps, settings.round.mix)
    network = bench.network(bench.history.network(number))
    name = f"edit{number}"
    learned.network = bench.train(f"{name}/train", network, views, settings.round.epochs, settings.training.warm_rate)
    learned.epochs += settings.round.epochs
    _descend(bench, learned, stages, Parents(name, learned.network, swaps=list(learned.swaps)))


def _work_at(bench: Workbench, learned: Learned, stage: str, below: str | None, parents: Parents) -> list[Parents]:
    """All rounds of one stage for one set of parents; returns the parents for the stage below."""
    families: list[tuple[Story, Parents]] = []
    parents = _describe(bench, learned, stage, parents)
    for number in range(1, bench.settings.round.limit + 1):
        name = f"{stage}/{parents.key}/{number}"
        story = _round(bench, learned, stage, name, number, parents)
        learned.stories.append(story)
        if story.family is not None:
            families.append((story, story.family))
        if story.decision != "kept":
            break
        assert story.successor is not None
        parents = story.successor
    if not families and bench.settings.round.limit:
        families = [(story, _leaf(bench, stage, story))]
    if below is not None:
        families = [(story, _describe(bench, learned, below, family)) for story, family in families]
        for story, family in families:
            story.edges = steps.descend.descend(bench, below, story.name, family, family.swaps)
            story.below = below
            family.candidates = tuple(sorted({edge.unit for edge in story.edges if edge.stands}))
    return [family for _, family in families]


def _describe(bench: Workbench, learned: Learned, stage: str, parents: Parents) -> Parents:
    """The parents with a stage of their network described by directions, if the discoverer has any."""
    found = learned.directions.get(stage) or steps.find.describe(bench, stage, learned.ordinary)
    if found is None:
        return parents
    learned.directions[stage] = found
    return replace(parents, network=found.in_place(parents.network))


def _round(bench: Workbench, learned: Learned, stage: str, name: str, number: int, parents: Parents) -> Story:
    """One round: one feature per class generalized, or the reason why not.

    Representations are tried cheapest and most global first; the first whose swap is kept, before and after training,
    is the round's. One that is undone after training makes way for the next. The user may overrule all of that.
    """
    findings = steps.find.find(bench, stage, name, parents, parents.swaps)
    story = Story(name, stage, number, parents, findings)
    if parents.elementary is not None:
        story.channels = lower.channels(bench, stage, name, parents)
    reasons = []
    codecs = steps.probe.codecs(bench, parents)
    for codec in codecs:
        judged = steps.probe.judge(bench, name, parents, parents.swaps, codec)
        if story.channels is not None:
            judged = lower.same_channels(judged, story.channels)
        judged = bench.overrule.before(name, judged, [codec.name for codec in codecs])
        story.judged.append(judged)
        reasons.append(f"{codec.name}: {judged.decision.reason}")
        if not judged.decision.keep:
            continue
        reasons[-1] += _generalize(bench, learned, story, judged)
        if story.decision == "kept":
            break
    if not codecs:
        reasons = ["no representation is more elementary than what is above"]
    story.reason = "; ".join(reasons[-1:] if story.decision == "kept" else reasons)
    if story.decision != "kept":
        _overrule(bench, learned, story)
    for said in bench.overrule.said.get(name, ()):
        bench.run.log(event="overruled", name=name, reason=said)
        bench.progress.say(f"{name}: {said}")
    if story.decision == "leaf":
        _show_refused(bench, learned, name, parents, story)
    return story


def _overrule(bench: Workbench, learned: Learned, story: Story) -> None:
    """Where nothing was kept, the user may keep the round all the same; or it was the user who did not keep it."""
    insisted = bench.overrule.insisted(story.name, story.judged)
    refused = bench.overrule.refused(story.name, story.judged)
    if insisted is not None:
        found = _generalize(bench, learned, story, insisted)
        story.reason = f"{insisted.measured.representation}: {insisted.decision.reason}{found}"
    elif refused is not None and story.chosen is None:
        story.decision, story.chosen = "undone", refused


def _generalize(bench: Workbench, learned: Learned, story: Story, chosen: steps.probe.Judged) -> str:
    """Steps 3 and 4 with one representation; the story tells whether it is kept. Returns what was found, in words."""
    name, stage, parents = story.name, story.stage, story.parents
    swap = steps.probe.swap_of(bench, name, parents, parents.swaps, chosen)
    story.chosen, story.swap, story.decision = chosen, swap, "undone"
    reason = _close(bench, learned, story)
    _train(bench, learned, story)
    assert story.trained is not None
    if story.swap is not swap and not _spares(bench, story.trained):
        reason += f", but that leaves too little, r {story.trained.r_after:.2f}: it is dropped"
        story.swap = swap
        _train(bench, learned, story)
    story.trained = bench.overrule.after(name, swap.codec.name, story.trained)
    reason += f"; {story.trained.decision.reason}"
    if story.trained.decision.keep:
        successor, keeps, taught = _successor(bench, name, stage, parents, story)
        reason += taught
        if keeps:
            _keep(bench, learned, story, successor)
    return reason


def _train(bench: Workbench, learned: Learned, story: Story) -> None:
    """Train on the views of all kept swaps and the story's; what is not its first swap is a step of its own."""
    assert story.swap is not None
    assert story.chosen is not None
    name = story.name
    if story.swap.widened:
        name += f"/closure-{story.swap.widened}"
    classes = story.chosen.decision.classes
    story.trained = steps.generalize.train_views(bench, name, learned.network, learned.swaps, story.swap, classes)


def _spares(bench: Workbench, trained: steps.generalize.Trained) -> bool:
    """Whether a widened swap leaves enough of the object."""
    chance = 1 / bench.classes
    least = chance + bench.settings.round.spares * (trained.r_before - chance)
    return trained.decision.keep and trained.r_after >= least


def _close(bench: Workbench, learned: Learned, story: Story) -> str:
    """Widen a place-gated swap until a fresh network, trained on the views, no longer finds the feature in them.

    Before the round's own training, which is the dear part. Returns what was found, in words.
    """
    assert story.swap is not None
    assert story.chosen is not None
    found, classes = "", story.chosen.decision.classes
    if story.parents.family is not None or story.swap.codec.gate != "place":
        return found
    for turn in range(1, bench.settings.round.closures + 1):
        name = f"{story.name}/closure-{turn}"
        check = steps.close.check(bench, name, learned.swaps, story.swap, classes)
        story.closures.append(check)
        found += f"; {check.reason}"
        if check.closed:
            break
        story.swap = steps.close.widened(bench, name, learned.swaps, story.swap, check)
    return found


def _keep(bench: Workbench, learned: Learned, story: Story, successor: Parents) -> None:
    """The round stands: its swap goes into all later views, its feature is merged and split."""
    name, stage, parents, swap = story.name, story.stage, story.parents, story.swap
    assert swap is not None
    assert story.trained is not None
    story.decision, story.successor = "kept", successor
    learned.network = story.trained.network
    learned.swaps = [*learned.swaps, swap]
    learned.epochs += bench.settings.round.epochs
    if successor.family is None:
        story.successor = _describe(bench, learned, stage, replace(successor, network=learned.network))
    else:
        learned.families[successor.key] = successor
    story.merged = steps.generalize.merge(bench, stage, name, parents, parents.swaps, swap, story.findings)
    story.split = steps.specialize.split(bench, stage, name, parents, parents.swaps, story.merged)
    key = f"{parents.key}.{stage}.{story.number}" if parents.key != "classes" else f"{stage}.{story.number}"
    story.family = Parents(key, parents.network, stage, story.split.family, list(parents.swaps), swap.codec.record.cost)
    learned.families[key] = story.family


def _successor(bench: Workbench, name: str, stage: str, parents: Parents, story: Story) -> tuple[Parents, bool, str]:
    """Whose answer the next round at this stage is about, whether anything of it remains, and why.

    At the top that is the network itself, trained on the new views; below it the parent's family, taught anew what
    tells its variants apart when what was just found no longer does.
    """
    assert story.swap is not None
    swaps = [*parents.swaps, story.swap]
    if parents.family is None:
        return replace(parents, swaps=swaps), True, ""
    story.taught = steps.specialize.teach(bench, name, parents, story.swap)
    story.taught = bench.overrule.after(name, story.swap.codec.name, story.taught)
    taught = story.taught.decision
    return replace(story.taught.parents, swaps=swaps), taught.keep, f"; {taught.reason}"


def _leaf(bench: Workbench, stage: str, story: Story) -> Parents:
    """The object itself as the parent of the stage below: the answers stay the network's own."""
    parents = story.parents
    spatial = [one.measured for one in story.judged if one.measured.gate == "place"]
    cost = bench.codec(spatial[0].representation).record.cost if spatial else parents.elementary
    return replace(parents, key=f"{stage}.leaf", elementary=cost)


def _show_refused(bench: Workbench, learned: Learned, name: str, parents: Parents, story: Story) -> None:
    """Train a refused round all the same, for its figures only."""
    if not bench.settings.round.show_refused or learned.refused is not None:
        return
    best = max(story.judged, key=lambda judged: (judged.measured.gate == "place", judged.measured.phi))
    swap = steps.probe.swap_of(bench, name, parents, parents.swaps, best)
    learned.refused = steps.generalize.train_views(
        bench, f"{name}/refused", learned.network, learned.swaps, swap, spends="controls"
    ).network
