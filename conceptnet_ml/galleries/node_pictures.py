"""The pictures of one node of the concept graph: its dreams, and the real images that activate it most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from conceptnet_ml.concepts.scores import unit_scores
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.drawing.cards import Card, dream_card, three_digits
from conceptnet_ml.drawing.layout import Caption
from conceptnet_ml.drawing.masks import SHARE, threshold
from conceptnet_ml.drawing.node_sheet import Example, node_strip
from conceptnet_ml.galleries.concept_targets import ConceptTarget, activation_maps
from conceptnet_ml.galleries.requests import DreamResult
from conceptnet_ml.galleries.sources import RealImages
from conceptnet_ml.graph.schema import Node
from conceptnet_ml.network.training import predict_logits, to_float

SEARCHED, SHOWN = 1024, 5
"""Real images searched for the best examples, and how many are shown."""


@dataclass(frozen=True)
class BestExamples:
    """The real images that activate one node most, best first, and the threshold of their masks; None for a class."""

    examples: list[Example]
    cutoff: float | None
    searched: int


def draw_node(node: Node, results: Sequence[DreamResult], best: BestExamples) -> Image.Image:
    """The strip of a node: its dreams, those from real images beside these, and the best real images, with masks where
    it has maps."""
    free = next((one for one in results if one.plan.start is None), None)
    lent = [
        Card(one.dream.image, one.plan.start or "", start=one.plan.request.start)
        for one in results
        if one.plan.request.start is not None
    ]
    names = () if node.kind == "class" else node.classes
    shown = [", ".join(names[:6]) + (" …" if len(names) > 6 else "")] if names else []
    return node_strip(
        node.title,
        " · ".join([node.kind, *([node.stage] if node.stage else []), *shown]),
        free=None if free is None else replace(result_card(free), name=""),
        from_real=lent,
        examples=best.examples,
        cutoff=best.cutoff,
        notes=_notes(results, best),
    )


def result_card(result: DreamResult, *lines: Caption) -> Card:
    """A dream's card: these lines, then its rank and judgement."""
    return dream_card(result.dream, *lines, rank=result.rank, judgement=result.judgement)


def best_examples(
    targets: Sequence[ConceptTarget], real: RealImages | None, classes: Sequence[str], device: torch.device
) -> list[BestExamples]:
    """For each target the images, of the first :data:`SEARCHED` held-out ones, whose mean over its strongest tenth of
    places is highest. Targets of one network and layer share its passes; the classes' names are for the captions."""
    if real is None or not len(real.held):
        return [BestExamples([], None, 0)] * len(targets)
    images = real.first_held(SEARCHED)
    found: dict[int, BestExamples] = {}
    groups: dict[tuple[int, str | None], list[int]] = {}
    for number, target in enumerate(targets):
        groups.setdefault((id(target.network), target.layer), []).append(number)
    for (_, layer), members in groups.items():
        values: dict[int, list[Tensor]] = {number: [] for number in members}
        network = targets[members[0]].network
        for part in torch.arange(len(images)).split(128):
            floats = to_float(images.take(part), device)
            with torch.no_grad():
                maps = (
                    predict_logits(network, floats, None) if layer is None else network.run_until(floats, layer).float()
                )
            for number in members:
                values[number].append(activation_maps(targets[number], maps).cpu())
        for number in members:
            found[number] = _best(torch.cat(values[number]), images, real.labels, classes)
    return [found[number] for number in range(len(targets))]


def _best(activations: Tensor, images: ImageSet, labels: Tensor | None, classes: Sequence[str]) -> BestExamples:
    """The strongest of logits (N,) or maps (N, h, w) on these images."""
    mapped = activations.ndim == 3
    scores = unit_scores(activations[:, None])[:, 0] if mapped else activations
    order = scores.argsort(descending=True)[:SHOWN]
    shown = images.take(order).cpu()
    examples = []
    for row, place in enumerate(order.tolist()):
        name = "" if labels is None else classes[int(labels[place])]
        # A map's score is the mean of its strongest places, a dream's of all: the two must not be compared.
        reached = "" if mapped else three_digits(float(scores[place]))
        examples.append(Example(f"{name} {reached}".strip(), shown[row], activations[place] if mapped else None))
    return BestExamples(examples, threshold(activations) if mapped else None, len(images))


def _notes(results: Sequence[DreamResult], best: BestExamples) -> list[str | Caption]:
    notes: list[str | Caption] = []
    judged = [one.judgement for one in results if one.judgement is not None]
    if judged:
        seen = Counter(one.seen for one in judged).most_common()
        shown = ", ".join(f"{name} in {count}" for name, count in seen[:6]) + (" …" if len(seen) > 6 else "")
        unlike = sum(one.unlike for one in judged)
        dreams = "dream" if len(judged) == 1 else "dreams"
        notes.append(
            f"Of these {len(judged)} {dreams}, an independently trained network sees {shown}; {unlike} "
            f"{'is' if unlike == 1 else 'are'} unlike the data to it."
        )
    if best.cutoff is not None:
        notes.append(f"Masks: the top {SHARE * 100:g} % of its activations over {best.searched:,} held-out images.")
    return notes
