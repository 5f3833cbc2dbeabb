"""Dreams without colour: a dreamer with a parametrization of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from conceptnet_ml import Dreamer, Parametrization, Recipe, hookimpl


class Grey(Parametrization):
    """One plane of logits, the same in all channels. Its gradient is left to autograd."""

    rate = 0.1

    def begin(self, row) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Faint noise, or the start's lightness; there is nothing to keep beside it."""
        if row.start is not None:
            return torch.logit(row.start.mean(0, keepdim=True).clamp(0.02, 0.98)), ()
        return 0.1 * row.contrast * torch.randn(1, *row.size, generator=row.generator), ()

    def images(self, numbers: Tensor, constants: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Through a sigmoid, so that it stays in [0, 1]."""
        return numbers.sigmoid().expand(-1, 3, -1, -1)


def recipe(real: Tensor | None) -> Recipe:
    """Few steps, and a price on roughness."""
    return Recipe(parametrization=Grey(), steps=64, smooth=0.2)


@hookimpl
def conceptnet_dreamers() -> list[Dreamer]:
    return [Dreamer(name="grey", api="1", recipe=recipe, summary="dreams without colour")]
