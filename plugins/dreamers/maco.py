"""Magnitude-constrained optimization (Fel et al., arXiv 2306.06805)."""

from __future__ import annotations

from torch import Tensor

from conceptnet_ml import Phases, Recipe, magnitudes


def recipe(real: Tensor | None = None) -> Recipe:
    """Phases alone move; magnitudes are the mean of the real images', or fall as photographs' do."""
    held, mean = (None, None) if real is None else magnitudes(real)
    return Recipe(parametrization=Phases(held, mean))
