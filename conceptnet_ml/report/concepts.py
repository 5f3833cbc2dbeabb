"""What was found, by effect: each concept with its dreams and real images, its classes and variants."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from conceptnet_ml.drawing.cutting import Cutting
from conceptnet_ml.drawing.layout import Caption
from conceptnet_ml.drawing.node_sheet import AFTER, BEFORE, MEANS
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.naming import called, listed
from conceptnet_ml.graph.queries import strength
from conceptnet_ml.graph.schema import Edge, Node
from conceptnet_ml.report.figures import Figure, Figures
from conceptnet_ml.results.looks import looks_words
from conceptnet_ml.results.verdict import percent

SHOWN, UNITS = 3, 12
"""Concepts that are shown at once, the rest behind a fold; and units that have pictures."""

_FREE, _PAIR, _SIDE, _BESIDE, _SMALL = 224, 176, 128, 106, 96
_UNLIKE = "unlike the data"

_SAID = (
    (r"^seed (\d+) · (.+)$", r"answer \2, seed \1"),
    (r"^(.*above .*|.*best) of ([\d,]+)(?= images?\b|$)", r"\1 of \2 real"),  # a long line goes on in the next
    (r"^seen: ", "another network sees: "),
)
"""What stands below dreams in a sheet, and on the page."""

PAIR = "The same dream before and after its round"
"""Above a feature's dreams in both networks."""


def concept_cards(
    graph: ConceptGraph, figures: Figures, rounds: Sequence[dict[str, Any]] = ()
) -> dict[str, list[dict[str, Any]]]:
    """Cards by effect, the strongest first: ``first`` and ``more`` of concepts, ``classes`` and ``units``.

    What is exchanged in a kept round is one card with its variants; features that are members of it, or that stand
    alone, follow by their effect. The summary's ``rounds`` say how what they exchange looks in each class.
    """
    looks = {entry["name"]: entry["looks"] for entry in rounds if "looks" in entry}
    nodes = [node for node in graph.nodes() if node.state not in ("merged", "forgotten")]
    mains = [node for node in nodes if node.kind in ("generalized", "feature")]
    mains.sort(key=lambda node: (node.kind != "generalized", -strength(graph, node)))
    cards = [_card(graph, node, figures, place < SHOWN) for place, node in enumerate(mains)]
    classes = [_card(graph, node, figures, False) for node in nodes if node.kind == "class"]
    units = sorted((node for node in nodes if node.kind == "unit"), key=lambda node: -strength(graph, node))
    shown = [_card(graph, node, figures, False, _SMALL) for node in units[:UNITS]]
    for card, node in zip(cards, mains, strict=True):
        mine = [one for one in looks.get(str(node.found_in), ()) if graph.classes[one["class"]] in node.classes]
        if mine:
            card["facts"] = [
                f"What is exchanged, beside the rest of the image: {looks_words(mine, graph.classes)}.",
                *card["facts"],
            ]
    return {"first": cards[:SHOWN], "more": cards[SHOWN:], "classes": classes, "units": shown}


def _card(graph: ConceptGraph, node: Node, figures: Figures, large: bool, side: int = _SIDE) -> dict[str, Any]:
    groups, notes = node_figures(node, figures, large, side)
    return {
        "id": node.id,
        "kind": node.kind,
        "title": called(node),
        "label": node.label,
        "note": node.note,
        "facts": _facts(graph, node),
        "groups": groups,
        "large": large and len(groups) > 1,
        "notes": notes,
        "spectrum": _spectrum(node),
        "variants": _variants(graph, node, figures),
    }


def _variants(graph: ConceptGraph, node: Node, figures: Figures) -> list[dict[str, Any]]:
    """What was generalized as it looks in each class: its free dream. The real images are those of what was
    generalized."""
    variants = [graph.node(edge.source) for edge in graph.edges("specializes", target=node.id)]
    variants.sort(key=lambda one: [graph.classes.index(name) for name in one.classes])
    found = []
    for one in variants:
        groups, _ = node_figures(one, figures, False, _SMALL)
        phi = getattr(one, "phi", None)
        changes = "" if phi is None else f"{percent(phi)} of answers change"
        words = {"name": one.name or listed([*one.classes]), "says": changes, "accuracy": one.accuracy}
        found.append({"id": one.id, **words, "figures": groups[0]["figures"] if groups else []})
    return found


def node_figures(node: Node, figures: Figures, large: bool, side: int) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """A node's pictures under their headings, and its sheet's lines on how honest they are. All of a card that is
    shown at once, else its free dream and the best real images."""
    name = next((one for one in node.pictures if "/nodes/" in one), None)
    if name is None:
        return [], ()
    sheet = figures.sheet(name)
    groups: dict[str, list[Any]] = {}
    for cutting in sheet.cuttings:
        groups.setdefault(PAIR if cutting.heading in (BEFORE, AFTER) else cutting.heading, []).append(cutting)
    found = []
    side = min(side, _BESIDE) if PAIR in groups else side
    for place, (heading, cuttings) in enumerate(groups.items()):
        if not large and 0 < place < len(groups) - 1:
            continue
        if heading == PAIR:
            # the means stand at the round
            plain = [replace(one, caption=one.caption[: len(one.caption) - len(_from_means(one))]) for one in cuttings]
            pair = _pair(plain, figures, _PAIR) if large else _pair(plain, figures, side, 1)
            found.append({"heading": heading, "figures": pair})
            continue
        free = len(cuttings) == 1 and place == 0
        most = None if large else 3
        size = (_FREE if large else side) if free else side
        if not heading:  # a sheet that does not say what is where
            size = 740
        shown: list[Figure | None] = [
            figures.cut(one, size, caption=_plain(one.caption) if large or not free else _seed(one))
            for one in cuttings[:most]
        ]
        found.append({"heading": heading, "figures": [one for one in shown if one is not None]})
    return found, sheet.foot


def before_and_after(graph: ConceptGraph, figures: Figures) -> dict[str, list[dict[str, Any]]]:
    """Of each kept round the features that the network was trained to do without, the strongest first: id, title, and
    the same dream before and after, with what it reached; ``means`` over real images as (images, before, after); of the
    first also ``brief``, for a small place.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for node in sorted(graph.nodes("feature"), key=lambda node: -strength(graph, node)):
        name = next((one for one in node.pictures if "/nodes/" in one), None)
        cuttings = figures.sheet(name).cuttings if name and node.found_in else ()
        two = [one for one in cuttings if one.heading in (BEFORE, AFTER)]
        if two and node.found_in:
            before = found.setdefault(node.found_in, [])
            brief = [] if before else _pair(two, figures, _SIDE, 1)
            before.append(
                {
                    "id": node.id,
                    "title": called(node),
                    "figures": _pair(two, figures, _PAIR, 1),
                    "means": _means(two),
                    "brief": brief,
                }
            )
    return found


def _means(cuttings: Sequence[Cutting]) -> list[tuple[str, ...]]:
    """What the captions say of real images, a row for each set of them: its name, and the means in each network."""
    rows = []
    for lines in zip(*([line.text for line in _from_means(one)[1:]] for one in cuttings), strict=False):
        name = lines[0].partition(": ")[0]
        rows.append((name, *(line.partition(": ")[2] for line in lines)))
    return rows


def _from_means(cutting: Cutting) -> Sequence[Caption]:
    """The lines of a caption from the means over real images on, which come last."""
    lines = [one.text for one in cutting.caption]
    return cutting.caption[lines.index(MEANS) if MEANS in lines else len(lines) :]


def _pair(cuttings: Sequence[Cutting], figures: Figures, side: int, most: int | None = None) -> list[Figure]:
    """The dreams in both networks, with the first so many lines of each."""
    shown = []
    for one in cuttings:
        first, *more = _plain(one.caption) or (Caption(""),)
        when = Caption(f"{one.heading.partition(':')[0]}: {first.text}")
        shown.append(figures.cut(one, side, (when, *more[: None if most is None else most - 1])))
    return [one for one in shown if one is not None]


def _seed(cutting: Cutting) -> tuple[Caption, ...]:
    """Below a small dream there is room for its seed alone; the sheet's lines say how honest it is."""
    seed, dot, _ = cutting.caption[0].text.partition(" · ") if cutting.caption else ("", "", "")
    return (Caption(seed),) if dot else ()


def _plain(caption: Sequence[Caption]) -> tuple[Caption, ...]:
    """Lines for who reads nothing but this page. Nothing is red that is as usual: hardly any dream is like a real
    image."""
    plain = [Caption(one.text) if one.text.startswith(_UNLIKE) else one for one in caption]
    for line, words in _SAID:
        plain = [replace(one, text=re.sub(line, words, one.text)) for one in plain]
    return tuple(plain)


def _facts(graph: ConceptGraph, node: Node) -> list[str]:
    found = []
    if node.kind == "generalized":
        covers = [f"{percent(share)} in {name}" for name, share in getattr(node, "coverage", {}).items()]
        if covers:
            found.append(f"Of the places on which the answer hangs its detector finds {listed(covers)}.")
    if node.kind != "unit" and node.effect is not None:
        whose = "its variant's" if node.parent else f"{listed([*node.classes])}'s"
        found.append(f"Without it {whose} lead over the other classes falls by {node.effect:.1f} logits.")
    phi, representation = getattr(node, "phi", None), getattr(node, "representation", None)
    if phi is not None:
        by = f" (in {representation})" if representation else ""
        found.append(f"Where it is exchanged for another class's, the answer changes in {percent(phi)} of images{by}.")
    if node.kind == "unit":
        found += _serves(graph, node)
    if node.kind == "feature" and (decision := getattr(node, "decision", None)):
        found.append(
            {"kept": "Its round was kept.", "leaf": "Left alone.", "undone": "Its round was undone."}[decision]
        )
    return found


def _serves(graph: ConceptGraph, node: Node) -> list[str]:
    """What a unit is strongest for."""
    edges = sorted(graph.edges("built_from", target=node.id), key=lambda edge: -abs(edge.strength or 0.0))
    return [f"Strongest for: {called(graph.node(edge.source)).lower()} ({_signed(edge)})." for edge in edges[:1]]


def _signed(edge: Edge) -> str:
    return f"{edge.strength or 0.0:+.2g}".replace("-", "−")


def _spectrum(node: Node) -> Sequence[dict[str, Any]]:
    """Where each class lies on it, the highest first, as shares of the width that all take up."""
    if not node.spectrum:
        return []
    low, high = min(one[0] for one in node.spectrum.values()), max(one[2] for one in node.spectrum.values())
    width = max(high - low, 1e-9)
    ordered = sorted(node.spectrum.items(), key=lambda item: (-item[1][1], item[0]))
    return [
        {"name": name, "left": (a - low) / width, "mean": (m - low) / width, "width": (b - a) / width}
        for name, (a, m, b) in ordered[:10]
    ]
