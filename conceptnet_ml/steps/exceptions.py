"""Part of step 2, before places are exchanged or where nothing is: who reads a cue with exceptions, and that alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.data.sampling import balancing, surest
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import predict_logits
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.gates import swap_of
from conceptnet_ml.steps.purify import DRAWS, STEPS, donated, train_cue
from conceptnet_ml.steps.records import Learned, Outcome, ProbeResult, Site
from conceptnet_ml.swap.interchangeability import above_chance
from conceptnet_ml.swap.stop_rule import USER
from conceptnet_ml.swap.views import DrawnViews, Swap, Views

FEWEST = 8
"""Training images that must contradict what is taken for the cue: from fewer no network learns what they show."""

STARTS = 3
"""Networks that are made to lean on the cue: some lean on the object as much, by the images that they happen to see."""

TURNS = 3
"""Networks that are trained to read the cue, each by what the one before says."""

SUBSET = 0.1
"""Share of the training images that the first biased network is trained on, FG-CCDB's γ."""

WEIGHT = 5.0
"""Of the errors on held-out images against certainty."""

SURE = 0.95
"""Share of the answer from which a network is sure of it."""


def read_exceptions(ctx: Context, learned: Learned, site: Site, outcomes: Sequence[Outcome]) -> Readout | None:
    """A network that reads a cue with exceptions alone, to be asked in the next round; None where there is no such cue.

    Where some images contradict a cue, ordinary training uses cue and object together, so that its answers change by
    either, it errs as on an object, and the rule refuses. But the images that contradict the cue tell it from the
    object, once it is known what the cue says of each image (its bias label, as the field calls it):

    1. A network that is made to overfit what is easy is trained on few images, and another one on the half of each
       class that the first is surest of, in which hardly any image contradicts the cue. What it answers is taken for
       what the cue says (as in FG-CCDB, arXiv 2505.06831; there the classes are then balanced against it). There are
       ``STARTS`` such pairs, or one where that does not tell enough, and one network more that sees only what the
       places would take over that wait.
    2. By each, a fresh network is trained to say that, of images drawn so that among those of which the cue says the
       same all classes are as frequent; of images that contradict it, the half of each class that does so most surely.
       The object is of no use to it: it reads what the contradicting images show, too. The one is taken that is surest
       of these, less ``WEIGHT`` times its errors.
    3. ``TURNS`` such networks, each by what the one before says of the training images.
    4. Where that comes to nothing, 2 and 3 once more by the network itself, trained on with the places exchanged. An
       object as easy as the cue is leaned on by whatever leans on what is easy; but if the places hold the object,
       what is left of the image is the cue.

    It is a cue with exceptions if each tells ``round.reads`` of the held-out images, above chance, and the last is sure
    of what contradicts it, less ``WEIGHT`` times its errors (``round.certain``): a part of an object tells less, as
    soon as the rest of the object is of no use, and of what contradicts it nobody is ever as sure.

    Only at the top stage, where the network errs at all, and where the user has not decided.

    Args:
        learned: The network trained so far.
        outcomes: Of the representations tried.

    Cost: 1.1 of ordinary training and ``round.cue`` epochs for a refusal at the first; where such a network tells
    enough, 1.2 of ordinary training and ``STARTS + TURNS`` times ``round.cue`` epochs more.
    """
    settings, swaps, refused = ctx.settings.round, site.readout.swaps, [one.probed for one in outcomes]
    asked = settings.reads <= 1 and site.number < settings.limit and site.at_top and site.readout.told is None
    if not asked or any(swap.outside for swap in swaps) or any(one.decision.evidence == USER for one in refused):
        return None
    if all(one.measured.answered == 1 for one in refused):
        return None
    places = None
    if (probed := refused[-1]).measured.gate == "place" and probed.measured.phi >= settings.flips:
        places = swap_of(ctx, site, probed)
    readers = _Readers(ctx, site, swaps, places)
    read = readers.by_what_is_easy() or readers.by_the_rest(learned.network)
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
    trained = ctx.train(f"{name}/train", ctx.network(), views, epochs, ctx.settings.training.rate, "probing")
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
    """What a network reads of the images that are trained on, log shares of the classes (N, K), and of those ``apart``
    that are held out, one class each; how many of these it, and each before it, tells, above chance; and how sure it is
    of those that contradict it."""

    network: StagedNetwork
    answers: Tensor
    apart: Tensor
    tells: float
    certainty: float
    told: float = 1.0

    @property
    def score(self) -> float:
        """How much it is like a network that reads a cue alone."""
        return self.certainty - WEIGHT * (1 - self.tells) * (1 - 1 / self.answers.shape[1])

    def contradicts(self, labels: Tensor) -> int:
        """How many images it says another class of than their own."""
        return int((self.answers.argmax(1) != labels).sum())

    def enough(self, least: float, labels: Tensor) -> bool:
        """Whether it tells as much, and there is what contradicts it."""
        return self.tells >= least and self.contradicts(labels) >= FEWEST


class _Readers:
    """Networks that are trained to read a cue with exceptions, of images under the swaps kept so far.

    Args:
        places: The swap of places that waits or was refused, None where there is none.
    """

    def __init__(self, ctx: Context, site: Site, swaps: Sequence[Swap], places: Swap | None) -> None:
        self.ctx, self.site, self.swaps, self.places = ctx, site, [*swaps], places
        self.fit, self.held = (ctx.views(pool, self.swaps) for pool in (ctx.fit, ctx.held))
        self.labels, self.name = ctx.labels[ctx.fit], f"{site.name}/reader"

    def by_what_is_easy(self) -> _Read | None:
        """By networks that lean on what is learned first, and one of what the waiting places would take over."""
        starts: list[_Read] = []
        if self.places is not None:
            cue, _ = train_cue(self.ctx, replace(self.site, name=f"{self.site.name}/cue-1"), self.places)
            if cue is not None:
                starts.append(
                    self._judged(cue, f"{self.name}/places", *donated(self.ctx, self.site, self.places), DRAWS)
                )
        for start in range(1, STARTS + 1):
            at = f"{self.name}/start-{start}"
            starts.append(self._judged(_biased(self.ctx, self.fit, self.labels, at), at, self.fit, self.held))
            if not self._enough(starts[-1]):
                break  # what is easy does not tell the class: others that lean on it would not, either
        return self._followed(starts, self.name)

    def by_the_rest(self, network: StagedNetwork) -> _Read | None:
        """By the network, trained on with the places exchanged: if they hold the object, it leans on the cue."""
        if self.places is None:
            return None
        ctx, at = self.ctx, f"{self.name}/rest"
        fit, held = (ctx.views(pool, [*self.swaps, self.places]) for pool in (ctx.fit, ctx.held))
        rate = ctx.settings.training.warm_rate
        rest = ctx.train(f"{at}/train", network, fit, _half(ctx), rate, "probing")
        return self._followed([self._judged(rest, at, fit, held, DRAWS)], at)

    def says(self, read: _Read) -> Tensor:
        """What it says of every image (N,), held-out ones among them."""
        said = torch.zeros(len(self.ctx.labels), dtype=torch.int64)
        said[self.ctx.fit], said[self.ctx.held] = read.answers.argmax(1), read.apart
        return said

    def _followed(self, reads: Sequence[_Read], name: str) -> _Read | None:
        """The last of ``TURNS`` readers, each by what the one before says; None where one does not read enough."""
        told = 1.0
        for turn in range(1, TURNS + 1):
            ats = (f"{name}/{turn}" + f"-{number}" * (turn == 1) for number in range(1, len(reads) + 1))
            reads = [self._taught(one, at) for at, one in zip(ats, reads, strict=True) if self._enough(one)]
            reads = [one for one in (max(reads, key=lambda one: one.score, default=None),) if one and self._enough(one)]
            if not reads:
                return None
            told = min(told, reads[0].tells)
        return replace(reads[0], told=told) if reads[0].score >= self.ctx.settings.round.certain else None

    def _enough(self, read: _Read) -> bool:
        return read.enough(self.ctx.settings.round.reads, self.labels)

    def _taught(self, before: _Read, at: str) -> _Read:
        """By a fresh network that is trained to say what the one before says."""
        ctx, says, clear = self.ctx, before.answers.argmax(1), clearest(before.answers, self.labels)
        weights = torch.zeros(len(self.labels), dtype=torch.float64)
        weights[clear] = balancing(self.labels[clear], says[clear])
        views, epochs = DrawnViews(self.fit, weights, says), ctx.epochs(ctx.settings.round.cue, STEPS)
        trained = ctx.train(f"{at}/train", ctx.network(), views, epochs, ctx.settings.training.rate, "probing")
        return self._judged(trained, at, self.fit, self.held)

    def _judged(self, network: StagedNetwork, at: str, shown: Views, apart: Views, draws: int = 1) -> _Read:
        """Of images that are trained on (``shown``) and held-out ones (``apart``)."""
        ctx, labels = self.ctx, self.labels
        answers = _answers(ctx, network, shown, at, draws)
        said = _answers(ctx, network, apart, at, draws).argmax(1)
        tells = float((said == ctx.labels[ctx.held]).double().mean())
        read = _Read(network, answers, said, above_chance(tells, ctx.classes), certainty(answers, labels))
        ctx.run.log(
            event="reader", name=at, tells=tells, certainty=read.certainty, contradicts=read.contradicts(labels)
        )
        return read


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


def _biased(ctx: Context, views: Views, labels: Tensor, name: str) -> StagedNetwork:
    """A network that has seen of each class the half that one of few images is surest of."""
    generator, epochs = ctx.generator(name, "subset"), ctx.epochs(ctx.settings.training.epochs)
    few = torch.zeros(len(labels))
    few[torch.randperm(len(labels), generator=generator)[: max(1, round(SUBSET * len(labels)))]] = 1
    rate = ctx.settings.training.rate
    passes = max(1, round(epochs * SUBSET))
    first = ctx.train(f"{name}/few", ctx.network(), DrawnViews(views, few), passes, rate, "probing")
    sure = DrawnViews(views, surest(_answers(ctx, first, views, name), labels))
    return ctx.train(f"{name}/surest", ctx.network(), sure, _half(ctx), rate, "probing")


def _half(ctx: Context) -> int:
    """Half the epochs of ordinary training: what is easy is learned by then, and not yet which images contradict it."""
    return max(1, round(ctx.epochs(ctx.settings.training.epochs) / 2))


def _answers(ctx: Context, network: StagedNetwork, views: Views, name: str, draws: int = 1) -> Tensor:
    """Log shares of the classes (N, K), in fp32 on the CPU, that a network gives ``draws`` views of each image."""
    found = []
    with frozen(network):
        for place, numbers in enumerate(views.pool.split(512)):
            generator = ctx.generator(name, "says", place)
            seen = (predict_logits(network, views.of(numbers, generator), ctx.dtype) for _ in range(draws))
            found.append(torch.stack([logits.float().softmax(1) for logits in seen]).mean(0).log().cpu())
    return torch.cat(found)
