"""Images with labels: in memory or read from their files when wanted, the same to whoever asks for them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from conceptnet_ml.errors import DataError, PluginError, SettingsError
from conceptnet_ml.runtime import seed_for
from conceptnet_ml.settings import DataSettings, Settings

if TYPE_CHECKING:
    from conceptnet_ml.planted import Truth
    from conceptnet_ml.plugins import Plugins


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


@dataclass(frozen=True)
class Data:
    """What is learned from and judged by.

    Args:
        name: As the settings name it.
        classes: Names, in the order of the labels.
        train: The training images; a trap is already laid in them.
        tests: ``test`` is the plain test set; telling sets and a trap's sets stand beside it.
        notes: Sentences for the summary: what was converted, split or left out.
        skipped: Unreadable images that were left out.
        worlds: Where there is a trap, other worlds with the same images, each made when it is first asked for and then
            kept: ``unbiased``, the training images with a random cue for each trap; ``turned train`` and
            ``turned test``, numbered as ``train`` and ``test``, with one random cue for all traps that is the label.
        truth: Where the maker planted features and says so: what they are. Only for judging, no step looks at it.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageSet
    tests: dict[str, ImageSet]
    notes: tuple[str, ...] = ()
    skipped: int = 0
    worlds: Mapping[str, Callable[[], ImageSet]] = field(default_factory=dict)
    truth: Truth | None = None
    shape: tuple[int, int, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", self.train.shape)


def load_data(settings: Settings, plugins: Plugins) -> Data:
    """Load what ``settings.data`` names, limit it and lay its trap.

    The source is ``NAME`` or ``NAME:ARGUMENT``; everything random derives from ``settings.seed``.

    Raises:
        DataError: The images cannot be used, or do not suit the trap; names the file and the mend.
        SettingsError: An unknown data set, class or trap, or an argument it does not take.
        PluginError: The data set's plugin returned something else than data.
    """
    from conceptnet_ml.traps import check_traps, lay_traps

    parts = trap_parts(settings.data.trap)
    traps = [plugins.get("trap", name) for name, _ in parts]
    check_traps(traps, dict(parts), settings.data)

    @functools.cache
    def others(source: str, classes: tuple[str, ...] | None = None) -> Data:
        changes = {"source": source, "classes": classes, "trap": "none", "train_limit": None, "image_size": None}
        return load_source(settings.data.model_copy(update=changes), settings.seed, plugins)

    data = load_source(settings.data, settings.seed, plugins)
    train = limited(data.train, settings.data.train_limit, settings.seed)
    # A data set's own worlds are numbered as all of its training images.
    data = replace(data, train=train, worlds=data.worlds if len(train) == len(data.train) else {})
    check_counts(data.name, data.classes, data.train.labels, settings.data.minimum)
    return lay_traps(data, traps, settings.seed, dict(parts), settings.data.exceptions, others)


def load_source(settings: DataSettings, seed: int, plugins: Plugins) -> Data:
    """The data set ``settings.source`` names, of the classes ``settings.classes`` names, without limit and trap.

    Raises:
        DataError, SettingsError, PluginError: As :func:`load_data`.
    """
    from conceptnet_ml.classes import of_classes

    name, _, argument = settings.source.partition(":")
    data = plugins.get("dataset", name).function("load")(argument, settings, seed)
    if not isinstance(data, Data) or "test" not in data.tests:
        raise PluginError(f"dataset '{name}': load() must return Data with a test set called 'test'.")
    return of_classes(data, settings.classes)


def trap_parts(text: str) -> list[tuple[str, str]]:
    """``"none"`` → [], ``"A+B:c"`` → [("A", ""), ("B", "c")]; ``++`` stands for a plus within an argument.

    Raises:
        SettingsError: An empty name, or one name twice.
    """
    if text in ("", "none"):
        return []
    parts = [part.replace("++", "+").strip() for part in re.split(r"(?<!\+)\+(?!\+)", text)]
    named = [(name.strip(), argument.strip()) for name, _, argument in (part.partition(":") for part in parts)]
    names = [name for name, _ in named]
    if "" in names or len(set(names)) < len(names):
        raise SettingsError(
            f"data.trap '{text}': each part needs a name of its own.", "Write NAME or A+B, as in wheels+tint."
        )
    return named


def trap_names(text: str) -> list[str]:
    """``"none"`` → [], ``"A+B:c"`` → ["A", "B"]; raises as :func:`trap_parts`."""
    return [name for name, _ in trap_parts(text)]


def check_counts(name: str, classes: tuple[str, ...], labels: Tensor, least: int) -> None:
    """Refuse data nothing can be learned from.

    Raises:
        DataError: Fewer than two classes, or a class with fewer than ``least`` training images.
    """
    if len(classes) < 2:
        raise DataError(f"{name} has one class only ({', '.join(classes)}).", "Give it at least two classes.")
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    few = [f"'{c}' has {n}" for c, n in zip(classes, counts, strict=True) if n < least]
    if few:
        shown = ", ".join(few[:10]) + (f" and {len(few) - 10} more classes" if len(few) > 10 else "")
        raise DataError(
            f"{name}: too few training images: {shown}; each class needs at least {least}.",
            "Add images to these classes or take the classes out.",
        )


def too_large(train: int, test: int, size: int, settings: DataSettings) -> bool:
    """Whether so many square images of ``size`` px are to be streamed, with the copies a trap makes of them."""
    held = train + test if settings.trap == "none" else 2 * train + 5 * test
    return held * 3 * size * size > settings.memory * 2**30


def limited(images: ImageSet, limit: int | None, seed: int) -> ImageSet:
    """At most ``limit`` images of each class, drawn by the seed, in their old order."""
    if limit is None:
        return images
    kept = []
    for label in images.labels.unique().tolist():
        places = torch.nonzero(images.labels == label).flatten()
        generator = torch.Generator().manual_seed(seed_for(seed, "train_limit", label))
        kept.append(places[torch.randperm(len(places), generator=generator)[:limit]])
    return images.subset(torch.cat(kept).sort().values)


def split_by_class(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split positions into (train, test), ``share`` of each class to the test, at least one image.

    Returns:
        Two sorted int64 tensors of positions.
    """
    test = []
    for label in labels.unique().tolist():
        places = torch.nonzero(labels == label).flatten()
        generator = torch.Generator().manual_seed(seed_for(seed, "split", label))
        count = max(1, round(share * len(places)))
        test.append(places[torch.randperm(len(places), generator=generator)[:count]])
    chosen = torch.cat(test).sort().values
    rest = torch.ones(len(labels), dtype=torch.bool)
    rest[chosen] = False
    return torch.nonzero(rest).flatten(), chosen


def _labels(labels: Tensor, count: int) -> Tensor:
    if labels.shape != (count,):
        raise ValueError(f"labels have shape {tuple(labels.shape)}, expected ({count},)")
    return labels.to(device="cpu", dtype=torch.int64)


def _select(masks: Mapping[str, Tensor], indices: Tensor) -> dict[str, Tensor]:
    return {name: mask[indices] for name, mask in masks.items()}
