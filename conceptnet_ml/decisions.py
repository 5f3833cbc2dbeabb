"""When to stop: is what the probe exchanged one thing among others in a class, or the object itself?

Everything here is known after the probe, before anything is trained, from held-out training images alone: no label of
a cue, no test image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml import runtime
from conceptnet_ml.probing import Objective, Prober
from conceptnet_ml.settings import RoundSettings
from conceptnet_ml.swaps import Views, open_cells
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
        gate: Its kind of gate.
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


def measure(
    prober: Prober,
    views: Views,
    numbers: Tensor,
    parents: Tensor,
    seed: int,
    regions: Callable[[Tensor, Tensor], Tensor] | None = None,
    advance: Callable[..., None] = lambda *args: None,
) -> Measured:
    """φ, ι and their parts on held-out images.

    Args:
        prober: What is probed, and in which representation.
        views: Makes the images' views and draws donors; its pool must be the held-out images.
        numbers: (N,) held-out image numbers.
        parents: (all images,) the right answer of each image.
        seed: Fixes views and donors.
        regions: Images and their numbers to the places the swap may touch, (B, 1, H, W); None for everywhere.
        advance: Called with the number of images done.
    """
    counts = torch.zeros(4, int(parents.max()) + 1, dtype=torch.float64)
    price = []
    grow = max(1, round(MATES_GROW * max(views.images.shape[1:])))
    for place, batch in enumerate(numbers.split(prober.settings.batch)):
        generator = runtime.generator(runtime.seed_for(seed, "measure", place))
        draw = views.donors
        donors = draw.foreign(batch, generator)
        images, material = views.of(batch, generator), views.of(donors, generator)
        right = parents[batch]
        answered = answer(prober.objective, images, prober.dtype) == right
        gates = prober.gates(images, material, parents[donors].to(images.device))
        counts[0].index_add_(0, right, answered.double())
        rows = [(1, donors, material, 0)]
        for _ in range(DONORS):
            others, mates = draw.foreign(batch, generator), draw.mates(batch, generator)
            rows += [(2, others, views.of(others, generator), 0), (3, mates, views.of(mates, generator), grow)]
        for row, who, given, wider in rows:
            where = None if regions is None else (regions(images, batch), regions(given, who))
            swapped = exchange(prober, images, given, gates, wider, where)
            changed = answered & (answer(prober.objective, swapped, prober.dtype) != right)
            counts[row].index_add_(0, right, changed.double())
        price.append(_open_share(gates, images, prober))
        advance(len(batch))
    seen = counts[0].clamp_min(1)
    flips, other, mate = ((counts[row] / seen / share).tolist() for row, share in ((1, 1), (2, DONORS), (3, DONORS)))
    return Measured(
        prober.codec.name,
        prober.codec.gate,
        tuple(int(n) for n in counts[0]),
        tuple(flips),
        tuple(other),
        tuple(mate),
        float(torch.cat(price).mean()),
        float(counts[0].sum()) / len(numbers),
    )


def exchange(
    prober: Prober,
    images: Tensor,
    donors: Tensor,
    gates: Tensor | None,
    grow: int,
    where: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The swap with a hardened gate, as it is counted and shown."""
    with torch.no_grad():
        if gates is None or prober.codec.gate != "place":
            hard = None if gates is None else (gates > prober.settings.threshold).float()
            return prober.codec.swap(images, donors, hard, where)
        hard = open_cells(gates, (images.shape[-2], images.shape[-1]), prober.settings.threshold, grow)
        return prober.codec.swap(images, donors, hard, where)


def answer(objective: Objective, images: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The objective's answer per image, (B,) on the CPU."""
    with torch.no_grad(), runtime.autocast(images.device, dtype):
        return objective(images).float().argmax(1).cpu()


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


def _open_share(gates: Tensor | None, images: Tensor, prober: Prober) -> Tensor:
    if gates is None:
        return torch.ones(len(images))
    return (gates > prober.settings.threshold).float().flatten(1).mean(1).cpu()


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values) if values else 0.0
