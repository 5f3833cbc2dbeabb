"""The swap: an image takes over from a donor what a gate lets through, and keeps the rest.

``swap_T(x, d; g) = T⁻¹( T(x) + g ⊙ (T(d) − T(x)) )`` for a representation T; a *view* is a training image with its own
label after the swaps of all kept rounds, each with fresh random donors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from conceptnet_ml.data import ImageSet
from conceptnet_ml.records import API, Representation
from conceptnet_ml.training import to_float

Encoding = Tensor | tuple[Tensor, Any]
"""What a representation makes of images: a tensor, or a pair of which only the first takes part in a swap."""
STATISTICS = 256
"""A whole-image swap that takes over at most so many numbers has them kept for every image."""
KEPT_REGIONS = 2**29
"""Up to so many pixels (a byte each) a swap keeps its open regions at image resolution instead of growing them anew."""


def _same(images: Tensor) -> Tensor:
    return images


IMAGE = Representation(name="image", api=API, encode=_same, decode=_same, gate="place")
"""The image itself, for what the core asks of places whatever representations are installed."""


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
    return enlarged(gate, (encoding.shape[-2], encoding.shape[-1]))


def enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, 1, h, w) at another size, bilinearly; as two products, several times quicker here than interpolation."""
    down, across = _lines(maps.shape[-2], size[0]), _lines(maps.shape[-1], size[1])
    return down.to(maps.device) @ maps @ across.to(maps.device).T


@lru_cache(maxsize=64)
def _lines(few: int, many: int) -> Tensor:
    """(many, few): what each of many lines takes from few, by linear interpolation between the cells' middles."""
    identity = torch.eye(few).view(1, few, few, 1)
    return functional.interpolate(identity, (many, 1), mode="bilinear", align_corners=False)[0, :, :, 0].T.contiguous()


def open_cells(gates: Tensor, size: tuple[int, int], threshold: float, grow: int) -> Tensor:
    """Soft coarse gates to hard ones at image resolution, grown by ``grow`` px (a feature's context reaches beyond its
    most telling pixels).

    Args:
        gates: (B, 1, h, w) in [0, 1].
        size: Height and width of the image.

    Returns:
        (B, 1, H, W) floats, 0 or 1.
    """
    hard = (enlarged(gates.float(), size) > threshold).float()
    return functional.max_pool2d(hard, 2 * grow + 1, stride=1, padding=grow) if grow else hard


@dataclass(frozen=True)
class Swap:
    """A kept swap: the representation and, for every training image, the gate its probe found.

    Args:
        codec: The representation.
        gates: Soft gates, one per training image: (N, 1, h, w) on the coarse grid, or (N, C); None for no gate.
        threshold, grow: How a soft gate becomes a region; ``grow`` in px.
        regions: (N, 1, h, w) each image's own places, over which a regional swap takes the encoding of a donor.
        name: What it is called in the log.
        widened: How often gates of fresh networks were joined to its own.
    """

    codec: Codec
    gates: Tensor | None
    threshold: float = 0.5
    grow: int = 0
    regions: Tensor | None = None
    name: str = ""
    widened: int = 0
    _opened: dict[tuple[int, int], Tensor] = field(default_factory=dict, repr=False, compare=False)

    def region(self, indices: Tensor, size: tuple[int, int], device: torch.device) -> Tensor | None:
        """The open gate of these images: (B, 1, H, W) booleans at image resolution, or (B, C) for a channel gate."""
        if self.gates is None:
            return None
        if self.gates.ndim == 2:
            return self.gates[indices].to(device) > self.threshold
        if self.gates.shape[0] * size[0] * size[1] > KEPT_REGIONS:
            return open_cells(self.gates[indices].to(device), size, self.threshold, self.grow).bool()
        if size not in self._opened:
            parts = (open_cells(part, size, self.threshold, self.grow).bool() for part in self.gates.split(1024))
            self._opened[size] = torch.cat(list(parts)).to(device)
        return self._opened[size].index_select(0, indices.to(self._opened[size].device)).to(device)

    def places(self, indices: Tensor, size: tuple[int, int], device: torch.device) -> Tensor:
        """These images' own places, (B, 1, H, W), 0 or 1."""
        assert self.regions is not None
        return open_cells(self.regions[indices].to(device), size, self.threshold, 0)

    def apply(self, images: Tensor, donors: Tensor | Encoding, indices: Tensor, donor_indices: Tensor) -> Tensor:
        """My feature out, yours in: the region is the image's own gate joined with the donor's.

        Args:
            images: Views so far, floats in [0, 1] (B, 3, H, W).
            donors: The same of the donors, or their encoding.
            indices, donor_indices: Their image numbers, (B,).
        """
        size, device = (images.shape[-2], images.shape[-1]), images.device
        gate = self.region(indices, size, device)
        if gate is not None and self.codec.joins:
            theirs = self.region(donor_indices, size, device)
            assert theirs is not None
            gate = gate | theirs
        where = None
        if self.regions is not None:
            where = (self.places(indices, size, device), self.places(donor_indices, size, device))
        return self.codec.swap(images, donors, gate, where)


class Donors:
    """Draws donors among the images of a pool, by class.

    Args:
        labels: Class of every image.
        pool: Numbers of the images drawn from.
        classes: How many classes there are.
        partners: (classes, m) the classes that count as another for each class; None for all others.
    """

    def __init__(self, labels: Tensor, pool: Tensor, classes: int, partners: Tensor | None = None) -> None:
        self.labels = labels
        self.partners = partners
        self.classes = classes
        self.pool = pool
        self._members = [pool[labels[pool] == c] for c in range(classes)]

    def of(self, classes: Tensor, generator: torch.Generator) -> Tensor:
        """One random image of each of the given classes, (B,) image numbers."""
        drawn = torch.rand(len(classes), generator=generator, dtype=torch.float64)
        picked = torch.empty_like(classes)
        for c, members in enumerate(self._members):
            mine = classes == c
            picked[mine] = members[(drawn[mine] * len(members)).long()]
        return picked

    def uniform(self, count: int, generator: torch.Generator) -> Tensor:
        """Classes drawn uniformly from all, an image's own included, else the cue would still tell the label."""
        return self.of(torch.randint(self.classes, (count,), generator=generator), generator)

    def foreign(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        """One random image of another class for each."""
        if self.partners is not None:
            chosen = torch.randint(self.partners.shape[1], (len(indices),), generator=generator)
            return self.of(self.partners[self.labels[indices], chosen], generator)
        shift = torch.randint(1, self.classes, (len(indices),), generator=generator)
        return self.of((self.labels[indices] + shift) % self.classes, generator)

    def mates(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        """One random image of the same class for each."""
        return self.of(self.labels[indices], generator)


class Views:
    """Training images after all kept swaps; a :class:`~conceptnet_ml.training.ViewMaker`.

    Statistics are exchanged first and transplants made last. The other way round a pasted place would keep its
    donor's statistics relative to the rest of the image, and with them the label: whoever is bluer than his patch is
    red. A later swap pastes the donor's own view, not its raw pixels.

    Args:
        images: All training images, numbered as the swaps' gates are.
        pool: The numbers donors are drawn from and ``__call__`` counts in.
        swaps: The kept swaps.
        classes: Number of classes.
        device: Where the views are made.
        mix: Share of images left as they are.
        partners: Which classes a probe's donor may have, as in :class:`Donors`; views draw from all.
    """

    def __init__(
        self,
        images: ImageSet,
        pool: Tensor,
        swaps: Sequence[Swap],
        classes: int,
        device: torch.device,
        mix: float = 0.0,
        partners: Tensor | None = None,
    ) -> None:
        self.images = images
        self.pool = pool
        self.swaps = sorted(swaps, key=lambda swap: swap.gates is not None and swap.codec.joins)
        self.donors = Donors(images.labels, pool, classes, partners)
        self.device = device
        self.mix = mix
        self._material: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.pool)

    def __call__(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A batch of fresh views of the pool's images number ``indices`` and their labels."""
        numbers = self.pool[indices]
        views = self.of(numbers, generator)
        if self.mix:
            kept = torch.rand(len(numbers), generator=generator) < self.mix
            views = torch.where(kept.to(self.device)[:, None, None, None], self.raw(numbers), views)
        return views, self.images.labels[numbers].to(self.device)

    def of(self, numbers: Tensor, generator: torch.Generator) -> Tensor:
        """One view of each of these images, floats in [0, 1]."""
        return self._after(len(self.swaps), numbers, generator)

    def raw(self, numbers: Tensor) -> Tensor:
        """The images as they are, floats in [0, 1]."""
        return to_float(self.images.take(numbers), self.device)

    def _after(self, count: int, numbers: Tensor, generator: torch.Generator) -> Tensor:
        if count == 0:
            return self.raw(numbers)
        swap = self.swaps[count - 1]
        donors = self.donors.uniform(len(numbers), generator)
        mine = self._after(count - 1, numbers, generator)
        theirs: Tensor | Encoding
        if count == 1 and swap.codec.gate == "whole" and (kept := self._kept(swap)) is not None:
            theirs = (kept[donors.to(kept.device)], kept[:0])
        else:
            theirs = self._after(count - 1, donors, generator)
        with torch.no_grad():
            return swap.apply(mine, theirs, numbers, donors)

    def _kept(self, swap: Swap) -> Tensor | None:
        """What a whole-image swap takes over from each raw image, computed once; None if that is not a few numbers."""
        if id(swap) not in self._material:
            parts = []
            for numbers in torch.arange(len(self.images)).split(256):
                with torch.no_grad():
                    encoding = swap.codec.encode(self.raw(numbers))
                if isinstance(encoding, Tensor) or encoding[0][0].numel() > STATISTICS:
                    return None
                parts.append(encoding[0])
            self._material[id(swap)] = torch.cat(parts)
        return self._material[id(swap)]
