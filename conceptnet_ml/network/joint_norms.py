"""Batch norms over the batch of all ranks: each has a part of it, the statistics are those of the whole.

torch's own ``SyncBatchNorm`` needs CUDA cards; this one runs on any device, so that a run of two processes on a CPU is
tested to be the run of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from conceptnet_ml.errors import SettingsError
from conceptnet_ml.runtime import ranks


@contextmanager
def joint_norms(network: nn.Module) -> Iterator[None]:
    """While entered, the network's batch norms that are in training mode see the batch of all ranks; nothing changes in
    a process by itself. Its running statistics, too, are the same on all ranks. Raises as :func:`check_norms`.

    Cost: a message of two numbers a channel forward, another one back, for each batch norm.
    """
    if ranks.size() == 1:
        yield
        return
    check_norms(network)
    norms = [part for part in network.modules() if isinstance(part, _BatchNorm)]
    for norm in norms:
        norm.__dict__["forward"] = partial(_forward, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.__dict__["forward"]


def check_norms(network: nn.Module) -> None:
    """Raise SettingsError for a kind of batch norm with a way of its own to compute, which sees a rank's part only."""
    usual = (_BatchNorm.forward, SyncBatchNorm.forward)
    own = {type(part).__name__ for part in network.modules() if isinstance(part, _BatchNorm)} - {
        type(part).__name__ for part in network.modules() if type(part).forward in usual
    }
    if own:
        raise SettingsError(
            f"the network has {', '.join(sorted(own))}, whose statistics several ranks cannot share",
            "Give a network with torch's BatchNorm, GroupNorm or LayerNorm, or start one process alone.",
        )


def _forward(norm: _BatchNorm, values: Tensor) -> Tensor:
    """As ``norm.forward``, with the statistics of all ranks' values where it takes the batch's."""
    if not norm.training or ranks.size() == 1:
        return type(norm).forward(norm, values)
    weight = torch.ones(values.shape[1], device=values.device) if norm.weight is None else norm.weight
    bias = torch.zeros(values.shape[1], device=values.device) if norm.bias is None else norm.bias
    normed, mean, variance, count = _JointNorm.apply(values, weight, bias, norm.eps)
    if norm.track_running_stats and norm.running_mean is not None and norm.running_var is not None:
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        with torch.no_grad():
            norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
            unbiased = variance * (count / (count - 1).clamp_min(1))
            norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), share)
    return normed


class _JointNorm(torch.autograd.Function):
    """(x − mean) / √(variance + ε) · weight + bias over all ranks' (B, C, …); sums are taken in double precision.

    The gradient is that of the sum of all ranks' losses, as one process would have it on the whole batch.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
        axes = [axis for axis in range(values.ndim) if axis != 1]
        channels, shape = values.shape[1], [1, -1, *[1] * (values.ndim - 2)]
        wide = values if values.dtype is torch.float64 else values.float()
        sums = torch.stack([part.sum(axes, dtype=torch.float64) for part in (wide, wide * wide)])
        count = sums.new_tensor([values.numel() / channels])
        ranks.add_up(sums, count)
        mean, squares = sums / count
        variance = (squares - mean * mean).clamp_min(0)
        scale = (variance + eps).rsqrt()
        normed = (wide - mean.to(wide).view(shape)) * scale.to(wide).view(shape)
        ctx.save_for_backward(normed, weight, scale.to(wide), count)
        ctx.axes, ctx.shape = axes, shape
        ctx.mark_non_differentiable(mean, variance, count)
        answer = normed * weight.to(wide).view(shape) + bias.to(wide).view(shape)
        return answer.to(values.dtype), mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        normed, weight, scale, count = ctx.saved_tensors
        given = gradients[0].to(normed)
        own = torch.stack([part.sum(ctx.axes, dtype=torch.float64) for part in (given, given * normed)])
        whole = own.clone()
        ranks.add_up(whole)
        level, slope = (part.to(normed).view(ctx.shape) for part in whole / count)
        back = (given - level - normed * slope) * (weight.to(normed) * scale).view(ctx.shape)
        return back.to(gradients[0].dtype), own[1].to(weight.dtype), own[0].to(weight.dtype), None
