"""Before the five steps: ordinary training, and whether there is anything in the network to look for."""

from __future__ import annotations

import math

import torch

from conceptnet_ml.errors import NothingLearned, quoted
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import describe_epochs, predict_set
from conceptnet_ml.steps.context import Context


def train_ordinary(ctx: Context) -> StagedNetwork:
    """The network after ordinary training, with no epochs as the settings name it; says where epochs are too few and
    therefore more.

    Raises NothingLearned where it answers held-out images no better than chance and ``training.above_chance`` asks for
    more; the training is kept. Interrupted, TrainingDiverged: as in any training.
    """
    settings = ctx.settings.training
    for what, wanted in {"ordinary training": settings.epochs, "rounds": ctx.settings.round.epochs}.items():
        if ctx.epochs(wanted) > wanted and not ctx.run.has_step("ordinary"):
            ctx.progress.say(f"{what}: {describe_epochs(wanted, len(ctx.fit), settings)}")
    views, epochs = ctx.views(ctx.fit, []), ctx.epochs(settings.epochs)
    network = ctx.network()
    if epochs:
        network = ctx.train("ordinary", network, views, epochs, settings.rate, "ordinary")
    else:  # a step all the same: the run goes on with what it began with, whatever becomes of the file
        network.load_state_dict(ctx.once("ordinary", lambda: dict(network.state_dict()), "ordinary"))
    # A step: who let the run go on once is not asked again whenever it is opened.
    ctx.once("ordinary/held", lambda: _check_above_chance(ctx, network))
    return network


def _check_above_chance(ctx: Context, network: StagedNetwork) -> float:
    """The accuracy on held-out images; raises NothingLearned where its lower bound is not above chance and its upper
    one not above half way from there to always right. Where too few are held out to tell, it says so.

    Chance is what the network's own answers would get right, were they dealt out at random (Cohen 1960): 1/K for
    balanced classes, a class's share for a network that always names it.
    """
    images = ctx.data.train.subset(ctx.held)
    answers = predict_set(network, images, ctx.device, ctx.dtype).argmax(1)
    count, right = len(images), int((answers == images.labels).sum())
    given, true = (torch.bincount(one, minlength=ctx.classes).double() / count for one in (answers, images.labels))
    chance, (bound, most) = float(given @ true), wilson(right, count, z=1.644854)  # one-sided
    ctx.run.log(event="ordinary", accuracy=right / count, at_least=bound, chance=chance)
    if bound <= chance and most > (1 + chance) / 2:
        few = f"{right} of {count} held-out images are answered rightly, {chance:.0%} is chance"
        ctx.progress.say(f"too few are held out to tell whether anything was learned: {few} (data.holdout)")
    elif bound <= chance and ctx.settings.training.above_chance:
        ended = "ordinary training ended"
        mend = (
            "Start a new run with more images, more epochs (--set training.epochs=…), another rate "
            "(--set training.rate=…) or another backbone. The training is kept; to analyse it all the same: "
        )
        if not ctx.settings.training.epochs:
            ended = "the network as it was given is"
            mend = (
                f"Its outputs must be {', '.join(ctx.data.classes)}, in this order (--set data.classes=…). Does it "
                "take images in [0, 1] (--set network.normalise=false)? To analyse it all the same: "
            )
        raise NothingLearned(
            f"{ended} no better than chance: {right} of {count} held-out images are answered rightly, at least "
            f"{bound:.1%} at a confidence of 95 %, and {chance:.1%} is chance",
            f"{mend}learn --resume {quoted(ctx.run.path)} --set training.above_chance=false",
        )
    return right / count


def wilson(hits: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval for a share (1927), 95 % by default: good for few images and for shares near 0 and 1."""
    share = hits / count
    middle = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, (middle - spread) / (1 + z * z / count)), min(1.0, (middle + spread) / (1 + z * z / count))
