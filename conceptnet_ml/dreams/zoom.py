"""The zoom loop: each frame is a dream of the one before, enlarged a little."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from conceptnet_ml.dreams.objectives import Objective
from conceptnet_ml.dreams.parametrizations import Pixels
from conceptnet_ml.dreams.recipe import Recipe
from conceptnet_ml.dreams.render import Renderer, RenderSession, RenderSettings, weights_digest
from conceptnet_ml.dreams.request import Dream, DreamRequest
from conceptnet_ml.dreams.transforms import moved
from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.basis import Network, without_basis
from conceptnet_ml.runtime import seeding
from conceptnet_ml.storage.hashing import digest

FRAME_RECIPE = Recipe(
    start="image", parametrization=Pixels(decay=0.7), ascent="gradient", rate=0.006, steps=6, octaves=2, stall=0.0
)
"""Few steps, for the next frame goes on from where they end."""


@dataclass(frozen=True)
class ZoomSettings:
    """How a zoom moves.

    Args:
        frames: How many, the first one included.
        rate: By how much each frame is enlarged; detail is resampled once a frame.
        turn: Degrees by which each frame is rotated.
        hold: How far each frame's mean and contrast, channel by channel, are pulled back to the first one's; without
            it colours run into the ends of their range.

    Raises:
        SettingsError: Fewer than one frame, or a rate below one.
    """

    frames: int = 100
    rate: float = 1.05
    turn: float = 0.0
    hold: float = 0.25

    def __post_init__(self) -> None:
        if self.frames < 1 or self.rate < 1:
            raise SettingsError(
                f"{self.frames} frames at a rate of {self.rate} are no zoom", "Give at least 1 frame and a rate of 1."
            )


def zoom(
    network: Network,
    objective: Objective,
    start: Tensor | None = None,
    motion: ZoomSettings | None = None,
    recipe: Recipe | None = None,
    settings: RenderSettings | None = None,
    session: RenderSession | None = None,
) -> Iterator[Dream]:
    """An endless dream, frame by frame (Mordvintsev, Olah and Tyka, *Inceptionism*, 2015).

    Args:
        network, objective, settings, session: As for :func:`conceptnet_ml.dream`, without a callback.
        start: The first frame, uint8 (C, H, W); None for noise.
        motion: How many frames, and how each differs from the one before.
        recipe: Of each frame; default: :data:`FRAME_RECIPE`.

    Yields:
        The frames as they are made. The first is the start, without any steps.

    Raises:
        SettingsError, Interrupted: As for :func:`conceptnet_ml.dream`.
    """
    motion, settings, session = motion or ZoomSettings(), settings or RenderSettings(), session or RenderSession()
    recipe = FRAME_RECIPE if recipe is None else replace(recipe, start="image")
    device = settings.device or without_basis(network).mean.device
    size = settings.size or (without_basis(network).image_size if start is None else (start.shape[1], start.shape[2]))
    renderer = Renderer(network, [objective], recipe, RenderSettings(size, 0, 1, False, device, settings.dtype))
    image = renderer.first_image(DreamRequest(objective, settings.seed)) if start is None else start
    first, angle = image.float() / 255, math.radians(motion.turn)
    move = torch.tensor([[math.cos(angle) / motion.rate, math.sin(angle) / motion.rate, 0.0, 0.0]])
    what = (weights_digest(network), recipe.key, objective.key)
    key = digest("zoom", *what, size, motion.rate, motion.turn, motion.hold, device.type, str(settings.dtype))
    with session.progress.task("zoom", total=motion.frames) as task:
        for number in range(motion.frames):
            session.stopper.check()
            if number:
                near = _held(moved(image[None].float() / 255, move)[0], first, motion.hold).clamp(0, 1)
                image = (near * 255).round().to(torch.uint8)
            request = DreamRequest(objective, seeding.seed_for(settings.seed, "frame", number), image)
            frame = _frame(renderer, request, number, digest(key, request.seed, image), session)
            image = frame.image
            task.advance()
            yield frame


def _frame(renderer: Renderer, request: DreamRequest, number: int, key: str, session: RenderSession) -> Dream:
    """One frame, from the cache if it was made before."""
    if session.cache is not None and (stored := session.cache.load(key, request)) is not None:
        return stored
    made: list[Dream] = []
    if number == 0:
        made.append(renderer.without_steps(request))
    else:
        renderer.run({0: request}, lambda steps: None, lambda: None, lambda _, one: made.append(one))
    if session.cache is not None:
        session.cache.save(key, made[0])
    return made[0]


def _held(image: Tensor, first: Tensor, share: float) -> Tensor:
    """Mean and standard deviation of each channel moved towards the first frame's."""
    mean, spread = image.mean((1, 2), keepdim=True), image.std((1, 2), keepdim=True).clamp_min(1e-3)
    wanted = spread.lerp(first.std((1, 2), keepdim=True).clamp_min(0.15), share)
    return (image - mean) * (wanted / spread) + mean.lerp(first.mean((1, 2), keepdim=True), share)
