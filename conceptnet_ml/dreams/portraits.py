"""All pictures of one node of the concept graph, gathered for its strip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from PIL import Image

from conceptnet_ml.dreams.masks import SHARE, threshold
from conceptnet_ml.dreams.nodes import unit_maps
from conceptnet_ml.dreams.sheets import Card, card, honest_lines, number
from conceptnet_ml.dreams.strips import Example, FromReal, node_strip
from conceptnet_ml.finding import unit_scores
from conceptnet_ml.pictures import Caption
from conceptnet_ml.training import predict, to_float

if TYPE_CHECKING:
    from conceptnet_ml.dreams.asking import Asked
    from conceptnet_ml.dreams.engine import Dream
    from conceptnet_ml.dreams.honesty import Judgement, Standing
    from conceptnet_ml.dreams.nodes import Sought
    from conceptnet_ml.dreams.subjects import Real

SEARCHED, SHOWN = 1024, 5
"""Real images looked through for the best examples, and how many are shown."""


def portrait(
    rows: Sequence[tuple[Asked, Dream, Standing | None, Judgement | None]],
    classes: Sequence[str],
    real: Real | None,
    device: torch.device,
) -> Image.Image:
    """The strip of a node: its dreams, and the real images that answer most, with masks where it has maps.

    Args:
        rows: Its dreams; those from lent images show them beside themselves.
        classes: Names.
        real: Where examples are looked for; None for none.
        device: Of the network.
    """
    first = rows[0][0]
    assert first.node is not None
    assert first.sought is not None
    free = next(((ask, one, stands, judged) for ask, one, stands, judged in rows if ask.start is None), None)
    lent = [
        FromReal(ask.start or "", ask.wish.start, one.image) for ask, one, _, _ in rows if ask.wish.start is not None
    ]
    examples, cutoff = ([], None) if real is None else best_examples(first.sought, real, classes, device)
    words = [first.node.kind, *([first.node.stage] if first.node.stage else []), *_speaks_for(first)]
    return node_strip(
        first.node.title,
        " · ".join(words),
        free=None if free is None else Card(free[1].image, "", card(free[1], *honest_lines(*free[2:])).lines),
        from_real=lent,
        examples=examples,
        cutoff=cutoff,
        notes=_notes(rows, real, cutoff),
    )


def best_examples(
    sought: Sought, real: Real, classes: Sequence[str], device: torch.device, searched: int = SEARCHED
) -> tuple[list[Example], float | None]:
    """The real images that answer most in their strongest tenth of places, their maps, and the masks' threshold.

    Args:
        sought: What they are to answer to.
        real: The held-out ones are looked through.
        classes: Names, for the captions.
        device: Of the network.
        searched: How many are looked through.

    Returns:
        Best first; the threshold is None for a class, which has no maps.
    """
    images = real.some(searched)
    if not len(images):
        return [], None
    values, maps = [], []
    for places in torch.arange(len(images)).split(128):
        floats = to_float(images.take(places), device)
        found = unit_maps(sought, floats)
        if found is None:
            (term,) = sought.target.terms
            values.append(predict(sought.network, floats, None)[:, int(term.vector)].cpu())  # type: ignore[arg-type]
        else:
            maps.append(found.cpu())
            values.append(unit_scores(found[:, None])[:, 0].cpu())
    scores = torch.cat(values)
    cutoff = threshold(torch.cat(maps)) if maps else None
    best = scores.argsort(descending=True)[:SHOWN]
    shown = images.take(best).cpu()
    every = torch.cat(maps) if maps else None
    examples = []
    for row, place in enumerate(best.tolist()):
        name = "" if real.labels is None else f"{classes[int(real.labels[place])]} "
        examples.append(
            Example(f"{name}{number(float(scores[place]))}", shown[row], None if every is None else every[place])
        )
    return examples, cutoff


def _speaks_for(ask: Asked) -> list[str]:
    assert ask.node is not None
    names = ask.node.classes
    return [] if ask.node.kind == "class" or not names else [", ".join(names[:6]) + (" …" if len(names) > 6 else "")]


def _notes(
    rows: Sequence[tuple[Asked, Dream, Standing | None, Judgement | None]], real: Real | None, cutoff: float | None
) -> list[str | Caption]:
    notes: list[str | Caption] = []
    judged = [(ask, judgement) for ask, _, _, judgement in rows if judgement is not None]
    if judged:
        seen = ", ".join(f"{'free' if ask.start is None else 'on ' + ask.start}: {one.seen}" for ask, one in judged)
        unlike = sum(one.unlike for _, one in judged)
        notes.append(f"What an independently trained network sees: {seen}. {unlike} of {len(judged)} unlike the data.")
    if cutoff is not None and real is not None:
        searched = min(SEARCHED, len(real.held))
        notes.append(f"Masks: the top {SHARE:.0%} of its activations over {searched:,} held-out images.")
    return notes
