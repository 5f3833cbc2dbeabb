"""The learner: the five steps, stage by stage from the top, round by round within a stage.

Holds no tensor arithmetic. What a step computes is remembered by the run, so going on after a stop is running this
again from the top.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from conceptnet_ml import lower, steps
from conceptnet_ml.network import StagedNetwork
from conceptnet_ml.stories import Story
from conceptnet_ml.swaps import Swap
from conceptnet_ml.workbench import Parents, Workbench


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
    """

    ordinary: StagedNetwork
    network: StagedNetwork
    swaps: list[Swap] = field(default_factory=list)
    stories: list[Story] = field(default_factory=list)
    families: dict[str, Parents] = field(default_factory=dict)
    refused: StagedNetwork | None = None
    epochs: int = 0


def run_loop(bench: Workbench) -> Learned:
    """Ordinary training, then find · probe · generalize · specialize · descend for ``depth`` stages from the top."""
    settings = bench.settings
    fresh = bench.network()
    stages = [*reversed(fresh.stage_names)]
    plain = bench.views(bench.fit, [])
    ordinary = bench.train("ordinary", fresh, plain, settings.training.epochs, settings.training.rate, "ordinary")
    learned = Learned(ordinary, ordinary)
    above = [Parents("classes", ordinary)]
    for place, stage in enumerate(stages[: settings.depth]):
        below = stages[place + 1] if place + 1 < len(stages) else None
        above = [family for parents in above for family in _work_at(bench, learned, stage, below, parents)]
    return learned


def _work_at(bench: Workbench, learned: Learned, stage: str, below: str | None, parents: Parents) -> list[Parents]:
    """All rounds of one stage for one set of parents; returns the parents for the stage below."""
    families: list[tuple[Story, Parents]] = []
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
        for story, family in families:
            story.edges = steps.descend.descend(bench, below, story.name, family, family.swaps)
            story.below = below
    return [family for _, family in families]


def _round(bench: Workbench, learned: Learned, stage: str, name: str, number: int, parents: Parents) -> Story:
    """One round: one feature per class generalized, or the reason why not."""
    findings = steps.find.find(bench, stage, name, parents, parents.swaps)
    story = Story(name, stage, number, parents, findings)
    story.judged = steps.probe.probe(bench, name, parents, parents.swaps)
    if parents.elementary is not None:
        story.channels = lower.channels(bench, stage, name, parents)
        story.judged = lower.same_channels(story.judged, story.channels)
    candidates = [judged for judged in story.judged if judged.decision.keep]
    if not candidates:
        story.decision, story.reason = (
            "leaf",
            "; ".join(f"{judged.measured.representation}: {judged.decision.reason}" for judged in story.judged),
        )
        _show_refused(bench, learned, name, parents, story)
        return story
    chosen, story.trials = steps.choose.choose(bench, name, parents, learned.network, learned.swaps, candidates)
    story.chosen = chosen
    swap = steps.probe.swap_of(bench, name, parents, parents.swaps, chosen.measured.representation)
    story.swap = swap
    story.merged = steps.generalize.merge(bench, stage, name, parents, parents.swaps, swap, findings)
    story.trained = steps.generalize.train_views(bench, name, learned.network, learned.swaps, swap)
    story.reason = f"{chosen.measured.representation}: {chosen.decision.reason}; {story.trained.decision.reason}"
    if not story.trained.decision.keep:
        story.decision = "undone"
        return story
    successor, keeps = _successor(bench, name, stage, parents, story)
    if not keeps:
        story.decision = "undone"
        return story
    story.decision, story.successor = "kept", successor
    learned.network = story.trained.network
    learned.swaps = [*learned.swaps, swap]
    learned.epochs += bench.settings.round.epochs
    if successor.family is None:
        story.successor = replace(successor, network=learned.network)
    else:
        learned.families[successor.key] = successor
    story.split = steps.specialize.split(bench, stage, name, parents, parents.swaps, story.merged)
    key = f"{parents.key}.{stage}.{number}" if parents.key != "classes" else f"{stage}.{number}"
    story.family = Parents(key, parents.network, stage, story.split.family, list(parents.swaps), swap.codec.record.cost)
    learned.families[key] = story.family
    return story


def _successor(bench: Workbench, name: str, stage: str, parents: Parents, story: Story) -> tuple[Parents, bool]:
    """Whose answer the next round at this stage is about, and whether anything of it remains.

    At the top that is the network itself, trained on the new views; below it the parent's family, taught anew what
    tells its variants apart when what was just found no longer does.
    """
    assert story.swap is not None
    swaps = [*parents.swaps, story.swap]
    if parents.family is None:
        return replace(parents, swaps=swaps), True
    story.taught = lower.teach(bench, name, parents, story.swap)
    story.reason += f"; {story.taught.decision.reason}"
    return replace(story.taught.parents, swaps=swaps), story.taught.decision.keep


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
    swap = steps.probe.swap_of(bench, name, parents, parents.swaps, best.measured.representation)
    learned.refused = steps.generalize.train_views(
        bench, f"{name}/refused", learned.network, learned.swaps, swap, spends="controls"
    ).network
