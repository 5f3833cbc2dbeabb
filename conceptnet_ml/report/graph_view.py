"""The concept graph twice: the strongest of it as a drawing that needs no script, and all of it for graph.js."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup
from PIL import Image

from conceptnet_ml.drawing.masks import crop_active
from conceptnet_ml.drawing.text import wrap
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.naming import brief, called
from conceptnet_ml.graph.queries import influence, strength
from conceptnet_ml.graph.schema import Edge, Node
from conceptnet_ml.report.figures import Figure, Figures
from conceptnet_ml.report.graph_layout import ACROSS, FRAME, GAP, WIDTH, Column, Packed, arrange, pack_columns, route

MOST = {"generalized": 3, "variant": 5, "feature": 6, "unit": 6, "class": 16}
"""Nodes of a kind that are drawn in a column at most."""

EDGES = 16
"""Edges between two columns that are drawn at most."""

INFLUENCE = 0.8
"""Share of all influence at whose strongest nodes the graph opens."""

TILE, TILES = 64, 400
"""Px of a thumbnail in the sprite, and how many it holds at most, of the nodes with most influence."""

_BRIGHTER = [round(255 * (value / 255) ** 0.65) for value in range(256)] * 3  # what is dimmed shows at 36 px, too

_LOW, _HIGH, _TOP, _THUMB, _TEXT = 46, 64, 38, 36, 13

_DIGITS = 6


class GraphView:
    """A graph as the page shows it.

    Args:
        graph: The graph.
        figures: The run's pictures.
    """

    def __init__(self, graph: ConceptGraph, figures: Figures) -> None:
        self.graph, self.figures = graph, figures
        self.columns = arrange(graph)
        self.share = shares_before(graph, self.columns)
        largest: dict[str, float] = {}
        for node in graph.nodes():
            largest[node.kind] = max(largest.get(node.kind, 0.0), strength(graph, node))
        self.size = {node.id: (strength(graph, node) / (largest[node.kind] or 1.0)) ** 0.5 for node in graph.nodes()}
        """Root of each node's strength as a share of the largest of its kind."""
        self.strongest = self._strongest()
        self.sprite, self.tiles = self._sprite()

    # ------------------------------------------------------------------------------------------------ without a script

    def drawing(self) -> dict[str, Any]:
        """The strongest nodes and edges with their places in px, for the template to draw; and how many there are."""
        columns = self.strongest
        heights = {node.id: self._height(node) for column in columns for block in column.blocks for node in block}
        left = FRAME + 1
        packed = pack_columns(columns, heights, left, _TOP)
        edges = [_edge(edge, packed, number) for number, edge in enumerate(self._strongest_edges(packed))]
        return {
            "width": len(columns) * (WIDTH + ACROSS) - ACROSS + 2 * left,
            "height": round(packed.height) + _TOP + GAP + FRAME,
            "columns": [(left + number * (WIDTH + ACROSS), column.name) for number, column in enumerate(columns)],
            "box": WIDTH,
            "side": TILE,
            "frames": packed.frames,
            "nodes": [self._drawn(node, packed) for column in columns for block in column.blocks for node in block],
            "edges": edges,
            "all": (len(self.graph), len(self.graph.edges())),
        }

    def _strongest(self) -> list[Column]:
        """The columns that hold anything, each with its strongest nodes; units only where they serve what is drawn."""
        drawn: set[str] = set()
        found = []
        for column in reversed(self.columns):
            nodes = [node for block in column.blocks for node in block if node.state not in ("merged", "forgotten")]
            if column.units:
                served = {edge.target for one in drawn for edge in self.graph.edges("built_from", source=one)}
                nodes = [node for node in nodes if node.id in served]
            kinds: dict[str, list[Node]] = {}
            for node in sorted(nodes, key=lambda node: -strength(self.graph, node)):
                kinds.setdefault(node.kind, []).append(node)
            kept = {node.id for kind, some in kinds.items() for node in some[: MOST[kind]]}
            drawn |= kept
            blocks = [[node for node in block if node.id in kept] for block in column.blocks]
            if kept:
                found.append(column._replace(blocks=[block for block in blocks if block]))
        return found[::-1]

    def _strongest_edges(self, packed: Packed) -> list[Edge]:
        """The strongest weights between the nodes that are drawn. What ties a family is the frame around it."""
        drawn = packed.places
        built = [edge for edge in self.graph.edges("built_from") if edge.source in drawn and edge.target in drawn]
        columns: dict[tuple[int, int], list[Edge]] = {}
        for edge in sorted(built, key=lambda edge: -abs(edge.strength or 0.0)):
            if edge.strength:
                columns.setdefault((drawn[edge.source].column, drawn[edge.target].column), []).append(edge)
        return [edge for some in columns.values() for edge in some[:EDGES]]

    def _drawn(self, node: Node, packed: Packed) -> dict[str, Any]:
        tile = self.tiles.get(node.id)
        row = row_of(len(self.tiles))
        lines = box_lines(node)
        place = packed.places[node.id]
        return {
            "id": node.id,
            "x": place.x,
            "y": place.y,
            "height": place.height,
            "kind": node.kind,
            "title": called(node),
            "lines": list(zip(_baselines(place, len(lines)), lines, strict=True)),
            "tile": None if tile is None else (tile % row * TILE, tile // row * TILE),
        }

    def _height(self, node: Node) -> float:
        return round(_LOW + (_HIGH - _LOW) * self.size[node.id])

    def _thumb(self, node: Node) -> Image.Image | None:
        """What a person recognises is a real image; where there is none, the dream."""
        name = next((one for one in node.pictures if "/nodes/" in one), None)
        cuttings = self.figures.sheet(name).cuttings if name else ()
        last = [one for one in cuttings if one.heading == cuttings[-1].heading][:1]
        if not last or not cuttings[0].heading:
            return None
        return crop_active(last[0].image).point(_BRIGHTER).resize((TILE, TILE), Image.Resampling.LANCZOS)

    def _sprite(self) -> tuple[Figure | None, dict[str, int]]:
        """Thumbnails as one picture, row by row as many as its root, and the number of each node's: of those in the
        drawing, then of those with most influence. None where there are none or no room."""
        first = [node for column in self.strongest for block in column.blocks for node in block]
        rest = sorted(self.graph.nodes(), key=lambda node: (self.share[node.id], node.id))
        chosen = list({node.id: node for node in [*first, *rest]}.values())[:TILES]
        found = {node.id: thumb for node in chosen if (thumb := self._thumb(node)) is not None}
        across = row_of(len(found))
        sheet = Image.new("RGB", (across * TILE, max(1, -(-len(found) // across)) * TILE))
        for number, thumb in enumerate(found.values()):
            sheet.paste(thumb, (number % across * TILE, number // across * TILE))
        shown = self.figures.embed(sheet, max(sheet.size), "") if found else None
        return shown, {} if shown is None else {name: number for number, name in enumerate(found)}

    # ------------------------------------------------------------------------------------------------ for the script

    def data(self) -> Markup:
        """All nodes and edges as JSON that can stand in a script element: nothing in it ends the element. Numbers have
        six digits."""
        nodes = []
        for number, column in enumerate(self.columns):
            for row, block in enumerate(column.blocks):
                nodes += [self._entry(node, number, row) for node in block]
        places = {entry["record"]["id"]: number for number, entry in enumerate(nodes)}
        edges = []
        for edge in self.graph.edges():
            record = edge.plain()
            edges.append({**record, "source": places[edge.source], "target": places[edge.target]})
        columns = [column.name for column in self.columns]
        content = {
            "classes": self.graph.classes,
            "stages": self.graph.stages,
            "columns": columns,
            "opens": INFLUENCE,
            "sizes": {"width": WIDTH, "across": ACROSS, "gap": GAP, "frame": FRAME, "tile": TILE},
            "row": row_of(len(self.tiles)),
            "nodes": nodes,
            "edges": edges,
        }
        text = json.dumps(_short(content), ensure_ascii=False, separators=(",", ":"))
        return Markup(text.replace("<", "\\u003c"))

    def _entry(self, node: Node, column: int, block: int) -> dict[str, Any]:
        entry = {
            "record": {name: value for name, value in node.plain().items() if value not in ([], {})},
            "column": column,
            "block": block,
            "title": called(node),
            "lines": box_lines(node),
            "height": self._height(node),
            "share": self.share[node.id],
        }
        return entry | ({"tile": self.tiles[node.id]} if node.id in self.tiles else {})


def row_of(tiles: int) -> int:
    """Thumbnails in a row of the sprite."""
    return max(1, round(tiles**0.5))


def shares_before(graph: ConceptGraph, columns: Sequence[Column]) -> dict[str, float]:
    """Of each node the share of all influence that stronger nodes have: those below 0.8 have 80 % together.

    Classes have 0, as a family has whole what the strongest in it has; what no class leads to has 1.
    """
    weights = influence(graph)
    rest = sorted((node for node in graph.nodes() if node.kind != "class"), key=lambda node: -weights[node.id])
    total = sum(weights[node.id] for node in rest) or 1.0
    found, before = {node.id: 0.0 for node in graph.nodes("class")}, 0.0
    for node in rest:
        found[node.id] = before / total if weights[node.id] else 1.0
        before += weights[node.id]
    for block in (block for column in columns for block in column.blocks):
        found |= dict.fromkeys([node.id for node in block], min(found[node.id] for node in block))
    return found


def box_lines(node: Node) -> list[str]:
    """Up to two lines of what it is and one of where it belongs, short enough for its box."""
    lines = wrap(brief(node), _TEXT, WIDTH - _HIGH - 4)
    if len(lines) > 2:
        lines = [lines[0], lines[1].rstrip("… ") + "…"]
    where = node.stage if node.kind == "unit" else node.kind + (f", round {node.round}" if node.round else "")
    return [*lines, f"{where}, {node.state}" if node.state else str(where)]


def _baselines(place: Any, count: int) -> list[float]:
    first = place.middle - 7.5 * count + 11.5
    return [round(first + 15 * row, 1) for row in range(count)]


def _edge(edge: Edge, packed: Packed, number: int) -> dict[str, Any]:
    weight = edge.strength or 0.0
    return {
        "path": route(edge, packed, number),
        "tone": "for" if weight > 0 else "against",
        "width": round(min(4.5, 0.8 + abs(weight) ** 0.5), 2),
        "says": f"weight {weight:+.3g}",
    }


def _short(value: Any) -> Any:
    """Numbers in six digits, in all that JSON can hold."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {name: _short(one) for name, one in value.items()}
    return [_short(one) for one in value] if isinstance(value, list | tuple) else value
