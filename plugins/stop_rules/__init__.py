"""Rules that keep or refuse a probed swap before training."""

from __future__ import annotations

from conceptnet_ml.hookspecs import hookimpl
from conceptnet_ml.records import StopRule


@hookimpl
def conceptnet_stop_rules() -> list[StopRule]:
    """What can be exchanged is kept, the object is left alone."""
    return [
        StopRule(
            name="interchangeable",
            api="1",
            decide="conceptnet_plugins.stop_rules.interchangeable:decide",
            summary="keeps what changes the answer and can be exchanged, by ι or contrast",
        )
    ]
