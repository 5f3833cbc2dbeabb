"""The page of two runs made by hand: pictures of both, names escaped, nothing else needed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from chromium import INSTALL, PROGRAM, Chromium
from made_run import EVIL, concept_graph, make_run, summary

from conceptnet_ml import DataError, write_comparison
from conceptnet_ml.results.compare import _rounds
from conceptnet_ml.results.comparison import ComparedAccuracy, ComparedFact, Comparison, Difference
from conceptnet_ml.results.concept_matches import ConceptMatch, ConceptMatches, Likeness
from conceptnet_ml.storage.run_folder import Run


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    root = tmp_path_factory.mktemp("compared")
    folders = [Run.open(make_run(root / name)) for name in ("one", "other")]
    runs: Any = tuple(SimpleNamespace(folder=folder, summary=folder.summary) for folder in folders)
    nodes = [node for node in concept_graph().nodes() if node.kind in ("generalized", "feature")]
    better = Difference(0.5, 0.4, 0.6, 10, 2)
    ends = (0.5, 0.7), (0.9, 1.0)
    rows = (
        ComparedAccuracy(EVIL, "learned", (20, 20), (0.6, 0.95), ends, better, ""),
        ComparedAccuracy(EVIL, "learned", (5, 6), (0.6, 0.95), ends, None, "", (EVIL, "car, red")),
        ComparedAccuracy("far", "box", (20, 0), (0.6, None), (ends[0], None), None, "Only one of the runs has it."),
    )
    both = ConceptMatch((nodes[0], nodes[0]), Likeness(0.83, 0.63)), ConceptMatch((nodes[1], nodes[1]), None)
    matches = ConceptMatches(both, ((), tuple(nodes[2:])), 300)
    facts = ComparedFact("data", (EVIL, "photos")), ComparedFact("seed", ("0", "0"))
    settings = (ComparedFact("round.first", ("2.0", EVIL)),)
    rounds = tuple(_rounds((summary(), summary())))
    return Comparison(("one", EVIL), runs, False, facts, settings, (), rows, rounds, matches)


def test_it_shows_both_runs_and_escapes_all_names(compared: Comparison, tmp_path: Path) -> None:
    text = write_comparison(compared, tmp_path / "page.html").read_text(encoding="utf-8")
    assert EVIL not in text
    assert "<script" not in text
    assert "default-src 'none'" in text
    assert "<b>+50.0 [+40.0, +60.0]</b>" in text
    assert "only B right 10, only A 2" in text
    assert "not measured" in text
    assert "Alike 0.73 (images 0.83, places 0.63)" in text
    assert "The same units" in text
    assert text.count("exchanges places that cover 15") == 2
    assert text.count("data:image") > 2 * (4 + 3 * 2), "swaps and concepts of both"
    assert "missing here" not in text
    for node in (one for match in compared.concepts.both for one in match.nodes):
        assert node.id in text


@pytest.mark.skipif(PROGRAM is None, reason=INSTALL)
@pytest.mark.parametrize("width", [390, 1280])
def test_bars_of_both_runs_have_one_scale(compared: Comparison, tmp_path: Path, width: int) -> None:
    with Chromium(width, 900, phone=width == 390) as browser:
        browser.open(write_comparison(compared, tmp_path / "page.html"))
        bars = browser.run("[...document.querySelectorAll('.cell .bar')].map(one => one.getBoundingClientRect().width)")
    assert len(bars) == 5
    assert len(set(bars)) == 1


def test_pictures_that_are_gone_are_said(compared: Comparison, tmp_path: Path) -> None:
    pictures = compared.runs[1].folder.path / "pictures" / "nodes"
    for path in pictures.iterdir():
        path.unlink()
    text = write_comparison(compared, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "missing here" in text
    assert "No picture." in text
    with pytest.raises(DataError, match="is a folder"):
        write_comparison(compared, tmp_path)
