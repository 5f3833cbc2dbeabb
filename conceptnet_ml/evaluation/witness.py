"""The witness of a run: a network trained like the ordinary one, from other weights and in another order.

It has the same images, so it can share the ordinary network's shortcuts: where a trap is laid, both fall for it. What
the two do not share is what one set of weights happens to respond to, and that is what dreams exploit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.config.settings import RATES, Settings
from conceptnet_ml.dreams.judgement import Witness
from conceptnet_ml.network.build import build_untrained
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.runtime import seeding
from conceptnet_ml.steps.context import Context

WITNESS_NETWORK, WITNESS_STATISTICS = "witness/network", "witness/statistics"
"""Names of the run's steps."""

MOST = 4096
"""Images of each kind that statistics are taken of, at most."""


def witness_of(ctx: Context) -> Witness:
    """The run's witness: trained and compared with real images once in the run's life, then read back.

    It is trained on the images that are not held out and calibrated on those that are. Its accuracy on them is logged.
    Cost: that of ordinary training, and one forward pass over the images.

    Raises:
        Interrupted: The user wants to stop; a half-finished training is kept.
        TrainingDiverged: The loss became NaN.
    """
    ctx.independent(WITNESS_NETWORK, WITNESS_STATISTICS)
    settings = ctx.settings.training
    fresh = fresh_network(ctx.settings, ctx.data.classes, ctx.size, ctx.plugins, ctx.data.shape[0]).to(ctx.device)
    plain = ctx.views(ctx.fit, [])
    rate = RATES[settings.optimizer][0] if ctx.settings.network.trained else settings.rate
    epochs = ctx.epochs(settings.epochs or type(settings).model_fields["epochs"].default)
    network = ctx.train(WITNESS_NETWORK, fresh, plain, epochs, rate, "witness")

    def compare() -> dict[str, Any]:
        reference, held = _draw(ctx, "reference", ctx.fit), _draw(ctx, "held", ctx.held)
        with ctx.progress.task("compare the witness with real images"):
            witness = Witness.fit(
                network,
                ctx.data.train.subset(reference),
                ctx.data.train.subset(held),
                ctx.device,
                ctx.dtype,
                labels=ctx.labels[reference],
                held_labels=ctx.labels[held],
            )
        ctx.run.log(event="witness", accuracy=witness.accuracy, held_out=witness.held)
        return witness.state()

    return Witness.restore(network, ctx.once(WITNESS_STATISTICS, compare, "witness"), ctx.device, ctx.dtype)


def fresh_network(
    settings: Settings, classes: tuple[str, ...], size: tuple[int, int], plugins: Plugins, channels: int = 3
) -> StagedNetwork:
    """A network as ordinary training starts from, with other fresh weights: pretrained ones would make it a relative of
    the network it is to judge."""
    return build_untrained(
        settings, classes, size, plugins, seeding.seed_for(settings.seed, "witness", "weights"), channels
    )


def _draw(ctx: Context, what: str, numbers: Tensor) -> Tensor:
    order = torch.randperm(len(numbers), generator=ctx.generator("witness", what))
    return numbers[order[:MOST]]
