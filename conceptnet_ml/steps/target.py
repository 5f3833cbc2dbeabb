"""Part of step 3: a refused swap judged once more, by unlabelled pictures of the world the network is meant for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.data.load import unlabelled
from conceptnet_ml.network.training import predict_set
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.gates import swap_of
from conceptnet_ml.steps.purify import purify, train_cue
from conceptnet_ml.steps.records import ProbeResult, Site
from conceptnet_ml.storage.hashing import sha256
from conceptnet_ml.swap.stop_rule import NEW_WORLD, USER
from conceptnet_ml.swap.sureness import Sureness, less_sure, redrawn_shares, sureness

SURE = 3.0
"""Standard errors by which the agreement must fall; chance alone gets there once in 700 times."""

LEAST = 0.05
"""Share of the pictures by which it must fall, however many there are."""

STEADY = 0.025
"""By how much that of the control may fall at most."""

MANY = 1000
"""Pictures of the new world beyond which more do not help."""


@dataclass(frozen=True)
class Agreement:
    """How often two networks give the same answer, in held-out images and in the new world.

    Args:
        old, new: Of a network of what the swap exchanges and one of the rest.
        rest_old, rest_new: Of two networks of the rest, the control: pictures that are harder lower this one too.
        images: How many held-out images and pictures of the new world.
    """

    old: float
    new: float
    rest_old: float
    rest_new: float
    images: tuple[int, int]

    @property
    def fall(self) -> float:
        """By how much more the first agreement falls than the control."""
        return (self.old - self.new) - (self.rest_old - self.rest_new)

    @property
    def standard_error(self) -> float:
        """Of the fall."""
        held, new = self.images
        shares = ((self.old, held), (self.rest_old, held), (self.new, new), (self.rest_new, new))
        return math.sqrt(sum(max(p * (1 - p), 1 / n) / n for p, n in shares))

    @property
    def errors(self) -> float:
        """The fall in its standard errors."""
        return self.fall / self.standard_error

    @property
    def broken(self) -> bool:
        """Whether what the swap exchanges goes its own way in the new world, and not the rest: networks of the rest
        that come apart there read something of the cue, each as much as it learned of it."""
        return self.fall >= LEAST and self.errors >= SURE and self.rest_old - self.rest_new <= STEADY

    def __str__(self) -> str:
        return (
            f"agreement {self.old:.2f} → {self.new:.2f}, control {self.rest_old:.2f} → {self.rest_new:.2f}, "
            f"{self.errors:.1f} standard errors"
        )


def fewest_pictures(held: int, classes: int) -> int | None:
    """The fewest pictures of the new world that can prove a cue at all: one that has no exceptions in the held-out
    images and is drawn at random there, so that the agreement falls from 1 to chance and the control stays at 1. With
    exceptions it takes some times as many. None where no number of pictures makes up for too few held-out images.
    """
    best = (Agreement(1.0, 1 / classes, 1.0, 1.0, (held, new)) for new in range(1, MANY))
    return next((one.images[1] for one in best if one.broken), None)


def weigh_target(ctx: Context, site: Site, probed: ProbeResult) -> ProbeResult:
    """The probe with another decision where pictures of the new world show a refused swap to be a cue.

    In the training images a cue with exceptions and a part of the object are alike: both tell the class, each errs by
    itself, and no statistic of these images can know which of the two a class is *meant* to hang on. In a world where
    the cue is drawn otherwise, what it says and what the rest of the image says no longer go together; parts of an
    object do. So two networks are compared, one that has seen only what the purified swap takes over and one that has
    seen only the rest, by how often they agree. (Disagreement in unlabelled pictures as in D-BAT, arXiv 2202.04414,
    and DivDis, arXiv 2202.03418; there it is trained for, here it is measured.)

    Nothing is done without ``data.target``, for a swap that changes too few answers, one that not all classes share,
    below the top stage, where the user has decided, or of a network that reads a cue alone; nor once anything was
    exchanged: what comes apart then is a remnant of that, which a spectrum or a colour holds beside the object
    (docs/decisions/0084-target-first.md). Asked last, where those found nothing: that two networks come apart does not
    say which of them reads the cue. No label of the pictures is used.

    Cost: purifying, ``round.cue`` and twice ``round.fresh`` epochs, and a pass over the pictures with three networks.
    """
    settings, decision = ctx.settings, probed.decision
    if settings.data.target is None or decision.keep or decision.evidence == USER or decision.classes is not None:
        return probed
    readout = site.readout
    other = readout.family is not None or readout.told is not None or readout.swaps
    if other or probed.measured.phi < settings.round.flips:
        return probed
    found = _agreement(ctx, site, probed, settings.data.target)
    if found is None:
        return probed
    agreement, sure = found
    if not agreement.broken:
        reason = f"{decision.reason}; in the new world it still goes with the rest of an image ({agreement})"
        return replace(probed, decision=replace(decision, reason=reason, sureness=less_sure(decision.sureness, sure)))
    parted = f"a cue: in the new world it no longer goes with the rest of an image ({agreement})"
    reason = f"{parted}; the rule would refuse it: {decision.reason}"
    decision = decision.instead(True, reason, NEW_WORLD, sure)
    return ctx.override_rule.by_new_world(site.name, probed, decision)


def _agreement(ctx: Context, site: Site, probed: ProbeResult, folder: str) -> tuple[Agreement, Sureness | None] | None:
    """What was found, and how sure that is, unless a run of before found it; None where the network of what is
    exchanged has not learned it."""
    name = f"{site.name}/target-{probed.measured.representation}"
    swap = purify(ctx, site, swap_of(ctx, site, probed), probed)
    cue, _ = train_cue(ctx, replace(site, name=f"{name}/cue"), swap)
    if cue is None:
        return None
    views = ctx.views(ctx.fit, [*site.readout.swaps, swap])
    epochs = ctx.settings.round.fresh
    rest = [ctx.train_auxiliary(f"{name}/rest-{turn}", views, epochs) for turn in (1, 2)]

    def work() -> dict[str, Any]:
        same = []
        for images in (ctx.data.train.subset(ctx.held), unlabelled(folder, ctx.data.read_size)):
            one, first, second = (predict_set(net, images, ctx.device, ctx.dtype).argmax(1) for net in (cue, *rest))
            same.append([(a == b).cpu() for a, b in ((one, first), (first, second))])
        sure = sure_of_target(same[0], same[1], ctx.labels[ctx.held])
        return {**asdict(_agreement_of(same[0], same[1])), "sureness": asdict(sure)}

    with ctx.progress.task(f"{site.name} new world"):
        found = dict(ctx.once(f"{name}/agreement-{sha256(folder, 8)}", work, "probing"))
    stored = found.pop("sureness", None)
    sure = None if stored is None else Sureness(**stored)
    agreement = Agreement(**{**found, "images": tuple(found["images"])})
    told = {} if sure is None else {"sureness": sure.record()}
    ctx.run.log(event="target", name=site.name, broken=agreement.broken, errors=agreement.errors, **found, **told)
    return agreement, sure


def _agreement_of(held: Sequence[Tensor], new: Sequence[Tensor]) -> Agreement:
    """From which images the two networks agree on, and then the two of the control, (N,) each."""
    (old, rest_old), (now, rest_now) = ([float(one.double().mean()) for one in world] for world in (held, new))
    return Agreement(old, now, rest_old, rest_now, (len(held[0]), len(new[0])))


def sure_of_target(held: Sequence[Tensor], new: Sequence[Tensor], labels: Tensor) -> Sureness:
    """How sure it is that an agreement is broken, or not; here other pictures of the new world are drawn, too.

    Args:
        held, new: Which held-out images and pictures of the new world the two networks agree on, and then the two of
            the control, (N,) each.
        labels: (N,) classes of the held-out images.
    """
    agreement = _agreement_of(held, new)
    classes = int(labels.max()) + 1
    drawn = zip(
        redrawn_shares(held, labels, classes),
        redrawn_shares(new, torch.zeros(len(new[0]), dtype=torch.int64), 1, seed=1),
        strict=True,
    )
    again = [Agreement(old, now, rest, rest_now, agreement.images) for (old, rest), (now, rest_now) in drawn]
    least = max(LEAST, SURE * agreement.standard_error)
    same = (one.broken == agreement.broken for one in again)
    figure = "fall of the agreement"
    return sureness(figure, least, agreement.fall, (one.fall for one in again), same, sum(agreement.images))
