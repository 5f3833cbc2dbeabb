"""Layers of another width, and layers with frozen channels: a network takes the shapes of stored weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from conceptnet_ml.errors import DataError, SettingsError
from conceptnet_ml.network.hook_route import PREFIX
from conceptnet_ml.network.staged_network import StagedNetwork


class FrozenConv2d(nn.Conv2d):
    """A convolution some of whose filters stay zero for good: no gradient reaches them.

    ``live``, a buffer of its own, is 0 for each frozen output channel and 1 for the others. A frozen channel's output
    is its bias everywhere.
    """

    live: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """See :class:`torch.nn.Conv2d`."""
        return self._conv_forward(input, self.weight * self.live[:, None, None, None], self.bias)


class FrozenLinear(nn.Linear):
    """The same for a linear layer."""

    live: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """See :class:`torch.nn.Linear`."""
        return nn.functional.linear(input, self.weight * self.live[:, None], self.bias)


FROZEN: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: FrozenConv2d, nn.Linear: FrozenLinear}


def freeze_channels(layer: nn.Module, rows: Tensor) -> None:
    """From now on the output of these channels of a convolution or linear layer is their bias."""
    weight = layer.get_parameter("weight")
    if type(layer) in FROZEN:
        layer.__class__ = FROZEN[type(layer)]
        layer.register_buffer("live", torch.ones_like(weight[:, 0].flatten(1)[:, 0]))
    live = layer.get_buffer("live")
    live[rows.to(live.device)] = 0.0
    with torch.no_grad():
        weight[rows] = 0.0


def add_bias(layer: nn.Module) -> None:
    """A bias of zeros for a layer that has none."""
    if getattr(layer, "bias", None) is None:
        weight = layer.get_parameter("weight")
        layer.register_parameter("bias", nn.Parameter(weight.new_zeros(len(weight)), weight.requires_grad))


def replace_tensor(module: nn.Module, name: str, value: Tensor) -> None:
    """Give a module a parameter or buffer of another shape, and set its widths accordingly."""
    old = getattr(module, name)
    if isinstance(old, nn.Parameter):
        setattr(module, name, nn.Parameter(value.detach().clone(), old.requires_grad))
    else:
        module._buffers[name] = value.detach().clone()
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        module.num_features = len(value)
    elif name != "weight":
        return
    elif isinstance(module, nn.Conv2d):
        depthwise = module.groups == module.in_channels > 1
        times = module.out_channels // module.in_channels
        module.out_channels = value.shape[0]
        if depthwise:
            module.in_channels = module.groups = value.shape[0] // times
        else:
            module.in_channels = value.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = value.shape
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(value)


def rebuild(network: StagedNetwork, model: nn.Module) -> StagedNetwork:
    """A staged network of the same stages around another model, tried on images.

    Raises:
        SettingsError: The model cannot run: its code depends on widths it no longer has.
    """
    fresh = StagedNetwork(
        model,
        network.image_size,
        network.stage_names,
        network.mean.flatten().tolist(),
        network.std.flatten().tolist(),
        network.classes,
    )
    fresh.training = network.training
    if type(fresh._route) is not type(network._route):
        raise SettingsError("the changed network can no longer be traced", "Choose another stage or network.")
    return fresh


def load_state(network: StagedNetwork, state: Mapping[str, Tensor]) -> StagedNetwork:
    """The network with this state: the same object where its widths are the state's, else one from :func:`resized`."""
    own = network.state_dict()
    if own.keys() == state.keys() and all(own[name].shape == value.shape for name, value in state.items()):
        network.load_state_dict(state)
        return network
    return resized(network, state)


def resized(network: StagedNetwork, state: Mapping[str, Tensor]) -> StagedNetwork:
    """A network with this state, its layers as wide as the state's tensors.

    Convolutions (dense or depthwise), linear layers, batch norms, PReLUs and bare parameters take the width; where the
    state has ``live`` or a bias that the layer lacks, the layer gets it. Cost: two passes of two images.

    The network, freshly built, is read only; the new one is in its mode and on its device.

    Raises:
        DataError: A tensor is missing, unknown, of another kind, or the widths do not fit together.
    """
    model = copy.deepcopy(network.model)
    left = {name: value for name, value in state.items() if name not in ("mean", "std")}
    for path, module in model.named_modules():
        prefix = f"{PREFIX}{path}." if path else PREFIX
        if isinstance(module, nn.Conv2d | nn.Linear):
            if f"{prefix}live" in left and type(module) in FROZEN:
                freeze_channels(module, torch.empty(0, dtype=torch.int64))
            if f"{prefix}bias" in left:
                add_bias(module)
        names = [*module._parameters, *(set(module._buffers) - module._non_persistent_buffers_set)]
        for name in names:
            if getattr(module, name) is not None:
                _resize(module, name, prefix + name, left.pop(prefix + name, None))
    if left:
        raise _misfit(min(left), "the network has no such tensor")
    try:
        fresh = rebuild(network, model)
        full = fresh.state_dict()  # with torch's notes on versions, which some modules ask for
        full.update(state)
        fresh.load_state_dict(full)
    except (SettingsError, RuntimeError) as error:
        raise _misfit("the stored weights", str(error).splitlines()[0]) from error
    return fresh


def _resize(module: nn.Module, name: str, key: str, wanted: Tensor | None) -> None:
    """Give a module's tensor the shape of the stored one, if the module's kind allows it."""
    own = getattr(module, name)
    if wanted is None:
        raise _misfit(key, "it is missing")
    if own.shape == wanted.shape:
        return
    different = [dim for dim, (a, b) in enumerate(zip(own.shape, wanted.shape, strict=False)) if a != b]
    widths = 2 if isinstance(module, nn.Conv2d | nn.Linear) else 1  # how many dimensions, the first ones, are widths
    resizable = isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d | nn.PReLU)
    bare = not type(module).__module__.startswith("torch.nn")
    grouped = isinstance(module, nn.Conv2d) and module.groups > 1 and module.groups != module.in_channels
    fits = max(different, default=widths) < widths if resizable else len(different) == 1 and bare
    if own.ndim != wanted.ndim or not fits or grouped:
        shapes = ["×".join(str(size) for size in tensor.shape) or "a number" for tensor in (wanted, own)]
        raise _misfit(key, f"it is {shapes[0]}, and {type(module).__name__} {shapes[1]} cannot become that")
    replace_tensor(module, name, torch.zeros(wanted.shape, dtype=own.dtype, device=own.device))


def _misfit(name: str, why: str) -> DataError:
    return DataError(
        f"weights that do not fit the network: {name}: {why}",
        "Use weights of the same backbone, image size and classes.",
    )
