"""Can a dream be trusted? How it compares with real images, and what a network says that had no part in it.

A dream is optimized for one network. Three questions are put to others: is its activation higher than that of real
images (:func:`activation_rank`), does a network trained independently recognise it, and does it look like real images
inside that network (:class:`Witness`)? The last is answered by p-values, calibrated on held-out real images.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.dreams.ood import ActivationReader, ActivationStatistics, Pictures, StageStatistics, furthest
from conceptnet_ml.errors import DataError
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.runtime import seeding

UNLIKE = 0.05
"""p at or below which a picture is called unlike the data."""

COARSE = 0.25
""":func:`coarse_share` below which a picture that was turned into another class is called only texture."""

ROUNDING = 1e-4
"""Relative difference of two scores that counts as none, so that the last digits of a sum decide nothing."""


@dataclass(frozen=True)
class Judgement:
    """What a witness says of one picture.

    Args:
        seen, probability: Name of the class it sees, and its probability.
        energy: −logsumexp of its logits: the lower, the surer it is (Liu et al., arXiv 2010.03759).
        energy_p, energy_low: Two-sided p of that energy among held-out real images, and whether it is below their
            median. Dreams have lower energies than any of them, noise higher ones.
        distance: Mahalanobis distance at the stage where the picture is furthest from real images, scaled by held-out
            ones: 0 is their median, 1 their 95 % quantile (:mod:`conceptnet_ml.dreams.ood`).
        distance_p, stage: p of a distance so large among held-out real images, and the stage's name.
        least: The smallest :attr:`p` that is possible with so many held-out images.
        expected, expected_probability: Name of the class the picture is meant to show, and its probability.
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
        """One p for both scores, twice the smaller one (Bonferroni)."""
        return min(1.0, 2 * min(self.energy_p, self.distance_p))

    @property
    def unlike(self) -> bool:
        """Whether the picture is called unlike the data."""
        return self.p <= UNLIKE

    @property
    def sees(self) -> str:
        """``seen: car 98 %``, for a caption."""
        return f"seen: {self.seen} {_percent(self.probability)}"

    @property
    def likeness(self) -> str:
        """``unlike the data: p < .01``, ``within the data: p = .41``, or that there are too few images to tell."""
        if self.least > UNLIKE:
            return "too few real images to compare"
        bounds = ((0.001, "p < .001"), (0.01, "p < .01"))
        shown = next((text for bound, text in bounds if self.p < bound), f"p = {self.p:.2f}".replace("0.", "."))
        return f"{'unlike' if self.unlike else 'within'} the data: {shown}"

    @property
    def phrase(self) -> str:
        """Both in one line."""
        return f"{self.sees}, {self.likeness}"


def seen_words(judgements: Sequence[Judgement]) -> str:
    """What is seen in one picture, ``seen: car 98 %``; of several starts of one dream in how many of them:
    ``seen: car in 3 of 4 starts, poodle in 1``."""
    if len(judgements) == 1:
        return judgements[0].sees
    (name, count), *others = Counter(one.seen for one in judgements).most_common()
    rest = "".join(f", {other} in {times}" for other, times in others)
    return f"seen: {name} in {count} of {len(judgements)} starts{rest}"


@dataclass(frozen=True)
class Calibration:
    """A witness's scores of held-out real images, (n,) float64, sorted; and the share it classifies correctly, None
    where the labels are not known."""

    distances: Tensor
    energies: Tensor
    accuracy: float | None

    def scaled(self, distances: Tensor) -> Tensor:
        """Distances in units of held-out real images: 0 is their median, 1 their 95 % quantile."""
        middle, far = self.distances.quantile(torch.tensor([0.5, 0.95], dtype=torch.float64)).tolist()
        return (distances - middle) / max(far - middle, 1e-2)


class Witness:
    """A network that had no part in a dream, and its statistics of real images.

    Its p-values tell whether a dream could be a real image *as far as its features and logits go*: a small p says that
    it is not, a large one does not say that it is.

    Args:
        network: Trained independently of the networks whose dreams are judged.
        statistics: Of real images inside it.
        calibration: Its scores of held-out ones.
        device, dtype: Where and in which autocast type it runs.

    Attributes:
        accuracy: Share of the held-out images it classifies correctly; None where their labels are not known.
        held: How many held-out images the p-values rest on.
    """

    def __init__(
        self,
        network: StagedNetwork,
        statistics: ActivationStatistics,
        calibration: Calibration,
        device: torch.device,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.network, self.statistics, self.calibration = network, statistics, calibration
        self.accuracy, self.held = calibration.accuracy, len(calibration.energies)
        self._reader = ActivationReader(network, device, dtype)

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
        """Fit statistics to real images, two forward passes over them, and calibrate on others, one pass.

        Args:
            network, device, dtype: As above.
            reference: Real images; those the network was trained on will do.
            held: Real images it was **not** trained on; with n of them no p is below 2/(n + 1).
            labels: (N,) class numbers of the reference images, for a mean of each class.
            held_labels: (n,) class numbers of the held-out images, for the witness's accuracy.

        Raises:
            DataError: Fewer than two reference images, none held out, or logits that are not finite.
        """
        if len(reference) < 2 or len(held) < 1:
            raise DataError(
                f"{len(reference)} reference and {len(held)} held-out images are too few to compare dreams with",
                "Give at least 2 and 1; some hundreds of each to tell anything.",
            )
        reader = ActivationReader(network, device, dtype)
        statistics = reader.fit(reference, labels)
        descriptions, logits = reader.describe(held, statistics)
        right = None if held_labels is None else (logits.argmax(1) == held_labels.cpu()).double()
        accuracy = None if right is None else float(right.mean())
        distances, _ = furthest(statistics, descriptions)
        calibration = Calibration(distances.sort().values, energy(logits).sort().values, accuracy)
        return cls(network, statistics, calibration, device, dtype)

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
        """As :meth:`fit`, from one set of real images the network was not trained on, halved at random."""
        order = torch.randperm(len(images), generator=seeding.generator(seed))
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        first, second = (images.subset(half) if isinstance(images, ImageSet) else images[half] for half in halves)
        known = [None if labels is None else labels.cpu()[half] for half in halves]
        return cls.fit(network, first, second, device, dtype, labels=known[0], held_labels=known[1])

    def judge(self, images: Tensor, expected: Sequence[int | None] | int | None = None) -> list[Judgement]:
        """Judge pictures, each independently of the others. Cost: one forward pass.

        Args:
            images: uint8 (B, C, H, W); of another size than the witness's they are resized, antialiased.
            expected: Number of the class each is meant to show: one for all, or one (or None) each.

        Raises:
            DataError: The pictures have other channels than the witness takes.
            ValueError: Not uint8 (B, C, H, W), or not as many expected classes as pictures.
        """
        wanted = list(expected) if isinstance(expected, Sequence) else [expected] * len(images)
        if len(wanted) != len(images):
            raise ValueError(f"{len(wanted)} expected classes for {len(images)} pictures")
        if not wanted:
            return []
        descriptions, logits = self._reader.describe(images, self.statistics)
        distances, stages = furthest(self.statistics, descriptions)
        energies, scaled = energy(logits), self.calibration.scaled(distances)
        distance_p = tail_p(distances, self.calibration.distances)
        energy_p, low = two_sided_p(energies, self.calibration.energies)
        shares = logits.double().nan_to_num(0.0, 1e9, -1e9).softmax(1)
        judgements = []
        for row, want in enumerate(wanted):
            seen = int(shares[row].argmax())
            judgements.append(
                Judgement(
                    seen=self.class_name(seen),
                    probability=float(shares[row, seen]),
                    energy=float(energies[row]),
                    energy_p=float(energy_p[row]),
                    energy_low=bool(low[row]),
                    distance=float(scaled[row]),
                    distance_p=float(distance_p[row]),
                    stage=stages[row],
                    least=min(1.0, 2 / (self.held + 1)),
                    expected=None if want is None else self.class_name(want),
                    expected_probability=None if want is None else float(shares[row, want]),
                )
            )
        return judgements

    def class_name(self, number: int) -> str:
        """A class's name, its number where it has none."""
        return self.network.classes[number] if self.network.classes else str(number)

    def state(self) -> dict[str, Any]:
        """What was fitted, as plain values and tensors, without the network's weights."""
        look = {name: vars(stage).copy() for name, stage in self.statistics.items()}
        return {"look": look, "calibration": vars(self.calibration).copy()}

    @classmethod
    def restore(
        cls, network: StagedNetwork, state: Mapping[str, Any], device: torch.device, dtype: torch.dtype | None = None
    ) -> Witness:
        """The witness whose :meth:`state` was kept, with its network."""
        statistics = {name: StageStatistics(**stage) for name, stage in state["look"].items()}
        return cls(network, statistics, Calibration(**state["calibration"]), device, dtype)


@dataclass(frozen=True)
class ActivationRank:
    """The value a dream reached among the values of the same objective on real images.

    Args:
        reached: The value; of a dream that fell, that of its start.
        images: How many real images it is compared with.
        percentile: Share of them that it is above, 0 to 1.
        median, best: Of them.
        ratio: ``reached / best``; None where the best is not above zero.
        reach: ``(reached − median) / (best − median)``, which unlike the ratio does not depend on where zero lies, as a
            logit's does. None where the best is the median.
        fell: How a dream ended that shows nothing of its target, as ``never rose``; empty for others.
    """

    reached: float
    images: int
    percentile: float
    median: float
    best: float
    ratio: float | None
    reach: float | None
    fell: str = ""

    @property
    def phrase(self) -> str:
        """``4.1 × the best of 512 images``, ``above 93 % of 512 images``, for a caption; of a dream that fell ``never
        rose: its start is above the best of 512 images``, since by itself that would read as what it reached."""
        if self.fell:
            return f"{self.fell}: its start is {self._words}" if math.isfinite(self.reached) else self.fell
        return self._words

    @property
    def _words(self) -> str:
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


def activation_rank(reached: float, real: Tensor, fell: str = "") -> ActivationRank:
    """Compare an objective's value with those on real images, (n,); of these only finite ones count. ``fell`` as in
    :class:`ActivationRank`.

    Raises:
        ValueError: None of the real images' values is finite.
    """
    values = real.detach().flatten().double().cpu()
    values = values[values.isfinite()].sort().values
    if not len(values):
        raise ValueError("no real image's value to compare with")
    value, median, best = float(reached), float(values.quantile(0.5)), float(values[-1])
    finite, spread = math.isfinite(value), best - median
    small = ROUNDING * max(abs(best), abs(median), 1e-12)
    return ActivationRank(
        reached=value,
        images=len(values),
        percentile=float((values < value).double().mean()),
        median=median,
        best=best,
        ratio=value / best if finite and best > 0 else None,
        reach=(value - median) / spread if finite and spread > small else None,
        fell=fell,
    )


def coarse_share(image: Tensor, start: Tensor, real: Tensor) -> float:
    """How far the coarse part of a picture moved from its start, as a share of how far that of a real image lies off.

    The coarse part is the mean over patches of :func:`texture_patch` px: it has shapes and tints, and no texture. Far
    is the root mean square, of real images the median. Near 1 for another real image, near 0 where only texture moved.

    Args:
        image, start: uint8 (C, H, W).
        real: uint8 (N, C, H, W), of the class that the picture was turned into, or of any.
    """
    patch, began = texture_patch(image), start[None].float()
    moved, apart = (
        F.avg_pool2d(some.float() - began, patch, ceil_mode=True, count_include_pad=False)
        .square()
        .mean((1, 2, 3))
        .sqrt()
        for some in (image[None], real)
    )
    return float(moved[0] / apart.median().clamp_min(1e-6))


def texture_patch(image: Tensor) -> int:
    """Px of a patch below which a change counts as texture: an eighth of the shorter side, two at least."""
    return max(2, min(image.shape[1:]) // 8)


def energy(logits: Tensor) -> Tensor:
    """Logits (B, K) to −logsumexp (B,), float64; infinite where a logit is not finite."""
    finite = logits.isfinite().all(1)
    return (-logits.double().nan_to_num().logsumexp(1)).where(finite, torch.inf)


def tail_p(values: Tensor, held: Tensor) -> Tensor:
    """p of values (B,) so large: ``(1 + number of held-out values at least as large) / (n + 1)``.

    Where a value and the held-out ones are exchangeable, p ≤ x has chance at most x (conformal; Vovk et al. 2005).
    Both are float64, ``held`` (n,) sorted.
    """
    rounding = ROUNDING * (1 + values.abs().nan_to_num(posinf=0.0))
    return (1 + len(held) - torch.searchsorted(held, values - rounding)) / (len(held) + 1)


def two_sided_p(values: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
    """p of values (B,) so far out on either side, twice the smaller :func:`tail_p`; and whether that is the low one."""
    low, high = tail_p(-values, -held.flip(0)), tail_p(values, held)
    return (2 * torch.minimum(low, high)).clamp_max(1.0), low < high


def _percent(share: float) -> str:
    """A share in whole per cent; 0 % and 100 % only where it is exactly that."""
    if 0 < share < 0.01:
        return "< 1 %"
    return f"{min(math.floor(100 * share + 0.5), 99 if share < 1 else 100)} %"


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:,.0f}"
