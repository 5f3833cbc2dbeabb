"""The image itself: a place gate transplants parts of the donor."""

from __future__ import annotations

from torch import Tensor


def encode(images: Tensor) -> Tensor:
    """Floats in [0, 1] (B, 3, H, W), unchanged."""
    return images


def decode(encoding: Tensor) -> Tensor:
    """Unchanged."""
    return encoding
