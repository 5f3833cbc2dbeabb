"""How far one property gets alone on held-out images, beside chance and beside labels that were shuffled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from conceptnet_ml.inspect.property_rule import Labels, Numbers, PropertyRule, fit_rule, stratified_folds
from conceptnet_ml.steps.ordinary import wilson

FOLDS, SHUFFLES = 5, 5


@dataclass(frozen=True)
class PropertyScore:
    """Of one property.

    Args:
        accuracy: Mean share of each class's held-out images that the property names rightly; chance is 1/K.
        low, high: 95 % interval of it.
        told: The class, by number, that it tells best from the others.
        strength: How well: the share of that class's images that are named so, less that of the others' images
            (Youden's J, 1950); 0 by chance, 1 for always. With two classes it is how far accuracy has come from chance.
        strength_low: Lower end of its 95 % interval (Newcombe 1998, method 10).
        shuffled, shuffled_strength: Mean accuracy, and highest strength, with shuffled labels; the control.
        margins: (N,) of each held-out image, the score of its own class less the highest other.
        rule: Fitted to all images.
    """

    accuracy: float
    low: float
    high: float
    told: int
    strength: float
    strength_low: float
    shuffled: float
    shuffled_strength: float
    margins: Numbers
    rule: PropertyRule


def score_property(values: Numbers, labels: Labels, classes: int, seed: int) -> PropertyScore:
    """Score values (N, D) for labels (N,), five folds held out in turn. Each class has two images at least.

    Cost: 30 fits of :func:`fit_rule`.
    """
    scores = _held_out(values, labels, classes, seed)
    accuracy, low, high = balanced_accuracy(scores.argmax(1), labels, classes)
    told, strength, strength_low = _told_best(scores.argmax(1), labels, classes)
    shuffled = [_shuffled(values, labels, classes, seed + 1 + draw) for draw in range(SHUFFLES)]
    margins = _margins(scores, labels)
    rule = fit_rule(values, labels, classes)
    mean, most = float(np.mean([one for one, _ in shuffled])), max(one for _, one in shuffled)
    return PropertyScore(accuracy, low, high, told, strength, strength_low, mean, most, margins, rule)


def score_places(places: Mapping[str, Numbers], labels: Labels, classes: int, seed: int) -> dict[str, Numbers]:
    """Strengths (K,) with which the values of each place tell each class. Cost: five fits for each place."""
    return {
        name: strengths(_held_out(values, labels, classes, seed).argmax(1), labels, classes)
        for name, values in places.items()
    }


def balanced_accuracy(answers: Labels, labels: Labels, classes: int) -> tuple[float, float, float]:
    """Mean of the classes' shares of right answers with its 95 % interval: Wilson's, of as many images as would be as
    uncertain. Classes without an image are left out."""
    counts = np.bincount(labels, minlength=classes)
    right = np.bincount(labels[answers == labels], minlength=classes)
    there = counts > 0
    share = float((right[there] / counts[there]).mean())
    effective = int(there.sum()) ** 2 / float((1 / counts[there]).sum())
    count = max(1, round(effective))
    return share, *wilson(share * count, count)  # type: ignore[arg-type]


def strengths(answers: Labels, labels: Labels, classes: int) -> Numbers:
    """(K,) share of each class's images that are named so, less the other classes' mean share."""
    table = _confusion(answers, labels, classes)
    shares = table / table.sum(1, keepdims=True)
    own = np.diag(shares)
    return np.asarray(own - (shares.sum(0) - own) / (classes - 1))


def above(strength: float, control: float) -> float:
    """How much of what the control leaves open is closed: (strength − control) / (1 − control)."""
    return (strength - max(0.0, control)) / max(1e-9, 1 - max(0.0, control))


def _held_out(values: Numbers, labels: Labels, classes: int, seed: int) -> Numbers:
    folds = min(FOLDS, int(np.bincount(labels, minlength=classes).min()))
    number, scores = stratified_folds(labels, folds, seed), np.zeros((len(labels), classes))
    for fold in range(folds):
        held = number == fold
        scores[held] = fit_rule(values[~held], labels[~held], classes).scores(values[held])
    return scores


def _shuffled(values: Numbers, labels: Labels, classes: int, seed: int) -> tuple[float, float]:
    mixed = np.random.default_rng(seed).permutation(labels)
    answers = _held_out(values, mixed, classes, seed).argmax(1)
    return balanced_accuracy(answers, mixed, classes)[0], float(strengths(answers, mixed, classes).max())


def _told_best(answers: Labels, labels: Labels, classes: int) -> tuple[int, float, float]:
    found = strengths(answers, labels, classes)
    told = int(found.argmax())
    own = labels == told
    (right, count), (wrong, others) = ((int((answers[part] == told).sum()), int(part.sum())) for part in (own, ~own))
    hit, alarm = right / count, wrong / others
    hit_low, alarm_high = wilson(right, count)[0], wilson(wrong, others)[1]
    spread = math.hypot(hit - hit_low, alarm_high - alarm)
    return told, float(found[told]), float(found[told]) - spread


def _confusion(answers: Labels, labels: Labels, classes: int) -> Numbers:
    table = np.zeros((classes, classes))
    np.add.at(table, (labels, answers), 1.0)
    return table


def _margins(scores: Numbers, labels: Labels) -> Numbers:
    own = scores[np.arange(len(labels)), labels]
    others = scores.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return np.asarray(own - others.max(1))
