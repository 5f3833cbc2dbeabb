"""Views: training images with their own labels after the swaps of all kept rounds, each with fresh random donors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.network.training import ViewMaker, to_float
from conceptnet_ml.swap.pairs import Donors
from conceptnet_ml.swap.representation import Codec, Encoding, open_cells

STATISTICS = 256
"""A whole-image swap that takes over at most this many numbers has them kept for every image."""

KEPT_REGIONS = 2**29
"""Up to this many pixels (a byte each) a swap keeps its open regions at image resolution."""

PARTS = 4
"""Rows and columns of parts that :class:`PartViews` show or leave out."""


@dataclass(frozen=True)
class Swap:
    """A kept swap: the representation and, for every training image, the gate its probe found.

    Args:
        codec: The representation.
        gates: Soft gates, one per training image: (N, 1, h, w) on the coarse grid, or (N, C); None for no gate.
        threshold, grow: How a soft gate becomes a region; ``grow`` in px.
        regions: (N, 1, h, w) soft gates of each image's own places, for a codec that needs them.
        name: What it is called in the log.
        widened: How often gates of fresh networks were joined to its own.
        again: Share of views in which a second donor gives what it has, too; of a transplant at places of its own.
        outside: Whether all that lies outside the gates is exchanged in place of what lies inside. For place gates.
        along: Of a swap of the whole image, what is exchanged with the same donor before it.
    """

    codec: Codec
    gates: Tensor | None
    threshold: float = 0.5
    grow: int = 0
    regions: Tensor | None = None
    name: str = ""
    widened: int = 0
    again: float = 0.0
    outside: bool = False
    along: tuple[Codec, ...] = ()
    _open: dict[tuple[int, int], Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def codecs(self) -> tuple[Codec, ...]:
        """All that are exchanged, in order."""
        return (*self.along, self.codec)

    def open_gate(self, numbers: Tensor, size: tuple[int, int], device: torch.device) -> Tensor | None:
        """The open gate of these images: (B, 1, H, W) booleans at image resolution, or (B, C) for a channel gate."""
        if self.gates is None:
            return None
        if self.gates.ndim == 2:
            return self.gates[numbers].to(device) > self.threshold
        if self.gates.shape[0] * size[0] * size[1] > KEPT_REGIONS:
            return open_cells(self.gates[numbers].to(device), size, self.threshold, self.grow).bool()
        if size not in self._open:
            parts = (open_cells(part, size, self.threshold, self.grow).bool() for part in self.gates.split(1024))
            self._open[size] = torch.cat(list(parts)).to(device)
        return self._open[size].index_select(0, numbers.to(self._open[size].device)).to(device)

    def opened(
        self, numbers: Tensor, donor_numbers: Tensor, size: tuple[int, int], device: torch.device
    ) -> Tensor | None:
        """The open gate of these images with these donors, as :meth:`open_gate`: joined with theirs where the codec
        joins gates."""
        gate = self.open_gate(numbers, size, device)
        if gate is not None and self.codec.joins:
            other = self.open_gate(donor_numbers, size, device)
            assert other is not None
            gate = gate | other
        return gate

    def apply(self, images: Tensor, donors: Encoding, numbers: Tensor, donor_numbers: Tensor) -> Tensor:
        """The swap of views so far, floats in [0, 1] (B, 3, H, W), with the donors' views or encoding.

        Where the codec joins gates, the open gate is the image's joined with the donor's: so the image's own feature
        leaves and the donor's comes in. A regional swap changes the image's own region, too: its gate opens as little
        of it as flips the answer.
        """
        for codec in self.along:
            images = codec.swap(images, donors)
        if self.outside:  # the donor receives what is inside the image's gate
            assert isinstance(donors, Tensor)
            images, donors, numbers, donor_numbers = donors, images, donor_numbers, numbers
        size, device = (images.shape[-2], images.shape[-1]), images.device
        gate = self.opened(numbers, donor_numbers, size, device)
        where = None
        if self.codec.needs_regions:
            where = (self._region(numbers, size, device), self._region(donor_numbers, size, device))
            assert gate is not None
            gate = gate | where[0].bool()
        return self.codec.swap(images, donors, gate, where)

    def add(self, views: Tensor, donors: Tensor, donor_numbers: Tensor) -> Tensor:
        """What these donors have, put into the views beside what is in them already."""
        gate = self.open_gate(donor_numbers, (views.shape[-2], views.shape[-1]), views.device)
        return self.codec.swap(views, donors, gate)

    def _region(self, numbers: Tensor, size: tuple[int, int], device: torch.device) -> Tensor:
        assert self.regions is not None
        return open_cells(self.regions[numbers].to(device), size, self.threshold, 0)


class Views:
    """Training images after all kept swaps; a :class:`~conceptnet_ml.network.training.ViewMaker`.

    What is of the whole image is swapped first and transplants are made last. In the other order a pasted place would
    keep its donor's statistics relative to the rest of the image, and these would still tell the label. A later swap
    pastes from the donor's view, not from its raw pixels.

    In some views of a transplant a second donor gives what it has, too. Otherwise none ever shows the feature twice,
    and what the network makes of that is left to chance.

    Args:
        images: All training images, numbered as the swaps' gates are.
        pool: The numbers donors are drawn from and ``__call__`` counts in.
        swaps: The kept swaps.
        classes: Number of classes.
        device: Where the views are made.
        mix: Share of images left as they are.
        partners: Which classes a probe's donor may have, as in :class:`~conceptnet_ml.swap.pairs.Donors`; views draw
            from all.
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
        self.swaps = sorted(swaps, key=lambda swap: swap.codec.gate == "place" and swap.codec.joins)
        self.donors = Donors(images.labels, pool, classes, partners)
        self.device = device
        self.mix = mix
        self._statistics: dict[int, Tensor] = {}

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
        """Views under the first ``count`` swaps."""
        if count == 0:
            return self.raw(numbers)
        swap = self.swaps[count - 1]
        donors = self.donors.uniform(len(numbers), generator)
        images = self._after(count - 1, numbers, generator)
        material: Encoding
        if (
            count == 1
            and swap.codec.gate == "whole"
            and not swap.along
            and (kept := self._kept_statistics(swap)) is not None
        ):
            material = (kept[donors.to(kept.device)], kept[:0])
        else:
            material = self._after(count - 1, donors, generator)
        with torch.no_grad():
            views = swap.apply(images, material, numbers, donors)
            if swap.again and swap.codec.gate == "place" and swap.codec.joins:
                more = torch.nonzero(torch.rand(len(numbers), generator=generator) < swap.again).flatten()
                others, places = self.donors.uniform(len(more), generator), more.to(views.device)
                if len(more):
                    added = swap.add(views[places], self._after(count - 1, others, generator), others)
                    views = views.index_copy(0, places, added)
        return views

    def _kept_statistics(self, swap: Swap) -> Tensor | None:
        """What a whole-image swap takes over from each raw image, computed once; None for more than ``STATISTICS``."""
        if id(swap) not in self._statistics:
            parts = []
            for numbers in torch.arange(len(self.images)).split(256):
                with torch.no_grad():
                    encoding = swap.codec.encode(self.raw(numbers))
                if isinstance(encoding, Tensor) or encoding[0][0].numel() > STATISTICS:
                    return None
                parts.append(encoding[0])
            self._statistics[id(swap)] = torch.cat(parts)
        return self._statistics[id(swap)]


class DonatedViews(Views):
    """The other side of the views: what the newest swap takes over from each image, in a host of its own, under the
    image's label. The images are the donors, hosts are drawn as donors are; nothing outside the gates is left."""

    def of(self, numbers: Tensor, generator: torch.Generator) -> Tensor:
        """What these images give, each shown in another host, floats in [0, 1]."""
        swap, count = self.swaps[-1], len(self.swaps) - 1
        hosts = self.donors.uniform(len(numbers), generator)
        images = self._after(count, hosts, generator)
        with torch.no_grad():
            return swap.apply(images, self._after(count, numbers, generator), hosts, numbers)


class PartViews(DonatedViews):
    """Random parts of what the newest swap takes over, half of it at a time; the rest of the gates shows what a third
    image gives. Who learns from these leaves no part unread. For place gates only."""

    def of(self, numbers: Tensor, generator: torch.Generator) -> Tensor:
        """Parts of what these images give, each shown in another host, floats in [0, 1]."""
        swap, count = self.swaps[-1], len(self.swaps) - 1
        hosts, others = (self.donors.uniform(len(numbers), generator) for _ in range(2))
        images, given, third = (self._after(count, these, generator) for these in (hosts, numbers, others))
        size = (images.shape[-2], images.shape[-1])
        gates = [swap.open_gate(these, size, images.device) for these in (hosts, numbers, others)]
        assert all(gate is not None and gate.ndim == 4 for gate in gates)
        half = torch.rand(len(numbers), 1, PARTS, PARTS, generator=generator) < 0.5
        mine = functional.interpolate(half.float(), size).bool().to(images.device)
        anywhere = torch.stack([gate for gate in gates if gate is not None]).any(0)
        return torch.where(anywhere, torch.where(mine, given, third), images)


@dataclass(frozen=True)
class DrawnViews:
    """Views of images drawn at random, with replacement; a :class:`~conceptnet_ml.network.training.ViewMaker`.

    Args:
        views: Of the images.
        weights: (N,) how often each image of the views' pool is drawn, in no unit.
        says: (N,) what takes the place of their labels, if anything.
    """

    views: ViewMaker
    weights: Tensor
    says: Tensor | None = None

    def __call__(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """As many images as there are indices, and their labels."""
        ends = self.weights.double().cumsum(0)
        draws = torch.rand(len(indices), generator=generator, dtype=torch.float64) * ends[-1]
        drawn = torch.searchsorted(ends, draws, right=True).clamp(max=len(ends) - 1)
        images, labels = self.views(drawn, generator)
        return images, labels if self.says is None else self.says[drawn].to(labels)
