"""Whose answer a round is about: the class logits at the top stage, the variants of a feature below it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from conceptnet_ml.concepts.model import Family
from conceptnet_ml.network.basis import Network, units_of
from conceptnet_ml.swap.views import Swap


@dataclass
class Readout:
    """Whose answers a round is about: the class logits, or the variants of a feature.

    Args:
        key: Short name, part of step names: ``classes`` or a feature's.
        network: What computes the stages, by their units or by directions.
        stage: The stage the answers are read from; None for the network's own logits.
        family: The variants that answer, None for the network's own logits.
        swaps: The swaps under whose views the answers are to be right.
        elementary: Below a feature, the cost of its own representation: only cheaper ones are tried here.
        candidates: Units of the stage below that the answers are built from, by the edges that lead there; empty for
            all.
        told: Of a network that reads a cue with exceptions alone: the share of held-out images, above chance, whose
            class it tells, see :func:`conceptnet_ml.steps.exceptions.read_exceptions`. None of any other.
        says: What such a network says of every training image, held-out ones among them, (N,); else None.
        given: The places that are exchanged by the user's word, as ``round.exchange`` names them; empty for what the
            probe finds.
    """

    key: str
    network: Network
    stage: str | None = None
    family: Family | None = None
    swaps: list[Swap] = field(default_factory=list)
    elementary: int | None = None
    candidates: tuple[int, ...] = ()
    told: float | None = None
    says: Tensor | None = None
    given: str = ""

    def logits(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to the answers (B, K)."""
        return self.network(images) if self.family is None else self.family(images)

    def modules(self) -> list[torch.nn.Module]:
        """What computes the answers."""
        return [self.network] if self.family is None else [self.network, self.family]

    def head(self, stage: str) -> Callable[[Tensor], Tensor]:
        """From the maps of a stage (at or below its own) to the answers."""
        if self.family is None or self.stage is None:
            return lambda maps: self.network.run_from(maps, stage).float()
        family, top = self.family, self.stage
        return lambda maps: family.respond(
            units_of(self.network, top, self.network.run_between(maps, stage, top)).float()
        )
