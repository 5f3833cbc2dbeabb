"""Two runs side by side, as one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conceptnet_ml.errors import DataError
from conceptnet_ml.graph.naming import called
from conceptnet_ml.graph.schema import Node
from conceptnet_ml.report.concepts import node_figures
from conceptnet_ml.report.figures import BUDGET, Figure, Figures
from conceptnet_ml.report.rounds import round_cards
from conceptnet_ml.report.templates import templates
from conceptnet_ml.results.comparison import Comparison, difference_words
from conceptnet_ml.results.concept_matches import ALIKE, IN_STATES
from conceptnet_ml.storage.files import write_atomic
from conceptnet_ml.version import __version__

LETTERS = ("A", "B")

_SIDE, _SHOWN, _ROWS = 96, 4, 2
"""Px and number of a concept's pictures; rows of a kept round's."""


def write_comparison(comparison: Comparison, out: str | Path) -> Path:
    """Write what :meth:`LearnedRun.compare` found as a page, with the runs' pictures; returns the file.

    Raises:
        DataError: The file is a folder, or cannot be written. Pictures that are gone are no error: the page says so.
    """
    if Path(out).is_dir():
        raise DataError(f"{out} is a folder", "Name a file: compared.html.")
    both = [Figures(run.folder.path, BUDGET // 2) for run in comparison.runs]
    concepts = comparison.concepts
    content = {
        "one": comparison,
        "letters": LETTERS,
        "alike": f"{ALIKE:g}",
        "in_states": IN_STATES.format(images=concepts.images),
        "sets": _sets(comparison),
        "matches": [
            (
                each,
                [_concept(node, figures, concepts.words(node)) for node, figures in zip(each.nodes, both, strict=True)],
            )
            for each in concepts.both
        ],
        "only": [
            [_concept(node, figures, concepts.words(node)) for node in some]
            for some, figures in zip(concepts.only, both, strict=True)
        ],
        "exchanged": _exchanged(comparison, both),
        "missing": [
            f"{name}: {picture}"
            for name, figures in zip(comparison.names, both, strict=True)
            for picture in figures.missing
        ],
        "dropped": sum(figures.dropped for figures in both),
        "version": __version__,
    }
    write_atomic(Path(out), templates().get_template("comparison.html").render(**content))
    return Path(out)


def _sets(comparison: Comparison) -> list[dict[str, Any]]:
    """A line for every network on every test set."""
    return [
        {
            "row": row,
            "difference": difference_words(row.difference),
            "sign": 0 if row.difference is None else row.difference.sign,
        }
        for row in comparison.accuracy
    ]


def _concept(node: Node, figures: Figures, says: str = "") -> dict[str, Any]:
    groups, _ = node_figures(node, figures, False, _SIDE)
    shown: list[Figure] = [one for group in groups for one in group["figures"]]
    return {"id": node.id, "kind": node.kind, "title": called(node), "says": says, "figures": shown[:_SHOWN]}


def _exchanged(comparison: Comparison, both: list[Figures]) -> dict[str, list[list[list[Figure | None]]]]:
    """Of each kept round, by its name, some rows of its picture in each run."""
    cards = [
        {card["name"]: card for card in round_cards(run.summary(), figures) if card["kept"]}
        for run, figures in zip(comparison.runs, both, strict=True)
    ]
    names = [each.name for each in comparison.rounds if "kept" in each.decisions]
    decided = {each.name: each.decisions for each in comparison.rounds}
    return {
        name: [
            some[name]["telling"][:_ROWS] if name in some and decision == "kept" else []
            for some, decision in zip(cards, decided[name], strict=True)
        ]
        for name in names
    }
