"""Means over seeds and how far to trust them: the range of a few seeds, a 95 % bootstrap interval from five on."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

LEAST = 5
"""Fewest values that have a 95 % interval: a bootstrap over three says no more than their range."""

_EXACT = 6  # seeds; beyond it the resamples are drawn
_SIGNS = 12  # differences; beyond it the signs are drawn
_DRAWS = 10_000


def summarize(values: Iterable[float]) -> dict[str, Any]:
    """``{"mean", "low", "high", "values"}``; low and high are the range of fewer than five values, the 95 % interval of
    more, None for a single one.
    """
    values, low, high = list(values), None, None
    if len(values) > 1:
        low, high = interval(values) if len(values) >= LEAST else (min(values), max(values))
    return {"mean": math.fsum(values) / len(values), "low": low, "high": high, "values": values}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean (Efron 1979).

    Up to six values all resamples are gone through, so that nothing is left to chance; beyond that 10,000 are drawn,
    always the same.
    """
    count, draw = len(values), random.Random(0)
    drawn = (draw.choices(values, k=count) for _ in range(_DRAWS))
    means = sorted(math.fsum(one) / count for one in (product(values, repeat=count) if count <= _EXACT else drawn))
    low, high = (math.ceil(share * len(means)) - 1 for share in (0.025, 0.975))
    return means[low], means[high]


def sign_flips(differences: Sequence[float]) -> float:
    """Two-sided p of paired differences with a mean of 0: the share of all choices of signs whose mean is as far from
    0 (the exact randomization test of Fisher 1935).

    Of n differences it is at least 2 / 2ⁿ, .06 of five. Beyond 12 differences 10,000 choices are drawn, always the
    same, and the one observed counts as one more.
    """
    found, draw = list(differences), random.Random(0)
    exact = len(found) <= _SIGNS
    drawn = (draw.choices((1, -1), k=len(found)) for _ in range(_DRAWS))
    signs = product((1, -1), repeat=len(found)) if exact else drawn
    sums = [abs(math.fsum(sign * value for sign, value in zip(one, found, strict=True))) for one in signs]
    least = abs(math.fsum(found)) - 1e-9
    extreme = sum(value >= least for value in sums)
    return extreme / len(sums) if exact else (extreme + 1) / (len(sums) + 1)


def spread(count: int) -> str:
    """What low and high are of figures over this many seeds, in words."""
    return "range" if count < LEAST else "95 % interval"


def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two intervals or ranges of :func:`summarize` have a point in common."""
    return bool(one["low"] <= other["high"] and other["low"] <= one["high"])
