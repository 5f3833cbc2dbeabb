"""Part of step 3: gates that hold the cue alone, where the network rests on cue and object together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.gates import swap_of
from conceptnet_ml.steps.records import ProbeResult, Site
from conceptnet_ml.swap.views import Swap, Views


@dataclass(frozen=True)
class _Donated:
    """What a swap takes over from images, under their own labels: a ViewMaker."""

    views: Views

    def __call__(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        numbers = self.views.pool[indices]
        return self.views.donated(numbers, generator), self.views.images.labels[numbers].to(self.views.device)


def purify(ctx: Context, site: Site, swap: Swap, probed: ProbeResult) -> Swap:
    """The swap with gates found by a network that is fonder of the cue than the one that was probed.

    Where some images contradict a cue, ordinary training uses cue and object together, and so do the gates: to change
    the answer they must take something of both. Views under such gates take the object away, too. Therefore:

    1. A fresh network is trained on the *other side* of the views: what the swap takes over from an image, shown in a
       random host, with the image's label. The cue lies inside the gates as a whole, the object in part and never with
       the rest of itself, so this network rests on the cue more than the probed one does.
    2. Its gates, found as always, take the place of the swap's.
    3. Again, ``round.purify`` times in all: each network sees less of the object than the one before.

    Only for a place gate at the top stage that all classes share; another swap is returned as it is.

    Cost: each time ``round.cue`` epochs and the gates of all images.
    """
    if site.readout.family is not None or swap.codec.gate != "place" or probed.decision.classes is not None:
        return swap
    name, swaps, settings = swap.name, site.readout.swaps, ctx.settings
    for turn in range(1, settings.round.purify + 1):
        at = replace(site, name=f"{site.name}/cue-{turn}")
        views = _Donated(ctx.views(ctx.fit, [*swaps, swap]))
        cue = ctx.train(f"{at.name}/train", ctx.network(), views, settings.round.cue, settings.training.rate, "probing")
        swap = swap_of(ctx, replace(at, readout=Readout("classes", cue, swaps=swaps)), probed)
    return replace(swap, name=name)
