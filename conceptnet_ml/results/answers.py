"""Where the ordinary and the learned network answer differently: pictures, counts, and what each takes for what."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.drawing.layout import Box, Caption, below, draw, framed, grid, text
from conceptnet_ml.drawing.pictures import enlarge, to_image, to_png
from conceptnet_ml.network.training import predict_set
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import Learned

SHOWN, PAIRS = 4, 5
"""Pictures, and confused pairs of classes, of a test set that are kept."""

_HEAD, _SMALL = 15, 12


def compare_answers(ctx: Context, learned: Learned) -> dict[str, Any]:
    """Both networks' answers on every test set, for summary.json; a step. Empty where no round is kept: then they are
    one network. Cost: two passes over the test sets.

    Returns:
        ``{"sets": {name: {"differ": n, "won": n, "lost": n, "confused": [[class, answer, ordinary, learned], …]}},
        "picture": path}``: won are images that only the learned network answers rightly, lost those that only the
        ordinary does; the two numbers are how often each network takes the class for the other, the worst pairs first.
        The picture is a sheet with a heading for each set, None where no answer differs.
    """
    if not any(round.decision == "kept" for round in learned.rounds):
        return {}
    tests = ctx.data.tests
    compared = ctx.once(
        "answers", lambda: {name: _compare(ctx, learned.ordinary, learned.network, tests[name]) for name in tests}
    )
    sets, boxes = {}, []
    for name, found in compared.items():
        sets[name] = {key: found[key] for key in ("differ", "won", "lost", "confused")}
        if tiles := [_tile(tests[name], row, ctx.data.classes) for row in found["shown"]]:
            boxes.append(below([text(name, _HEAD), grid([tiles], gap=16)], gap=8))
    if not boxes:
        return {"sets": sets, "picture": None}
    sheet = to_png(draw(below(boxes, gap=24)))
    return {"sets": sets, "picture": ctx.run.save_picture("answers.png", sheet)}


def _compare(ctx: Context, ordinary: nn.Module, learned: nn.Module, images: ImageSet) -> dict[str, Any]:
    labels = images.labels
    before, after = (predict_set(one, images, ctx.device, ctx.dtype).argmax(1) for one in (ordinary, learned))
    won, lost = (after == labels) & (before != labels), (before == labels) & (after != labels)
    # Half of the places are for what was lost, however seldom that is, and more where less was won; taken evenly from
    # the set, not the worst first.
    some = _evenly(won, SHOWN - min(SHOWN // 2, int(lost.sum())))
    some += _evenly(lost, SHOWN - len(some))
    return {
        "differ": int((before != after).sum()),
        "won": int(won.sum()),
        "lost": int(lost.sum()),
        "confused": _confused(labels, (before, after), ctx.data.classes),
        "shown": [[place, int(labels[place]), int(before[place]), int(after[place])] for place in some],
    }


def _evenly(chosen: Tensor, count: int) -> list[int]:
    """So many of the places that are True, evenly spread."""
    places = chosen.nonzero()[:, 0]
    if len(places) > count:
        places = places[torch.linspace(0, len(places) - 1, count).round().long()]
    return [int(place) for place in places]


def _confused(labels: Tensor, seen: tuple[Tensor, Tensor], classes: tuple[str, ...]) -> list[list[Any]]:
    counts = [Counter(zip(labels.tolist(), answers.tolist(), strict=True)) for answers in seen]
    wrong = sorted({pair for count in counts for pair in count if pair[0] != pair[1]})
    wrong.sort(key=lambda pair: -max(count[pair] for count in counts))
    return [[*(classes[one] for one in pair), *(count[pair] for count in counts)] for pair in wrong[:PAIRS]]


def _tile(images: ImageSet, row: list[int], classes: tuple[str, ...]) -> Box:
    place, label, *answers = row
    image = enlarge(to_image(images.take(torch.tensor([place]))[0].cpu()))
    words = [Caption(classes[label])]
    for network, answer in zip(("ordinary", "learned"), answers, strict=True):
        words.append(Caption(f"{network}: {classes[answer]}", "right" if answer == label else "wrong"))
    return below([framed(image), *(text(line, _SMALL, room=image.width) for line in words)], gap=4)
