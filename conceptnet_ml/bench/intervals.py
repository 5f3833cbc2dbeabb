"""Means over seeds and their 95 % bootstrap intervals, exact where there are few seeds."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate, combinations_with_replacement
from typing import Any

_EXACT = 8  # seeds; beyond it the resamples are drawn
_DRAWS = 10_000


def summarize(values: Iterable[float]) -> dict[str, Any]:
    """``{"mean", "low", "high", "values"}``; low and high are None for a single value, which has no interval."""
    values = list(values)
    low, high = interval(values) if len(values) > 1 else (None, None)
    return {"mean": math.fsum(values) / len(values), "low": low, "high": high, "values": values}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean (Efron 1979).

    Up to 8 values all resamples are gone through with their probabilities, so that nothing is left to chance; beyond
    that 10,000 resamples are drawn, always the same.
    """
    count = len(values)
    if count <= _EXACT:
        resamples = [
            (math.fsum(values[place] for place in places) / count, _orders(places))
            for places in combinations_with_replacement(range(count), count)
        ]
    else:
        draw = random.Random(0)
        resamples = [(math.fsum(draw.choices(values, k=count)) / count, 1) for _ in range(_DRAWS)]
    resamples.sort()
    passed = list(accumulate(weight for _, weight in resamples))
    low, high = (bisect_left(passed, share * passed[-1]) for share in (0.025, 0.975))
    return resamples[low][0], resamples[high][0]


def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two intervals of :func:`summarize` have a point in common."""
    return bool(one["low"] <= other["high"] and other["low"] <= one["high"])


def _orders(places: tuple[int, ...]) -> int:
    """In how many orders a resample can be drawn."""
    return math.factorial(len(places)) // math.prod(map(math.factorial, Counter(places).values()))
