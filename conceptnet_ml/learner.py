"""The learner: the five steps, stage by stage from the top, round by round within a stage.

Holds no tensor arithmetic. The run remembers what a step computes, so going on after a stop is running this again from
the top.
"""

from __future__ import annotations

from dataclasses import replace

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.concepts.scores import Finding
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.descend import descend, leaf
from conceptnet_ml.steps.exceptions import after_exceptions, read_exceptions
from conceptnet_ml.steps.find import find
from conceptnet_ml.steps.generalize import generalize, round_views, train_refused
from conceptnet_ml.steps.ordinary import train_ordinary
from conceptnet_ml.steps.probe import choose_partners, probe, probe_channels
from conceptnet_ml.steps.records import ChannelProbe, Descent, Learned, Outcome, Round, Site, Specialized
from conceptnet_ml.steps.specialize import specialize
from conceptnet_ml.steps.stage_basis import describe
from conceptnet_ml.steps.target import weigh_target


def run_learner(ctx: Context) -> Learned:
    """Ordinary training, the five steps, and the five steps again after every edit the user made since."""
    ordinary = train_ordinary(ctx)
    ctx.partners = choose_partners(ctx, ordinary)
    learned = Learned(ordinary, ordinary)
    learn_stages(ctx, learned, Readout("classes", ordinary, given=ctx.settings.round.exchange or ""))
    for number in ctx.history.adopted():
        learn_stages(ctx, learned, _train_edited(ctx, learned, number))
    return learned


def learn_stages(ctx: Context, learned: Learned, top: Readout) -> None:
    """Find · probe · generalize · specialize · descend, for ``depth`` stages from the top.

    A readout is whose answer the rounds of a stage are about: the classes at the top, below it the variants of what was
    found above. Each round generalizes one feature. Rounds end where nothing is left that can be exchanged. ``learned``
    gathers the network, the kept swaps and the rounds, ``top`` is the readout of the top stage. In its first round the
    places that the user named are exchanged, if any.
    """
    stages = [*reversed(learned.ordinary.stage_names)]
    readouts = [top]
    for stage, below in zip(stages[: ctx.settings.depth], [*stages[1:], None], strict=False):
        readouts_below: list[Readout] = []
        for above in readouts:
            readout, left, ask = describe(ctx, learned, stage, above), None, True
            for number in range(1, ctx.settings.round.limit + 1):
                site = Site.of_round(stage, readout, number)
                findings = find(ctx, site)  # 1
                channels = probe_channels(ctx, site)  # 2, below the top: inside the network
                outcomes, reader = _exchange(ctx, learned, site, findings, channels, ask)  # 2, 3
                kept = outcomes[-1] if outcomes and outcomes[-1].keep else None
                family = specialize(ctx, site, kept) if kept is not None else None  # 4
                answers = next_readout = None
                if kept is not None and family is not None:
                    answers, next_readout, left = family.readout, kept.next_readout, None
                elif reader is not None:  # asked in the next round
                    next_readout, left = describe(ctx, learned, stage, reader), (site, outcomes)
                elif left is not None and _asks_on(ctx, left[1]) and number < ctx.settings.round.limit:
                    next_readout, left, ask = left[0].readout, None, False
                else:
                    answers = leaf(ctx, *(left or (site, outcomes)))
                descent = descend(ctx, learned, site, answers, below)  # 5
                readouts_below += descent.readouts
                ended = _end_round(ctx, site, (findings, channels), outcomes, family, descent)
                learned.add(ended, ctx.epochs(ctx.settings.round.epochs))
                ctx.on_round(ended)
                if next_readout is None:
                    learned.refused = learned.refused or train_refused(ctx, learned, ended)
                    break
                readout = next_readout
        readouts = readouts_below


def _asks_on(ctx: Context, refused: list[Outcome]) -> bool:
    """Whether what was refused before a reader was asked, in vain, is judged once more."""
    return refused[-1].waits or ctx.settings.data.target is not None


def _exchange(
    ctx: Context, learned: Learned, site: Site, findings: list[Finding], channels: ChannelProbe | None, ask: bool
) -> tuple[list[Outcome], Readout | None]:
    """Probe one representation after the other, φ, ι and the decision, and generalize: closure, views and merge, until
    a round is kept. Where none is, and nobody reads a cue with exceptions, pictures of the new world are asked.

    Args:
        ask: Whether to look for images that contradict a cue: before places are exchanged, which may hold the object,
            and where nothing is kept.

    Returns:
        The outcomes in order. And whom the next round asks, where there are such images; places wait for that.
    """
    outcomes: list[Outcome] = []
    for probed in probe(ctx, site, channels):
        probed = after_exceptions(learned, site, probed)
        decision = probed.decision
        if ask and probed.measured.gate == "place" and (decision.keep or decision.undecided):
            ask = False
            reason = f"{decision.reason}; what contradicting images show is asked first"
            waiting = replace(probed, decision=decision.instead(False, reason))
            waits = Outcome(waiting, False, f"{probed.measured.representation}: {reason}", waits=True)
            reader = read_exceptions(ctx, learned, site, [*outcomes, replace(waits, probed=probed)])
            if reader is not None:
                return [*outcomes, waits], reader
        outcomes.append(generalize(ctx, learned, site, findings, probed))
        if outcomes[-1].keep:
            return outcomes, None
    reader = read_exceptions(ctx, learned, site, outcomes) if ask else None
    for place, refused in enumerate(outcomes if reader is None else ()):
        probed = weigh_target(ctx, site, refused.probed)
        if probed is not refused.probed:
            outcomes[place] = judged = generalize(ctx, learned, site, findings, probed)
            if judged.keep:
                return [*outcomes[:place], *outcomes[place + 1 :], judged], None
    return outcomes, reader


def _train_edited(ctx: Context, learned: Learned, number: int) -> Readout:
    """From the network as the user edited it: trained on the views of all kept swaps, and read out once more."""
    ctx.edited = ctx.history.digest(number)
    settings, name = ctx.settings, f"edit{number}"
    network, views = ctx.network(ctx.history.network(number)), round_views(ctx, name, learned.swaps, learned.says)
    epochs = ctx.epochs(settings.round.epochs)
    learned.network = ctx.train(f"{name}/train", network, views, epochs, settings.training.warm_rate)
    learned.epochs += epochs
    return Readout(name, learned.network, swaps=list(learned.swaps))


def _end_round(
    ctx: Context,
    site: Site,
    seen: tuple[list[Finding], ChannelProbe | None],
    outcomes: list[Outcome],
    family: Specialized | None,
    descent: Descent,
) -> Round:
    """Put a round together from what its steps returned, and say which decisions were the user's. ``seen`` is what was
    found before any representation was tried, ``outcomes`` are those of the representations tried, in order.
    """
    findings, channels = seen
    judged = list({one.probed.measured.representation: one.probed for one in outcomes}.values())
    trained = [one for one in outcomes if one.trained is not None]
    last = trained[-1] if trained else None
    kept, insisted = family is not None, bool(outcomes) and outcomes[-1].probed.insisted
    undone = None if last is not None else ctx.override_rule.undone_by_user(site.name, judged)
    reasons = [one.reason for one in outcomes] or ["no representation is more elementary than what is above"]
    for sentence in ctx.override_rule.overruled.get(site.name, ()):
        ctx.run.log(event="overruled", name=site.name, reason=sentence)
        ctx.progress.say(f"{site.name}: {sentence}")
    return Round(
        site.name,
        site.stage,
        site.number,
        site.readout,
        findings,
        judged,
        decision="kept" if kept else "leaf" if last is None and undone is None else "undone",
        reason="; ".join(reasons[-1:] if kept or insisted else reasons),
        waits=bool(outcomes) and outcomes[-1].waits,
        channels=channels,
        chosen=undone if last is None else last.probed,
        swap=None if last is None else last.swap,
        closures=tuple(check for one in trained for check in one.closures),
        trained=None if last is None else last.trained,
        refit=next((one.refit for one in reversed(trained) if one.refit is not None), None),
        merged=outcomes[-1].merged if kept else None,
        split=None if family is None else family.split,
        family=None if family is None else family.readout,
        edges=descent.edges,
        below=descent.below,
    )
