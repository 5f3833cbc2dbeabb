"""Layers of another width: a network of the right kind takes the shapes of stored weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from conceptnet_ml.errors import DataError, SettingsError
from conceptnet_ml.network.hook_route import PREFIX
from conceptnet_ml.network.staged_network import StagedNetwork


class HeldConv2d(nn.Conv2d):
    """A convolution some of whose filters are held at zero for good: no gradient reaches them.

    ``live``, a buffer of its own, is 0 for each output channel that is held and 1 for the others; what a held channel
    gives is its bias everywhere.
    """

    live: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """See :class:`torch.nn.Conv2d`."""
        return self._conv_forward(input, self.weight * self.live[:, None, None, None], self.bias)


class HeldLinear(nn.Linear):
    """The same for a linear layer."""

    live: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """See :class:`torch.nn.Linear`."""
        return nn.functional.linear(input, self.weight * self.live[:, None], self.bias)


HELD: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: HeldConv2d, nn.Linear: HeldLinear}


def hold(layer: nn.Module, rows: Tensor) -> None:
    """Hold output channels of a convolution or linear layer at their bias from now on."""
    if type(layer) in HELD:
        layer.__class__ = HELD[type(layer)]
        layer.register_buffer("live", torch.ones_like(_tensor(layer, "weight")[:, 0].flatten(1)[:, 0]))
    live = _tensor(layer, "live")
    live[rows.to(live.device)] = 0.0
    with torch.no_grad():
        _tensor(layer, "weight")[rows] = 0.0


def give_bias(layer: nn.Module) -> None:
    """A bias of zeros for a layer that has none."""
    if getattr(layer, "bias", None) is None:
        weight = _tensor(layer, "weight")
        layer.register_parameter("bias", nn.Parameter(weight.new_zeros(len(weight)), weight.requires_grad))


def put(module: nn.Module, name: str, value: Tensor) -> None:
    """Give a module a parameter or buffer of another shape, and let it know its new width."""
    old = getattr(module, name)
    if isinstance(old, nn.Parameter):
        setattr(module, name, nn.Parameter(value.detach().clone(), old.requires_grad))
    else:
        module._buffers[name] = value.detach().clone()
    if name == "weight" or isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        _widen(module, value)


def _widen(module: nn.Module, value: Tensor) -> None:
    if isinstance(module, nn.Conv2d):
        times = module.out_channels // module.in_channels if module.groups == module.in_channels > 1 else 0
        module.out_channels = value.shape[0]
        if times:
            module.in_channels = module.groups = value.shape[0] // times
        else:
            module.in_channels = value.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = value.shape
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        module.num_features = len(value)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(value)


def rebuilt(network: StagedNetwork, model: nn.Module) -> StagedNetwork:
    """A staged network of the same stages around another model, tried on images.

    Raises:
        SettingsError: The model cannot run: its code counts on widths it no longer has.
    """
    mode = network.training
    fresh = StagedNetwork(
        model,
        network.image_size,
        network.stage_names,
        network.mean.flatten().tolist(),
        network.std.flatten().tolist(),
        network.classes,
    )
    fresh.training = mode
    if type(fresh._route) is not type(network._route):
        raise SettingsError("the changed network can no longer be traced", "Choose another stage or network.")
    return fresh


def resized(network: StagedNetwork, state: Mapping[str, Tensor]) -> StagedNetwork:
    """A network with this state, its layers as wide as the state's tensors.

    Convolutions (dense or depthwise), linear layers, batch norms, PReLUs and bare parameters take the width; a state
    that holds channels (``live``) or has a bias the layer has not makes the layer such a one. Cost: two passes of two
    images.

    Args:
        network: Of the same backbone, freshly built; read only.
        state: The state dict of a changed network of this backbone.

    Returns:
        A network of its own, in the mode and on the device of the given one.

    Raises:
        DataError: A tensor is missing, unknown, of another kind, or the widths do not fit together.
    """
    model = copy.deepcopy(network.model)
    left = {name: value for name, value in state.items() if name not in ("mean", "std")}
    for path, module in model.named_modules():
        prefix = f"{PREFIX}{path}." if path else PREFIX
        _add(module, prefix, left)
        names = [*module._parameters, *(set(module._buffers) - module._non_persistent_buffers_set)]
        for name in names:
            if getattr(module, name) is not None:
                _fit(module, name, prefix + name, left)
    unknown = sorted(left)
    if unknown:
        raise _misfit(unknown[0], "the network has no such tensor")
    try:
        fresh = rebuilt(network, model)
        full = fresh.state_dict()  # with torch's notes on versions, which some modules ask for
        full.update(state)
        fresh.load_state_dict(full)
    except (SettingsError, RuntimeError) as error:
        raise _misfit("the stored weights", str(error).splitlines()[0]) from error
    return fresh


def _add(module: nn.Module, prefix: str, state: Mapping[str, Tensor]) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        if f"{prefix}live" in state and type(module) in HELD:
            hold(module, torch.empty(0, dtype=torch.int64))
        if f"{prefix}bias" in state:
            give_bias(module)


def _fit(module: nn.Module, name: str, key: str, left: dict[str, Tensor]) -> None:
    own, wanted = _tensor(module, name), left.pop(key, None)
    if wanted is None:
        raise _misfit(key, "it is missing")
    if own.shape == wanted.shape:
        return
    different = [dim for dim, (a, b) in enumerate(zip(own.shape, wanted.shape, strict=False)) if a != b]
    most = 2 if isinstance(module, nn.Conv2d | nn.Linear) else 1
    resizable = isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d | nn.PReLU)
    bare = not type(module).__module__.startswith("torch.nn")
    grouped = isinstance(module, nn.Conv2d) and module.groups > 1 and module.groups != module.in_channels
    width = max(different, default=most) < most if resizable else len(different) == 1 and bare
    if own.ndim != wanted.ndim or not width or grouped:
        raise _misfit(key, f"it is {_shape(wanted)}, and {type(module).__name__} {_shape(own)} cannot become that")
    put(module, name, torch.zeros(wanted.shape, dtype=own.dtype, device=own.device))


def _misfit(name: str, why: str) -> DataError:
    return DataError(
        f"weights that do not fit the network: {name}: {why}",
        "Use weights of the same backbone, image size and classes.",
    )


def _shape(tensor: Tensor) -> str:
    return "×".join(str(size) for size in tensor.shape) or "a number"


def _tensor(module: nn.Module, name: str) -> Tensor:
    found = getattr(module, name)
    assert isinstance(found, Tensor)
    return found


def load_state(network: StagedNetwork, state: Mapping[str, Tensor]) -> StagedNetwork:
    """The network with this state: itself where its widths are the state's, else another, made for them."""
    own = network.state_dict()
    if own.keys() == state.keys() and all(own[name].shape == value.shape for name, value in state.items()):
        network.load_state_dict(state)
        return network
    return resized(network, state)
