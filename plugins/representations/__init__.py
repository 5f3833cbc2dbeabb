"""Views of an image in which a feature can be exchanged."""

from __future__ import annotations

from conceptnet_ml.hookspecs import hookimpl
from conceptnet_ml.records import Representation


@hookimpl
def conceptnet_representations() -> list[Representation]:
    """Colour statistics first (cheapest, most global), then Fourier amplitudes, blocks, waves, and gated pixels."""
    return [
        Representation(
            name="colour",
            api="1",
            encode="conceptnet_plugins.representations.colour:encode",
            decode="conceptnet_plugins.representations.colour:decode",
            measure="conceptnet_plugins.representations.colour:measure",
            gate="whole",
            cost=1,
            regional=True,
            channels=3,
            summary="mean and covariance of RGB, exchanged whole",
        ),
        Representation(
            name="exposure",
            api="1",
            encode="conceptnet_plugins.representations.exposure:encode",
            decode="conceptnet_plugins.representations.exposure:decode",
            gate="whole",
            cost=1,
            nature=0.05,
            redundant=True,
            summary="darkest and lightest value and how much is cut off there",
        ),
        Representation(
            name="sharpness",
            api="1",
            encode="conceptnet_plugins.representations.sharpness:encode",
            decode="conceptnet_plugins.representations.sharpness:decode",
            measure="conceptnet_plugins.representations.sharpness:measure",
            gate="whole",
            cost=2,
            nature=0.05,
            along=("blocks",),
            redundant=True,
            summary="how fast the spectrum falls to what is fine: blur",
        ),
        Representation(
            name="fourier",
            api="1",
            encode="conceptnet_plugins.representations.fourier:encode",
            decode="conceptnet_plugins.representations.fourier:decode",
            masks="conceptnet_plugins.representations.fourier:masks",
            gate="channel",
            cost=2,
            summary="amplitudes of spatial frequencies, through gates on fineness and direction",
        ),
        Representation(
            name="blocks",
            api="1",
            encode="conceptnet_plugins.representations.blocks:encode",
            decode="conceptnet_plugins.representations.blocks:decode",
            measure="conceptnet_plugins.representations.blocks:measure",
            masks="conceptnet_plugins.representations.blocks:masks",
            gate="whole",
            cost=3,
            nature=0.15,
            redundant=True,
            channels=3,
            summary="how strong the waves of small blocks are: grain, compression",
        ),
        Representation(
            name="waves",
            api="1",
            encode="conceptnet_plugins.representations.fourier:encode_waves",
            decode="conceptnet_plugins.representations.fourier:decode_waves",
            masks="conceptnet_plugins.representations.fourier:wave_masks",
            measure="conceptnet_plugins.representations.fourier:measure_waves",
            gate="channel",
            cost=4,
            entire=True,
            summary="spatial frequencies with their phases, through narrow gates on fineness and direction",
        ),
        Representation(
            name="pixels",
            api="1",
            encode="conceptnet_plugins.representations.pixels:encode",
            decode="conceptnet_plugins.representations.pixels:decode",
            gate="place",
            cost=9,
            summary="places of the image, transplanted through a gate",
        ),
    ]
