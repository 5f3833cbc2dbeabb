"""A representation with channels: light, yellow against blue and red against green, each axis exchanged or not.

It pays where a cast of one kind is the cue and another tells the object: the built-in ``colour`` exchanges all of an
image's colour at once, here the probe finds one gate for each axis and leaves the others alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from conceptnet_ml import Representation, hookimpl

AXES = ((3**-0.5, 3**-0.5, 3**-0.5), (6**-0.5, 6**-0.5, -2 * 6**-0.5), (2**-0.5, -(2**-0.5), 0.0))
"""Light, yellow − blue and red − green, as rows in RGB: orthonormal, so that the transpose leads back."""
FLOOR = 1e-3
"""Least spread along an axis that is divided by, so that a grey image can be encoded."""


def encode(images: Tensor) -> tuple[Tensor, Tensor]:
    """Split images (B, 3, H, W) into (B, 6), mean and then spread along each axis, and (B, 3, H, W), what is left.

    Cost: a few passes over the images.
    """
    along = torch.einsum("ac,bchw->bahw", images.new_tensor(AXES), images)
    mean = along.mean((2, 3), keepdim=True)
    spread = (along - mean).square().mean((2, 3), keepdim=True).add(FLOOR**2).sqrt()
    return torch.cat([mean, spread], 1).flatten(1), (along - mean) / spread


def decode(encoding: tuple[Tensor, Tensor]) -> Tensor:
    """Images with these statistics; may leave [0, 1]."""
    statistics, rest = encoding
    mean, spread = statistics[:, :3, None, None], statistics[:, 3:, None, None]
    return torch.einsum("ac,bahw->bchw", rest.new_tensor(AXES), mean + spread * rest)


def masks(encoding: tuple[Tensor, Tensor]) -> Tensor:
    """(3, 6), 0 or 1: an axis's mean and its spread go together. Without this there would be six channels."""
    return torch.eye(3, device=encoding[0].device).repeat(1, 2)


@hookimpl
def conceptnet_representations() -> list[Representation]:
    """Tried after ``colour``, before what leaves the places of an image alone."""
    return [
        Representation(
            name="opponent",
            api="1",
            encode=encode,
            decode=decode,
            masks=masks,
            gate="channel",
            cost=2,
            summary="mean and spread of light, yellow-blue and red-green, each by a gate of its own",
        )
    ]
