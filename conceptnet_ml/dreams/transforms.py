"""Random views of a dream, each image's from its own seed: shift, scale, rotation, noise and colour."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Transforms:
    """How much each image is changed at random at every step, so that dreams are robust against small changes.

    Shift, scale and rotation are one bilinear sampling.

    Args:
        shift: Up to so many px in each direction.
        scale: Enlarged by a factor drawn between these two; below one, the edges come into sight.
        rotate: Up to so many degrees.
        edges: What lies beyond the edge: ``reflect``, or ``grey``.
        noise: Standard deviation of Gaussian noise, in units of the image's range.
        colour: Channels are multiplied by up to 1 ± this.
        exact: Take the exact gradient of bilinear sampling, at four times its cost.
    """

    shift: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    rotate: float = 0.0
    edges: str = "reflect"
    noise: float = 0.0
    colour: float = 0.0
    exact: bool = False

    def draw(self, steps: int, channels: int, generator: torch.Generator) -> Tensor:
        """The views of all steps of a dream, (steps, 9 + channels): the affine map and its inverse (cosine, sine, right
        and down in px each), the factor of the gradient, and that of each channel."""
        drawn = torch.rand(steps, 4 + channels, generator=generator) * 2 - 1
        low, high = (math.log(one) for one in self.scale)
        shrink = torch.exp(-((low + high) / 2 + (high - low) / 2 * drawn[:, 2]))
        angle = math.radians(self.rotate) * drawn[:, 3]
        cosine, sine = shrink * angle.cos(), shrink * angle.sin()
        right, down = self.shift * drawn[:, 0], self.shift * drawn[:, 1]
        area = shrink.square()
        there = (cosine, sine, right, down)
        home = (-(cosine * right + sine * down) / area, -(cosine * down - sine * right) / area)
        back = (cosine / area, -sine / area, *home)
        return torch.cat([torch.stack([*there, *back, 1 / area], 1), 1 + self.colour * drawn[:, 4:]], 1)

    def view(self, images: Tensor, drawn: Tensor, generators: Sequence[torch.Generator] = ()) -> Tensor:
        """The images (B, C, H, W) as the network sees them in one step, by a row of :meth:`draw` for each, (B, 9 + C),
        and, for noise only, a generator for each."""
        if self.shift or self.rotate or self.scale != (1.0, 1.0):
            middle = 0.5 if self.edges == "grey" else 0.0
            images = images - middle if middle else images
            images = _Affine.apply(images, drawn, self.edges, self.exact)
            images = images + middle if middle else images
        if self.colour:
            images = images * drawn[:, 9:, None, None]
        if self.noise:
            noise = torch.stack([torch.randn(images.shape[1:], generator=one) for one in generators])
            images = images + self.noise * noise.to(images.device)
        return images


class _Affine(torch.autograd.Function):
    """Bilinear samples at an affine map, with a fast gradient.

    The gradient of bilinear sampling scatters. For maps near the identity, sampling the outer gradient at the inverse
    map is faster and the same away from the rim (cosine over .99 at ±6°, ×.9–1.1). ``exact`` scatters.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, drawn: Tensor, edges: str, exact: bool) -> Tensor:
        ctx.edges, ctx.exact, ctx.shape = edges, exact, images.shape
        ctx.save_for_backward(drawn)
        return _sample(images, grid_of(drawn[:, :4], *images.shape[-2:]), edges)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (drawn,) = ctx.saved_tensors
        gradient = gradient.contiguous()
        height, width = gradient.shape[-2:]
        if ctx.exact:
            with torch.enable_grad():
                start = gradient.new_zeros(ctx.shape, requires_grad=True)
                view = _sample(start, grid_of(drawn[:, :4], height, width), ctx.edges)
                (found,) = torch.autograd.grad(view, start, gradient)
        else:
            found = _sample(gradient, grid_of(drawn[:, 4:8], height, width), "grey").mul_(drawn[:, 8, None, None, None])
        return found, None, None, None


def _sample(images: Tensor, grid: Tensor, edges: str) -> Tensor:
    padding = "reflection" if edges == "reflect" else "zeros"
    return functional.grid_sample(images, grid, padding_mode=padding, align_corners=False)


def grid_of(turn: Tensor, height: int, width: int) -> Tensor:
    """Where each pixel is taken from, (B, H, W, 2), in [−1, 1] over the image.

    Args:
        turn: (B, 4): cosine and sine of a rotation with a scale about the middle, and a shift right and down, in px.
        height, width: Of the image.
    """
    across, along = _axes(height, width, turn.device, turn.dtype)
    cosine, sine, right, down = turn.unsqueeze(1).unbind(2)
    grid = torch.empty(len(turn), height, width, 2, device=turn.device, dtype=turn.dtype)
    for place, side, by_column, by_row in (
        (0, width, cosine * across, torch.addcmul(right, sine, along, value=-1)),
        (1, height, sine * across, torch.addcmul(down, cosine, along)),
    ):
        torch.add(by_column.mul_(2 / side)[:, None], by_row.mul_(2 / side)[..., None], out=grid[..., place])
    return grid


@functools.lru_cache(maxsize=64)
def _axes(height: int, width: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Positions of the columns and of the rows, in px from the middle."""
    across, along = (torch.arange(side, device=device, dtype=dtype) + (0.5 - side / 2) for side in (width, height))
    return across, along


def moved(images: Tensor, turn: Tensor) -> Tensor:
    """Images (B, C, H, W) under the maps of :func:`grid_of`, without gradients."""
    with torch.no_grad():
        return _sample(images, grid_of(turn, *images.shape[-2:]), "reflect")


def resize_images(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, H, W) at another size, antialiased."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return functional.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
