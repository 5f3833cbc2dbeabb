"""Data whose images are files: from the listings of their parts to images, checked, split and noted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from conceptnet_ml import Data, ImageSet
from conceptnet_ml.config.settings import DataSettings
from conceptnet_ml.data.files import (
    Picture,
    both_sides,
    channels_of,
    check_files,
    common_size,
    count_known,
    in_threads,
    in_two_classes,
    read_image,
)
from conceptnet_ml.data.images import PictureFiles, StreamedImages
from conceptnet_ml.data.sampling import check_counts, split_by_class, too_large
from conceptnet_ml.errors import DataError

from .folder_groups import NONE, groups_of, notes_on_groups
from .folder_layout import Listing, Listings

HELD = "held-out part"

LEAST_HELD = 2
"""Images of each class that a part of held-out images must have."""


def check_listings(name: str, found: Listings, settings: DataSettings) -> None:
    """There are enough images of every class, before one is decoded. Raises DataError."""
    _check_counts(name, found, settings, _unread([found.whole], " Beside them lie files that are not read: "))


def read_files(
    name: str,
    root: Path,
    found: Listings,
    settings: DataSettings,
    seed: int,
    notes: Sequence[str] = (),
    group_of: Mapping[Path, str] | None = None,
) -> Data:
    """The images of these files. Every file is decoded once more, to find the broken ones first.

    A seeded share of every class, ``settings.test_share``, becomes the test set where there is none; the whole of it if
    ``settings.minimum`` is 0. Every image is brought to ``settings.image_size``: scaled to just cover it, the centre
    kept; without the setting it is the images' own size if all are equal, else 64 × 64.

    Args:
        name: Of the data, as the settings have it.
        root: The folder below which files are named in the graph and in messages.
        found: The files of each part; :func:`check_listings` was content with them.
        settings, seed: As of any data set.
        notes: Sentences that come first.
        group_of: The group of each test image that has one, where ``settings.groups`` says that there are groups.

    Raises:
        DataError: Files cannot be read, or there are too few of some class.
    """
    source = name.partition(":")[2]
    files = [file for one in found.all() for file in one.files]
    sizes, bad = check_files(files, settings.megapixels)
    if bad and not settings.skip_bad:
        raise _unreadable(files, bad)
    listings, broken = found.all(), {files[place] for place in bad}
    if broken:
        found = found.without(broken)
        lost = f" Files that cannot be read, and are left out: {_reasons(files, bad)}"
        _check_counts(source, found, settings, lost)
    train, tests, more = _with_test(found, settings, seed)
    _check_tests(source, tests)

    channels = channels_of([file for place, file in enumerate(files) if place not in bad])
    if channels != 3:
        notes = [*notes, f"images of {channels} channels"]
    size = common_size(sizes) if settings.image_size is None else both_sides(settings.image_size)
    notes = [*notes, *more, *_notes(listings, sizes, size, bad)]
    if settings.image_size is None:
        notes += _lost_detail(sizes, size)
    if train is not None and found.held is not None:
        notes.append(f"held out for the decisions: the {len(found.held.files)} images of {found.held.folder.name}")
    if train is not None and settings.minimum:
        notes += _contradicting(train, root)
        notes += _seen_in_training(train, {**({} if found.held is None else {HELD: found.held}), **tests})
    counts = {name: len(one.files) for name, one in tests.items()}
    others = sum(count for name, count in counts.items() if name != "test")
    trained = 0 if train is None else len(train.files) + (0 if found.held is None else len(found.held.files))
    streamed = too_large(trained, counts.get("test", 0), size, settings, others, channels)
    if streamed:
        notes.append(f"streamed from the files: more than {settings.memory:g} GiB of images")
    sets = {name: _images(one, root, size, streamed, settings.megapixels) for name, one in tests.items()}
    if train is None:  # a test set stands for the size of the training images
        learned_from = next(iter(sets.values()))
    elif found.held is None:
        learned_from = _images(train, root, size, streamed, settings.megapixels)
    else:
        both = replace(
            train, files=[*train.files, *found.held.files], labels=torch.cat([train.labels, found.held.labels])
        )
        held = torch.arange(len(both.files)) >= len(train.files)
        learned_from = _images(both, root, size, streamed, settings.megapixels).with_held(held)
    if settings.groups != NONE:
        groups = {name: groups_of(one, group_of or {}) for name, one in tests.items()}
        notes += notes_on_groups(settings.groups, groups, sum(counts.values()))
        sets = {name: images.with_groups(groups[name]) for name, images in sets.items()}
    unreadable = {_called(files[place], root): why for place, why in bad.items()}
    classes = found.whole.classes
    return Data(name, classes, learned_from, sets, tuple(notes), skipped=len(bad), unreadable=unreadable)


def _check_counts(name: str, found: Listings, settings: DataSettings, more: str) -> None:
    """Enough images of every class to train on, and to hold out; ``more`` is said beside what is wrong."""
    split = settings.test_share if found.train is not None and "test" not in found.tests and settings.minimum else 0.0
    try:
        check_counts(name, found.whole.classes, found.whole.labels, settings.minimum, split)
    except DataError as error:
        raise DataError(f"{error.message}{more}", error.mend) from None
    if found.held is not None:
        counts = torch.bincount(found.held.labels, minlength=len(found.held.classes)).tolist()
        few = [f"'{one}' has {n}" for one, n in zip(found.held.classes, counts, strict=True) if n < LEAST_HELD]
        if few:
            raise DataError(
                f"{found.held.folder}: too few held-out images: {', '.join(few[:10])}; each class needs at least "
                f"{LEAST_HELD}.{more}",
                "Add some, or take this part away: a share of the training images is held out then.",
            )


def _with_test(
    found: Listings, settings: DataSettings, seed: int
) -> tuple[Listing | None, dict[str, Listing], list[str]]:
    """The training images and the test sets, with the set ``test`` where there are training images; notes."""
    train, tests = found.train, found.tests
    if train is None or "test" in tests:
        return train, tests, []
    if not settings.minimum:
        return train, {"test": train, **tests}, []
    rest, chosen = split_by_class(train.labels, settings.test_share, seed)
    fewer, test = train.only(rest), train.only(chosen)
    note = f"no test folder: {len(chosen)} of {len(train.files)} images split off for testing"
    return fewer, {"test": test, **tests}, [note]


def _check_tests(name: str, tests: Mapping[str, Listing]) -> None:
    """Every test set has images, ``test`` of every class."""
    for key, one in tests.items():
        if key != "test" and not one.files:
            raise DataError(f"{one.folder}: none of its images can be read.", "Replace them, or remove the folder.")
    if "test" in tests:
        test = tests["test"]
        counts = torch.bincount(test.labels, minlength=len(test.classes)).tolist()
        empty = [f"'{one}'" for one, count in zip(test.classes, counts, strict=True) if count == 0]
        if empty:
            mend = "Add some to the test folder, or remove it."
            raise DataError(f"{name}: no test images of {', '.join(empty)}.", mend)


def _unreadable(files: Sequence[Picture], bad: dict[int, str]) -> DataError:
    return DataError(
        f"{len(bad)} of {len(files)} images cannot be read:{_reasons(files, bad)}",
        "Replace them or take them out; learn leaves them out with --skip-bad.",
    )


def _reasons(files: Sequence[Picture], bad: dict[int, str]) -> str:
    """A line for each of the first ten unreadable files, each begun by a line break."""
    shown = [f"\n  {files[place]}: {why}" for place, why in list(bad.items())[:10]]
    return "".join(shown) + (f"\n  … and {len(bad) - 10} more" if len(bad) > 10 else "")


def _notes(
    listings: list[Listing], sizes: list[tuple[int, int] | None], size: tuple[int, int], bad: dict[int, str]
) -> list[str]:
    notes = []
    resized = sum(1 for found in sizes if found is not None and found != size)
    if resized:
        how = "shorter side scaled" if size[0] == size[1] else "scaled to cover it"
        notes.append(f"{resized} image{'s' * (resized != 1)} resized to {size[1]} × {size[0]} px: {how}, centre kept")
    if bad:
        notes.append(f"{len(bad)} unreadable image{'s' * (len(bad) != 1)} left out")
    if unread := _unread(listings, "files that are not images left alone: "):
        notes.append(unread)
    if left_out := sorted({folder.name for one in listings for folder in one.left_out}):
        count = sum(len(one.left_out) for one in listings)
        notes.append(f"{count} hidden or system folder{'s' * (count != 1)} left out: {', '.join(left_out[:10])}")
    return notes


def _lost_detail(sizes: list[tuple[int, int] | None], size: tuple[int, int]) -> list[str]:
    """That pictures are made much smaller, where nobody chose the size."""
    sides = sorted(min(found) for found in sizes if found is not None)
    side = sides[len(sides) // 2] if sides else 0
    if side < 3 * min(size):
        return []
    more = 2 * min(size)
    return [
        f"half of the images have a shorter side of {side} px or more: what is small in them is lost at "
        f"{min(size)} px; "
        f"--set data.image_size={more} keeps more of it, and takes some four times as long"
    ]


def _unread(listings: list[Listing], before: str) -> str:
    """How many files of which kinds were left alone, in words that begin so; nothing where there are none."""
    kinds = sum((one.others for one in listings), Counter[str]())
    shown = [f"{count} {suffix}" for suffix, count in kinds.most_common(5)]
    return f"{before}{', '.join(shown)}{' and others' * (len(kinds) > 5)}" if kinds else ""


def _seen_in_training(train: Listing, tests: Mapping[str, Listing]) -> list[str]:
    """A note for each part that has files of the training images, to the byte."""
    counts = {name: count_known(one.paths, train.paths) for name, one in tests.items()}
    return [
        f"{count} of the {len(tests[name].files)} pictures of {_part(name)} are among the training images: "
        f"{'decisions are made on what was learned by heart' if name == HELD else 'its accuracy says less'}"
        for name, count in counts.items()
        if count
    ]


def _contradicting(train: Listing, root: Path) -> list[str]:
    """A note where training images that are the same to the byte are in different classes."""
    labels = zip(train.files, train.labels.tolist(), strict=True)
    groups = in_two_classes({file: train.classes[label] for file, label in labels if isinstance(file, Path)})
    if not groups:
        return []
    shown = " and ".join(_called(file, root) for file in groups[0][:2])
    count = f"{len(groups)} training picture{'s are' if len(groups) > 1 else ' is'}"
    return [f"{count} in more than one class, the same to the byte, as {shown}: none of these can be right in all"]


def _part(name: str) -> str:
    return "the held-out part" if name == HELD else f"the test set '{name}'"


def _called(file: Picture, root: Path) -> str:
    """A file's path below ``root``, or as it is given where it lies elsewhere."""
    return file.relative_to(root).as_posix() if isinstance(file, Path) and file.is_relative_to(root) else str(file)


def _images(listing: Listing, root: Path, size: tuple[int, int], streamed: bool, most: float) -> ImageSet:
    """The images, each named by its path below ``root``."""
    files = listing.files
    names = [_called(file, root) for file in files]
    if streamed:
        items = torch.arange(len(files))
        read = PictureFiles(files, size, most)
        return StreamedImages(read, items, listing.labels, (channels_of(files), *size)).with_files(names)
    pixels = torch.stack(in_threads(lambda file: read_image(file, size, most), files))
    return ImageSet(pixels, listing.labels).with_files(names)
