"""Images in folders, one per class: ``folder:PATH``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch

from conceptnet_ml import Data, ImageSet
from conceptnet_ml.config.settings import DataSettings
from conceptnet_ml.data.files import both_sides, check_files, common_size, count_known, in_threads, read_image
from conceptnet_ml.data.images import PictureFiles, StreamedImages
from conceptnet_ml.data.sampling import check_counts, split_by_class, too_large
from conceptnet_ml.errors import DataError, SettingsError

from .folder_groups import groups_of, notes_on_groups, read_groups
from .folder_layout import Listing, find_parts, read_listings


def load(argument: str, settings: DataSettings, seed: int) -> Data:
    """Read a folder in ImageFolder layout.

    ``PATH/train/CLASS/…`` with ``PATH/test`` (or ``val``) beside it, or ``PATH/CLASS/…``, of which a seeded share
    of every class, ``settings.test_share``, becomes the test set; the whole of it if ``settings.minimum`` is 0, and
    then there may be test sets alone. ``PATH/test-NAME/CLASS/…`` and ``PATH/tests/NAME/CLASS/…`` are test sets called
    NAME, which may lack classes. Files lie at any depth within a class's folder. Every image is brought to
    ``settings.image_size``: scaled to just cover it, the centre kept; without the setting it is the images' own size if
    all are equal, else 64 × 64. Every file is decoded once more, to find the broken ones first. ``settings.groups``
    says how test images are grouped (:mod:`conceptnet_plugins.datasets.folder_groups`).

    Raises:
        SettingsError: No path given.
        DataError: The folder, its classes, its files or the groups cannot be used.
    """
    if not argument:
        raise SettingsError("data.source 'folder' needs a path.", "Write folder:PATH.")
    root = Path(argument).expanduser()
    parts = find_parts(root, settings.minimum == 0)
    train, tests, known = read_listings(root, parts, settings.classes)
    whole = train or tests.get("test") or next(iter(tests.values()))
    split = settings.test_share if train is not None and "test" not in tests and settings.minimum else 0.0
    try:
        check_counts(str(root), whole.classes, whole.labels, settings.minimum, split)
    except DataError as error:
        raise DataError(
            f"{error.message}{_unread([whole], ' Beside them lie files that are not read: ')}", error.mend
        ) from None
    group_of = read_groups(settings.groups, root, known, train, tests)

    listings = [*([] if train is None else [train]), *tests.values()]
    files = [file for one in listings for file in one.files]
    sizes, bad = check_files(files, settings.megapixels)
    if bad and not settings.skip_bad:
        raise _unreadable(files, bad)
    broken = {files[place] for place in bad}
    train = None if train is None else _without(train, broken)
    tests = {name: _without(one, broken) for name, one in tests.items()}
    if train is not None:
        try:
            check_counts(str(root), train.classes, train.labels, settings.minimum, split)
        except DataError as error:
            lost = f" Files that cannot be read, and are left out: {_reasons(files, bad)}" if bad else ""
            raise DataError(f"{error.message}{lost}", error.mend) from None
    train, tests, notes = _with_test(train, tests, settings, seed)
    _check_tests(root, tests)

    size = common_size(sizes) if settings.image_size is None else both_sides(settings.image_size)
    notes = [*parts.notes, *notes, *_notes(listings, sizes, size, bad)]
    if train is not None and settings.minimum:
        notes += _seen_in_training(train, tests)
    counts = {name: len(one.files) for name, one in tests.items()}
    others = sum(count for name, count in counts.items() if name != "test")
    streamed = too_large(0 if train is None else len(train.files), counts.get("test", 0), size, settings, others)
    if streamed:
        notes.append(f"streamed from the files: more than {settings.memory:g} GiB of images")
    sets = {name: _images(one, root, size, streamed, settings.megapixels) for name, one in tests.items()}
    # Where there is no training image, a test set stands for their size.
    trained = next(iter(sets.values())) if train is None else _images(train, root, size, streamed, settings.megapixels)
    if settings.groups != "none":
        groups = {name: groups_of(one, group_of) for name, one in tests.items()}
        notes += notes_on_groups(settings.groups, groups, sum(counts.values()))
        sets = {name: images.with_groups(groups[name]) for name, images in sets.items()}
    unreadable = {files[place].relative_to(root).as_posix(): why for place, why in bad.items()}
    return Data(
        f"folder:{argument}", whole.classes, trained, sets, tuple(notes), skipped=len(bad), unreadable=unreadable
    )


def _with_test(
    train: Listing | None, tests: dict[str, Listing], settings: DataSettings, seed: int
) -> tuple[Listing | None, dict[str, Listing], list[str]]:
    """The training images and the test sets, with the set ``test`` where there are training images; notes."""
    if train is None or "test" in tests:
        return train, tests, []
    if not settings.minimum:
        return train, {"test": train, **tests}, []
    rest, chosen = split_by_class(train.labels, settings.test_share, seed)
    fewer, test = train.only(rest), train.only(chosen)
    note = f"no test folder: {len(chosen)} of {len(train.files)} images split off for testing"
    return fewer, {"test": test, **tests}, [note]


def _without(listing: Listing, broken: set[Path]) -> Listing:
    return listing.only(torch.tensor([n for n, file in enumerate(listing.files) if file not in broken]).long())


def _check_tests(root: Path, tests: Mapping[str, Listing]) -> None:
    """Every test set has images, ``test`` of every class."""
    for name, one in tests.items():
        if name != "test" and not one.files:
            raise DataError(f"{one.folder}: none of its images can be read.", "Replace them, or remove the folder.")
    if "test" in tests:
        test = tests["test"]
        counts = torch.bincount(test.labels, minlength=len(test.classes)).tolist()
        empty = [f"'{name}'" for name, count in zip(test.classes, counts, strict=True) if count == 0]
        if empty:
            mend = "Add some to the test folder, or remove it."
            raise DataError(f"{root}: no test images of {', '.join(empty)}.", mend)


def _unreadable(files: list[Path], bad: dict[int, str]) -> DataError:
    return DataError(
        f"{len(bad)} of {len(files)} images cannot be read:{_reasons(files, bad)}",
        "Replace them or take them out; learn leaves them out with --skip-bad.",
    )


def _reasons(files: list[Path], bad: dict[int, str]) -> str:
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


def _unread(listings: list[Listing], before: str) -> str:
    """How many files of which kinds were left alone, in words that begin so; nothing where there are none."""
    kinds = sum((one.others for one in listings), Counter[str]())
    shown = [f"{count} {suffix}" for suffix, count in kinds.most_common(5)]
    return f"{before}{', '.join(shown)}{' and others' * (len(kinds) > 5)}" if kinds else ""


def _seen_in_training(train: Listing, tests: Mapping[str, Listing]) -> list[str]:
    """A note for each test set that has files of the training images, to the byte."""
    counts = {name: count_known(one.files, train.files) for name, one in tests.items()}
    return [
        f"{count} of the {len(tests[name].files)} pictures of the test set '{name}' are among the training images: "
        "its accuracy says less"
        for name, count in counts.items()
        if count
    ]


def _images(listing: Listing, root: Path, size: tuple[int, int], streamed: bool, most: float) -> ImageSet:
    """The images, each named by its path below ``root``."""
    files = listing.files
    names = [file.relative_to(root).as_posix() for file in files]
    if streamed:
        items = torch.arange(len(files))
        read = StreamedImages(PictureFiles(files, size, most), items, listing.labels, size)
        return read.with_files(names)
    pixels = torch.stack(in_threads(lambda file: read_image(file, size, most), files))
    return ImageSet(pixels, listing.labels).with_files(names)
