"""What is wished for, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from conceptnet_ml.dreams.objectives import Objective

ALL_STEPS, NEVER_ROSE, NO_GRADIENT = "all steps", "never rose", "no gradient"

NOT_FINITE = "not finite"


@dataclass(frozen=True, eq=False)
class DreamRequest:
    """One dream wished for.

    Args:
        objective: What it is to bring up.
        seed: All of its chance.
        start: An image to begin with, uint8 (C, H, W).
        donor: Where a swap takes its material from, the same.
    """

    objective: Objective
    seed: int = 0
    start: Tensor | None = None
    donor: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Dream:
    """A picture, and what is known of it.

    Args:
        objective, seed: What was asked for.
        image: uint8 (C, H, W).
        before, reached: The target on the first image and on this one, both unmoved and rounded to bytes.
        steps: How many were made, over all octaves.
        outcome: ``all steps``, ``stalled`` (there was little more to gain), ``never rose``, ``no gradient`` (the target
            does not answer to any of the starts) or ``not finite``.
        cached: It was read, not dreamt.
    """

    objective: Objective
    seed: int
    image: Tensor
    before: float
    reached: float
    steps: int
    outcome: str
    cached: bool = False

    @property
    def rose(self) -> bool:
        """Whether the target is higher than at the start."""
        return self.reached > self.before
