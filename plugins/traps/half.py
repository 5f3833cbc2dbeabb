"""Another trap's cue at half its strength, so that ordinary training reads it in part and the object in part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml import TrapGround
from conceptnet_ml.errors import DataError, SettingsError


@dataclass(frozen=True)
class Whole:
    """The other trap, ready to plant."""

    plant: Callable[..., Tensor]
    more: tuple[Any, ...]


def prepare(ground: TrapGround) -> Whole:
    """Make the trap ready that the argument names, ``TRAP`` or ``TRAP:ARGUMENT``.

    Raises:
        SettingsError: No trap is named, or none of that name is there.
        DataError: The other trap does not suit the data.
    """
    name, _, argument = ground.argument.partition(":")
    if not name:
        raise SettingsError("trap 'half' needs the name of another.", "Write half:TRAP, as in half:wheels.")
    record = ground.trap(name)
    if record.classes not in (None, len(ground.classes)):
        raise DataError(
            f"trap 'half:{name}' needs {record.classes} classes, {ground.name} has {len(ground.classes)}.",
            "Choose another trap, or name as many classes in data.classes.",
        )
    plant = record.function("plant")
    if record.prepare is None:
        return Whole(plant, ())
    prepared = record.function("prepare")(replace(ground, argument=argument))
    return Whole(plant, () if prepared is None else (prepared,))


def plant(images: Tensor, cues: Tensor, seeds: Tensor, whole: Whole) -> Tensor:
    """The mean of each image with the other trap's cue and without.

    Args:
        images: uint8 (B, 3, H, W).
        cues: int64 (B,), as the other trap takes them.
        seeds: int64 (B,), one per image.
        whole: What :func:`prepare` returned.

    Returns:
        uint8, of the size that the other trap returns, rounded.
    """
    bare, planted = (
        whole.plant(images.clone(), shown, seeds, *whole.more).float() for shown in (torch.full_like(cues, -1), cues)
    )
    return ((bare + planted) / 2).round().to(torch.uint8)
