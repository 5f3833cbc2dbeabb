"""Images with labels, in memory or read from their files when they are used; both have the same interface."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from conceptnet_ml.data.files import MEGAPIXELS, Picture, read_image

Set = TypeVar("Set", bound="ImageSet")

Change = Callable[[Tensor, Tensor], Tensor]
"""``change(images, items) -> images``: what is planted in streamed images after they were read."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of test images on which accuracy is measured by themselves; no step of learning sees them.

    Args:
        names: Of the groups, as in "car, wheels of dog".
        numbers: int64 (N,), each image's place in ``names``, -1 for an image in no group.

    Raises:
        ValueError: Numbers that are no places in ``names``.
    """

    names: tuple[str, ...]
    numbers: Tensor

    def __post_init__(self) -> None:
        if self.numbers.dtype != torch.int64 or self.numbers.ndim != 1:
            raise ValueError(f"groups must be int64 (N,), not {self.numbers.dtype} {tuple(self.numbers.shape)}")
        if len(self.numbers) and not -1 <= int(self.numbers.min()) <= int(self.numbers.max()) < len(self.names):
            raise ValueError(f"numbers of groups must be from -1 to {len(self.names) - 1}")

    @staticmethod
    def of(names: Sequence[str | None]) -> Groups:
        """Groups from the name of each image's group, None for none, in the order in which they first occur."""
        known = tuple(dict.fromkeys(name for name in names if name is not None))
        number = {name: place for place, name in enumerate(known)}
        return Groups(known, torch.tensor([-1 if name is None else number[name] for name in names], dtype=torch.int64))

    def subset(self, indices: Tensor) -> Groups:
        """The groups of the images at these positions."""
        return replace(self, numbers=self.numbers[indices])


class ImageSet:
    """Labelled images held as one tensor.

    Args:
        images: uint8 (N, C, H, W), on any device; C is three but for data of other channels.
        labels: (N,) class numbers; kept as int64 on the CPU.
        masks: True masks of named parts, each uint8 (N, H, W) of 0 and 1, on the CPU; empty where they are not known.

    Attributes:
        shape: (C, H, W).
        device: Where ``take`` puts its images.
        resident: Whether the images are in memory.
        groups: Groups of the images, set by :meth:`with_groups`; None where there are none.
        files: What the images' files are called, set by :meth:`with_files`; None where they have none.
        held: Of training images, which are held out for the decisions, set by :meth:`with_held`, bool (N,); None where
            a share of every class is drawn.

    Raises:
        ValueError: Shapes or types that do not fit together.
    """

    resident = True
    groups: Groups | None = None
    files: tuple[str, ...] | None = None
    held: Tensor | None = None
    shape: tuple[int, int, int]
    device: torch.device

    def __init__(self, images: Tensor, labels: Tensor, masks: Mapping[str, Tensor] | None = None) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4 or not images.shape[1]:
            raise ValueError(f"images must be uint8 (N, C, H, W), not {images.dtype} {tuple(images.shape)}")
        # Kept as (N, H, W, C), so that a batch becomes channels_last without another copy.
        self._pixels = images.permute(0, 2, 3, 1).contiguous()
        self.shape, self.device = (int(images.shape[1]), int(images.shape[2]), int(images.shape[3])), images.device
        self.labels = _checked_labels(labels, len(images))
        self.masks = dict(masks or {})
        for name, mask in self.masks.items():
            if mask.shape != (len(images), *images.shape[2:]):
                raise ValueError(f"mask '{name}' has shape {tuple(mask.shape)}, not (N, H, W) of its images")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Tensor:
        """All images, uint8 (N, C, H, W)."""
        return self._pixels.permute(0, 3, 1, 2)

    def take(self, indices: Tensor) -> Tensor:
        """The images at these positions, uint8 (B, C, H, W) on the set's device."""
        return self._pixels.index_select(0, indices.to(self._pixels.device)).permute(0, 3, 1, 2)

    def subset(self, indices: Tensor) -> ImageSet:
        """The images at these positions, in this order, as a set of their own."""
        indices = indices.cpu()
        masks = {name: mask[indices] for name, mask in self.masks.items()}
        part = ImageSet(self.take(indices), self.labels[indices], masks)
        return part._described(**self._descriptions_at(indices))

    def with_labels(self, labels: Tensor) -> ImageSet:
        """The same images under other class numbers (N,)."""
        return ImageSet(self.images, labels, self.masks).described_as(self)

    def with_groups(self: Set, groups: Groups | None) -> Set:
        """The same images in these groups.

        Raises:
            ValueError: They are groups of another number of images.
        """
        if groups is not None and len(groups.numbers) != len(self):
            raise ValueError(f"groups of {len(groups.numbers)} images for a set of {len(self)}")
        return self._described(groups=groups, files=self.files, held=self.held)

    def with_files(self: Set, files: Sequence[str] | None) -> Set:
        """The same images from files of these names.

        Raises:
            ValueError: They are names of another number of images.
        """
        if files is not None and len(files) != len(self):
            raise ValueError(f"names of {len(files)} files for a set of {len(self)}")
        return self._described(groups=self.groups, files=None if files is None else tuple(files), held=self.held)

    def with_held(self: Set, held: Tensor | None) -> Set:
        """The same training images, of which those where ``held``, bool (N,), is true are held out.

        Raises:
            ValueError: It says so of another number of images.
        """
        if held is not None and (held.dtype != torch.bool or held.shape != (len(self),)):
            raise ValueError(f"held must be bool ({len(self)},), not {held.dtype} {tuple(held.shape)}")
        return self._described(groups=self.groups, files=self.files, held=held)

    def described_as(self: Set, other: ImageSet) -> Set:
        """The images with what another set says of as many images: their groups and files, which are held out."""
        return self.with_groups(other.groups).with_files(other.files).with_held(other.held)

    def to(self, device: torch.device | str) -> ImageSet:
        """The same set with its images on ``device``; labels and masks stay on the CPU."""
        return ImageSet(self.images.to(device), self.labels, self.masks).described_as(self)

    def _described(self: Set, groups: Groups | None, files: tuple[str, ...] | None, held: Tensor | None) -> Set:
        described = copy.copy(self)
        described.groups, described.files, described.held = groups, files, held
        return described

    def _descriptions_at(self, indices: Tensor) -> dict[str, Any]:
        """What is said of the images at these positions."""
        return {
            "groups": None if self.groups is None else self.groups.subset(indices),
            "files": None if self.files is None else tuple(self.files[place] for place in indices.tolist()),
            "held": None if self.held is None else self.held[indices],
        }


@dataclass(frozen=True)
class PictureFiles:
    """Reads picture files by their number, at a size (H, W) in px, of at most so many millions of pixels each. Unlike a
    function within another it can be pickled.
    """

    files: Sequence[Picture]
    size: tuple[int, int]
    most: float = MEGAPIXELS

    def __call__(self, item: int) -> Tensor:
        return read_image(self.files[item], self.size, self.most)


@dataclass(frozen=True)
class _Numbered:
    """``read`` of the item at a position."""

    read: Callable[[int], Tensor]
    items: Tensor

    def __call__(self, place: int) -> Tensor:
        return self.read(int(self.items[place]))


class StreamedImages(ImageSet):
    """Images read by a pool of threads whenever they are taken; nothing is kept.

    Args:
        read: ``read(item) -> uint8 (C, H, W)`` on the CPU, safe to call from several threads.
        items: (N,) int64, what ``read`` is called with for each position.
        labels: (N,) class numbers.
        size: (H, W) of every image that ``take`` returns, or (C, H, W) where C is not three.
        changes: Applied to what was read, in order, with the images' items.
        threads: Files read at a time.
    """

    resident = False

    def __init__(
        self,
        read: Callable[[int], Tensor],
        items: Tensor,
        labels: Tensor,
        size: tuple[int, int] | tuple[int, int, int],
        changes: tuple[Change, ...] = (),
        threads: int = 8,
        device: torch.device | str = "cpu",
    ) -> None:
        self.read, self.items, self.changes, self.threads = read, items, changes, threads
        self.shape, self.device = (3, *size) if len(size) == 2 else size, torch.device(device)
        self.labels = _checked_labels(labels, len(items))
        self.masks: dict[str, Tensor] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._pid = 0

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_pool": None}

    def take(self, indices: Tensor) -> Tensor:
        """Read the images at these positions; cost: one file decoded per image, ``threads`` at a time."""
        if self._pool is None or self._pid != os.getpid():  # threads do not live on in a forked child
            self._pool, self._pid = ThreadPoolExecutor(self.threads), os.getpid()
        items = self.items[indices.cpu()]
        if not len(items):
            return torch.empty((0, *self.shape), dtype=torch.uint8, device=self.device)
        images = torch.stack(list(self._pool.map(self.read, items.tolist())))
        for change in self.changes:
            images = change(images, items)
        return images.to(self.device, non_blocking=True)

    def subset(self, indices: Tensor) -> StreamedImages:
        """The images at these positions, in this order, still read only when taken."""
        indices = indices.cpu()
        return self._copy(items=self.items[indices], labels=self.labels[indices], **self._descriptions_at(indices))

    def with_labels(self, labels: Tensor) -> StreamedImages:
        """The same images under other class numbers (N,)."""
        return self._copy(labels=_checked_labels(labels, len(self)))

    def to(self, device: torch.device | str) -> StreamedImages:
        """The same set, its images taken to ``device``."""
        return self._copy(device=torch.device(device))

    def with_change(self, change: Change, size: tuple[int, int]) -> StreamedImages:
        """The set with items 0..N−1 and ``change(images, items)`` applied to what is taken, whose size is then (H, W).

        So a change that was made for a set can look its images up by position in all its subsets.
        """
        items, changes = self.items, (*self.changes, change)
        numbered = self._copy(read=_Numbered(self.read, items), items=torch.arange(len(items)))
        return numbered._copy(changes=changes, shape=(self.shape[0], *size))

    def _copy(self, **changed: Any) -> StreamedImages:
        """The set with other attributes, and threads of its own."""
        other = copy.copy(self)
        vars(other).update(changed, _pool=None)
        return other


def _checked_labels(labels: Tensor, count: int) -> Tensor:
    if labels.shape != (count,):
        raise ValueError(f"labels have shape {tuple(labels.shape)}, expected ({count},)")
    return labels.to(device="cpu", dtype=torch.int64)
