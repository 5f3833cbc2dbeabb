"""Accuracy after adapting to k examples per class, over many draws of examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from conceptnet_ml.adaptation.adapted_model import AdaptedModel, device_of, last_linear, model_outputs
from conceptnet_ml.adaptation.model_averaging import FittedWeights, ModelOutputs, average_models, crossfit, unchanged
from conceptnet_ml.concepts.model import GeneralizedModel
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.data.sampling import shuffled_by_class
from conceptnet_ml.errors import DataError

OLD_WORLD = ("aligned", "test")
"""Test sets of the old world; what is forgotten is counted on the first that is there."""

RULES = {"evidence": average_models, "crossfit": crossfit}


@dataclass(frozen=True)
class Adapter:
    """A model and its outputs, computed once, to be adapted to many draws of examples.

    Args:
        model, layer: The model and its last linear layer.
        pool, labels: Its outputs for the images examples are drawn from, and their classes (N,).
        tests: Its outputs for each test set, and that set's labels.
        rule: ``evidence`` for :func:`~conceptnet_ml.adaptation.model_averaging.average_models`, ``crossfit`` for the
            usual refit.
    """

    model: nn.Module
    layer: str | None
    pool: ModelOutputs
    labels: Tensor
    tests: dict[str, tuple[ModelOutputs, Tensor]]
    rule: str = "evidence"

    @classmethod
    def of(
        cls,
        model: nn.Module,
        pool: ImageSet,
        tests: Mapping[str, ImageSet],
        device: torch.device,
        dtype: torch.dtype | None,
        rule: str | None = None,
    ) -> Adapter:
        """Run a model; cost: one pass over the pool and the test sets, and one more for each family."""
        rule = rule or ("evidence" if isinstance(model, GeneralizedModel) else "crossfit")
        layer = last_linear(model, pool, device)
        outputs = {
            name: (model_outputs(model, images, device, dtype, layer), images.labels) for name, images in tests.items()
        }
        return cls(model, layer, model_outputs(model, pool, device, dtype, layer), pool.labels, outputs, rule)

    def fit(self, count: int, seed: int, draw: int) -> FittedWeights:
        """Fitted to ``count`` examples per class; to none, the model as it is."""
        if count == 0:
            return unchanged(self.pool)
        chosen = draw_shots(self.labels, count, seed, draw)
        return RULES[self.rule](self.pool.take(chosen), self.labels[chosen])

    def accuracies(self, weights: FittedWeights) -> dict[str, float]:
        """Share of right answers on every test set."""
        return {
            name: float((weights.logits(outputs).argmax(1) == labels).double().mean())
            for name, (outputs, labels) in self.tests.items()
        }

    def build(self, weights: FittedWeights) -> AdaptedModel:
        """The model with these weights."""
        return AdaptedModel(self.model, self.layer).apply_weights(weights).eval()

    def curve(self, ks: Sequence[int], draws: int, seed: int) -> list[dict[str, Any]]:
        """See :func:`curve`."""
        start = self.accuracies(self.fit(0, seed, 0))
        old = next((name for name in OLD_WORLD if name in self.tests), None)
        rows = []
        for k in ks:
            fits = [self.fit(k, seed, draw) for draw in range(draws if k else 1)]
            found = [self.accuracies(weights) for weights in fits]
            row: dict[str, Any] = {"k": k, "draws": len(found), "test_sets": {}}
            for name in self.tests:
                values = [one[name] for one in found]
                mean = sum(values) / len(values)
                row["test_sets"][name] = {"accuracy": mean, "lowest": min(values), "highest": max(values)}
            row["beliefs"] = {
                kind: sum(weights.beliefs[kind] for weights in fits) / len(fits) for kind in fits[0].beliefs
            }
            if old is not None:
                row["forgotten"] = start[old] - row["test_sets"][old]["accuracy"]
            rows.append(row)
        return rows


def curve(
    model: nn.Module,
    pool: ImageSet,
    tests: Mapping[str, ImageSet],
    ks: Sequence[int] = (0, 2, 4, 8, 16, 64),
    draws: int = 10,
    seed: int = 0,
    rule: str | None = None,
) -> list[dict[str, Any]]:
    """Accuracy on every test set after adapting to k examples per class, for each k.

    The networks run where the model is, in fp32; :meth:`Adapter.of` takes a device and an autocast type.

    Args:
        model: The learner's model, or any network.
        pool: Labelled images of the new world to draw examples from; none of them should be a test image.
        tests: Test sets by name.
        ks: Examples per class; 0 is the model as it is.
        draws: How often the examples are drawn; figures are means.
        seed: The same seed draws the same examples for every model.
        rule: ``evidence`` as in :func:`~conceptnet_ml.adaptation.adapted_model.adapt`, the default for the learner's
            model; or ``crossfit``, the usual refit of the last layer with its ridge chosen by cross-validated accuracy,
            the default for any other network: ``evidence`` is slow to give up a network that is wrong, and would make a
            weak rival.

    Returns:
        A row for each k: ``{"k", "draws", "test_sets": {name: {"accuracy", "lowest", "highest"}}, "beliefs",
        "forgotten"}``, shares; ``forgotten`` is what was lost on ``aligned``, else ``test``, where it is among them.

    Raises:
        DataError: A class of the pool has fewer images than the greatest k; before anything is computed.

    Cost: one pass over the pool and the tests for the network and each family, then milliseconds a draw.
    """
    draw_shots(pool.labels, max(ks, default=0), seed)
    return Adapter.of(model, pool, tests, device_of(model), None, rule).curve(ks, draws, seed)


def draw_shots(labels: Tensor, count: int, seed: int, draw: int = 0, classes: Sequence[str] = ()) -> Tensor:
    """Positions of ``count`` images of each class among labels (N,): the same of one seed and draw; a larger count adds
    to a smaller one. Raises DataError, with the class's name if there are names, where one has fewer.
    """
    chosen = []
    for label, places in shuffled_by_class(labels, seed, "shots", draw).items():
        if len(places) < count:
            name = f"'{classes[label]}'" if classes else f"class {label}"
            raise DataError(
                f"{count} examples per class are asked for, {name} has {len(places)} in the pool",
                f"Ask for at most {int(torch.bincount(labels)[labels.unique()].min())}, or give more images.",
            )
        chosen.append(places[:count])
    return torch.cat(chosen)
