"""What must hold of edits, analogies and spectra; bad input, refused with what is wrong and what to do."""

from __future__ import annotations

import json
from typing import Any

import networkx as nx
import pytest
from graphml import from_graphml, to_graphml

from conceptnet_ml.errors import ConceptNetError, DataError, GraphError
from conceptnet_ml.graph.concept_graph import ConceptGraph


class Edited:
    """Two features of one class that an edit merged, and one of the other class that an edit split."""

    def __init__(self) -> None:
        self.graph = graph = ConceptGraph(["car", "dog"], [("low", 8), ("top", 8)], network="n", settings="s", seed=0)
        for name in graph.classes:
            graph.add_node("class", name, classes=[name])
        self.left, self.right = (self.feature(name, "car", [n]) for n, name in enumerate(("left", "right")))
        self.both = self.feature("both", "car", [0, 1])
        self.whole = self.feature("whole", "dog", [2, 3])
        self.parts = [self.feature(f"part {n}", "dog", [n]) for n in (2, 3)]
        self.unit = graph.add_node("unit", "low unit 1", stage="low", units=[1])
        for old in (self.left, self.right):
            graph.update_node(old, state="merged")
            graph.add_edge("became", old, self.both, edit=1)
        graph.update_node(self.whole, state="split")
        for part in self.parts:
            graph.add_edge("became", self.whole, part, edit=2)

    def feature(self, label: str, class_name: str, units: list[int], **fields: Any) -> str:
        return self.graph.add_node("feature", label, stage="top", classes=[class_name], units=units, **fields)


@pytest.fixture
def edited() -> Edited:
    return Edited()


def test_an_edited_graph_is_sound(edited: Edited) -> None:
    assert edited.graph.check() == []


def test_what_became_something_was_merged_or_split(edited: Edited) -> None:
    edited.graph.update_node(edited.left, state=None)
    (problem,) = edited.graph.check()
    assert "feature 'left'" in problem
    assert "became something, but is neither merged nor split" in problem
    edited.graph.update_node(edited.left, state="forgotten")
    assert "is neither merged nor split" in edited.graph.check()[0]


def test_what_was_merged_or_split_became_something(edited: Edited) -> None:
    edited.graph.update_node(edited.both, state="split")
    assert "was split, but nothing says into what: it needs a became edge" in edited.graph.check()[0]
    edited.graph.update_node(edited.both, state="forgotten")
    assert edited.graph.check() == []


def test_a_merged_node_becomes_one_and_a_split_node_goes_on_beside_its_copies(edited: Edited) -> None:
    edited.graph.update_node(edited.left, state="split")
    edited.graph.update_node(edited.whole, state="merged")
    (found,) = edited.graph.check()
    assert "was merged and has 2 became edges, it needs exactly one" in found


def test_parts_come_from_one_edit(edited: Edited) -> None:
    third = edited.feature("part 9", "dog", [4])
    edited.graph.add_edge("became", edited.whole, third, edit=3)
    assert "became its parts in different edits" in edited.graph.check()[0]


def test_nothing_becomes_what_it_was_again(edited: Edited) -> None:
    edited.graph.update_node(edited.both, state="merged")
    with pytest.raises(GraphError, match=r"became from feature 'both'.*: goes in a circle"):
        edited.graph.add_edge("became", edited.both, edited.left, edit=3)
    plain = edited.graph.to_plain()
    plain["edges"].append({"kind": "became", "source": edited.both, "target": edited.left, "edit": 3})
    with pytest.raises(GraphError, match="goes in a circle"):
        ConceptGraph.from_plain(plain)


@pytest.mark.parametrize("state", ["merged", "split", "forgotten"])
def test_a_class_is_never_put_aside(edited: Edited, state: str) -> None:
    with pytest.raises(GraphError, match="no edit can merge, split or forget it"):
        edited.graph.update_node(edited.graph.class_node("car").id, state=state)


@pytest.mark.parametrize("field", [{"round": 1}, {"units": [1]}])
def test_a_class_has_no_round_and_no_units(edited: Edited, field: dict[str, Any]) -> None:
    graph = ConceptGraph(["car"], [("s", 4)], network="n", settings="s", seed=0)
    with pytest.raises(GraphError, match="a class has no round and no units"):
        graph.add_node("class", "car", **field)


BAD_EDGES: dict[str, tuple[str, str, str, dict[str, Any], str]] = {
    "became a unit": ("became", "left", "unit", {"edit": 1}, "does not join these kinds"),
    "became itself": ("became", "left", "left", {"edit": 1}, "cannot explain itself"),
    "edit 0": ("became", "left", "right", {"edit": 0}, "edit: Input should be greater than or equal to 1"),
    "analogy of a class": ("analogous", "both", "whole", {"class_name": "cat"}, "no class 'cat'. Did you mean 'car'"),
    "to a class": ("analogous", "both", "whole", {"other": "hog"}, "no class 'hog'. Did you mean 'dog'"),
    "within a class": ("analogous", "both", "whole", {"other": "car"}, "between two classes, not within car"),
    "of another's": ("analogous", "whole", "both", {}, "feature 'whole' .* does not speak for car"),
    "unit and feature": ("analogous", "both", "unit", {}, "does not join these kinds"),
    "other stage": ("analogous", "unit", "far", {}, "both must be at the same stage"),
    "score": ("analogous", "both", "whole", {"score": float("nan")}, "score: Input should be a finite number"),
    "weight": ("built_from", "both", "unit", {"weight": float("inf")}, "weight: Input should be a finite number"),
    "null": ("built_from", "both", "unit", {"weight": 1, "null": float("nan")}, "null: Input should be a finite"),
}


@pytest.mark.parametrize(("kind", "source", "target", "fields", "message"), BAD_EDGES.values(), ids=BAD_EDGES)
def test_a_bad_edge_of_the_new_kinds_is_refused_and_leaves_no_trace(
    edited: Edited, kind: str, source: str, target: str, fields: dict[str, Any], message: str
) -> None:
    far = edited.graph.add_node("unit", "top unit 1", stage="top", units=[1])
    ends = [far if name == "far" else getattr(edited, name) for name in (source, target)]
    given = {"class_name": "car", "other": "dog", "score": 0.5} if kind == "analogous" else {}
    before = edited.graph.to_json()
    with pytest.raises(GraphError, match=message):
        edited.graph.add_edge(kind, *ends, **{**given, **fields})
    assert edited.graph.to_json() == before


BAD_NODES: dict[str, tuple[dict[str, Any], str]] = {
    "spectrum upside down": (
        {"spectrum": {"car": [1.0, 0.5, 0.0]}},
        "spectrum: of car is upside down: 10 % quantile 1.0",
    ),
    "spectrum of no class": ({"spectrum": {"cat": [0, 0, 1]}}, "no class 'cat'. Did you mean 'car'"),
    "spectrum of two": ({"spectrum": {"car": [0, 1]}}, "spectrum.car"),
    "spectrum of nan": ({"spectrum": {"car": [0, float("nan"), 1]}}, "finite number"),
    "agreement": ({"agreement": -1.5}, "agreement: Input should be greater than or equal to -1"),
    "state": ({"state": "gone"}, "state: Input should be 'merged', 'split' or 'forgotten'"),
    "name": ({"name": ""}, "name: String should have at least 1 character"),
    "note": ({"note": "a\nb"}, "note: must not contain control characters"),
}


@pytest.mark.parametrize(("fields", "message"), BAD_NODES.values(), ids=BAD_NODES)
def test_bad_values_of_the_new_fields_are_refused(edited: Edited, fields: dict[str, Any], message: str) -> None:
    before = edited.graph.to_json()
    with pytest.raises(GraphError, match=message):
        edited.feature("new", "car", [5], **fields)
    with pytest.raises(GraphError, match=message):
        edited.graph.update_node(edited.both, **fields)
    assert edited.graph.to_json() == before


def test_directions_take_the_units_place() -> None:
    graph = ConceptGraph(["car"], [("s", 4)], network="n", settings="s", seed=0)
    plain = graph.to_plain()
    plain["header"]["stages"][0]["directions"] = 6
    graph = ConceptGraph.from_plain(plain)
    graph.add_node("unit", "direction 5", stage="s", units=[5])
    with pytest.raises(GraphError, match="unit 6 does not exist, stage s has 6 units"):
        graph.add_node("unit", "direction 6", stage="s", units=[6])
    assert from_graphml(to_graphml(graph)) == graph


def test_an_update_that_an_edge_contradicts_is_refused(edited: Edited) -> None:
    graph = edited.graph
    thing = graph.add_node("generalized", "thing", stage="top")
    variant = graph.add_node("variant", "in car", stage="top", classes=["car"])
    graph.add_edge("specializes", variant, thing, class_name="car")
    graph.add_edge("analogous", edited.both, edited.parts[0], class_name="car", other="dog", score=0.5)
    before = graph.to_json()
    with pytest.raises(GraphError, match="the variant's own class or parent is another"):
        graph.update_node(variant, classes=["dog"])
    with pytest.raises(GraphError, match="does not speak for dog"):
        graph.update_node(edited.parts[0], classes=["car"])
    assert graph.to_json() == before
    graph.update_node(edited.parts[0], classes=["car", "dog"])


# -------------------------------------------------------------------------------------------------------- files


def number(plain: dict[str, Any], name: str, value: float) -> None:
    next(record for record in (*plain["nodes"], *plain["edges"]) if record.get("kind") == "feature")[name] = value


def loaded(plain: dict[str, Any]) -> ConceptGraph:
    return ConceptGraph.from_json(json.dumps(plain))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_json_that_is_none_is_refused_where_python_reads_it(edited: Edited, value: float) -> None:
    plain = edited.graph.to_plain()
    number(plain, "effect", value)
    with pytest.raises(DataError, match=r"this is not JSON: -?(NaN|Infinity) is not a number") as refused:
        loaded(plain)
    assert "Restore the file" in refused.value.mend
    with pytest.raises(GraphError, match="effect: Input should be a finite number") as refused:
        ConceptGraph.from_plain(plain)
    assert "Restore the file" in refused.value.mend
    plain["edges"].append({"kind": "built_from", "source": edited.both, "target": edited.unit, "weight": 1.0})
    number(plain, "effect", 0.0)
    drawn = to_graphml(ConceptGraph.from_plain(plain)).replace(">1.0<", f">{value}<")
    with pytest.raises(GraphError, match=f"built_from from {edited.both} to {edited.unit}: weight: .*finite"):
        from_graphml(drawn)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "not JSON"),
        ('{"schema": "conceptnet_ml.graph", "version": 1e999}', "not.*JSON|format inf"),
        ("<graphml/>", "not JSON"),
    ],
)
def test_strange_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as refused:
        ConceptGraph.from_json(text)
    assert refused.value.mend


def test_every_refusal_of_a_file_says_what_to_do(edited: Edited) -> None:
    damages: list[Any] = [
        lambda p: p.update(version=99),
        lambda p: p.update(schema="x"),
        lambda p: p.update(nodes=None),
        lambda p: p.update(header=None),
        lambda p: p["header"].update(seed=-1),
        lambda p: p["nodes"].append(dict(p["nodes"][0])),
        lambda p: p["edges"].append(dict(p["edges"][0])),
        lambda p: p["nodes"][0].update(label="other"),
        lambda p: p["nodes"][0].update(colour="red"),
        lambda p: p["edges"][0].update(kind="became_of"),
        lambda p: p["edges"][0].update(source="0" * 12),
        lambda p: p["edges"][0].update(edit="first"),
        lambda p: p["edges"].append(7),
    ]
    for damage in damages:
        plain = json.loads(edited.graph.to_json())
        damage(plain)
        with pytest.raises(ConceptNetError) as refused:
            loaded(plain)
        assert refused.value.mend, refused.value.message


def test_a_refused_write_says_where_the_rules_are(edited: Edited) -> None:
    with pytest.raises(GraphError) as refused:
        edited.graph.add_edge("built_from", edited.unit, edited.both, weight=1)
    assert "docs/concepts.md" in refused.value.mend


def test_graphs_of_version_1_are_read(edited: Edited) -> None:
    plain = edited.graph.to_plain()
    plain["version"] = 1
    assert loaded(plain) == edited.graph


DAMAGED_XML = {
    "cut off": (lambda text: text[: len(text) // 2], "not GraphML"),
    "another format": (lambda text: "<svg xmlns='http://www.w3.org/2000/svg'/>", "it has 0"),
    "two graphs": (lambda text: text.replace("</graphml>", "<graph/></graphml>"), "it has 2"),
    "unknown key": (lambda text: text.replace('<data key="d0">', '<data key="q">', 1), "no key 'q'"),
    "a number that is none": (lambda text: text.replace(">2<", ">two<", 1), "version in this GraphML is damaged"),
    "a list that is none": (lambda text: text.replace("[0, 1]", "[0, 1", 1), "units in this GraphML is damaged"),
    "said twice": (
        lambda text: text.replace('<data key="d1">2</data>', '<data key="d1">2</data><data key="d1">1</data>'),
        "says twice what version is: 2 and 1",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGED_XML.values(), ids=DAMAGED_XML)
def test_damaged_graphml_is_refused_with_what_to_do(edited: Edited, damage: Any, message: str) -> None:
    text = to_graphml(edited.graph)
    assert damage(text) != text
    with pytest.raises(DataError, match=message) as refused:
        from_graphml(damage(text))
    assert "Restore the file" in refused.value.mend


def test_graphml_that_networkx_wrote_is_read_and_the_other_way_round(edited: Edited) -> None:
    graph = edited.graph
    for name in ("a < b & \"c\" 'd'", "]]>", "🛞"):
        graph.update_node(edited.both, name=name)
        flat = nx.parse_graphml(to_graphml(graph), force_multigraph=True)
        assert flat.nodes[edited.both]["name"] == name
        assert flat.number_of_edges() == len(graph.edges())
        assert from_graphml("\n".join(nx.generate_graphml(flat))) == graph
