"""A finished run as one HTML file that needs nothing else: no other file, no network, no script but its own."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import UndefinedError
from markupsafe import Markup

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.editing.history import EditHistory
from conceptnet_ml.errors import DataError
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.report import records
from conceptnet_ml.report.concepts import before_and_after, concept_cards
from conceptnet_ml.report.figures import Figures
from conceptnet_ml.report.graph_view import GraphView
from conceptnet_ml.report.rounds import round_cards
from conceptnet_ml.report.steering import round_orders
from conceptnet_ml.report.templates import templates
from conceptnet_ml.results import verdict
from conceptnet_ml.results.learned_run import LearnedRun
from conceptnet_ml.results.summary import failing_words, in_order
from conceptnet_ml.storage.files import MALFORMED, write_atomic
from conceptnet_ml.storage.hashing import sha256
from conceptnet_ml.storage.run_folder import Run
from conceptnet_ml.version import __version__

THUMBNAILS = 1_000_000
"""Bytes of thumbnails in the graph, as they are embedded."""

_ANSWERS = 6
"""Test sets of which pictures that the two networks answer differently are shown."""


def write_page(run: LearnedRun | Run | str | Path, out: str | Path | None = None) -> Path:
    """Write a run's page, which explains the run to someone who has nothing else of it.

    Args:
        run: A finished run, or its folder.
        out: The file; default: ``report.html`` in the run folder.

    Returns:
        The file.

    Raises:
        DataError, GraphError: There is no such run, it is not finished, damaged, or of another version, or the file
            cannot be written. Pictures that are gone are no error: the page says so.
    """
    opened = run.folder if isinstance(run, LearnedRun) else run
    folder = opened if isinstance(opened, Run) else Run.open(opened)
    if out is not None and Path(out).is_dir():
        raise DataError(f"{out} is a folder", "Name a file: --out page.html.")
    history = EditHistory(folder)
    if out is not None:
        write_atomic(Path(out), history.read(lambda: _render(folder)))
        return Path(out)
    history.mend()
    with folder:
        folder.lock()  # no edit comes between what it says and where it says it
        return folder.save_page(_render(folder))


def served_page(path: Path, flags: Sequence[str], ended: int) -> str:
    """A run's page with what steers the run, as :mod:`conceptnet_ml.report.server` serves it.

    Args:
        path: The run folder.
        flags: Of the commands.
        ended: How many commands have ended.

    Raises:
        DataError, GraphError: As :func:`write_page`.
    """
    run = Run.open(path)
    history = EditHistory(run)

    def render() -> str:
        bar = bar_content(ended)
        bar |= {"path": path, "flags": flags, "last": ["", *history.descriptions()][-1], "pending": history.pending()}
        bar["rounds"] = {entry["name"]: round_orders(entry) for entry in run.summary()["rounds"]}
        return _render(run, bar)

    return history.read(render)


def bar_content(ended: int) -> dict[str, Any]:
    """What ``steer.html`` shows on any page that is served: the script, and the digest by which the page's content
    security policy knows it."""
    script, digest = _script("steer.js")
    return {"ended": ended, "script": script, "digest": digest, "last": "", "pending": False}


def _render(run: Run, steering: dict[str, Any] | None = None) -> str:
    summary, graph = run.summary(), ConceptGraph.read(run.path)
    template = templates().get_template("page.html")
    figures = Figures(run.path)
    try:
        content = {**_content(run, summary, graph, figures), "steering": steering}
        page = template.render(**content, size="")
        return template.render(**content, size=f"{len(page.encode()) / 1e6:.1f} MB")
    except (UndefinedError, *MALFORMED) as error:
        raise DataError(
            f"{run.path / 'summary.json'}, of conceptnet_ml {run.package or '?'}, lacks what the page shows, or it, "
            f"metrics.jsonl or environment.json is damaged: {error}",
            "Learn the run anew with this version, or use the one that made it.",
        ) from error


def graph_content(view: GraphView) -> dict[str, Any]:
    """What ``graph.html`` shows: the drawing, and the script with its data, its thumbnails and the digest by which the
    page's content security policy knows it."""
    script, digest = _script("graph.js")
    return {**view.drawing(), "sprite": view.sprite, "data": view.data(), "script": script, "digest": digest}


def _script(name: str) -> tuple[Markup, str]:
    """A script of this wing, and its digest."""
    script = (files(__package__) / name).read_text("utf-8")
    return Markup(script), base64.b64encode(bytes.fromhex(sha256(script))).decode()


def _content(run: Run, summary: dict[str, Any], graph: ConceptGraph, figures: Figures) -> dict[str, Any]:
    """What the template shows. What comes first gets its pictures first."""
    settings, metrics = Settings.of_run(run.settings, run.path / "settings.json"), run.metrics()
    content: dict[str, Any] = {
        "run": run.path.name,
        "version": __version__,
        "summary": {"edits": [], **summary},
        "headline": verdict.headline(summary),
        "failing": failing_words(summary),
        "verdict": verdict.verdict(summary),
        "table": verdict.accuracy_table(summary),
        "remarks": verdict.remarks(summary),
        "rounds": round_cards(summary, figures),
        "pairs": before_and_after(graph, figures),
        "answers": _answers(summary, figures),
        "concepts": concept_cards(graph, figures, summary["rounds"]),
        "graph": graph_content(GraphView(graph, thumbs := Figures(run.path, THUMBNAILS))),
        "curves": records.curves(metrics),
        "along": records.accuracies_along(summary, metrics),
        "settings": records.changed_settings(settings, run.origins),
        "command": records.again(run.path, settings, run.environment()),
        "command_notes": records.again_notes(summary, run.origins, run.environment()),
        "steps": records.next_steps(run.path, summary),
        "environment": {
            name: value for name, value in run.environment().items() if isinstance(value, str | int | float)
        },
        "package": run.package,
        "missing": [*dict.fromkeys([*figures.missing, *thumbs.missing])],
        "dropped": figures.dropped + thumbs.dropped,
    }
    cards = [card for cards in content["concepts"].values() for card in cards]
    described = {one["id"] for card in cards for one in (card, *card["variants"])}
    return {**content, "described": described, "drawn": {node["id"] for node in content["graph"]["nodes"]}}


def _answers(summary: dict[str, Any], figures: Figures) -> dict[str, Any]:
    """Where the two networks differ: a line for each test set, and pictures; none where no round is kept."""
    found = summary.get("answers", {})
    cuttings = figures.sheet(found["picture"]).cuttings if found.get("picture") else ()
    groups = {name: [one for one in cuttings if one.heading == name] for name in in_order(found.get("sets", {}))}
    shown = [(name, group) for name, group in groups.items() if group][:_ANSWERS]
    return {
        "sets": [(name, found["sets"][name]) for name in groups],
        "groups": [(name, [figures.cut(one, 128) for one in group]) for name, group in shown],
    }
