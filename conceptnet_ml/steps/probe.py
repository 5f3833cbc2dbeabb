"""Step 2, probe: dream donors' features into images of other classes, in every representation, and judge the swaps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from conceptnet_ml.config.settings import TrainingSettings
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.steps.channel_probe import moves_channels, probe_channels
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.gates import codecs, probe_representation
from conceptnet_ml.steps.records import ChannelProbe, ProbeResult, Site
from conceptnet_ml.swap.interchangeability import SwapMeasurement
from conceptnet_ml.swap.representation import Codec
from conceptnet_ml.swap.stop_rule import USER
from conceptnet_ml.swap.sureness import LIKELY, less_sure

__all__ = ["choose_partners", "probe", "probe_channels"]

AHEAD = 0.05
"""By how much more interchangeable a swap of the whole image's channels must be, to come before one of places."""


def probe(ctx: Context, site: Site, channels: ChannelProbe | None) -> Iterator[ProbeResult]:
    """Each representation's probe and decision, cheapest and most global first, as long as they are asked for.

    The decision is the rule's unless the user named the round. One that is to come last is refused at first, and comes
    once more, kept, where all were asked for, or before a swap of places whose ι is lower, where its channels hold the
    image as a whole or it says how that was taken: a word in the corner is narrow in the spectrum, too, and is more
    easily exchanged as places. So does, where the user keeps the round, the best of them, as the one the user insists
    on. A swap of places says which swap of the whole image waits behind it, and whether it gives way to that one.

    A network that reads a cue alone (:func:`conceptnet_ml.steps.exceptions.read_exceptions`) is asked what it is made
    of: any of the whole image waits for places, and comes first where it is about as easily exchanged, since places of
    a coloured thing hold its colour and more.

    What a network with trained weights hangs on must be what one from fresh weights hangs on.

    How pictures were taken is seldom one thing: others of it that decide as well, by no close call, go along.

    Where the user named places these are probed alone, through the gate that they are, and exchanged whatever the rule
    says of them.

    Args:
        channels: Below the top stage, the probe of its channels: a swap that does not move them is refused.
    """
    if site.readout.given:
        ctx.override_rule.exchange(site.name, site.readout.given)
    tried, pure = codecs(ctx, site.readout), site.readout.told is not None
    results: list[ProbeResult] = []
    waiting: list[ProbeResult] = []
    for codec in tried:
        result = _agreed(ctx, site, codec, probe_representation(ctx, site, codec))
        if channels is not None:
            result = moves_channels(result, channels, site.readout)
        results.append(ctx.override_rule.before_training(site.name, result, [codec.name for codec in tried]))
        decision = results[-1].decision
        # What is of the whole image, too, does not come before it: light by class makes all amplitudes larger.
        last = decision.last or (bool(waiting) and codec.gate == "channel")
        if decision.keep and last and decision.evidence != USER:
            waiting.append(results[-1])
            yield _refused_at_first(results[-1])
            continue
        waiting = sorted(waiting, key=lambda one: -one.measured.iota if pure else _surest(one.measured))
        early = [one for one in waiting if one.measured.entire or one.measured.nature is not None or pure]
        least = result.measured.iota + (-AHEAD if pure else AHEAD)
        ahead = [place for place, one in enumerate(early) if codec.gate == "place" and one.measured.iota > least]
        for before in early[: ahead[-1] + 1 if ahead else 0]:  # with what is surer, be that less interchangeable
            waiting.remove(before)
            yield before if pure else _along(before, waiting)
        colours = [one for one in waiting if one.measured.gate == "whole" and one.measured.nature is None]
        rival = next(iter(colours), None)
        if rival is None:
            yield results[-1]
            continue
        sure = rival.measured.iota_less_errors(ctx.settings.round.imperfection) >= ctx.settings.round.first
        yield replace(results[-1], rival=rival.measured.representation, gives_way=sure)
    for place, one in enumerate(waiting):
        yield one if pure else _along(one, waiting[place + 1 :])
    insisted = ctx.override_rule.kept_by_user(site.name, results)
    if insisted is not None:
        yield replace(insisted, insisted=True)


def _agreed(ctx: Context, site: Site, codec: Codec, result: ProbeResult) -> ProbeResult:
    """The result; refused where the rule would not have what an auxiliary network hangs on exchanged likewise, which is
    trained as long as the ordinary one, on the same views.

    What errs is the object, says the rule, since no object is as easy as a cue that fits every label. Trained weights
    err on neither.

    Cost: where a network with trained weights would have something exchanged, ``training.epochs`` of an auxiliary one,
    once a round, and its probe.
    """
    readout = site.readout
    only = not ctx.settings.network.trained or readout.told is not None or readout.family is not None
    if only or readout.given or not result.decision.keep:
        return result
    name, views = f"{site.name}/fresh", ctx.views(ctx.fit, readout.swaps)
    epochs = ctx.epochs(ctx.settings.training.epochs or TrainingSettings().epochs)  # a user's own may be untouched
    network = ctx.train_auxiliary(f"{name}/train", views, epochs)
    other = probe_representation(ctx, replace(site, name=name, readout=replace(readout, network=network)), codec)
    asked = "a network from fresh weights, trained on the same images,"
    if other.decision.keep:
        said = f"{asked} hangs on it, too (φ {other.measured.phi:.2f})"
        classes = result.decision.classes if other.decision.classes is None else other.decision.classes
        sure = less_sure(result.decision.sureness, other.decision.sureness)
        reason = f"{result.decision.reason}; {said}"
        decision = replace(result.decision, reason=reason, classes=classes, sureness=sure)
    else:
        decision = replace(other.decision, reason=f"of {asked} {other.decision.reason}")
    return replace(result, decision=decision)


def _along(result: ProbeResult, waiting: Sequence[ProbeResult]) -> ProbeResult:
    """Of how pictures were taken, with the others that wait, none of them by a close call."""
    if result.measured.nature is None:
        return result
    others = [one for one in waiting if one.measured.nature is not None and one.measured.gate == "whole"]
    likely = [one for one in others if one.decision.sureness is None or one.decision.sureness.agree >= LIKELY]
    return replace(result, along=tuple(one.measured.representation for one in likely))


def _surest(measured: SwapMeasurement) -> float:
    """Of what nature gives classes least comes first; all that it gives them much of, in the order they were tried."""
    return 1.0 if measured.nature is None else measured.nature


def _refused_at_first(result: ProbeResult) -> ProbeResult:
    reason = f"{result.decision.reason}; the others are tried first"
    return replace(result, decision=result.decision.instead(False, reason))


def choose_partners(ctx: Context, network: StagedNetwork) -> Tensor | None:
    """For each class the few others it is most readily taken for, (classes, m); None where all others are few.

    Not all pairs of classes are probed: their number grows as the square. Two classes that share units of the top stage
    have logits that rise together; so a class's partners are those with the highest mean logit over its images, seen
    from either side. Cost: one forward pass over the probe set.
    """
    few = ctx.settings.probe.partners
    if ctx.classes <= few + 1:
        return None

    def work() -> dict[str, Tensor]:
        logits, labels = [], []
        with torch.no_grad(), frozen(network):
            for images, right in ctx.probe_views("partners", []):
                logits.append(network(images).float())
                labels.append(right)
        answers, right = torch.cat(logits), torch.cat(labels)
        mean = torch.stack([answers[right == c].mean(0) for c in range(ctx.classes)]).cpu()
        near = mean - mean.diag()[:, None]
        near = torch.maximum(near, near.T).fill_diagonal_(float("-inf"))
        return {"partners": near.topk(few).indices}

    return ctx.once("partners", work, "probing")["partners"]
