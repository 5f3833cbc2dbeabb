"""The album of a run: every node of the graph with its dreams, its best real images, and how far to trust them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from conceptnet_ml.concepts.model import GeneralizedModel
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.drawing.pictures import to_jpeg, to_png
from conceptnet_ml.drawing.sheets import Card, card_sheet, sheet_note
from conceptnet_ml.dreams.cache import DreamCache
from conceptnet_ml.dreams.judgement import Witness
from conceptnet_ml.dreams.parametrizations import Gate
from conceptnet_ml.dreams.recipe import Recipe, recipe_of
from conceptnet_ml.dreams.render import RenderSession, RenderSettings
from conceptnet_ml.dreams.request import Dream, DreamRequest
from conceptnet_ml.errors import DataError
from conceptnet_ml.evaluation.witness import witness_of
from conceptnet_ml.galleries.pipeline import (
    compare_dreams,
    draw_nodes,
    join_starts,
    render_all,
    result_card,
    verdict_record,
)
from conceptnet_ml.galleries.requests import LENT_CLASSES, DreamResult, PlannedDream
from conceptnet_ml.galleries.sources import draw_reference_images
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.naming import called
from conceptnet_ml.graph.schema import Node
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.results.concept_targets import ConceptTarget, ConceptTargets
from conceptnet_ml.steps.context import Context
from conceptnet_ml.storage.hashing import sha256

VERSION = "3"
"""Of what is drawn: a run that goes on draws an album of another version again."""

STARTS = 4
"""Starts of a dream that is shown before and after its round: what the witness sees in one may be the noise's doing."""

ORDER = ("class", "generalized", "variant", "feature", "unit")


def album(
    ctx: Context,
    graph: ConceptGraph,
    model: GeneralizedModel,
    before: Mapping[str, StagedNetwork],
    brief: bool = False,
) -> list[str]:
    """Draw every node of the graph, write into it its picture's name and those of the real images that are shown as its
    best, and record every dream.

    A node gets a free dream, a dream on a real image of each class, and the real images that activate it most, with
    masks. Where the run's budget of pixels does not reach for all dreams, units lose theirs first, and dreams on real
    images before free ones; every node keeps its real images. A node is drawn in the network it was found in, a feature
    of a kept round also in the learned one; of both its dreams :data:`STARTS` starts are shown to the witness.

    Args:
        before: The network that each round started from, by the round's name.
        brief: Whether no round was kept: then classes and features alone are dreamed of, and no witness is trained to
            judge these. Both took most of such a run's time, and say nothing of a decision.

    Returns:
        All pictures drawn, as :meth:`Run.save_picture` names them.

    Raises:
        Interrupted: The user wants to stop; finished dreams are kept.
    """
    if ctx.settings.plugins.dreamer == "none":
        return []
    settings = ctx.settings  # on these, the network and the nodes the album rests
    parts = [VERSION, graph.header.network, *sorted(node.id for node in graph.nodes()), settings.plugins.dreamer]
    name = sha256("\n".join([*parts, settings.dreams.model_dump_json()]), 16)
    drawn = ctx.once(
        f"album/{name}", functools.partial(_draw, ctx, ConceptTargets(graph, model, before), brief), "album"
    )
    for node, picture in drawn["nodes"].items():
        pictures = [picture, *graph.node(node).pictures]
        graph.update_node(node, pictures=pictures, examples=drawn["examples"][node])
    return [*drawn["nodes"].values(), *drawn["sheets"]]


def _draw(ctx: Context, targets: ConceptTargets, brief: bool) -> dict[str, Any]:
    witness = witness_of(ctx) if ctx.settings.dreams.witness and not brief else None
    real = draw_reference_images(ctx)
    held = real.held
    dreamer = ctx.settings.plugins.dreamer
    recipe = recipe_of(ctx.plugins.get("dreamer", dreamer), held.images)
    recipe = replace(recipe, steps=ctx.settings.dreams.steps or recipe.steps)
    plans = _plan(ctx, targets, held, recipe)
    settings = RenderSettings(ctx.size, device=ctx.device, dtype=ctx.dtype)
    wanted = [plan for plan in plans if not (brief and plan.node is not None and plan.node.kind == "unit")]
    dreams = _render(ctx, wanted, {dreamer: recipe}, settings)
    results = join_starts(compare_dreams(plans, dreams, held.images, witness, settings))
    nodes: dict[str, str] = {}
    examples: dict[str, list[str]] = {}
    total = len({plan.node.id for plan in plans if plan.node is not None})
    with ctx.progress.task("draw the album", total=total) as task:
        for identifier, picture, names in draw_nodes(plans, results, real, ctx.data.classes, ctx.data.tests):
            examples[identifier] = names
            nodes[identifier] = ctx.run.save_picture(f"nodes/{identifier}.jpg", to_jpeg(picture))
            task.advance()
    sheets = _sheets(ctx, results, witness)
    records = [_record(result, nodes) for result in results]
    ctx.run.save_dreams(records, None if witness is None else {"accuracy": witness.accuracy, "held_out": witness.held})
    return {"nodes": nodes, "sheets": sheets, "examples": examples}


def _plan(ctx: Context, targets: ConceptTargets, held: ImageSet, recipe: Recipe) -> list[PlannedDream]:
    """Every dream of every node; each node begins with noise of its own."""
    pixels, labels = held.images, held.labels
    first = [int((labels == number).nonzero()[0]) if number in labels else None for number in range(ctx.classes)]
    lent = [(name, place) for name, place in zip(ctx.data.classes, first, strict=True) if place is not None]
    donors = {place: other for (_, place), (_, other) in zip(lent, [*lent[1:], *lent[:1]], strict=True)}
    swaps = isinstance(recipe.parametrization, Gate)
    found: list[PlannedDream] = []
    nodes = sorted(
        targets.graph.nodes(), key=lambda one: (ORDER.index(one.kind), one.stage or "", one.units, one.label)
    )
    for seed, node in enumerate(nodes, ctx.settings.seed):
        target = target_of(targets, node)
        if target is None:
            continue
        starts: list[tuple[str | None, int | None]] = [(None, None)] if recipe.start == "noise" else []
        for name, place in [*starts, *lent[:LENT_CLASSES]]:
            start = None if place is None else pixels[place]
            donor = pixels[donors[place]] if swaps and place is not None else None
            request = DreamRequest(target.objective, seed, start, donor)
            found.append(PlannedDream(request, target, ctx.settings.plugins.dreamer, node.id, node=node, start=name))
        after = targets.target_after(node) if starts else None
        if after is not None:
            request = DreamRequest(after.objective, seed)
            found.append(PlannedDream(request, after, ctx.settings.plugins.dreamer, node.id, node=node, after=True))
            found += _further_starts(found[-1], target, [seed + turn * len(nodes) for turn in range(1, STARTS)])
    return found


def _further_starts(after: PlannedDream, target: ConceptTarget, seeds: Sequence[int]) -> list[PlannedDream]:
    """The dream before and after its round from the noise of other seeds."""
    both = (replace(after, target=target, after=False), after)
    return [
        replace(one, request=DreamRequest(one.target.objective, seed), again=True) for one in both for seed in seeds
    ]


def target_of(targets: ConceptTargets, node: Node) -> ConceptTarget | None:
    """A node's target; None where an edit took away what it stood for."""
    if node.state in ("merged", "forgotten"):  # its units' numbers may be others' by now
        return None
    try:
        return targets.target(node)
    except DataError:
        return None


def _render(
    ctx: Context, plans: Sequence[PlannedDream], recipes: Mapping[str, Recipe], settings: RenderSettings
) -> dict[PlannedDream, Dream]:
    """As many dreams as the budget of pixels allows, free dreams first, units last."""
    affordable = int(ctx.settings.dreams.megapixels * 1e6 / (ctx.size[0] * ctx.size[1]))
    chosen = set(sorted(plans, key=_rank)[:affordable])
    if len(chosen) < len(plans):
        ctx.progress.say(
            f"{len(plans) - len(chosen)} of {len(plans)} dreams are left out; dreams.megapixels asks for more"
        )
    ctx.run.lock()
    session = RenderSession(DreamCache(ctx.run.path / "dreams"), ctx.progress, ctx.stopper, "dream of every node")
    found: dict[PlannedDream, Dream] = {}
    render_all([plan for plan in plans if plan in chosen], recipes, settings, session, found.__setitem__)
    return found


def _rank(plan: PlannedDream) -> int:
    assert plan.node is not None
    return 2 * (plan.node.kind == "unit") + (plan.start is not None or plan.again)


def _sheets(ctx: Context, results: Sequence[DreamResult], witness: Witness | None) -> list[str]:
    """All free dreams side by side: the concepts on one sheet, each stage's units on one of their own."""
    groups: dict[str, list[Card]] = {}
    for result in results:
        node = result.plan.node
        if node is None or result.plan.start is not None or result.plan.after:
            continue
        group = f"units-{node.stage}" if node.kind == "unit" else "concepts"
        groups.setdefault(group, []).append(replace(result_card(result), name=called(node)))
    note = sheet_note(len(ctx.held), witness)
    found = []
    for group, cards in groups.items():
        whose = "the concepts" if group == "concepts" else f"the units of {group.removeprefix('units-')}"
        sheet = card_sheet(cards, f"Dreams of {whose}", note=note)
        found.append(ctx.run.save_picture(f"dreams-{group}.png", to_png(sheet)))
    return found


def _record(result: DreamResult, nodes: Mapping[str, str]) -> dict[str, Any]:
    node = result.plan.node
    assert node is not None
    return {
        "node": node.id,
        "picture": nodes.get(node.id),
        "start": result.plan.start,
        "drawn_in": result.plan.target.where,
        **{name: getattr(result.dream, name) for name in ("seed", "before", "reached", "steps", "outcome")},
        "standing": verdict_record(result.rank),
        "judgement": verdict_record(result.judgement, "unlike"),
        "starts": [
            {"seed": one.dream.seed, "judgement": verdict_record(one.judgement, "unlike")} for one in result.starts
        ],
    }
