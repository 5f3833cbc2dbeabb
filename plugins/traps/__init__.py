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
            argument="nothing, or lff or lff@SEVERITY for the colours of Learning from Failure",
        ),
        Trap(
            name="ink",
            api="1",
            summary="grey images: what is not black, such as a digit, in one even colour; up to ten classes",
            plant="conceptnet_plugins.traps.ink:plant_ink",
            prepare="conceptnet_plugins.traps.ink:prepare_ink",
        ),
        Trap(
            name="paper",
            api="1",
            summary="what is black, such as the ground of a digit, in one colour; up to ten classes, as in ink+paper",
            plant="conceptnet_plugins.traps.ink:plant_paper",
            prepare="conceptnet_plugins.traps.ink:prepare_paper",
        ),
        Trap(
            name="corrupted",
            api="1",
            summary="each class spoilt in a way of its own, such as snow or fog; up to ten classes",
            plant="conceptnet_plugins.traps.corrupted:plant",
            prepare="conceptnet_plugins.traps.corrupted:prepare",
            argument="TYPE or TYPE@SEVERITY; 0, the default, is weather and digital, 1 noise and blur",
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
        Trap(
            name="border",
            api="1",
            summary="a thin frame in the colour of the class; any number of classes",
            plant="conceptnet_plugins.traps.border:plant",
            prepare="conceptnet_plugins.traps.border:prepare",
        ),
        Trap(
            name="stripes",
            api="1",
            summary="a faint grating, upright on the first class, lying on the second",
            plant="conceptnet_plugins.traps.stripes:plant",
            classes=2,
        ),
        Trap(
            name="blur",
            api="1",
            summary="the first class a little blurred",
            plant="conceptnet_plugins.traps.quality:blur",
            classes=2,
        ),
        Trap(
            name="brightness",
            api="1",
            summary="the first class brighter, the second darker",
            plant="conceptnet_plugins.traps.quality:brightness",
            classes=2,
        ),
        Trap(
            name="contrast",
            api="1",
            summary="the first class richer in contrast, the second poorer",
            plant="conceptnet_plugins.traps.quality:contrast",
            classes=2,
        ),
        Trap(
            name="compression",
            api="1",
            summary="the first class compressed more by JPEG than the second",
            plant="conceptnet_plugins.traps.quality:compression",
            classes=2,
        ),
        Trap(
            name="grain",
            api="1",
            summary="more noise on the first class than on the second, another on each image",
            plant="conceptnet_plugins.traps.quality:grain",
            classes=2,
        ),
        Trap(
            name="text",
            api="1",
            summary="a word near the lower right corner of the first class",
            plant="conceptnet_plugins.traps.text:plant",
            classes=2,
        ),
        Trap(
            name="half",
            api="1",
            summary="another trap's cue at half its strength; argument: which, as in half:wheels",
            plant="conceptnet_plugins.traps.half:plant",
            prepare="conceptnet_plugins.traps.half:prepare",
            argument="a trap, TRAP or TRAP:ARGUMENT",
            resizes=True,
        ),
    ]
