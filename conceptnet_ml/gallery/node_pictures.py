"""All pictures of one node of the concept graph, gathered for its strip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from conceptnet_ml.concepts.scores import unit_scores
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.drawing.cards import Card, dream_card, honesty_lines, three_digits
from conceptnet_ml.drawing.masks import SHARE, threshold
from conceptnet_ml.drawing.node_sheet import Example, FromReal, node_strip
from conceptnet_ml.drawing.sheets import Caption
from conceptnet_ml.dreams.judgement import Judgement, Standing
from conceptnet_ml.dreams.request import Dream
from conceptnet_ml.gallery.concept_targets import ConceptTarget, unit_maps
from conceptnet_ml.gallery.requests import Asked
from conceptnet_ml.gallery.sources import Real
from conceptnet_ml.network.training import predict_logits, to_float

SEARCHED, SHOWN = 1024, 5
"""Real images looked through for the best examples, and how many are shown."""


@dataclass(frozen=True)
class Best:
    """The real images that answer most to one node, best first, and the threshold of their masks; None for a class."""

    examples: list[Example]
    cutoff: float | None
    searched: int


def portrait(
    ask: Asked,
    rows: Sequence[tuple[Asked, Dream, Standing | None, Judgement | None]],
    best: Best,
) -> Image.Image:
    """The strip of a node: its dreams, and the real images that answer most, with masks where it has maps.

    Args:
        ask: What was asked of the node.
        rows: Its dreams; those from lent images show them beside themselves.
        best: Real images, none where there are none.

    Raises:
        ValueError: There is nothing to show at all.
    """
    node = ask.node
    assert node is not None
    free = next(((one, stands, judged) for asked, one, stands, judged in rows if asked.start is None), None)
    lent = [
        FromReal(asked.start or "", asked.wish.start, one.image)
        for asked, one, _, _ in rows
        if asked.wish.start is not None
    ]
    words = [node.kind, *([node.stage] if node.stage else []), *_speaks_for(ask)]
    return node_strip(
        node.title,
        " · ".join(words),
        free=None if free is None else Card(free[0].image, "", dream_card(free[0], *honesty_lines(*free[1:])).lines),
        from_real=lent,
        examples=best.examples,
        cutoff=best.cutoff,
        notes=_notes(rows, best),
    )


def best_examples(
    sought: Sequence[ConceptTarget],
    real: Real | None,
    classes: Sequence[str],
    device: torch.device,
    searched: int = SEARCHED,
) -> list[Best]:
    """The real images that answer most in their strongest tenth of places, their maps, and the masks' threshold.

    Args:
        sought: What they are to answer to, any number; those of one network and layer share its passes.
        real: The held-out ones are looked through; None for none.
        classes: Names, for the captions.
        device: Of the network.
        searched: How many are looked through.
    """
    if real is None or not len(real.held):
        return [Best([], None, 0)] * len(sought)
    images = real.some(searched)
    found: dict[int, Best] = {}
    groups: dict[tuple[int, str | None], list[int]] = {}
    for place, one in enumerate(sought):
        groups.setdefault((id(one.network), one.layer), []).append(place)
    for (_, layer), members in groups.items():
        values: dict[int, list[Tensor]] = {place: [] for place in members}
        network = sought[members[0]].network
        for part in torch.arange(len(images)).split(128):
            floats = to_float(images.take(part), device)
            with torch.no_grad():
                maps = (
                    predict_logits(network, floats, None) if layer is None else network.run_until(floats, layer).float()
                )
            for place in members:
                answer = _logit(sought[place], maps) if layer is None else unit_maps(sought[place], maps)
                values[place].append(answer.cpu())
        for place in members:
            found[place] = _best(torch.cat(values[place]), images, real.labels, classes)
    return [found[place] for place in range(len(sought))]


def _logit(sought: ConceptTarget, logits: Tensor) -> Tensor:
    (term,) = sought.objective.terms
    assert isinstance(term.vector, int)
    return logits[:, term.vector]


def _best(answers: Tensor, images: ImageSet, labels: Tensor | None, classes: Sequence[str]) -> Best:
    """Of the logits (N,) or maps (N, h, w) on these images, the strongest."""
    mapped = answers.ndim == 3
    scores = unit_scores(answers[:, None])[:, 0] if mapped else answers
    order = scores.argsort(descending=True)[:SHOWN]
    shown = images.take(order).cpu()
    examples = []
    for row, place in enumerate(order.tolist()):
        name = "" if labels is None else classes[int(labels[place])]
        # Of maps the strongest places count here and their mean in dreams: two figures nobody should compare.
        reached = "" if mapped else three_digits(float(scores[place]))
        examples.append(Example(f"{name} {reached}".strip(), shown[row], answers[place] if mapped else None))
    return Best(examples, threshold(answers) if mapped else None, len(images))


def _speaks_for(ask: Asked) -> list[str]:
    assert ask.node is not None
    names = ask.node.classes
    return [] if ask.node.kind == "class" or not names else [", ".join(names[:6]) + (" …" if len(names) > 6 else "")]


def _notes(rows: Sequence[tuple[Asked, Dream, Standing | None, Judgement | None]], best: Best) -> list[str | Caption]:
    notes: list[str | Caption] = []
    judged = [(ask, judgement) for ask, _, _, judgement in rows if judgement is not None]
    if judged:
        seen = Counter(one.seen for _, one in judged).most_common()
        shown = ", ".join(f"{name} in {count}" for name, count in seen[:6]) + (" …" if len(seen) > 6 else "")
        unlike = sum(one.unlike for _, one in judged)
        dreams = "dream" if len(judged) == 1 else "dreams"
        notes.append(
            f"Of these {len(judged)} {dreams}, an independently trained network sees {shown}; {unlike} "
            f"{'is' if unlike == 1 else 'are'} unlike the data to it."
        )
    if best.cutoff is not None:
        notes.append(f"Masks: the top {SHARE * 100:g} % of its activations over {best.searched:,} held-out images.")
    return notes
