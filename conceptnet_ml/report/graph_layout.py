"""Where the nodes of a concept graph stand so that its edges cross little.

Columns from the image to the classes, two for a stage: its units, then its concepts. What a family exchanges, its
variants and its members stand together as one block. The order within a column is Sugiyama's (Sugiyama, Tagawa and
Toda, IEEE Trans. SMC 11, 1981): each block at the mean place of its neighbours, swept up and down, the best sweep kept.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.schema import NODE_KINDS, Edge, Node

SWEEPS = 12

WIDTH, ACROSS, GAP, FRAME = 204, 96, 12, 7
"""Px: of a box, between columns, between boxes, and from a block's frame to its boxes."""


class Column(NamedTuple):
    """The stage, or ``classes``; whether it holds the stage's units; blocks of nodes from top to bottom."""

    stage: str
    units: bool
    blocks: list[list[Node]]

    @property
    def name(self) -> str:
        """As it stands above the column."""
        return f"{self.stage}: units" if self.units else self.stage


def arrange(graph: ConceptGraph) -> list[Column]:
    """All nodes of a graph in columns, from the image to the classes. Cost: :data:`SWEEPS` times edges × log(edges)."""
    columns = _columns(graph)
    place = {node.id: number for number, column in enumerate(columns) for block in column.blocks for node in block}
    ends = [(edge.source, edge.target) for edge in graph.edges("built_from")]
    ends = [(source, target) for source, target in ends if place[source] != place[target]]
    above, below = _nearest([(target, source) for source, target in ends], place), _nearest(ends, place)
    height = _heights(columns)
    best, least = [list(column.blocks) for column in columns], crossings(ends, place, height)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for number in range(len(columns) - 2, -1, -1) if down else range(len(columns) - 1):
            _sort(columns[number].blocks, above if down else below, height)
            height |= _heights([columns[number]])
        if (count := crossings(ends, place, height)) < least:
            best, least = [list(column.blocks) for column in columns], count
    return [Column(column.stage, column.units, blocks) for column, blocks in zip(columns, best, strict=True)]


def crossings(ends: Iterable[tuple[str, str]], place: Mapping[str, int], height: Mapping[str, float]) -> int:
    """How many pairs of edges between the same two columns cross.

    Args:
        ends: Source and target of each edge.
        place: The number of each node's column.
        height: Where in its column a node stands.
    """
    between: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for source, target in ends:
        between.setdefault((place[source], place[target]), []).append((height[source], height[target]))
    found = 0
    for pairs in between.values():
        seen: list[float] = []
        # of edges from one node none crosses another: the upper ones come first
        for _, low in sorted(pairs):
            found += len(seen) - bisect_right(seen, low)
            insort(seen, low)
    return found


def _nearest(ends: Iterable[tuple[str, str]], place: Mapping[str, int]) -> dict[str, list[str]]:
    """Of each node those at the other ends of its edges that stand in the nearest column: what lies further away would
    pull it out of their order."""
    found: dict[str, list[str]] = {}
    apart: dict[str, int] = {}
    for node, other in ends:
        away = abs(place[other] - place[node])
        if away < apart.get(node, away + 1):
            apart[node], found[node] = away, []
        if away == apart[node]:
            found[node].append(other)
    return found


def _columns(graph: ConceptGraph) -> list[Column]:
    """The columns that hold anything, blocks in the order of their classes."""
    found = []
    for stage in graph.stages:
        concepts = [node for kind in NODE_KINDS[1:-1] for node in graph.nodes(kind, stage=stage)]
        units = [[node] for node in graph.nodes("unit", stage=stage)]
        found += [Column(stage, True, units)] if units else []
        found += [Column(stage, False, _blocks(graph, concepts))] if concepts else []
    return [*found, Column("classes", False, [[graph.class_node(name)] for name in graph.classes])]


def _blocks(graph: ConceptGraph, concepts: Sequence[Node]) -> list[list[Node]]:
    """A stage's concepts by family: what is exchanged, how it looks in each class, what was found of it."""
    family: dict[str, str] = {}
    for node in concepts:
        ties = [*graph.edges("specializes", source=node.id), *graph.edges("generalizes", target=node.id)]
        ends = {edge.source if edge.kind == "generalizes" else edge.target for edge in ties}
        family[node.id] = node.id if node.kind == "generalized" else min(ends, default=node.id)
    blocks: dict[str, list[Node]] = {}
    kinds = ("generalized", "variant", "feature")
    ranks = {name: number for number, name in enumerate(graph.classes)}
    for node in sorted(concepts, key=lambda node: (kinds.index(node.kind), [ranks[name] for name in node.classes])):
        blocks.setdefault(family[node.id], []).append(node)
    return sorted(blocks.values(), key=lambda block: (block[0].round or 0, [ranks[name] for name in block[0].classes]))


def _heights(columns: Iterable[Column]) -> dict[str, float]:
    """Where each node stands in its column, 0 at the top and 1 at the bottom."""
    found: dict[str, float] = {}
    for column in columns:
        nodes = [node for block in column.blocks for node in block]
        found |= {node.id: (row + 0.5) / len(nodes) for row, node in enumerate(nodes)}
    return found


def _sort(blocks: list[list[Node]], near: Mapping[str, Sequence[str]], height: Mapping[str, float]) -> None:
    """Each block to the mean place of its neighbours; one without any stays where it is."""

    def wanted(block: Sequence[Node]) -> float:
        ends = [height[end] for node in block for end in near.get(node.id, ())] or [height[node.id] for node in block]
        return sum(ends) / len(ends)

    blocks.sort(key=wanted)


# ------------------------------------------------------------------------------------------------ boxes and curves


class Place(NamedTuple):
    """The box of a node: the number of its column, its left upper corner and its height in px."""

    column: int
    x: float
    y: float
    height: float

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


class Packed(NamedTuple):
    """Places of nodes by id, frames of blocks as (x, y, width, height), and per column the heights at which an edge
    passes between its blocks; and the height of the tallest column."""

    places: dict[str, Place]
    frames: list[tuple[float, float, float, float]]
    gaps: list[list[float]]
    height: float


def pack_columns(columns: Sequence[Column], heights: Mapping[str, float], left: float = 0, top: float = 0) -> Packed:
    """Boxes of these heights below one another, every column in the middle. :data:`graph.js` does the same for what a
    reader filters."""
    places: dict[str, Place] = {}
    frames, gaps = [], []
    tallest = max((_total(column, heights) for column in columns), default=0.0)
    for number, column in enumerate(columns):
        x, y = left + number * (WIDTH + ACROSS), top + (tallest - _total(column, heights)) / 2
        gaps.append([y - GAP])
        for block in column.blocks:
            frame, start = _frame(block), y
            y += frame
            for node in block:
                places[node.id] = Place(number, x, y, heights[node.id])
                y += heights[node.id] + GAP
            y += frame
            if frame:
                frames.append((x - frame, start, WIDTH + 2.0 * frame, y - GAP - start))
            gaps[-1].append(y - GAP / 2)
        gaps[-1][-1] += GAP / 2
    return Packed(places, frames, gaps, tallest)


def _total(column: Column, heights: Mapping[str, float]) -> float:
    boxes = sum(heights[node.id] + GAP for block in column.blocks for node in block)
    return boxes + sum(2 * _frame(block) for block in column.blocks) - GAP


def _frame(block: Sequence[Node]) -> float:
    return FRAME if len(block) > 1 else 0.0


def route(edge: Edge, packed: Packed, number: int) -> str:
    """An edge as the path of an SVG: from the lower end's right side to the upper end's left, through the gaps of the
    columns between, never over a box; within a column a bow at its right. By its ``number`` it keeps apart from others
    in a gap."""
    start, end = packed.places[edge.target], packed.places[edge.source]
    x, y = start.x + WIDTH, start.middle
    if start.column == end.column:
        bow = x + ACROSS * 0.55
        return f"M{x:g} {y:.1f}C{bow:g} {y:.1f} {bow:g} {end.middle:.1f} {x:g} {end.middle:.1f}"
    path = [f"M{x:g} {y:.1f}"]
    for column in range(start.column + 1, end.column):
        left = start.x + (column - start.column) * (WIDTH + ACROSS)
        share = (left - start.x) / (end.x - start.x)
        wanted = start.middle + share * (end.middle - start.middle)
        gaps = packed.gaps[column]
        at = wanted if not gaps[0] < wanted < gaps[-1] else min(gaps, key=lambda gap: abs(gap - wanted))
        at += 2 * (number % 5 - 2)
        path.append(_curve(x, y, left - FRAME, at) + f"H{left + WIDTH + FRAME:g}")
        x, y = left + WIDTH + FRAME, at
    return "".join([*path, _curve(x, y, end.x, end.middle)])


def _curve(x1: float, y1: float, x2: float, y2: float) -> str:
    middle = (x1 + x2) / 2
    return f"C{middle:g} {y1:.1f} {middle:g} {y2:.1f} {x2:g} {y2:.1f}"
