"""Picture files as uint8 RGB tensors: one rule for every mode, depth, orientation and size."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from conceptnet_ml.errors import DataError, SettingsError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})

DEFAULT_SIZE = 64
"""Side in px of images whose own sizes differ."""

LEAST_SIDE, MOST_SIDE = 8, 1024

THREADS = 8

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
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image).astype(np.float64))
        if image.mode != "F":
            values = values / 257.0
        elif np.max(values, initial=0.0) <= 1.0:
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


def read_image(path: Path | str, size: tuple[int, int]) -> Tensor:
    """The file as uint8 (3, H, W), at a size (H, W) in px as :func:`fit_to_size` has it.

    Raises:
        DataError: It cannot be read as an image; names the file and the reason.
    """
    with opened_picture(path) as image:
        # JPEG can decode at a fraction of its size; the factor 2 keeps the resizing clean.
        image.draft(None, (2 * size[1], 2 * size[0]))
        return fit_to_size(image, size)


@contextlib.contextmanager
def opened_picture(path: Path | str) -> Iterator[Image.Image]:
    """A picture file; what Pillow cannot open, or decode in the block, is a DataError as of :func:`read_image`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                yield image
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.", "Check the path.") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder.", "Name image files, as in FOLDER/*.jpg.") from None
    except Exception as error:  # Pillow's decoders may raise anything on broken files
        raise DataError(f"{path}: {error_line(error)}.", "Replace the file or take it out.") from error


def error_line(error: Exception) -> str:
    """One line for a user, without Pillow's object addresses."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "not an image Pillow can read" if "cannot identify image file" in text else text.rstrip(".")


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """``[function(item) for item in items]`` by ``THREADS`` threads; decoding releases the interpreter's lock."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(function, items))


def check_files(paths: Sequence[Path]) -> tuple[list[tuple[int, int] | None], dict[int, str]]:
    """The (height, width) of each upright image, None where it cannot be read; and the reasons, by position.

    Cost: every file is decoded once, completely, ``THREADS`` at a time.
    """

    def check(path: Path) -> tuple[int, int] | str:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(path) as image:
                    width, height = image.size
                    drafted = image.draft(None, (DEFAULT_SIZE, DEFAULT_SIZE))
                    image.load()
                    if not drafted:  # Pillow turns TIFF files upright as it loads them
                        width, height = image.size
                    return (width, height) if _lies_on_its_side(image) else (height, width)
        except Exception as error:  # Pillow's decoders may raise anything on broken files
            return error_line(error)

    results = in_threads(check, paths)
    sizes = [None if isinstance(result, str) else result for result in results]
    return sizes, {place: result for place, result in enumerate(results) if isinstance(result, str)}


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
