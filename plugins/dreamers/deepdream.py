"""DeepDream."""

from __future__ import annotations

from torch import Tensor

from conceptnet_ml import Pixels, Recipe


def recipe(real: Tensor | None = None) -> Recipe:
    """Gradient steps of an even length on a real image, shifted at random, from small sizes to its own, what was added
    carried over (Mordvintsev, Olah and Tyka, *Inceptionism*, 2015)."""
    even = Pixels(decay=0.35)
    return Recipe(start="image", parametrization=even, ascent="gradient", rate=0.008, steps=10, octaves=4, stall=0.0)
