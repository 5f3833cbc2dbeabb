"""Part of step 2, before places are exchanged or where nothing is: who reads a cue with exceptions, and that alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.data.sampling import FEW, balancing
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import predict_logits, steps_per_epoch
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.gates import swap_of
from conceptnet_ml.steps.purify import DRAWS, STEPS, donated, train_cue
from conceptnet_ml.steps.records import Learned, Outcome, ProbeResult, Site
from conceptnet_ml.swap.interchangeability import above_chance
from conceptnet_ml.swap.stop_rule import USER
from conceptnet_ml.swap.views import DrawnViews, Swap, Views

FEWEST = 8
"""Training images that must contradict what is taken for the cue: from fewer no network learns what they show."""

EARLY = 64
"""Steps after which the network of what is learned first is asked first, and again after twice as many, and so on."""

TURNS = 3
"""Networks that are trained to read the cue, each by what the one before says."""

SURE = 0.95
"""Share of the answer from which a network is sure of it."""


def read_exceptions(ctx: Context, learned: Learned, site: Site, outcomes: Sequence[Outcome]) -> Readout | None:
    """A network that reads a cue with exceptions alone, to be asked in the next round; None where there is no such cue.

    Where some images contradict a cue, ordinary training uses cue and object together, so that its answers change by
    either, it errs as on an object, and the rule refuses. But the images that contradict the cue tell it from the
    object, once it is known what the cue says of each image (its bias label, as the field calls it):

    1. Either the places that wait hold more of the cue than the network rests on, or more of the object. One network
       sees of each image only what they would take over; one is the network itself, trained on with them exchanged, for
       half of ordinary training, so that it leans on what is left; and one is a fresh one as soon as it tells enough,
       after ``round.fresh`` epochs at most, since a cue is often learned first. What these answer is taken for what the
       cue says. Where it is what the object says, nobody learns from it to be sure.
    2. By each, a fresh network is trained to say that, of images drawn so that among those of which the cue says the
       same all classes are as frequent; of images that contradict it, the half of each class that does so most surely
       and of which the other side of the places tells the class: one that is hard neither side tells. The object is of
       no use to it: it reads what the contradicting images show, too. The one is taken that is surest of these.
    3. ``TURNS`` such networks, each by what the one before says of the training images, as long as it is half as sure
       as is asked. Where that comes to nothing the next first one is followed. Of a network with trained weights all
       these are auxiliary ones, and one with its weights is taught last, since the round looks at its stages.

    It is a cue with exceptions if each tells ``round.reads`` of the images, those held out among them, above chance,
    and the last is sure of what contradicts it (``round.certain``): a part of an object tells less, as soon as the rest
    of the object is of no use, and of what contradicts it nobody is ever as sure; nor of a cue that is read with an
    object. Errors are not taken off: where a tenth of the images are exceptions, a tenth is never told.

    Only at the top stage, where the network errs at all, where the user has not decided, and of ``FEW`` held-out images
    or more: of few images a network learns by heart what contradicts it, and is sure of that.

    Args:
        learned: The network trained so far.
        outcomes: Of the representations tried.

    Cost: half of ordinary training, ``round.fresh`` and up to four times ``round.cue`` epochs for a refusal, twice that
    more where a network reads it.
    """
    settings, swaps, refused = ctx.settings.round, site.readout.swaps, [one.probed for one in outcomes]
    asked = settings.reads <= 1 and site.number < settings.limit and site.at_top and site.readout.told is None
    asked = asked and len(ctx.held) >= FEW and not any(swap.outside for swap in swaps)
    if not asked or any(one.decision.evidence == USER for one in refused):
        return None
    if all(one.measured.answered == 1 for one in refused):
        return None
    places = None
    if (probed := refused[-1]).measured.gate == "place" and probed.measured.phi >= settings.flips:
        places = swap_of(ctx, site, probed)
    readers = _Readers(ctx, site, places)
    read = readers.read(learned.network)
    if read is None:
        return None
    return replace(site.readout, network=read.network, told=read.told, says=readers.says(read))


def read_views(ctx: Context, name: str, swaps: Sequence[Swap], says: Tensor) -> tuple[StagedNetwork, float]:
    """A fresh network that is taught what a cue with exceptions says of images, by their views; and how much of the cue
    they still hold: the share of held-out views, above chance, of which it tells that. It is taught as readers are, so
    that the object is of no use to it.

    Args:
        name: Of the step.
        swaps: Those that make the views.
        says: (N,) what the cue says of every image.

    Cost: ``round.cue`` epochs.
    """
    fit, held = (ctx.views(pool, swaps) for pool in (ctx.fit, ctx.held))
    shown = says[ctx.fit]
    views = DrawnViews(fit, balancing(ctx.labels[ctx.fit], shown), shown)
    epochs = ctx.epochs(ctx.settings.round.cue, STEPS)
    trained = ctx.train_auxiliary(f"{name}/train", views, epochs)
    said = _answers(ctx, trained, held, name, DRAWS).argmax(1)
    left = max(0.0, above_chance(float((said == says[ctx.held]).double().mean()), ctx.classes))
    ctx.run.log(event="left", name=name, left=left)
    return trained, left


def after_exceptions(learned: Learned, site: Site, probed: ProbeResult) -> ProbeResult:
    """The probe, refused where places would be exchanged once a cue with exceptions was: had there been a cue without
    any, ordinary training would have gone by that one. Another one with exceptions is read by whom the next round asks.
    """
    decision = probed.decision
    places = site.at_top and probed.measured.gate == "place" and (decision.keep or decision.undecided)
    if not (places and learned.says) or site.readout.told is not None or decision.evidence == USER:
        return probed
    reason = f"{decision.reason}; but a cue with exceptions was exchanged: one without would have come before it"
    return replace(probed, decision=replace(decision.instead(False, reason), undecided=False))


@dataclass(frozen=True)
class _Read:
    """What a network reads of all images, log shares of the classes (N, K) of those that are trained on and then of
    those held out; how many classes it, and each before it, tells, above chance; and how sure it is of the images that
    contradict it, ``count`` of them."""

    network: StagedNetwork
    answers: Tensor
    tells: float
    certainty: float
    count: int
    told: float = 1.0


class _Readers:
    """Networks that are trained to read a cue with exceptions, of images under the swaps kept so far.

    Args:
        places: The swap of places that waits or was refused, None where there is none.
    """

    def __init__(self, ctx: Context, site: Site, places: Swap | None) -> None:
        self.ctx, self.site, self.swaps, self.places = ctx, site, site.readout.swaps, places
        self.fit, self.held = (ctx.views(pool, self.swaps) for pool in (ctx.fit, ctx.held))
        self.numbers, self.name = torch.cat([ctx.fit, ctx.held]), f"{site.name}/reader"
        self.labels = ctx.labels[self.numbers]

    def read(self, network: StagedNetwork) -> _Read | None:
        """By what the places take over, what they leave, and what is learned first: the last of ``TURNS`` readers, each
        by what the one before says; None where one does not read enough. The surest first reader is followed first.

        Args:
            network: Trained so far, to be trained on.
        """
        certain = self.ctx.settings.round.certain
        places, rest = self._by_places(), self._by_the_rest(network)
        starts = {"places": (places, rest), "rest": (rest, places), "first": (self._by_what_is_first(), None)}
        firsts = [
            (name, self._taught(one, other, f"{self.name}/{name}-1"), other)
            for name, (one, other) in starts.items()
            if one is not None and self._enough(one)
        ]
        for name, read, other in sorted(firsts, key=lambda first: first[1].certainty, reverse=True):
            told = read.tells
            for turn in range(2, TURNS + 1):
                if read.certainty < certain / 2 or not self._enough(read):
                    break
                read = self._taught(read, other, f"{self.name}/{name}-{turn}")
                told = min(told, read.tells)
            else:
                if self._sure(read) and self.ctx.settings.network.trained:  # a round looks at it stage by stage
                    read = self._taught(read, other, f"{self.name}/{name}-{TURNS + 1}", self.ctx.network())
                if self._sure(read):
                    return replace(read, told=min(told, read.tells))
        return None

    def says(self, read: _Read) -> Tensor:
        """What it says of every image (N,)."""
        said = torch.zeros(len(self.ctx.labels), dtype=torch.int64)
        said[self.numbers] = read.answers.argmax(1)
        return said

    def _by_places(self) -> _Read | None:
        """By a network that has seen of each image only what the places take over; none where it learned too little."""
        if self.places is None:
            return None
        cue, _ = train_cue(self.ctx, replace(self.site, name=f"{self.site.name}/cue-1"), self.places)
        if cue is None:
            return None
        return self._judged(cue, f"{self.name}/places", *donated(self.ctx, self.site, self.places), DRAWS)

    def _by_the_rest(self, network: StagedNetwork) -> _Read | None:
        """By the network, trained on with the places exchanged: if they hold the object, it leans on the cue."""
        if self.places is None:
            return None
        ctx, at = self.ctx, f"{self.name}/rest"
        fit, held = (ctx.views(pool, [*self.swaps, self.places]) for pool in (ctx.fit, ctx.held))
        epochs = max(1, round(ctx.epochs(ctx.settings.training.epochs) / 2))  # not yet which images contradict the cue
        rest = ctx.train(f"{at}/train", network, fit, epochs, ctx.settings.training.warm_rate, "probing")
        return self._judged(rest, at, fit, held, DRAWS)

    def _by_what_is_first(self) -> _Read:
        """By a fresh network after a short training: what is learned first is easy, as cues are more often than not.

        It is as short as it tells enough: of many images ``round.fresh`` epochs are long enough to learn the object,
        too (docs/decisions/0077-early.md).
        """
        ctx, at = self.ctx, f"{self.name}/first"
        settings = ctx.settings.training
        epochs, steps = ctx.epochs(ctx.settings.round.fresh, STEPS // 2), EARLY
        shuffled = ctx.fit[torch.randperm(len(ctx.fit), generator=ctx.generator(at, "early"))]
        while steps < epochs * steps_per_epoch(len(ctx.fit), settings):
            some = ctx.views(shuffled[: steps * settings.batch], self.swaps)
            passes = round(steps / steps_per_epoch(len(some), settings))
            early = ctx.train_auxiliary(f"{at}/train-{steps}", some, passes)
            read = self._judged(early, at, self.fit, self.held)
            if read.tells >= ctx.settings.round.reads:
                return read
            steps *= 2
        fresh = ctx.train_auxiliary(f"{at}/train", self.fit, epochs)
        return self._judged(fresh, at, self.fit, self.held)

    def _enough(self, read: _Read) -> bool:
        return read.tells >= self.ctx.settings.round.reads and read.count >= FEWEST

    def _sure(self, read: _Read) -> bool:
        return self._enough(read) and read.certainty >= self.ctx.settings.round.certain

    def _taught(self, before: _Read, other: _Read | None, at: str, network: StagedNetwork | None = None) -> _Read:
        """By a fresh network, or this one, that is trained to say what the one before says. ``other`` is of the places'
        other side: of an image that contradicts a cue it tells the class, of one that is hard neither side does."""
        ctx, labels = self.ctx, self.ctx.labels[self.ctx.fit]
        answers = before.answers[: len(labels)]
        says, clear = answers.argmax(1), clearest(answers, labels)
        if other is not None:
            clear = clear[((says == labels) | (other.answers[: len(labels)].argmax(1) == labels))[clear]]
        weights = torch.zeros(len(labels), dtype=torch.float64)
        weights[clear] = balancing(labels[clear], says[clear])
        views, epochs = DrawnViews(self.fit, weights, says), ctx.epochs(ctx.settings.round.cue, STEPS)
        if network is None:
            trained = ctx.train_auxiliary(f"{at}/train", views, epochs)
        else:
            trained = ctx.train(f"{at}/train", network, views, epochs, ctx.settings.training.rate, "probing")
        return self._judged(trained, at, self.fit, self.held)

    def _judged(self, network: StagedNetwork, at: str, shown: Views, apart: Views, draws: int = 1) -> _Read:
        """Of images that are trained on (``shown``) and held-out ones (``apart``). What is learned there is what a cue
        says, not the class: so both tell how much that is, and held-out images alone are too few to."""
        answers = torch.cat([_answers(self.ctx, network, views, at, draws) for views in (shown, apart)])
        contradicts = answers.argmax(1) != self.labels
        tells, count = 1 - float(contradicts.double().mean()), int(contradicts.sum())
        sure = certainty(answers, self.labels)
        self.ctx.run.log(event="reader", name=at, tells=tells, certainty=sure, contradicts=count)
        return _Read(network, answers, above_chance(tells, self.ctx.classes), sure, count)


def certainty(answers: Tensor, labels: Tensor) -> float:
    """The share of the images whose class is not answered, of which the answer is given ``SURE``, by log shares (N, K).

    A network that reads the cue alone is as sure of what it says of an image that contradicts it as of any other; one
    that weighs cue and object against each other is not."""
    said = answers.max(1)
    wrong = said.indices != labels
    return float((said.values[wrong].exp() > SURE).double().mean()) if wrong.any() else 0.0


def clearest(answers: Tensor, labels: Tensor) -> Tensor:
    """(M,) the images whose class is answered, and of each class's others the half whose answer is surest, by the log
    shares (N, K): an answer that contradicts by little is of an image that is hard, sooner than of one that a cue
    speaks against."""
    said, own = answers.max(1), answers.gather(1, labels[:, None])[:, 0]
    kept = [torch.nonzero(said.indices == labels).flatten()]
    for c in labels.unique():
        others = torch.nonzero((labels == c) & (said.indices != c)).flatten()
        order = (said.values - own)[others].argsort(descending=True, stable=True)
        kept.append(others[order[: (len(others) + 1) // 2]])
    return torch.cat(kept)


def _answers(ctx: Context, network: StagedNetwork, views: Views, name: str, draws: int = 1) -> Tensor:
    """Log shares of the classes (N, K), in fp32 on the CPU, that a network gives ``draws`` views of each image."""
    found = []
    with frozen(network):
        for place, numbers in enumerate(views.pool.split(512)):
            generator = ctx.generator(name, "says", place)
            seen = (predict_logits(network, views.of(numbers, generator), ctx.dtype) for _ in range(draws))
            found.append(torch.stack([logits.float().softmax(1) for logits in seen]).mean(0).log().cpu())
    return torch.cat(found)
