"""Images with labels: in memory or read from their files when wanted, the same to whoever asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

Planter = Callable[[Tensor, Tensor], Tensor]
"""``plant(images, positions)``: changes the images that stand at these positions of the set they were made for."""


class ImageSet:
    """Labelled images held as one tensor.

    Args:
        images: uint8 (N, 3, H, W), on any device.
        labels: (N,) class numbers; kept as int64 on the CPU.
        masks: True masks of named parts, each uint8 (N, H, W) of 0 and 1, on the CPU; empty where nobody knows them.

    Raises:
        ValueError: Shapes or types that do not fit together.
    """

    resident = True

    def __init__(self, images: Tensor, labels: Tensor, masks: Mapping[str, Tensor] | None = None) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be uint8 (N, 3, H, W), not {images.dtype} {tuple(images.shape)}")
        # Channels last at rest, so that a batch is on its way to the network without another copy.
        self._pixels = images.permute(0, 2, 3, 1).contiguous()
        self.labels = _labels(labels, len(images))
        self.masks = dict(masks or {})
        for name, mask in self.masks.items():
            if mask.shape != (len(images), *images.shape[2:]):
                raise ValueError(f"mask '{name}' has shape {tuple(mask.shape)}, not (N, H, W) of its images")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Tensor:
        """All images, uint8 (N, 3, H, W)."""
        return self._pixels.permute(0, 3, 1, 2)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(3, H, W)."""
        return (3, int(self._pixels.shape[1]), int(self._pixels.shape[2]))

    @property
    def device(self) -> torch.device:
        """Where ``take`` puts its images."""
        return self._pixels.device

    @property
    def nbytes(self) -> int:
        """Bytes of memory the images take (or would take, for streamed ones)."""
        return len(self) * self.shape[0] * self.shape[1] * self.shape[2]

    def take(self, indices: Tensor) -> Tensor:
        """The images at these positions, uint8 (B, 3, H, W) on the set's device."""
        return self._pixels.index_select(0, indices.to(self._pixels.device)).permute(0, 3, 1, 2)

    def subset(self, indices: Tensor) -> ImageSet:
        """The images at these positions, in this order, as a set of their own."""
        indices = indices.cpu()
        return ImageSet(self.take(indices), self.labels[indices], _select(self.masks, indices))

    def with_labels(self, labels: Tensor) -> ImageSet:
        """The same images under other class numbers (N,)."""
        return ImageSet(self.images, labels, self.masks)

    def to(self, device: torch.device | str) -> ImageSet:
        """The same set with its images on ``device``; labels and masks stay on the CPU."""
        return ImageSet(self.images.to(device), self.labels, self.masks)


class StreamedImages(ImageSet):
    """Images read when they are taken, by a pool of threads; nothing is kept.

    Args:
        read: ``read(item) -> uint8 (3, H, W)`` on the CPU, safe to call from several threads.
        items: (N,) int64, what ``read`` is called with for each position.
        labels: (N,) class numbers.
        size: (H, W) of every image that ``take`` returns: what ``read`` returns, after the planters.
        planters: Applied to what was read, in order, with the images' items.
        threads: Files read at a time.
    """

    resident = False

    def __init__(
        self,
        read: Callable[[int], Tensor],
        items: Tensor,
        labels: Tensor,
        size: tuple[int, int],
        planters: tuple[Planter, ...] = (),
        threads: int = 8,
        device: torch.device | str = "cpu",
    ) -> None:
        self.read, self.items, self.size, self.planters = read, items, size, planters
        self.labels = _labels(labels, len(items))
        self.masks: dict[str, Tensor] = {}
        self._threads, self._device = threads, torch.device(device)
        self._pool: ThreadPoolExecutor | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(3, H, W)."""
        return (3, *self.size)

    @property
    def device(self) -> torch.device:
        """Where ``take`` puts its images."""
        return self._device

    def take(self, indices: Tensor) -> Tensor:
        """Read the images at these positions; cost: one file decoded per image, ``threads`` at a time."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads)
        items = self.items[indices.cpu()]
        if not len(items):
            return torch.empty((0, *self.shape), dtype=torch.uint8, device=self._device)
        images = torch.stack(list(self._pool.map(self.read, items.tolist())))
        for plant in self.planters:
            images = plant(images, items)
        return images.to(self._device, non_blocking=True)

    def subset(self, indices: Tensor) -> StreamedImages:
        """The images at these positions, in this order, still read only when taken."""
        indices = indices.cpu()
        return self._like(items=self.items[indices], labels=self.labels[indices])

    def with_labels(self, labels: Tensor) -> StreamedImages:
        """The same images under other class numbers (N,)."""
        return self._like(labels=labels)

    def to(self, device: torch.device | str) -> StreamedImages:
        """The same set, its images taken to ``device``."""
        return self._like(device=torch.device(device))

    def with_planter(self, planter: Planter, size: tuple[int, int] | None = None) -> StreamedImages:
        """The same set, with ``planter(images, items)`` applied to whatever is taken; ``size`` (H, W) if it changes."""
        return self._like(planters=(*self.planters, planter), size=size or self.size)

    def numbered(self) -> StreamedImages:
        """The same set with items 0..N-1, so that a planter can look its images up by position."""
        items, read = self.items, self.read
        return self._like(read=lambda item: read(int(items[item])), items=torch.arange(len(items)))

    def _like(self, **changes: object) -> StreamedImages:
        now: dict = {
            "read": self.read,
            "items": self.items,
            "labels": self.labels,
            "size": self.size,
            "planters": self.planters,
            "threads": self._threads,
            "device": self._device,
        }
        return StreamedImages(**(now | changes))


def _labels(labels: Tensor, count: int) -> Tensor:
    if labels.shape != (count,):
        raise ValueError(f"labels have shape {tuple(labels.shape)}, expected ({count},)")
    return labels.to(device="cpu", dtype=torch.int64)


def _select(masks: Mapping[str, Tensor], indices: Tensor) -> dict[str, Tensor]:
    return {name: mask[indices] for name, mask in masks.items()}
