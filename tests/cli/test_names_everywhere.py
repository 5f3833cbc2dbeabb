"""Class names with markup, quotes, separators, emoji, right-to-left marks and 300 letters, in every output there is."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import made_run
import networkx as nx
import pytest
from commands import call
from PIL import Image

from conceptnet_ml import ConceptGraph
from conceptnet_ml.drawing.cutting import cut_sheet
from conceptnet_ml.errors import visible
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.results.summary import to_text
from conceptnet_ml.storage.run_folder import Run

pytestmark = pytest.mark.slow

MARKUP = '<b onclick="x()">dog</b> [red]&amp; "cat" \'\\n'
NAMES = (MARKUP, "=HYPERLINK(1),b;c|d\\e{f}", "🐩🚗", "\u202egnitirw\u200f", "é" * 300, "--help $(touch x)`y`")


class Reader(HTMLParser):
    """Gathers attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.handlers: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(made_run, "EVIL", MARKUP)
        patched.setattr(made_run, "CLASSES", ("car", *NAMES))
        return made_run.make_run(tmp_path_factory.mktemp("names") / "run")


def test_terminals_get_letters_alone(run: Path) -> None:
    for words in (("show",), ("show", "--table"), ("query",), ("query", "--kind", "class")):
        done = call("graph", words[0], run, *words[1:])
        assert done.returncode == 0, done.stderr
        assert done.stdout == visible(done.stdout)
    assert MARKUP[:12] in to_text(Run.open(run).summary())


def test_json_and_graphs_of_other_programs_have_the_names_themselves(run: Path, tmp_path: Path) -> None:
    graph = ConceptGraph.read(run)
    shown = json.loads(call("graph", "query", run, "--kind", "class", "--json").stdout)
    assert {node["label"] for node in shown["nodes"]} == {"car", *NAMES}
    for name in ("x.graphml", "x.gexf", "x.dot", "x.json", "tables"):
        form = ("--format", "csv") if name == "tables" else ()
        done = call("graph", "export", run, "--out", tmp_path / name, *form)
        assert done.returncode == 0, done.stderr
    parse = load_plugins(use_entry_points=False).get("exporter", "graphml").function("parse")
    assert ConceptGraph.read(tmp_path / "x.graphml", parse) == graph == ConceptGraph.read(tmp_path / "x.json")
    assert len(nx.read_graphml(tmp_path / "x.graphml")) == len(nx.read_gexf(tmp_path / "x.gexf")) == len(graph)
    dot = (tmp_path / "x.dot").read_text(encoding="utf-8")
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", dot, flags=re.DOTALL)
    assert '"' not in bare
    assert not any(word in bare for word in ("onclick", "HYPERLINK", "touch", "é"))
    files = list(tmp_path.rglob("*.csv"))
    cells = [cell for path in files for row in csv.reader(path.open(encoding="utf-8-sig", newline="")) for cell in row]
    assert files
    assert not any(cell.startswith(("=", "@")) for cell in cells), "a table computes nothing"
    assert "é" * 300 in cells


def test_pages_and_cards_have_no_markup_of_a_name(run: Path, tmp_path: Path) -> None:
    assert call("report", run, "--out", tmp_path / "page.html").returncode == 0
    page = Reader((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert not page.handlers
    assert all(name[:20] in page.text for name in NAMES if name.isprintable())
    assert call("report", run, "--card", tmp_path / "card.md").returncode == 0
    assert "<b onclick" not in (tmp_path / "card.md").read_text(encoding="utf-8").split("---", 2)[2]


def test_captions_of_pictures_stay_inside_of_them(run: Path) -> None:
    for path in (run / "pictures").rglob("*.*g"):
        with Image.open(path) as picture:
            assert max(picture.size) < 4000
        assert cut_sheet(path).cuttings
    said = [
        line.text
        for path in (run / "pictures").glob("*-swaps.png")
        for one in cut_sheet(path).cuttings
        for line in one.caption
    ]
    assert any('onclick="x()">' in line for line in said), said
