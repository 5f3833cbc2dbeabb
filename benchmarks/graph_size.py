"""How long a large concept graph takes, and how much memory, beside the floor of what it is made with.

    python benchmarks/graph_size.py --out docs/results/graph_size.md

Graphs of drawn content with four edges a node, of every kind that the learner and its user's edits make; every tenth
edge could close a circle. Each size runs in a process of its own. Floors: `json.loads`; `json.loads` and the records'
own validation by pydantic; `json.dumps` of what is plain already; networkx given the records; networkx's GraphML. Times
are of the process's CPU, the least of three runs (one run from 50,000 nodes on).
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import pydantic

from conceptnet_ml.graph.concept_graph import ConceptGraph, parse_graph
from conceptnet_ml.graph.schema import NODE_KINDS, SCHEMA, SCHEMA_VERSION, node_id
from conceptnet_plugins.exporters import dot, graphml

ROOT = Path(__file__).parents[1]
SIZES = (1_000, 5_000, 20_000, 100_000)
STAGES, CLASSES, EDGES_PER_NODE = 12, 10, 4
MIX = ("unit", "unit", "unit", "feature", "feature", "variant", "generalized")
"""Kinds of the nodes below the classes, drawn evenly."""

FLOORS = {
    "load JSON": "json.loads and the records",
    "export JSON": "json.dumps alone",
    "check": "networkx, records given",
    "query: edges": "networkx, records given",
    "diff": "networkx, records given",
    "export GraphML": "networkx writes GraphML",
    "load GraphML": "networkx reads GraphML",
}


class Drawn:
    """The plain form of a sound graph of ``count`` nodes and four times as many edges."""

    def __init__(self, count: int, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.width = max(64, count // STAGES)
        self.classes = [f"class {number}" for number in range(CLASSES)]
        self.nodes: list[dict[str, Any]] = []
        self.edges: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.at: dict[tuple[str, int], list[dict[str, Any]]] = {}
        self.rank: dict[str, int] = {}
        for name in self.classes:
            self._node("class", name, STAGES, classes=[name], accuracy=0.9)
        for number in range(count - CLASSES):
            self._below(MIX[number % len(MIX)], number)
        self._families()
        while len(self.edges) < EDGES_PER_NODE * count:
            self._built_from()

    def plain(self) -> dict[str, Any]:
        stages = [{"name": f"stage{number}", "units": self.width} for number in range(STAGES)]
        header = {"classes": self.classes, "stages": stages, "network": "n", "settings": "s", "seed": 0}
        edges = list(self.edges.values())
        return {"schema": SCHEMA, "version": SCHEMA_VERSION, "header": header, "nodes": self.nodes, "edges": edges}

    def _below(self, kind: str, number: int) -> None:
        draw, rank = self.random, self.random.randrange(STAGES)
        fields: dict[str, Any] = {"auc": draw.random(), "effect": draw.gauss(0, 1)}
        if kind == "unit":
            fields["units"] = [number % self.width]
        else:
            fields |= {"round": 1 + number % 4, "phi": draw.random(), "iota": draw.gauss(0.5, 0.3), "decision": "kept"}
            fields |= {
                "reason": "ι 0.83 is above 0.6",
                "representation": "pixels",
                "examples": [f"train:{one}" for one in draw.sample(range(999), 5)],
            }
            fields |= {"provenance": {"plugin": "units", "seed": 0}, "classes": [draw.choice(self.classes)]}
            fields["spectrum"] = {name: [-1.0, draw.gauss(0, 1), 1.0] for name in self.classes}
        if kind == "feature":
            fields["units"] = sorted(draw.sample(range(self.width), 5))
        if kind == "generalized":
            fields |= {"classes": self.classes, "coverage": {name: draw.random() for name in self.classes}}
        self._node(kind, f"{kind} {number}", rank, **fields)

    def _node(self, kind: str, label: str, rank: int, **fields: Any) -> None:
        if rank < STAGES:
            fields["stage"] = f"stage{rank}"
        identity = (fields.get("stage"), fields.get("round"), None, fields.get("units", ()))
        node = {"kind": kind, "label": label, "id": node_id(kind, label, *identity), **fields}
        self.nodes.append(node)
        self.rank[node["id"]] = rank
        self.at.setdefault((kind, rank), []).append(node)

    def _families(self) -> None:
        """Members of every generalized feature, a generalized feature for every variant, analogies, edits."""
        taken: set[tuple[str, str]] = set()
        for node in list(self.nodes):
            rank = self.rank[node["id"]]
            features = self.at.get(("feature", rank), [])
            if node["kind"] == "generalized":
                for member in self.random.sample(features, 3):
                    self._edge("generalizes", node, member, score=self.random.random())
            elif node["kind"] == "variant":
                general = self.random.choice(self.at["generalized", rank])
                while (general["id"], node["classes"][0]) in taken:
                    general = self.random.choice(self.at["generalized", rank])
                taken.add((general["id"], node["classes"][0]))
                self._edge("specializes", node, general, class_name=node["classes"][0])
            elif node["kind"] == "feature":
                other = self.random.choice(features)
                names = {"class_name": node["classes"][0], "other": other["classes"][0]}
                if names["class_name"] != names["other"]:
                    self._edge("analogous", node, other, score=self.random.random(), null=0.1, **names)
                if node is not features[-1] and self.random.random() < 0.05:
                    node["state"] = "merged"
                    self._edge("became", node, features[-1], edit=1)

    def _built_from(self) -> None:
        source = self.random.choice(self.nodes)
        rank, kind = self.rank[source["id"]], source["kind"]
        level = rank < STAGES and self.random.random() < 0.1
        if not level and rank == 0:
            return
        kinds = [kind] if level or kind == "unit" else NODE_KINDS[1:]
        near = self.at.get((self.random.choice(kinds), rank if level else self.random.randrange(rank)), [])
        if not near:
            return
        target = self.random.choice(near)
        if level and source["label"] == target["label"]:
            return
        if level and source["label"] > target["label"]:  # in one direction: nothing goes in a circle
            source, target = target, source
        weight = self.random.gauss(0, 1)
        numbers = {
            "weight": weight,
            "low": weight - 0.1,
            "high": weight + 0.1,
            "effect": weight,
            "gap": 0.1,
            "null": 0.2,
        }
        self._edge("built_from", source, target, **numbers)

    def _edge(self, kind: str, source: dict[str, Any], target: dict[str, Any], **fields: Any) -> None:
        key = (kind, source["id"], target["id"])
        self.edges.setdefault(key, {"kind": kind, "source": source["id"], "target": target["id"], **fields})


def measure(count: int) -> dict[str, float]:
    """CPU seconds of each step, the floors among them, and how many nodes and edges there are."""
    plain = Drawn(count).plain()
    graph = ConceptGraph.from_plain(plain)
    text, drawn = graph.to_json(), graphml.to_graphml(graph)
    if problems := graph.check():
        raise RuntimeError(problems[0])
    found: dict[str, float] = {"nodes": len(graph), "edges": len(graph.edges())}

    def step(name: str, work: Callable[[], Any]) -> None:
        """CPU seconds of a step, the least of three, of one for the largest graphs."""
        times = []
        for _ in range(1 if count >= 50_000 else 3):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
        found[name] = min(times)

    def bare() -> None:
        """networkx alone, from records that are there."""
        copy = nx.MultiDiGraph()
        copy.add_nodes_from((node.id, {"record": node}) for node in graph.nodes())
        copy.add_edges_from((edge.source, edge.target, edge.key, {"record": edge}) for edge in graph.edges())

    some = graph.nodes("feature")[-1]
    step("load JSON", lambda: ConceptGraph.from_json(text))
    step("floor: json.loads", lambda: json.loads(text))
    step("floor: json.loads and the records", lambda: parse_graph(json.loads(text)))
    step("floor: networkx, records given", bare)
    step("export JSON", graph.to_json)
    step("floor: json.dumps alone", lambda: json.dumps(plain, indent=1, sort_keys=True))
    step("check", graph.check)
    step("query: nodes", lambda: graph.select(kind="feature", class_="class 3", text="feature 1"))
    step("query: edges", lambda: graph.select_edges(min_weight=1.5, class_="class 3"))
    step("resolve", lambda: graph.resolve(some.label))
    step("five strongest chains", lambda: graph.paths("class 3", 5))
    step("diff", lambda: graph.diff(graph))
    step("export GraphML", lambda: graphml.to_graphml(graph))
    step("load GraphML", lambda: ConceptGraph.from_plain(graphml.parse(drawn)))
    if count <= 20_000:  # minutes and gigabytes beyond
        flat = nx.parse_graphml(drawn, force_multigraph=True)
        step("floor: networkx writes GraphML", lambda: "\n".join(nx.generate_graphml(flat)))
        step("floor: networkx reads GraphML", lambda: nx.parse_graphml(drawn, force_multigraph=True))
    with tempfile.TemporaryDirectory() as folder:
        step("export dot", lambda: dot.write(graph, Path(folder) / "graph.dot"))
    return found


def outside(count: int) -> tuple[float, float]:
    """CPU seconds of the whole command ``graph check``, and MB that a loaded graph keeps, each in a fresh process."""
    text = ConceptGraph.from_plain(Drawn(count).plain()).to_json()
    held = (
        "import sys; from pathlib import Path; from conceptnet_ml.graph.concept_graph import ConceptGraph\n"
        "def held(): return int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize() / 2**20\n"
        "import resource; before = held(); graph = ConceptGraph.read(Path(sys.argv[1])); print(held() - before)"
    )
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, str(ROOT / "cli.py"), "graph", "check", file.name], check=True, stdout=subprocess.DEVNULL
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        run = subprocess.run([sys.executable, "-c", held, file.name], capture_output=True, text=True, check=True)
    return seconds, float(run.stdout)


def table(head: list[str], rows: dict[str, list[str]]) -> list[str]:
    """A Markdown table with numbers at the right."""
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return [*lines, *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()), ""]


def page(results: list[dict[str, float]]) -> str:
    """Seconds, microseconds a node, memory."""
    head = ["", *(f"{found['nodes']:,} nodes, {found['edges']:,} edges" for found in results)]
    names = [name for name in results[0] if name not in ("nodes", "edges", "MB")]

    def cells(name: str, per_node: bool) -> list[str]:
        times = [(found.get(name), found["nodes"]) for found in results]
        return [
            "–" if took is None else f"{1e6 * took / nodes:,.1f}" if per_node else f"{took:.3f}"
            for took, nodes in times
        ]

    def shares(name: str, floor: str) -> list[str]:
        return [
            f"{found[name] / found[f'floor: {floor}']:.2f}" if f"floor: {floor}" in found else "–" for found in results
        ]

    software = f"Python {platform.python_version()}, networkx {nx.__version__}, pydantic {pydantic.VERSION}"
    return "\n".join(
        [
            "# Size of concept graphs",
            "",
            "Written by `python benchmarks/graph_size.py --out docs/results/graph_size.md`, on one core of",
            f"{platform.machine()}, {software}. A floor is what the step above it is made with: it builds no",
            "graph and checks no invariant. Floors cost more per node in larger graphs too: what no longer fits the",
            "processor's cache, and Python's collector of garbage. Linear is what stays the same beside its floor.",
            "networkx's GraphML was not measured above 20,000 nodes.",
            "",
            "## CPU seconds",
            "",
            *table(head, {name: cells(name, False) for name in names}),
            "## Times the floor",
            "",
            *table(head, {f"{name} / {floor}": shares(name, floor) for name, floor in FLOORS.items()}),
            "## CPU microseconds a node, with its four edges",
            "",
            *table(head, {name: cells(name, True) for name in names}),
            "## Memory",
            "",
            *table(
                head,
                {
                    "MB that a loaded graph keeps": [f"{found['MB']:,.0f}" for found in results],
                    "kB a node, with its four edges": [
                        f"{found['MB'] * 2**10 / found['nodes']:.1f}" for found in results
                    ],
                },
            ),
        ]
    )


def main() -> None:
    """Measure every size in a process of its own, print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        found = measure(options.one)
        found["command: graph check"], found["MB"] = outside(options.one)
        print(json.dumps(found))
        return
    results = []
    for size in options.sizes:
        command = [sys.executable, __file__, "--one", str(size)]
        results.append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout))
        print(f"{size:,} nodes measured", file=sys.stderr)
    text = page(results)
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
