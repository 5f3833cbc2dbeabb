"""The generalize step."""

from __future__ import annotations

from conceptnet_ml.hookspecs import hookimpl
from conceptnet_ml.records import Generalizer


@hookimpl
def conceptnet_generalizers() -> list[Generalizer]:
    """A trained detector."""
    return [
        Generalizer(
            name="detector",
            api="1",
            merge="conceptnet_plugins.generalizers.detector:merge",
            summary="1×1 convolution from the members' mean, trained on the probes' gates of all classes",
        )
    ]
