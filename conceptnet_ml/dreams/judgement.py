"""Are dreams honest? How a dream stands against real images, in the eyes of a network that had no part in it.

A dream is made to please one network. Three questions keep it honest: is what it reached more than real images reach
(:func:`standing`), does a network trained independently recognise it, and does it look as real images look inside that
network (:class:`Witness`)? The last is told by p-values, calibrated on held-out real images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.dreams.ood import ActivationReader, ActivationStatistics, Pictures
from conceptnet_ml.errors import DataError
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.runtime import seeding

UNLIKE = 0.05
"""p from which on downwards a picture is called unlike the data."""

ROUNDING = 1e-4
"""Relative difference of two scores that counts as none, so that the last digits of a sum decide nothing."""


@dataclass(frozen=True)
class Judgement:
    """What a witness says of one picture.

    Args:
        seen: Name of the class it sees.
        probability: Its probability of that class.
        energy: −logsumexp of its logits: the lower, the surer it is (Liu et al., arXiv 2010.03759).
        energy_p: Two-sided p of that energy among held-out real images: dreams are surer than any of them, noise less.
        energy_low: Whether the energy is lower than the median of these, else it is at least as high.
        distance: Mahalanobis distance at the stage where the picture is furthest from real images, in units of
            those held out: 0 is their median, 1 their 95 % quantile (:mod:`conceptnet_ml.dreams.ood`).
        distance_p: p of a distance so large among held-out real images.
        stage: Name of that stage of the witness; ``image`` for the pixels themselves.
        least: The smallest :attr:`p` that can come out with so many held-out images.
        expected: Name of the class the picture is meant to show, None for none.
        expected_probability: The witness's probability of it.
    """

    seen: str
    probability: float
    energy: float
    energy_p: float
    energy_low: bool
    distance: float
    distance_p: float
    stage: str
    least: float
    expected: str | None = None
    expected_probability: float | None = None

    @property
    def recognised(self) -> bool | None:
        """Whether the witness sees the expected class; None where there is none."""
        return None if self.expected is None else self.seen == self.expected

    @property
    def p(self) -> float:
        """One p for both scores: twice the smaller one (Bonferroni); a real image has less than x with chance ≤ x."""
        return min(1.0, 2 * min(self.energy_p, self.distance_p))

    @property
    def unlike(self) -> bool:
        """Whether real images are so rarely this far out that the picture is called unlike the data."""
        return self.p <= UNLIKE

    @property
    def sees(self) -> str:
        """``seen: car 98 %``, for a caption."""
        return f"seen: {self.seen} {_percent(self.probability)}"

    @property
    def likeness(self) -> str:
        """``unlike the data: p < .01``, ``within the data: p = .41``, or that it cannot be told."""
        if self.least > UNLIKE:
            return "too few real images to compare"
        return f"{'unlike' if self.unlike else 'within'} the data: {_p(self.p)}"

    @property
    def phrase(self) -> str:
        """Both for a sheet's caption, in one line."""
        return f"{self.sees}, {self.likeness}"


@dataclass(frozen=True)
class Calibration:
    """What a witness says of held-out real images.

    Args:
        distances, energies: (n,) float64, sorted.
        accuracy: Share it gets right, None where the labels are not known.
    """

    distances: Tensor
    energies: Tensor
    accuracy: float | None

    def scaled(self, distances: Tensor) -> Tensor:
        """Distances in units of held-out real images: 0 is their median, 1 their 95 % quantile."""
        middle, far = self.distances.quantile(torch.tensor([0.5, 0.95], dtype=torch.float64)).tolist()
        return (distances - middle) / max(far - middle, 1e-2)


class Witness:
    """A network that had no part in a dream, and what real images look like to it.

    Its answers tell whether a dream shows the class to more than the network it was made for. Its p-values tell whether
    it could be a real image *as far as this witness's features and logits go*: a small p says it is not, a large one
    does not say it is.

    Args:
        network: Trained independently of the networks whose dreams are judged.
        look: What real images look like to it.
        calibration: What it says of held-out ones.
        device, dtype: Where and in which autocast type it runs.
    """

    def __init__(
        self,
        network: StagedNetwork,
        look: ActivationStatistics,
        calibration: Calibration,
        device: torch.device,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.network = network
        self.look = look
        self.calibration = calibration
        self._looker = ActivationReader(network, device, dtype)

    @classmethod
    def fit(
        cls,
        network: StagedNetwork,
        reference: Pictures,
        held: Pictures,
        device: torch.device,
        dtype: torch.dtype | None = None,
        *,
        labels: Tensor | None = None,
        held_labels: Tensor | None = None,
    ) -> Witness:
        """Look at real images, and calibrate on others. Cost: two forward passes over the first, one over the second.

        Args:
            network: The witness.
            reference: Real images; those the network was trained on will do.
            held: Real images it was **not** trained on; with n of them no p is below 2/(n + 1).
            device, dtype: Where and in which autocast type it runs.
            labels: (N,) class numbers of the reference images, for a mean of each class.
            held_labels: (n,) class numbers of the held-out images, by which the witness's accuracy is known.

        Raises:
            DataError: Fewer than two reference images, none held out, or answers that are no numbers.
        """
        if len(reference) < 2 or len(held) < 1:
            raise DataError(
                f"{len(reference)} reference and {len(held)} held-out images are too few to compare dreams with",
                "Give at least 2 and 1; some hundreds of each to tell anything.",
            )
        looker = ActivationReader(network, device, dtype)
        look = looker.learn(reference, labels)
        descriptions, logits = looker.show(held, look)
        accuracy = None
        if held_labels is not None:
            accuracy = float((logits.argmax(1) == held_labels.cpu()).double().mean())
        distances, _ = look.distance(descriptions)
        calibration = Calibration(distances.sort().values, energy(logits).sort().values, accuracy)
        return cls(network, look, calibration, device, dtype)

    @classmethod
    def of(
        cls,
        network: StagedNetwork,
        images: Pictures,
        device: torch.device,
        dtype: torch.dtype | None = None,
        *,
        labels: Tensor | None = None,
        seed: int = 0,
    ) -> Witness:
        """As :meth:`fit`, from one set of real images the network was not trained on: one half, drawn by the seed, for
        the look, the other for the calibration. Same errors."""
        order = torch.randperm(len(images), generator=seeding.generator(seed))
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        first, second = (images.subset(half) if isinstance(images, ImageSet) else images[half] for half in halves)
        known = [None if labels is None else labels.cpu()[half] for half in halves]
        return cls.fit(network, first, second, device, dtype, labels=known[0], held_labels=known[1])

    @property
    def accuracy(self) -> float | None:
        """Share of the held-out real images it gets right: how good a judge it is; None where nobody knows."""
        return self.calibration.accuracy

    @property
    def held(self) -> int:
        """How many held-out real images the p-values rest on."""
        return len(self.calibration.energies)

    def judge(self, images: Tensor, expected: Sequence[int | None] | int | None = None) -> list[Judgement]:
        """Judge pictures; each by itself, whatever else is in the batch. Cost: one forward pass.

        Args:
            images: uint8 (B, C, H, W); of another size than the witness's they are resized, antialiased.
            expected: Number of the class each is meant to show: one for all, or one (or None) each.

        Raises:
            DataError: The pictures have other channels than the witness takes.
            ValueError: Not uint8 (B, C, H, W), or not as many expected classes as pictures.
        """
        if isinstance(expected, Sequence):
            if len(expected) != len(images):
                raise ValueError(f"{len(expected)} expected classes for {len(images)} pictures")
            wanted = list(expected)
        else:
            wanted = [expected] * len(images)
        if not len(images):
            return []
        descriptions, logits = self._looker.show(images, self.look)
        distances, stages = self.look.distance(descriptions)
        energies, scaled = energy(logits), self.calibration.scaled(distances)
        far = tail_p(distances, self.calibration.distances)
        unusual, low = two_sided_p(energies, self.calibration.energies)
        shares = logits.double().nan_to_num(0.0, 1e9, -1e9).softmax(1)
        found = []
        for place, want in enumerate(wanted):
            seen = int(shares[place].argmax())
            found.append(
                Judgement(
                    self.name_of(seen),
                    float(shares[place, seen]),
                    float(energies[place]),
                    float(unusual[place]),
                    bool(low[place]),
                    float(scaled[place]),
                    float(far[place]),
                    stages[place],
                    min(1.0, 2 / (self.held + 1)),
                    None if want is None else self.name_of(want),
                    None if want is None else float(shares[place, want]),
                )
            )
        return found

    def name_of(self, number: int) -> str:
        """A class's name, its number where it has none."""
        return self.network.classes[number] if self.network.classes else str(number)

    def state(self) -> dict[str, Any]:
        """What was fitted, as plain values and tensors; the network's weights are kept by whoever trained it."""
        return {"look": self.look.state(), "calibration": vars(self.calibration).copy()}

    @classmethod
    def restore(
        cls,
        network: StagedNetwork,
        state: Mapping[str, Any],
        device: torch.device,
        dtype: torch.dtype | None = None,
    ) -> Witness:
        """The witness whose :meth:`state` was kept, with its network."""
        return cls(
            network, ActivationStatistics.restore(state["look"]), Calibration(**state["calibration"]), device, dtype
        )


@dataclass(frozen=True)
class Standing:
    """How the value an objective reached stands against the values of the same objective on real images.

    Args:
        reached: The value.
        images: How many real images it is compared with.
        percentile: Share of them that it is above, 0 to 1.
        median, best: Of them.
        ratio: ``reached / best``; None where the best is not above zero, so that a multiple of it says nothing.
        reach: How many times as far above the median as the best: ``(reached − median) / (best − median)``. Unlike the
            ratio it does not depend on where zero lies, as a logit's does. None where the best is the median.
    """

    reached: float
    images: int
    percentile: float
    median: float
    best: float
    ratio: float | None
    reach: float | None

    @property
    def phrase(self) -> str:
        """``4.1 × the best of 512 images``, ``above 93 % of 512 images``, for a caption."""
        of = f"{self.images} image{'' if self.images == 1 else 's'}"
        if not math.isfinite(self.reached):
            return "reached no number"
        if self.percentile == 1:
            if self.ratio is not None and self.ratio >= 1.05:
                return f"{_times(self.ratio)} × the best of {of}"
            if self.ratio is None and self.reach is not None:
                return f"above the best of {of}, {_times(self.reach)} × as far from the median"
            return f"above the best of {of}"
        if self.percentile == 0:
            return f"above none of {of}"
        return f"above {_percent(self.percentile)} of {of}"


def standing(reached: float, real: Tensor) -> Standing:
    """How a reached value stands against real images' values.

    Args:
        reached: The objective on the dream.
        real: (n,) the same objective on real images; what is no number among them is left out.

    Raises:
        ValueError: No number among the real images' values.
    """
    values = real.detach().flatten().double().cpu()
    values = values[values.isfinite()].sort().values
    if not len(values):
        raise ValueError("no real image's value to compare with")
    median, best = float(values.quantile(0.5)), float(values[-1])
    value = float(reached)
    spread = best - median
    finite = math.isfinite(value)
    small = ROUNDING * max(abs(best), abs(median), 1e-12)
    return Standing(
        reached=value,
        images=len(values),
        percentile=float((values < value).double().mean()),
        median=median,
        best=best,
        ratio=value / best if finite and best > 0 else None,
        reach=(value - median) / spread if finite and spread > small else None,
    )


def energy(logits: Tensor) -> Tensor:
    """Logits (B, K) to −logsumexp (B,), float64; infinite where a logit is no number."""
    finite = logits.isfinite().all(1)
    return (-logits.double().nan_to_num().logsumexp(1)).where(finite, torch.inf)


def tail_p(values: Tensor, held: Tensor) -> Tensor:
    """p of values (B,) so large: ``(1 + number of held-out values at least as large) / (n + 1)``.

    Where a value and the held-out ones are exchangeable, p ≤ x has chance at most x (conformal; Vovk et al. 2005).

    Args:
        values: (B,) float64.
        held: (n,) float64, sorted.
    """
    return (1 + len(held) - torch.searchsorted(held, values - _rounding(values))) / (len(held) + 1)


def two_sided_p(values: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
    """p of values (B,) so far out on either side: twice the smaller tail's, at most 1; and whether that is the low one.

    Args:
        values: (B,) float64.
        held: (n,) float64, sorted.
    """
    low, high = tail_p(-values, -held.flip(0)), tail_p(values, held)
    return (2 * torch.minimum(low, high)).clamp_max(1.0), low < high


def _rounding(values: Tensor) -> Tensor:
    return ROUNDING * (1 + values.abs().nan_to_num(posinf=0.0))


def _percent(share: float) -> str:
    """A share between 0 and 1 that is neither is never told as 0 % or 100 %."""
    if 0 < share < 0.01:
        return "< 1 %"
    return f"{min(math.floor(100 * share + 0.5), 99 if share < 1 else 100)} %"


def _p(p: float) -> str:
    if p < 0.001:
        return "p < .001"
    if p < 0.01:
        return "p < .01"
    return f"p = {p:.2f}".replace("0.", ".")


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:,.0f}"
