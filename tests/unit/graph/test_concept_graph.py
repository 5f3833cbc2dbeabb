"""The concept graph: every invariant with a case that breaks it, and files that read back to an equal graph."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import networkx as nx
import pytest
from graphml import from_graphml, parse, to_graphml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conceptnet_ml.errors import ConceptNetError, DataError, GraphError
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.schema import node_id


class Small:
    """Two classes, their features, one generalized feature, two variants and a unit below."""

    def __init__(self) -> None:
        self.graph = graph = empty()
        self.car = graph.add_node("class", "car", classes=["car"], accuracy=0.94)
        self.dog = graph.add_node("class", "dog", classes=["dog"])
        at = {"stage": "top", "round": 1}
        self.car_1 = graph.add_node("feature", "car 1", classes=["car"], units=[8, 3], auc=0.97, phi=0.8, **at)
        self.dog_1 = graph.add_node("feature", "dog 1", classes=["dog"], units=[5], decision="kept", **at)
        self.thing = graph.add_node("generalized", "thing", classes=["car", "dog"], units=[3, 5, 8], **at)
        self.in_car = graph.add_node("variant", "thing in car", classes=["car"], **at)
        self.in_dog = graph.add_node("variant", "thing in dog", classes=["dog"], **at)
        self.unit = graph.add_node("unit", "low 3", stage="low", units=[3])
        graph.add_edge("built_from", self.car, self.car_1, weight=0.8)
        graph.add_edge("built_from", self.car, self.in_car, weight=0.5, low=0.4, high=0.6, effect=0.45, gap=0.02)
        graph.add_edge("generalizes", self.thing, self.car_1, score=0.9)
        graph.add_edge("generalizes", self.thing, self.dog_1)
        graph.add_edge("specializes", self.in_car, self.thing, class_name="car")
        graph.add_edge("specializes", self.in_dog, self.thing, class_name="dog")
        graph.add_edge("built_from", self.in_car, self.unit, weight=-2.5)


def empty() -> ConceptGraph:
    return ConceptGraph(
        ["car", "dog"], [("low", 4), ("middle", 8), ("top", 16)], network="9f3a", settings="03bc", seed=7
    )


@pytest.fixture
def small() -> Small:
    return Small()


# ------------------------------------------------------------------------------------------------ invariants


def test_a_sound_graph_has_no_problems(small):
    assert small.graph.check() == []


def test_graph_errors_are_errors_of_the_data():
    assert issubclass(GraphError, ConceptNetError)
    assert GraphError.exit_code == 3


BAD_NODES = {
    "unknown kind": ({"kind": "features", "stage": "top"}, "Did you mean 'feature'"),
    "unknown stage": ({"stage": "topp"}, "Did you mean 'top'"),
    "no stage": ({"stage": None}, "needs a stage"),
    "class with a stage": ({"kind": "class", "label": "car", "units": (), "stage": "top"}, "a class has no stage"),
    "class that is not one": ({"kind": "class", "label": "cat", "units": (), "stage": None}, "no class 'cat'"),
    "unknown class": ({"classes": ["cat"]}, "no class 'cat'"),
    "coverage of an unknown class": ({"coverage": {"cat": 0.5}}, "no class 'cat'"),
    "unit beyond the stage": ({"units": [16]}, "unit 16 does not exist, stage top has 16 units"),
    "negative unit": ({"units": [-1]}, "greater than or equal to 0"),
    "unit twice": ({"units": [3, 3]}, "must not repeat"),
    "feature without units": ({"units": []}, "at least 1 item"),
    "unit node of two units": ({"kind": "unit", "units": [1, 2]}, "at most 1 item"),
    "parent not there": ({"parent": "0123456789ab"}, "parent 0123456789ab is not in the graph"),
    "parent not an id": ({"parent": "car"}, "parent"),
    "nan": ({"effect": float("nan")}, "finite"),
    "infinite": ({"iota": float("inf")}, "finite"),
    "share above 1": ({"phi": 1.2}, "less than or equal to 1"),
    "coverage above 1": ({"coverage": {"car": 1.2}}, "less than or equal to 1"),
    "unknown decision": ({"decision": "maybe"}, "decision"),
    "unknown field": ({"colour": "red"}, "colour"),
    "empty label": ({"label": " "}, "label"),
    "control character": ({"label": "a\x00b"}, "control characters"),
    "round 0": ({"round": 0}, "round"),
    "picture outside the run": ({"pictures": ["../x.png"]}, "relative to the run folder"),
}


@pytest.mark.parametrize(("change", "message"), BAD_NODES.values(), ids=BAD_NODES)
def test_a_bad_node_is_refused_and_leaves_no_trace(small, change, message):
    before = small.graph.to_json()
    fields = {"kind": "feature", "label": "new", "stage": "top", "units": [1], **change}
    with pytest.raises(GraphError, match=message.replace("'", ".")):
        small.graph.add_node(fields.pop("kind"), fields.pop("label"), **fields)
    assert small.graph.to_json() == before


def test_the_same_node_twice_is_refused(small):
    with pytest.raises(GraphError, match="is there already"):
        small.graph.add_node("feature", "car 1", stage="top", round=1, units=[3, 8])


def test_a_parent_must_stand_above(small):
    with pytest.raises(GraphError, match="its parent is not above it"):
        small.graph.add_node("feature", "child", stage="top", units=[1], parent=small.in_car)
    small.graph.add_node("feature", "child", stage="middle", units=[1], parent=small.in_car)


def bad_edges(s: Small) -> dict[str, tuple[tuple[str, str, str], dict, str]]:
    weight = {"weight": 1.0}
    return {
        "unknown kind": (("built_of", s.car, s.dog_1), {}, "Did you mean 'built_from'"),
        "source missing": (("built_from", "0123456789ab", s.unit), weight, "there is no node 0123456789ab"),
        "target missing": (("built_from", s.car, "0123456789ab"), weight, "there is no node 0123456789ab"),
        "twice": (("built_from", s.car, s.car_1), weight, "is there already"),
        "to itself": (("built_from", s.car_1, s.car_1), weight, "cannot explain itself"),
        "to a class": (("built_from", s.car, s.dog), weight, "does not join"),
        "up": (("built_from", s.unit, node(s, "unit", "top 1", "top")), weight, "goes up from stage low to top"),
        "up within a stage": (("built_from", s.car_1, s.in_car), weight, "a feature is not built from a variant"),
        "no weight": (("built_from", s.dog, s.dog_1), {}, "weight"),
        "nan weight": (("built_from", s.dog, s.dog_1), {"weight": float("nan")}, "finite"),
        "half an interval": (("built_from", s.dog, s.dog_1), {"weight": 1, "low": 0}, "needs low and high"),
        "interval upside down": (("built_from", s.dog, s.dog_1), {"weight": 1, "low": 2, "high": 1}, "upside down"),
        "generalizes a variant": (("generalizes", s.thing, s.in_car), {}, "does not join"),
        "generalizes across stages": (("generalizes", s.thing, node(s, "feature", "f", "low")), {}, "same stage"),
        "infinite score": (("generalizes", s.thing, node(s, "feature", "g", "top")), {"score": float("inf")}, "finite"),
        "specializes a feature": (("specializes", s.in_car, s.car_1), {"class_name": "car"}, "does not join"),
        "variant of two": (
            ("specializes", s.in_car, other(s)),
            {"class_name": "car"},
            "another generalized feature already",
        ),
        "rival variant": (
            ("specializes", rival(s), s.thing),
            {"class_name": "car"},
            "there is a variant for car already",
        ),
        "variant of nobody": (("specializes", rival(s), other(s)), {}, "give class_name or parent"),
        "variant of an unknown class": (("specializes", rival(s), other(s)), {"class_name": "cat"}, "no class 'cat'"),
        "variant of the wrong class": (
            ("specializes", rival(s), other(s)),
            {"class_name": "dog"},
            "own class or parent",
        ),
        "variant of the wrong parent": (
            ("specializes", rival(s), other(s)),
            {"parent": s.in_dog},
            "own class or parent",
        ),
    }


def node(s: Small, kind: str, label: str, stage: str, **fields) -> str:
    identifier = node_id(kind, label, stage, units=fields.get("units", [1]))
    return identifier if identifier in s.graph else s.graph.add_node(kind, label, stage=stage, units=[1], **fields)


def other(s: Small) -> str:
    return node(s, "generalized", "other", "top")


def rival(s: Small) -> str:
    return node(s, "variant", "rival", "top", classes=["car"])


@pytest.mark.parametrize("case", bad_edges(Small()))
def test_a_bad_edge_is_refused_and_leaves_no_trace(small, case):
    ends, fields, message = bad_edges(small)[case]
    before = small.graph.to_json()
    with pytest.raises(GraphError, match=message.replace("'", ".")):
        small.graph.add_edge(*ends, **fields)
    assert small.graph.to_json() == before


def test_built_from_cannot_go_in_a_circle(small):
    a, b, c = (small.graph.add_node("feature", name, stage="middle", units=[1]) for name in "abc")
    small.graph.add_edge("built_from", a, b, weight=1)
    small.graph.add_edge("built_from", b, c, weight=1)
    with pytest.raises(GraphError, match="goes in a circle"):
        small.graph.add_edge("built_from", c, a, weight=1)
    assert small.graph.circle() is None


def test_one_variant_per_parent_below_the_top(small):
    graph = small.graph
    thing = graph.add_node("generalized", "below", stage="middle")
    for parent, label in ((small.in_car, "a"), (small.in_dog, "b")):
        variant = graph.add_node("variant", label, stage="middle", parent=parent)
        graph.add_edge("specializes", variant, thing, parent=parent)
    rival = graph.add_node("variant", "c", stage="middle", parent=small.in_car)
    with pytest.raises(GraphError, match="there is a variant for"):
        graph.add_edge("specializes", rival, thing, parent=small.in_car)


def test_check_finds_what_is_not_complete():
    graph = empty()
    graph.add_node("class", "car")
    graph.add_node("generalized", "thing", stage="top")
    graph.add_node("variant", "thing in car", stage="top")
    dog, thing, variant = sorted(graph.check())
    assert "class 'dog' has no node" in dog
    assert "needs a generalizes edge" in thing
    assert "has 0 specializes edges, it needs exactly one" in variant


@pytest.mark.parametrize(
    "header",
    [
        {"classes": []},
        {"classes": ["a", "a"]},
        {"stages": []},
        {"stages": [("s", 0)]},
        {"stages": [("s", 1)] * 2},
        {"seed": -1},
    ],
)
def test_a_bad_header_is_refused(header):
    fields = {"classes": ["a"], "stages": [("s", 1)], "network": "n", "settings": "s", "seed": 0, **header}
    with pytest.raises(GraphError, match="graph header"):
        ConceptGraph(fields.pop("classes"), fields.pop("stages"), **fields)


# ------------------------------------------------------------------------------------------------ reading


def test_update_sets_measurements_and_keeps_what_the_node_is(small):
    node = small.graph.update_node(small.car_1, r_after=0.9, coverage={"car": 0.5})
    assert node == small.graph.node(small.car_1)
    assert (node.id, node.units, node.auc, node.r_after) == (small.car_1, (3, 8), 0.97, 0.9)
    with pytest.raises(GraphError, match="units is part of what the node is"):
        small.graph.update_node(small.car_1, units=[1])
    with pytest.raises(GraphError, match="less than or equal to 1"):
        small.graph.update_node(small.car_1, phi=2)
    assert small.graph.node(small.car_1) == node


def test_nodes_cannot_be_changed_behind_the_graph(small):
    node = small.graph.update_node(small.car_1, coverage={"car": 0.5})
    with pytest.raises(ValueError, match="frozen"):
        node.auc = 0.1
    with pytest.raises(TypeError):
        node.coverage["car"] = 0.1
    before = small.graph.to_json()
    copy = small.graph.to_networkx()
    copy.remove_node(small.car)
    copy.nodes[small.dog]["label"] = "cat"
    copy.nodes[small.car_1]["units"].append(9)
    assert small.graph.to_json() == before


def test_queries(small):
    graph = small.graph
    assert {node.id for node in graph.nodes("feature")} == {small.car_1, small.dog_1}
    assert [node.id for node in graph.nodes(stage="low")] == [small.unit]
    assert {node.id for node in graph.nodes("variant", class_="dog")} == {small.in_dog}
    assert {edge.target for edge in graph.edges("generalizes", source=small.thing)} == {small.car_1, small.dog_1}
    assert {edge.source for edge in graph.edges(target=small.thing)} == {small.in_car, small.in_dog}
    assert len(graph.edges()) == 7
    assert graph.edges("built_from", source=small.car, target=small.car_1)[0].weight == 0.8
    assert graph.edges(source="0123456789ab") == []
    with pytest.raises(GraphError, match="no node"):
        graph.node("0123456789ab")


def test_path_goes_as_low_as_it_can_and_then_by_the_strongest(small):
    graph = small.graph
    # By way of its feature, whose own variant it is: 0.8 · 2.5, more than 0.5 · 2.5 of the edge to the variant itself.
    assert [node.id for node in graph.paths("car")[0].nodes] == [small.car, small.car_1, small.in_car, small.unit]
    stronger = graph.add_node("unit", "low 1", stage="low", units=[1])
    graph.add_edge("built_from", small.in_car, stronger, weight=3)
    assert graph.paths("car")[0].nodes[-1].id == stronger
    assert [node.id for node in graph.paths("dog")[0].nodes] == [small.dog]
    with pytest.raises(GraphError, match="Did you mean 'car'"):
        graph.paths("cat")


def test_what_networkx_writes_is_read(small, tmp_path):
    nx.write_graphml(small.graph.to_networkx(flat=True), tmp_path / "own.graphml")
    (tmp_path / "ours.graphml").write_text(to_graphml(small.graph))
    nx.write_graphml(nx.read_graphml(tmp_path / "ours.graphml"), tmp_path / "again.graphml")
    for name in ("own", "again"):
        assert ConceptGraph.read(tmp_path / f"{name}.graphml", parse) == small.graph


def test_a_graph_that_an_editor_of_windows_has_saved_is_read(small, tmp_path):
    for name, text in (("a.json", small.graph.to_json()), ("a.graphml", to_graphml(small.graph))):
        (tmp_path / name).write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    assert ConceptGraph.read(tmp_path / "a.json") == small.graph
    assert ConceptGraph.read(tmp_path / "a.graphml", parse) == small.graph


def test_to_networkx_has_plain_attributes(small):
    copy = small.graph.to_networkx()
    assert isinstance(copy, nx.MultiDiGraph)
    assert copy.nodes[small.car_1]["units"] == [3, 8]
    assert copy.edges[small.in_car, small.unit, "built_from"]["weight"] == -2.5
    assert copy.graph["seed"] == 7


# ------------------------------------------------------------------------------------------------ ids


def test_ids_are_hashes_of_content_and_do_not_depend_on_the_process():
    expected = hashlib.sha256(b'["feature","car 1","top",1,null,[3,8]]').hexdigest()[:12]
    assert node_id("feature", "car 1", "top", 1, None, [8, 3]) == expected
    code = "from conceptnet_ml.graph.schema import node_id; print(node_id('feature', 'car 1', 'top', 1, None, [8, 3]))"
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == expected


@pytest.mark.parametrize(
    "change", [{"label": "car 2"}, {"stage": "low"}, {"round": 2}, {"parent": "0" * 12}, {"units": [3]}]
)
def test_ids_differ_where_the_content_does(change):
    fields = {"kind": "feature", "label": "car 1", "stage": "top", "round": 1, "parent": None, "units": [3, 8]}
    assert node_id(**{**fields, **change}) != node_id(**fields)


# ------------------------------------------------------------------------------------------------ files

TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn", "Co")), min_size=1, max_size=8).filter(str.strip)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
SHARES = st.floats(0, 1)


@st.composite
def graphs(draw) -> ConceptGraph:
    classes = draw(st.lists(TEXTS.map(str.strip), min_size=1, max_size=3, unique=True))
    graph = ConceptGraph(
        classes,
        [("low", 4), (draw(TEXTS) + "top", 9)],
        network=draw(TEXTS),
        settings="s",
        seed=draw(st.integers(0, 2**63)),
    )
    top = graph.stages[1]
    nodes = [graph.add_node("class", name, classes=[name]) for name in classes]
    generalized = graph.add_node("generalized", draw(TEXTS), stage=top, overlap=draw(SHARES))
    for index, name in enumerate(classes):
        feature = graph.add_node(
            "feature",
            f"{draw(TEXTS)} {index}",
            stage=top,
            round=draw(st.none() | st.integers(1, 9)),
            classes=[name],
            units=draw(st.sets(st.integers(0, 8), min_size=1)),
            effect=draw(st.none() | NUMBERS),
            phi=draw(st.none() | SHARES),
            iota=draw(st.none() | NUMBERS),
            decision=draw(st.sampled_from([None, "kept", "undone", "leaf"])),
            reason=draw(st.none() | TEXTS),
            coverage=draw(st.dictionaries(st.sampled_from(classes), SHARES)),
            pictures=draw(st.lists(st.just("pictures/a b.png"), max_size=2)),
            examples=draw(st.lists(st.sampled_from(["train:7", "car/ü b.png"]), max_size=3)),
            provenance=draw(
                st.none() | st.builds(lambda seed: {"plugin": "units", "seed": seed}, st.integers(0, 2**63))
            ),
        )
        graph.add_edge("generalizes", generalized, feature, score=draw(st.none() | NUMBERS))
        graph.add_edge("built_from", nodes[index], feature, weight=draw(NUMBERS), effect=draw(st.none() | NUMBERS))
        unit = graph.add_node("unit", str(index), stage="low", units=[index])
        low, high = sorted([draw(NUMBERS), draw(NUMBERS)])
        graph.add_edge("built_from", feature, unit, weight=draw(NUMBERS), low=low, high=high)
    return graph


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graphs())
def test_json_and_graphml_read_back_to_an_equal_graph(graph):
    text = graph.to_json()
    for again in (ConceptGraph.from_json(text), from_graphml(to_graphml(graph))):
        assert again == graph
        assert again.to_json() == text


def test_the_name_and_version_of_the_format_stay(small):
    plain = small.graph.to_plain()
    assert (plain["schema"], plain["version"]) == ("conceptnet_ml.graph", 2)


def test_json_does_not_depend_on_the_order_of_writing(small):
    plain = small.graph.to_plain()
    plain["nodes"].reverse()
    plain["edges"].reverse()
    assert ConceptGraph.from_plain(plain).to_json() == small.graph.to_json()


def test_graphs_that_differ_are_not_equal(small):
    changed = Small()
    changed.graph.update_node(changed.car_1, auc=0.96)
    assert changed.graph != small.graph
    extended = Small()
    extended.graph.add_edge("built_from", extended.dog, extended.in_dog, weight=0.1)
    assert extended.graph != small.graph
    assert Small().graph == small.graph
    assert small.graph != "graph"


def test_graphml_is_one_that_others_read(small):
    flat = nx.parse_graphml(to_graphml(small.graph), force_multigraph=True)
    assert set(flat) == {node.id for node in small.graph.nodes()}
    assert json.loads(flat.nodes[small.car_1]["units"]) == [3, 8]
    assert "effect" not in flat.nodes[small.car_1]
    ids = [key for _, _, key in flat.edges(keys=True)]
    assert len(set(ids)) == len(ids) == 7


def spoil(small, change) -> str:
    plain = small.graph.to_plain()
    change(plain)
    return json.dumps(plain)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda p: p.update(version=3), DataError, "format 3, this program reads up to 2"),
        (lambda p: p.update(schema="other"), DataError, "not a concept graph"),
        (lambda p: p.pop("nodes"), DataError, "no list of nodes"),
        (lambda p: p["nodes"].pop(), GraphError, "there is no node"),
        (lambda p: p["nodes"].append(p["nodes"][0]), GraphError, "is there twice"),
        (lambda p: p["edges"].append(p["edges"][0]), GraphError, "is there twice"),
        (lambda p: p["nodes"][0].update(label="other"), GraphError, "not the hash"),
        (lambda p: p["nodes"][0].update(kind="thing"), GraphError, "no kind of node 'thing'"),
        (lambda p: p["nodes"].append(3), GraphError, "no kind of node"),
        (lambda p: p["header"].update(classes=["car"]), GraphError, "no class 'dog'"),
    ],
)
def test_a_damaged_file_is_refused_in_words(small, change, error, message):
    with pytest.raises(error, match=message.replace("'", ".")):
        ConceptGraph.from_json(spoil(small, change))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3"])
def test_what_is_no_graph_is_refused(text):
    with pytest.raises(DataError):
        ConceptGraph.from_json(text)
    with pytest.raises(DataError):
        from_graphml(text)


def test_graphml_with_a_damaged_list_is_refused(small):
    with pytest.raises(DataError, match="damaged"):
        from_graphml(to_graphml(small.graph).replace("[3, 8]", "[3, 8"))


def test_read_names_the_file(small, tmp_path):
    path = tmp_path / "graph.json"
    path.write_text(small.graph.to_json(), encoding="utf-8")
    assert ConceptGraph.read(path) == small.graph
    path.with_suffix(".graphml").write_text(to_graphml(small.graph), encoding="utf-8")
    assert ConceptGraph.read(path.with_suffix(".graphml"), parse) == small.graph
    path.write_text("{")
    with pytest.raises(DataError, match=r"graph\.json: this is not JSON"):
        ConceptGraph.read(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a text file"):
        ConceptGraph.read(path)
    with pytest.raises(DataError, match="cannot read"):
        ConceptGraph.read(tmp_path / "nothing.json")


def test_records_need_neither_torch_nor_networkx():
    code = "import sys, conceptnet_ml.graph.schema; print({'torch', 'networkx'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
