"""The first convolution of a network, with a gradient that costs no more than its output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml.runtime import layout

MOST_CHANNELS = 4
"""Of an image."""


class Stem(nn.Conv2d):
    """A frozen strided convolution over an image, whose gradient is computed as a convolution.

    Every pixel's gradient is a sum over the few outputs it went into. Pixels at the same place within the stride sum
    over the same places of the outputs: together they are one convolution without stride with ``stride²`` times the
    image's channels, whose outputs are shuffled into place (as in Shi et al., arXiv 1609.05158). It takes a third to
    half of the usual time, which is most of an early stage's, and differs by rounding.

    Args:
        conv: A convolution that :func:`is_stem`.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        kernel, stride, padding = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
        super().__init__(conv.in_channels, conv.out_channels, kernel, stride, padding)
        self.weight, self.bias = conv.weight, conv.bias
        self.requires_grad_(False).eval()
        self._transposed: dict[tuple[torch.device, torch.dtype], tuple[Tensor, tuple[int, int]]] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Maps (B, C, h, w) of images (B, channels, H, W)."""
        whole = all(side % step == 0 for side, step in zip(images.shape[2:], self.stride, strict=True))
        if not (images.requires_grad and whole):
            return super().forward(images)
        return _StemFunction.apply(images, self)  # type: ignore[no-any-return]

    def gradient(self, outer: Tensor, size: torch.Size) -> Tensor:
        """The gradient at the image, (B, channels, H, W), from that at the maps."""
        key = (outer.device, outer.dtype)
        if key not in self._transposed:
            self._transposed[key] = self._transpose(outer)
        weight, (low, high) = self._transposed[key]
        reach, step = max(-low, high), self.stride[0]
        height, width = size[2] // step, size[3] // step
        # The maps may be shorter than the image's cells, or longer: what lies beyond them is zero, or unused.
        down, right = max(0, height - outer.shape[2]), max(0, width - outer.shape[3])
        if down or right:
            outer = functional.pad(outer, (0, right, 0, down))
        cells = functional.conv2d(layout.for_convolution(outer, weight), weight, padding=reach)
        first = reach + low
        cells = cells[:, :, first : first + height, first : first + width].unflatten(1, (-1, step, step))
        return cells.permute(0, 1, 4, 2, 5, 3).reshape(size)

    def _transpose(self, like: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Weights (channels · step², outputs, k, k) of the convolution that gives the gradient, and how far it reaches.

        Pixel ``step · i + r`` goes into output ``i + o`` through the kernel's place ``r + padding − step · o``.
        """
        step, padding, kernel = self.stride[0], int(self.padding[0]), self.kernel_size[0]
        places = [
            (rest, place, (rest + padding - place) // step)
            for rest in range(step)
            for place in range(kernel)
            if (rest + padding - place) % step == 0
        ]
        low, high = min(0, *(o for _, _, o in places)), max(0, *(o for _, _, o in places))
        side = high - low + 1
        weight = self.weight.new_zeros(self.in_channels, step, step, self.out_channels, side, side)
        for row, above, down in places:
            for column, left, right in places:
                weight[:, row, column, :, down - low, right - low] = self.weight[:, :, above, left].T
        weight = weight.reshape(self.in_channels * step**2, self.out_channels, side, side)
        return layout.arranged(weight.to(like), narrow=min(weight.shape[:2]) < layout.NARROW), (low, high)


class _StemFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, stem: Stem) -> Tensor:
        ctx.stem, ctx.size, ctx.dtype = stem, images.shape, images.dtype
        return nn.Conv2d.forward(stem, images)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.stem.gradient(gradient, ctx.size).to(ctx.dtype), None


def is_stem(module: nn.Module) -> bool:
    """Whether a module is a plain square convolution over an image's few channels, with a stride."""
    return (
        type(module) is nn.Conv2d
        and module.in_channels <= MOST_CHANNELS
        and module.groups == 1
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and len({*module.kernel_size}) == len({*module.stride}) == len({*module.padding}) == 1
        and {*module.dilation} == {1}
        and 1 < module.stride[0] <= module.kernel_size[0]
    )
