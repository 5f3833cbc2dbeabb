"""What is asked of the engine, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.drawing.notebook import picture_html
from conceptnet_ml.drawing.pictures import enlarge, to_image
from conceptnet_ml.dreams.objectives import Objective
from conceptnet_ml.dreams.parametrizations import Gate
from conceptnet_ml.dreams.recipe import Recipe
from conceptnet_ml.errors import SettingsError, visible
from conceptnet_ml.network.basis import Network, without_basis

ALL_STEPS, STALLED, NEVER_ROSE = "all steps", "stalled", "never rose"

NO_GRADIENT, NOT_FINITE = "no gradient", "not finite"


@dataclass(frozen=True, eq=False)
class DreamRequest:
    """One dream to make.

    Args:
        objective: What it maximizes.
        seed: Of everything random in it.
        start: The image to begin with, uint8 (C, H, W); None for noise.
        donor: The image a swap takes its material from, the same.
    """

    objective: Objective
    seed: int = 0
    start: Tensor | None = None
    donor: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Dream:
    """A picture, and how it came about.

    Args:
        objective, seed: As requested.
        image: uint8 (C, H, W).
        before, reached: The objective on the first image and on this one, both rounded to bytes and without transforms.
        steps: How many were made, over all octaves.
        outcome: ``all steps``, ``stalled`` (there was little more to gain), ``never rose``, ``no gradient`` (the
            objective does not depend on any of the starts) or ``not finite``.
        cached: It was read from the cache.
    """

    objective: Objective
    seed: int
    image: Tensor
    before: float
    reached: float
    steps: int
    outcome: str
    cached: bool = False

    @property
    def rose(self) -> bool:
        """Whether the objective is higher than at the start."""
        return self.reached > self.before

    def _repr_html_(self) -> str:
        said = f"{self.objective.name}: {self.before:.3g} → {self.reached:.3g}, {self.outcome}"
        picture = picture_html(enlarge(to_image(self.image)), 256, self.objective.name)
        return f"<figure>{picture}<figcaption>{escape(visible(said))}</figcaption></figure>"


def checked(network: Any, requests: Any, recipe: Any, seed: int) -> list[DreamRequest]:
    """The requests, of bare objectives those from noise by this seed.

    Raises SettingsError where :func:`~conceptnet_ml.dream` was given another type than it takes, or the recipe needs a
    start or donor that is missing or no such image.
    """
    if not isinstance(network, Network):
        raise SettingsError(f"a {type(network).__name__} has no stages", "Wrap it: StagedNetwork(model, (224, 224)).")
    if isinstance(requests, DreamRequest | Objective):
        raise SettingsError("one target was given where a list is wanted", "Put it into a list: dream(network, [it]).")
    if not isinstance(recipe, Recipe):
        mend = "Give a Recipe; a dreamer's: load_plugins().get('dreamer', NAME).function('recipe')(None)."
        raise SettingsError(f"a {type(recipe).__name__} is no recipe", mend)
    wanted = [one if isinstance(one, DreamRequest) else DreamRequest(one, seed) for one in requests]
    channels = without_basis(network).channels
    for request in wanted:
        name = request.objective.name
        if request.start is None and recipe.start == "image":
            raise SettingsError(f"the dream of {name} needs an image to start from", "Give one: --from IMAGE.")
        if request.donor is None and isinstance(recipe.parametrization, Gate):
            raise SettingsError(
                f"the swap toward {name} needs a donor",
                "In a run, turn a picture into a class (--toward): the class's real images are the donors.",
            )
        for image in (request.start, request.donor):
            if image is not None and not isinstance(image, Tensor):
                raise SettingsError(f"an image is a {type(image).__name__}", "Give a tensor, uint8 (C, H, W).")
            if image is not None and (image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != channels):
                raise SettingsError(
                    f"an image of {name} is {image.dtype} {tuple(image.shape)}",
                    f"It must be uint8 ({channels}, H, W).",
                )
    return wanted
