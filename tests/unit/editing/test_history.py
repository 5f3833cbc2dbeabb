"""Edits by one process while another reads: it finds all of before, or all of after, or is told to try again."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
from made_run import make_run

from conceptnet_ml.editing.history import EditHistory
from conceptnet_ml.errors import DataError
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.storage.run_folder import Run

ENTRY = {"time": 1.0, "verb": "annotate", "said": "said", "structural": False, "network": None}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def edit(run: Run, number: int, stop_before_the_log: bool = False) -> None:
    """What an editor writes, in its order: the graph, the summary, then the log."""
    history, graph = EditHistory(run), ConceptGraph.read(run.path)
    with run:
        history.begin()
        graph.update_node(graph.nodes("class")[0].id, note=f"edit {number}")
        run.save_graph(graph.to_json())
        said = [*history.descriptions(), f"{number}. said"]
        run.save_summary({**run.summary(), "edits": said}, "")
        if not stop_before_the_log:
            history.commit({**ENTRY, "number": number, "arguments": {}, "delta": {}})


def seen(history: EditHistory) -> tuple[str | None, list[str], list[str]]:
    note = ConceptGraph.read(history.run.path).nodes("class")[0].note
    return note, history.run.summary().get("edits", []), history.descriptions()


def edit_and_undo(path: Path, times: int) -> None:
    for _ in range(times):
        run = Run.open(path)
        edit(run, 1)
        edit(run, 2)
        EditHistory(run).undo(2)
        run.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_who_reads_during_edits_of_another_process_finds_what_belongs_together(run: Path) -> None:
    first = seen(EditHistory(Run.open(run)))
    wanted = {0: first[0], 1: "edit 1", 2: "edit 2"}
    editing = multiprocessing.get_context("fork").Process(target=edit_and_undo, args=(run, 8))
    editing.start()
    reads, told = 0, list[str]()
    while editing.is_alive():
        history = EditHistory(Run.open(run))
        try:
            note, edits, log = history.read(lambda: seen(history))  # noqa: B023
        except DataError as error:
            told.append(error.mend)
            continue
        reads += 1
        assert edits == log
        assert note == wanted[len(log)]
    editing.join()
    assert editing.exitcode == 0
    assert reads > 0
    assert all("ry again" in mend for mend in told)
    assert seen(EditHistory(Run.open(run))) == first


def test_what_was_replaced_while_it_was_read_is_read_again(run: Path) -> None:
    history, calls = EditHistory(Run.open(run)), list[int]()

    def read() -> tuple[str | None, list[str]]:
        note = ConceptGraph.read(run).nodes("class")[0].note
        calls.append(1)
        if len(calls) == 1:
            edit(Run.open(run), 1)
        return note, history.run.summary().get("edits", [])

    assert history.read(read) == ("edit 1", ["1. said"])
    assert len(calls) == 2


def test_an_error_is_an_error_where_nothing_was_replaced(run: Path) -> None:
    (run / "summary.json").write_text("{")
    history = EditHistory(Run.open(run))
    with pytest.raises(DataError, match="is damaged"):
        history.read(history.run.summary)


def test_who_meets_an_edit_that_goes_on_is_told_to_try_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conceptnet_ml.editing.history.PATIENCE", 0.1)
    other = Run.open(run)
    edit(other, 1, stop_before_the_log=True)
    other.lock()
    history = EditHistory(Run.open(run))
    for act in (history.mend, lambda: history.read(history.run.summary)):
        with pytest.raises(DataError, match=r"is in the middle of an edit: .* is in use by process") as caught:
            act()
        assert "Try again in a moment" in caught.value.mend
    assert EditHistory(other).read(other.summary)["edits"] == ["1. said"], "who writes reads what he has written"
    other.close()
    assert "edits" not in history.read(history.run.summary), "cut short, it is taken back"


@pytest.mark.parametrize("what", ["empty folder", "half a folder", "file"])
@pytest.mark.parametrize("number", ["0001", "9999"])
def test_a_folder_that_no_edit_has_made_costs_no_results(run: Path, what: str, number: str) -> None:
    before = {path.name: path.read_bytes() for path in run.glob("*.json")}
    stranger = run / "edits" / number
    stranger.parent.mkdir()
    stranger.touch() if what == "file" else stranger.mkdir()
    if what == "half a folder":
        (stranger / "summary.json").write_text("{}")
    history = EditHistory(Run.open(run))
    assert "rounds" in history.read(history.run.summary)
    history.repair()
    assert {path.name: path.read_bytes() for path in run.glob("*.json")} == before
    if number == "0001":
        with pytest.raises(DataError, match="0001 was not made by an edit of this run"):
            edit(Run.open(run), 1)
