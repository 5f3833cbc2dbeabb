"""The cue of a second picture: it stands above the image, and its class is the cue (Shah et al., arXiv 2006.07710)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from conceptnet_ml import ImageSet, TrapGround
from conceptnet_ml.data.class_subset import select_images
from conceptnet_ml.errors import DataError, SettingsError

GLYPHS = "glyphs:2"
"""Where the upper pictures come from without an argument: drawn rings and bars."""

MEND = "Write dominoes:SOURCE or dominoes:SOURCE@A,B, as in dominoes:torchvision:MNIST@0,1."


@dataclass(frozen=True)
class Tops:
    """Pictures to put on top, and which of them show which class."""

    pictures: ImageSet
    places: tuple[Tensor, Tensor]


def prepare(ground: TrapGround) -> Tops:
    """Load the upper pictures: for training images of the source's training part, for test images of its test part.

    The argument is a data set, ``SOURCE`` or ``SOURCE@A,B`` with the names of two of its classes; without names the
    first two. Picture A is the cue of the first class, B that of the second.

    Raises:
        SettingsError, DataError: As loading the source does, or a class of it has no pictures.
    """
    wanted = ground.argument or GLYPHS
    source, _, names = wanted.rpartition("@") if "@" in wanted else (wanted, "", "")
    classes = tuple(name.strip() for name in names.split(",")) if names else None
    if classes is not None and len(classes) != 2:
        raise SettingsError(f"trap 'dominoes': '{ground.argument}' names {len(classes)} classes, not two.", MEND)
    try:
        data = ground.load(source, classes)
    except (DataError, SettingsError) as error:
        raise type(error)(f"trap 'dominoes', its pictures from {wanted}: {error.message}", error.mend) from error
    pictures = select_images(data.train if ground.part == "train" else data.tests["test"], (0, 1))
    first, second = (torch.nonzero(pictures.labels == label).flatten() for label in (0, 1))
    if not (len(first) and len(second)):
        raise DataError(f"trap 'dominoes': {wanted} has no {ground.part} pictures of two classes.", MEND)
    return Tops(pictures, (first, second))


def plant(images: Tensor, cues: Tensor, seeds: Tensor, tops: Tops) -> Tensor:
    """Put a picture of the cue's class above each image; -1 leaves the upper half black.

    Args:
        images: uint8 (B, 3, H, W).
        cues: int64 (B,), 0, 1 or -1.
        seeds: int64 (B,), one per image: which picture.
        tops: What :func:`prepare` returned.

    Returns:
        uint8 (B, 3, 2·H, W).
    """
    height, width = images.shape[2:]
    upper = torch.zeros_like(images)
    for label, places in enumerate(tops.places):
        mine = torch.nonzero(cues == label).flatten()
        if len(mine):
            pictures = tops.pictures.take(places[(seeds[mine].cpu() % len(places))])
            upper[mine] = _fitted(pictures, height, width).to(images.device)
    return torch.cat([upper, images], 2)


def _fitted(pictures: Tensor, height: int, width: int) -> Tensor:
    if pictures.shape[2:] == (height, width):
        return pictures
    scaled = interpolate(pictures.float(), (height, width), mode="bilinear", antialias=True, align_corners=False)
    return scaled.round().clamp(0, 255).to(torch.uint8)
