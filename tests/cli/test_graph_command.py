"""``graph show | export | check`` on a run folder and on graph files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from graphml import from_graphml
from typer.testing import CliRunner, Result

from conceptnet_ml.cli.graph import app
from conceptnet_ml.errors import DataError, GraphError, SettingsError
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.storage.run_folder import Run


def wheels() -> ConceptGraph:
    graph = ConceptGraph(["car", "poodle"], [("stem", 16), ("block1", 32)], network="9f", settings="03", seed=0)
    at = {"stage": "block1", "round": 1}
    features = []
    for name, units in (("car", [3, 8]), ("poodle", [5])):
        graph.add_node("class", name, classes=[name], accuracy=0.94)
        feature = graph.add_node(
            "feature",
            f"{name} 1",
            classes=[name],
            units=units,
            auc=0.97,
            phi=0.83,
            iota=0.91,
            decision="kept",
            reason="interchangeable [0.91 ≥ 0.60]",
            representation="pixels",
            r_before=1,
            r_after=0.94,
            **at,
        )
        graph.add_edge("built_from", graph.class_node(name).id, feature, weight=0.8)
        features.append(feature)
    thing = graph.add_node(
        "generalized", "thing 1", classes=graph.classes, units=[3, 5, 8], coverage={"car": 0.8}, shared_by=["car"], **at
    )
    for name, feature in zip(graph.classes, features, strict=True):
        graph.add_edge("generalizes", thing, feature, score=0.7)
        variant = graph.add_node("variant", f"thing 1 in {name}", classes=[name], **at)
        graph.add_edge("specializes", variant, thing, class_name=name)
        for unit in range(10):
            label = f"stem {unit}"
            if not any(node.label == label for node in graph.nodes("unit")):
                graph.add_node("unit", label, stage="stem", units=[unit])
            target = next(node.id for node in graph.nodes("unit") if node.label == label)
            graph.add_edge(
                "built_from", variant, target, weight=1 / (unit + 1), low=0.0, high=1.0, effect=0.1, gap=0.02
            )
    return graph


@pytest.fixture
def run(tmp_path) -> Path:
    with Run.create(tmp_path / "run", {}, {}, {}, "0.1.0") as run:
        run.save_graph(wheels().to_json())
    return run.path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def output(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exception is None, result.exception
    assert result.exit_code == 0
    return result.stdout


def failure(kind: type[Exception], *arguments: object) -> str:
    result = call(*arguments)
    assert isinstance(result.exception, kind), result.output
    return str(result.exception)


def test_show_prints_a_tree_of_classes_stages_features_and_units(run):
    lines = output("show", run, "--all").splitlines()
    assert lines[0] == "car · accuracy on views 0.94"
    assert lines[1] == "└── block1"
    text = "\n".join(lines)
    assert "feature car 1 · units 3 8 · AUC 0.97 · φ 0.83 · ι 0.91 · r 100% → 94% · pixels · kept" in text
    assert "interchangeable [0.91 ≥ 0.60]" in text, "brackets are text, not markup"
    assert "feature poodle 1 · analogy 0.7" in text
    assert "units 3 5 8 · shared by car · gate recall car 80%" in text
    assert "unit stem 1 · at stem · weight 0.5 [0, 1] · ablation 0.1 · gap 0.02" in text
    assert text.index("unit stem 0") < text.index("unit stem 7") < text.index("and 2 weaker")
    assert "unit stem 8" not in text
    assert any(line.startswith("poodle") for line in lines)


def test_show_says_in_short_what_each_concept_is(run):
    lines = output("show", run).splitlines()
    assert lines[0] == "car and poodle: 3 concepts; 17 nodes and 26 edges"
    at = next(place for place, line in enumerate(lines) if ". What makes car (round 1, block1)" in line)
    graph = wheels()
    (car,) = (node for node in graph.nodes("feature") if node.label == "car 1")
    assert lines[at].endswith(f"feature {car.id}")
    rows = {line[:11].strip(): line[11:].strip() for line in lines[at + 1 : lines.index("", at)]}
    assert (
        rows["is"]
        == "kept: it is exchanged in training, as pixels; 83% of answers change where it comes from another class"
    )
    assert rows["of"] == "car; at block1, the top stage"
    assert rows["fed by"] == "stem:0 +1; stem:1 +0.5; stem:2 +0.33; stem:3 +0.25; 6 weaker", "by its variant"
    assert rows["feeds"] == "car +0.8; part of: What car and poodle exchange (round 1, block1)"
    text = "\n".join(lines)
    assert "made of What makes car (round 1, block1); What makes poodle (round 1, block1)" in text
    assert "its variants in car and poodle" in text
    assert "--all shows everything" in text
    assert "AUC" not in text
    assert "What makes car" not in output("show", run, "--class", "poodle").partition("made of")[0]


def test_show_has_twelve_concepts_at_most_the_strongest(tmp_path):
    graph = ConceptGraph(["car"], [("stem", 40), ("top", 40)], network="n", settings="s", seed=0)
    car = graph.add_node("class", "car", classes=["car"])
    for number in range(20):
        stage = "top" if number % 2 else "stem"
        feature = graph.add_node(
            "feature",
            f"car {number}",
            name=f"thing {number}",
            stage=stage,
            round=1,
            classes=["car"],
            units=[number],
            effect=number,
        )
        graph.add_edge("built_from", car, feature, weight=-number)
    (tmp_path / "g.json").write_text(graph.to_json())
    lines = output("show", tmp_path / "g.json").splitlines()
    assert lines[0] == "car: 20 concepts, the 12 strongest here; 21 nodes and 20 edges"
    heads = [line.split()[1:3] for line in lines if line[:3].strip().rstrip(".").isdigit()]
    numbers = [int(number) for _, number in heads]
    assert numbers == [19, 17, 15, 13, 11, 9, 18, 16, 14, 12, 10, 8], "from the top stage down"
    assert "feeds   car −19" in "\n".join(lines)


def test_show_one_class_only(run):
    text = output("show", run, "--all", "--class", "poodle")
    assert "poodle · accuracy" in text
    assert "thing 1 in poodle" in text
    assert "thing 1 in car" not in text
    assert "Did you mean 'poodle'" in failure(SettingsError, "show", run, "--class", "poodel")


def test_show_as_a_table_has_a_line_per_node(run):
    lines = output("show", run, "--table").splitlines()
    graph = wheels()
    for node in graph.nodes():
        (line,) = [line for line in lines if node.id in line]
        assert node.label in line
        assert node.kind in line
    (feature,) = [line for line in lines if "feature" in line and "car 1" in line]
    assert {"0.97", "0.83", "0.91", "kept", "94%"} <= set(feature.split())
    assert "overlap" not in lines[1], "columns without a value are left out"


def test_show_json_is_the_graph_itself(run):
    assert output("show", run, "--json") == wheels().to_json()


def test_show_says_when_a_graph_is_not_complete(tmp_path):
    graph = ConceptGraph(["car"], [("stem", 4)], network="n", settings="s", seed=0)
    path = tmp_path / "g.json"
    path.write_text(graph.to_json())
    text = output("show", path)
    assert "no features yet" in text
    assert "1 problem; 'graph check' says which." in text


@pytest.mark.parametrize(("format", "read"), [("json", ConceptGraph.from_json), ("graphml", from_graphml)])
def test_export_reads_back_to_an_equal_graph(run, tmp_path, format, read):
    out = tmp_path / "new folder" / "graph.txt"
    assert f"wrote {out}" in output("export", run, "--format", format, "--out", out)
    assert read(out.read_text(encoding="utf-8")) == wheels()


def test_export_finds_the_format_by_the_ending(run, tmp_path):
    output("export", run, "--out", tmp_path / "g.graphml")
    assert from_graphml((tmp_path / "g.graphml").read_text(encoding="utf-8")) == wheels()
    assert "sound" in output("check", tmp_path / "g.graphml")
    assert ".graphml" in failure(SettingsError, "export", run, "--out", tmp_path / "g.xml")


def test_export_as_dot_names_every_node_and_edge(run, tmp_path):
    output("export", run, "--format", "dot", "--out", tmp_path / "g.dot")
    text = (tmp_path / "g.dot").read_text(encoding="utf-8")
    graph = wheels()
    assert text.count(" -> ") == len(graph.edges())
    assert all(f'"{node.id}" [shape=' in text for node in graph.nodes())
    assert "car 1\\nblock1\\nauc 0.97 phi 0.83 iota 0.91" in text


def test_export_with_a_format_of_the_users_own(run, tmp_path):
    plugin = tmp_path / "names.py"
    plugin.write_text(
        "from conceptnet_ml.hookspecs import hookimpl\n"
        "from conceptnet_ml.records import Exporter\n"
        "def write(graph, path):\n"
        "    path.write_text(' '.join(sorted(node.label for node in graph.nodes('feature'))))\n"
        "@hookimpl\n"
        "def conceptnet_exporters():\n"
        "    return [Exporter(name='names', api='1', write=write, suffix='.txt')]\n"
    )
    output("export", run, "--format", "names", "--plugins-dir", plugin, "--out", tmp_path / "g.txt")
    assert (tmp_path / "g.txt").read_text() == "car 1 poodle 1"


def test_export_refuses_an_unknown_format_and_a_bad_place(run, tmp_path):
    assert "Did you mean 'graphml'" in failure(
        SettingsError, "export", run, "--format", "grafml", "--out", tmp_path / "x"
    )
    assert "for a folder of tables: --format csv" in failure(SettingsError, "export", run, "--out", tmp_path / "tables")
    assert "cannot write" in failure(DataError, "export", run, "--format", "json", "--out", run / "settings.json" / "x")


def test_check_accepts_a_sound_graph(run):
    assert "sound, 17 nodes and 26 edges" in output("check", run)


def test_check_lists_every_problem(run):
    path = run / "graph.json"
    plain = json.loads(path.read_text())
    plain["edges"] = [edge for edge in plain["edges"] if edge["kind"] == "built_from"]
    path.write_text(json.dumps(plain))
    message = failure(GraphError, "check", run)
    assert "3 problems" in message
    assert message.count("has 0 specializes edges") == 2
    assert GraphError.exit_code == 3


def test_check_refuses_a_broken_invariant(run):
    path = run / "graph.json"
    path.write_text(path.read_text().replace('"units": 32', '"units": 4'))
    assert "unit 5 does not exist" in failure(GraphError, "check", run) or "unit 8" in failure(GraphError, "check", run)


def test_what_is_no_run_is_refused(tmp_path):
    assert "cannot read" in failure(DataError, "show", tmp_path / "nothing")
    assert "not a run folder" in failure(DataError, "show", tmp_path)
    Run.create(tmp_path / "run", {}, {}, {}, "0.1.0").close()
    assert "no concept graph yet" in failure(DataError, "check", tmp_path / "run")


def test_help_and_the_listing_of_exporters_load_neither_torch_nor_networkx():
    code = (
        "import sys\n"
        "import conceptnet_ml.cli.graph, conceptnet_plugins.exporters as exporters\n"
        "assert len(exporters.conceptnet_exporters()) >= 2\n"
        "print({'torch', 'networkx', 'rich.table'} & set(sys.modules))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_the_real_command_ends_with_the_code_of_its_error(run):
    program = Path(__file__).parents[2] / "cli.py"

    def real(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(program), "graph", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONIOENCODING": "utf-8"})

    assert real("check", run).returncode == 0
    assert "feature car 1" in real("show", run, "--all").stdout
    (run / "graph.json").write_text("{")
    broken = real("check", run)
    assert broken.returncode == 3
    assert "graph.json" in broken.stderr
    assert "Traceback" not in broken.stderr
