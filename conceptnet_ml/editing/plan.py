"""Edits of a concept graph and its network, planned and checked on the graph alone.

The network is changed afterwards, in :mod:`conceptnet_ml.results.editor`. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conceptnet_ml.editing.delta import Delta
from conceptnet_ml.errors import GraphError, SettingsError, nearest
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.queries import unit_place
from conceptnet_ml.graph.schema import NODES, Node, node_id

CLOSED = ("merged", "forgotten")
"""States of a unit whose channel is silent or constant, so that it cannot be edited."""

EXCHANGED = "what is exchanged in "
"""The label of a generalized feature that a round found: this, and the round's name."""


@dataclass(frozen=True)
class EditPlan:
    """An edit, checked against the graph.

    Args:
        verb: merge, split, forget, rename or annotate.
        description: In words, for the log.
        delta: The difference in the graph, without the edges that are yet to be measured.
        stage: Where units change; None for an edit that leaves the network's units alone.
        units: The units it works on.
        result: The units whose effects are to be measured afterwards.
        classes: For a split, the class numbers each variant serves; empty where they serve all.
        family: Name of the family that is removed, None for none.
        sources: Nodes that are built from the units: (node, its classes' names).
    """

    verb: str
    description: str
    delta: Delta
    stage: str | None = None
    units: tuple[int, ...] = ()
    result: tuple[int, ...] = ()
    classes: tuple[tuple[int, ...], ...] = ()
    family: str | None = None
    sources: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def structural(self) -> bool:
        """Whether the network or the model changes, and not only a name or a note."""
        return self.stage is not None or self.family is not None


def find_node(graph: ConceptGraph, text: str) -> Node:
    """The node that a user's words mean, as :meth:`ConceptGraph.resolve`; or by ``STAGE:UNIT`` a new node for a unit
    that is in no feature, and so has none. Raises SettingsError where no node or several are meant.
    """
    place = unit_place(graph, text.strip())
    if place is not None:
        stage, unit = place
        width = next(one.width for one in graph.header.stages if one.name == stage)
        if unit >= width:
            raise SettingsError(f"stage {stage} has no unit {unit}", f"It has units 0 to {width - 1}.")
        _, added = _unit_nodes(graph, stage, [unit])
        if added:
            return NODES["unit"].model_validate(added[0])
    return graph.resolve(text)


def closed_units(graph: ConceptGraph, stage: str) -> tuple[int, ...]:
    """Units of a stage that an edit merged into another or made forgotten, ascending."""
    found = (node for node in graph.nodes("unit", stage=stage) if node.state in CLOSED)
    return tuple(sorted(node.units[0] for node in found))


def plan_merge(graph: ConceptGraph, nodes: Sequence[Node], number: int) -> EditPlan:
    """Several units or features of one stage become the unit with the lowest number; the others are silent.

    Features that are merged become members of a new generalized feature.

    Raises:
        GraphError: Not units or features of one stage, fewer than two units, or one that is merged or forgotten.
    """
    if not nodes:
        raise GraphError("there is nothing to merge", "Name two units or features, or more.")
    stage = _one_stage(graph, nodes, "merged")
    units = sorted({unit for node in nodes for unit in _open_units(graph, node, "merged")})
    if len({node.id for node in nodes}) < len(nodes):
        raise GraphError("a node was named twice", "Name each once.")
    if len(units) < 2:
        raise GraphError(
            f"{' and '.join(map(str, nodes))}: that is unit {units[0]} alone, there is nothing to merge",
            "Name units or features with other units.",
        )
    unit_nodes, added = _unit_nodes(graph, stage, units)
    for known in (graph.node(one) for one in unit_nodes.values() if one in graph):
        if known.state == "split":
            raise GraphError(
                f"{known} was split into variants: it cannot be merged",
                "Undo that edit first (graph undo), or merge units that were not split.",
            )
    kept, *others = (unit_nodes[unit] for unit in units)
    update: dict[str, dict[str, Any]] = {other: {"state": "merged"} for other in others}
    edges = [_became(other, kept, number) for other in others]
    sources = _sources(graph, unit_nodes.values())
    features = [node for node in nodes if node.kind == "feature"]
    if features:
        named = {name for node in nodes for name in node.classes}
        classes = [name for name in graph.classes if name in named]
        label = f"{' + '.join(node.title for node in features)} (edit {number})"
        whole = _new_node("generalized", label, stage, classes=classes, units=units[:1])
        added.append(whole)
        sources.append((whole["id"], tuple(classes)))
        for node in features:
            update[node.id] = {"state": "merged"}
            edges.append({"kind": "generalizes", "source": whole["id"], "target": node.id})
            edges.append(_became(node.id, whole["id"], number))
    delta = Delta(added, update, _edges_into(graph, others), edges)
    description = f"merged {', '.join(map(str, nodes))} into unit {units[0]} of {stage}"
    description += f" ({len(units)} units: {_listed(units)})" if features else ""
    return EditPlan("merge", description, delta, stage, tuple(units), tuple(units[:1]), sources=tuple(sources))


def plan_split(
    graph: ConceptGraph, node: Node, number: int, classes: Sequence[str] = (), serves: bool = True
) -> EditPlan:
    """A unit becomes one variant per class: the unit itself for the first, copies with new numbers for the others.

    Args:
        classes: Names of the classes that get a variant of their own; the unit itself serves all others. By default
            all classes, and the unit serves the first.
        serves: Whether the classifier alone reads the stage, so that a variant can belong to a class. Elsewhere there
            are as many variants as classes, and none belongs to one.

    Raises:
        GraphError: Not a unit, one that is merged, forgotten or split already, an unknown class, fewer than two
            variants, or classes where variants cannot belong to them.
    """
    if node.kind != "unit":
        raise GraphError(f"{node} is not a unit: only units are split", "Name a unit, as in block3:12.")
    stage = _one_stage(graph, [node], "split")
    (unit,) = _open_units(graph, node, "split")
    if node.state == "split":
        raise GraphError(f"{node} is split already", "Split one of its variants, or undo that edit.")
    for name in classes:
        if name not in graph.classes:
            raise GraphError(f"there is no class '{name}'", nearest(name, graph.classes))
    if len(set(classes)) < len(classes):
        raise GraphError("a class was named twice", "Name each once.")
    if classes and not serves:
        raise GraphError(
            f"a variant of {node} cannot be a class's: what reads stage {stage} serves all classes",
            "Leave the classes out, or split a unit of the stage below the classifier.",
        )
    named = list(classes or graph.classes)
    others = [name for name in graph.classes if name not in named] or [named.pop(0)]
    if not named:
        raise GraphError(f"a split of {node} needs two variants", "Name another class, or none for all.")
    width = graph.header.stages[graph.rank(node)].units
    copies = range(width, width + len(named))
    added = [
        _new_node("unit", f"{stage} unit {copy}", stage, classes=[name] if serves else list(node.classes), units=[copy])
        for copy, name in zip(copies, named, strict=True)
    ]
    update: dict[str, dict[str, Any]] = {node.id: {"state": "split"} | ({"classes": others} if serves else {})}
    edges = [_became(node.id, copy["id"], number) for copy in added]
    delta = Delta([*_missing(graph, node), *added], update, [], edges, {stage: width + len(named)})
    into = f"variants for {', '.join([' and '.join(others), *named])}" if serves else f"{len(named) + 1} variants"
    groups = [others, *([name] for name in named)] if serves else []
    return EditPlan(
        "split",
        f"split unit {unit} of {stage} into {into}",
        delta,
        stage,
        (unit,),
        (unit, *copies),
        tuple(tuple(graph.classes.index(name) for name in group) for group in groups),
        sources=tuple(_sources(graph, [node.id])),
    )


def plan_forget(graph: ConceptGraph, node: Node) -> EditPlan:
    """A unit or a feature is held at its mean from now on; a generalized feature's family leaves the model. Raises
    GraphError at a class or a variant, or a node that is merged or forgotten already.
    """
    if node.kind == "generalized":
        if node.state is not None:
            raise GraphError(f"{node} is {node.state} already")
        variants = [edge.source for edge in graph.edges("specializes", target=node.id)]
        family = family_of(node)
        if family is None or not variants:
            raise GraphError(f"{node} was made by an edit and has no family", "Undo that edit, or forget its unit.")
        delta = Delta(update={one: {"state": "forgotten"} for one in (node.id, *variants)})
        return EditPlan("forget", f"forgot the family of {node}", delta, family=family)
    stage = _one_stage(graph, [node], "forgotten")
    units = _open_units(graph, node, "forgotten")
    if node.kind == "feature":  # where a unit of it was split, its variants together are what the unit was
        units = sorted({*units, *_variants(graph, stage, units)})
    unit_nodes, added = _unit_nodes(graph, stage, units)
    states = {identifier: {"state": "forgotten"} for identifier in (node.id, *unit_nodes.values())}
    delta = Delta(added, states, _edges_into(graph, unit_nodes.values()))
    description = f"forgot {node}" if node.kind == "unit" else f"forgot {node}, units {_listed(units)}"
    return EditPlan("forget", description, delta, stage, tuple(units))


def plan_rename(graph: ConceptGraph, node: Node, name: str) -> EditPlan:
    """The user's name for a node; an empty one gives it its label back. Raises GraphError where the node or another is
    called so already, or the name is not one line of text or means a unit.
    """
    name = _one_line(name, "name")
    if name == (node.name or ""):
        raise GraphError(f"{node} {'is called so' if name else 'has no name'} already")
    if unit_place(graph, name) is not None:
        raise GraphError(f"'{name}' is what a unit is named by", "Choose another name.")
    for other in graph.nodes():
        if name and other.id != node.id and name in (other.id, other.name, other.label):
            raise GraphError(f"{other} is called '{name}' already", "Choose another name.")
    delta = Delta(_missing(graph, node), {node.id: {"name": name or None}})
    return EditPlan("rename", f"called {node} '{name}'" if name else f"took the name of {node} away", delta)


def plan_annotate(graph: ConceptGraph, node: Node, note: str) -> EditPlan:
    """The user's note on a node; an empty one removes it. Raises GraphError where it is there, or not one line."""
    note = _one_line(note, "note")
    if note == (node.note or ""):
        raise GraphError(f"{node} {'has this note' if note else 'has no note'} already")
    delta = Delta(_missing(graph, node), {node.id: {"note": note or None}})
    return EditPlan("annotate", f"noted of {node}: {note}" if note else f"took the note of {node} away", delta)


def measured_edges(
    sources: Sequence[tuple[str, tuple[str, ...]]], effects: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    """Edges from nodes, which belong to classes, to units, by the units' real effects: by unit node and class name, the
    mean fall of the class's margin when the unit is held at its mean."""
    edges = []
    for source, classes in sources:
        for unit, falls in effects.items():
            own = [falls[name] for name in classes]
            if source != unit and own:
                value = sum(own) / len(own)
                edges.append({"kind": "built_from", "source": source, "target": unit, "weight": value, "effect": value})
    return edges


def family_of(node: Node) -> str | None:
    """Name of a generalized feature's family in the model, by the round that found it; None if an edit made it."""
    if not node.label.startswith(EXCHANGED):
        return None
    return family_name(node.label.removeprefix(EXCHANGED))


def family_name(round: str) -> str:
    """The name of the family that a round leaves where it is kept, from the round's ``stage/readout/number``."""
    stage, readout, number = round.split("/")
    return f"{stage}.{number}" if readout == "classes" else f"{readout}.{stage}.{number}"


def _one_stage(graph: ConceptGraph, nodes: Sequence[Node], done: str) -> str:
    """The stage of all nodes, which must be units or features on its units."""
    for node in nodes:
        if node.kind not in ("unit", "feature"):
            raise GraphError(f"{node} cannot be {done}: it is no unit or feature", "Name units or features.")
    stages = sorted({str(node.stage) for node in nodes})
    if len(stages) > 1:
        raise GraphError(f"these are at different stages: {', '.join(stages)}", "Name nodes of one stage.")
    for stage in graph.header.stages:
        if stage.name == stages[0] and stage.directions is not None:
            raise GraphError(
                f"stage {stage.name} is described by directions, which are spread over all its units",
                "Only units of a network can be merged, split or forgotten: learn with --set plugins.discoverer=units.",
            )
    return stages[0]


def _open_units(graph: ConceptGraph, node: Node, done: str) -> list[int]:
    """The units of a unit or feature that no edit has closed; there must be one."""
    if node.state in CLOSED:
        into = [f" into {graph.node(edge.target)}" for edge in graph.edges("became", source=node.id)][:1]
        raise GraphError(
            f"{node} is already {node.state}{''.join(into)}: it cannot be {done}",
            "Name what it became, or undo that edit." if into else "Undo that edit.",
        )
    closed = closed_units(graph, str(node.stage))
    units = [unit for unit in node.units if unit not in closed]
    if not units:
        raise GraphError(f"all units of {node} are merged or forgotten: it cannot be {done}", "Undo an edit.")
    return units


def _variants(graph: ConceptGraph, stage: str, units: Iterable[int]) -> list[int]:
    """The units that these became by splits and that no edit has closed."""
    closed, found = closed_units(graph, stage), []
    pending = [node for node in graph.nodes("unit", stage=stage) if node.units[0] in units]
    while pending:
        edges = graph.edges("became", source=pending.pop().id)
        pending += [graph.node(edge.target) for edge in edges]
        found += [graph.node(edge.target).units[0] for edge in edges]
    return [unit for unit in found if unit not in closed]


def _one_line(text: str, what: str) -> str:
    text = text.strip()
    if not text.isprintable():
        raise GraphError(f"a {what} is one line of text", "Leave line breaks and control characters out.")
    return text


def _missing(graph: ConceptGraph, node: Node) -> list[dict[str, Any]]:
    return [] if node.id in graph else [node.plain()]


def _unit_nodes(graph: ConceptGraph, stage: str, units: Iterable[int]) -> tuple[dict[int, str], list[dict[str, Any]]]:
    """The ids of units' nodes, and new nodes for those that have none."""
    known = {node.units[0]: node.id for node in graph.nodes("unit", stage=stage)}
    found, added = {}, []
    for unit in units:
        if unit not in known:
            added.append(_new_node("unit", f"{stage} unit {unit}", stage, units=[unit]))
        found[unit] = known.get(unit) or added[-1]["id"]
    return found, added


def _new_node(kind: str, label: str, stage: str, units: Sequence[int], **fields: Any) -> dict[str, Any]:
    identifier = node_id(kind, label, stage, None, None, units)
    return NODES[kind](id=identifier, label=label, stage=stage, units=tuple(units), **fields).plain()


def _became(source: str, target: str, number: int) -> dict[str, Any]:
    return {"kind": "became", "source": source, "target": target, "edit": number}


def _edges_into(graph: ConceptGraph, targets: Iterable[str]) -> list[tuple[str, str, str]]:
    """The built_from edges to these nodes from nodes about the network's own answers.

    Below a feature, nodes are about a family's answers; the family keeps its own trunk, which is not edited.
    """
    found = [edge for target in targets for edge in graph.edges("built_from", target=target)]
    sources = {edge.source: graph.node(edge.source) for edge in found}
    own = {one.id for one in sources.values() if one.kind != "variant" and one.parent is None}
    return [(edge.source, edge.kind, edge.target) for edge in found if edge.source in own]


def _sources(graph: ConceptGraph, targets: Iterable[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Nodes that are built from these, are about the network's own answers and no units, with their classes."""
    ids = sorted({source for source, _, _ in _edges_into(graph, targets)})
    return [(source, graph.node(source).classes) for source in ids if graph.node(source).kind != "unit"]


def _listed(units: Sequence[int]) -> str:
    return ", ".join(map(str, units))
