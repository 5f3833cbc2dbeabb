"""What a gallery and the album of a run share: dream, compare with real images, judge, draw, record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from conceptnet_ml.concepts.scores import unit_scores
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.drawing.layout import Caption
from conceptnet_ml.drawing.masks import SHARE, threshold
from conceptnet_ml.drawing.node_sheet import AFTER, BEFORE, MEANS, Example, node_strip
from conceptnet_ml.drawing.sheets import NEVER_ROSE, Card, dream_card, three_digits
from conceptnet_ml.dreams.judgement import ActivationRank, Judgement, Witness, activation_rank, seen_words
from conceptnet_ml.dreams.recipe import Recipe
from conceptnet_ml.dreams.render import RenderSession, RenderSettings, dream, scores
from conceptnet_ml.dreams.request import Dream
from conceptnet_ml.galleries.requests import DreamResult, PlannedDream
from conceptnet_ml.galleries.sources import RealImages
from conceptnet_ml.graph.naming import called
from conceptnet_ml.graph.schema import Node
from conceptnet_ml.network.basis import without_basis
from conceptnet_ml.network.training import predict_logits, to_float
from conceptnet_ml.results.concept_targets import ConceptTarget, activation_maps, own_answers

SEARCHED, SHOWN = 1024, 5
"""Real images searched for the best examples, and how many are shown."""

SETS, MEASURED = 6, 2048
"""Sets of real images, and classes of each, at most, whose means of a feature are given before and after its round; and
about how many images are looked at for them."""


def render_all(
    plans: Sequence[PlannedDream],
    recipes: Mapping[str, Recipe],
    settings: RenderSettings,
    session: RenderSession,
    on_done: Callable[[PlannedDream, Dream], None],
) -> None:
    """Dream all plans, those of one network, recipe and size together, as one piece of work for who watches; each is
    reported as soon as it is found or made.

    The recipes are by the dreamers' names; the settings' size is that of dreams from noise.
    """
    groups: dict[Any, list[PlannedDream]] = {}
    for plan in plans:
        start = plan.request.start
        size = settings.size if start is None else (int(start.shape[1]), int(start.shape[2]))
        groups.setdefault((size, id(plan.target.network), plan.dreamer), []).append(plan)
    if not groups:
        return
    with session.progress.task(session.label, total=sum(_steps(recipes[plan.dreamer]) for plan in plans)) as task:
        for (size, _, dreamer), members in groups.items():

            def report(place: int, done: Dream, members: list[PlannedDream] = members) -> None:
                on_done(members[place], done)

            requests = [plan.request for plan in members]
            own = replace(session, task=task, on_done=report)
            dream(members[0].target.network, requests, recipes[dreamer], replace(settings, size=size), own)


def _steps(recipe: Recipe) -> int:
    return recipe.steps * recipe.octaves


def compare_dreams(
    plans: Sequence[PlannedDream],
    dreams: Mapping[PlannedDream, Dream],
    real: Tensor | None,
    witness: Witness | None,
    settings: RenderSettings,
    batch: int | None = None,
) -> list[DreamResult]:
    """The plans that were dreamed, in their order, with ranks among real images, uint8 (N, C, H, W), and the witness's
    judgements, ``batch`` dreams at a time: 1 where their sizes differ, None for all."""
    made = [plan for plan in plans if plan in dreams]
    ranks = {} if real is None else _ranks(dreams, real, settings)
    judgements: dict[PlannedDream, Judgement] = {}
    step = batch or max(1, len(made))
    for part in (made[at : at + step] for at in range(0, len(made), step)):
        if witness is not None:
            images = torch.stack([dreams[plan].image for plan in part])
            judged = witness.judge(images, [plan.request.objective.expects for plan in part])
            judgements |= zip(part, judged, strict=True)
    return [DreamResult(plan, dreams[plan], ranks.get(plan), judgements.get(plan)) for plan in made]


def draw_nodes(
    plans: Sequence[PlannedDream],
    results: Sequence[DreamResult],
    real: RealImages | None,
    classes: Sequence[str],
    tests: Mapping[str, ImageSet] = MappingProxyType({}),
) -> Iterator[tuple[str, Image.Image, list[str]]]:
    """Id and picture of every node that was planned, also where none of its dreams was made: its dreams, and the best
    of the real images, with the names of their classes; and what these images themselves are called. Of a feature that
    is dreamed of in two networks, what it comes to on real images in both: on these test sets, else on the held-out
    images."""
    nodes = {plan.node.id: (plan.node, plan.target) for plan in plans if plan.node is not None and not plan.after}
    made = {one.plan.node.id for one in results if one.plan.after and one.plan.node is not None}
    both = [one.plan for one in results if one.plan.start is None and one.plan.node and one.plan.node.id in made]
    sets = tests or ({} if real is None or not real.labelled else {"held out": real.held})
    means = _class_means(both, sets, classes)
    best = _best_examples([target for _, target in nodes.values()], real, classes)
    for identifier, (node, target) in nodes.items():
        own = [one for one in results if one.plan.node is not None and one.plan.node.id == identifier]
        names = [real.names[place] for place in best[target].places] if real is not None and real.names else []
        yield identifier, _draw_node(node, target, own, best[target], means), names


def verdict_record(verdict: ActivationRank | Judgement | None, *more: str) -> dict[str, Any] | None:
    """A rank or a judgement as plain values, with these properties of it, and in words."""
    if verdict is None:
        return None
    return {**asdict(verdict), **{name: getattr(verdict, name) for name in more}, "words": verdict.phrase}


def _ranks(
    dreams: Mapping[PlannedDream, Dream], real: Tensor, settings: RenderSettings
) -> dict[PlannedDream, ActivationRank]:
    """Without dreams whose objective is finite on no real image; those of one network share its passes."""
    networks: dict[int, list[PlannedDream]] = {}
    for plan in dreams:
        networks.setdefault(id(plan.target.network), []).append(plan)
    found: dict[PlannedDream, ActivationRank] = {}
    for plans in networks.values():
        objectives = {plan.request.objective.key: plan.request.objective for plan in plans}
        table = scores(plans[0].target.network, list(objectives.values()), real, settings)
        columns = dict(zip(objectives, table.T, strict=True))
        for plan in plans:
            values = columns[plan.request.objective.key]
            if bool(values.isfinite().any()):
                one = dreams[plan]
                shown = (one.before, one.outcome) if one.outcome in NEVER_ROSE else (one.reached, "")
                found[plan] = activation_rank(shown[0], values, shown[1])
    return found


@dataclass(frozen=True)
class _BestExamples:
    """The real images that activate one node most, best first, with their places among the held-out ones; the threshold
    of their masks, None for a class; and how many of those searched a variant answers, None for other nodes."""

    examples: list[Example]
    cutoff: float | None
    searched: int
    places: list[int] = field(default_factory=list)
    answered: int | None = None


def _draw_node(
    node: Node,
    target: ConceptTarget,
    results: Sequence[DreamResult],
    best: _BestExamples,
    means: Mapping[PlannedDream, Sequence[str]],
) -> Image.Image:
    """The strip of a node: its dreams, those from real images beside these, and the best real images, with masks where
    it has maps; ``means`` are lines on real images before and after its round."""
    free = next((one for one in results if one.plan.start is None and not one.plan.after), None)
    after = next((one for one in results if one.plan.after), None)
    card = None if free is None else replace(result_card(free), name="")
    if free is not None and after is not None:
        first, second = (
            replace(card, name=name, lines=[*card.lines, *means.get(one.plan, ())])
            for one, name in ((free, BEFORE), (after, AFTER))
            for card in (result_card(one),)
        )
        card = replace(first, after=second)
    lent = [
        Card(one.dream.image, one.plan.start or "", start=one.plan.request.start)
        for one in results
        if one.plan.request.start is not None
    ]
    names = () if node.kind == "class" else node.classes
    shown = [", ".join(names[:6]) + (" …" if len(names) > 6 else "")] if names else []
    return node_strip(
        called(node),
        " · ".join([node.kind, *([node.stage] if node.stage else []), *shown]),
        free=card,
        from_real=lent,
        examples=best.examples,
        cutoff=best.cutoff,
        notes=[_where(target), *_notes([one for one in results if not one.plan.after], best)],
    )


def result_card(result: DreamResult, *lines: Caption) -> Card:
    """A dream's card: these lines, then its rank and judgement."""
    judged = [one.judgement for one in (result, *result.starts) if one.judgement is not None]
    seen = seen_words(judged) if judged else ""
    return dream_card(result.dream, *lines, rank=result.rank, judgement=result.judgement, seen=seen)


def join_starts(results: Sequence[DreamResult]) -> list[DreamResult]:
    """Further starts of a dream at the first one, no longer by themselves."""
    again = [one for one in results if one.plan.again]
    return [
        replace(one, starts=tuple(other for other in again if other.plan.target is one.plan.target))
        if one.plan.start is None
        else one
        for one in results
        if not one.plan.again
    ]


def _best_examples(
    targets: Sequence[ConceptTarget], real: RealImages | None, classes: Sequence[str]
) -> dict[ConceptTarget, _BestExamples]:
    """For each target the best of the first :data:`SEARCHED` held-out images. Targets of one network and layer share
    its passes; the classes' names are for the captions."""
    if real is None or not len(real.held):
        return dict.fromkeys(targets, _BestExamples([], None, 0))
    images, names = real.first_held(SEARCHED), classes if real.labelled else ()
    found: dict[ConceptTarget, _BestExamples] = {}
    groups: dict[tuple[int, str | None], list[ConceptTarget]] = {}
    for target in targets:
        groups.setdefault((id(target.network), target.layer), []).append(target)
    for (_, layer), members in groups.items():
        values: dict[ConceptTarget, list[Tensor]] = {target: [] for target in members}
        answers: dict[ConceptTarget, list[tuple[Tensor, Tensor]]] = {target: [] for target in members}
        network = members[0].network
        for part in torch.arange(len(images)).split(128):
            floats = to_float(images.take(part), without_basis(network).mean.device)
            with torch.no_grad():
                if layer is None:
                    maps = predict_logits(network, floats, None)
                else:
                    maps = network.run_until(floats, layer).float()
            for target in members:
                values[target].append(activation_maps(target, maps).cpu())
                if (own := own_answers(target, maps)) is not None:
                    answers[target].append((own[0].cpu(), own[1].cpu()))
        for target, parts in values.items():
            joined = tuple(torch.cat(column) for column in zip(*answers[target], strict=True))
            found[target] = _best(torch.cat(parts), joined, images, names)
    return found


def _best(activations: Tensor, own: tuple[Tensor, ...], images: ImageSet, classes: Sequence[str]) -> _BestExamples:
    """The strongest of logits (N,), or of maps (N, h, w) by the mean over their strongest tenth of places, on these
    images; of a variant by its own responses, among the images that it answers. No classes where labels say nothing."""
    mapped = activations.ndim == 3
    scores = unit_scores(activations[:, None])[:, 0] if mapped else activations
    numbers = torch.arange(len(images))
    answers = None
    if own:
        scores, answered = own
        answers = int(answered.sum())
        numbers = answered.nonzero()[:, 0] if answers else numbers
    order = numbers[scores[numbers].argsort(descending=True)[:SHOWN]]
    shown = images.take(order).cpu()
    examples = []
    for row, place in enumerate(order.tolist()):
        name = classes[int(images.labels[place])] if classes else ""
        # A map's score is the mean of its strongest places, a dream's of all: the two must not be compared.
        reached = "" if mapped and not own else three_digits(float(scores[place]))
        examples.append(Example(f"{name} {reached}".strip(), shown[row], activations[place] if mapped else None))
    cutoff = threshold(activations) if mapped else None
    return _BestExamples(examples, cutoff, len(images), order.tolist(), answers)


def _where(target: ConceptTarget) -> str | Caption:
    """The network in which all of it was drawn."""
    if target.lost:
        return Caption("Drawn in the learned network: this run does not keep the one it was found in.", "wrong")
    if target.round is None:
        return f"Drawn in {target.where}."
    stage, _, number = target.round.split("/")
    return f"Drawn in the network before round {number} at {stage}, in which it was found."


def _class_means(
    plans: Sequence[PlannedDream], sets: Mapping[str, ImageSet], classes: Sequence[str]
) -> dict[PlannedDream, list[str]]:
    """The mean of each plan's objective over the images of each class, a line for each set, at most :data:`SETS`: the
    same measure as a dream's. Plans of one network share its passes, over about :data:`MEASURED` images."""
    shown = [(name, images) for name, images in sets.items() if len(images)][:SETS]
    if not plans or not shown:
        return {}
    parts = [(name, images, images.labels.unique().tolist()[:SETS]) for name, images in shown]
    most = max(16, MEASURED // sum(len(numbers) for _, _, numbers in parts))
    networks: dict[int, list[PlannedDream]] = {}
    for plan in plans:
        networks.setdefault(id(plan.target.network), []).append(plan)
    found = {plan: [MEANS] for plan in plans}
    for members in networks.values():
        objectives = [plan.target.objective for plan in members]
        for name, images, numbers in parts:
            means = []
            for number in numbers:
                own = (images.labels == number).nonzero()[:, 0]
                pixels = images.take(own[:: -(-len(own) // most)])
                means.append(scores(members[0].target.network, objectives, pixels).mean(0).tolist())
            more = " …" if len(images.labels.unique()) > len(numbers) else ""
            for plan, column in zip(members, zip(*means, strict=True), strict=True):
                each = (f"{classes[n]} {three_digits(mean)}" for n, mean in zip(numbers, column, strict=True))
                found[plan].append(f"{name}: {', '.join(each)}{more}")
    return found


def _notes(results: Sequence[DreamResult], best: _BestExamples) -> list[str | Caption]:
    notes: list[str | Caption] = []
    judged = [one.judgement for one in results if one.judgement is not None]
    if judged:
        seen = Counter(one.seen for one in judged).most_common()
        shown = ", ".join(f"{name} in {count}" for name, count in seen[:6]) + (" …" if len(seen) > 6 else "")
        unlike = sum(one.unlike for one in judged)
        dreams = "dream" if len(judged) == 1 else "dreams"
        seeds = ", ".join(str(seed) for seed in sorted({one.dream.seed for one in results}))
        notes.append(
            f"Of these {len(judged)} {dreams} (seed {seeds}), an independently trained network sees {shown}; {unlike} "
            f"{'is' if unlike == 1 else 'are'} unlike the data to it."
        )
    if best.answered is not None:
        notes.append(
            f"Its family answers {best.answered:,} of {best.searched:,} held-out images with it; here the strongest."
            if best.answered
            else f"Its family answers none of {best.searched:,} held-out images with it; here the nearest."
        )
    if best.cutoff is not None:
        whose = "its activations" if best.answered is None else "its family's detector"
        notes.append(f"Masks: the top {SHARE * 100:g} % of {whose} over {best.searched:,} held-out images.")
    return notes
