"""Questions to a concept graph: which nodes, which edges, which one node, along which chains.

Every answer is linear in the graph. Nothing here changes it; nothing here needs networkx.
"""

from __future__ import annotations

import heapq
import math
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from conceptnet_ml.errors import SettingsError, nearest
from conceptnet_ml.graph.schema import EDGES, NODES, Analogous, BuiltFrom, Edge, Node, Specializes, speaks_for
from conceptnet_ml.graph.store import GraphStore

STATES = ("current", "merged", "split", "forgotten")
"""What an edit made of a node; ``current`` is what no edit has put aside."""

_SHOWN = 5


def select_nodes(
    graph: GraphStore,
    *,
    kind: str | None = None,
    stage: str | None = None,
    class_: str | None = None,
    state: str | None = None,
    text: str | None = None,
    min_weight: float | None = None,
) -> list[Node]:
    """Nodes that meet every condition, in the order of their ids.

    Args:
        kind: class, variant, generalized, feature or unit.
        stage, class_: Its stage; a class that it speaks for.
        state: What an edit made of it: merged, split, forgotten; ``current`` for what none has put aside.
        text: What its id, label, name, note or reason contains, in whatever case.
        min_weight: An edge at it has at least this weight or score, of either sign.

    Raises:
        SettingsError: There is no such kind, stage, class or state, or the weight is no number.
    """
    _known(graph, {"kind": (kind, NODES)}, stage, class_, state, min_weight)
    found = graph.nodes(kind, stage=stage, class_=class_)
    if state is not None:
        found = [node for node in found if node.state == state or (state == "current" and _current(node))]
    if text is not None:
        found = [node for node in found if _says(node, text.casefold())]
    if min_weight is not None:
        strong = {end for edge in graph.edges() if _strong(edge, min_weight) for end in (edge.source, edge.target)}
        found = [node for node in found if node.id in strong]
    return found


def select_edges(
    graph: GraphStore,
    *,
    kind: str | None = None,
    stage: str | None = None,
    class_: str | None = None,
    state: str | None = None,
    text: str | None = None,
    min_weight: float | None = None,
) -> list[Edge]:
    """Edges one of whose ends meets the conditions on nodes, in the order of source, target and key.

    Args:
        kind: built_from, generalizes, specializes, analogous or became.
        stage, state, text: As in :func:`select_nodes`, of one of its two ends.
        class_: Of one of its ends, or a class that the edge itself names.
        min_weight: It has at least this weight or score, of either sign.

    Raises:
        SettingsError: As :func:`select_nodes`.
    """
    _known(graph, {"kind of edge": (kind, EDGES)}, stage, class_, state, min_weight)
    found = [edge for edge in graph.edges(kind) if min_weight is None or _strong(edge, min_weight)]
    conditions: dict[str, Any] = {"stage": stage, "state": state, "text": text}
    ends = {node.id: node for node in select_nodes(graph, **conditions)}

    def meets(edge: Edge) -> bool:
        near = [ends[end] for end in (edge.source, edge.target) if end in ends]
        return bool(near) and (class_ is None or _names(edge, class_) or any(speaks_for(node, class_) for node in near))

    return [edge for edge in found if meets(edge)]


def _current(node: Node) -> bool:
    """Whether no edit has put it aside; what is split goes on beside its copies."""
    return node.state in (None, "split")


def _known(
    graph: GraphStore,
    kinds: dict[str, tuple[str | None, Collection[str]]],
    stage: str | None,
    class_: str | None,
    state: str | None,
    min_weight: float | None,
) -> None:
    asked = {**kinds, "stage": (stage, graph.stages), "class": (class_, graph.classes), "state": (state, STATES)}
    for what, (name, known) in asked.items():
        if name is not None and name not in known:
            raise SettingsError(f"there is no {what} '{name}'.", nearest(name, known))
    if min_weight is not None and math.isnan(min_weight):
        raise SettingsError("the least weight is not a number.", "Give a number such as 0.5.")


def _says(node: Node, text: str) -> bool:
    words = (node.id, node.label, node.name, node.note, getattr(node, "reason", None))
    return any(text in some.casefold() for some in words if some)


def _strong(edge: Edge, least: float) -> bool:
    return edge.strength is not None and abs(edge.strength) >= least


def _names(edge: Edge, class_: str) -> bool:
    if isinstance(edge, Analogous):
        return class_ in (edge.class_name, edge.other)
    return isinstance(edge, Specializes) and edge.class_name == class_


def resolve_node(graph: GraphStore, text: str) -> Node:
    """The one node that a user's words mean.

    Its id; else its label or name, or ``STAGE:UNIT`` or ``STAGE/UNIT`` for a unit's node; else the beginning of its id.
    What an edit put aside is meant by such words only where nothing current is; its id means it always.

    Raises:
        SettingsError: No node or several are meant; the mend names the nearest.
    """
    text = text.strip()
    if text in graph:
        return graph.node(text)
    nodes = graph.nodes()
    place = unit_place(graph, text)
    found = [node for node in nodes if text in (node.label, node.name) or (place is not None and _is_at(node, place))]
    found = [node for node in found if _current(node)] or found
    found = found or [node for node in nodes if text and node.id.startswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(f"{node.id} ({_described(node)})" for node in found[:_SHOWN])
        more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise SettingsError(f"'{text}' could be {len(found)} nodes of the graph.", f"Give an id: {listed}{more}.")
    if place is not None:
        stage, unit = place
        raise SettingsError(f"unit {unit} of stage {stage} has no node in the graph.", _units_near(graph, stage, unit))
    raise SettingsError(f"there is no node '{text}' in the graph.", _near(nodes, text))


def unit_place(graph: GraphStore, text: str) -> tuple[str, int] | None:
    """Stage and unit, where words such as ``block3:12`` name them."""
    for sign in (":", "/"):
        stage, _, unit = text.rpartition(sign)
        if stage in graph.stages and unit.isascii() and unit.isdigit() and len(unit) < 10:
            return stage, int(unit)
    return None


def _is_at(node: Node, place: tuple[str, int]) -> bool:
    return node.kind == "unit" and (node.stage, node.units[0]) == place


def _described(node: Node) -> str:
    at = f" at {node.stage}" if node.stage is not None else ""
    round = f", round {node.round}" if node.round is not None else ""
    state = f", {node.state}" if node.state is not None else ""
    return f"{node.kind} {node.title}{at}{round}{state}"


def _units_near(graph: GraphStore, stage: str, unit: int) -> str:
    units = sorted({node.units[0] for node in graph.nodes("unit", stage=stage)}, key=lambda one: (abs(one - unit), one))
    known = ", ".join(str(one) for one in sorted(units[:_SHOWN]))
    return f"Nearest with a node: {known}." if units else f"Stage {stage} has no units in the graph."


def _near(nodes: list[Node], text: str) -> str:
    import difflib

    names = {name for node in nodes for name in (node.label, node.name) if name}
    close = difflib.get_close_matches(text, names, n=_SHOWN, cutoff=0.5)
    inside = sorted(name for name in names if text and text.casefold() in name.casefold())
    some = list(dict.fromkeys([*close, *inside]))[:_SHOWN]
    listed = ", ".join(f"'{name}'" for name in some)
    return f"Did you mean {listed}?" if some else "Give an id or its beginning, a label, a name, or STAGE:UNIT."


@dataclass(frozen=True)
class Chain:
    """What a class is made of, one after the other, the class's node first.

    Args:
        nodes: From the class down.
        weights: Of the edges between them; 1 where an edge just holds.
        strength: Product of the weights' sizes.
    """

    nodes: tuple[Node, ...]
    weights: tuple[float, ...]

    @property
    def strength(self) -> float:
        """Product of the weights' sizes, at most the largest float."""
        return min(math.prod(map(abs, self.weights)), sys.float_info.max)

    def plain(self) -> dict[str, Any]:
        """As JSON values: the nodes' ids and titles, the weights, the strength."""
        nodes = [{"id": node.id, "title": node.title, "kind": node.kind, "stage": node.stage} for node in self.nodes]
        return {"strength": self.strength, "weights": list(self.weights), "nodes": nodes}


@dataclass(frozen=True)
class _Tail:
    """The rest of a chain: the log of its strength, the next node, and which of that node's tails goes on."""

    log: float
    target: str = ""
    number: int = 0
    weight: float = 1.0

    @property
    def order(self) -> tuple[float, str, int]:
        return self.log, self.target, -self.number


def paths(graph: GraphStore, class_name: str, count: int = 1) -> list[Chain]:
    """The strongest chains from a class down, strongest first: those that come as low as any does, to their end.

    A chain follows ``built_from`` edges between current nodes, and goes on from a feature to its own variant, which is
    the same thing with what it is built from one stage down. Where nothing is built from anything it follows
    ``specializes`` and ``generalizes`` edges. Where an edge leads to what was merged it goes on with what that became;
    what was forgotten is left out. Cost: linear in the edges below the class, times ``count``.

    Args:
        count: How many at most.

    Raises:
        GraphError: There is no such class.
        SettingsError: ``count`` is below 1.
    """
    if count < 1:
        raise SettingsError(f"the number of chains is {count}.", "Ask for at least one.")
    start = graph.class_node(class_name).id
    lowest: dict[str, int] = {}
    tails: dict[str, list[_Tail]] = {}
    for identifier, steps in _bottom_up(graph, start):
        if not steps:
            lowest[identifier] = graph.rank(graph.node(identifier))
            tails[identifier] = [_Tail(0.0)]
            continue
        lowest[identifier] = min(lowest[target] for target in steps)
        candidates = (
            _Tail(tail.log + _log(weight), target, number, weight)
            for target, weight in steps.items()
            if lowest[target] == lowest[identifier]
            for number, tail in enumerate(tails[target])
        )
        tails[identifier] = heapq.nlargest(count, candidates, key=lambda tail: tail.order)
    return [_chain(graph, tails, start, number) for number in range(len(tails[start]))]


def _chain(graph: GraphStore, tails: dict[str, list[_Tail]], start: str, number: int) -> Chain:
    nodes, weights = [graph.node(start)], []
    tail = tails[start][number]
    while tail.target:
        nodes.append(graph.node(tail.target))
        weights.append(tail.weight)
        tail = tails[tail.target][tail.number]
    return Chain(tuple(nodes), tuple(weights))


def _log(weight: float) -> float:
    return math.log(abs(weight)) if weight else -math.inf


def _bottom_up(graph: GraphStore, start: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Nodes below a node and itself with their steps down, every node after all those it leads to."""
    steps = {start: _steps(graph, start)}
    trail = [(start, iter(list(steps[start])))]
    upon, done = {start}, set()
    while trail:
        identifier, ahead = trail[-1]
        for target in ahead:
            if target in upon:  # only what an edit joined can lead back
                del steps[identifier][target]
            elif target not in done:
                steps[target] = _steps(graph, target)
                trail.append((target, iter(list(steps[target]))))
                upon.add(target)
                break
        else:
            trail.pop()
            upon.remove(identifier)
            done.add(identifier)
            yield identifier, steps[identifier]


def _steps(graph: GraphStore, source: str) -> dict[str, float]:
    """Where a chain can go on from a node, with the weight; a node's own edge before one to what became of it."""
    direct: dict[str, float] = dict.fromkeys(_own_variants(graph, source), 1.0)
    aside: dict[str, float] = {}
    edges = graph.edges(source=source)
    built: list[Edge] = [edge for edge in edges if isinstance(edge, BuiltFrom)]
    for edge in built or [edge for edge in edges if edge.kind in ("generalizes", "specializes")]:
        weight = edge.weight if isinstance(edge, BuiltFrom) else 1.0
        current = _current(graph.node(edge.target))
        for target in [edge.target] if current else _became(graph, edge.target):
            found = direct if current else aside
            if abs(weight) >= abs(found.get(target, 0.0)):
                found[target] = weight
    return {**aside, **direct}


def _own_variants(graph: GraphStore, identifier: str) -> list[str]:
    """A feature's own variants of what it was generalized to: the same thing, with what it is built from below."""
    node = graph.node(identifier)
    if node.kind != "feature":
        return []
    above = [edge.source for edge in graph.edges("generalizes", target=identifier)]
    found = [graph.node(edge.source) for one in above for edge in graph.edges("specializes", target=one)]
    return [one.id for one in found if one.state is None and one.classes == node.classes and one.parent == node.parent]


def _became(graph: GraphStore, identifier: str) -> list[str]:
    """What is current of what a node became in the end; nothing of what was forgotten."""
    found, ahead, seen = [], [identifier], set()
    while ahead:
        here = ahead.pop()
        if here in seen:
            continue
        seen.add(here)
        if graph.node(here).state is None:
            found.append(here)
        ahead += [edge.target for edge in graph.edges("became", source=here)]
    return found
