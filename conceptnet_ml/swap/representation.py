"""Representations ready to swap with: an image takes over from a donor what a gate lets through, and keeps the rest."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from conceptnet_ml.records import API, Representation


def _same(images: Tensor) -> Tensor:
    return images


IMAGE = Representation(name="image", api=API, encode=_same, decode=_same, gate="place")
"""The image itself, for what the core asks of places whatever representations are installed."""

Encoding = Tensor | tuple[Tensor, Any]
"""What a representation makes of images: a tensor, or a pair of which only the first takes part in a swap."""


def upsampled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, 1, h, w) at another size, bilinearly; as two products, several times quicker here than interpolation."""
    down, across = _lines(maps.shape[-2], size[0]), _lines(maps.shape[-1], size[1])
    return down.to(maps.device) @ maps @ across.to(maps.device).T


@lru_cache(maxsize=64)
def _lines(few: int, many: int) -> Tensor:
    """(many, few): what each of many lines takes from few, by linear interpolation between the cells' middles."""
    identity = torch.eye(few).view(1, few, few, 1)
    return functional.interpolate(identity, (many, 1), mode="bilinear", align_corners=False)[0, :, :, 0].T.contiguous()


class Codec:
    """A representation ready to swap with: its two functions, looked up once."""

    joins = True
    """Whether a donor's own gate joins the image's in views: places of a transplant mean the same in both."""

    def __init__(self, record: Representation) -> None:
        self.record = record
        self.name = record.name
        self.gate = record.gate
        self._encode = record.function("encode")
        self._decode = record.function("decode")

    def encode(self, images: Tensor, where: Tensor | None = None) -> Encoding:
        """T(images); a regional representation looks at ``where`` only."""
        if self.record.regional and where is not None:
            return self._encode(images, where=where)
        return self._encode(images)

    def swap(
        self,
        images: Tensor,
        donors: Tensor | Encoding,
        gate: Tensor | None = None,
        where: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """``swap_T(images, donors; gate)``, differentiable in the gate.

        Args:
            images: Floats in [0, 1] (B, 3, H, W).
            donors: The same; or their encoding, a pair.
            gate: What is taken over, in [0, 1]: (B, 1, h, w) for a place gate (any grid, upsampled bilinearly),
                (B, C) for a channel gate, booleans at the encoding's resolution, None to take over everything.
            where: Places the swap may touch, of the images and of the donors, (B, 1, H, W) in [0, 1] each.

        Returns:
            Floats in [0, 1] (B, 3, H, W).
        """
        return self.mixer(images, donors, where)(gate)

    def mixer(
        self, images: Tensor, donors: Tensor | Encoding, where: tuple[Tensor, Tensor] | None = None
    ) -> Callable[[Tensor | None], Tensor]:
        """:meth:`swap` as a function of the gate alone: what does not depend on it is computed once."""
        mine = self.encode(images, None if where is None else where[0])
        theirs = donors
        if isinstance(donors, Tensor):
            theirs = self.encode(donors, None if where is None else where[1])
        return lambda gate: self._join(images, mine, theirs, gate, where)

    def _join(
        self,
        images: Tensor,
        mine: Encoding,
        theirs: Encoding,
        gate: Tensor | None,
        where: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        swapped = self._decode(_mix(mine, theirs, gate))
        if not swapped.requires_grad:  # while a gate is being dreamed a little overshoot does no harm, a clamp costs
            swapped = swapped.clamp(0, 1)
        if where is not None:
            swapped = images + where[0] * (swapped - images)
        return swapped


class RegionalCodec(Codec):
    """A whole-image representation exchanged in places only: below a feature, whose places are not the whole image.

    The gate is a place gate: it says which places of the image change, and over which its encoding is taken. The
    donor's encoding is taken over the donor's own places, wherever they are.
    """

    joins = False

    def __init__(self, record: Representation) -> None:
        super().__init__(record)
        self.gate = "place"

    def mixer(
        self, images: Tensor, donors: Tensor | Encoding, where: tuple[Tensor, Tensor] | None = None
    ) -> Callable[[Tensor | None], Tensor]:
        """``swap_T`` inside the gate; ``where`` gives the donors' places as its second part."""
        assert where is not None
        theirs = self.encode(donors, where[1]) if isinstance(donors, Tensor) else donors

        def swap(gate: Tensor | None) -> Tensor:
            inside = _spread(gate, images)
            assert isinstance(inside, Tensor)
            inside = inside.to(images.dtype)
            return self._join(images, self.encode(images, inside), theirs, None, (inside, where[1]))

        return swap


def _mix(mine: Encoding, theirs: Encoding, gate: Tensor | None) -> Encoding:
    if isinstance(mine, tuple):
        assert isinstance(theirs, tuple)
        mixed = _mix(mine[0], theirs[0], gate)
        assert isinstance(mixed, Tensor)
        return mixed, mine[1]
    assert isinstance(theirs, Tensor)
    if gate is not None and gate.dtype is torch.bool:
        return torch.where(_spread(gate, mine), theirs, mine)  # type: ignore[arg-type]
    return mine + _spread(gate, mine) * (theirs - mine)


def _spread(gate: Tensor | None, encoding: Tensor) -> Tensor | float:
    """The gate in the encoding's shape."""
    if gate is None:
        return 1.0
    if gate.ndim == 2:
        return gate.reshape(gate.shape + (1,) * (encoding.ndim - 2))
    if gate.shape[-2:] == encoding.shape[-2:]:
        return gate
    return upsampled(gate, (encoding.shape[-2], encoding.shape[-1]))
