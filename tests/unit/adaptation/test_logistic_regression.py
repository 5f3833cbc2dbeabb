"""Logistic regression against its optimality conditions and where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from conceptnet_ml.adaptation.logistic_regression import LogisticProblem, SharedColumns


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes)[labels]


def test_an_intercept_alone_gives_the_classes_shares() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2] * 1)
    fit = LogisticProblem(np.ones((10, 1)), one_hot(labels, 3), 0.0).fit(200)
    shares = np.exp(fit.layer[0]) / np.exp(fit.layer[0]).sum()
    assert shares == pytest.approx([0.6, 0.3, 0.1], abs=1e-4)
    assert fit.loss == pytest.approx(-(6 * np.log(0.6) + 3 * np.log(0.3) + np.log(0.1)), abs=1e-6)


@pytest.mark.parametrize("divisor", [1.0, 40.0])
def test_at_the_solution_the_gradient_is_zero(divisor: float) -> None:
    draw = np.random.default_rng(0)
    features, labels = draw.normal(size=(40, 5)), draw.integers(0, 3, 40)
    truth, penalised = one_hot(labels, 3), np.array([[1.0]] * 4 + [[0.0]])
    fit = LogisticProblem(features, truth, 0.5, penalised, divisor=divisor).fit(500)
    logits = features @ fit.layer
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    gradient = features.T @ (chances - truth) / divisor + 0.5 * penalised * fit.layer
    assert np.abs(gradient).max() < 1e-3
    assert np.abs(fit.layer[:4]).max() > 0.01


def test_shared_weights_stay_positive_and_near_their_priors() -> None:
    draw = np.random.default_rng(1)
    labels = draw.integers(0, 2, 50)
    truth = one_hot(labels, 2)
    wrong, right = 1 - truth, truth + draw.normal(size=truth.shape) * 0.1
    design = np.stack([wrong, right], 2)
    nothing = np.zeros((50, 0))
    shared = SharedColumns(design, np.ones(2), np.full(2, 0.1), positive=2)
    fit = LogisticProblem(nothing, truth, 0.0, shared=shared).fit(200)
    assert fit.weights[0] == 0
    assert fit.weights[1] > 2
    tight = SharedColumns(design, np.ones(2), np.full(2, 1e6), positive=2)
    assert LogisticProblem(nothing, truth, 0.0, shared=tight).fit(200).weights == pytest.approx([1, 1], abs=1e-3)


def test_it_goes_on_from_a_start() -> None:
    draw = np.random.default_rng(2)
    problem = LogisticProblem(draw.normal(size=(30, 4)), one_hot(draw.integers(0, 2, 30), 2), 1.0)
    found = problem.fit(200)
    again = problem.fit(1, found.point)
    assert again.loss <= found.loss
    assert again.layer == pytest.approx(found.layer, abs=1e-3)
