"""Pictures of a unit, a feature or a variant."""

from __future__ import annotations

from conceptnet_ml.hookspecs import hookimpl
from conceptnet_ml.records import Dreamer


@hookimpl
def conceptnet_dreamers() -> list[Dreamer]:
    """The classic dream with free pixels."""
    return [
        Dreamer(
            name="classic",
            api="1",
            dream="conceptnet_plugins.dreamers.classic:dream",
            summary="activation maximization from noise or an image, with jitter and decorrelated frequencies",
        )
    ]
