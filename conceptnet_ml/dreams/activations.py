"""The layers an objective needs: a network run only as far as they lie, prepared for gradients to the image alone."""

from __future__ import annotations

import contextlib
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
from conceptnet_ml.network.basis import Network, without_basis
from conceptnet_ml.network.hook_route import hooked
from conceptnet_ml.network.modes import eval_mode
from conceptnet_ml.network.staged_network import StagedNetwork

NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)


class Layers(nn.Module):
    """``layers(images) -> {name: maps}``: a frozen copy of a network, run only as far as the deepest of some layers.

    Batch norms are folded into the convolutions before them, and the first convolution gets a faster gradient
    (:class:`~conceptnet_ml.dreams.first_convolution.Stem`); values change by rounding only.

    Args:
        network: Images in [0, 1] to logits. A network in another basis gives directions at its stages.
        names: Stages, paths of any modules inside the network, or ``logits``.
        fold: Fold batch norms; a convolution that is itself one of the layers keeps its own.

    Raises:
        SettingsError: There is no such layer.
    """

    def __init__(self, network: Network, names: Collection[str], fold: bool = True) -> None:
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
                _replace(self.network, name, RedirectedReLU())
        if fold:
            _fold(without_basis(self.network), names)
        for name, module in [*self.network.named_modules()]:
            if is_stem(module):
                _replace(self.network, name, Stem(module))
        self.channels, self.image_size = inner.channels, inner.image_size  # of the images the network was made for
        order = [*inner.stage_names, LOGITS]
        self.names = tuple(sorted(names, key=lambda name: order.index(name) if name in order else -1))
        self._staged = all(name in order for name in self.names)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps (B, C, h, w), or logits (B, K), of images (B, C, H, W) in [0, 1]."""
        return self._by_stage(images) if self._staged else self._by_hooks(images)

    def leak(self, rows: Tensor | None) -> None:
        """From now on let gradients through closed ReLUs, (B,) shares; None: not at all."""
        for module in self.modules():
            if isinstance(module, RedirectedReLU):
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
        """With hooks for this one call, which end it as soon as all layers have been seen."""
        found: dict[str, Tensor] = {}
        wanted = set(self.names)

        def hook(name: str, _: nn.Module, output: Any) -> None:
            if not isinstance(output, Tensor) or output.ndim not in (2, 4):
                shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise SettingsError(f"layer '{name}' gives no maps: {shape}", "Choose one that gives (B, C, h, w).")
            last = name in inner.stage_names and inner.stage(name).channels_last
            found.setdefault(name, output.permute(0, 3, 1, 2) if last else output)
            if wanted == set(found):
                raise _AllSeen

        inner = without_basis(self.network)
        try:
            with hooked(inner, hook, only=wanted - {LOGITS}):
                logits = inner(images)
        except _AllSeen:
            return found
        missing = wanted - {*found, LOGITS}
        if missing:
            raise SettingsError(f"layer '{min(missing)}' is never run", "Choose one that the images pass through.")
        return {**found, LOGITS: logits}


class RedirectedReLU(nn.Module):
    """A ReLU that can let gradients through where it is closed, image by image, so that a unit no start activates has a
    gradient, too (as in Lucid). With ``leak`` None it is a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.leak: Tensor | None = None

    def forward(self, values: Tensor) -> Tensor:
        """``max(values, 0)``."""
        if self.leak is None:
            return functional.relu(values)
        leak = self.leak.view(-1, *(1,) * (values.ndim - 1))
        return _LeakyGradient.apply(values, leak)  # type: ignore[no-any-return]


class _LeakyGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, leak: Tensor) -> Tensor:
        ctx.save_for_backward(values, leak)
        return functional.relu(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        values, leak = ctx.saved_tensors
        return torch.where(values > 0, gradient, gradient * leak.to(gradient.dtype)), None


class _AllSeen(BaseException):  # not an Exception, so that a network's own `except Exception` lets it through
    pass


def probe_maps(layers: Layers, size: tuple[int, int], device: torch.device) -> dict[str, Tensor]:
    """Maps of one grey image of this size, to learn shapes from. Raises SettingsError where the network cannot take
    such images, and says from which size on it can."""

    def run(side: tuple[int, int]) -> dict[str, Tensor]:
        with eval_mode(layers):
            return layers(torch.full((1, layers.channels, *side), 0.5, device=device))

    try:
        return run(size)
    except SettingsError:
        raise
    except Exception as error:  # a user's network may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        mend = "Use the size it was made for: {1}×{0} px.".format(*layers.image_size)
        for factor in range(2, 65):
            with contextlib.suppress(Exception):
                run((size[0] * factor, size[1] * factor))
                mend = f"It takes {size[1] * factor}×{size[0] * factor} px."
                break
        raise SettingsError(
            f"layer '{layers.names[-1]}' cannot see images of {size[1]}×{size[0]} px: {reason}", mend
        ) from error


def _fold(network: StagedNetwork, keep: Collection[str]) -> None:
    """Fold batch norms into the convolutions that feed nothing else, in place; not where tracing fails."""
    try:
        graph = fx.Tracer().trace(network.model)
    except Exception:  # a user's code that meets a proxy
        return
    model = network.model
    calls = [node for node in graph.nodes if node.op == "call_module"]
    for node in calls:
        norm = model.get_submodule(str(node.target))
        before = node.args[0] if node.args else None
        if not isinstance(norm, NORMS) or norm.running_mean is None or norm.running_var is None:
            continue
        if not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        name = str(before.target)
        conv = model.get_submodule(name)
        once = all(sum(str(call.target) == str(part.target) for call in calls) == 1 for part in (node, before))
        if type(conv) is nn.Conv2d and once and len(before.users) == 1 and name not in keep:
            _replace(model, name, fuse_conv_bn_eval(conv, norm))
            _replace(model, str(node.target), nn.Identity())


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module.eval().requires_grad_(False))
