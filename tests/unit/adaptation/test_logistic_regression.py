"""Logistic regression against its optimality conditions and where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from conceptnet_ml.adaptation.logistic_regression import LogisticProblem, fit_logistic


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes)[labels]


def test_an_intercept_alone_gives_the_classes_shares() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2] * 1)
    point, loss = fit_logistic(LogisticProblem(np.ones((10, 1)), one_hot(labels, 3), 0.0), 200)
    assert np.exp(point) / np.exp(point).sum() == pytest.approx([0.6, 0.3, 0.1], abs=1e-4)
    assert loss == pytest.approx(-(6 * np.log(0.6) + 3 * np.log(0.3) + np.log(0.1)), abs=1e-6)


@pytest.mark.parametrize("divisor", [1.0, 40.0])
def test_at_the_solution_the_gradient_is_zero(divisor: float) -> None:
    draw = np.random.default_rng(0)
    features, labels = draw.normal(size=(40, 5)), draw.integers(0, 3, 40)
    truth, penalised = one_hot(labels, 3), np.array([[1.0]] * 4 + [[0.0]])
    point, _ = fit_logistic(LogisticProblem(features, truth, 0.5, penalised, divisor=divisor), 500)
    layer = point.reshape(5, 3)
    chances = np.exp(features @ layer) / np.exp(features @ layer).sum(1, keepdims=True)
    gradient = features.T @ (chances - truth) / divisor + 0.5 * penalised * layer
    assert np.abs(gradient).max() < 1e-3
    assert np.abs(layer[:4]).max() > 0.01


def test_shared_weights_stay_positive_and_near_their_priors() -> None:
    draw = np.random.default_rng(1)
    truth = one_hot(draw.integers(0, 2, 50), 2)
    design = np.stack([1 - truth, truth + draw.normal(size=truth.shape) * 0.1], 2)  # a wrong expert and a right one

    def weights(precision: float) -> np.ndarray:
        priors = {"design": design, "mean": np.ones(2), "precision": np.full(2, precision), "positive": 2}
        return fit_logistic(LogisticProblem(np.zeros((50, 0)), truth, 0.0, **priors), 200)[0]

    wrong, right = weights(0.1)
    assert wrong == 0
    assert right > 2
    assert weights(1e6) == pytest.approx([1, 1], abs=1e-3)


def test_it_goes_on_from_a_start() -> None:
    draw = np.random.default_rng(2)
    problem = LogisticProblem(draw.normal(size=(30, 4)), one_hot(draw.integers(0, 2, 30), 2), 1.0)
    point, loss = fit_logistic(problem, 200)
    again, better = fit_logistic(problem, 1, point)
    assert better <= loss
    assert again == pytest.approx(point, abs=1e-3)
