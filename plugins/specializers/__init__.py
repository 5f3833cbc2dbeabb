"""The specialize step."""

from __future__ import annotations

from conceptnet_ml.hookspecs import hookimpl
from conceptnet_ml.records import Specializer


@hookimpl
def conceptnet_specializers() -> list[Specializer]:
    """Variants that read where the detector looks."""
    return [
        Specializer(
            name="attention",
            api="1",
            split="conceptnet_plugins.specializers.attention:split",
            summary="function-preserving split of the detector, trained to tell the parents where it looks",
        )
    ]
