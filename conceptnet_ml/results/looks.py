"""What an exchange takes, in words: where in the images of each class it lies and how it looks beside the rest.

A reader wants "low, dark" and not a number of units. Words are measured over held-out images, within the open gates
beside outside of them, and said only where the difference is plain; nothing here knows what people call a thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.graph.naming import listed
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import Round
from conceptnet_ml.swap.views import Swap

MOST = 256
"""Held-out images of a class that are looked at, at most."""

MOSTLY, ALONG = 0.5, 0.15
"""Share of the open places in one third of the image from which they lie there; width of the edge, in shares."""

DARKER, COLOURED, BUSIER, STEPS = 0.08, 0.08, 1.5, 0.02
"""Least difference of light (of 1) and of colour's distance from grey; least ratio of neighbours' differences, and the
least of these differences (of 1) on either side."""

_HUES = ("red", "yellow", "green", "turquoise", "blue", "purple")
_LUMA = (0.299, 0.587, 0.114)


def looks_of(ctx: Context, round: Round) -> list[dict[str, Any]]:
    """What a kept round exchanges, for each class: ``{"class": 0, "words": "low, dark", "share": 0.14}``; without the
    classes of which nothing plain can be said. Empty where it is not exchanged by places of coloured images."""
    swap = _inside_places(round)
    if swap is None or ctx.data.shape[0] != 3:
        return []
    found = []
    for number in range(ctx.classes):
        mine = ctx.held[ctx.labels[ctx.held] == number][:MOST]
        if not len(mine):
            continue
        images = ctx.data.train.take(mine).float().cpu() / 255
        gate = swap.open_gate(mine, (images.shape[2], images.shape[3]), torch.device("cpu"))
        assert gate is not None
        words = where_words(gate) + look_words(images, gate)
        if words:
            found.append({"class": number, "words": ", ".join(words), "share": float(gate.float().mean())})
    return found


def share_of(round: Round, numbers: Tensor) -> float | None:
    """The share of these images, by their numbers, that a kept round exchanges at places: of its own gates' cells, once
    they were purified and widened. None where it is not exchanged inside such gates."""
    swap = _inside_places(round)
    if swap is None or swap.gates is None:
        return None
    return float((swap.gates[numbers] > swap.threshold).float().mean())


def _inside_places(round: Round) -> Swap | None:
    """The swap of a kept round that exchanges what is inside gates of places; else None."""
    swap = round.swap
    inside = swap is not None and swap.gates is not None and swap.codec.gate == "place" and not swap.outside
    return swap if inside and round.decision == "kept" else None


def where_words(gate: Tensor) -> list[str]:
    """Where open gates, booleans (N, 1, H, W), lie: ``["low", "left"]``, ``["along the edge"]``; empty for all over."""
    mass = gate[:, 0].float().mean(0)
    total = float(mass.sum())
    if not total:
        return []
    height, width = mass.shape
    rows, columns = max(1, round(ALONG * height)), max(1, round(ALONG * width))
    inner = float(mass[rows : height - rows, columns : width - columns].sum()) / total
    if inner < 1 - (1 + MOSTLY) / 2:
        return ["along the edge"]
    found = []
    for sums, first, last in ((mass.sum(1), "high", "low"), (mass.sum(0), "left", "right")):
        third = len(sums) // 3
        shares = float(sums[:third].sum()) / total, float(sums[-third:].sum()) / total
        found += [first] * (shares[0] > MOSTLY) + [last] * (shares[1] > MOSTLY)
    return found


def look_words(images: Tensor, gate: Tensor) -> list[str]:
    """How floats (N, 3, H, W) look within the open gates beside outside: ``["dark", "red", "full of detail"]``."""
    inside = gate.float().expand_as(images)
    parts = [(images * one).sum((0, 2, 3)) / one.sum((0, 2, 3)).clamp_min(1) for one in (inside, 1 - inside)]
    light = [float(sum(w * value for w, value in zip(_LUMA, part, strict=True))) for part in parts]
    words = ["dark"] * (light[1] - light[0] >= DARKER) + ["bright"] * (light[0] - light[1] >= DARKER)
    tints = [part - part.mean() for part in parts]
    tint = tints[0] - tints[1]
    if float(tint.norm()) >= COLOURED and float(tints[0].norm()) >= COLOURED:
        words.append(_hue(tints[0]))
    steps = torch.zeros_like(images)
    steps[..., 1:] += (images[..., 1:] - images[..., :-1]).abs()
    steps[..., 1:, :] += (images[..., 1:, :] - images[..., :-1, :]).abs()
    here, there = (float((steps * one).sum() / one.sum().clamp_min(1)) for one in (inside, 1 - inside))
    if max(here, there) < STEPS:
        return words
    ratio = here / max(there, 1e-6)
    return words + ["full of detail"] * (ratio >= BUSIER) + ["plain"] * (ratio <= 1 / BUSIER)


def _hue(tint: Tensor) -> str:
    """The colour nearest to a tint (3,), the distance from grey."""
    red, green, blue = (float(value) for value in tint)
    angle = torch.atan2(torch.tensor(3**0.5 * (green - blue)), torch.tensor(2 * red - green - blue)) / (torch.pi / 3)
    return _HUES[round(float(angle)) % 6]


def looks_words(looks: Sequence[dict[str, Any]], classes: Sequence[str]) -> str:
    """``in car low, dark; in poodle bright``, of many the first four; ``low`` where it is so in all ``classes``. Empty
    where nothing is known."""
    found: dict[str, list[str]] = {}
    for one in looks:
        found.setdefault(one["words"], []).append(classes[one["class"]])
    if len(found) == 1 and len(looks) == len(classes):
        return str(looks[0]["words"])
    words = [f"in {listed(names, 4)} {said}" for said, names in found.items()]
    return "; ".join([*words[:4], *(["…"] if len(words) > 4 else [])])
