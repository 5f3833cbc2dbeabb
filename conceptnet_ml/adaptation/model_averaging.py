"""What a few labelled examples say about whose voice counts: Bayesian model averaging over a handful of hypotheses.

With two examples per class a regression cannot tell "the network is right" from "this family is what counts now". So
the possible answers are listed, each is a small convex problem, and they are averaged by how well each explains the
examples (Laplace evidence: MacKay 1992, "The evidence framework applied to classification networks"):

- **kept**: the network alone, ``logits = s · f(x)``.
- **refitted**: the network with a last layer fitted anew, ``s · f(x) + b + ΔW z(x)``, ΔW pulled towards 0 by λ.
- **families**: a family's variants alone, several together, or with the network, with and without the refitted layer.

Every voice is first divided by its mean margin over the examples (the gap between its two largest logits), so that a
loud family does not count for more than a quiet network. λ needs no choice: all of ``STRENGTHS`` are averaged too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from conceptnet_ml.adaptation.logistic_regression import Array, LogisticProblem, SharedColumns

MARGIN, SPREAD = 3.0, 2.0
"""Prior mean and deviation of a voice's weight, in logits per mean margin: a margin of 3 is right 95 times in 100."""

BIAS = 1.5
"""Prior deviation of a bias, in logits."""

TURNED = 0.1
"""Prior probability that a family has a say: what the learner let go of counts again."""

REFIT = 0.25
"""Prior probability that the last layer is to be fitted anew, whoever has a say."""

STRENGTHS = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
"""λ on ‖ΔW‖²/2, on features centred and scaled to a mean square of one; all are equally likely beforehand."""

RIDGES = (*STRENGTHS, 3e-3, 1e-3, 3e-4)
"""What :func:`crossfit` may choose from."""

FOLDS = 5

KINDS = KEPT, REFITTED, FAMILIES = "kept", "refitted", "families"


@dataclass(frozen=True)
class Answers:
    """What a model says of some images, before anything is fitted; float64, on the CPU.

    Args:
        logits: (N, K) of the network.
        families: (N, F, K), of each family's variants.
        features: (N, D), what reaches the network's last layer; D = 0 where there is none that can be fitted.
    """

    logits: Tensor
    families: Tensor
    features: Tensor

    def take(self, places: Tensor) -> Answers:
        """The answers at these positions."""
        return Answers(self.logits[places], self.families[places], self.features[places])


@dataclass(frozen=True)
class Weights:
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

    def apply(self, answers: Answers) -> Tensor:
        """Logits (N, K) of images by what the model says of them."""
        voices = torch.einsum("f,nfk->nk", self.alpha, answers.families)
        return self.scale * answers.logits + voices + answers.features @ self.layer.T + self.bias


@dataclass(frozen=True)
class _Hypothesis:
    """Voices (0 the network, j a family) with a bias or without, and λ of the refitted layer or None."""

    kind: str
    voices: tuple[int, ...]
    biased: bool
    strength: float | None
    prior: float


@dataclass(frozen=True)
class _Solution:
    weights: Array
    layer: Array
    evidence: float


def weigh(answers: Answers, labels: Tensor) -> Weights:
    """Fit the families' weights and the last layer to a few labelled examples.

    Args:
        answers: What the model says of the examples.
        labels: (N,) their classes.

    Returns:
        The average over all hypotheses, each weighted by its probability given the examples.

    Cost: about (F + 3) · 7 convex problems of (r + 1) · K unknowns, r ≤ min(N, D), by L-BFGS, and the curvature at each
    solution, K determinants of r × r; 10 ms for 2 classes, 64 features and up to 128 examples.
    """
    logits, families = _centred(answers.logits.numpy()), _centred(answers.families.numpy())
    voices = [logits, *families.transpose(1, 0, 2)]
    units = [_margin(voice) for voice in voices]
    scaled = [voice / unit for voice, unit in zip(voices, units, strict=True)]
    features, back, mean = _reduced(answers.features.numpy())
    classes, rank = logits.shape[1], features.shape[1]
    problem = _Problem(scaled, features, labels.numpy(), classes)
    found, scores, kinds = [], [], []
    for hypothesis in _hypotheses(len(voices), rank > 0):
        solved = problem.solve(hypothesis)
        weights = solved.weights[: len(hypothesis.voices)]
        if hypothesis.biased and hypothesis.strength is None and np.min(weights) <= 0:
            continue  # a voice that is better left out: the hypothesis without it is in the list
        found.append(_whole(hypothesis, solved, len(voices), classes, rank))
        scores.append(solved.evidence + math.log(hypothesis.prior))
        kinds.append(hypothesis.kind)
    chances = np.exp(np.array(scores) - max(scores))
    chances /= chances.sum()
    beliefs = {
        kind: float(sum(chance for chance, mine in zip(chances, kinds, strict=True) if mine == kind)) for kind in KINDS
    }
    return _unpacked(np.einsum("h,hp->p", chances, np.stack(found)), units, classes, back, mean, beliefs)


def crossfit(answers: Answers, labels: Tensor) -> Weights:
    """Refit the last layer as is usual: the strength of the ridge by cross-validated accuracy.

    For networks that stand beside the learner's (deep feature reweighting: Kirichenko et al., arXiv 2204.02937). Tried
    are the network as it is, and a layer fitted anew, towards the present one or towards nothing, under each of
    ``RIDGES``; ties go to the lesser loss. Up to ``FOLDS`` folds, each with as many examples of every class as may be.
    Families have no say.

    Args:
        answers, labels: As in :func:`weigh`. With one example of a class there is nothing to choose by, and
            :func:`weigh` decides, without families.

    Cost: some hundred convex problems as in :func:`weigh`.
    """
    silent = torch.zeros(answers.families.shape[1], dtype=torch.float64)
    counts = torch.bincount(labels)
    folds = min(FOLDS, int(counts[counts > 0].min()))
    features, back, mean = _reduced(answers.features.numpy())
    if folds < 2 or not features.shape[1]:
        return replace(weigh(replace(answers, families=answers.families[:, :0]), labels), alpha=silent)
    logits = _centred(answers.logits.numpy())
    unit, classes = _margin(logits), logits.shape[1]
    problem = _Problem([logits / unit], features, labels.numpy(), classes)
    places = np.zeros(len(labels), dtype=np.int64)
    for label in labels.unique().tolist():
        mine = np.flatnonzero(labels.numpy() == label)
        places[mine] = np.arange(len(mine)) % folds
    tried = [_Hypothesis(KEPT, (0,), False, None, 1.0)]
    tried += [_Hypothesis(REFITTED, voices, True, ridge, 1.0) for voices in ((0,), ()) for ridge in RIDGES]
    right, loss = np.zeros(len(tried)), np.zeros(len(tried))
    for fold in range(folds):
        rest, out = problem.part(places != fold), problem.part(places == fold)
        for number, hypothesis in enumerate(tried):
            shares = _softmax(out.answer(hypothesis, rest.solve(hypothesis, judged=False)))
            right[number] += (shares.argmax(1) == out.labels).sum()
            loss[number] -= np.log(shares[np.arange(len(shares)), out.labels].clip(1e-12)).sum()
    best = tried[min(range(len(tried)), key=lambda number: (-right[number], loss[number]))]
    whole = _whole(best, problem.solve(best, judged=False), 1, classes, features.shape[1])
    beliefs = {kind: float(kind == best.kind) for kind in KINDS}
    return replace(_unpacked(whole, [unit], classes, back, mean, beliefs), alpha=silent)


def unchanged(families: int, classes: int, features: int) -> Weights:
    """The weights of a model that saw no example: the network as it is."""
    zero = torch.zeros(classes, features, dtype=torch.float64)
    alpha = torch.zeros(families, dtype=torch.float64)
    beliefs = {KEPT: 1.0, REFITTED: 0.0, FAMILIES: 0.0}
    return Weights(1.0, alpha, zero, torch.zeros(classes, dtype=torch.float64), beliefs)


def _hypotheses(voices: int, layer: bool) -> Iterator[_Hypothesis]:
    """All hypotheses; their priors sum to one. More than three families have a say in pairs, or all together."""
    turned = TURNED if voices > 1 else 0.0
    strengths: tuple[float | None, ...] = (None, *(STRENGTHS if layer else ()))
    yield _Hypothesis(KEPT, (0,), False, None, (1 - turned) * (1 - REFIT))
    for strength in strengths:
        yield _Hypothesis(REFITTED, (0,), True, strength, (1 - turned) * REFIT / len(strengths))
    if not turned:
        return
    sizes = range(1, voices + 1) if voices <= 4 else (1, 2, voices)
    groups = [group for size in sizes for group in combinations(range(voices), size) if group != (0,)]
    refit = REFIT if layer else 0.0
    for group in groups:
        yield _Hypothesis(FAMILIES, group, True, None, turned * (1 - refit) / len(groups))
    for strength in STRENGTHS if layer else ():
        yield _Hypothesis(FAMILIES, tuple(range(voices)), True, strength, turned * refit / len(STRENGTHS))


def _whole(hypothesis: _Hypothesis, solved: _Solution, voices: int, classes: int, rank: int) -> Array:
    """All weights of a hypothesis in one vector, zeros for what it leaves out: voices, bias, layer."""
    count = len(hypothesis.voices)
    whole = np.zeros(voices + classes + rank * classes)
    whole[list(hypothesis.voices)] = solved.weights[:count]
    if hypothesis.biased:
        whole[voices : voices + classes] = solved.weights[count:]
    if hypothesis.strength is not None:
        whole[voices + classes :] = solved.layer.ravel()
    return whole


def _unpacked(
    whole: Array, units: list[float], classes: int, back: Array, mean: Array, beliefs: dict[str, float]
) -> Weights:
    """Weights for the model's own logits and features."""
    voices = len(units)
    layer = (back @ whole[voices + classes :].reshape(-1, classes)).T
    bias = whole[voices : voices + classes] - layer @ mean
    alpha = torch.tensor(whole[1:voices] / np.array(units[1:]))
    return Weights(float(whole[0] / units[0]), alpha, torch.tensor(layer), torch.tensor(bias), beliefs)


class _Problem:
    """Multinomial logistic regression on voices, bias and features, with Gaussian priors.

    Args:
        voices: Each (N, K), centred, one mean margin wide.
        features: (N, r).
        labels: (N,).
        classes: K.
    """

    def __init__(self, voices: list[Array], features: Array, labels: npt.NDArray[np.int64], classes: int) -> None:
        self.voices, self.features, self.labels, self.classes = voices, features, labels, classes
        self.truth = np.eye(classes)[labels]
        self.last: dict[int, Array] = {}

    def design(self, hypothesis: _Hypothesis) -> Array:
        """(N, K, P): what each weight of a voice, and of the bias, adds to the logits."""
        shape = (len(self.labels), self.classes)
        columns = [self.voices[voice][:, :, None] for voice in hypothesis.voices]
        columns += [np.broadcast_to(np.eye(self.classes), (*shape, self.classes))] if hypothesis.biased else []
        return np.concatenate(columns, 2)

    def part(self, chosen: npt.NDArray[np.bool_]) -> _Problem:
        """The problem of these examples alone."""
        voices = [voice[chosen] for voice in self.voices]
        return _Problem(voices, self.features[chosen], self.labels[chosen], self.classes)

    def answer(self, hypothesis: _Hypothesis, solved: _Solution) -> Array:
        """Logits (N, K) of these examples under a solution found on others."""
        logits = self.design(hypothesis) @ solved.weights
        return logits if hypothesis.strength is None else logits + self.features @ solved.layer

    def solve(self, hypothesis: _Hypothesis, judged: bool = True) -> _Solution:
        """The most probable weights, those of voices not below zero, and, if ``judged``, the log evidence for them."""
        count, classes = len(hypothesis.voices), self.classes
        design = self.design(hypothesis)
        mean, precision = np.full(count, MARGIN / math.sqrt(max(1, count))), np.full(count, SPREAD**-2)
        if hypothesis.biased:
            mean = np.concatenate([mean, np.zeros(classes)])
            precision = np.concatenate([precision, np.full(classes, BIAS**-2)])
        strength = hypothesis.strength or 0.0
        features = self.features if strength else self.features[:, :0]
        start = self.last.get(count) if strength else None  # the solution under the strength before
        shared = SharedColumns(design, mean, precision, positive=count)
        fit = LogisticProblem(features, self.truth, strength, shared=shared).fit(200, start)
        if strength:
            self.last[count] = fit.point
        weights, layer = fit.weights, fit.layer
        if not judged:
            return _Solution(weights, layer, math.nan)
        shares = _softmax(design @ weights + features @ layer)
        curvature = _structure(design, shares, precision) + _layer(features, shares, strength)
        width = 0.5 * float(np.log(precision).sum()) + 0.5 * layer.size * (math.log(strength) if strength else 0.0)
        return _Solution(weights, layer, width - fit.loss - 0.5 * curvature)


def _structure(design: Array, shares: Array, precision: Array) -> float:
    """log det of the loss's second derivative by the weights of voices and bias."""
    off = design - np.einsum("nk,nkp->np", shares, design)[:, None]
    return float(np.linalg.slogdet(np.einsum("nkp,nk,nkq->pq", off, shares, off) + np.diag(precision))[1])


def _layer(features: Array, shares: Array, strength: float) -> float:
    """log det of the second derivative by the refitted layer.

    Taken along the eigenvectors u_j of the classes' mean covariance, one block a direction:
    ``Σ_j log det(λ + Σ_n q_nj z_n z_nᵀ)``, ``q_nj = u_jᵀ (diag p_n − p_n p_nᵀ) u_j``; exact for two classes.
    """
    if not strength:
        return 0.0
    spread = np.diag(shares.mean(0)) - shares.T @ shares / len(shares)
    directions = np.linalg.eigh(spread)[1]
    weights = shares @ directions**2 - (shares @ directions) ** 2
    ridge = strength * np.eye(features.shape[1])
    return sum(float(np.linalg.slogdet(features.T @ (features * q[:, None]) + ridge)[1]) for q in weights.T)


def _reduced(features: Array) -> tuple[Array, Array, Array]:
    """Features (N, D) centred, scaled to a mean square of one and turned into the r directions they span.

    Returns:
        (N, r); (D, r), what leads a layer on them back to the features; (D,) their mean.
    """
    mean = features.mean(0)
    centred = features - mean
    size = math.sqrt(float((centred**2).sum(1).mean()))
    if size < 1e-9:
        return features[:, :0], np.zeros((features.shape[1], 0)), mean
    turn = np.linalg.svd(centred, full_matrices=False)[2].T
    return centred @ turn / size, turn / size, mean


def _margin(logits: Array) -> float:
    """Mean gap between the two largest logits; not zero, so that a voice that says nothing can be divided by it."""
    top = np.sort(logits, 1)
    return max(float((top[:, -1] - top[:, -2]).mean()), 1e-6)


def _centred(logits: Array) -> Array:
    return logits - logits.mean(-1, keepdims=True)


def _softmax(logits: Array) -> Array:
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)
