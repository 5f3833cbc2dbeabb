"""Ways to dream: each a recipe for the one engine."""

from __future__ import annotations

from conceptnet_ml.hookspecs import hookimpl
from conceptnet_ml.records import Dreamer

RECIPES = {
    "fourier": "from noise or an image: frequencies that move alike, uncorrelated colours, random views",
    "maco": "phases alone, under the magnitudes of real images (arXiv 2306.06805)",
    "pixels": "free pixels, with a price on roughness",
    "natural": "from noise or an image, held to what batch norms saw in training (DeepInversion)",
    "deepdream": "whatever is seen in an image, more of it, in octaves (Inceptionism)",
    "turn": "from an image, as little changed as will do: one class turned into another",
    "swap": "from an image and a donor: as little of the donor's material as will do, through a gate",
}


@hookimpl
def conceptnet_dreamers() -> list[Dreamer]:
    """The recipes, a file each."""
    return [
        Dreamer(name=name, api="1", recipe=f"conceptnet_plugins.dreamers.{name}:recipe", summary=summary)
        for name, summary in RECIPES.items()
    ]
