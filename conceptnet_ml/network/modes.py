"""Modes of networks during a block: evaluation mode; weights fixed, with batch norms as affine maps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def eval_mode(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every part is in its own mode again."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for part, _ in modes:
        part.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients for weights; afterwards everything is as it was.

    For passes that need gradients of maps or gates only. Batch norms are computed as a factor and an offset, since
    their own backward pass takes half of a probe's time.
    """
    # Part by part: a family may be in training mode while its trunk, which others share, is not.
    modes = {part: part.training for module in modules for part in module.modules()}
    trainable = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    for module in modules:
        module.eval()
    for parameter in trainable:
        parameter.requires_grad_(False)
    simplified = [part for module in modules for part in module.modules() if _is_affine(part)]
    for norm in simplified:
        norm.forward = _affine(norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in simplified:
            norm.__dict__.pop("forward", None)
        for parameter in trainable:
            parameter.requires_grad_(True)
        for part, mode in modes.items():
            part.training = mode


def _is_affine(module: nn.Module) -> bool:
    return type(module) is nn.BatchNorm2d and module.running_mean is not None and "forward" not in module.__dict__


def _affine(norm: nn.Module) -> Callable[[Tensor], Tensor]:
    """What a batch norm computes in evaluation mode."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        factor = factor * norm.weight.detach()
    offset = -norm.running_mean * factor
    if norm.bias is not None:
        offset = offset + norm.bias.detach()
    factor, offset = factor.view(1, -1, 1, 1), offset.view(1, -1, 1, 1)
    return lambda maps: torch.addcmul(offset.to(maps.dtype), maps, factor.to(maps.dtype))


def versioned(module: nn.Module, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """A state dict that says for each module what version its tensors are of: the module's own, where nothing is said,
    as in files of tensors. There are modules that ask for it (torchvision's MNASNet).
    """
    if hasattr(state, "_metadata"):
        return state
    told = OrderedDict(state)
    told._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
    return told
