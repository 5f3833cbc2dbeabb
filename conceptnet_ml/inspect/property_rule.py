"""A tiny classifier of one property: bins for a single number or word, Fisher's discriminant for several numbers.

Classes count alike, however many images they have: chance is 1/K, and a class is named where it is likeliest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

BINS = 12
"""Bins of a single number, of as many images each; words, and numbers with fewer values, have one each."""

_CLIP = 4.0  # deviations; a few wild values bend no line
_SHRINK = 0.05  # of the covariance towards its diagonal
_PRIOR = 1.0  # images that every bin has of every class beforehand


@dataclass(frozen=True)
class PropertyRule:
    """Log likelihoods of each class: ``rule.scores(values)``, (N, D) → (N, K), up to a number for each image.

    Args:
        edges: Ascending edges of the bins of a single number; None for a discriminant.
        weights: (bins, K) log likelihoods, or (1 + 2D, K) of the discriminant.
        standard: (2, 2D) centre and deviation of values and of their squares.
    """

    edges: Numbers | None
    weights: Numbers
    standard: Numbers

    def scores(self, values: Numbers) -> Numbers:
        """(N, D) values → (N, K)."""
        if self.edges is not None:
            return self.weights[np.searchsorted(self.edges, values[:, 0], side="right")]
        design = _standardised(values, self.standard)
        return np.concatenate([np.ones((len(values), 1)), design], 1) @ self.weights


def fit_rule(values: Numbers, labels: Labels, classes: int) -> PropertyRule:
    """The rule of values (N, D) for labels (N,) of so many classes, each of which has an image.

    Cost: sorting for a single number, else a matrix of (2D)² solved once.
    """
    return _binned(values[:, 0], labels, classes) if values.shape[1] == 1 else _discriminant(values, labels, classes)


def stratified_folds(labels: Labels, folds: int, seed: int) -> Labels:
    """(N,) fold of each image, drawn so that the folds have as many of each class, but for one."""
    draw, numbers = np.random.default_rng(seed), np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        places = draw.permutation(np.flatnonzero(labels == label))
        numbers[places] = (np.arange(len(places)) + draw.integers(folds)) % folds
    return numbers


def _binned(values: Numbers, labels: Labels, classes: int) -> PropertyRule:
    known = np.unique(values)
    if len(known) <= BINS:
        edges = (known[1:] + known[:-1]) / 2
    else:
        edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts = np.full((len(edges) + 1, classes), _PRIOR)
    np.add.at(counts, (np.searchsorted(edges, values, side="right"), labels), 1.0)
    return PropertyRule(edges, np.log(counts / counts.sum(0)), np.zeros((2, 0)))


def _discriminant(values: Numbers, labels: Labels, classes: int) -> PropertyRule:
    """Linear in values and their squares, with one covariance for all classes (Fisher 1936), shrunk as Friedman's."""
    centre, spread = values.mean(0), values.std(0) + 1e-9
    squares = np.clip((values - centre) / spread, -_CLIP, _CLIP) ** 2
    standard = np.concatenate([np.stack([centre, spread]), np.stack([squares.mean(0), squares.std(0) + 1e-9])], 1)
    design = _standardised(values, standard)
    means = np.stack([design[labels == label].mean(0) for label in range(classes)])
    counts = np.bincount(labels, minlength=classes)
    off = (design - means[labels]) * np.sqrt(len(labels) / classes / counts[labels])[:, None]
    covariance = off.T @ off / len(labels)
    diagonal = np.diag(np.diag(covariance)) + 1e-6 * np.eye(len(covariance))
    solved = np.linalg.solve((1 - _SHRINK) * covariance + _SHRINK * diagonal, means.T)  # (2D, K)
    constant = -0.5 * (means * solved.T).sum(1)
    return PropertyRule(None, np.concatenate([constant[None], solved]), standard)


def _standardised(values: Numbers, standard: Numbers) -> Numbers:
    count = values.shape[1]
    plain = np.clip((values - standard[0, :count]) / standard[1, :count], -_CLIP, _CLIP)
    squares = (plain**2 - standard[0, count:]) / standard[1, count:]
    return np.concatenate([plain, squares], 1)
