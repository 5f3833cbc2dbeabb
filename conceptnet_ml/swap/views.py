"""The swap: an image takes over from a donor what a gate lets through, and keeps the rest.

``swap_T(x, d; g) = T⁻¹( T(x) + g ⊙ (T(d) − T(x)) )`` for a representation T; a *view* is a training image with its own
label after the swaps of all kept rounds, each with fresh random donors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.network.training import to_float
from conceptnet_ml.swap.representation import Codec, Encoding, upsampled

STATISTICS = 256
"""A whole-image swap that takes over at most so many numbers has them kept for every image."""

KEPT_REGIONS = 2**29
"""Up to so many pixels (a byte each) a swap keeps its open regions at image resolution instead of growing them anew."""


def open_cells(gates: Tensor, size: tuple[int, int], threshold: float, grow: int) -> Tensor:
    """Soft coarse gates to hard ones at image resolution, grown by ``grow`` px (a feature's context reaches beyond its
    most telling pixels).

    Args:
        gates: (B, 1, h, w) in [0, 1].
        size: Height and width of the image.

    Returns:
        (B, 1, H, W) floats, 0 or 1.
    """
    hard = (upsampled(gates.float(), size) > threshold).float()
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
    """Training images after all kept swaps; a :class:`~conceptnet_ml.network.training.ViewMaker`.

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
