"""Why a picture is answered as it is, as one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conceptnet_ml.drawing.layout import Caption
from conceptnet_ml.drawing.masks import gate_overlay, masked
from conceptnet_ml.drawing.pictures import ImageLike, enlarge, to_ground, to_image
from conceptnet_ml.errors import DataError
from conceptnet_ml.graph.naming import called
from conceptnet_ml.report.figures import Figure, Figures
from conceptnet_ml.report.templates import templates
from conceptnet_ml.results.explanation import NETWORKS, DonorTrial, Explanation
from conceptnet_ml.storage.files import write_atomic
from conceptnet_ml.version import __version__

SHOWN, ANSWERS = 12, 5
"""Concepts, and classes of an answer, that are shown."""

_SIDE, _SMALL = 256, 128


def write_explanation(explanation: Explanation, out: str | Path, run: str = "") -> Path:
    """Write what :meth:`LearnedRun.explain` said of a picture as a page; returns the file.

    Args:
        run: What the run is called there.

    Raises:
        DataError: The file is a folder, or cannot be written.
    """
    if Path(out).is_dir():
        raise DataError(f"{out} is a folder", "Name a file: page.html.")
    figures, one = Figures(Path()), explanation
    content = {
        "one": one,
        "name": Path(one.file).name,
        "run": run,
        "picture": _embed(one.image, one.file, figures, _SIDE),
        "answers": [(name, [*one.probabilities[name].items()][:ANSWERS]) for name in one.networks],
        "exchanges": [
            (each, [(_words(trial), _row(one, trial, figures)) for trial in each.trials]) for each in one.exchanges
        ],
        "placed": any(each.placed for each in one.exchanges),
        "concepts": [
            (
                called(each.node),
                each,
                _embed(masked(_large(to_ground(one.image)), each.unit_map, each.cutoff), one.file, figures),
            )
            for each in one.concepts[:SHOWN]
        ],
        "more": max(0, len(one.concepts) - SHOWN),
        "version": __version__,
    }
    write_atomic(Path(out), templates().get_template("explanation.html").render(**content))
    return Path(out)


def _words(trial: DonorTrial) -> str:
    return f"With material of {trial.name}: image, donor, the image with the donor's material, and where that came in"


def _row(one: Explanation, trial: DonorTrial, figures: Figures) -> list[Figure | None]:
    """The picture, a donor, the picture with its material, and the gate."""
    answers = [Caption(f"{name}: {one.answer(name)}") for name in NETWORKS]
    seen = [
        Caption(f"{name}: {trial.seen[name]}", "wrong" if trial.seen[name] != one.answer(name) else "plain")
        for name in NETWORKS
    ]
    gate = None if trial.gate is None else gate_overlay(one.image, trial.gate)
    pictures: list[tuple[ImageLike, Any]] = [
        (one.image, answers),
        (trial.donor, [Caption(trial.name)]),
        (trial.swapped, seen),
        *([(gate, [])] if gate is not None else []),
    ]
    return [_embed(picture, one.file, figures, _SMALL, tuple(words)) for picture, words in pictures]


def _large(image: ImageLike, side: int = _SIDE) -> Any:
    return enlarge(to_image(image), side)


def _embed(
    image: ImageLike, alt: str, figures: Figures, side: int = _SIDE, words: tuple[Caption, ...] = ()
) -> Figure | None:
    return figures.embed(_large(image, side), side, alt, words)
