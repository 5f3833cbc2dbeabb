"""Multinomial logistic regression with quadratic penalties, by L-BFGS: the one fit of linear layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SharedColumns:
    """Columns with one weight for all classes.

    Args:
        design: (N, K, P), what each weight adds to the logits.
        mean, precision: (P,) of the weights' Gaussian priors.
        positive: How many weights, the first, may not be below zero.
    """

    design: Array
    mean: Array
    precision: Array
    positive: int = 0


@dataclass(frozen=True)
class LogisticProblem:
    """``logits = shared @ weights + features @ layer``.

    Args:
        features: (N, D).
        truth: (N, K), 1 for the right class, else 0.
        ridge: λ of the penalty ``λ/2 · ‖layer‖²``.
        penalised: (D, 1), 1 for the rows of the layer that count in it; a number for all.
        shared: Further columns.
        divisor: The summed cross entropy is divided by it: N for the mean.
    """

    features: Array
    truth: Array
    ridge: float
    penalised: Array | float = 1.0
    shared: SharedColumns | None = None
    divisor: float = 1.0


def fit_logistic(problem: LogisticProblem, iterations: int, start: Array | None = None) -> tuple[Array, float]:
    """Minimise cross entropy and penalties by L-BFGS.

    Args:
        iterations: At most.
        start: A solution of a similar problem; default: the priors' means, and zeros.

    Returns:
        The P shared weights and the layer, (D, K) row by row, in one vector; and the loss there.
    """
    features, truth, ridge, classes = problem.features, problem.truth, problem.ridge, problem.truth.shape[1]
    shared = problem.shared or SharedColumns(np.zeros((*truth.shape, 0)), np.zeros(0), np.zeros(0))
    count = len(shared.mean)

    def loss(point: Array) -> tuple[float, Array]:
        weights, layer = point[:count], point[count:].reshape(-1, classes)
        logits = shared.design @ weights + features @ layer
        top = logits.max(1, keepdims=True)
        chances = np.exp(logits - top)
        total = chances.sum(1, keepdims=True)
        error = chances / total - truth
        off = weights - shared.mean
        value = float((np.log(total) + top).sum() - (logits * truth).sum()) / problem.divisor
        squares = (shared.precision * off**2).sum() + ridge * (problem.penalised * layer**2).sum()
        by_weights = np.einsum("nkp,nk->p", shared.design, error) / problem.divisor + shared.precision * off
        by_layer = features.T @ error / problem.divisor + ridge * problem.penalised * layer
        return value + 0.5 * float(squares), np.concatenate([by_weights, by_layer.ravel()])

    if start is None:
        start = np.concatenate([shared.mean, np.zeros(features.shape[1] * classes)])
    bounds = [(0.0, None)] * shared.positive + [(None, None)] * (len(start) - shared.positive)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": iterations})
    return found.x, float(found.fun)
