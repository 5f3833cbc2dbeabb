"""The zoom loop: each frame is a dream of the one before, looked at from a little nearer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from conceptnet_ml.dreams.cache import DreamCache
from conceptnet_ml.dreams.objectives import Objective
from conceptnet_ml.dreams.parametrizations import Pixels
from conceptnet_ml.dreams.recipe import Recipe
from conceptnet_ml.dreams.render import weights_digest
from conceptnet_ml.dreams.request import Dream, DreamRequest
from conceptnet_ml.dreams.studio import Studio
from conceptnet_ml.dreams.transforms import moved
from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.basis import BasisNetwork, without_basis
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.runtime import seeding
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.storage.hashing import digest

STEPS = Recipe(
    start="image", parametrization=Pixels(decay=0.7), ascent="gradient", rate=0.006, steps=6, octaves=2, stall=0.0
)
"""Of each frame: few steps, for the next frame goes on from where they end."""


def zoom(
    network: StagedNetwork | BasisNetwork,
    target: Objective,
    start: Tensor | None = None,
    *,
    frames: int = 100,
    rate: float = 1.05,
    turn: float = 0.0,
    hold: float = 0.25,
    recipe: Recipe | None = None,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    cache: DreamCache | None = None,
    progress: Progress | None = None,
    stopper: Stopper | None = None,
) -> Iterator[Dream]:
    """An endless dream, frame by frame (Mordvintsev, Olah and Tyka, *Inceptionism*, 2015).

    Args:
        network, target, device, dtype, cache, progress, stopper: As for :func:`conceptnet_ml.dream`.
        start: The first frame, uint8 (C, H, W); None for noise.
        frames: How many, the first one included.
        rate: How much nearer each frame is; detail is resampled once a frame.
        turn: Degrees by which each frame is turned.
        hold: How far each frame's mean and contrast, channel by channel, are drawn back to the first one's; without it
            colours run into the ends of their range.
        recipe: Of each frame; default: :data:`STEPS`.
        size: Height and width; default: the start's, else what the network was made for.
        seed: Of all its chance.

    Yields:
        The frames as they are made. The first is the start: no steps were made for it.

    Raises:
        SettingsError: As for :func:`conceptnet_ml.dream`; fewer than one frame, or a rate below one.
    """
    if frames < 1 or rate < 1:
        raise SettingsError(
            f"{frames} frames at a rate of {rate} are no zoom", "Give at least 1 frame and a rate of 1."
        )
    recipe = STEPS if recipe is None else replace(recipe, start="image")
    device = without_basis(network).mean.device if device is None else device
    if size is None:
        size = without_basis(network).image_size if start is None else (start.shape[1], start.shape[2])
    studio = Studio(network, target.layers, recipe, size, device, dtype, exact=False)
    studio.check([target])
    image = studio.noise(seed) if start is None else start
    turned, first = _turn(rate, turn), image.float() / 255
    key = digest(
        "zoom", weights_digest(network), recipe.key, target.key, size, rate, turn, hold, device.type, str(dtype)
    )
    progress = Progress(quiet=True) if progress is None else progress
    stopper = Stopper() if stopper is None else stopper
    with progress.task("zoom", total=frames) as task:
        for number in range(frames):
            stopper.check()
            seen = image
            if number:
                near = _held(moved(image[None].float() / 255, turned)[0], first, hold).clamp(0, 1)
                seen = (near * 255).round().to(torch.uint8)
            request = DreamRequest(target, seeding.seed_for(seed, "frame", number), seen)
            made = _frame(studio, request, number, digest(key, request.seed, seen), cache)
            image = made.image
            task.advance()
            yield made


def _frame(studio: Studio, request: DreamRequest, number: int, key: str, cache: DreamCache | None) -> Dream:
    """One frame, from the cache if it was dreamt before."""
    kept = None if cache is None else cache.load(key)
    if kept is not None:
        return Dream(request.objective, request.seed, cached=True, **kept)
    if number == 0:
        made = studio.measured([request])[0]
    else:
        found: list[Dream] = []
        studio.run([request], 1, lambda steps: None, lambda: None, lambda _, one: found.append(one))
        made = found[0]
    if cache is not None:
        cache.save(key, made)
    return made


def _turn(rate: float, degrees: float) -> Tensor:
    angle = math.radians(degrees)
    return torch.tensor([[math.cos(angle) / rate, math.sin(angle) / rate, 0.0, 0.0]])


def _held(image: Tensor, first: Tensor, share: float) -> Tensor:
    """Mean and deviation of each channel moved towards the first frame's."""
    mean, spread = image.mean((1, 2), keepdim=True), image.std((1, 2), keepdim=True).clamp_min(1e-3)
    wanted = spread.lerp(first.std((1, 2), keepdim=True).clamp_min(0.15), share)
    return (image - mean) * (wanted / spread) + mean.lerp(first.mean((1, 2), keepdim=True), share)


def correlation(first: Tensor, last: Tensor) -> float:
    """Pearson's correlation of two pictures, uint8 (C, H, W) each; 0 where one of them is flat."""
    one, other = (image.float().flatten() - image.float().mean() for image in (first, last))
    length = float(one.norm() * other.norm())
    return float(one @ other) / length if length else 0.0
