"""Multinomial logistic regression with quadratic penalties, by L-BFGS: the one fit of linear layers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LogisticProblem:
    """``logits = design @ weights + features @ layer``.

    Args:
        features: (N, D).
        truth: (N, K), 1 for the right class, else 0.
        ridge: λ of the penalty ``λ/2 · ‖layer‖²``.
        penalised: (D, 1), 1 for the rows of the layer that count in it; a number for all.
        divisor: The summed cross entropy is divided by it: N for the mean.
        design: (N, K, P), what each of P weights, the same for all classes, adds to the logits; None for none.
        mean, precision: (P,) of the weights' Gaussian priors.
        positive: How many weights, the first, may not be below zero.
    """

    features: Array
    truth: Array
    ridge: float
    penalised: Array | float = 1.0
    divisor: float = 1.0
    design: Array | None = None
    mean: Array = field(default_factory=lambda: np.zeros(0))
    precision: Array = field(default_factory=lambda: np.zeros(0))
    positive: int = 0


def fit_logistic(problem: LogisticProblem, iterations: int, start: Array | None = None) -> tuple[Array, float]:
    """Minimise cross entropy and penalties by L-BFGS, from a similar problem's solution if there is one.

    Returns:
        The P weights and the layer, (D, K) row by row, in one vector; and the loss there.
    """
    features, truth, ridge, classes = problem.features, problem.truth, problem.ridge, problem.truth.shape[1]
    mean, precision, count = problem.mean, problem.precision, len(problem.mean)
    design = np.zeros((*truth.shape, 0)) if problem.design is None else problem.design

    def loss(point: Array) -> tuple[float, Array]:
        weights, layer = point[:count], point[count:].reshape(-1, classes)
        logits = design @ weights + features @ layer
        top = logits.max(1, keepdims=True)
        chances = np.exp(logits - top)
        total = chances.sum(1, keepdims=True)
        error = chances / total - truth
        off = weights - mean
        value = float((np.log(total) + top).sum() - (logits * truth).sum()) / problem.divisor
        squares = (precision * off**2).sum() + ridge * (problem.penalised * layer**2).sum()
        by_weights = np.einsum("nkp,nk->p", design, error) / problem.divisor + precision * off
        by_layer = features.T @ error / problem.divisor + ridge * problem.penalised * layer
        return value + 0.5 * float(squares), np.concatenate([by_weights, by_layer.ravel()])

    if start is None:
        start = np.concatenate([mean, np.zeros(features.shape[1] * classes)])
    bounds = [(0.0, None)] * problem.positive + [(None, None)] * (len(start) - problem.positive)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": iterations})
    return found.x, float(found.fun)
