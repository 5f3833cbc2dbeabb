"""How a dream is made: what a dreamer plugin returns."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace
from typing import Any

from torch import Tensor

from conceptnet_ml.dreams.objectives import LOGITS
from conceptnet_ml.dreams.parametrizations import Fourier, Parametrization
from conceptnet_ml.dreams.transforms import Transforms
from conceptnet_ml.errors import PluginError, SettingsError
from conceptnet_ml.records import Record
from conceptnet_ml.storage.hashing import sha256, tensor_digest

STARTS = ("noise", "image")

ASCENTS = ("adam", "gradient")

LARGE = 128
"""From this side on, in px, the picture of a class is made in crops."""

FASTER = 3.0
"""By what factor steps are longer then: a step sees but a part of the image."""

KEY_NAMES = {
    "parametrization": "parametrisation",
    "conceptnet_ml.dreams.parametrizations": "conceptnet_ml.dreams.parametrisations",
}
"""What has another name in the keys of stored dreams than in the code."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything about a dream but its network, objective, start and seed.

    Args:
        start: ``noise`` (a start may be given nevertheless) or ``image`` (one must be given).
        parametrization: What is optimized.
        steps: Most steps of each octave.
        rate: Step length, of Adam, or in units of the image's range for ``gradient``; default: the parametrization's,
            three times that in crops.
        ascent: ``adam``, or ``gradient``: steps of equal mean length (the Inceptionism notebook).
        transforms: Random views of the image; None derives them from its size and from what is dreamt.
        octaves: How many sizes, the smallest first; what was added at one is carried over to the next.
        octave_scale: Ratio of two sizes.
        smooth: Weight of total variation, against the objective's gradient scaled to one per pixel.
        near: Weight of the distance to the start.
        natural: Weight of the batch norms' statistics, each image's against those of training (Yin et al.,
            *DeepInversion*, CVPR 2020). Costs a second backward pass.
        stall: A dream ends when the last ``patience`` steps gained less than this share of all it gained; 0: never.
        patience: See above.

    Raises:
        SettingsError: A number out of range, or an unknown word.
    """

    start: str = "noise"
    parametrization: Parametrization = field(default_factory=Fourier)
    steps: int = 256
    rate: float | None = None
    ascent: str = "adam"
    transforms: Transforms | None = None
    octaves: int = 1
    octave_scale: float = 1.4
    smooth: float = 0.0
    near: float = 0.0
    natural: float = 0.0
    stall: float = 0.02
    patience: int = 24

    def __post_init__(self) -> None:
        for name, known in (("start", STARTS), ("ascent", ASCENTS)):
            if getattr(self, name) not in known:
                raise SettingsError(
                    f"a dream's {name} '{getattr(self, name)}' is unknown", f"Use {' or '.join(known)}."
                )
        for name, least in (("steps", 1), ("octaves", 1), ("patience", 2)):
            if getattr(self, name) < least:
                raise SettingsError(f"a dream's {name} {getattr(self, name)} is too few", f"Give at least {least}.")
        if self.octave_scale <= 1 and self.octaves > 1:
            raise SettingsError(f"octave_scale {self.octave_scale} makes no octaves", "Give more than 1, as in 1.4.")
        for name in ("smooth", "near", "natural", "stall"):
            if not getattr(self, name) >= 0:
                raise SettingsError(f"a dream's {name} {getattr(self, name)} is negative", "Give 0 or more.")
        if self.rate is not None and not self.rate > 0:
            raise SettingsError(f"a dream's rate {self.rate} is not positive", "Give more than 0.")

    @property
    def key(self) -> str:
        """A digest of all fields, by which dreams are stored."""
        parts = (f"{KEY_NAMES.get(part.name, part.name)}={_key_of(getattr(self, part.name))};" for part in fields(self))
        return sha256("".join(parts))

    def filled(self, size: tuple[int, int], layers: Collection[str]) -> Recipe:
        """The recipe with transforms and a step length for images of this size, where it gives none.

        Fewer pixels are shifted and rotated less. The picture of a class in :data:`LARGE` px or more is made in crops,
        each of which is to show the class, in noise: else a network of photographs is content with fine texture all
        over the image, which is grey and which no other network takes for it (docs/decisions/0058-crops.md). What
        a step gains says little then, so all are made.

        Args:
            size: Height and width.
            layers: Those of the objectives.
        """
        side, rate, views, stall = min(size), self.rate or self.parametrization.rate, self.transforms, self.stall
        large = side >= LARGE and set(layers) == {LOGITS} and self.start == "noise"
        if views is None and self.ascent == "gradient":
            views = Transforms(shift=max(1.0, side / 32))
        elif views is None and large and isinstance(self.parametrization, Fourier) and not self.natural:
            views, stall = Transforms(shift=side / 5, scale=(1.0, 3.5), rotate=10.0, noise=0.12), 0.0
            rate = self.rate or FASTER * rate
        elif views is None:
            views = Transforms(shift=max(1.0, side / 16), scale=(0.9, 1.1), rotate=min(10.0, 2.0 + side / 28))
        return replace(self, transforms=views, rate=rate, stall=stall)


def recipe_of(dreamer: Record, real: Tensor | None = None) -> Recipe:
    """The recipe of a dreamer plugin, which may take statistics of real images, uint8 (N, C, H, W).

    Raises:
        PluginError: It fails, or returns something else.
    """
    recipe = dreamer.function("recipe")(real)
    if not isinstance(recipe, Recipe):
        raise PluginError(f"dreamer '{dreamer.name}' returned {type(recipe).__name__}", "It must return a Recipe.")
    return recipe


def _key_of(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)}{tensor_digest(value)}"
    if isinstance(value, (str, int, float, bool, tuple, type(None), Transforms)):
        return repr(value)
    inner = ",".join(f"{name}={_key_of(one)}" for name, one in sorted(vars(value).items()))
    module = type(value).__module__
    return f"{KEY_NAMES.get(module, module)}.{type(value).__qualname__}({inner})"
