"""The layers a dream looks at: a network run only as far as they lie, made ready for gradients to the image alone."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from conceptnet_ml.dreams.first_convolution import Stem, is_stem
from conceptnet_ml.dreams.objectives import LOGITS
from conceptnet_ml.errors import SettingsError, nearest
from conceptnet_ml.network.basis import BasisNetwork, without_basis
from conceptnet_ml.network.hook_route import PREFIX
from conceptnet_ml.network.modes import eval_mode
from conceptnet_ml.network.staged_network import StagedNetwork

NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)


class Layers(nn.Module):
    """``layers(images) -> {name: maps}``, forward up to the last of them and no further.

    The network is copied, put into evaluation mode and frozen; batch norms are folded into the convolutions before
    them, and the first convolution gets a quicker slope (:class:`~conceptnet_ml.dreams.first_convolution.Stem`), so
    that a dream
    does not pay for them at every step (answers change by rounding only).

    Args:
        network: Images in [0, 1] to logits. A network in another basis gives directions at its stages.
        names: Stages, paths of any modules inside the network, or ``logits``.
        fold: Fold batch norms. What is asked for is never changed: a convolution that is itself a layer keeps its own.

    Raises:
        SettingsError: There is no such layer.
    """

    def __init__(self, network: StagedNetwork | BasisNetwork, names: Collection[str], fold: bool = True) -> None:
        super().__init__()
        inner = without_basis(network)
        modules = {name for name, _ in inner.model.named_modules() if name}
        for name in names:
            if name not in modules and name != LOGITS and name not in inner.stage_names:
                raise SettingsError(
                    f"the network has no layer '{name}'", nearest(name, {*inner.stage_names, *modules, LOGITS})
                )
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        for name, module in [*self.network.named_modules()]:
            if type(module) is nn.ReLU:
                _put(self.network, name, Redirected())
        if fold:
            _fold(without_basis(self.network), names)
        for name, module in [*self.network.named_modules()]:
            if is_stem(module):
                _put(self.network, name, Stem(module))
        order = [*inner.stage_names, LOGITS]
        self.names = tuple(sorted(names, key=lambda name: order.index(name) if name in order else -1))
        self._staged = all(name in order for name in self.names)

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return without_basis(self.network).channels

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width the network was made for."""
        return without_basis(self.network).image_size

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps (B, C, h, w), or logits (B, K), of images (B, C, H, W) in [0, 1]."""
        return self._by_stage(images) if self._staged else self._by_hooks(images)

    def leak(self, rows: Tensor | None) -> None:
        """Let slopes through closed ReLUs, (B,) shares, until told otherwise; None: nowhere."""
        for module in self.modules():
            if isinstance(module, Redirected):
                module.leak = rows

    def _by_stage(self, images: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        value, last = images, None
        for name in self.names:
            if name == LOGITS:
                found[name] = self.network(value) if last is None else self.network.run_from(value, last)
            elif last is None:
                found[name] = self.network.run_until(value, name)
            else:
                found[name] = self.network.run_between(value, last, name)
            value, last = found[name], name
        return found

    def _by_hooks(self, images: Tensor) -> dict[str, Tensor]:
        """Hooks that live for one call, and an end as soon as all has been seen."""
        found: dict[str, Tensor] = {}
        wanted = set(self.names)
        handles = []

        def hook(name: str, output: Any) -> None:
            if not isinstance(output, Tensor) or output.ndim not in (2, 4):
                shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise SettingsError(f"layer '{name}' gives no maps: {shape}", "Choose one that gives (B, C, h, w).")
            found.setdefault(name, output)
            if wanted == set(found):
                raise _Done

        inner = without_basis(self.network)
        try:
            for name in wanted - {LOGITS}:
                module = inner.get_submodule(PREFIX + name)
                handles.append(module.register_forward_hook(lambda _, __, output, name=name: hook(name, output)))
            logits = inner(images)
        except _Done:
            return found
        finally:
            for handle in handles:
                handle.remove()
        missing = wanted - {*found, LOGITS}
        if missing:
            raise SettingsError(f"layer '{min(missing)}' is never run", "Choose one that the images pass through.")
        return {**found, LOGITS: logits}


class Redirected(nn.Module):
    """A ReLU that can let slopes through where it is closed, image by image: a way out for a unit that no start wakes.

    The redirected ReLU of Lucid. With ``leak`` None it is a ReLU and costs what a ReLU costs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.leak: Tensor | None = None

    def forward(self, values: Tensor) -> Tensor:
        """``max(values, 0)``."""
        if self.leak is None:
            return functional.relu(values)
        leak = self.leak.view(-1, *(1,) * (values.ndim - 1))
        return _Leak.apply(values, leak)  # type: ignore[no-any-return]


class _Leak(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, leak: Tensor) -> Tensor:
        ctx.save_for_backward(values, leak)
        return functional.relu(values)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        values, leak = ctx.saved_tensors
        return torch.where(values > 0, slope, slope * leak.to(slope.dtype)), None


class _Done(BaseException):  # not an Exception, so that a network's own `except Exception` lets it through
    pass


def probe(layers: Layers, size: tuple[int, int], device: torch.device) -> dict[str, Tensor]:
    """Maps of one grey image of this size, to learn shapes from.

    Raises:
        SettingsError: The network cannot take such images; says from which size on it can.
    """

    def run(side: tuple[int, int]) -> dict[str, Tensor]:
        with eval_mode(layers):
            return layers(torch.full((1, layers.channels, *side), 0.5, device=device))

    try:
        return run(size)
    except SettingsError:
        raise
    except Exception as error:  # whatever a stranger's network raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        for factor in range(2, 65):
            larger = (size[0] * factor, size[1] * factor)
            try:
                run(larger)
            except Exception:
                continue
            mend = f"It takes {larger[1]}×{larger[0]} px."
            break
        else:
            mend = "Use the size it was made for: {1}×{0} px.".format(*layers.image_size)
        raise SettingsError(
            f"layer '{layers.names[-1]}' cannot see images of {size[1]}×{size[0]} px: {reason}", mend
        ) from error


def _fold(network: StagedNetwork, keep: Collection[str]) -> None:
    """Batch norms into the convolutions that feed nothing else, in place; a network that cannot be traced stays."""
    try:
        graph = fx.Tracer().trace(network.model)
    except Exception:  # a user's code that meets a proxy
        return
    model = network.model
    calls = [node for node in graph.nodes if node.op == "call_module"]
    for node in calls:
        norm = model.get_submodule(str(node.target))
        before = node.args[0] if node.args else None
        if not isinstance(norm, NORMS) or not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        name = str(before.target)
        conv = model.get_submodule(name)
        once = all(sum(str(call.target) == str(part.target) for call in calls) == 1 for part in (node, before))
        if type(conv) is nn.Conv2d and once and len(before.users) == 1 and name not in keep and _still(norm):
            _put(model, name, fuse_conv_bn_eval(conv, norm))
            _put(model, str(node.target), nn.Identity())


def _still(norm: nn.Module) -> bool:
    return norm.running_mean is not None and norm.running_var is not None


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module.eval().requires_grad_(False))
