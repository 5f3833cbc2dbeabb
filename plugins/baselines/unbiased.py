"""The ceiling: ordinary training where the cue tells nothing."""

from __future__ import annotations

from conceptnet_ml import BaselineContext, StagedNetwork

LONGER = 1.5
"""Times the epochs of ordinary training: without a shortcut there is more to learn."""


def fit(context: BaselineContext) -> StagedNetwork:
    """Train from fresh weights on the training images with each trap's cue drawn at random."""
    assert context.unbiased is not None
    return context.train("train", context.fresh(), context.unbiased(), round(LONGER * context.ordinary_epochs))
