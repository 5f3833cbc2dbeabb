"""What a few labelled examples say about which answers to trust: Bayesian model averaging over a list of hypotheses.

With two examples per class a regression cannot tell "the network is right" from "this family is what counts now". So
the possible answers are listed, each is a small convex problem, and they are averaged by how well each explains the
examples (Laplace evidence: MacKay 1992, "The evidence framework applied to classification networks"):

- **kept**: the network alone, ``logits = s · f(x)``.
- **refitted**: the network with a new last layer, ``s · f(x) + b + ΔW z(x)``, ΔW pulled towards 0 by λ.
- **families**: a family's variants alone, several together, or with the network, with and without the new last layer.

The network and the families are called experts here. Each is first divided by its mean margin over the examples (the
gap between its two largest logits), so that a family with large logits does not count for more than a network with
small ones. λ needs no choice: all of ``STRENGTHS`` are averaged too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax
from torch import Tensor

from conceptnet_ml.adaptation.logistic_regression import Array, LogisticProblem, fit_logistic

MARGIN, SPREAD = 3.0, 2.0
"""Prior mean and deviation of an expert's weight, in logits per mean margin: a margin of 3 is right 95 times in 100."""

BIAS = 1.5
"""Prior deviation of a bias, in logits."""

TURNED = 0.1
"""Prior probability that families have a say: what the learner gave up counts again."""

REFIT = 0.25
"""Prior probability that the last layer is fitted again, with or without families."""

STRENGTHS = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
"""λ on ‖ΔW‖²/2, on features centred and scaled to a mean square of one; all are equally likely beforehand."""

RIDGES = (*STRENGTHS, 3e-3, 1e-3, 3e-4)
"""What :func:`crossfit` may choose from."""

FOLDS = 5

ITERATIONS = 200

KINDS = KEPT, REFITTED, FAMILIES = "kept", "refitted", "families"


@dataclass(frozen=True)
class ModelOutputs:
    """What a model computes for some images, before anything is fitted; float64, on the CPU.

    Args:
        logits: (N, K) of the network.
        families: (N, F, K), of each family's variants.
        features: (N, D), the input of the network's last layer; D = 0 where there is none that can be fitted.
    """

    logits: Tensor
    families: Tensor
    features: Tensor

    def take(self, places: Tensor) -> ModelOutputs:
        """The outputs at these positions."""
        return ModelOutputs(self.logits[places], self.families[places], self.features[places])


@dataclass(frozen=True)
class FittedWeights:
    """What was fitted: ``logits(x) = scale · f(x) + Σ_k alpha_k · v^k(x) + layer z(x) + bias``.

    Args:
        scale: Of the network's own logits.
        alpha: (F,) of the families.
        layer: (K, D), added to the last layer's weight beside ``scale``.
        bias: (K,).
        beliefs: Probability of each kind of hypothesis after the examples: kept, refitted, families.
    """

    scale: float
    alpha: Tensor
    layer: Tensor
    bias: Tensor
    beliefs: dict[str, float]

    def logits(self, outputs: ModelOutputs) -> Tensor:
        """The adapted model's logits (N, K) from the model's outputs."""
        families = torch.einsum("f,nfk->nk", self.alpha, outputs.families)
        return self.scale * outputs.logits + families + outputs.features @ self.layer.T + self.bias


def average_models(outputs: ModelOutputs, labels: Tensor) -> FittedWeights:
    """Fit the families' weights and the last layer to a few labelled examples.

    The average over all hypotheses, each weighted by its probability given the model's outputs for the examples and
    their classes (N,).

    Cost: about (F + 3) · 7 convex problems of (r + 1) · K unknowns, r ≤ min(N, D), by L-BFGS, and the curvature at each
    solution, K determinants of r × r; 10 ms for 2 classes, 64 features and up to 128 examples.
    """
    problem = _Problem.of(outputs, labels)
    points, scores, kinds = [], [], []
    for hypothesis in _hypotheses(len(problem.experts), problem.features.shape[1] > 0):
        solution = problem.solve(hypothesis)
        weights = solution.weights[: len(hypothesis.experts)]
        if hypothesis.biased and hypothesis.ridge is None and np.min(weights) <= 0:
            continue  # an expert that is better left out: the hypothesis without it is in the list
        points.append(problem.point(hypothesis, solution))
        scores.append(solution.evidence + math.log(hypothesis.prior))
        kinds.append(hypothesis.kind)
    chances = np.exp(np.array(scores) - max(scores))
    chances /= chances.sum()
    beliefs = {
        kind: float(sum(chance for chance, own in zip(chances, kinds, strict=True) if own == kind)) for kind in KINDS
    }
    return problem.fitted(np.einsum("h,hp->p", chances, np.stack(points)), beliefs)


def crossfit(outputs: ModelOutputs, labels: Tensor) -> FittedWeights:
    """Refit the last layer as is usual: the strength of the ridge by cross-validated accuracy.

    For networks compared with the learner's (deep feature reweighting: Kirichenko et al., arXiv 2204.02937). Tried are
    the network as it is, and a new layer, pulled towards the present one or towards zero, under each of ``RIDGES``;
    ties go to the smaller loss. Up to ``FOLDS`` folds, each with as many examples of every class as possible. Families
    get no weight. Arguments as in :func:`average_models`, which decides, without families, where a class has one
    example and there is nothing to choose by. Cost: some hundred of its convex problems.
    """
    no_weight = torch.zeros(outputs.families.shape[1], dtype=torch.float64)
    outputs = replace(outputs, families=outputs.families[:, :0])
    counts = torch.bincount(labels)
    folds = min(FOLDS, int(counts[counts > 0].min()))
    problem = _Problem.of(outputs, labels)
    if folds < 2 or not problem.features.shape[1]:
        return replace(average_models(outputs, labels), alpha=no_weight)
    fold_of = np.zeros(len(labels), dtype=np.int64)
    for label in labels.unique().tolist():
        own = np.flatnonzero(labels.numpy() == label)
        fold_of[own] = np.arange(len(own)) % folds
    tried = [_Hypothesis(KEPT, (0,), False, None, 1.0)]
    tried += [_Hypothesis(REFITTED, experts, True, ridge, 1.0) for experts in ((0,), ()) for ridge in RIDGES]
    right, loss = np.zeros(len(tried)), np.zeros(len(tried))
    for fold in range(folds):
        rest, out = problem.part(fold_of != fold), problem.part(fold_of == fold)
        for number, hypothesis in enumerate(tried):
            chances = softmax(out.answers(hypothesis, rest.solve(hypothesis, evidence=False)), axis=1)
            right[number] += (chances.argmax(1) == out.truth.argmax(1)).sum()
            loss[number] -= np.log(chances[out.truth > 0].clip(1e-12)).sum()
    best = tried[min(range(len(tried)), key=lambda number: (-right[number], loss[number]))]
    point = problem.point(best, problem.solve(best, evidence=False))
    return replace(problem.fitted(point, {kind: float(kind == best.kind) for kind in KINDS}), alpha=no_weight)


def unchanged(outputs: ModelOutputs) -> FittedWeights:
    """The weights of a model that saw no example: the network as it is."""
    classes = outputs.logits.shape[1]
    alpha = torch.zeros(outputs.families.shape[1], dtype=torch.float64)
    layer = torch.zeros(classes, outputs.features.shape[1], dtype=torch.float64)
    beliefs = {KEPT: 1.0, REFITTED: 0.0, FAMILIES: 0.0}
    return FittedWeights(1.0, alpha, layer, torch.zeros(classes, dtype=torch.float64), beliefs)


@dataclass(frozen=True)
class _Hypothesis:
    """Experts (0 the network, j a family) with a bias or without, and λ of the refitted layer or None."""

    kind: str
    experts: tuple[int, ...]
    biased: bool
    ridge: float | None
    prior: float


@dataclass(frozen=True)
class _Solution:
    """Weights of the experts and of the bias; the layer (r, K); the log evidence."""

    weights: Array
    layer: Array
    evidence: float


def _hypotheses(experts: int, layer: bool) -> Iterator[_Hypothesis]:
    """All hypotheses; their priors sum to one. More than three families have a say in pairs, or all together."""
    turned = TURNED if experts > 1 else 0.0
    ridges: tuple[float | None, ...] = (None, *(STRENGTHS if layer else ()))
    yield _Hypothesis(KEPT, (0,), False, None, (1 - turned) * (1 - REFIT))
    for ridge in ridges:
        yield _Hypothesis(REFITTED, (0,), True, ridge, (1 - turned) * REFIT / len(ridges))
    if not turned:
        return
    sizes = range(1, experts + 1) if experts <= 4 else (1, 2, experts)
    groups = [group for size in sizes for group in combinations(range(experts), size) if group != (0,)]
    refit = REFIT if layer else 0.0
    for group in groups:
        yield _Hypothesis(FAMILIES, group, True, None, turned * (1 - refit) / len(groups))
    for ridge in STRENGTHS if layer else ():
        yield _Hypothesis(FAMILIES, tuple(range(experts)), True, ridge, turned * refit / len(STRENGTHS))


@dataclass(frozen=True)
class _Problem:
    """Multinomial logistic regression on experts, bias and features, with Gaussian priors.

    The experts (N, K) are centred and divided by their mean margins; features (N, r), ``back`` and ``mean`` are as
    :func:`_reduced` returns them; ``truth`` (N, K) is one-hot; ``starts`` has the solution under the ridge before, by
    number of experts.
    """

    experts: list[Array]
    margins: list[float]
    features: Array
    back: Array
    mean: Array
    truth: Array
    starts: dict[int, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, outputs: ModelOutputs, labels: Tensor) -> _Problem:
        """The problem of these examples."""
        answers = [outputs.logits.numpy(), *outputs.families.numpy().transpose(1, 0, 2)]
        experts = [logits - logits.mean(-1, keepdims=True) for logits in answers]
        margins = [_margin(expert) for expert in experts]
        experts = [expert / margin for expert, margin in zip(experts, margins, strict=True)]
        features, back, mean = _reduced(outputs.features.numpy())
        return cls(experts, margins, features, back, mean, np.eye(outputs.logits.shape[1])[labels.numpy()])

    def part(self, chosen: npt.NDArray[np.bool_]) -> _Problem:
        """The problem of these examples alone."""
        experts = [expert[chosen] for expert in self.experts]
        features, truth = self.features[chosen], self.truth[chosen]
        return replace(self, experts=experts, features=features, truth=truth, starts={})

    def answers(self, hypothesis: _Hypothesis, solution: _Solution) -> Array:
        """Logits (N, K) of these examples under a solution found on others."""
        logits = self._design(hypothesis) @ solution.weights
        return logits if hypothesis.ridge is None else logits + self.features @ solution.layer

    def solve(self, hypothesis: _Hypothesis, evidence: bool = True) -> _Solution:
        """The most probable weights, those of experts not below zero, and, if wanted, the log evidence for them."""
        count, classes = len(hypothesis.experts), self.truth.shape[1]
        mean, precision = np.full(count, MARGIN / math.sqrt(max(1, count))), np.full(count, SPREAD**-2)
        if hypothesis.biased:
            mean = np.concatenate([mean, np.zeros(classes)])
            precision = np.concatenate([precision, np.full(classes, BIAS**-2)])
        ridge = hypothesis.ridge or 0.0
        features = self.features if ridge else self.features[:, :0]
        design = self._design(hypothesis)
        problem = LogisticProblem(
            features, self.truth, ridge, design=design, mean=mean, precision=precision, positive=count
        )
        point, loss = fit_logistic(problem, ITERATIONS, self.starts.get(count) if ridge else None)
        if ridge:
            self.starts[count] = point
        weights, layer = point[: len(mean)], point[len(mean) :].reshape(-1, classes)
        if not evidence:
            return _Solution(weights, layer, math.nan)
        chances = softmax(design @ weights + features @ layer, axis=1)
        curvature = _weights_curvature(design, chances, precision) + _layer_curvature(features, chances, ridge)
        width = 0.5 * float(np.log(precision).sum()) + 0.5 * layer.size * (math.log(ridge) if ridge else 0.0)
        return _Solution(weights, layer, width - loss - 0.5 * curvature)

    def point(self, hypothesis: _Hypothesis, solution: _Solution) -> Array:
        """All weights in one vector, zeros for what the hypothesis leaves out: experts, bias, layer."""
        count, bias, classes = len(hypothesis.experts), len(self.experts), self.truth.shape[1]
        point = np.zeros(bias + classes + self.features.shape[1] * classes)
        point[list(hypothesis.experts)] = solution.weights[:count]
        if hypothesis.biased:
            point[bias : bias + classes] = solution.weights[count:]
        if hypothesis.ridge is not None:
            point[bias + classes :] = solution.layer.ravel()
        return point

    def fitted(self, point: Array, beliefs: dict[str, float]) -> FittedWeights:
        """The weights in :meth:`point` for the model's own logits and features."""
        bias, classes = len(self.experts), self.truth.shape[1]
        scales = point[:bias] / np.array(self.margins)
        layer = (self.back @ point[bias + classes :].reshape(-1, classes)).T
        offset = point[bias : bias + classes] - layer @ self.mean
        alpha, weight = torch.tensor(scales[1:]), torch.tensor(layer)
        return FittedWeights(float(scales[0]), alpha, weight, torch.tensor(offset), beliefs)

    def _design(self, hypothesis: _Hypothesis) -> Array:
        """(N, K, P): what each weight of an expert, and of the bias, adds to the logits."""
        columns = [self.experts[expert][:, :, None] for expert in hypothesis.experts]
        if hypothesis.biased:
            columns.append(np.broadcast_to(np.eye(self.truth.shape[1]), (*self.truth.shape, self.truth.shape[1])))
        return np.concatenate(columns, 2)


def _weights_curvature(design: Array, chances: Array, precision: Array) -> float:
    """log det of the loss's second derivative by the weights of experts and bias."""
    off = design - np.einsum("nk,nkp->np", chances, design)[:, None]
    return float(np.linalg.slogdet(np.einsum("nkp,nk,nkq->pq", off, chances, off) + np.diag(precision))[1])


def _layer_curvature(features: Array, chances: Array, ridge: float) -> float:
    """log det of the second derivative by the refitted layer.

    Taken along the eigenvectors u_j of the classes' mean covariance, one block a direction:
    ``Σ_j log det(λ + Σ_n q_nj z_n z_nᵀ)``, ``q_nj = u_jᵀ (diag p_n − p_n p_nᵀ) u_j``; exact for two classes.
    """
    if not ridge:
        return 0.0
    covariance = np.diag(chances.mean(0)) - chances.T @ chances / len(chances)
    directions = np.linalg.eigh(covariance)[1]
    weights = chances @ directions**2 - (chances @ directions) ** 2
    diagonal = ridge * np.eye(features.shape[1])
    return sum(float(np.linalg.slogdet(features.T @ (features * q[:, None]) + diagonal)[1]) for q in weights.T)


def _reduced(features: Array) -> tuple[Array, Array, Array]:
    """Features (N, D) centred, scaled to a mean square of one and turned into the r directions they span, (N, r); what
    leads a layer on these back to the features, (D, r); and the features' mean."""
    mean = features.mean(0)
    centred = features - mean
    size = math.sqrt(float((centred**2).sum(1).mean()))
    if size < 1e-9:
        return features[:, :0], np.zeros((features.shape[1], 0)), mean
    directions = np.linalg.svd(centred, full_matrices=False)[2].T
    return centred @ directions / size, directions / size, mean


def _margin(logits: Array) -> float:
    """Mean gap between the two largest logits; above zero, so that an expert whose logits are equal can be divided."""
    top = np.sort(logits, 1)
    return max(float((top[:, -1] - top[:, -2]).mean()), 1e-6)
