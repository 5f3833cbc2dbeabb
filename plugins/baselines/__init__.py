"""Controls trained beside the learner, for as many epochs as its rounds took."""

from __future__ import annotations

from conceptnet_ml.hookspecs import hookimpl
from conceptnet_ml.records import Baseline


@hookimpl
def conceptnet_baselines() -> list[Baseline]:
    """Random boxes, and simply training longer."""
    return [
        Baseline(
            name="random-box",
            api="1",
            views="conceptnet_plugins.baselines.random_box:views",
            summary="the learner's swap with a random box in place of the dreamed gate",
        ),
        Baseline(
            name="longer",
            api="1",
            views="conceptnet_plugins.baselines.longer:views",
            summary="ordinary training gone on with",
        ),
    ]
