"""Adapting to a new world: a few labelled examples fit the families' weights and the last layer; all else stays.

Works on the learner's :class:`~conceptnet_ml.concepts.model.GeneralizedModel` and on any network; a plain network has
no families, so only its last layer is fitted. What is fitted, and how, is in
:mod:`conceptnet_ml.adaptation.model_averaging`; there is nothing to tune.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from conceptnet_ml.adaptation.model_averaging import FittedWeights, ModelOutputs, average_models
from conceptnet_ml.concepts.model import GeneralizedModel
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.errors import DataError
from conceptnet_ml.network.training import predict_set, to_float


class AdaptedModel(GeneralizedModel):
    """A model after adapting: ``logits(x) = scale · f(x) + shift + Σ_k α_k · v^k(x)``, f with a new last layer.

    Where f ends in a linear layer, all that was fitted to f is in that layer, ``scale`` is one and ``shift`` zero.

    Args:
        model: The model that was adapted, or a plain network; it stays as it is, the families are shared.
        layer: Name of the last linear layer within the network; None if it has none.
        state: What :meth:`fitted` returned; None to leave the model as it is.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: nn.Module, layer: str | None, state: Mapping[str, Tensor] | None = None) -> None:
        network, families = _parts(model)
        super().__init__(copy.deepcopy(network), families)  # type: ignore[arg-type]
        self.layer = layer
        self.beliefs: dict[str, float] = {}
        device = device_of(network)
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
        return self.add_families(self.scale * self.network(images) + self.shift, images)

    def fitted(self) -> dict[str, Tensor]:
        """All that adapting changed, on the CPU: a few vectors and, where there is one, the last layer."""
        state = {"alpha": self.alpha, "scale": self.scale, "shift": self.shift}
        if self.last is not None:
            state |= {f"layer.{name}": value for name, value in self.last.state_dict().items()}
        return {name: value.detach().cpu().clone() for name, value in state.items()}

    @torch.no_grad()
    def apply_weights(self, weights: FittedWeights) -> AdaptedModel:
        """Put what was fitted in place; returns itself."""
        self.alpha.mul_(weights.scale).add_(weights.alpha.to(self.alpha))
        last = self.last
        if last is None:
            self.scale = self.scale * weights.scale
            self.shift = self.shift * weights.scale + weights.bias.to(self.shift)
        else:
            old = torch.zeros(last.out_features).to(last.weight) if last.bias is None else last.bias
            last.bias = nn.Parameter(old * weights.scale + weights.bias.to(old), requires_grad=False)
            last.weight.mul_(weights.scale).add_(weights.layer.to(last.weight))
        self.beliefs = weights.beliefs
        return self

    def notes(self) -> list[str]:
        """A sentence for the user where the last layer could not be fitted."""
        if self.layer is not None:
            return []
        return ["the network does not end in a linear layer: only the families' weights and an output bias were fitted"]

    def _load(self, state: Mapping[str, Tensor]) -> None:
        last = self.last
        for name in ("alpha", "scale", "shift"):
            setattr(self, name, state[name].to(self.alpha.device))
        if last is not None:
            if "layer.bias" in state:
                last.bias = nn.Parameter(torch.zeros(last.out_features).to(last.weight), requires_grad=False)
            last.load_state_dict({name: state[f"layer.{name}"] for name in last.state_dict()})


def adapt(
    model: nn.Module,
    images: Tensor | ImageSet,
    labels: Tensor | None = None,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> AdaptedModel:
    """Fit the families' weights and the last layer to a few labelled examples; everything else stays.

    Two examples per class leave a network alone that is right about them, and often suffice to turn to a family that
    agrees with the examples; eight usually do.

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
        DataError: No example, no labels, or a label the model has no logit for.
    """
    if labels is None and not isinstance(images, ImageSet):
        raise DataError("the examples have no labels", "Give labels, a class number for each image.")
    examples = images if isinstance(images, ImageSet) else ImageSet(images, labels)  # type: ignore[arg-type]
    labels = examples.labels if labels is None else labels.cpu()
    device = device or device_of(model)
    if len(examples) == 0:
        raise DataError("there is no example to adapt to", "Give at least one labelled image per class.")
    layer = last_linear(model, examples, device)
    outputs = model_outputs(model, examples, device, dtype, layer)
    if int(labels.max()) >= outputs.logits.shape[1] or int(labels.min()) < 0:
        raise DataError(
            f"an example has the label {int(labels.max())}, the model has {outputs.logits.shape[1]} classes",
            "Number the classes from 0, in the order the model knows them.",
        )
    return AdaptedModel(model, layer).apply_weights(average_models(outputs, labels)).to(device).eval()


def model_outputs(
    model: nn.Module, images: ImageSet, device: torch.device, dtype: torch.dtype | None, layer: str | None
) -> ModelOutputs:
    """Logits of every image, answers of the families, and the input of the last layer, of a model as it is.

    Zeros stand for families whose answers are not one per class. Cost: one pass of the network and of each family.
    """
    network, families = _parts(model)
    inputs: list[Tensor] = []
    last = nn.Identity() if layer is None else network.get_submodule(layer)
    with last.register_forward_pre_hook(lambda module, given: inputs.append(given[0].detach().double().cpu())):
        logits = predict_set(model.to(device), images, device, dtype).double()
    answers = [predict_set(family.to(device), images, device, dtype).double() for family in families.values()]
    answers = [answer if answer.shape == logits.shape else torch.zeros_like(logits) for answer in answers]
    features = torch.cat(inputs) if inputs else logits[:, :0]
    return ModelOutputs(logits, torch.stack(answers, 1) if answers else logits[:, None][:, :0], features)


@torch.no_grad()
def last_linear(model: nn.Module, images: ImageSet, device: torch.device) -> str | None:
    """Name of the linear layer whose output is the network's, found by running two images; None if there is none."""
    network, _ = _parts(model)
    network.to(device).eval()
    outputs: dict[str, Tensor] = {}

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if isinstance(module, nn.Linear) and "weight" in module._parameters and name:
                hook = module.register_forward_hook(lambda _, __, output, name=name: outputs.update({name: output}))
                hooks.enter_context(hook)
        logits = network(to_float(images.take(torch.arange(min(2, len(images)))), device))
    same = [name for name, output in outputs.items() if output.shape == logits.shape and torch.equal(output, logits)]
    return same[-1] if same else None


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters are; the CPU if it has none."""
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


def _parts(model: nn.Module) -> tuple[nn.Module, dict[str, nn.Module]]:
    if isinstance(model, GeneralizedModel):
        return model.network, dict(model.named_families())
    return model, {}
