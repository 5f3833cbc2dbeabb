"""Picture files as uint8 RGB tensors: one rule for every mode, depth, orientation and size."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import stat
import struct
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from conceptnet_ml.data.arrays import SUFFIX, array_shape, is_array, read_array
from conceptnet_ml.errors import DataError, SettingsError
from conceptnet_ml.storage.hashing import sha256

SUFFIXES = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jfif",
        ".jpe",
        ".png",
        ".bmp",
        ".gif",
        ".webp",
        ".avif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        SUFFIX,
    }
)

FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "AVIF", "TIFF", "PPM")
"""Pillow's readers that are used, whatever a file's name says: others start programs (EPS) or are little tried."""

MEGAPIXELS = 90.0
"""Most pixels of a file, in millions, before it is decoded; the default of the setting ``data.megapixels``."""

LARGE = 2**24
"""Pixels from which a picture is first reduced by averaging whole blocks."""

DEFAULT_SIZE = 64
"""Side in px of images whose own sizes differ."""

LEAST_SIDE, MOST_SIDE = 8, 1024

THREADS = 8

BUDGET = 2**25
"""Pixels that all threads together decode at a time; a larger picture is decoded alone."""


class StoredPicture(Protocol):
    """A picture's file that lies within something else, such as a table; its text names it in messages."""

    def content(self) -> bytes:
        """The file. Raises OSError."""


Picture = Path | str | StoredPicture
"""A picture's file: where it lies, or something that has it."""

Item = TypeVar("Item")

Result = TypeVar("Result")


def to_rgb(image: Image.Image) -> Image.Image:
    """An upright 8-bit RGB image from one of any mode and depth.

    EXIF orientation is applied. Transparency (RGBA, palette or a transparent colour) becomes white. 16-bit grayscale is
    divided by 257, so that 65,535 becomes 255; floats are taken as [0, 1], or as [0, 255] where they exceed 1. Of an
    animation the first frame is used.
    """
    # A picture with a malformed EXIF block can still be read.
    with contextlib.suppress(ValueError, KeyError, TypeError, SyntaxError, ZeroDivisionError):
        image = ImageOps.exif_transpose(image)
    return _flat(image)


def _flat(image: Image.Image, unit: bool | None = None) -> Image.Image:
    """As :func:`to_rgb`, as it lies; of a part of a picture of floats ``unit`` says whether all of it is in [0, 1]."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image).astype(np.float64))
        if image.mode != "F":
            values = values / 257.0
        elif np.max(values, initial=0.0) <= 1.0 if unit is None else unit:
            values = values * 255.0
        return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        white = Image.new("RGBA", with_alpha.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, with_alpha).convert("RGB")
    return image.convert("RGB")


def both_sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """(H, W) of an image size as the setting ``data.image_size`` has it: one side of a square, or both."""
    return (size, size) if isinstance(size, int) else size


def square_side(size: int | tuple[int, int] | None, default: int, source: str) -> int:
    """The side of the square images that ``source`` draws, in px.

    Args:
        size: The setting ``data.image_size``.
        default: The side where the setting is None.
        source: Name of the data set, for the message.

    Raises:
        SettingsError: The size is not square.
    """
    height, width = both_sides(default if size is None else size)
    if height != width:
        raise SettingsError(
            f"data.image_size {height},{width}: {source} draws square images.",
            "Give one side, as in 64, or leave it out.",
        )
    return height


def fit_to_size(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """The image as uint8 (3, H, W): scaled to just cover (H, W) px (antialiased bicubic), the centre cut out.

    Of a square the shorter side is scaled to the square's side.
    """
    image = to_rgb(image)
    if image.size != size[::-1]:
        image = ImageOps.fit(image, size[::-1], method=Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def read_image(path: Picture, size: tuple[int, int], most: float = MEGAPIXELS) -> Tensor:
    """The file as uint8 (3, H, W), or with the channels of a ``.npy`` file, at a size (H, W) in px as
    :func:`fit_to_size` has it.

    Args:
        most: Millions of pixels beyond which a file is not decoded.

    Raises:
        DataError: It cannot be read as an image; names the file and the reason.
    """
    if is_array(path):
        try:
            _check_array(path, most)
            return read_array(path, size)  # type: ignore[arg-type]
        except FileNotFoundError:
            raise DataError(f"{path}: no such file.", "Check the path.") from None
        except (ValueError, OSError, TypeError, struct.error) as error:
            raise DataError(f"{path}: {error_line(error)}.", "Replace the file or take it out.") from error
    with opened_picture(path, most) as image:
        # JPEG can decode at a fraction of its size; the factor 2 keeps the resizing clean.
        image.draft(None, (2 * size[1], 2 * size[0]))
        with _BUDGET.of(image):
            return fit_to_size(_reduced(image, size), size)


def pictures_in(folder: Path) -> list[Path]:
    """The image files of a folder, at any depth, in order of name; hidden ones are left out. Raises DataError where
    there are none."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    files = sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    if not files:
        raise DataError(f"{folder} holds no pictures", "Give a folder of pictures; they need no labels.")
    return files


def picture_files(paths: Sequence[str | Path]) -> list[Path]:
    """These files, and in place of a folder the pictures in it. Raises as :func:`pictures_in`."""
    return [file for path in map(Path, paths) for file in (pictures_in(path) if path.is_dir() else [path])]


def channels_of(files: Sequence[Picture]) -> int:
    """How many channels the images of these files have: three, but for ``.npy`` files with others.

    Raises:
        DataError: Not all have as many; names two of them.
    """
    counts: dict[int, Picture] = {}
    for file in files:
        try:
            counts.setdefault(array_shape(file)[0] if is_array(file) else 3, file)  # type: ignore[arg-type]
        except (ValueError, OSError, struct.error):  # said where it is read
            continue
    if len(counts) > 1:
        (one, first), (other, second) = list(counts.items())[:2]
        raise DataError(
            f"images differ in their channels: {first} has {one}, {second} has {other}.", "Give all the same channels."
        )
    return next(iter(counts), 3)


def _check_array(path: object, most: float) -> tuple[int, int]:
    """(H, W) of an array's image. Raises ValueError where it has more than so many millions of pixels."""
    _, height, width = array_shape(path)  # type: ignore[arg-type]
    if height * width > most * 1e6:
        raise ValueError(f"{width}×{height} px are more than {most:g} million (data.megapixels)")
    return height, width


class _Budget:
    """Lets threads decode pictures of so many pixels together, and a larger one alone."""

    def __init__(self, pixels: int) -> None:
        self._all, self._free, self._changed = pixels, pixels, threading.Condition()

    @contextlib.contextmanager
    def of(self, image: Image.Image) -> Iterator[None]:
        wanted = min(image.width * image.height, self._all)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()


_BUDGET = _Budget(BUDGET)
if hasattr(os, "register_at_fork"):  # a thread that held a share does not live on in the child
    os.register_at_fork(after_in_child=lambda: _BUDGET.__init__(BUDGET))  # type: ignore[misc]


def _reduced(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A large picture averaged over whole blocks of pixels, to at least twice the size (H, W) in px: the copies that
    are made of it then cost a fraction of it. What cannot be averaged as it is, palettes, 16 bits and floats, becomes
    RGB in bands, as all but RGB does that is too narrow to be averaged.
    """
    if image.width * image.height < LARGE:
        return image
    factor = max(1, min(image.height // (2 * size[0]), image.width // (2 * size[1])))
    orientation, plain = image.getexif().get(0x0112, 1), "transparency" not in image.info
    if plain and factor == 1 and image.mode == "RGB":
        return image
    if plain and factor > 1 and image.mode in ("RGB", "RGBA", "L", "LA", "CMYK"):
        small = image.reduce(factor)
    else:
        small = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
        rows = factor * max(1, LARGE // 16 // (image.width * factor))
        tops = range(0, image.height, rows)
        bands = {top: (0, top, image.width, min(top + rows, image.height)) for top in tops}
        # how floats are scaled hangs on all of them
        unit = image.mode == "F" and all(
            np.nan_to_num(np.asarray(image.crop(box))).max() <= 1.0 for box in bands.values()
        )
        for top, box in bands.items():
            small.paste(_flat(image.crop(box), unit).reduce(factor), (0, top // factor))
    small.getexif()[0x0112] = orientation
    return small


@contextlib.contextmanager
def opened_picture(path: Picture, most: float = MEGAPIXELS) -> Iterator[Image.Image]:
    """A picture file; what Pillow cannot open, or decode in the block, is a DataError as of :func:`read_image`."""
    try:
        with warnings.catch_warnings(), _open(path, most) as image:
            warnings.simplefilter("ignore")
            yield image
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.", "Check the path.") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder.", "Name image files, as in FOLDER/*.jpg.") from None
    except Exception as error:  # Pillow's decoders may raise anything on broken files
        raise DataError(f"{path}: {error_line(error)}.", "Replace the file or take it out.") from error


@functools.cache
def _readers() -> tuple[str, ...]:
    """Those of :data:`FORMATS` that this Pillow has; AVIF is new in it."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextlib.contextmanager
def _open(path: Picture, most: float) -> Iterator[Image.Image]:
    """A regular file in one of :data:`FORMATS`, of so many millions of pixels at most."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not isinstance(path, str | os.PathLike):
            source: Path | str | io.BytesIO = io.BytesIO(path.content())
        elif not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
            raise ValueError("not a regular file")  # a pipe would be waited for without end
        else:
            source = path
        with Image.open(source, formats=_readers()) as image:
            if image.width * image.height > most * 1e6:
                raise ValueError(
                    f"{image.width}×{image.height} px are more than {most:g} million (data.megapixels), as a bomb has"
                )
            yield image


def error_line(error: Exception) -> str:
    """One line for a user, without Pillow's object addresses."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "not an image Pillow can read" if "cannot identify image file" in text else text.rstrip(".")


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """``[function(item) for item in items]`` by ``THREADS`` threads; decoding releases the interpreter's lock."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(function, items))


def check_files(
    paths: Sequence[Picture], most: float = MEGAPIXELS
) -> tuple[list[tuple[int, int] | None], dict[int, str]]:
    """The (height, width) of each upright image, None where it cannot be read; and the reasons, by position. A file of
    more than ``most`` million pixels is not decoded.

    Cost: every file is decoded once, completely, ``THREADS`` at a time.
    """

    def check(path: Picture) -> tuple[int, int] | str:
        try:
            if is_array(path):
                size = _check_array(path, most)
                read_array(path)  # type: ignore[arg-type]
                return size
            with _open(path, most) as image:
                width, height = image.size
                drafted = image.draft(None, (DEFAULT_SIZE, DEFAULT_SIZE))
                with _BUDGET.of(image):
                    image.load()
                if not drafted:  # Pillow turns TIFF files upright as it loads them
                    width, height = image.size
                return (width, height) if _lies_on_its_side(image) else (height, width)
        except Exception as error:  # Pillow's decoders may raise anything on broken files
            return error_line(error)

    results = in_threads(check, paths)
    sizes = [None if isinstance(result, str) else result for result in results]
    return sizes, {place: result for place, result in enumerate(results) if isinstance(result, str)}


def count_known(files: Sequence[Path], known: Sequence[Path]) -> int:
    """How many of the files are among the known ones, to the byte. Only files are read whose lengths occur in both."""
    lengths = {file: file.stat().st_size for file in {*files, *known}}
    common = {lengths[file] for file in files} & {lengths[file] for file in known}
    own, others = ([file for file in part if lengths[file] in common] for part in (files, known))
    digests = {*in_threads(_digest, others)}
    return sum(one in digests for one in in_threads(_digest, own))


def in_two_classes(labels: Mapping[Path, str]) -> list[list[Path]]:
    """Files that are the same to the byte and have different labels, those of one content together. Only files are read
    whose length occurs under more than one label.
    """
    lengths: dict[int, list[Path]] = {}
    for file in labels:
        lengths.setdefault(file.stat().st_size, []).append(file)
    doubtful = [file for group in lengths.values() if len({labels[file] for file in group}) > 1 for file in group]
    contents: dict[str, list[Path]] = {}
    for file, digest in zip(doubtful, in_threads(_digest, doubtful), strict=True):
        contents.setdefault(digest, []).append(file)
    return [group for group in contents.values() if len({labels[file] for file in group}) > 1]


def _digest(file: Path) -> str:
    return sha256(file.read_bytes(), 32)


def _lies_on_its_side(image: Image.Image) -> bool:
    """Whether the EXIF orientation turns the image by a quarter."""
    with contextlib.suppress(ValueError, KeyError, TypeError, SyntaxError, ZeroDivisionError):  # as in to_rgb
        return image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    return False


def common_size(sizes: Iterable[tuple[int, int] | None]) -> tuple[int, int]:
    """The images' own (H, W) if all are of one size with sides between 8 and 1,024 px, else 64 × 64."""
    found = {size for size in sizes if size is not None}
    own = found.pop() if len(found) == 1 else (0, 0)
    return own if all(LEAST_SIDE <= side <= MOST_SIDE for side in own) else (DEFAULT_SIZE, DEFAULT_SIZE)
