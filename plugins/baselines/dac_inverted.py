"""Decompose-and-compose where the network looks at the cue: what it does not look at makes the class."""

from __future__ import annotations

from conceptnet_ml import BaselineContext, StagedNetwork

from .dac import recomposed


def fit(context: BaselineContext) -> StagedNetwork:
    """As ``dac``, with every mask turned round: a switch of the authors' code, set by the data set. The learner is told
    nothing of the kind, so both are rivals here."""
    return recomposed(context, inverted=True)
