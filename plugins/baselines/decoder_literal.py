"""The autoencoder against memorizing as it was first put: the classes' loss less β times the reconstruction's."""

from __future__ import annotations

from conceptnet_ml import BaselineContext, StagedNetwork

from .decoder import contest, misleading


def fit(context: BaselineContext) -> StagedNetwork:
    """As ``decoder``, with the error itself for a reward and the decoder stepped alone, once for each of the network's
    steps: what is rewarded is the error of this one decoder."""
    return contest(context, misleading)
