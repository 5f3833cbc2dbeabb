"""What a gallery and the album of a run share: dream, compare with real images, judge, draw, record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from conceptnet_ml.dreams.judgement import ActivationRank, Judgement, Witness, activation_rank
from conceptnet_ml.dreams.recipe import Recipe
from conceptnet_ml.dreams.render import RenderSession, RenderSettings, dream, scores
from conceptnet_ml.dreams.request import Dream
from conceptnet_ml.galleries.node_pictures import best_examples, draw_node
from conceptnet_ml.galleries.requests import DreamResult, PlannedDream
from conceptnet_ml.galleries.sources import RealImages


def render_all(
    plans: Sequence[PlannedDream],
    recipes: Mapping[str, Recipe],
    settings: RenderSettings,
    session: RenderSession,
    on_done: Callable[[PlannedDream, Dream], None],
) -> None:
    """Dream all plans, those of one network, recipe and size together; each is reported as soon as it is found or made.

    The recipes are by the dreamers' names; the settings' size is that of dreams from noise.
    """
    groups: dict[Any, list[PlannedDream]] = {}
    for plan in plans:
        start = plan.request.start
        size = settings.size if start is None else (int(start.shape[1]), int(start.shape[2]))
        groups.setdefault((size, id(plan.target.network), plan.dreamer), []).append(plan)
    for (size, _, dreamer), members in groups.items():

        def report(place: int, done: Dream, members: list[PlannedDream] = members) -> None:
            on_done(members[place], done)

        requests = [plan.request for plan in members]
        own = replace(session, on_done=report)
        dream(members[0].target.network, requests, recipes[dreamer], replace(settings, size=size), own)


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
    device: torch.device,
) -> Iterator[tuple[str, Image.Image]]:
    """Id and picture of every node that was planned, also where none of its dreams was made: its dreams, and the best
    of the real images, with the names of their classes."""
    nodes: dict[str, PlannedDream] = {}
    for plan in plans:
        if plan.node is not None:
            nodes.setdefault(plan.node.id, plan)
    best = best_examples([plan.target for plan in nodes.values()], real, classes, device)
    for (identifier, plan), examples in zip(nodes.items(), best, strict=True):
        own = [one for one in results if one.plan.node is not None and one.plan.node.id == identifier]
        assert plan.node is not None
        yield identifier, draw_node(plan.node, own, examples)


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
                found[plan] = activation_rank(dreams[plan].reached, values)
    return found
