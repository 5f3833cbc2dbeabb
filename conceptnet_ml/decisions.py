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


@dataclass(frozen=True)
class Measured:
    """What a probe found in one representation, per class (or parent).

    Args:
        representation: Its name.
        gate: Its kind of gate, as the representation has it.
        images: Held-out images counted, those answered rightly before the swap.
        flips: φ, the rate at which the donor's swap changes the answer.
        others: The same for other random donors of other classes, in the image's own gate joined with theirs.
        mates: The same for random class-mates as donors.
        price: Mean share of the gate that is open; 1 where there is no gate.
        answered: Share of all held-out images answered rightly before the swap.
        asked: Held-out images per class, right or wrong; none where nobody counted.
        met: Which classes met: host, donor, how many swaps with others were tried, and how many changed the answer.
    """

    representation: str
    gate: str
    images: tuple[int, ...]
    flips: tuple[float, ...]
    others: tuple[float, ...]
    mates: tuple[float, ...]
    price: float
    answered: float = 1.0
    asked: tuple[int, ...] = ()
    met: tuple[tuple[int, int, int, int], ...] = ()

    @property
    def phi(self) -> float:
        """φ, averaged over the classes."""
        return _mean(self.flips)

    @property
    def iotas(self) -> tuple[float, ...]:
        """ι per class: how much more often others of other classes change the answer than class-mates do."""
        return tuple(other - mate for other, mate in zip(self.others, self.mates, strict=True))

    @property
    def iota(self) -> float:
        """ι of all classes together, see :func:`together`."""
        return together(self.iotas)

    @property
    def contrast(self) -> float:
        """φ less what a class-mate's material changes already: the measure for swaps without a place gate."""
        return self.phi - _mean(self.mates)

    def separable(self, imperfection: float) -> float:
        """ι less what the network gets wrong, weighed: the measure for place-gated swaps.

        A shortcut fits the labels perfectly, so a network that rests on one hardly errs; an object is seldom that easy.
        """
        return self.iota - imperfection * (1 - self.answered)

    def within(self, classes: tuple[int, ...], imperfection: float) -> tuple[tuple[float, ...], float]:
        """ι per class and the measure, if these were all classes there are."""
        tried, changed = dict.fromkeys(classes, 0), dict.fromkeys(classes, 0)
        for host, donor, count, hits in self.met:
            if host in tried and donor in tried:
                tried[host] += count
                changed[host] += hits
        iotas = tuple(changed[c] / max(1, tried[c]) - self.mates[c] for c in classes)
        asked = sum(self.asked[c] for c in classes)
        right = sum(self.images[c] for c in classes) / max(1, asked)
        return iotas, together(iotas) - imperfection * (1 - right)

    def record(self) -> dict[str, Any]:
        """As plain values, for the log and the graph."""
        return {**asdict(self), "phi": self.phi, "iotas": self.iotas, "iota": self.iota, "contrast": self.contrast}


@dataclass(frozen=True)
class Decision:
    """Whether a swap may become part of all later views.

    Args:
        keep: The decision.
        reason: In words, with the numbers behind it.
        classes: The classes that share the feature, None for all.
    """

    keep: bool
    reason: str
    classes: tuple[int, ...] | None = None


def together(iotas: tuple[float, ...]) -> float:
    """ι of several classes: the mean over all but the one in which it is highest; of two, the lower.

    A part of an object can often be exchanged one way and not the other (a car hides under a dog's head, a dog does not
    under a car's door); what is no part of it can be exchanged both ways.
    """
    return _mean(tuple(sorted(iotas)[: max(1, len(iotas) - 1)]))


def decide(measured: Measured, settings: RoundSettings) -> Decision:
    """Keep a swap that moves the decision by something that can be exchanged; leave the object itself alone.

    A place-gated swap is judged by ι (any donor's material serves, a class-mate's changes nothing), less the network's
    errors on held-out images. A swap without a place gate is always interchangeable, so it is judged by how much more
    often it flips the answer than a class-mate's does.
    """
    if measured.phi < settings.flips:
        return Decision(False, f"φ {measured.phi:.2f} < {settings.flips:.2f}: the answer does not rest on it")
    if measured.gate != "place":
        keep = measured.contrast >= settings.decisive
        sign = "≥" if keep else "<"
        what = "decides by itself" if keep else "does not decide by itself"
        return Decision(keep, f"contrast {measured.contrast:.2f} {sign} {settings.decisive:.2f}: it {what}")
    score = measured.separable(settings.imperfection)
    wrong = settings.imperfection * (1 - measured.answered)
    found = f"ι {measured.iota:.2f} − {wrong:.2f} for errors"
    if score >= settings.interchangeable:
        least = settings.interchangeable
        return Decision(True, f"{found} ≥ {least:.2f}: one thing among others, it can be exchanged")
    few = sharing(measured, settings)
    if few:
        some = f"but {len(few)} of {len(measured.iotas)} classes share it, ι {together(measured.within(few, 0)[0]):.2f}"
        return Decision(True, f"{found} < {settings.interchangeable:.2f}, {some}: one thing among others in these", few)
    return Decision(False, f"{found} < {settings.interchangeable:.2f}: this is the object")


def sharing(measured: Measured, settings: RoundSettings) -> tuple[int, ...]:
    """Some classes that share an exchangeable feature where not all do; none if there are none.

    The class with the lowest ι is left out, and again, until the rest passes. Whoever searches finds something: so the
    rest must pass three quarters of the way from the threshold to one. Cost: nothing but counting.
    """
    classes = tuple(range(len(measured.iotas)))
    strict = (settings.interchangeable + 3) / 4
    while len(classes) > 2 and measured.met:
        iotas, _ = measured.within(classes, settings.imperfection)
        lowest = min(range(len(classes)), key=iotas.__getitem__)
        classes = (*classes[:lowest], *classes[lowest + 1 :])
        if measured.within(classes, settings.imperfection)[1] >= strict:
            return classes
    return ()


def stands(r_before: float, r_after: float, r_without: float, chance: float, settings: RoundSettings) -> Decision:
    """Whether a round that was trained stands; see :func:`conceptnet_ml.steps.generalize.train_views`."""
    floor = chance + settings.remains * max(0.0, r_before - chance)
    told = f"r {r_before:.2f} → {r_after:.2f}"
    if r_after < floor:
        return Decision(False, f"{told} < {floor:.2f}, the least that must remain")
    if r_after > r_without + settings.inverted:
        return Decision(False, f"{told}, but {r_without:.2f} where nothing is exchanged: it was the object itself")
    return Decision(True, f"{told} ≥ {floor:.2f}, the least that must remain; {r_without:.2f} without the swap")


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
