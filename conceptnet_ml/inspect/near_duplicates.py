"""Near-duplicates across classes and between training images and test sets, by difference hashes and thumbnails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

RADIUS = 10
"""Bits of 64 in which the hashes of near-duplicates differ at most."""

ALIKE = 0.97
"""Least correlation of their thumbnails, which tells what hashes alone confuse. Both were chosen on photographs that
were stored once more (docs/decisions/0047-inspect.md)."""

MOST = 100_000
"""Pairs after which no more are looked for."""

_CHUNK = 1024
_DENSE = 0.02  # share of hashes that are near, beyond which all thumbnails are compared at once: a product is cheaper


@dataclass(frozen=True)
class AlikePair:
    """Two images: a training image, and another one or one of the test set ``found_in``."""

    train: int
    other: int
    found_in: str


@dataclass(frozen=True)
class NearDuplicates:
    """What was found.

    Args:
        pairs: All pairs, of training images each once.
        within: Training images that have a near-duplicate of their own class in training.
        across: Training images that have one of another class in training: one of the two labels is wrong.
        leaked: Of each test set how many images have one in training, and how many of these under another class.
        complete: Whether all pairs were looked for.
    """

    pairs: tuple[AlikePair, ...]
    within: int
    across: int
    leaked: Mapping[str, tuple[int, int]]
    complete: bool


Hashed = tuple[Tensor, Tensor, Tensor]
"""Hashes int8 ±1 (N, 64) and thumbnails float (N, D) of :func:`~.pixel_measures.thumbnails`; labels (N,)."""


def find_duplicates(
    train: Hashed, tests: Mapping[str, Hashed], advance: Callable[[float], None] = lambda images: None
) -> NearDuplicates:
    """Compare all training images with each other and with those of every test set.

    Args:
        advance: Told how many training images were compared with a set.

    Cost: 128 operations for each pair of images: three seconds for 10,000 training images and 2,000 others.
    """
    labels, pairs, leaked = train[2], list[AlikePair](), {}
    places, complete = _alike(train, train, True, advance)
    pairs += [AlikePair(a, b, "train") for a, b in places]
    same, other = set[int](), set[int]()
    for a, b in places:
        (same if labels[a] == labels[b] else other).update((a, b))
    for name, test in tests.items():
        places, whole = _alike(train, test, False, advance)
        complete &= whole
        pairs += [AlikePair(a, b, name) for a, b in places]
        seen = {b for _, b in places}
        agreeing = {b for a, b in places if labels[a] == test[2][b]}
        leaked[name] = (len(seen), len(seen - agreeing))
    return NearDuplicates(tuple(pairs), len(same), len(other), leaked, complete)


def _alike(
    left: Hashed, right: Hashed, own: bool, advance: Callable[[float], None]
) -> tuple[list[tuple[int, int]], bool]:
    """Positions of pairs that are near-duplicates, and whether these are all; of one set with itself each pair once."""
    signs, others = left[0].float(), right[0].float()
    thumbs, other_thumbs = _normalised(left[1]), _normalised(right[1])
    found: list[tuple[int, int]] = []
    for start in range(0, len(signs), _CHUNK):
        part = slice(start, start + _CHUNK)
        near = signs[part] @ others.T >= 64 - 2 * RADIUS
        if near.float().mean() > _DENSE:
            near &= thumbs[part] @ other_thumbs.T >= ALIKE
        rows, columns = torch.nonzero(near, as_tuple=True)
        rows = rows + start
        if own:
            rows, columns = rows[columns > rows], columns[columns > rows]
        for some in torch.arange(len(rows)).split(_CHUNK * 16):
            a, b = rows[some], columns[some]
            kept = (thumbs[a] * other_thumbs[b]).sum(1) >= ALIKE
            found += list(zip(a[kept].tolist(), b[kept].tolist(), strict=True))
            if len(found) >= MOST:
                return found[:MOST], False
        advance(min(_CHUNK, len(signs) - start))
    return found, True


def _normalised(thumbs: Tensor) -> Tensor:
    """Thumbnails less the mean of each, of length 1; all that are of one even colour are alike."""
    centred = thumbs - thumbs.mean(1, keepdim=True)
    centred[:, 0] += 1e-3
    return centred / centred.norm(dim=1, keepdim=True)
