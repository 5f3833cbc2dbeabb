"""Means over seeds and their 95 % bootstrap intervals, exact where there are few seeds."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any

_EXACT = 8  # seeds; beyond it the resamples are drawn
_DRAWS = 10_000


def summarize(values: Sequence[float]) -> dict[str, Any]:
    """``{"mean", "low", "high", "values"}``; low and high are None for a single value, which has no interval."""
    low, high = interval(values) if len(values) > 1 else (None, None)
    return {"mean": math.fsum(values) / len(values), "low": low, "high": high, "values": list(values)}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean (Efron 1979).

    Up to 8 values the bootstrap distribution itself is gone through, so that nothing is left to chance; beyond that
    10,000 resamples are drawn, always the same.
    """
    count = len(values)
    if count <= _EXACT:
        weighted = [
            (math.fsum(values[place] for place in picked) / count, _ways(picked))
            for picked in combinations_with_replacement(range(count), count)
        ]
    else:
        draw = random.Random(0)
        weighted = [(math.fsum(draw.choices(values, k=count)) / count, 1) for _ in range(_DRAWS)]
    weighted.sort()
    whole = sum(ways for _, ways in weighted)
    return _quantile(weighted, 0.025 * whole), _quantile(weighted, 0.975 * whole)


def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two intervals of :func:`summarize` have a point in common."""
    return one["low"] <= other["high"] and other["low"] <= one["high"]


def _ways(picked: tuple[int, ...]) -> int:
    """How many ordered draws give this selection."""
    ways = math.factorial(len(picked))
    for place in set(picked):
        ways //= math.factorial(picked.count(place))
    return ways


def _quantile(weighted: list[tuple[float, int]], level: float) -> float:
    passed = 0
    for value, ways in weighted:
        passed += ways
        if passed >= level:
            return value
    return weighted[-1][0]
