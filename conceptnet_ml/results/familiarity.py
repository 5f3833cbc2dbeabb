"""How like the images that a network learned from a picture is: a network answers one that shows nothing of its
classes, too, and as surely.

1. Half of the held-out images tell what is usual at each stage of the network, in activations and texture
   (:mod:`conceptnet_ml.dreams.ood`).
2. How far the other half and the picture are from that, each at the stage at which it is furthest. So the picture
   stands beside images of which the network knows as little.

It says that a picture is unusual, and not that the answer is wrong: a car in another world may be unusual and known.

Cost: three passes over half of these images, once for all pictures, and one over the pictures.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.dreams.ood import IMAGE, ActivationReader, furthest
from conceptnet_ml.network.staged_network import StagedNetwork

FEWEST = 20
"""Images in each half from which something is said."""

UNUSUAL, FAR = 0.95, 2.0
"""Share of held-out images that are nearer, from which a picture is unusual; and how many times as far as where 95 of
100 of them end, from which it is unlike all."""


@dataclass(frozen=True)
class Familiarity:
    """How far a picture is from the images that a network learned from.

    Args:
        nearer: Share of the held-out images that are less far.
        times: How far, beside where 95 of 100 held-out images end; 0 is their median, 1 is there.
        stage: At which stage it is furthest.
        images: How many held-out images it is compared with.
    """

    nearer: float
    times: float
    stage: str
    images: int

    @property
    def words(self) -> str:
        """In a sentence."""
        where = "as an image, before any stage" if self.stage == IMAGE else f"at {self.stage}"
        beside = f"further than {100 * self.nearer:.0f} % of {self.images} held-out pictures, {where}"
        if self.nearer < UNUSUAL:
            return (
                f"The picture is no further from those the network learned from than others of their kind ({beside})."
            )
        if self.times < FAR:
            return f"The picture is unusual among those the network learned from ({beside})."
        return (
            f"The picture is unlike all that the network learned from: {beside}, and {self.times:.1f} times as far as "
            "these go as a rule. It names one of its classes all the same: do not rest on the answer, however sure."
        )

    def record(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "words": self.words}


UNKNOWN = (
    "How like the pictures it learned from this one is, is not known: too few held-out pictures are at hand. A network "
    "names one of its classes whatever it is shown."
)
"""Said where nothing can be measured."""


def familiarity(
    network: StagedNetwork, held: ImageSet, pictures: Tensor, device: torch.device, dtype: torch.dtype | None
) -> list[Familiarity | None]:
    """Of each picture, uint8 (N, C, H, W), how far it is from what the network learned; None where there are fewer than
    twice :data:`FEWEST` held-out images to tell by. Held-out images and pictures are of one size."""
    half = len(held) // 2
    if half < FEWEST:
        return [None] * len(pictures)
    known, others = (held.subset(torch.arange(start, len(held), 2)) for start in (0, 1))
    reader = ActivationReader(network, device, dtype)
    statistics = reader.fit(known, known.labels)
    usual, _ = furthest(statistics, reader.describe(others, statistics)[0])
    found, stages = furthest(statistics, reader.describe(pictures, statistics)[0])
    median, end = usual.quantile(torch.tensor([0.5, UNUSUAL], dtype=usual.dtype)).tolist()
    nearer = [float((usual < one).double().mean()) for one in found]
    times = ((found - median) / max(end - median, 1e-2)).tolist()
    return [Familiarity(*each, len(usual)) for each in zip(nearer, times, stages, strict=True)]
