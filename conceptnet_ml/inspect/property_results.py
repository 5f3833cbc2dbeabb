"""Every property of a data set scored: of pixels against their controls, of files, on held-out images and test sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from conceptnet_ml.config.overrides import BORDER
from conceptnet_ml.inspect.file_facts import Fact
from conceptnet_ml.inspect.pixel_measures import REGIONS
from conceptnet_ml.inspect.properties import (
    CONTROLS,
    FILES,
    PIXELS,
    PLACE,
    PROPERTIES,
    TINT,
    Property,
    differ_words,
    number_columns,
    place_words,
    tint_words,
)
from conceptnet_ml.inspect.property_rule import Labels, Numbers
from conceptnet_ml.inspect.property_score import PropertyScore, above, balanced_accuracy, score_places, score_property

LEVELS = {"very strong": 0.75, "strong": 0.5, "some": 0.25}
"""From which strength on, at the lower end of its interval and above the control, a property could be a shortcut: a
quarter of the way from chance to always right, half, and three quarters."""

TRAIN = "train"

Measures = Mapping[str, Mapping[str, Numbers]]
"""For each set (``train`` and test sets) every measure's values, (N, D)."""

Facts = Mapping[str, Mapping[str, Sequence[Fact | None]]]
"""For each set every fact of its N files."""


@dataclass(frozen=True)
class ScoredSets:
    """What properties are scored on.

    Args:
        labels: int64 (N,) of ``train`` and of each test set.
        fitted: Positions of the training images that rules are fitted to.
        classes: Their names.
        seed: Folds and shuffles derive from it.
    """

    labels: Mapping[str, Labels]
    fitted: Labels
    classes: tuple[str, ...]
    seed: int


@dataclass(frozen=True)
class PropertyResult:
    """One property of the data.

    Args:
        about: The property in words.
        score: How far it gets.
        control: Strength with which its control tells the same class; None where it has none.
        tests: Its balanced accuracy on each test set, by the rule of the training images.
        differs: How the classes differ in it, in words; may be empty.
        values: (n, D) of the fitted images.
        places: Where it stands, as ``round.exchange`` names it: of a place the box, or the region and those beside it
            that tell the same class; empty for what stands in no place of its own.
    """

    about: Property
    score: PropertyScore
    control: float | None
    tests: Mapping[str, float]
    differs: str
    values: Numbers = field(repr=False)
    places: str = ""

    @property
    def beyond(self) -> float:
        """Lower end of its strength, above the control's."""
        return above(self.score.strength_low, self.control or 0.0)

    @property
    def level(self) -> str:
        """One of :data:`LEVELS`, or ``none``."""
        return next((name for name, least in LEVELS.items() if self.beyond >= least), "none")

    @property
    def could_be(self) -> str:
        """Whether it could be a shortcut: its level; or ``no``, and where its control tells as much, that."""
        if self.level != "none":
            return self.level
        as_much = self.control is not None and self.score.strength_low >= min(LEVELS.values())
        return "no: its control, too" if as_much else "no"


def pixel_results(measures: Measures, sets: ScoredSets) -> Iterator[PropertyResult]:
    """Each property of pixels. A border must tell more than the ring within, a place more than the middle place."""
    labels = sets.labels[TRAIN][sets.fitted]
    for one in PROPERTIES:
        if one.where != PIXELS or (one.name != PLACE and one.name not in measures[TRAIN]):
            continue
        name, control, shown, places = one.name, None, "", BORDER if one.name == BORDER else ""
        if one.name in CONTROLS:
            control = _strengths({CONTROLS[one.name]: measures[TRAIN][CONTROLS[one.name]]}, labels, sets)
        elif one.name == PLACE:
            regions = {key: values for key, values in measures[TRAIN].items() if key.startswith("region ")}
            found = _strengths(regions, labels, sets)
            place = int(found.max(1).argmax())
            name, control = list(regions)[place], np.median(found, 0, keepdims=True)
            shown = f"the region {place_words(name)}"
            alike = [name, *(list(regions)[other] for other in _beside(found, place))]
            places = "+".join(place_words(region).replace(", ", ",") for region in alike)
        columns = {key: of_set[name] for key, of_set in measures.items()}
        if one.unit is not None:
            values = columns[TRAIN][:, 0]
            shown = differ_words(one, values.tolist(), sets.labels[TRAIN], sets.classes)
        result = replace(property_result(one, columns, sets, control, shown), places=places)
        if name == TINT:
            tints = tint_words(columns[TRAIN], sets.labels[TRAIN], sets.classes, result.score.told)
            result = replace(result, differs=tints)
        yield result


def file_results(facts: Facts, sets: ScoredSets) -> Iterator[PropertyResult]:
    """Each fact of the files that is not the same in all of ``train``."""
    for one in PROPERTIES:
        rows = facts.get(TRAIN, {}).get(one.name, ())
        if one.where != FILES or len({*rows}) < 2:
            continue
        parts = {key: of_set.get(one.name, [None] * len(sets.labels[key])) for key, of_set in facts.items()}
        stacked = number_columns([value for part in parts.values() for value in part])
        ends = np.cumsum([len(part) for part in parts.values()])[:-1]
        columns = dict(zip(parts, np.split(stacked, ends), strict=True))
        yield property_result(one, columns, sets, None, differ_words(one, rows, sets.labels[TRAIN], sets.classes))


def _beside(found: Numbers, place: int) -> list[int]:
    """The regions that share a side with this one and tell the class that it tells best, by the strengths (regions, K):
    above what the middle one of all does, *some* and half as much as this one, at least. What stands in a corner seldom
    ends where a region does; the object reaches into others, and is told by less."""
    told = int(found[place].argmax())
    control, row, column = float(np.median(found[:, told])), *divmod(place, REGIONS)
    beyond = [above(float(strength), control) for strength in found[:, told]]
    least = max(min(LEVELS.values()), beyond[place] / 2)
    near = (abs(other // REGIONS - row) + abs(other % REGIONS - column) == 1 for other in range(len(beyond)))
    return [
        other for other, (is_near, share) in enumerate(zip(near, beyond, strict=True)) if is_near and share >= least
    ]


def _strengths(places: Mapping[str, Numbers], labels: Labels, sets: ScoredSets) -> Numbers:
    """(places, K)."""
    fitted = {name: values[sets.fitted] for name, values in places.items()}
    return np.stack([*score_places(fitted, labels, len(sets.classes), sets.seed).values()])


def property_result(
    one: Property, columns: Mapping[str, Numbers], sets: ScoredSets, control: Numbers | None, shown: str
) -> PropertyResult:
    """A property scored.

    Args:
        columns: For each set its values, (N, D).
        control: (1, K) strengths of its control; None where it has none.
        shown: How the classes differ in it, in words.
    """
    classes, values = len(sets.classes), columns[TRAIN][sets.fitted]
    score = score_property(values, sets.labels[TRAIN][sets.fitted], classes, sets.seed)
    tests = {
        name: balanced_accuracy(score.rule.scores(columns[name]).argmax(1), labels, classes)[0]
        for name, labels in sets.labels.items()
        if name != TRAIN and len(labels)
    }
    strength = None if control is None else max(0.0, float(control[0, score.told]))
    return PropertyResult(one, score, strength, tests, shown, values)
