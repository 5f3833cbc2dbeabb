"""Queries to a concept graph: nodes and edges by conditions, the node that words mean, the strongest chains.

Every answer is linear in the graph. Nothing here changes it or needs networkx.
"""

from __future__ import annotations

import heapq
import math
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from conceptnet_ml.errors import SettingsError, nearest
from conceptnet_ml.graph.naming import called, spoken
from conceptnet_ml.graph.schema import EDGES, NODES, Analogous, BuiltFrom, Edge, Node, Specializes
from conceptnet_ml.graph.store import GraphStore

STATES = ("current", "merged", "split", "forgotten")
"""``current`` nodes are those that no edit has put aside."""

_SHOWN = 5


@dataclass(frozen=True)
class Conditions:
    """Conditions on nodes or edges; what is not given is no condition.

    Args:
        kind: Of a node class, variant, generalized, feature or unit; of an edge built_from, generalizes, specializes,
            analogous or became.
        stage: The node's stage.
        class_: A class to which the node belongs, or that the edge names.
        state: merged, split or forgotten by an edit; ``current`` for nodes that none has put aside.
        text: Part of the node's id, label, name, note or reason, or of what pages call it, in upper or lower case.
        min_weight: The edge, or an edge at the node, has at least this weight or score, of either sign.
    """

    kind: str | None = None
    stage: str | None = None
    class_: str | None = None
    state: str | None = None
    text: str | None = None
    min_weight: float | None = None

    def check(self, graph: GraphStore, what: str, kinds: Collection[str]) -> None:
        """Raise SettingsError where the graph has no such kind, stage, class or state, or the weight is no number."""
        given = {
            what: (self.kind, kinds),
            "stage": (self.stage, graph.stages),
            "class": (self.class_, graph.classes),
            "state": (self.state, STATES),
        }
        for word, (name, known) in given.items():
            if name is not None and name not in known:
                raise SettingsError(f"there is no {word} '{name}'.", _other_kind(name, what) or nearest(name, known))
        if self.min_weight is not None and math.isnan(self.min_weight):
            raise SettingsError("the least weight is not a number.", "Give a number such as 0.5.")


def _other_kind(name: str, what: str) -> str:
    """Where a kind of edge was asked for among nodes, or the other way round, how it is asked for."""
    if what == "kind" and name in EDGES:
        return "It is a kind of edge: add --edges (in Python select_edges)."
    return "It is a kind of node: leave --edges out (in Python select)." if what != "kind" and name in NODES else ""


def select_nodes(graph: GraphStore, **conditions: Any) -> list[Node]:
    """Nodes that meet every condition of :class:`Conditions`, in the order of their ids. Raises as its ``check``."""
    where = Conditions(**conditions)
    where.check(graph, "kind", NODES)
    found = graph.nodes(where.kind, stage=where.stage, class_=where.class_)
    if where.state is not None:
        found = [node for node in found if node.state == where.state or (where.state == "current" and _current(node))]
    if where.text is not None:
        found = [node for node in found if _contains(node, where.text.casefold())]
    if where.min_weight is not None:
        strong = {end for edge in graph.edges() if _strong(edge, where) for end in (edge.source, edge.target)}
        found = [node for node in found if node.id in strong]
    return found


def select_edges(graph: GraphStore, **conditions: Any) -> list[Edge]:
    """Edges one of whose ends meets the :class:`Conditions` on nodes, in the order of source, target and key.

    The class is that of the same end, or one that the edge itself names. Raises as :meth:`Conditions.check`.
    """
    where = Conditions(**conditions)
    where.check(graph, "kind of edge", EDGES)
    ends = {node.id: node for node in select_nodes(graph, stage=where.stage, state=where.state, text=where.text)}

    def meets(edge: Edge) -> bool:
        near = [ends[end] for end in (edge.source, edge.target) if end in ends]
        name = where.class_
        return bool(near) and (name is None or _names(edge, name) or any(node.belongs_to(name) for node in near))

    return [edge for edge in graph.edges(where.kind) if _strong(edge, where) and meets(edge)]


def _current(node: Node) -> bool:
    """Whether no edit has put it aside; a split unit stays in use beside its copies."""
    return node.state in (None, "split")


def _contains(node: Node, text: str) -> bool:
    words = (node.id, node.label, node.name, node.note, called(node), getattr(node, "reason", None))
    return any(text in some.casefold() for some in words if some)


def _strong(edge: Edge, where: Conditions) -> bool:
    if where.min_weight is None:
        return True
    return edge.strength is not None and abs(edge.strength) >= where.min_weight


def _names(edge: Edge, class_: str) -> bool:
    if isinstance(edge, Analogous):
        return class_ in (edge.class_name, edge.other)
    return isinstance(edge, Specializes) and edge.class_name == class_


# ------------------------------------------------------------------------------------------------ nodes by words


def resolve_node(graph: GraphStore, text: str) -> Node:
    """The one node that a user's words mean.

    Its id; else its label or name, or ``STAGE:UNIT`` or ``STAGE/UNIT`` for a unit's node; else what pages call it, in
    upper or lower case (:mod:`conceptnet_ml.graph.naming`); else the beginning of its id. Nodes that an edit put aside
    are found by such words only where no current one is, by their id always. Raises SettingsError where no node or
    several are meant; the mend names the nearest that mean one.
    """
    text = text.strip()
    if text in graph:
        return graph.node(text)
    nodes = graph.nodes()
    place = unit_place(graph, text)
    meant = None if place is None else ("unit", place[0], (place[1],))
    found = [one for one in nodes if text in (one.label, one.name) or (one.kind, one.stage, one.units) == meant]
    found = found or [node for node in nodes if text.casefold() in spoken(node)]
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
    near = nearest(text, _that_mean_one(nodes), "graph show RUN --table", things=f"{len(nodes)} nodes")
    raise SettingsError(f"there is no node '{text}' in the graph.", f"{near} An id, or STAGE:UNIT, names one, too.")


def _that_mean_one(nodes: Sequence[Node]) -> list[str]:
    """Labels, names, and what pages call nodes, where :func:`resolve_node` takes them for one node."""
    first = Counter(name for node in nodes for name in {node.label, node.name} if name)
    other = Counter(name for node in nodes for name in spoken(node))
    shown = {called(node) for node in nodes if called(node) not in first and other[called(node).casefold()] == 1}
    return [*(name for name, count in first.items() if count == 1), *shown]


def unit_place(graph: GraphStore, text: str) -> tuple[str, int] | None:
    """Stage and unit, where the text names them, as ``block3:12`` does."""
    for sign in (":", "/"):
        stage, _, unit = text.rpartition(sign)
        if stage in graph.stages and unit.isascii() and unit.isdigit() and len(unit) < 10:
            return stage, int(unit)
    return None


def _described(node: Node) -> str:
    at = f" at {node.stage}" if node.stage is not None else ""
    round = f", round {node.round}" if node.round is not None else ""
    state = f", {node.state}" if node.state is not None else ""
    return f"{node.kind} {node.title}{at}{round}{state}"


def _units_near(graph: GraphStore, stage: str, unit: int) -> str:
    units = sorted({node.units[0] for node in graph.nodes("unit", stage=stage)}, key=lambda one: (abs(one - unit), one))
    known = ", ".join(str(one) for one in sorted(units[:_SHOWN]))
    return f"Nearest with a node: {known}." if units else f"Stage {stage} has no units in the graph."


# ------------------------------------------------------------------------------------------------ chains


@dataclass(frozen=True)
class Chain:
    """A way down from a class, each node built from the next.

    Args:
        nodes: From the class down.
        weights: Of the edges between them; 1 for an edge without a weight.
    """

    nodes: tuple[Node, ...]
    weights: tuple[float, ...]

    @property
    def strength(self) -> float:
        """Product of the weights' sizes, at most the largest float."""
        return min(math.prod(map(abs, self.weights)), sys.float_info.max)

    @property
    def sign(self) -> int:
        """1 where the chain speaks for the class, -1 where against it: where an odd number of weights is negative."""
        return -1 if sum(weight < 0 for weight in self.weights) % 2 else 1

    def plain(self) -> dict[str, Any]:
        """As JSON values: the nodes' ids and titles, the weights, strength and sign."""
        nodes = [{"id": node.id, "title": node.title, "kind": node.kind, "stage": node.stage} for node in self.nodes]
        return {"strength": self.strength, "sign": self.sign, "weights": list(self.weights), "nodes": nodes}


class _Tail(NamedTuple):
    """The rest of a chain, compared by the log of its strength, then by the next node and the place among its tails."""

    log: float
    target: str = ""
    minus_place: int = 0
    weight: float = 1.0


def strongest_chains(graph: GraphStore, class_name: str, count: int = 1) -> list[Chain]:
    """The ``count`` strongest chains down from a class, whatever their sign: of each thing the class is built from the
    strongest, the thing of the largest weight first; then the second strongest of each, and so on.

    So the class's strongest features come first, though the chains of another may have larger products: weights are of
    other scales from stage to stage, and features that are worked through deeper have more of them. Of one thing the
    chains are those that end lowest, strongest first.

    A chain follows ``built_from`` edges between current nodes. From a feature it also goes to the feature's own
    variant, which is the same concept with its parts one stage down. A node without ``built_from`` edges is left by
    ``specializes`` and ``generalizes`` edges. A merged node is replaced by the one it became, forgotten nodes are left
    out. Cost: linear in the edges below the class, times ``count``. Raises GraphError where there is no such class,
    SettingsError where ``count`` is below 1.
    """
    if count < 1:
        raise SettingsError(f"the number of chains is {count}.", "Ask for at least one.")
    start = graph.class_node(class_name).id
    lowest: dict[str, int] = {}
    tails: dict[str, list[_Tail]] = {}
    for identifier, steps in _bottom_up(graph, [start]):
        if not steps:
            lowest[identifier] = graph.rank(graph.node(identifier))
            tails[identifier] = [_Tail(0.0)]
            continue
        lowest[identifier] = min(lowest[target] for target in steps)
        candidates = [
            _Tail(tail.log + (math.log(abs(weight)) if weight else -math.inf), target, -place, weight)
            for target, weight in steps.items()
            if identifier == start or lowest[target] == lowest[identifier]
            for place, tail in enumerate(tails[target])
        ]
        if identifier == start:
            tails[start] = heapq.nlargest(count, candidates, key=lambda one: (one.minus_place, abs(one.weight), one))
        else:
            tails[identifier] = heapq.nlargest(count, candidates)
    return [_chain(graph, tails, start, tail) for tail in tails[start]]


def _chain(graph: GraphStore, tails: dict[str, list[_Tail]], start: str, tail: _Tail) -> Chain:
    nodes, weights = [graph.node(start)], []
    while tail.target:
        nodes.append(graph.node(tail.target))
        weights.append(tail.weight)
        tail = tails[tail.target][-tail.minus_place]
    return Chain(tuple(nodes), tuple(weights))


def strength(graph: GraphStore, node: Node) -> float:
    """How much hangs on a node: its own effect in logits; of what was generalized the largest of its members', of a
    variant the size of what it is built from, of a unit the largest weight of an edge that leads to it."""
    if node.effect is not None:
        return abs(node.effect)
    if node.kind == "generalized":
        members = [graph.node(edge.target) for edge in graph.edges("generalizes", source=node.id)]
        return max((strength(graph, member) for member in members), default=0.0)
    ends = {"target": node.id} if node.kind == "unit" else {"source": node.id}
    return max((abs(edge.strength or 0.0) for edge in graph.edges("built_from", **ends)), default=0.0)


def influence(graph: GraphStore) -> dict[str, float]:
    """How much of the classes rests on each node, by its id.

    Every class has 1 to hand on; a node hands all it got on to the nodes at which a chain from it goes on
    (:func:`strongest_chains`), in proportion to the sizes of their weights. So the nodes of one height on which
    everything rests have as much together as there are classes; a node to which no class leads has none. It is the
    influence by which attribution graphs are pruned (Ameisen et al., Circuit Tracing, transformer-circuits.pub, 2025).
    Cost: linear in the edges.
    """
    classes = [graph.class_node(name).id for name in graph.classes]
    found = {node.id: float(node.id in classes) for node in graph.nodes()}
    for identifier, steps in reversed(list(_bottom_up(graph, classes))):
        largest = max(map(abs, steps.values()), default=0.0) or 1.0  # first, as sums of large weights may be infinite
        parts = {target: abs(weight) / largest for target, weight in steps.items()}
        for target, part in parts.items():
            found[target] += found[identifier] * part / (sum(parts.values()) or 1.0)
    return found


def _bottom_up(graph: GraphStore, starts: Sequence[str]) -> Iterator[tuple[str, dict[str, float]]]:
    """Nodes and those below them with their steps down, every node after all those it leads to."""
    steps: dict[str, dict[str, float]] = {}
    open_: set[str] = set()
    done: set[str] = set()
    for start in starts:
        if start not in done:
            yield from _below(graph, start, steps, open_, done)


def _below(
    graph: GraphStore, start: str, steps: dict[str, dict[str, float]], open_: set[str], done: set[str]
) -> Iterator[tuple[str, dict[str, float]]]:
    """What is not done yet of :func:`_bottom_up` from one node."""
    steps[start] = _steps(graph, start)
    trail = [(start, iter(list(steps[start])))]
    open_.add(start)
    while trail:
        identifier, ahead = trail[-1]
        for target in ahead:
            if target in open_:  # a circle: only an edit that joins nodes makes one
                del steps[identifier][target]
            elif target not in done:
                steps[target] = _steps(graph, target)
                trail.append((target, iter(list(steps[target]))))
                open_.add(target)
                break
        else:
            trail.pop()
            open_.remove(identifier)
            done.add(identifier)
            yield identifier, steps[identifier]


def _steps(graph: GraphStore, source: str) -> dict[str, float]:
    """Nodes at which a chain goes on, with the weight; a node's own edge counts before one to a node it became."""
    direct: dict[str, float] = dict.fromkeys(own_variants(graph, source), 1.0)
    replaced: dict[str, float] = {}
    edges = graph.edges(source=source)
    built: list[Edge] = [edge for edge in edges if isinstance(edge, BuiltFrom)]
    for edge in built or [edge for edge in edges if edge.kind in ("generalizes", "specializes")]:
        weight = edge.weight if isinstance(edge, BuiltFrom) else 1.0
        current = _current(graph.node(edge.target))
        for target in [edge.target] if current else _became(graph, edge.target):
            found = direct if current else replaced
            if abs(weight) >= abs(found.get(target, 0.0)):
                found[target] = weight
    return {**replaced, **direct}


def own_variants(graph: GraphStore, identifier: str) -> list[str]:
    """A feature's own variants of the generalized features it is a member of, by their ids: the same concept, with its
    parts one stage down. None of a node of another kind."""
    node = graph.node(identifier)
    if node.kind != "feature":
        return []
    above = [edge.source for edge in graph.edges("generalizes", target=identifier)]
    found = [graph.node(edge.source) for one in above for edge in graph.edges("specializes", target=one)]
    return [one.id for one in found if one.state is None and one.classes == node.classes and one.parent == node.parent]


def _became(graph: GraphStore, identifier: str) -> list[str]:
    """The current nodes that a node became in the end; none for a forgotten one."""
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
