"""An inspection as one HTML file that needs nothing else, with example pictures of every finding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from conceptnet_ml.drawing.layout import Caption
from conceptnet_ml.drawing.pictures import enlarge, to_image
from conceptnet_ml.errors import DataError
from conceptnet_ml.inspect.inspection import Inspection
from conceptnet_ml.inspect.property_results import TRAIN, PropertyResult
from conceptnet_ml.report.figures import Figure, Figures
from conceptnet_ml.report.templates import templates
from conceptnet_ml.storage.files import write_atomic
from conceptnet_ml.version import __version__

EXAMPLES, CLASSES, COPIES = 4, 4, 8
"""Pictures in a row, classes with rows of their own, and pairs of near-duplicates that are shown."""

_SIDE = 96


def write_inspection(inspection: Inspection, out: str | Path) -> Path:
    """Write what :func:`inspect_data` found as a page; returns the file. Raises DataError where it is a folder."""
    if Path(out).is_dir():
        raise DataError(f"{out} is a folder", "Name a file: --out page.html.")
    figures = Figures(Path())
    content = {
        "found": inspection,
        "findings": [_card(inspection, number, figures) for number in range(len(inspection.findings))],
        "copies": [*_copies(inspection, figures)],
        "tests": [name for name in inspection.counts if name != TRAIN][:3],
        "chance": 1 / len(inspection.data.classes),
        "command": inspection.learn_command(),
        "version": __version__,
        "dropped": figures.dropped,
    }
    write_atomic(Path(out), templates(__package__).get_template("inspection.html").render(**content))
    return Path(out)


def _card(inspection: Inspection, number: int, figures: Figures) -> dict[str, Any]:
    one = inspection.findings[number]
    rows = [] if one.result is None else [*_rows(inspection, one.result, figures)]
    bars = [] if one.result is None else _bars(one.result, len(inspection.data.classes))
    by_hand = inspection.learn_command(places=one.places) if one.places else ""
    return {"finding": one, "by_hand": by_hand, "rows": [row for row in rows if row[1]], "bars": bars}


def _bars(one: PropertyResult, classes: int) -> list[tuple[str, float]]:
    tests = [(f"on the test set '{name}'", share) for name, share in list(one.tests.items())[:3]]
    held_out = ("alone, on held-out images", one.score.accuracy)
    return [held_out, *tests, ("with shuffled labels", one.score.shuffled), ("chance", 1 / classes)]


def _rows(inspection: Inspection, one: PropertyResult, figures: Figures) -> Iterator[tuple[str, list[Figure]]]:
    """Pictures of each class with least and most of a number; of a word or several numbers, most and least like it."""
    labels = inspection.data.train.labels.numpy()[inspection.fitted]
    single = one.about.unit is not None
    order = np.argsort(one.values[:, 0] if single else one.score.margins, kind="stable")
    told = one.score.told
    classes = [told, *(label for label in range(len(inspection.data.classes)) if label != told)][:CLASSES]
    for label in sorted(classes):
        own = order[labels[order] == label]
        ends = (("least", own[:EXAMPLES]), ("most", own[::-1][:EXAMPLES]))
        if not single:
            ends = (("most like its class in it", ends[1][1]), ("least", ends[0][1]))
        for words, places in ends:
            shown = [_figure(inspection, one, int(place), figures) for place in places]
            yield f"{inspection.data.classes[label]}: {words}", [figure for figure in shown if figure is not None]


def _figure(inspection: Inspection, one: PropertyResult, place: int, figures: Figures) -> Figure | None:
    number = int(inspection.fitted[place])
    words = [Caption(Path(inspection.file(number)).name)]
    if one.about.unit is not None:
        words.insert(0, Caption(f"{one.values[place, 0]:.3g} {one.about.unit}"))
    return _picture(inspection, TRAIN, number, tuple(words), figures)


def _copies(inspection: Inspection, figures: Figures) -> Iterator[list[Figure]]:
    labels = inspection.data.train.labels
    pairs = inspection.duplicates.pairs
    shown = [one for one in pairs if one.found_in != TRAIN or labels[one.train] != labels[one.other]]
    for one in shown[:COPIES]:
        both = [(TRAIN, one.train), (one.found_in, one.other)]
        made = [
            _picture(inspection, name, place, (Caption(inspection.file(place, name)), Caption(name)), figures)
            for name, place in both
        ]
        yield [figure for figure in made if figure is not None]


def _picture(
    inspection: Inspection, found_in: str, place: int, words: tuple[Caption, ...], figures: Figures
) -> Figure | None:
    images = inspection.data.train if found_in == TRAIN else inspection.data.tests[found_in]
    image = enlarge(to_image(images.take(torch.tensor([place]))[0].cpu()), _SIDE)
    alt = f"{inspection.data.classes[int(images.labels[place])]}, {inspection.file(place, found_in)}"
    return figures.embed(image, _SIDE, alt, words)
