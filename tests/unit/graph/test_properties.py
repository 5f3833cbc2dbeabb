"""What holds of every concept graph: files read back, equal graphs have equal bytes, a refused edit leaves no trace."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from graphml import from_graphml, to_graphml
from hypothesis import HealthCheck, Phase, assume, find, given, settings
from hypothesis import strategies as st

from conceptnet_ml.errors import GraphError, SettingsError
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.schema import EDGES, NODES, Node

TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=8).map(str.strip).filter(bool)
TEXTS = TEXTS.filter(lambda text: not set("\ufffe\uffff") & set(text))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
SHARES = st.floats(0, 1)
ROUNDS = st.none() | st.integers(1, 9)
FAST = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
WIDTH = 9


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def ordered(count: int) -> st.SearchStrategy[list[float]]:
    return st.lists(NUMBERS, min_size=count, max_size=count).map(sorted)


def common(classes: tuple[str, ...]) -> dict[str, st.SearchStrategy[Any]]:
    """Every field of every kind of node but those that say what it is."""
    return {
        "auc": maybe(SHARES),
        "effect": maybe(NUMBERS),
        "accuracy": maybe(SHARES),
        "pictures": st.lists(st.sampled_from(["a/ü b.png", "c.png"]), max_size=2),
        "examples": st.lists(TEXTS, max_size=3),
        "provenance": maybe(st.fixed_dictionaries({"plugin": TEXTS, "seed": st.integers(0, 2**63)})),
        "name": maybe(TEXTS),
        "note": maybe(TEXTS),
        "found_in": maybe(TEXTS),
        "agreement": maybe(st.floats(-1, 1)),
        "spectrum": st.dictionaries(st.sampled_from(classes), ordered(3)),
    }


def judged(classes: tuple[str, ...]) -> dict[str, st.SearchStrategy[Any]]:
    return {
        **common(classes),
        "phi": maybe(SHARES),
        "iota": maybe(NUMBERS),
        "decision": st.sampled_from([None, "kept", "undone", "leaf"]),
        "reason": maybe(TEXTS),
        "sureness": maybe(SHARES),
        "representation": maybe(TEXTS),
        "r_before": maybe(SHARES),
        "r_after": maybe(SHARES),
        "swap_cost": maybe(SHARES),
        "coverage": st.dictionaries(st.sampled_from(classes), SHARES),
        "overlap": maybe(SHARES),
    }


def add(draw: Any, graph: ConceptGraph, kind: str, label: str, **fields: Any) -> str:
    drawn = judged(graph.classes) if kind in ("feature", "generalized", "variant") else common(graph.classes)
    return graph.add_node(kind, label, **draw(st.fixed_dictionaries(drawn)), **fields)


def built_from(draw: Any, graph: ConceptGraph, source: str, target: str) -> None:
    fields = dict.fromkeys(("low", "high"))
    if draw(st.booleans()):
        fields["low"], fields["high"] = draw(ordered(2))
    numbers = {name: draw(maybe(NUMBERS)) for name in ("effect", "gap", "null")}
    graph.add_edge("built_from", source, target, weight=draw(NUMBERS), **fields, **numbers)


@st.composite
def graphs(draw: Any) -> ConceptGraph:
    """Sound and complete, with every kind of node, edge and state, and every field."""
    classes = draw(st.lists(TEXTS, min_size=2, max_size=3, unique=True))
    top, low = draw(st.lists(TEXTS, min_size=2, max_size=2, unique=True))
    graph = ConceptGraph(
        classes, [(low, WIDTH), (top, WIDTH)], network=draw(TEXTS), settings="s", seed=draw(st.integers(0, 2**63))
    )
    nodes = [add(draw, graph, "class", name, classes=[name]) for name in classes]
    round, label = draw(ROUNDS), draw(TEXTS)
    shared = draw(st.lists(st.sampled_from(classes), unique=True))
    thing = add(draw, graph, "generalized", label, stage=top, round=round, classes=classes, shared_by=shared)
    features, variants, units = [], [], []
    for index, name in enumerate(classes):
        members = draw(st.sets(st.integers(0, WIDTH - 1), min_size=1))
        fields = {"stage": top, "round": round, "classes": [name]}
        features.append(add(draw, graph, "feature", f"{label} {index}", units=members, **fields))
        variants.append(add(draw, graph, "variant", f"{label} {index}", **fields))
        units.append(add(draw, graph, "unit", f"{label} {index}", stage=low, units=[index]))
        graph.add_edge("generalizes", thing, features[-1], score=draw(maybe(NUMBERS)))
        graph.add_edge("specializes", variants[-1], thing, class_name=name)
        built_from(draw, graph, nodes[index], features[-1])
        built_from(draw, graph, variants[-1], units[-1])
    below = add(draw, graph, "feature", "below", stage=low, parent=variants[0], units=[0], state="forgotten")
    built_from(draw, graph, features[0], below)
    for ends in ((features[0], features[1]), (units[0], units[1])):
        numbers = {name: draw(maybe(NUMBERS)) for name in ("null", "untrained")}
        graph.add_edge("analogous", *ends, class_name=classes[0], other=classes[1], score=draw(NUMBERS), **numbers)
    graph.add_edge("analogous", units[0], units[1], class_name=classes[1], other=classes[0], score=0.5)
    state = draw(st.sampled_from(["merged", "split"]))
    graph.update_node(features[1], state=state)
    for part in range(1 if state == "merged" else 2):
        made = add(draw, graph, "feature", f"part {part}", stage=top, units=[part], classes=[classes[1]])
        graph.add_edge("became", features[1], made, edit=draw(st.integers(7, 7)))
    return graph


@FAST
@given(graphs())
def test_json_and_graphml_read_back_to_an_equal_graph_of_equal_bytes(graph: ConceptGraph) -> None:
    assert graph.check() == []
    text = graph.to_json()
    for again in (ConceptGraph.from_json(text), from_graphml(to_graphml(graph))):
        assert again == graph
        assert again.to_json() == text
        assert to_graphml(again) == to_graphml(graph)


NEVER = {
    "class": {"stage", "round", "parent", "units", "state"},
    "unit": {"round", "parent", "classes", "state"},
    "variant": {"units", "parent", "state"},
    "generalized": {"units", "parent", "state"},
    "specializes": {"parent"},
}


def test_the_generated_graphs_have_every_kind_of_record_and_every_field() -> None:
    seen: dict[str, set[str]] = {kind: set() for kind in (*NODES, *EDGES)}

    def shows(graph: ConceptGraph, kind: str, field: str) -> bool:
        for record in (*graph.nodes(), *graph.edges()):
            seen[record.kind] |= {name for name, value in record.plain().items() if value not in ([], {})}
        return field in seen[kind]

    # Each field is looked for by itself: graphs drawn one after another are alike, and a fixed number can lack one.
    search = settings(max_examples=200, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    for kind, model in {**NODES, **EDGES}.items():
        for field in set(model.model_fields) - NEVER.get(kind, set()):
            if field not in seen[kind]:
                find(graphs(), partial(shows, kind=kind, field=field), settings=search)


@FAST
@given(graphs(), st.randoms(use_true_random=False))
def test_the_order_of_writing_leaves_no_trace(graph: ConceptGraph, random: Any) -> None:
    plain = json.loads(graph.to_json())
    random.shuffle(plain["nodes"])
    random.shuffle(plain["edges"])
    again = ConceptGraph.from_plain(plain)
    assert again == graph
    assert (again.to_json(), to_graphml(again)) == (graph.to_json(), to_graphml(graph))


@FAST
@given(st.sampled_from([0.0, -0.0]), st.sampled_from([0.0, -0.0]))
def test_zeros_of_either_sign_are_the_same_bytes(weight: float, low: float) -> None:
    texts = set()
    for sign in (1.0, -1.0):
        graph = ConceptGraph(["a"], [("s", 1)], network="n", settings="s", seed=0)
        source = graph.add_node("class", "a", spectrum={"a": [sign * low, sign * weight, 0.0]})
        target = graph.add_node("unit", "u", stage="s", units=[0], effect=sign * weight)
        graph.add_edge("built_from", source, target, weight=sign * weight, low=sign * low, high=0.0)
        texts.add(graph.to_json())
    assert len(texts) == 1


# --------------------------------------------------------------------------------------------------------- edits

LABELS = st.sampled_from(["a", "b", "c", "car", "dog", "", " "])
CLASSES = st.lists(st.sampled_from(["car", "dog", "cat"]), max_size=2)
UNITS = st.lists(st.integers(-1, 4), max_size=2)
STATES = st.sampled_from([None, "merged", "split", "forgotten"])
NEW_NODES = st.fixed_dictionaries(
    {"kind": st.sampled_from([*NODES, "thing"]), "label": LABELS},
    optional={
        "stage": st.sampled_from(["low", "top", "no"]),
        "round": st.integers(0, 2),
        "classes": CLASSES,
        "units": UNITS,
        "state": STATES,
        "parent": st.integers(0, 20),
        "spectrum": st.dictionaries(st.sampled_from(["car", "cat"]), st.lists(NUMBERS, min_size=3, max_size=3)),
    },
)
NEW_EDGES = st.fixed_dictionaries(
    {"kind": st.sampled_from([*EDGES, "made_of"]), "source": st.integers(0, 20), "target": st.integers(0, 20)},
    optional={
        "weight": st.floats(),
        "class_name": st.sampled_from(["car", "dog", "cat"]),
        "other": st.sampled_from(["car", "dog"]),
        "score": st.floats(),
        "edit": st.integers(0, 2),
        "parent": st.integers(0, 20),
    },
)
CHANGES = st.fixed_dictionaries(
    {"node": st.integers(0, 20)},
    optional={"classes": CLASSES, "state": STATES, "auc": st.floats(-1, 2), "units": UNITS, "name": LABELS},
)
EDITS = st.one_of(NEW_EDGES, NEW_NODES, CHANGES)
COMPLETED = ("has no node", "needs a generalizes edge", "specializes edges, it needs", "it needs a became edge")
EDITED = ("became edges, it needs", "in different edits", "is neither merged nor split")


def started() -> ConceptGraph:
    graph = ConceptGraph(["car", "dog"], [("low", 3), ("top", 4)], network="n", settings="s", seed=0)
    for name in graph.classes:
        graph.add_node("class", name, classes=[name])
        for unit in (0, 1):
            graph.add_node("feature", f"{name} {unit}", stage="top", classes=[name], units=[unit])
        graph.add_node("generalized", f"{name} thing", stage="top", classes=["car", "dog"])
        graph.add_node("variant", f"{name} thing", stage="top", classes=[name])
        graph.add_node("unit", f"{name} unit", stage="low", units=[graph.classes.index(name)])
    return graph


def apply(graph: ConceptGraph, edit: dict[str, Any]) -> None:
    ids = [node.id for node in graph.nodes()]
    fields = {
        key: ids[value % len(ids)] if key in ("source", "target", "node", "parent") else value
        for key, value in edit.items()
    }
    if "node" in fields:
        graph.update_node(fields.pop("node"), **fields)
    elif "source" in fields:
        allowed = {"built_from": {"weight"}, "generalizes": {"score"}, "specializes": {"class_name", "parent"}}
        allowed |= {"analogous": {"class_name", "other", "score"}, "became": {"edit"}}
        kind, source, target = fields.pop("kind"), fields.pop("source"), fields.pop("target")
        graph.add_edge(
            kind, source, target, **{key: value for key, value in fields.items() if key in allowed.get(kind, {})}
        )
    else:
        graph.add_node(fields.pop("kind"), fields.pop("label"), **fields)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(EDITS, max_size=25))
def test_an_edit_is_sound_or_refused_without_a_trace(edits: list[dict[str, Any]]) -> None:
    graph = started()
    for edit in edits:
        before = graph.to_json()
        try:
            apply(graph, edit)
        except GraphError:
            assert graph.to_json() == before
            continue
        unsound = [problem for problem in graph.check() if not any(some in problem for some in (*COMPLETED, *EDITED))]
        assert unsound == []
    assert ConceptGraph.from_json(graph.to_json()) == graph
    assert from_graphml(to_graphml(graph)) == graph


# ------------------------------------------------------------------------------------------------------ questions


@FAST
@given(graphs(), graphs())
def test_differences_agree_with_sets(old: ConceptGraph, new: ConceptGraph) -> None:
    assert not old.diff(old)
    found = old.diff(new)
    for changes, records in (
        (found.nodes, [{node.id: node for node in graph.nodes()} for graph in (old, new)]),
        (found.edges, [{(e.source, e.target, e.key): e for e in graph.edges()} for graph in (old, new)]),
    ):
        before, after = records
        assert len(changes.added) == len(after.keys() - before.keys())
        assert len(changes.removed) == len(before.keys() - after.keys())
        assert len(changes.changed) == sum(before[key] != after[key] for key in before.keys() & after.keys())
        assert len(before) + len(changes.added) - len(changes.removed) == len(after)
    back = new.diff(old)
    assert (back.nodes.added, back.edges.removed) == (found.nodes.removed, found.edges.added)
    assert bool(found) == (old != new)


@FAST
@given(graphs(), st.data())
def test_a_change_of_one_field_is_the_whole_difference(graph: ConceptGraph, data: Any) -> None:
    node = data.draw(st.sampled_from(graph.nodes()))
    other = ConceptGraph.from_json(graph.to_json())
    auc = data.draw(SHARES)
    assume(auc != node.auc)
    other.update_node(node.id, auc=auc)
    found = graph.diff(other)
    (change,) = found.nodes.changed
    assert change.fields == {"auc": (node.auc, auc)}
    assert not found.edges
    assert not found.nodes.added


def wanted(graph: ConceptGraph, text: str) -> Node | None:
    try:
        return graph.resolve(text)
    except SettingsError:
        return None


@FAST
@given(graphs(), st.integers(4, 12))
def test_the_beginning_of_an_id_finds_its_node(graph: ConceptGraph, length: int) -> None:
    names = {name for node in graph.nodes() for name in (node.label, node.name)}
    for node in graph.nodes():
        start = node.id[:length]
        alike = [other for other in graph.nodes() if other.id.startswith(start)]
        if start not in names:
            assert wanted(graph, start) == (node if alike == [node] else None)
        assert graph.resolve(node.id) == node


@FAST
@given(graphs())
def test_a_label_finds_its_node_where_no_other_current_one_has_it(graph: ConceptGraph) -> None:
    for node in graph.nodes():
        alike = [other for other in graph.nodes() if node.label in (other.label, other.name) and other.state is None]
        place = any(node.label == f"{at.stage}{sign}{at.units[0]}" for at in graph.nodes("unit") for sign in ":/")
        if node.state is None and not place:
            assert wanted(graph, node.label) == (node if alike == [node] else None)
