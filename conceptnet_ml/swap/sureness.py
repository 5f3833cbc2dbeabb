"""How sure a decision is: how often it would have been another, had other images been held out.

Its figures are means over a few hundred held-out images, so one near its threshold may be there by chance. The
bootstrap (Efron 1979) asks how far chance reaches:

1. As many images are drawn again, with replacement and within each class, as they were held out.
2. An image keeps all that is known of it, whether it was answered rightly and what its swaps did, so that the figures
   of a decision rise and fall together. A swap counts as often as both of its images were drawn (Owen 2007,
   arXiv 0712.1111): another choice of images has other donors, too.
3. There is one image more, of which nothing is known, not even its class: what it does is tossed. Otherwise a hundred
   images without an error would prove that there are none.
4. From ``DRAWS`` such draws the decision is made again: the share that comes to the same, and an interval of the figure
   that was compared. The figure's draws are moved so that their median is what was found: of two classes the lower is
   lower still when both are drawn again, as what was found is lower than what it stands for.

**What it does not cover**: another seed, another training or processor, and another world than the images are from. It
says which part chance had in *which images* were held out, and nothing else.

Cost: no pass through a network; milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.runtime import seeding

DRAWS = 300
"""How often the held-out images are drawn again."""

SURE, LIKELY = 0.95, 0.8
"""Share of the draws that decide the same, from which a decision is *sure*, and from which it is *likely*; below that
it is a *close call*."""


@dataclass(frozen=True)
class Sureness:
    """How sure a decision is, as far as the choice of the held-out images goes; see this module.

    Args:
        figure: What was compared with a threshold, in words.
        value: Of it.
        low, high: 95 % of the draws lie between.
        least: The threshold: what is asked.
        agree: Share of the draws in which the decision is the same.
        images: How many images were drawn from.
    """

    figure: str
    value: float
    low: float
    high: float
    least: float
    agree: float
    images: int

    @property
    def grade(self) -> str:
        """``sure``, ``likely`` or ``close call``."""
        return grade(self.agree)

    def record(self) -> dict[str, Any]:
        """As plain values, for the log and the summary."""
        return {**asdict(self), "grade": self.grade}


def grade(agree: float) -> str:
    """``sure``, ``likely`` or ``close call``, by the share of the draws that decide the same."""
    return "sure" if agree >= SURE else "likely" if agree >= LIKELY else "close call"


def sure_words(record: dict[str, Any]) -> str:
    """A :meth:`Sureness.record` in words: ``close call, 62 of 100 draws: ι 0.51 [0.46, 0.56], 0.53 asked``."""
    return f"{grade(record['agree'])}, {hundredths(record['agree'])} of 100 draws: {interval_words(record)}"


def interval_words(record: dict[str, Any]) -> str:
    """Its figure: ``ι 0.51 [0.46, 0.56], 0.53 asked``."""
    return f"{record['figure']} {with_interval(record)}, {record['least']:.2f} asked"


def with_interval(record: dict[str, Any]) -> str:
    """``0.51 [0.46, 0.56]``. A figure less errors has no least: below -1 it says no more than that it is far off."""
    found = (record["value"], record["low"], record["high"])
    value, low, high = ("below -1" if one < -1 else f"{round(one, 2) + 0.0:.2f}" for one in found)  # no −0.00
    return f"{value} [{low}, {high}]" if high != "below -1" else value


def hundredths(agree: float) -> int:
    """Of 100 draws; 100 only where all agree."""
    return math.floor(100 * agree + 1e-9)


def sureness(
    figure: str, least: float, value: float, again: Iterable[float], same: Iterable[bool | None], images: int
) -> Sureness:
    """From the figure and the decision in every draw.

    Args:
        figure, least, value, images: As in :class:`Sureness`.
        again: The figure in every draw.
        same: Whether the draw decides the same; None where that hangs on the figure alone: then whether it is on the
            same side of the threshold.
    """
    values = torch.tensor(list(again), dtype=torch.float64)
    values += value - values.quantile(0.5)
    low, high = values.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    sides = ((values >= least) == (value >= least)).tolist()
    agreed = [side if one is None else one for side, one in zip(sides, same, strict=True)]
    return Sureness(figure, value, min(low, value), max(high, value), least, sum(agreed) / len(agreed), images)


def less_sure(one: Sureness | None, other: Sureness | None) -> Sureness | None:
    """Of a decision that rests on both, since either may refuse; None where one of them is not known."""
    return None if one is None or other is None else min(one, other, key=lambda each: each.agree)


class Redraws:
    """``DRAWS`` times as many images of each class again; the same for the same labels.

    Args:
        labels: (N,) the images' classes.
        classes: How many there are.
        seed: Another one draws others.

    Attributes:
        known: (DRAWS, N) how often each image was drawn.
        unknown: (DRAWS, classes) how often in its place the image of which nothing is known was.
    """

    def __init__(self, labels: Tensor, classes: int, seed: int = 0) -> None:
        self.labels, self._generator = labels, seeding.generator(seed)
        self.known = torch.zeros(DRAWS, len(labels), dtype=torch.float64)
        self.unknown = torch.zeros(DRAWS, classes, dtype=torch.float64)
        for c in range(classes):
            members = self.members(c)
            count, shape = len(members), (DRAWS, len(members))
            is_known = torch.rand(shape, generator=self._generator) * (count + 1 / classes) < count
            drawn = torch.randint(max(1, count), shape, generator=self._generator)
            times = torch.zeros(shape, dtype=torch.float64)
            self.known[:, members] = times.scatter_add_(1, drawn, is_known.double())
            self.unknown[:, c] = count - is_known.sum(1)

    def members(self, c: int) -> Tensor:
        """Places of a class's images."""
        return (self.labels == c).nonzero().flatten()

    def totals(self, hits: Tensor, nested: bool = False) -> Tensor:
        """Sums over the images of each class in every draw, (DRAWS, classes, F).

        Args:
            hits: (N, F), 0 to 1 each: F things that an image does or not.
            nested: Whether only an image that does the first can do the others.
        """
        tossed = torch.randint(2, (*self.unknown.shape, hits.shape[1]), generator=self._generator).double()
        if nested:
            tossed[..., 1:] *= tossed[..., :1]
        found = self.unknown[:, :, None] * tossed
        for c in range(self.unknown.shape[1]):
            members = self.members(c)
            found[:, c] += self.known[:, members] @ hits[members].double()
        return found

    def pairs(self, members: Tensor, donors: Tensor) -> Tensor:
        """(DRAWS, members, D) how often these images met their donors: as often as both were drawn."""
        return self.known[:, members, None] * self.known[:, donors[members]]

    def pair_rates(self, answered: Tensor, donors: Tensor, changed: Tensor) -> Tensor:
        """At what rate the swaps with donors change the answers of each class in every draw, (DRAWS, classes).

        Args:
            answered: (N,) whose answers count.
            donors: (N, D) places of the donors.
            changed: (N, D) which swaps change the answer.
        """
        tossed = torch.randint(2, (2, *self.unknown.shape), generator=self._generator).double()
        tried = self.unknown * tossed[0]
        hit = tried * tossed[1]
        for c in range(self.unknown.shape[1]):
            members = self.members(c)
            times = self.pairs(members, donors) / donors.shape[1]
            tried[:, c] += (times * answered[members, None]).sum((1, 2))
            hit[:, c] += (times * changed[members]).sum((1, 2))
        return hit / tried.clamp_min(1e-9)


def redrawn_shares(hits: Sequence[Tensor], labels: Tensor, classes: int, seed: int = 0) -> list[list[float]]:
    """For every draw the mean of each of these (N,) hits of the same images, 0 to 1; see :class:`Redraws`."""
    totals = Redraws(labels, classes, seed).totals(torch.stack([one.double() for one in hits], 1))
    means: list[list[float]] = (totals.sum(1) / max(1, len(labels))).tolist()
    return means
