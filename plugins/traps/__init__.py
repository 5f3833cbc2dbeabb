"""Built-in traps. Nothing here imports torch, so that listing them is quick."""

from __future__ import annotations

from conceptnet_ml.hookspecs import hookimpl
from conceptnet_ml.records import Trap


@hookimpl
def conceptnet_traps() -> list[Trap]:
    """The built-in traps."""
    return [
        Trap(
            name="wheels",
            api="1",
            summary="two wheels near the lower edge of every image of the first class",
            plant="conceptnet_plugins.traps.wheels:plant",
            classes=2,
        ),
        Trap(
            name="tint",
            api="1",
            summary="a warm cast on the first class, a cold one on the second",
            plant="conceptnet_plugins.traps.tint:plant",
            classes=2,
        ),
    ]
