"""The find step."""

from __future__ import annotations

from conceptnet_ml.hookspecs import hookimpl
from conceptnet_ml.records import Discoverer


@hookimpl
def conceptnet_discoverers() -> list[Discoverer]:
    """Features made of single units."""
    return [
        Discoverer(
            name="units",
            api="1",
            find="conceptnet_plugins.discoverers.units:find",
            summary="smallest set of class-specific units that carries the margin",
        )
    ]
