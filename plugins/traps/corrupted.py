"""The cue of a corruption: each class's images are spoilt in a way of their own, as the corrupted CIFAR-10 of Nam et
al., *Learning from Failure*, arXiv 2007.02561.

Their strengths are those of CIFAR-10-C, the package's are those of ImageNet-C (Hendrycks & Dietterich, arXiv
1903.12261), of which the strongest leave nothing of an object of 32 px. So each corruption has, by default, the
package's severity that is nearest to the published one, the fifth of CIFAR-10-C.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from conceptnet_ml import TrapGround
from conceptnet_ml.errors import DataError, SettingsError

ORIGINAL = "original"
"""The corruption that is none."""
TYPES: dict[str, dict[str, int]] = {
    "0": {
        "snow": 1,
        "frost": 2,
        "fog": 1,
        "brightness": 3,
        "contrast": 3,
        "spatter": 4,
        "elastic_transform": 1,
        "jpeg_compression": 1,
        "pixelate": 1,
        "saturate": 3,
    },
    "1": {
        "gaussian_noise": 2,
        "shot_noise": 1,
        "impulse_noise": 2,
        "speckle_noise": 2,
        "gaussian_blur": 1,
        "defocus_blur": 1,
        "glass_blur": 1,
        "motion_blur": 1,
        "zoom_blur": 4,
        ORIGINAL: 0,
    },
}
"""Corruptions by type, one a class, by the names of the package; and the severity nearest to the published one.

The same as published are brightness, speckle noise and Gaussian blur, zoom blur but for its steps; contrast keeps .2 of
an image's in place of .15, JPEG a quality of 25 in place of 40, Gaussian noise has a deviation of .12 in place of .10.
"""
SEVERITIES = ("1", "2", "3", "4", "5")
"""The scale of ImageNet-C, from weak to strong."""
LEAST = 32
"""Smallest side in px that the package takes."""
SEEDED = ("impulse_noise", "glass_blur")
"""These draw from generators of their own, and take a seed."""

_numpy = threading.Lock()  # the others draw from numpy's generator, which all threads share


@dataclass(frozen=True)
class Corruptions:
    """What spoils an image, and the name and severity of each class's corruption."""

    corrupt: Callable[..., Any]
    kinds: tuple[tuple[str, int], ...]


def prepare(ground: TrapGround) -> Corruptions:
    """The corruptions of the argument, ``TYPE`` or ``TYPE@SEVERITY``; none is type 0.

    Raises:
        SettingsError: Another argument, or the package that makes corruptions is not installed.
        DataError: More than ten classes, or images under ``LEAST`` px.
    """
    kind, _, severity = (ground.argument or "0").partition("@")
    if kind not in TYPES or (severity and severity not in SEVERITIES):
        raise SettingsError(
            f"trap 'corrupted' has no corruptions '{ground.argument}'.",
            "Write corrupted:TYPE or corrupted:TYPE@SEVERITY, with a type of 0 (weather, digital) or 1 (noise, blur) "
            f"and a severity of {', '.join(SEVERITIES)}.",
        )
    kinds = tuple((name, int(severity or nearest)) for name, nearest in TYPES[kind].items())
    if len(ground.classes) > len(kinds):
        raise DataError(
            f"trap 'corrupted' has {len(kinds)} corruptions, {ground.name} has {len(ground.classes)} classes.",
            f"Choose another trap, such as sticker, or name at most {len(kinds)} classes in data.classes.",
        )
    height, width = ground.sample.shape[2:]
    if min(height, width) < LEAST:
        raise DataError(
            f"trap 'corrupted' needs images of {LEAST} px and more; those of {ground.name} have {width}×{height}.",
            f"Set data.image_size to {LEAST} or more.",
        )
    try:
        package = importlib.import_module("imagecorruptions")
    except ImportError as error:
        raise SettingsError(
            f"trap 'corrupted' needs the package imagecorruptions-imaug, which cannot be imported: {error}",
            "Install it: pip install 'conceptnet_ml[protocols]', or pip install imagecorruptions-imaug.",
        ) from error
    return Corruptions(package.corrupt, kinds)


def plant(images: Tensor, cues: Tensor, seeds: Tensor, corruptions: Corruptions) -> Tensor:
    """Corrupt each image as its cue says; -1, and a class whose corruption is none, leave it as it is.

    Args:
        images: uint8 (B, 3, H, W).
        cues: int64 (B,), 0 to 9 or -1.
        seeds: int64 (B,), one per image: what the corruption draws, such as its flakes.
        corruptions: What :func:`prepare` returned.

    Returns:
        uint8 (B, 3, H, W).

    Cost: one image after the other on one core; at 32 px 1 ms of type 0, more than half of it in ``frost``, and 0.5 ms
    of type 1: of 50,000 images a minute, and half a minute. numpy's global generator is left as it was.
    """
    result = images.clone()
    for place, (cue, seed) in enumerate(zip(cues.tolist(), seeds.tolist(), strict=True)):
        name, severity = corruptions.kinds[cue]
        if cue < 0 or name == ORIGINAL:
            continue
        start = seed % 2**32
        more = {"seed": start} if name in SEEDED else {}
        pixels = np.ascontiguousarray(images[place].permute(1, 2, 0).cpu().numpy())
        with _drawing_from(start):
            spoilt = corruptions.corrupt(pixels, severity=severity, corruption_name=name, **more)
        result[place] = torch.from_numpy(np.array(spoilt)).permute(2, 0, 1).to(images.device)
    return result


@contextmanager
def _drawing_from(seed: int) -> Iterator[None]:
    """numpy's global generator started from this seed, and put back after it."""
    with _numpy:
        before = np.random.get_state()
        np.random.seed(seed)
        try:
            # Where nothing is spattered the package divides by zero, and paints nothing.
            with np.errstate(divide="ignore", invalid="ignore"):
                yield
        finally:
            np.random.set_state(before)
