"""How a dream is dreamt: what a dreamer plugin returns."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor

from conceptnet_ml.dreams.parametrizations import Fourier, Parametrization
from conceptnet_ml.dreams.transforms import Transforms
from conceptnet_ml.errors import ConceptNetError, PluginError, SettingsError
from conceptnet_ml.records import Record
from conceptnet_ml.storage.hashing import sha256, tensor_digest

STARTS = ("noise", "image")

ASCENTS = ("adam", "gradient")

FIRST_NAMES = {
    "parametrization": "parametrisation",
    "conceptnet_ml.dreams.parametrizations": "conceptnet_ml.dreams.parametrisations",
}
"""What has another name in the keys of stored dreams than in the code."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything about a dream but its network, target, start and seed.

    Args:
        start: ``noise`` (a start may be given all the same) or ``image`` (one must).
        parametrization: What is turned.
        steps: Most steps of each octave.
        rate: Step length, by default the parametrization's: of Adam, or in units of the image's range for ``gradient``.
        ascent: ``adam``, or ``gradient``: steps of an even mean length (the Inceptionism notebook).
        transforms: How the image is moved about; None derives it from the image's size.
        octaves: How many sizes; from the smallest, what was added so far is carried over.
        octave_scale: Between two sizes.
        smooth: Weight of total variation, against the objective's slope brought to length one per pixel.
        near: Weight of the distance to the start.
        natural: Weight of batch norms' statistics (Yin et al., *DeepInversion*, CVPR 2020): each image's mean and
            deviation, channel by channel, against what the network saw in training. Costs a second pass back.
        stall: A dream ends when, over ``patience`` steps, it gained less than this share of what it gained in all; 0
            for never.
        patience: See above.
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
        """Refuse what cannot be.

        Raises:
            SettingsError: A number out of range, or an unknown word.
        """
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
        """A digest of all of it; stored dreams are found by it, so that its words are those of the first version."""
        parts = (
            f"{FIRST_NAMES.get(part.name, part.name)}={_described(getattr(self, part.name))};" for part in fields(self)
        )
        return sha256("".join(parts))

    def moves(self, size: tuple[int, int]) -> Transforms:
        """The transforms for images of this size: a sixteenth of the side, and less turning where pixels are few."""
        if self.transforms is not None:
            return self.transforms
        side = min(size)
        if self.ascent == "gradient":
            return Transforms(shift=max(1.0, side / 32))
        return Transforms(shift=max(1.0, side / 16), scale=(0.9, 1.1), rotate=min(10.0, 2.0 + side / 28))


def recipe_of(dreamer: Record, real: Tensor | None = None) -> Recipe:
    """What a dreamer says.

    Args:
        dreamer: Its record.
        real: Real images, uint8 (N, C, H, W), whose statistics it may take.

    Raises:
        PluginError: It fails, or returns something else.
    """
    try:
        made = dreamer.function("recipe")(real)
    except ConceptNetError:
        raise
    except Exception as error:  # a stranger's code
        raise PluginError(f"dreamer '{dreamer.name}' failed: {type(error).__name__}: {error}") from error
    if not isinstance(made, Recipe):
        raise PluginError(f"dreamer '{dreamer.name}' returned {type(made).__name__}", "It must return a Recipe.")
    return made


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)}{tensor_digest(value)}"
    if isinstance(value, (str, int, float, bool, tuple, type(None), Transforms)):
        return repr(value)
    inner = ",".join(f"{name}={_described(one)}" for name, one in sorted(vars(value).items()))
    module = type(value).__module__
    return f"{FIRST_NAMES.get(module, module)}.{type(value).__qualname__}({inner})"
