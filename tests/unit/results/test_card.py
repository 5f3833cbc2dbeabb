"""A run in short, as a model card and in a notebook, with markup, emoji and marks of direction for names."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from commands import call
from made_run import CLASSES, EVIL, concept_graph, make_run
from markdown_it import MarkdownIt

from conceptnet_ml import ConceptGraph, DataError, Dream, Objective
from conceptnet_ml.drawing.notebook import LARGEST, picture_html
from conceptnet_ml.errors import visible
from conceptnet_ml.results.card import may_write_card, model_card, run_html, run_words
from conceptnet_ml.storage.run_folder import Run

NAME = '<i onclick="x()">🐩 | `*a*`</i> [b](http://c) www.d_e \u202eback'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run whose class, test set and note have that name."""
    run = make_run(tmp_path / "run")
    path = run / "summary.json"
    path.write_text(path.read_text(encoding="utf-8").replace(json.dumps(EVIL)[1:-1], json.dumps(NAME)[1:-1]))
    return run


class Read(HTMLParser):
    """Tags with their attributes, and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_card_says_what_a_reader_of_models_looks_for(folder: Path) -> None:
    card = model_card(Run.open(folder))
    for heading in ("What it is", "Data", "How good it is", "What it hung on", "Limits", "How to repeat it"):
        assert f"\n## {heading}" in card
    for word in (
        "conceptnet-ml learn --data 'folder:my photos'",
        "| ordinary | learned | box |",
        "worst group",
        "seed 0",
    ):
        assert word in card
    assert re.search(r"\| test \| 200 \| 99.0\u00a0% \(96–100\) \| 90.0\u00a0%", card)


def test_its_head_is_yaml_with_the_figures(folder: Path) -> None:
    """YAML's double quotes hold what JSON's do."""
    opened, head, _ = model_card(Run.open(folder)).split("---\n", 2)
    assert opened == ""
    rows = [re.fullmatch(r"( *)(?:- )?(?:([\w-]+): ?)?(.*)", line) for line in head.splitlines()]
    assert all(rows)
    texts = [json.loads(row[3]) for row in rows if row is not None and row[3].startswith('"')]
    assert visible(f"accuracy on {NAME}") in texts
    assert visible(f"worst group: {NAME}, red") in texts
    values = [float(row[3]) for row in rows if row is not None and row[2] == "value"]
    assert values == [0.9, 0.9, 0.45]
    assert "pipeline_tag: image-classification" in head


def test_a_card_says_so_where_no_round_was_kept(folder: Path) -> None:
    assert "trained it to do without" in model_card(Run.open(folder))
    found = json.loads((folder / "summary.json").read_text())
    found["rounds"] = found["rounds"][1:]
    (folder / "summary.json").write_text(json.dumps(found))
    card = model_card(Run.open(folder))
    assert "trained it to do without" not in card
    assert "and kept no round: it is that network still." in card
    assert "*ordinary* the same network, the others are controls" in card


@pytest.mark.parametrize(
    ("source", "name", "kind"),
    [
        ("folder:/home/me/my photos/", "my photos", "imagefolder"),
        ("folder:C:\\me\\photos", "photos", "imagefolder"),
        ("folder:..", "folder", "imagefolder"),
        ("table:/home/me/a.csv", "a.csv", "table"),
        ("hf:owner/birds", "owner/birds", "owner/birds"),
        ("hf:birds@small", "birds@small", "birds"),
        ("hf:/home/me/birds", "birds", "hf"),
        ("torchvision:CIFAR10", "torchvision:CIFAR10", "torchvision:CIFAR10"),
    ],
)
def test_its_head_names_no_path_of_a_machine(folder: Path, source: str, name: str, kind: str) -> None:
    found = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**found, "data": source}))
    head = model_card(Run.open(folder)).split("---\n", 2)[1]
    assert f'    dataset:\n      name: "{name}"\n      type: "{kind}"\n' in head
    assert "/me" not in head


def test_no_name_becomes_markup_in_markdown(folder: Path) -> None:
    body = model_card(Run.open(folder)).split("---\n", 2)[2]
    assert "\u202e" not in body
    read = Read(MarkdownIt("gfm-like", {"linkify": False}).render(body))
    assert read.text.count(visible(NAME)) >= 4
    allowed = {"h1", "h2", "p", "ul", "li", "strong", "em", "code", "pre", "table", "thead", "tbody", "tr", "th", "td"}
    assert {tag for tag, _ in read.tags} <= allowed
    cells = [tag for tag, _ in read.tags if tag in ("th", "td")]
    assert len(cells) == 5 * 4, "no name opens another column"


def test_a_command_with_backticks_stays_in_its_block(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    settings = json.loads((run / "settings.json").read_text())
    settings["settings"]["data"]["source"] = "folder:a```b"
    (run / "settings.json").write_text(json.dumps(settings))
    assert "folder:a```b" in Read(MarkdownIt().render(model_card(Run.open(run)))).text


def test_a_card_without_results_is_refused(folder: Path) -> None:
    found = json.loads((folder / "summary.json").read_text())
    del found["images"]
    (folder / "summary.json").write_text(json.dumps(found))
    with pytest.raises(DataError, match=r"summary.json lacks what a card says, or is damaged: 'images'"):
        model_card(Run.open(folder))
    (folder / "summary.json").unlink()
    with pytest.raises(DataError, match="has no results yet"):
        model_card(Run.open(folder))
    assert "has no results yet" in run_html(Run.open(folder))


def test_the_command_writes_it(folder: Path, tmp_path: Path) -> None:
    told = json.loads(call("report", folder, "--card", tmp_path / "README.md", "--json").stdout)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert told == {"run": str(folder), "card": str(tmp_path / "README.md"), "bytes": len(card.encode())}
    assert card == model_card(Run.open(folder))
    assert not (folder / "report.html").exists()
    both = call("report", folder, "--card", tmp_path / "a.md", "--out", tmp_path / "a.html")
    assert (both.returncode, "contradict each other" in both.stderr) == (2, True)
    assert call("report", folder, "--card", tmp_path).returncode == 3


def test_a_card_takes_the_place_of_a_card_and_of_nothing_else(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    assert may_write_card(file)
    file.write_text(model_card(Run.open(folder)), encoding="utf-8")
    assert may_write_card(file)
    file.write_text("---\nlibrary_name: other\n---\n", encoding="utf-8")
    done = call("report", folder, "--card", file)
    assert (done.returncode, "is there already, and is no card of a run" in done.stderr) == (3, True)
    assert "other" in file.read_text(encoding="utf-8")


def test_a_run_in_a_notebook(folder: Path) -> None:
    html = run_html(Run.open(folder))
    read = Read(html)
    assert visible(NAME) in read.text
    assert "\u202e" not in html
    assert {tag for tag, _ in read.tags} == {"div", "b", "table", "tr", "th", "td", "img", "small"}
    (source,) = [given["src"] for tag, given in read.tags if tag == "img"]
    assert str(source).startswith("data:image/webp;base64,")
    assert len(html) < LARGEST + 5_000
    shutil.rmtree(folder / "pictures")
    assert "<img" not in run_html(Run.open(folder))


def test_a_run_in_a_line(folder: Path) -> None:
    said = run_words(Run.open(folder))
    assert said.startswith(f"LearnedRun({str(folder)!r}, data ")
    assert visible(NAME) in said
    assert "\u202e" not in said
    assert ", kept top/" in said
    (folder / "summary.json").unlink()
    assert run_words(Run.open(folder)) == f"LearnedRun({str(folder)!r})"


def test_a_graph_in_a_notebook() -> None:
    read = Read(concept_graph()._repr_html_())
    assert "9 nodes: 2 class, 2 variant, 1 generalized, 2 feature, 2 unit" in read.text
    assert f"What makes {EVIL}" in read.text
    assert not [given for _, given in read.tags if given], "plain tags: no name brought one with attributes"
    many = ConceptGraph(CLASSES, [("top", 64)], network="9f", settings="03", seed=0)
    for number in range(40):
        many.add_node("feature", f"{NAME} {number}", stage="top", round=1, classes=["car"], units=[number], name=NAME)
    html = many._repr_html_()
    assert "28 more" in html
    assert "\u202e" not in html
    assert len(html) < 10_000


def test_a_dream_in_a_notebook() -> None:
    noise = torch.randint(0, 256, (3, 900, 1200), dtype=torch.uint8)
    html = Dream(Objective.logit(0, NAME), 0, noise, 0.5, 7.25, 64, "all steps")._repr_html_()
    read = Read(html)
    assert "0.5 → 7.25, all steps" in read.text
    assert visible(NAME) in read.text
    (picture,) = [given for tag, given in read.tags if tag == "img"]
    assert (picture["width"], picture["height"]) == ("256", "192")
    assert picture["alt"] == visible(NAME)
    assert "onclick" not in {name for _, given in read.tags for name in given}
    assert len(html) < LARGEST + 1_000
    assert len(picture_html(noise, 1200, "")) < LARGEST + 1_000, "what is too large is made smaller"
