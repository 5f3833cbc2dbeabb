"""What a gallery and the album of a run share: dream, compare with real images, judge, draw, record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from conceptnet_ml.network.basis import Network

Plans = Mapping[int, PlannedDream]
"""Planned dreams by number; everything about one of them is kept under the same number."""


def render_all(
    plans: Plans, recipes: Mapping[str, Recipe], settings: RenderSettings, session: RenderSession
) -> dict[int, Dream]:
    """Dream all plans; those of one network, recipe and size together.

    Args:
        plans: What to dream.
        recipes: By the dreamers' names.
        settings: ``size`` is that of dreams from noise.
        session: ``on_done`` is called with a plan's number.
    """
    groups: dict[Any, list[int]] = {}
    for number, plan in plans.items():
        start = plan.request.start
        size = settings.size if start is None else (int(start.shape[1]), int(start.shape[2]))
        groups.setdefault((size, id(plan.target.network), plan.dreamer), []).append(number)
    found: dict[int, Dream] = {}
    for (size, _, dreamer), numbers in groups.items():

        def on_done(place: int, done: Dream, numbers: list[int] = numbers) -> None:
            found[numbers[place]] = done
            session.on_done(numbers[place], done)

        network = plans[numbers[0]].target.network
        requests = [plans[number].request for number in numbers]
        dream(network, requests, recipes[dreamer], replace(settings, size=size), replace(session, on_done=on_done))
    return found


def compare_dreams(
    plans: Plans,
    dreams: Mapping[int, Dream],
    real: Tensor | None,
    witness: Witness | None,
    settings: RenderSettings,
    batch: int | None = None,
) -> dict[int, DreamResult]:
    """Dreams with their ranks among real images and the witness's judgements, in the order of their numbers.

    Args:
        plans, dreams: What was dreamed.
        real: uint8 (N, C, H, W), None for no ranks.
        witness: None for no judgements.
        settings: Device and type.
        batch: Dreams that the witness sees at a time; must be 1 where their sizes differ. None: all.
    """
    numbers = sorted(dreams)
    ranks = {} if real is None else _ranks(plans, dreams, real, settings)
    judgements: dict[int, Judgement] = {}
    step = batch or max(1, len(numbers))
    for part in (numbers[at : at + step] for at in range(0, len(numbers), step)):
        if witness is not None:
            images = torch.stack([dreams[number].image for number in part])
            judged = witness.judge(images, [dreams[number].objective.expects for number in part])
            judgements |= zip(part, judged, strict=True)
    return {n: DreamResult(plans[n], dreams[n], ranks.get(n), judgements.get(n)) for n in numbers}


def draw_nodes(
    plans: Plans,
    results: Mapping[int, DreamResult],
    real: RealImages | None,
    classes: Sequence[str],
    device: torch.device,
) -> Iterator[tuple[str, Image.Image]]:
    """Id and picture of every node that was planned, also where none of its dreams was made.

    Args:
        plans, results: Its dreams.
        real: Where its best real images are sought.
        classes: Names, for the captions.
        device: Of the networks.
    """
    nodes: dict[str, list[int]] = {}
    for number, plan in plans.items():
        if plan.node is not None:
            nodes.setdefault(plan.node.id, []).append(number)
    firsts = [plans[numbers[0]] for numbers in nodes.values()]
    best = best_examples([plan.target for plan in firsts], real, classes, device)
    for numbers, plan, examples in zip(nodes.values(), firsts, best, strict=True):
        assert plan.node is not None
        yield plan.node.id, draw_node(plan.node, [results[n] for n in numbers if n in results], examples)


def rank_record(rank: ActivationRank | None) -> dict[str, Any] | None:
    """A rank as plain values."""
    return None if rank is None else {**asdict(rank), "words": rank.phrase}


def _ranks(
    plans: Plans, dreams: Mapping[int, Dream], real: Tensor, settings: RenderSettings
) -> dict[int, ActivationRank]:
    """Without dreams whose objective is finite on no real image; those of one network share its passes."""
    networks: dict[int, tuple[Network, list[int]]] = {}
    for number in dreams:
        network = plans[number].target.network
        networks.setdefault(id(network), (network, []))[1].append(number)
    found: dict[int, ActivationRank] = {}
    for network, numbers in networks.values():
        objectives = {dreams[number].objective.key: dreams[number].objective for number in numbers}
        table = scores(network, list(objectives.values()), real, settings)
        columns = dict(zip(objectives, table.T, strict=True))
        for number in numbers:
            values = columns[dreams[number].objective.key]
            if bool(values.isfinite().any()):
                found[number] = activation_rank(dreams[number].reached, values)
    return found
