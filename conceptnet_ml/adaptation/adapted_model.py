"""Adapting to a new world: a few labelled examples fit the families' weights and the last layer, nothing else.

Works on the learner's :class:`~conceptnet_ml.concepts.model.GeneralizedModel` and on any network; a plain network has
no families, so only its last layer is fitted. What is fitted, and how, is in
:mod:`conceptnet_ml.adaptation.model_averaging`; there is nothing to tune.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from conceptnet_ml.adaptation.model_averaging import Answers, Weights, crossfit, unchanged, weigh
from conceptnet_ml.concepts.model import Family, GeneralizedModel
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.errors import DataError
from conceptnet_ml.network.training import predict_set, to_float
from conceptnet_ml.runtime import seeding

OLD = ("aligned", "test")
"""Test sets of the old world, the first that is there: what is forgotten is counted on it."""

EVIDENCE, CROSSFIT = "evidence", "crossfit"

RULES = {EVIDENCE: weigh, CROSSFIT: crossfit}


class AdaptedModel(GeneralizedModel):
    """A model after adapting: ``logits(x) = scale · f(x) + shift + Σ_k α_k · v^k(x)``, f with a new last layer.

    Where f ends in a linear layer, all that was fitted to f is in that layer, ``scale`` is one and ``shift`` zero.

    Args:
        model: The model that was adapted, or a plain network; it stays as it is, the families are shared.
        layer: Name of the last linear layer within the network; None if it has none.
        state: What :meth:`fitted` gave; None to leave the model as it is.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: nn.Module, layer: str | None, state: Mapping[str, Tensor] | None = None) -> None:
        families = dict(model.named_families()) if isinstance(model, GeneralizedModel) else {}
        network = model.network if isinstance(model, GeneralizedModel) else model
        super().__init__(copy.deepcopy(network), families)  # type: ignore[arg-type]
        self.layer = layer
        self.beliefs: dict[str, float] = {}
        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        scale, shift = torch.ones((), device=device), torch.zeros((), device=device)
        if isinstance(model, AdaptedModel):
            scale, shift = model.scale.clone(), model.shift.clone()
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)
        self.alpha = (model.alpha if isinstance(model, GeneralizedModel) else self.alpha).clone().to(device)
        if state is not None:
            self._load(state)

    @property
    def last(self) -> nn.Linear | None:
        """The network's last linear layer."""
        return None if self.layer is None else self.network.get_submodule(self.layer)  # type: ignore[return-value]

    def forward(self, images: Tensor) -> Tensor:
        """Float images in [0, 1] (B, 3, H, W) to logits (B, classes)."""
        logits = self.scale * self.network(images) + self.shift
        for weight, family in zip(self.alpha.tolist(), self.families, strict=True):
            if weight:
                logits = logits + weight * family(images)
        return logits

    def fitted(self) -> dict[str, Tensor]:
        """All that adapting changed, on the CPU: a few vectors and, where there is one, the last layer."""
        state = {"alpha": self.alpha, "scale": self.scale, "shift": self.shift}
        if self.last is not None:
            state |= {f"layer.{name}": value for name, value in self.last.state_dict().items()}
        return {name: value.detach().cpu().clone() for name, value in state.items()}

    @torch.no_grad()
    def give(self, weights: Weights) -> AdaptedModel:
        """Take what was fitted over; returns itself."""
        self.alpha.mul_(weights.scale).add_(weights.alpha.to(self.alpha))
        last = self.last
        if last is None:
            self.scale, self.shift = (
                self.scale * weights.scale,
                self.shift * weights.scale + weights.bias.to(self.shift),
            )
        else:
            old = torch.zeros(last.out_features).to(last.weight) if last.bias is None else last.bias
            last.bias = nn.Parameter(old * weights.scale + weights.bias.to(old), requires_grad=False)
            last.weight.mul_(weights.scale).add_(weights.layer.to(last.weight))
        self.beliefs = weights.beliefs
        return self

    def _load(self, state: Mapping[str, Tensor]) -> None:
        last = self.last
        if last is not None and "layer.bias" in state:
            last.bias = nn.Parameter(torch.zeros(last.out_features).to(last.weight), requires_grad=False)
        for name in ("alpha", "scale", "shift"):
            setattr(self, name, state[name].to(self.alpha.device))
        if last is not None:
            last.load_state_dict({name: state[f"layer.{name}"] for name in last.state_dict()})


def adapt(
    model: nn.Module,
    images: Tensor | ImageSet,
    labels: Tensor | None = None,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> AdaptedModel:
    """Fit the families' weights and the last layer to a few labelled examples; everything else stays.

    Two examples per class leave a network alone that is right about them and are often enough to turn to a family
    that the examples speak for; eight are enough for that as a rule.

    Args:
        model: The learner's model, or any network from float images in [0, 1] to logits.
        images: The examples, uint8 (N, 3, H, W), or a set with its labels.
        labels: (N,) class numbers; those of the set by default.
        device, dtype: Where and in which autocast type the networks run; by default where the model is, in fp32.

    Returns:
        A new model; ``model`` is left as it is. ``beliefs`` says how likely each kind of answer is after the examples;
        ``layer`` is None where the network does not end in a linear layer, so that only a scale and a bias of it
        could be fitted.

    Raises:
        DataError: No example, or a label the model has no logit for.
    """
    examples = images if isinstance(images, ImageSet) else ImageSet(images, _needed(labels))
    labels = examples.labels if labels is None else labels.cpu()
    device = device or next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    if len(examples) == 0:
        raise DataError("there is no example to adapt to", "Give at least one labelled image per class.")
    layer = last_linear(model, examples, device)
    answers = ask(model, examples, device, dtype, layer)
    if int(labels.max()) >= answers.logits.shape[1] or int(labels.min()) < 0:
        raise DataError(
            f"an example has the label {int(labels.max())}, the model has {answers.logits.shape[1]} classes",
            "Number the classes from 0, in the order the model knows them.",
        )
    return AdaptedModel(model, layer).give(weigh(answers, labels)).to(device).eval()


def ask(
    model: nn.Module, images: ImageSet, device: torch.device, dtype: torch.dtype | None, layer: str | None
) -> Answers:
    """What a model as it is, its families and the input of its last layer say of every image.

    Families whose answers are not one per class say nothing (zeros). Cost: one pass of the network and of each family.
    """
    network, families = _parts(model)
    seen: list[Tensor] = []
    hook = None
    if layer is not None:
        last = network.get_submodule(layer)
        hook = last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().double().cpu()))
    try:
        logits = predict_set(model.to(device), images, device, dtype).double()
    finally:
        if hook is not None:
            hook.remove()
    voices = [predict_set(family.to(device), images, device, dtype).double() for _, family in families]
    silent = torch.zeros_like(logits)
    voices = [voice if voice.shape == logits.shape else silent for voice in voices]
    features = torch.cat(seen) if seen else logits[:, :0]
    return Answers(logits, torch.stack(voices, 1) if voices else logits[:, None][:, :0], features)


@torch.no_grad()
def last_linear(model: nn.Module, images: ImageSet, device: torch.device) -> str | None:
    """Name of the linear layer whose output is the network's, found by running two images; None if there is none."""
    network, _ = _parts(model)
    network.to(device).eval()
    outputs: dict[str, Tensor] = {}

    def remember(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            outputs[name] = output

        return hook

    hooks = [
        module.register_forward_hook(remember(name))
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and "weight" in module._parameters and name
    ]
    try:
        logits = network(to_float(images.take(torch.arange(min(2, len(images)))), device))
    finally:
        for handle in hooks:
            handle.remove()
    same = [name for name, output in outputs.items() if output.shape == logits.shape and torch.equal(output, logits)]
    return same[-1] if same else None


def shots(labels: Tensor, count: int, seed: int, draw: int = 0, classes: Sequence[str] = ()) -> Tensor:
    """Positions of ``count`` images of each class, drawn by the seed; a larger count adds to a smaller one of a draw.

    Args:
        labels: (N,) of the pool.
        count: Images of each class.
        seed, draw: Whoever gives the same draws the same.
        classes: Their names, for the message.

    Raises:
        DataError: A class has fewer.
    """
    chosen = []
    for label in labels.unique().tolist():
        places = torch.nonzero(labels == label).flatten()
        if len(places) < count:
            name = f"'{classes[label]}'" if classes else f"class {label}"
            raise DataError(
                f"{count} examples per class are asked for, {name} has {len(places)} in the pool",
                f"Ask for at most {int(torch.bincount(labels)[labels.unique()].min())}, or give more images.",
            )
        order = torch.randperm(len(places), generator=seeding.generator(seeding.seed_for(seed, "shots", draw, label)))
        chosen.append(places[order[:count]])
    return torch.cat(chosen)


@dataclass(frozen=True)
class Adapter:
    """One model and the answers it gives, asked once, to be adapted to many draws of examples.

    Args:
        model: The model.
        layer: Its last linear layer.
        pool: What it says of the images examples are drawn from.
        labels: (N,) their
        classes.
        tests: What it says of each test set, and that set's labels.
        rule: ``evidence`` for :func:`~conceptnet_ml.adaptation.model_averaging.weigh`, ``crossfit`` for the usual
            refit.
    """

    model: nn.Module
    layer: str | None
    pool: Answers
    labels: Tensor
    tests: dict[str, tuple[Answers, Tensor]]
    rule: str = EVIDENCE

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
        """Ask a model; cost: one pass over the pool and the test sets, and one more for each family."""
        rule = rule or (EVIDENCE if isinstance(model, GeneralizedModel) else CROSSFIT)
        layer = last_linear(model, pool, device)
        asked = {name: (ask(model, images, device, dtype, layer), images.labels) for name, images in tests.items()}
        return cls(model, layer, ask(model, pool, device, dtype, layer), pool.labels, asked, rule)

    def fit(self, count: int, seed: int, draw: int) -> Weights:
        """Fitted to ``count`` examples per class; to none, the model as it is."""
        if count == 0:
            families, features = self.pool.families.shape[1], self.pool.features.shape[1]
            return unchanged(families, self.pool.logits.shape[1], features)
        chosen = shots(self.labels, count, seed, draw)
        return RULES[self.rule](self.pool.take(chosen), self.labels[chosen])

    def accuracies(self, weights: Weights) -> dict[str, float]:
        """Share of right answers on every test set."""
        return {
            name: float((weights.apply(answers).argmax(1) == labels).double().mean())
            for name, (answers, labels) in self.tests.items()
        }

    def build(self, weights: Weights) -> AdaptedModel:
        """The model with these weights."""
        return AdaptedModel(self.model, self.layer).give(weights).eval()

    def curve(self, ks: Sequence[int], draws: int, seed: int) -> list[dict[str, Any]]:
        """See :func:`curve`."""
        start = self.accuracies(self.fit(0, seed, 0))
        rows = []
        for k in ks:
            fits = [self.fit(k, seed, draw) for draw in range(draws if k else 1)]
            found = [self.accuracies(weights) for weights in fits]
            row: dict[str, Any] = {"k": k, "draws": len(found), "test_sets": {}}
            for name in self.tests:
                values = [one[name] for one in found]
                row["test_sets"][name] = {
                    "accuracy": sum(values) / len(values),
                    "lowest": min(values),
                    "highest": max(values),
                }
            row["beliefs"] = {
                kind: sum(weights.beliefs[kind] for weights in fits) / len(fits) for kind in fits[0].beliefs
            }
            old = next((name for name in OLD if name in self.tests), None)
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
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    rule: str | None = None,
) -> list[dict[str, Any]]:
    """Accuracy on every test set after adapting to k examples per class, for each k.

    Args:
        model: The learner's model, or any network.
        pool: Labelled images of the new world to draw examples from; none of them should be a test image.
        tests: Test sets by name.
        ks: Examples per class; 0 is the model as it is.
        draws: How often the examples are drawn; figures are means.
        seed: The same seed draws the same examples for every model.
        device, dtype: Where and in which autocast type the networks run; by default where the model is, in fp32.
        rule: ``evidence`` as in :func:`adapt`, the default for the learner's model; or ``crossfit``, the usual refit of
            the last layer with its ridge chosen by cross-validated accuracy, the default for any other network:
            ``evidence`` is slow to give up a network that is wrong, and would make a weak rival.

    Returns:
        A row for each k: ``{"k", "draws", "test_sets": {name: {"accuracy", "lowest", "highest"}}, "beliefs",
        "forgotten"}``, shares; ``forgotten`` is what was lost on ``aligned``, else ``test``, where it is among them.

    Raises:
        DataError: A class of the pool has fewer images than the greatest k; before anything is computed.

    Cost: one pass over the pool and the tests for the network and each family, then milliseconds a draw.
    """
    shots(pool.labels, max(ks, default=0), seed)
    device = device or next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    return Adapter.of(model, pool, tests, device, dtype, rule).curve(ks, draws, seed)


def no_layer(model: AdaptedModel) -> list[str]:
    """A sentence for the user where the last layer could not be fitted."""
    if model.layer is not None:
        return []
    return ["the network does not end in a linear layer: only the families' weights and an output bias were fitted"]


def _parts(model: nn.Module) -> tuple[nn.Module, list[tuple[str, Family]]]:
    if isinstance(model, GeneralizedModel):
        return model.network, model.named_families()
    return model, []


def _needed(labels: Tensor | None) -> Tensor:
    if labels is None:
        raise DataError("the examples have no labels", "Give labels, a class number for each image.")
    return labels
