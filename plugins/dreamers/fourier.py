"""Activation maximization as it is usually drawn."""

from __future__ import annotations

from torch import Tensor

from conceptnet_ml import Recipe


def recipe(real: Tensor | None = None) -> Recipe:
    """Fourier coefficients in uncorrelated colours, Adam, random views (Olah, Mordvintsev and Schubert, *Feature
    Visualization*, Distill 2017)."""
    return Recipe()
