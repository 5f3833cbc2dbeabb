"""When to stop: is what the probe exchanged one thing among others in a class, or the object itself?

Everything here is known after the probe, before anything is trained, from held-out training images alone: no label of
a cue, no test image.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml import runtime
from conceptnet_ml.settings import RoundSettings
from conceptnet_ml.swaps import Views
from conceptnet_ml.training import predict

DONORS = 3
"""Other donors and class-mates drawn for each image; more make ι less noisy at one forward pass each."""

MATES_GROW = 0.032
"""How far the gate is grown for a class-mate, as a share of the side: a context he could give away counts."""


@dataclass(frozen=True)
class Measured:
    """What a probe found in one representation, per class (or parent).

    Args:
        representation: Its name.
        gate: Its kind of gate, as the representation has it.
        images: Held-out images counted, those answered rightly before the swap.
        flips: φ, the rate at which the donor's swap changes the answer.
        others: The same for other random donors of other classes under the same gate.
        mates: The same for random class-mates as donors, under a grown gate.
        price: Mean share of the gate that is open; 1 where there is no gate.
        answered: Share of all held-out images answered rightly before the swap.
    """

    representation: str
    gate: str
    images: tuple[int, ...]
    flips: tuple[float, ...]
    others: tuple[float, ...]
    mates: tuple[float, ...]
    price: float
    answered: float = 1.0

    @property
    def phi(self) -> float:
        """φ, averaged over the classes."""
        return _mean(self.flips)

    @property
    def iotas(self) -> tuple[float | None, ...]:
        """ι per class: φ(another donor, same gate) / φ − φ(a class-mate); None where the class hardly ever flips."""
        return tuple(
            other / flip - mate if flip >= 0.2 else None
            for flip, other, mate in zip(self.flips, self.others, self.mates, strict=True)
        )

    @property
    def iota(self) -> float | None:
        """ι, averaged over the classes in which it is defined."""
        known = [iota for iota in self.iotas if iota is not None]
        return _mean(tuple(known)) if known else None

    @property
    def contrast(self) -> float:
        """φ less what a class-mate's material changes already: the measure for swaps without a place gate."""
        return self.phi - _mean(self.mates)

    def separable(self, imperfection: float) -> float | None:
        """ι less what the network gets wrong, weighed: the measure for place-gated swaps, None where ι is undefined.

        A shortcut fits the labels perfectly, so a network that rests on one hardly errs; an object is seldom that easy.
        """
        return None if self.iota is None else self.iota - imperfection * (1 - self.answered)

    def record(self) -> dict[str, Any]:
        """As plain values, for the log and the graph."""
        return {**asdict(self), "phi": self.phi, "iotas": self.iotas, "iota": self.iota, "contrast": self.contrast}


@dataclass(frozen=True)
class Decision:
    """Whether a swap may become part of all later views.

    Args:
        keep: The decision.
        reason: In words, with the numbers behind it.
    """

    keep: bool
    reason: str


def decide(measured: Measured, settings: RoundSettings) -> Decision:
    """Keep a swap that moves the decision by something that can be exchanged; leave the object itself alone.

    A place-gated swap is judged by ι (any donor's material serves under the gate, a class-mate's changes nothing), less
    the network's errors on held-out images. A swap without a place gate is always interchangeable, so it is judged by
    how much more often it flips the answer than a class-mate's does.
    """
    if measured.phi < settings.flips:
        return Decision(False, f"φ {measured.phi:.2f} < {settings.flips:.2f}: the answer does not rest on it")
    if measured.gate != "place":
        keep = measured.contrast >= settings.decisive
        sign = "≥" if keep else "<"
        what = "decides by itself" if keep else "is one cue among others"
        return Decision(keep, f"contrast {measured.contrast:.2f} {sign} {settings.decisive:.2f}: it {what}")
    score = measured.separable(settings.imperfection)
    if measured.iota is None or score is None:
        return Decision(False, "ι is undefined: no class flips often enough")
    keep = score >= settings.interchangeable
    what = "one thing among others, it can be exchanged" if keep else "this is the object"
    wrong = settings.imperfection * (1 - measured.answered)
    sign = "≥" if keep else "<"
    return Decision(
        keep, f"ι {measured.iota:.2f} − {wrong:.2f} for errors {sign} {settings.interchangeable:.2f}: {what}"
    )


def residual(network: torch.nn.Module, views: Views, numbers: Tensor, seed: int, dtype: torch.dtype | None) -> float:
    """r, the accuracy on views of these held-out images, each with fresh donors of its own."""
    right = 0
    for place, batch in enumerate(numbers.split(512)):
        generator = runtime.generator(runtime.seed_for(seed, "residual", place))
        logits = predict(network, views.of(batch, generator), dtype)
        right += int((logits.argmax(1).cpu() == views.images.labels[batch]).sum())
    return right / max(1, len(numbers))


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values) if values else 0.0
