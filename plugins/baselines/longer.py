"""The control for compute alone."""

from __future__ import annotations

from conceptnet_ml import BaselineContext, ViewMaker


def views(context: BaselineContext) -> ViewMaker:
    """The training images as they are."""
    return context.plain
