"""A discoverer with a basis: features among the principal axes of a stage's maps, each with two ends.

What a basis must bring is ``encode`` and ``decode``, both place by place and differentiable. It need not keep
everything: what it leaves out of the maps is passed on beside the coefficients, and never found. A coefficient should
be 0 where its direction is not there, since a feature's score is how strong it is at its strongest places; so an axis,
which has two ends, becomes two directions.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from conceptnet_ml import BasisEvidence, Discoverer, hookimpl

PLACES = 50_000
"""Activations the axes are taken from."""


class PrincipalAxes(nn.Module):
    """Maps as their mean plus so much of either end of each axis.

    Args:
        mean: (C,), of the activations.
        axes: (A, C), of length one and at right angles.
    """

    mean: Tensor
    axes: Tensor

    def __init__(self, mean: Tensor, axes: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("axes", axes.clone())

    def encode(self, maps: Tensor) -> Tensor:
        """Maps (B, C, h, w) to coefficients (B, 2·A, h, w), none below 0: first one end of all axes, then the other."""
        along = torch.einsum("bchw,ac->bahw", maps - self.mean[:, None, None], self.axes)
        return torch.cat([along, -along], 1).clamp_min(0)

    def decode(self, coefficients: Tensor) -> Tensor:
        """And back; what lies off the axes is lost here, and put back by the core."""
        one, other = coefficients.chunk(2, 1)
        return torch.einsum("bahw,ac->bchw", one - other, self.axes) + self.mean[:, None, None]


def basis(evidence: BasisEvidence) -> PrincipalAxes:
    """The strongest axes: half of ``concepts.directions``, by default a quarter of the units.

    Cost: one eigendecomposition of a (C, C) matrix.
    """
    rows = evidence.places(PLACES)
    wanted = max(1, (evidence.settings.directions or evidence.units // 2) // 2)
    _, axes = torch.linalg.eigh(rows.T.cov())
    return PrincipalAxes(rows.mean(0), axes[:, -wanted:].flip(1).T).eval()


def restore(state: Mapping[str, Tensor]) -> PrincipalAxes:
    """From the state dict alone, when a run is resumed or opened."""
    return PrincipalAxes(state["mean"], state["axes"])


@hookimpl
def conceptnet_discoverers() -> list[Discoverer]:
    """``--set plugins.discoverer=principal``; which of the axes carry a class is for the built-in find step to say."""
    return [
        Discoverer(
            name="principal",
            api="1",
            find="conceptnet_plugins.discoverers.units:find",
            basis=basis,
            restore=restore,
            summary="the ends of a stage's principal axes in place of its units",
        )
    ]
