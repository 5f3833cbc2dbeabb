"""What gradient ascent changes: pixels, Fourier coefficients, phases alone, or the gate of a donor swap.

Shapes: B dreams, C channels, H × W pixels; "numbers" are what is optimized, a row for each dream.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

COLOURS = ((0.2613, 0.2662, 0.2628), (0.0936, -0.0133, -0.0796), (0.0184, -0.0471, 0.0295))
"""Principal directions of the colours of photographs, a row each, as long as their standard deviation; measured on
2,400 photographs of cars and dogs."""


@dataclass(frozen=True)
class DreamRow:
    """What one dream starts from.

    Args:
        size: Height and width.
        channels: Of the image.
        start: (C, H, W) in [0, 1], or None for noise.
        donor: The same, for a swap.
        contrast: How much noise; above one where a first try found no gradient.
        generator: The dream's own, on the CPU.
    """

    size: tuple[int, int]
    channels: int
    start: Tensor | None
    donor: Tensor | None
    contrast: float
    generator: torch.Generator


class Parametrization(ABC):
    """How numbers become images. A plugin's own needs ``begin`` and ``images``; autograd does the rest."""

    rate: float = 0.05
    """Step length where the recipe gives none."""

    @abstractmethod
    def begin(self, row: DreamRow) -> tuple[Tensor, tuple[Tensor, ...]]:
        """A dream's first numbers, and constants that belong to it; the engine stacks the rows of both.

        The number of constants must be the same for every dream: a row is used by one after the other.
        """

    @abstractmethod
    def images(self, numbers: Tensor, constants: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """(B, C, H, W) in [0, 1]; differentiable in the numbers unless :meth:`gradient` is given."""

    def gradient(self, numbers: Tensor, constants: Sequence[Tensor], images: Tensor, outer: Tensor) -> Tensor:
        """The gradient at the numbers, from that at the images; Adam is indifferent to the scale of each number's."""
        size = (images.shape[2], images.shape[3])
        with torch.enable_grad():
            free = numbers.detach().requires_grad_(True)
            (found,) = torch.autograd.grad(self.images(free, constants, size), free, outer)
        return found

    def bound(self, numbers: Tensor) -> None:  # noqa: B027 - most have no range to keep to
        """Put numbers back into their range after a step, in place."""

    def price(self, numbers: Tensor) -> Tensor | None:
        """A penalty on the numbers themselves, (B,); None for none."""
        return None


@dataclass(eq=False)
class Pixels(Parametrization):
    """The image itself, kept in [0, 1].

    Args:
        decay: Gradients are filtered: colours by how they vary together in photographs, frequencies falling to this
            power. None leaves them as they are. With Adam, which scales every pixel by itself, it has little effect.
        rate: Step length.
    """

    decay: float | None = None
    rate: float = 0.03

    def begin(self, row: DreamRow) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The start, or grey with noise."""
        if row.start is not None and row.contrast <= 1:
            return row.start.clone(), ()
        base = torch.full((row.channels, *row.size), 0.5) if row.start is None else row.start.cpu()
        noise = torch.randn(base.shape, generator=row.generator)
        return (base + 0.05 * row.contrast * noise).clamp(0, 1), ()

    def images(self, numbers: Tensor, constants: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """The numbers."""
        return numbers

    def gradient(self, numbers: Tensor, constants: Sequence[Tensor], images: Tensor, outer: Tensor) -> Tensor:
        """The gradient at the images, filtered where ``decay`` is given."""
        if self.decay is None:
            return outer
        if outer.shape[1] == 3:
            mixing = _mixing(outer.device, True)
            outer = (mixing / mixing.norm(dim=0) @ mixing.T @ outer.flatten(2)).view_as(outer)
        size = (images.shape[2], images.shape[3])
        waves = torch.fft.rfft2(outer, norm="ortho")
        return torch.fft.irfft2(waves * _scale(size, self.decay, outer.device)[..., 0], s=size, norm="ortho")

    def bound(self, numbers: Tensor) -> None:
        """Into [0, 1]."""
        numbers.clamp_(0, 1)


@dataclass(eq=False)
class Fourier(Parametrization):
    """Fourier coefficients in uncorrelated colours, scaled by frequency, through a sigmoid.

    Olah, Mordvintsev and Schubert, *Feature Visualization*, Distill 2017. The numbers are what is added to a start
    before the sigmoid.

    Args:
        decay: The scale falls as frequency to this power.
        rate: Of Adam.
    """

    decay: float = 1.25
    rate: float = 0.05

    def begin(self, row: DreamRow) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Small random coefficients, and the start's logits; zeros, which are grey, where there is none."""
        height, width = row.size
        numbers = torch.randn(row.channels, height, width // 2 + 1, 2, generator=row.generator)
        if row.start is None:
            return numbers * 0.1 * row.contrast, (torch.zeros(row.channels, height, width),)
        numbers = numbers * (0.0 if row.contrast <= 1 else 0.1 * row.contrast)
        return numbers, (torch.logit(row.start.float().clamp(0.02, 0.98)),)

    def images(self, numbers: Tensor, constants: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """``σ(start + colours · F⁻¹(scale ⊙ numbers))``."""
        waves = torch.view_as_complex(numbers * _scale(size, self.decay, numbers.device))
        change = coloured(torch.fft.irfft2(waves, s=size, norm="ortho"))
        return torch.sigmoid_(change.add_(constants[0]))

    def gradient(self, numbers: Tensor, constants: Sequence[Tensor], images: Tensor, outer: Tensor) -> Tensor:
        """By hand, and without the scale, which saves two passes over the coefficients at every step."""
        inner = torch.ops.aten.sigmoid_backward(outer, images)
        if inner.shape[1] == 3:
            inner = (_mixing(inner.device, False).T @ inner.flatten(2)).view_as(inner)
        return torch.view_as_real(torch.fft.rfft2(inner, norm="ortho"))


@dataclass(eq=False)
class Phases(Parametrization):
    """Phases alone, under fixed magnitudes of real images: MACO (Fel et al., arXiv 2306.06805).

    Args:
        magnitudes: (C, H, W // 2 + 1) at any size, of uncorrelated colours; None: one over the frequency, as those of
            photographs.
        mean: (C,) mean colour.
        rate: Of Adam.
    """

    magnitudes: Tensor | None = None
    mean: Tensor | None = None
    rate: float = 0.1

    def begin(self, row: DreamRow) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Random phases, or the start's own; and the magnitudes."""
        height, width = row.size
        magnitudes = self._magnitudes(row)
        mean = torch.full((row.channels,), 0.5) if self.mean is None else self.mean.cpu()
        if row.start is None or row.contrast > 1:
            numbers = torch.randn(row.channels, height, width // 2 + 1, generator=row.generator) * 2
        else:
            numbers = torch.fft.rfft2(uncoloured(row.start[None].float().cpu() - mean[:, None, None])[0]).angle()
        return numbers, (magnitudes, mean[:, None, None])

    def images(self, numbers: Tensor, constants: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """``mean + colours · F⁻¹(magnitudes ⊙ e^(i·numbers))``, clipped softly."""
        magnitudes, mean = constants
        waves = torch.polar(magnitudes.expand_as(numbers).contiguous(), numbers)
        return _soft_clip(mean + coloured(torch.fft.irfft2(waves, s=size, norm="ortho"), unit=True))

    def _magnitudes(self, row: DreamRow) -> Tensor:
        height, width = row.size
        if self.magnitudes is not None:
            given = self.magnitudes[None].float()
            if tuple(given.shape[-2:]) == (height, width // 2 + 1):
                return given[0]
            return functional.interpolate(given, size=(height, width // 2 + 1), mode="bilinear", align_corners=True)[0]
        falling = _scale(row.size, 1.0, torch.device("cpu"))[..., 0].clone()
        falling[0, 0] = 0
        white = falling.square().sum() * 2 / (height * width)
        return (falling / white.sqrt()).expand(row.channels, -1, -1).contiguous()


@dataclass(eq=False)
class Gate(Parametrization):
    """A donor's material let into the image through a gate of few cells, at a price, as in the learner's probe.

    Args:
        cells: Along the shorter side.
        cost: Of an open gate.
        rate: Of Adam.
    """

    cells: int = 16
    cost: float = 1.0
    rate: float = 0.5

    def begin(self, row: DreamRow) -> tuple[Tensor, tuple[Tensor, ...]]:
        """A gate half open, the image, and its donor.

        Raises:
            ValueError: Image or donor is missing.
        """
        if row.start is None or row.donor is None:
            raise ValueError("a swap needs an image and a donor")
        short = min(row.size)
        cells = tuple(max(1, round(side * self.cells / short)) for side in row.size)
        return torch.zeros(1, *cells), (row.start.float(), row.donor.float())

    def images(self, numbers: Tensor, constants: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """``start + gate ⊙ (donor − start)``."""
        start, donor = constants
        gate = functional.interpolate(numbers.sigmoid(), size=size, mode="bilinear", align_corners=False)
        return start + gate * (donor - start)

    def price(self, numbers: Tensor) -> Tensor | None:
        """The mean of the gate times its cost."""
        return self.cost * numbers.sigmoid().flatten(1).mean(1)


def coloured(images: Tensor, unit: bool = False) -> Tensor:
    """Uncorrelated colours (B, C, H, W) as RGB, with ``unit`` scaled as the colours of photographs vary, else so that
    the most varying direction has length one; images of other than three channels keep their own."""
    if images.shape[1] != 3:
        return images * 0.25 if unit else images
    mixing = _mixing(images.device, unit)
    return (mixing @ images.flatten(2)).view_as(images)


def uncoloured(images: Tensor) -> Tensor:
    """The inverse of :func:`coloured` with ``unit``."""
    if images.shape[1] != 3:
        return images / 0.25
    return (torch.linalg.inv(_mixing(images.device, True)) @ images.flatten(2)).view_as(images)


def magnitudes(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean Fourier magnitudes (C, H, W // 2 + 1) of real images, uint8 (N, C, H, W), in uncorrelated colours, and their
    mean colour (C,), for :class:`Phases`."""
    mean = images.float().mean((0, 2, 3)) / 255
    total = torch.zeros(images.shape[1], images.shape[2], images.shape[3] // 2 + 1, device=images.device)
    for part in images.split(256):
        values = uncoloured(part.float() / 255 - mean[:, None, None].to(part.device))
        total = total + torch.fft.rfft2(values, norm="ortho").abs().sum(0)
    return total / len(images), mean


def _soft_clip(images: Tensor, edge: float = 0.05) -> Tensor:
    """To [0, 1], with a gradient that ends softly, so that what is beyond can come back."""
    return edge * (functional.softplus(images / edge) - functional.softplus((images - 1) / edge))


@functools.lru_cache(maxsize=16)
def _mixing(device: torch.device, unit: bool) -> Tensor:
    mixing = torch.tensor(COLOURS, device=device).T
    return mixing.contiguous() if unit else (mixing / mixing.norm(dim=0).max()).contiguous()


@functools.lru_cache(maxsize=64)
def _scale(size: tuple[int, int], decay: float, device: torch.device) -> Tensor:
    """Frequency to the power −decay, (H, W // 2 + 1, 2), twice the same, with a mean square of one."""
    height, width = size
    frequency = (torch.fft.fftfreq(height)[:, None] ** 2 + torch.fft.rfftfreq(width)[None] ** 2).sqrt()
    scale = frequency.clamp_min(1 / max(height, width)) ** -decay
    even = scale / scale.square().mean().sqrt()
    return torch.stack([even, even], -1).to(device)  # twice, since a product that broadcasts takes thrice as long
