"""The album of a run: every node of the graph with its dreams, its best real images, and what to think of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from conceptnet_ml.concepts.model import GeneralizedModel
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.drawing.cards import Card, card_sheet, dream_card, honesty_lines, sheet_note
from conceptnet_ml.drawing.pictures import to_jpeg, to_png
from conceptnet_ml.dreams.cache import DreamCache
from conceptnet_ml.dreams.judgement import Judgement, Standing, Witness
from conceptnet_ml.dreams.parametrizations import Gate
from conceptnet_ml.dreams.recipe import Recipe, recipe_of
from conceptnet_ml.dreams.render import dream
from conceptnet_ml.dreams.request import Dream, DreamRequest
from conceptnet_ml.errors import DataError
from conceptnet_ml.evaluation.witness import witness_of
from conceptnet_ml.gallery.concept_targets import Concepts, ConceptTarget
from conceptnet_ml.gallery.node_pictures import best_examples, portrait
from conceptnet_ml.gallery.pipeline import standings
from conceptnet_ml.gallery.reference_images import keep
from conceptnet_ml.gallery.requests import Asked
from conceptnet_ml.gallery.sources import Real
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.schema import Node
from conceptnet_ml.steps.context import Context
from conceptnet_ml.storage.hashing import sha256

CLASSES = 12
"""So many classes lend a real image to a node's dreams."""

ORDER = ("class", "generalized", "variant", "feature", "unit")


def album(ctx: Context, graph: ConceptGraph, model: GeneralizedModel) -> list[str]:
    """Draw every node of the graph, write its picture's name into it, and keep what is known of every dream.

    A free dream, a dream on a real image of each class, and the real images that answer most, with masks. Where the
    run's budget of pixels does not reach for all, units lose their dreams first, dreams on real images before free
    ones; every node keeps its real images.

    Args:
        ctx: The run's.
        graph: Whose nodes are drawn; their ``pictures`` are set.
        model: The learned network and the families.

    Returns:
        All pictures drawn, as :meth:`Run.save_picture` names them.

    Raises:
        Interrupted: The user wants to stop; dreams that were finished are kept.
    """
    if ctx.settings.plugins.dreamer == "none":
        return []
    name = f"album/{_digest(ctx, graph)}"
    drawn = ctx.once(name, functools.partial(_draw, ctx, graph, model), "album")
    for node, picture in drawn["nodes"].items():
        graph.update_node(node, pictures=[picture, *graph.node(node).pictures])
    return [*drawn["nodes"].values(), *drawn["sheets"]]


def _draw(ctx: Context, graph: ConceptGraph, model: GeneralizedModel) -> dict[str, Any]:
    judge = witness_of(ctx) if ctx.settings.dreams.witness else None
    held = keep(ctx)
    real = Real(held, held, held.labels, held.labels)
    pixels = held.images
    record = ctx.plugins.get("dreamer", ctx.settings.plugins.dreamer)
    recipe = recipe_of(record, pixels)
    recipe = replace(recipe, steps=ctx.settings.dreams.steps or recipe.steps)
    asked = _asked(ctx, graph, model, held, recipe)
    made = _dreamt(ctx, asked, recipe)
    stands = standings({p: (asked[p].network, one) for p, one in made.items()}, pixels, ctx.device, ctx.dtype)
    judged: dict[int, Judgement] = {}
    if judge is not None:
        places = sorted(made)
        images = torch.stack([made[place].image for place in places]) if places else torch.empty(0)
        expected = [made[place].objective.expects for place in places]
        judged = dict(zip(places, judge.judge(images, expected), strict=True)) if places else {}
    rows: dict[str, list[int]] = {}
    for place, ask in enumerate(asked):
        assert ask.node is not None
        rows.setdefault(ask.node.id, []).append(place)
    nodes: dict[str, str] = {}
    with ctx.progress.task("draw the album", total=len(rows)) as task:
        firsts = [asked[places[0]] for places in rows.values()]
        sought = [ask.sought for ask in firsts if ask.sought is not None]
        best = best_examples(sought, real, ctx.data.classes, ctx.device)
        for (identifier, places), ask, examples in zip(rows.items(), firsts, best, strict=True):
            shown = [(asked[p], made[p], stands.get(p), judged.get(p)) for p in places if p in made]
            nodes[identifier] = ctx.run.save_picture(f"nodes/{identifier}.jpg", to_jpeg(portrait(ask, shown, examples)))
            task.advance()
    sheets = _sheets(ctx, asked, made, stands, judged, judge)
    records = [_record(asked[p], made[p], stands.get(p), judged.get(p), nodes) for p in sorted(made)]
    ctx.run.save_dreams(records, None if judge is None else {"accuracy": judge.accuracy, "held_out": judge.held})
    return {"nodes": nodes, "sheets": sheets}


def _asked(ctx: Context, graph: ConceptGraph, model: GeneralizedModel, held: ImageSet, recipe: Recipe) -> list[Asked]:
    """Every dream of every node; each node begins with noise of its own, lest all look alike."""
    concepts, pixels, labels = Concepts(graph, model), held.images, held.labels
    first = [int((labels == number).nonzero()[0]) if number in labels else None for number in range(ctx.classes)]
    lent = [(name, place) for name, place in zip(ctx.data.classes, first, strict=True) if place is not None]
    following = [*lent[1:], *lent[:1]]
    donors = {place: other for (_, place), (_, other) in zip(lent, following, strict=True)}
    swaps = isinstance(recipe.parametrization, Gate)
    found: list[Asked] = []
    nodes = sorted(graph.nodes(), key=lambda one: (ORDER.index(one.kind), one.stage or "", one.units, one.label))
    for seed, node in enumerate(nodes, ctx.settings.seed):
        sought = _sought(concepts, node)
        if sought is None:
            continue

        def ask(
            start: str | None, place: int | None, seed: int = seed, node: Node = node, sought: ConceptTarget = sought
        ) -> Asked:
            image, donor = (None, None) if place is None else (pixels[place], pixels[donors[place]])
            wish = DreamRequest(sought.objective.named(sought.objective.name), seed, image, donor if swaps else None)
            about = {"concept": node.id, "kind": node.kind, "stage": node.stage}
            name = ctx.settings.plugins.dreamer
            return Asked(wish, sought.network, name, node.id, about, sought, node, start, start is not None)

        if recipe.start == "noise":
            found.append(ask(None, None))
        found += [ask(name, place) for name, place in lent[:CLASSES]]
    return found


def _sought(concepts: Concepts, node: Node) -> ConceptTarget | None:
    if node.state in ("merged", "forgotten"):  # its units' numbers may be others' by now
        return None
    try:
        return concepts.sought(node)
    except DataError:  # an edit took away what it stood for
        return None


def _dreamt(ctx: Context, asked: Sequence[Asked], recipe: Recipe) -> dict[int, Dream]:
    """What the budget of pixels allows, free dreams first, units last."""
    side = ctx.size[0] * ctx.size[1]
    afford = int(ctx.settings.dreams.megapixels * 1e6 / side)
    places = sorted(range(len(asked)), key=lambda p: (_rank(asked[p]), p))[:afford]
    if len(places) < len(asked):
        ctx.progress.say(
            f"{len(asked) - len(places)} of {len(asked)} dreams are left out; dreams.megapixels asks for more"
        )
    networks: dict[int, list[int]] = {}
    for place in sorted(places):
        networks.setdefault(id(asked[place].network), []).append(place)
    cache = DreamCache(ctx.run.path / "dreams")
    ctx.run.lock()
    made: dict[int, Dream] = {}
    for members in networks.values():
        wishes = [asked[place].wish for place in members]
        done = dream(
            asked[members[0]].network,
            wishes,
            recipe,
            size=ctx.size,
            device=ctx.device,
            dtype=ctx.dtype,
            cache=cache,
            progress=ctx.progress,
            stopper=ctx.stopper,
            label="dream of every node",
        )
        made |= dict(zip(members, done, strict=True))
    return made


def _rank(ask: Asked) -> int:
    assert ask.node is not None
    return 2 * (ask.node.kind == "unit") + (ask.start is not None)


def _sheets(
    ctx: Context,
    asked: Sequence[Asked],
    made: dict[int, Dream],
    stands: dict[int, Standing],
    judged: dict[int, Judgement],
    judge: Witness | None,
) -> list[str]:
    """All free dreams side by side: the concepts on one sheet, each stage's units on one of their own."""
    groups: dict[str, list[Card]] = {}
    for place in sorted(made):
        node = asked[place].node
        if node is None or asked[place].start is not None:
            continue
        group = f"units-{node.stage}" if node.kind == "unit" else "concepts"
        lines = honesty_lines(stands.get(place), judged.get(place))
        one = dream_card(made[place], *lines)
        name = one.name if node.kind in ("unit", "class") else f"{node.kind}: {one.name}"
        groups.setdefault(group, []).append(replace(one, name=name))
    titles = {"concepts": "What the concepts dream of"}
    note = sheet_note(len(ctx.held), judge)
    found = []
    for group, cards in groups.items():
        title = titles.get(group, f"What the units of {group.removeprefix('units-')} dream of")
        found.append(ctx.run.save_picture(f"dreams-{group}.png", to_png(card_sheet(cards, title, note=note))))
    return found


def _record(
    ask: Asked, made: Dream, stands: Standing | None, judged: Judgement | None, nodes: dict[str, str]
) -> dict[str, Any]:
    assert ask.node is not None
    return {
        "node": ask.node.id,
        "picture": nodes.get(ask.node.id),
        "start": ask.start,
        **{name: getattr(made, name) for name in ("seed", "before", "reached", "steps", "outcome")},
        "standing": None if stands is None else {**asdict(stands), "words": stands.phrase},
        "judgement": None if judged is None else {**asdict(judged), "unlike": judged.unlike, "words": judged.phrase},
    }


def _digest(ctx: Context, graph: ConceptGraph) -> str:
    """Of what the album rests on: the network, the nodes, and how they are dreamt."""
    settings = ctx.settings
    parts = [graph.header.network, *sorted(node.id for node in graph.nodes()), settings.plugins.dreamer]
    return sha256("\n".join([*parts, settings.dreams.model_dump_json()]), 16)
