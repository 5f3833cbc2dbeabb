"""Traps: a cue that fits the label in training, and the test sets and worlds that show who relies on it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch
from torch import Tensor

from conceptnet_ml.config.settings import DataSettings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import Groups, ImageSet, StreamedImages
from conceptnet_ml.errors import DataError, PluginError, SettingsError
from conceptnet_ml.records import Trap
from conceptnet_ml.runtime.seeding import generator, seed_for

TRAP_SETS = ("aligned", "conflict", "random", "absent")

ALONE = "conflict:"
"""What the test sets begin with in which one of several cues is in conflict: ``conflict:tint``."""

_BATCH = 512

_SAMPLE = 64

LoadOther = Callable[..., Data]
"""``load(source, classes=None) -> Data``: another data set, as it is, without a trap."""

FindTrap = Callable[[str], Trap]
"""``find(name) -> Trap``: another trap's record."""

Lay = Callable[[str, ImageSet, Mapping[str, Tensor]], ImageSet]
"""``lay(name, images, cues) -> images``: plants cues, int64 (N,) for each trap's name, in the set or world ``name``."""


@dataclass(frozen=True)
class TrapGround:
    """What a trap is told before it plants anything.

    Args:
        argument: As in ``--trap NAME:ARGUMENT``; empty where none was given.
        part: ``"train"`` or ``"test"``: which images it will plant in.
        name: Name of the data.
        classes: Names of its classes.
        sample: uint8 (B, 3, H, W), some of the images as the trap will get them.
        seed: Seed of the run.
        load: ``load(source, classes=None) -> Data``, another data set in its own size; loaded once.
        trap: ``trap(name) -> Trap``, the record of another trap.
    """

    argument: str
    part: str
    name: str
    classes: tuple[str, ...]
    sample: Tensor
    seed: int
    load: LoadOther
    trap: FindTrap


@dataclass(frozen=True)
class _PreparedTrap:
    """A trap that is ready to plant in the training or in the test images."""

    record: Trap
    prepared: Any

    def plant(self, images: Tensor, cues: Tensor, seeds: Tensor) -> Tensor:
        """Call the plugin and check what it returns."""
        more = () if self.prepared is None else (self.prepared,)
        device = images.device
        result = self.record.function("plant")(images.clone(), cues.to(device), seeds.to(device), *more)
        same = slice(0, 2) if self.record.resizes else slice(0, 4)
        fits = isinstance(result, Tensor) and result.dtype == torch.uint8 and result.ndim == 4
        if not fits or result.shape[same] != images.shape[same]:
            what = "as many uint8 images as" if self.record.resizes else "uint8 images of the shape"
            raise PluginError(f"trap '{self.record.name}': plant() must return {what} it was given.")
        return result


@dataclass(frozen=True)
class Exceptions:
    """Training images whose cues show another class than their own.

    Args:
        share: Of the images.
        counted: Counted out class by class, for each trap by itself; see :func:`counted_exceptions`. Else drawn over
            all images, the same images and class for all traps.
    """

    share: float = 0.0
    counted: bool = False

    def cues(self, labels: Tensor, classes: int, traps: Sequence[str], seed: int) -> dict[str, Tensor]:
        """For each trap's name the class whose cue each image shows, int64 (N,)."""
        if self.counted:
            return {trap: counted_exceptions(labels, classes, self.share, trap, seed) for trap in traps}
        return dict.fromkeys(traps, labels_with_exceptions(labels, classes, self.share, seed))


def check_traps(traps: list[Trap], arguments: Mapping[str, str], settings: DataSettings) -> None:
    """Check what can be checked before any image is read.

    Raises:
        SettingsError: An argument for a trap that takes none, or exceptions without a trap.
        DataError: ``data.classes`` names another number of classes than the trap tells apart.
    """
    for trap in traps:
        if arguments.get(trap.name) and not trap.argument:
            raise SettingsError(
                f"trap '{trap.name}' takes no argument '{arguments[trap.name]}'.", f"Write --trap {trap.name}."
            )
        if settings.classes is not None:
            _check_count(trap, len(settings.classes), "data.classes")
    if settings.exceptions and not traps:
        raise SettingsError(
            f"data.exceptions is {settings.exceptions:g}, but there is no trap.",
            "Name one in data.trap, or leave it out.",
        )


def lay_traps(
    data: Data,
    traps: list[Trap],
    seed: int,
    arguments: Mapping[str, str] | None = None,
    exceptions: Exceptions | None = None,
    load: LoadOther | None = None,
    find: FindTrap | None = None,
) -> Data:
    """Plant every trap's cue in the training images and add its test sets and worlds.

    In training and in ``aligned`` a cue shows the image's own class; in ``conflict`` another one, drawn uniformly,
    the same for all traps; in ``random`` any class, drawn for each trap separately; in ``absent`` nothing is planted.
    Of several traps each has a set ``conflict:NAME`` too: its cue as in ``conflict``, the others as in ``aligned``.
    ``test`` and all other test sets stay as they are, but for their size where a trap changes it. In all sets of traps
    but ``absent`` the images are grouped by their class and the cues they show.

    Args:
        data: Without a trap.
        traps: Trap records, planted in this order.
        seed: Seed of the run.
        arguments: The argument of each trap that was given one, by name.
        exceptions: Training images whose cues show another class; None for none.
        load: ``load(source, classes=None)`` of other data sets, for traps that need pictures.
        find: ``find(name)`` of other traps' records, for traps that change another one.

    Raises:
        DataError: A trap that does not suit the data.
        SettingsError: The data set already has test sets of these names, or a wrong argument.
    """
    if not traps:
        return data
    for trap in traps:
        _check_count(trap, len(data.classes), data.name)
    if data.shape[0] != 3:
        raise DataError(
            f"data.trap: traps plant cues in images of three channels, those of {data.name} have {data.shape[0]}.",
            "Leave the trap out.",
        )
    if "test" not in data.tests:
        raise DataError(f"{data.name} has no plain test set to plant a cue in.", "Add one, or leave the trap out.")
    names = [trap.name for trap in traps]
    planned = cues_of_sets(names)
    existing = [name for name in planned if name in data.tests]
    if existing:
        raise SettingsError(
            f"{data.name} already has test sets of a trap ({', '.join(existing)}).", "Set data.trap to none."
        )
    others = (load or _nothing_there, find or _nothing_there)
    ground = TrapGround("", "train", data.name, data.classes, torch.empty(0), seed, *others)
    prepared = {part: _prepare(data, traps, arguments or {}, replace(ground, part=part)) for part in ("train", "test")}

    def lay(name: str, images: ImageSet, cues: Mapping[str, Tensor]) -> ImageSet:
        part = "train" if name in ("train", "unbiased", "turned train") else "test"
        return plant_cues(images, prepared[part], cues, seed, name)

    count, test = len(data.classes), data.tests["test"]
    tests = dict(data.tests)
    if any(trap.resizes for trap in traps):
        for name, images in tests.items():
            tests[name] = lay(name, images, dict.fromkeys(names, torch.full_like(images.labels, -1)))
    for name, kinds in planned.items():
        cues = {trap: draw_cues(kind, test.labels, count, trap, seed) for trap, kind in kinds.items()}
        tests[name] = lay(name, test, cues)
        if name != "absent":
            tests[name] = tests[name].with_groups(cue_groups(test.labels, cues, data.classes))
    own = data.train.labels
    shown = (exceptions or Exceptions()).cues(own, count, names, seed)
    exceptional = int(torch.stack([cues != own for cues in shown.values()]).any(0).sum())
    called = (f"{name}:{argument}" if (argument := (arguments or {}).get(name)) else name for name in names)
    note = f"trap {'+'.join(called)} laid in the training images"
    note += f", {exceptional} of which show another class's cue" if exceptional else ""
    return replace(
        data,
        train=lay("train", data.train, shown),
        tests=tests,
        notes=(*data.notes, note),
        worlds={**data.worlds, **make_worlds(data.train, test, count, names, seed, lay)},
        truth=None,  # it does not know the trap's cue
        unchanged=data.read_size,
    )


def cues_of_sets(traps: Sequence[str]) -> dict[str, dict[str, str]]:
    """The test sets of these traps, and how each trap's cue is drawn there, by name: one of :data:`TRAP_SETS`."""
    sets = {kind: dict.fromkeys(traps, kind) for kind in TRAP_SETS}
    for one in traps if len(traps) > 1 else ():
        sets[ALONE + one] = {trap: "conflict" if trap == one else "aligned" for trap in traps}
    return sets


def draw_cues(kind: str, labels: Tensor, classes: int, trap: str, seed: int) -> Tensor:
    """The class whose cue each image of a test set shows: int64 (N,), -1 for none.

    Args:
        kind: One of :data:`TRAP_SETS`.
        labels: (N,) classes of the images.
        classes: How many classes there are.
        trap: Name of the trap; only ``random`` depends on it, so that a conflict is the same for all traps.
        seed: Seed of the run.
    """
    if kind == "aligned":
        return labels.clone()
    if kind == "absent":
        return torch.full_like(labels, -1)
    if kind == "random":
        draws = [seed_for(seed, trap, "random cue", index) % classes for index in range(len(labels))]
        return torch.tensor(draws, dtype=torch.int64)
    return _another_class(labels, classes, "conflict cue", seed)


def cue_groups(labels: Tensor, cues: Mapping[str, Tensor], classes: Sequence[str]) -> Groups:
    """The groups of images with cues: the class and the classes whose cues are shown, as in "car, wheels of dog".

    Args:
        labels: (N,) classes of the images.
        cues: For each trap's name, int64 (N,), the class whose cue is shown.
        classes: Names of the classes.

    Returns:
        The groups that occur, in the order of the classes.
    """
    rows = torch.stack([labels, *cues.values()], 1)
    found, numbers = torch.unique(rows, dim=0, return_inverse=True)
    names = [
        ", ".join([classes[own], *(f"{trap} of {classes[cue]}" for trap, cue in zip(cues, shown, strict=True))])
        for own, *shown in found.tolist()
    ]
    return Groups(tuple(names), numbers)


def labels_with_exceptions(labels: Tensor, classes: int, share: float, seed: int) -> Tensor:
    """The labels, with ``share`` of them replaced by another class; images and classes are drawn uniformly."""
    shown = labels.clone()
    count = round(share * len(labels))
    chosen = torch.randperm(len(labels), generator=generator(seed_for(seed, "exceptions")))[:count]
    shown[chosen] = _another_class(labels, classes, "exception's cue", seed)[chosen]
    return shown


def counted_exceptions(labels: Tensor, classes: int, share: float, trap: str, seed: int) -> Tensor:
    """The labels, with ``share`` of every class replaced by the other classes, each as often as the next or once more.

    So published sets with exceptions are made (Nam et al., arXiv 2007.02561). Which images, and which classes come once
    more, is drawn for each trap and class by itself: of two traps the exceptions are independent.
    """
    shown = labels.clone()
    for label in range(classes):
        random = generator(seed_for(seed, trap, "counted exceptions", label))
        places = torch.nonzero(labels == label).flatten()
        chosen = places[torch.randperm(len(places), generator=random)][: round(share * len(places))]
        others = (label + 1 + torch.randperm(classes - 1, generator=random)) % classes
        shown[chosen] = others[torch.arange(len(chosen)) % (classes - 1)]
    return shown


def plant_cues(
    images: ImageSet, traps: list[_PreparedTrap], cues: Mapping[str, Tensor], seed: int, name: str
) -> ImageSet:
    """The set with each trap's cues planted: at once in a tensor, whenever images are taken in streamed ones.

    Args:
        images: The set.
        traps: Prepared traps, planted in this order.
        cues: For each trap's name, int64 (N,), the class whose cue is shown, -1 for none.
        seed: Seed of the run.
        name: Name of the set; an image's cue looks the same in every batch.
    """
    seeds = {
        trap: torch.tensor([seed_for(seed, trap, name, i) for i in range(len(images))], dtype=torch.int64)
        for trap in (one.record.name for one in traps)
    }

    def plant(batch: Tensor, places: Tensor) -> Tensor:
        for trap in traps:
            batch = trap.plant(batch, cues[trap.record.name][places], seeds[trap.record.name][places])
        return batch

    if isinstance(images, StreamedImages):
        first = torch.zeros(1, dtype=torch.int64)
        blank = plant(torch.zeros((1, *images.shape), dtype=torch.uint8), first)
        return images.with_change(plant, (blank.shape[2], blank.shape[3]))
    parts = [plant(images.take(places), places) for places in torch.arange(len(images)).split(_BATCH)]
    planted = ImageSet(torch.cat(parts), images.labels, _resized_masks(images.masks, traps))
    return planted.described_as(images)


def make_worlds(
    train: ImageSet, test: ImageSet, classes: int, cues: Sequence[str], seed: int, lay: Lay
) -> dict[str, Callable[[], ImageSet]]:
    """The worlds of ``Data.worlds``, each made at its first call and then kept.

    Args:
        train: The training images before anything is planted.
        test: The plain test images.
        classes: How many classes there are.
        cues: Names of the cues.
        seed: Seed of the run.
        lay: Plants cues, as :func:`plant_cues` does.
    """

    def unbiased() -> ImageSet:
        drawn = {cue: draw_cues("random", train.labels, classes, f"{cue}/unbiased", seed) for cue in cues}
        return lay("unbiased", train, drawn)

    def turned(name: str, images: ImageSet) -> ImageSet:
        drawn = draw_cues("random", images.labels, classes, name, seed)
        return lay(name, images, dict.fromkeys(cues, drawn)).with_labels(drawn).with_groups(None)

    return {
        "unbiased": functools.cache(unbiased),
        "turned train": functools.cache(functools.partial(turned, "turned train", train)),
        "turned test": functools.cache(functools.partial(turned, "turned test", test)),
    }


def _check_count(trap: Trap, count: int, where: str) -> None:
    if trap.classes is not None and trap.classes != count:
        raise DataError(
            f"trap '{trap.name}' needs {trap.classes} classes, {where} has {count}.",
            f"Choose another trap or other data, or name {trap.classes} classes in data.classes.",
        )


def _prepare(data: Data, traps: list[Trap], arguments: Mapping[str, str], ground: TrapGround) -> list[_PreparedTrap]:
    """The traps made ready for one part, each given a sample as it comes from the traps before it."""
    images = data.train if ground.part == "train" else data.tests["test"]
    places = torch.linspace(0, len(images) - 1, min(_SAMPLE, len(images))).long()
    sample, cues = images.take(places), images.labels[places]
    prepared = []
    for record in traps:
        mine = replace(ground, argument=arguments.get(record.name, ""), sample=sample)
        prepared.append(_PreparedTrap(record, record.function("prepare")(mine) if record.prepare is not None else None))
        sample = prepared[-1].plant(sample, cues, places)
    return prepared


def _resized_masks(masks: Mapping[str, Tensor], traps: list[_PreparedTrap]) -> dict[str, Tensor]:
    """Masks after the traps that change an image's size, which treat them as an image without a cue."""
    resized = dict(masks)
    for trap in traps:
        for name, mask in resized.items() if trap.record.resizes else ():
            parts = []
            for batch in mask.split(_BATCH):
                none = torch.full((len(batch),), -1, dtype=torch.int64)
                grey = (255 * batch).unsqueeze(1).expand(-1, 3, -1, -1)
                parts.append((trap.plant(grey, none, torch.zeros_like(none))[:, 0] > 127).to(torch.uint8))
            resized[name] = torch.cat(parts)
    return resized


def _another_class(labels: Tensor, classes: int, draw: str, seed: int) -> Tensor:
    steps = [1 + seed_for(seed, draw, index) % (classes - 1) for index in range(len(labels))]
    return (labels + torch.tensor(steps, dtype=torch.int64)) % classes


def _nothing_there(name: str, *_: object) -> NoReturn:
    raise SettingsError(f"'{name}' cannot be found.", "Lay the trap by load_data, or give lay_traps load= and find=.")
