"""Multinomial logistic regression with quadratic penalties, by L-BFGS: the one fit of all linear layers."""

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
class LogisticFit:
    """A solution: ``weights`` (P,) of the shared columns, ``layer`` (D, K) of the features, the loss there, and both
    in one vector, to start another fit from."""

    weights: Array
    layer: Array
    loss: float
    point: Array


@dataclass(frozen=True)
class LogisticProblem:
    """``logits = shared @ weights + features @ layer``.

    Args:
        features: (N, D).
        truth: (N, K), 1 for the right class, else 0.
        ridge: λ, the loss has ``λ/2 · ‖layer‖²``.
        penalised: (D, 1), 1 for the rows of the layer that are in this norm; a number for all.
        shared: Further columns.
        divisor: The summed cross entropy is divided by it: N for the mean.
    """

    features: Array
    truth: Array
    ridge: float
    penalised: Array | float = 1.0
    shared: SharedColumns | None = None
    divisor: float = 1.0

    def fit(self, iterations: int, start: Array | None = None) -> LogisticFit:
        """Minimise the cross entropy and the penalties.

        Args:
            iterations: At most.
            start: A point of a like problem; default: the priors' means, and a layer of zeros.
        """
        features, truth, classes = self.features, self.truth, self.truth.shape[1]
        empty = np.zeros(0)
        shared = self.shared or SharedColumns(np.zeros((*truth.shape, 0)), empty, empty)
        count = len(shared.mean)

        def loss(point: Array) -> tuple[float, Array]:
            weights, layer = point[:count], point[count:].reshape(-1, classes)
            logits = shared.design @ weights + features @ layer
            top = logits.max(1, keepdims=True)
            chances = np.exp(logits - top)
            total = chances.sum(1, keepdims=True)
            error = chances / total - truth
            off = weights - shared.mean
            value = float((np.log(total) + top).sum() - (logits * truth).sum()) / self.divisor
            squares = (shared.precision * off**2).sum() + self.ridge * (self.penalised * layer**2).sum()
            by_weights = np.einsum("nkp,nk->p", shared.design, error) / self.divisor + shared.precision * off
            by_layer = features.T @ error / self.divisor + self.ridge * self.penalised * layer
            return value + 0.5 * float(squares), np.concatenate([by_weights, by_layer.ravel()])

        if start is None:
            start = np.concatenate([shared.mean, np.zeros(features.shape[1] * classes)])
        bounds = None
        if shared.positive:
            bounds = [(0.0, None)] * shared.positive + [(None, None)] * (len(start) - shared.positive)
        options = {"maxiter": iterations}
        result = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        return LogisticFit(result.x[:count], result.x[count:].reshape(-1, classes), float(result.fun), result.x)
