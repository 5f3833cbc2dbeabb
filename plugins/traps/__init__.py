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
        Trap(
            name="sticker",
            api="1",
            summary="a small random pattern of each class's own, at a random place; any number of classes",
            plant="conceptnet_plugins.traps.sticker:plant",
            prepare="conceptnet_plugins.traps.sticker:prepare",
        ),
        Trap(
            name="coloured",
            api="1",
            summary="grey images, such as digits, in the colour of their class; any number of classes",
            plant="conceptnet_plugins.traps.coloured:plant",
            prepare="conceptnet_plugins.traps.coloured:prepare",
        ),
        Trap(
            name="dominoes",
            api="1",
            summary="a second picture above the image; argument: its data set, as in dominoes:torchvision:MNIST",
            plant="conceptnet_plugins.traps.dominoes:plant",
            prepare="conceptnet_plugins.traps.dominoes:prepare",
            classes=2,
            argument="a data set, SOURCE or SOURCE@A,B with two of its classes",
            resizes=True,
        ),
    ]
