"""``graph query | path | diff``, and what ``graph show`` and the exporters say of edits, analogies and spectra."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import commands
import pytest
from made_run import concept_graph
from rich.console import Console
from typer.testing import CliRunner

from conceptnet_ml.cli.graph import app
from conceptnet_ml.cli.graph_views import brief_table
from conceptnet_ml.errors import ConceptNetError, DataError, SettingsError
from conceptnet_ml.graph.concept_graph import ConceptGraph


class Edited:
    """car and dog with two features each; one of the car's named, one forgotten; the dog's were merged."""

    def __init__(self) -> None:
        self.graph = graph = ConceptGraph(["car", "dog"], [("stem", 16), ("top", 8)], network="n", settings="s", seed=0)
        self.car, self.dog = (graph.add_node("class", name, classes=[name]) for name in graph.classes)
        self.wheel = self.feature("car 1", "car", [1], name="wheel", note="round [and black]", agreement=0.75)
        graph.update_node(self.wheel, spectrum={"car": [0.5, 1.25, 2.0], "dog": [-1.0, -0.5, 0.0]})
        self.sky = self.feature("car 2", "car", [2], state="forgotten")
        self.fur, self.ears = (self.feature(f"dog {n}", "dog", [n], state="merged") for n in (3, 4))
        self.coat = self.feature("fur and ears", "dog", [3, 4])
        for old in (self.fur, self.ears):
            graph.add_edge("became", old, self.coat, edit=7)
        self.units = [graph.add_node("unit", f"top unit {n}", stage="top", units=[n]) for n in (1, 3)]
        self.stem = graph.add_node("unit", "stem unit 9", stage="stem", units=[9])
        graph.add_edge("built_from", self.car, self.wheel, weight=0.5, low=0.4, high=0.6, null=0.125)
        graph.add_edge("built_from", self.wheel, self.units[0], weight=-2.0)
        graph.add_edge("built_from", self.units[0], self.stem, weight=0.25)
        graph.add_edge("built_from", self.wheel, self.stem, weight=0.125)
        said = {"class_name": "car", "other": "dog"}
        graph.add_edge("analogous", self.wheel, self.coat, score=0.7, null=0.2, untrained=0.1, **said)
        graph.add_edge("analogous", *self.units, score=0.4, **said)

    def feature(self, label: str, class_name: str, units: list[int], **fields: Any) -> str:
        return self.graph.add_node("feature", label, stage="top", classes=[class_name], units=units, **fields)


@pytest.fixture
def edited() -> Edited:
    return Edited()


@pytest.fixture
def file(edited: Edited, tmp_path: Path) -> Path:
    return written(edited.graph, tmp_path / "g.json")


def written(graph: ConceptGraph, path: Path) -> Path:
    path.write_text(graph.to_json(), encoding="utf-8")
    return path


def output(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None, result.exception
    assert result.exit_code == 0
    return result.stdout


def failure(kind: type[ConceptNetError], *arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert isinstance(result.exception, kind), result.output
    return str(result.exception)


# ---------------------------------------------------------------------------------------------------------- query


def test_query_prints_a_line_for_each_node_that_meets_the_conditions(edited: Edited, file: Path) -> None:
    text = output("query", file, "--kind", "feature", "--class", "car")
    assert edited.wheel in text
    assert edited.sky in text
    assert edited.fur not in text
    assert "2 nodes of 10" in text
    (line,) = [line for line in text.splitlines() if edited.wheel in line]
    assert "wheel" in line
    assert "car 1" in line
    assert "round [and black]" in line
    assert output("query", file, "--text", "WHEEL", "--state", "current").count("feature") == 1
    assert "2 nodes of 10" in output("query", file, "--state", "merged")
    assert output("query", file, "--text", "nothing like it").strip() == "0 nodes of 10"
    assert "1 node of 10" in output("query", file, "--stage", "stem")


def test_query_has_few_columns_and_json_has_all(file: Path) -> None:
    text = output("query", file)
    (heads,) = [line.split() for line in text.splitlines() if "kind" in line.split()]
    assert set(heads) <= {"id", "name", "kind", "classes", "stage", "effect", "state", "note"}
    assert {"id", "name", "kind", "classes", "stage", "state"} <= set(heads)
    assert any("units" in node for node in json.loads(output("query", file, "--json"))["nodes"])


def test_query_breaks_no_word_in_a_window_of_80() -> None:
    graph, printed = concept_graph(), io.StringIO()
    Console(width=80, file=printed).print(brief_table(graph, graph.nodes()))
    words = set(printed.getvalue().split())
    assert {node.kind for node in graph.nodes()} <= words
    assert {node.stage for node in graph.nodes() if node.stage} <= words
    assert {node.id for node in graph.nodes()} <= words


def test_query_edges_prints_their_numbers(edited: Edited, file: Path) -> None:
    text = output("query", file, "--edges", "--min-weight", "0.5")
    rows = [line.split() for line in text.splitlines()]
    assert "3 edges of 8" in text
    assert any({"0.5", "[0.4,", "0.125", "wheel"} <= set(row) for row in rows)
    assert any({"-2", "feature", "wheel"} <= set(row) for row in rows)
    assert any({"analogous", "0.7", "0.2", "0.1", "car", "dog"} <= set(row) for row in rows)
    assert "edit 7" in output("query", file, "--edges", "--kind", "became")


def test_query_prints_json_for_other_programs(edited: Edited, file: Path) -> None:
    nodes = json.loads(output("query", file, "--class", "car", "--json"))["nodes"]
    assert nodes == [node.plain() for node in edited.graph.select(class_="car")]
    edges = json.loads(output("query", file, "--edges", "--kind", "analogous", "--json"))["edges"]
    assert edges == [edge.plain() for edge in edited.graph.edges("analogous")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--kind", "featur"), "Did you mean 'feature'"),
        (("--kind", "feature", "--edges"), "no kind of edge 'feature'"),
        (("--stage", "tip"), "Did you mean 'top'"),
        (("--class", "carr"), "Did you mean 'car'"),
        (("--state", "lost"), "Known: current, forgotten, merged, split"),
        (("--min-weight", "nan"), "not a number"),
    ],
)
def test_query_refuses_what_is_not_there(file: Path, words: tuple[str, ...], message: str) -> None:
    assert message in failure(SettingsError, "query", file, *words)


# ----------------------------------------------------------------------------------------------------------- path


def test_path_prints_the_strongest_chains(edited: Edited, file: Path) -> None:
    lines = output("path", file, "car", "--count", "5").splitlines()
    assert lines == [
        "1. −0.25: car → +0.5 feature wheel (car 1) at top → −2 unit top unit 1 at top "
        "→ +0.25 unit stem unit 9 at stem",
        "2. +0.0625: car → +0.5 feature wheel (car 1) at top → +0.125 unit stem unit 9 at stem",
    ]
    assert output("path", file, "car").splitlines() == lines[:1]
    found = json.loads(output("path", file, "car", "--json"))
    assert found["class"] == "car"
    assert found["chains"] == [chain.plain() for chain in edited.graph.paths("car")]
    assert "Did you mean 'car'" in failure(SettingsError, "path", file, "carr")


# ----------------------------------------------------------------------------------------------------------- diff


def test_diff_prints_what_was_added_removed_and_changed(edited: Edited, file: Path, tmp_path: Path) -> None:
    other = Edited()
    other.graph.update_node(other.wheel, auc=0.9, name="rim")
    unit = other.graph.add_node("unit", "stem unit 3", stage="stem", units=[3])
    other.graph.add_edge("built_from", other.coat, unit, weight=0.3)
    plain = other.graph.to_plain()
    plain["header"]["seed"] = 5
    gone = next(edge for edge in plain["edges"] if edge["kind"] == "analogous" and edge["source"] == other.units[0])
    plain["edges"].remove(gone)
    for edge in plain["edges"]:
        if edge.get("weight") == 0.5:
            edge["weight"] = 0.5001
    new = written(ConceptGraph.from_plain(plain), tmp_path / "new.json")
    text = output("diff", file, new)
    rows = [tuple(line.split()) for line in text.splitlines()]
    assert "nodes: 1 added, 0 removed, 1 changed" in text
    assert "edges: 1 added, 1 removed, 1 changed" in text
    assert ("~", "seed", "0", "5") in rows
    assert any(row[:1] == ("+",) and "stem" in row and "3" in row for row in rows)
    assert any(row[:2] == ("-", "analogous") for row in rows)
    assert any(row[-3:] == ("name", "wheel", "rim") for row in rows)
    assert any(row[-3:] == ("auc", "–", "0.9") for row in rows)
    assert any(row[-3:] == ("weight", "0.5", "0.5001") for row in rows), "as many digits as tell the two apart"
    assert "0 removed, 1 changed" in output("diff", file, new, "--tolerance", "0.001")
    assert "edges: 1 added, 1 removed, 0 changed" in output("diff", file, new, "--tolerance", "0.001")
    found = json.loads(output("diff", file, new, "--json"))
    assert found == json.loads(json.dumps(edited.graph.diff(ConceptGraph.read(new)).plain()))


def test_diff_of_the_same_graph_is_none(file: Path, tmp_path: Path) -> None:
    assert output("diff", file, file).strip() == "no difference"
    output("export", file, "--out", tmp_path / "g.graphml")
    assert output("diff", file, tmp_path / "g.graphml").strip() == "no difference"
    assert not any(json.loads(output("diff", file, file, "--json"))["nodes"].values())
    assert "at least 0" in failure(SettingsError, "diff", file, file, "--tolerance", "-1")
    assert "cannot read" in failure(DataError, "diff", file, tmp_path / "none.json")


# ------------------------------------------------------------------------------------------------- show and export


def test_show_says_names_notes_states_analogies_and_spectra(file: Path) -> None:
    lines = [line.lstrip("│ ├└─") for line in output("show", file, "--all").splitlines()]
    assert "feature wheel (car 1) · units 1 · agreement 0.75" in lines
    assert "round [and black]" in lines, "brackets are text, not markup"
    assert "spectrum: car 1.2 [0.5, 2] · dog -0.5 [-1, 0]" in lines
    assert "feature car 2 · forgotten · units 2" in lines
    assert "feature dog 3 · merged · units 3" in lines
    assert lines.count("became feature fur and ears · edit 7") == 2
    assert "in dog: feature fur and ears · analogy 0.7 · null 0.2 · untrained 0.1" in lines
    assert "in dog: unit top unit 3 · analogy 0.4" in lines
    assert "unit stem unit 9 · at stem · weight 0.125" in lines
    table = output("show", file, "--table")
    assert {"name", "state", "note"} <= set(table.splitlines()[1].split())


def test_dot_has_names_states_and_dashed_analogies(edited: Edited, file: Path, tmp_path: Path) -> None:
    output("export", file, "--out", tmp_path / "g.dot")
    text = (tmp_path / "g.dot").read_text(encoding="utf-8")
    (wheel,) = [line for line in text.splitlines() if line.startswith(f'  "{edited.wheel}" [')]
    assert 'label="wheel\\ntop"' in wheel
    (sky,) = [line for line in text.splitlines() if line.startswith(f'  "{edited.sky}" [')]
    assert 'label="car 2\\nforgotten\\ntop", style=dashed' in sky
    (analogy,) = [line for line in text.splitlines() if f'"{edited.wheel}" -> "{edited.coat}"' in line]
    assert "style=dashed" in analogy
    assert "constraint=false" in analogy
    assert 'label="car → dog 0.70"' in analogy
    assert text.count("edit 7") == 2
    assert text.count(" -> ") == len(edited.graph.edges())


def test_the_real_commands_answer_and_end_with_the_code_of_their_error(file: Path) -> None:
    found = commands.run("graph", "path", file, "car")
    assert (found.returncode, found.stdout[:9]) == (0, "1. −0.25:")
    assert commands.run("graph", "diff", file, file).returncode == 0
    refused = commands.run("graph", "query", file, "--kind", "thing")
    assert refused.returncode == 2
    assert "there is no kind 'thing'" in refused.stderr
    assert "Traceback" not in refused.stderr
