"""Representations ready to swap with: an image takes over from a donor what a gate lets through, and keeps the rest.

``swap_T(x, d; g) = T⁻¹( T(x) + g ⊙ (T(d) − T(x)) )`` for a representation T, a host x, a donor d and a gate g.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from conceptnet_ml.config.overrides import PlaceBox, parse_places
from conceptnet_ml.errors import SettingsError
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.records import API, Representation


def _identity(images: Tensor) -> Tensor:
    return images


IMAGE = Representation(name="image", api=API, encode=_identity, decode=_identity, gate="place")
"""The image itself. The core uses it to find places, with any set of installed representations."""

Encoding = Tensor | tuple[Tensor, Any]
"""What a representation makes of images: a tensor, or a pair of which only the first part is swapped."""

_HAIR = 1e-6
"""Of a cell: what a box reaches into by less is rounding."""

Regions = tuple[Tensor, Tensor]
"""The places a swap may use, of the images and of the donors, (B, 1, H, W) in [0, 1] each."""


def fitting(names: Sequence[str], plugins: Plugins, channels: int) -> tuple[str, ...]:
    """Those of the named representations that images of so many channels have.

    Raises:
        SettingsError: There is none, or one is unknown.
    """
    records = [plugins.get("representation", name) for name in names]
    found = tuple(one.name for one in records if getattr(one, "channels", None) in (None, channels))
    if not found:
        raise SettingsError(
            f"plugins.representations: none of {', '.join(names)} takes images of {channels} channels",
            "Name others, as in fourier,waves,pixels.",
        )
    return found


class Codec:
    """A representation ready to swap with.

    Attributes:
        joins: Whether, in views, the gate of an image is its own joined with the donor's: places of a transplant mean
            the same in both.
        needs_regions: Whether a swap needs to know where the feature is, in the images and in the donors.
        given: (1, 1, h, w) the gate of all images, where it is not the probe's to find; None where it is.
    """

    joins = True
    needs_regions = False

    def __init__(self, record: Representation, given: Tensor | None = None) -> None:
        self.record = record
        self.given = given
        self.name = record.name
        self.gate = record.gate
        self._encode = record.function("encode")
        self._decode = record.function("decode")
        self._masks = None if record.masks is None else record.function("masks")
        self._measure = None if record.measure is None else record.function("measure")

    def encode(self, images: Tensor, where: Tensor | None = None) -> Encoding:
        """T(images); a regional representation looks only at ``where``."""
        return self._encode(images, where=where) if self.record.regional and where is not None else self._encode(images)

    def channels(self, images: Tensor) -> int:
        """How many gates a channel gate has."""
        encoding = self.encode(images[:1])
        if self._masks is not None:
            return len(self._masks(encoding))
        return (encoding[0] if isinstance(encoding, tuple) else encoding).shape[1]

    def swap(
        self, images: Tensor, donors: Encoding, gate: Tensor | None = None, where: Regions | None = None
    ) -> Tensor:
        """``swap_T(images, donors; gate)``, floats in [0, 1] (B, 3, H, W), differentiable in the gate.

        Args:
            images: Floats in [0, 1] (B, 3, H, W).
            donors: The same; or their encoding, a pair.
            gate: What is taken over, in [0, 1]: (B, 1, h, w) for a place gate (any grid, upsampled bilinearly),
                (B, C) for a channel gate, booleans at the encoding's resolution, None to take over everything.
            where: The places the swap may touch.
        """
        return self.mixer(images, donors, where)(gate)

    def measured(self, images: Tensor, donors: Tensor) -> Tensor:
        """The swap of whole images without a gate as it is probed and judged, floats in [0, 1] (B, 3, H, W)."""
        return self.swap(images, donors) if self._measure is None else self._measure(images, donors).clamp(0, 1)

    def mixer(
        self, images: Tensor, donors: Encoding, where: Regions | None = None
    ) -> Callable[[Tensor | None], Tensor]:
        """:meth:`swap` as a function of the gate alone: what does not depend on the gate is computed once."""
        own_places, other_places = where or (None, None)
        own = self.encode(images, own_places)
        other = self.encode(donors, other_places) if isinstance(donors, Tensor) else donors
        masks = None if self._masks is None else self._masks(own)

        def swap(gate: Tensor | None) -> Tensor:
            if masks is not None:  # without a gate, all that is in a channel
                opened = masks.new_ones(1, len(masks)) if gate is None else gate.to(masks.dtype)
                gate = (opened @ masks.flatten(1)).view(len(opened), *masks.shape[1:])
            return self._decode_mixed(images, _mix(own, other, gate), where)

        return swap

    def _decode_mixed(self, images: Tensor, mixed: Encoding, where: Regions | None) -> Tensor:
        swapped = self._decode(mixed)
        if not swapped.requires_grad:  # while a gate is optimised a little overshoot does no harm, a clamp costs time
            swapped = swapped.clamp(0, 1)
        if where is not None:
            swapped = images + where[0] * (swapped - images)
        return swapped


class RegionalCodec(Codec):
    """A whole-image representation swapped in places only: below a feature, whose places are not the whole image.

    Its gate, a place gate, says which places of the image change, and over which the image's encoding is taken. The
    donor's encoding is taken over the donor's own region, wherever that is.
    """

    joins = False
    needs_regions = True

    def __init__(self, record: Representation) -> None:
        super().__init__(record)
        self.gate = "place"

    def mixer(
        self, images: Tensor, donors: Encoding, where: Regions | None = None
    ) -> Callable[[Tensor | None], Tensor]:
        """``swap_T`` inside the gate; of ``where``, which must be given, only the donors' places are used."""
        assert where is not None
        other = self.encode(donors, where[1]) if isinstance(donors, Tensor) else donors

        def swap(gate: Tensor | None) -> Tensor:
            inside = _in_shape_of(gate, images)
            assert isinstance(inside, Tensor)
            inside = inside.to(images.dtype)
            return self._decode_mixed(images, _mix(self.encode(images, inside), other, None), (inside, where[1]))

        return swap


def _mix(own: Encoding, other: Encoding, gate: Tensor | None) -> Encoding:
    """``own + gate ⊙ (other − own)``, of the parts that are swapped."""
    if isinstance(own, tuple):
        assert isinstance(other, tuple)
        mixed = _mix(own[0], other[0], gate)
        assert isinstance(mixed, Tensor)
        return mixed, own[1]
    assert isinstance(other, Tensor)
    if gate is not None and gate.dtype is torch.bool:
        return torch.where(_in_shape_of(gate, own), other, own)  # type: ignore[arg-type]
    return own + _in_shape_of(gate, own) * (other - own)


def _in_shape_of(gate: Tensor | None, encoding: Tensor) -> Tensor | float:
    """The gate, ready to be multiplied with the encoding; 1 for no gate."""
    if gate is None:
        return 1.0
    if gate.ndim == 2:
        return gate.reshape(gate.shape + (1,) * (encoding.ndim - 2))
    if gate.shape[-2:] == encoding.shape[-2:]:
        return gate
    return upsample(gate, (encoding.shape[-2], encoding.shape[-1]))


def gate_grid(size: tuple[int, int], cells: int) -> tuple[int, int]:
    """Rows and columns of a place gate on images of this height and width, with so many cells along the longer side."""
    return max(2, round(cells * size[0] / max(size))), max(2, round(cells * size[1] / max(size)))


def box_cells(box: PlaceBox, grid: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns of a grid that a box reaches into, be it in part."""

    def line(first: float, last: float, count: int) -> slice:
        begin = min(int(first * count + _HAIR), count - 1)
        return slice(begin, max(begin + 1, math.ceil(last * count - _HAIR)))

    left, top, right, bottom = box
    return line(top, bottom, grid[0]), line(left, right, grid[1])


def place_gate(places: str, size: tuple[int, int], cells: int) -> Tensor:
    """The gate (1, 1, h, w), 0 or 1, that is open at the places that ``round.exchange`` names.

    Args:
        size: Height and width of the images, in px.
        cells: Of the gate along the longer side.

    Raises:
        SettingsError: As :func:`parse_places`.
    """
    gate = torch.zeros(1, 1, *gate_grid(size, cells))
    for boxes in parse_places(places).values():
        for box in boxes:
            rows, columns = box_cells(box, (gate.shape[2], gate.shape[3]))
            gate[:, :, rows, columns] = 1
    return gate


def open_cells(gates: Tensor, size: tuple[int, int], threshold: float, grow: int) -> Tensor:
    """Soft coarse gates made hard at image resolution.

    Args:
        gates: (B, 1, h, w) in [0, 1].
        size: Height and width of the image.
        threshold: A place is open where the upsampled gate is above it.
        grow: Px by which open places are grown: a feature's context reaches beyond its most informative pixels.

    Returns:
        (B, 1, H, W) floats, 0 or 1.
    """
    hard = (upsample(gates.float(), size) > threshold).float()
    return functional.max_pool2d(hard, 2 * grow + 1, stride=1, padding=grow) if grow else hard


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, 1, h, w) at another size, bilinearly; as two matrix products, several times faster here than
    ``interpolate``."""
    rows, columns = _weights(maps.shape[-2], size[0]), _weights(maps.shape[-1], size[1])
    return rows.to(maps.device) @ maps @ columns.to(maps.device).T


@lru_cache(maxsize=64)
def _weights(coarse: int, fine: int) -> Tensor:
    """(fine, coarse): linear interpolation between the cells' middles."""
    identity = torch.eye(coarse).view(1, coarse, coarse, 1)
    lines = functional.interpolate(identity, (fine, 1), mode="bilinear", align_corners=False)
    return lines[0, :, :, 0].T.contiguous()
