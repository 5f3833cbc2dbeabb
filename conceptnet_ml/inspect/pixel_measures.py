"""Properties of images that say nothing of what they show: light, colour, sharpness, border, places, pattern.

Legend: B images, H × W px, D numbers of a property.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from conceptnet_ml.inspect.property_rule import Numbers

PixelBox = tuple[int, int, int, int]
"""Left, top, right and bottom, in px."""

REGIONS = 4
"""Regions along each side, each looked at by itself."""

RINGS = ("border", "border within")
"""The outermost pixels, and as its control a ring as wide a sixth of the side further in."""

THUMB = 16
"""Side of the thumbnails by which near-duplicates are compared."""

_RING, _INWARD, _BLOCK = 1 / 32, 1 / 6, 8
_TILE, _PEAKS = 64, 8  # px of which spectra are taken; bands of frequencies along each axis
_LUMA = (0.299, 0.587, 0.114)
_GREY = 4.0  # levels of 255; keeps logarithms and shares of dark and even images finite


def pixel_measures(images: Tensor) -> dict[str, Numbers]:
    """Every property of images, uint8 (B, 3, H, W): name → float64 (B, D).

    ``brightness``, ``contrast``: mean and standard deviation of luma, in levels. ``colour cast``: log R/G and log B/G
    of the means. ``saturation``: mean of largest less least channel. ``sharpness``: log of the power of second
    differences over that of first ones, which contrast does not change. ``blocks``: log of the steps across the edges
    of blocks of 8 px over the others, as JPEG leaves them; ``pattern``: peaks of the spectra across and down in eight
    bands each; both only from 16 px. ``border`` and ``border within``: mean and deviation of a ring, and the mean's
    distance from the ring next to it. ``region ROW,COLUMN``: mean colour, deviation, and steps across and down.

    Cost: one Fourier transform and about twenty passes over the pixels.
    """
    pixels = images.float()
    luma = (pixels * pixels.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1)
    red, green, blue = (pixels.mean((2, 3)) + _GREY).unbind(1)
    found = {
        "brightness": luma.mean((1, 2)),
        "contrast": luma.std((1, 2), correction=0),
        "colour cast": torch.stack([(red / green).log(), (blue / green).log()], 1),
        "saturation": (pixels.amax(1) - pixels.amin(1)).mean((1, 2)),
        "sharpness": _sharpness(luma),
    }
    if min(luma.shape[1:]) >= 2 * _BLOCK:
        found |= {"blocks": _blocks(luma), "pattern": _pattern(luma)}
    height, width = luma.shape[1:]
    found |= {name: _ring(pixels, luma, round(inward * min(height, width))) for name, inward in _rings()}
    return {name: _numbers(values) for name, values in found.items()} | region_measures(images)


def region_measures(images: Tensor) -> dict[str, Numbers]:
    """Of these, those of the regions."""
    rows, columns = (grid_lines(side, REGIONS) for side in images.shape[2:])
    regions = [(row, column) for row in range(REGIONS) for column in range(REGIONS)]
    boxes = [(columns[column], rows[row], columns[column + 1], rows[row + 1]) for row, column in regions]
    measured = box_measures(images, boxes)
    return {f"region {row},{column}": _numbers(one) for (row, column), one in zip(regions, measured, strict=True)}


def thumbnails(images: Tensor) -> tuple[Tensor, Tensor]:
    """What near-duplicates are found by: difference hashes, int8 ±1 (B, 64), and thumbnails, float (B, 3 · 16 · 16).

    A hash says of each of 8 × 8 places whether it is lighter than its right neighbour (Krawetz, "Kind of like that",
    hackerfactor.com 2013).
    """
    pixels = images.float()
    luma = (pixels * pixels.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    grid = F.interpolate(luma, (8, 9), mode="area")[:, 0]
    signs = torch.where(grid[:, :, :-1] > grid[:, :, 1:], 1, -1).to(torch.int8)
    return signs.flatten(1).cpu(), F.interpolate(pixels, (THUMB, THUMB), mode="area").flatten(1).cpu()


def _numbers(values: Tensor) -> Numbers:
    return np.asarray(values.reshape(len(values), -1).double().cpu().numpy())


def _rings() -> tuple[tuple[str, float], ...]:
    return (RINGS[0], 0.0), (RINGS[1], _INWARD)


def _steps(luma: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbours across (B, H, W−1) and down (B, H−1, W)."""
    return luma.diff(dim=2), luma.diff(dim=1)


def _sharpness(luma: Tensor) -> Tensor:
    first = sum((step**2).mean((1, 2)) for step in _steps(luma))
    second = sum((luma.diff(n=2, dim=dim) ** 2).mean((1, 2)) for dim in (1, 2))
    return torch.log((torch.as_tensor(second) + 1) / (torch.as_tensor(first) + 1))


def _blocks(luma: Tensor) -> Tensor:
    parts = []
    for step, dim in zip(_steps(luma), (2, 1), strict=True):
        steps = step.abs().mean(3 - dim)  # (B, places along dim)
        edge = torch.arange(steps.shape[1], device=luma.device) % _BLOCK == _BLOCK - 1
        parts.append((steps[:, edge].mean(1) + 1).log() - (steps[:, ~edge].mean(1) + 1).log())
    return parts[0] + parts[1]


def _pattern(luma: Tensor) -> Tensor:
    """Peaks of the spectra across and down (B, 16): what stands out of frequencies beside it. Things in a picture have
    smooth spectra, gratings, screens and blocks have peaks."""
    side = min(_TILE, *luma.shape[1:])
    rows, columns = (length // side * side for length in luma.shape[1:])
    tiles = luma[:, :rows, :columns].unfold(1, side, side).unfold(2, side, side).flatten(1, 2)  # (B, tiles, side, side)
    window, peaks = torch.hann_window(side, device=luma.device), []
    for lines in (tiles, tiles.transpose(2, 3)):
        power = torch.fft.rfft((lines - lines.mean(3, keepdim=True)) * window).abs() ** 2
        level = (power.mean((1, 2)) + 1).log()  # Welch 1967: the mean over tiles and lines
        stands = level[:, 3:-2] - (level[:, 1:-4] + level[:, 5:]) / 2
        peaks.append(F.adaptive_max_pool1d(stands, min(_PEAKS, stands.shape[1])))
    return torch.cat(peaks, 1)


def _ring(pixels: Tensor, luma: Tensor, inward: int) -> Tensor:
    height, width = luma.shape[1:]
    thick = max(1, round(_RING * min(height, width)))
    masks = [_ring_mask(height, width, inward + step * thick, thick).to(luma.device) for step in (0, 1)]
    (outer, spread), (inner, _) = ((pixels[:, :, one].mean(2), luma[:, one].std(1, correction=0)) for one in masks)
    return torch.cat([outer, outer - inner, spread[:, None]], 1)


def _ring_mask(height: int, width: int, inward: int, thick: int) -> Tensor:
    """(H, W), true on a ring so thick, so many px from the edge."""
    rows = torch.minimum(torch.arange(height), torch.arange(height).flip(0))
    columns = torch.minimum(torch.arange(width), torch.arange(width).flip(0))
    depth = torch.minimum(rows[:, None], columns[None])
    return (depth >= inward) & (depth < inward + thick)


def grid_lines(side: int, cells: int) -> list[int]:
    """The px at which so many cells along a side end, from 0 on."""
    found: list[int] = torch.linspace(0, side, cells + 1).round().long().tolist()
    return found


def box_measures(images: Tensor, boxes: Sequence[PixelBox]) -> Tensor:
    """What stands in each of these boxes, of images (B, 3, H, W): mean colour, deviation, and steps across and down,
    float (boxes, B, 6)."""
    pixels = images.float()
    luma = (pixels * pixels.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1)
    return torch.stack([_in_box(pixels, luma, box) for box in boxes])


def _in_box(pixels: Tensor, luma: Tensor, box: PixelBox) -> Tensor:
    left, top, right, bottom = box
    part = luma[:, top:bottom, left:right]
    steps = [step.abs().mean((1, 2)) for step in _steps(part)]
    shown = [pixels[:, :, top:bottom, left:right].mean((2, 3)), part.std((1, 2), correction=0)[:, None]]
    return torch.cat([*shown, torch.stack(steps, 1)], 1)
