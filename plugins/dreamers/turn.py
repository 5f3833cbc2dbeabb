"""One class turned into another."""

from __future__ import annotations

from torch import Tensor

from conceptnet_ml import Fourier, Recipe


def recipe(real: Tensor | None = None) -> Recipe:
    """From a real image, with a price on the distance to it, so that what is changed is what decides (Hamblin et al.,
    *Feature Accentuation*, arXiv 2402.10039)."""
    return Recipe(start="image", parametrization=Fourier(decay=1.5, rate=0.02), steps=128, near=0.3)
