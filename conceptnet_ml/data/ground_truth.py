"""What the maker of a data set planted in it: the features that tell its classes, and how they are nested.

Only for judging a run afterwards; the learner never sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from conceptnet_ml.data.images import ImageSet

PLACE = "place"
"""Kind of a feature that is a thing at a place; other kinds are how a thing looks."""


@dataclass(frozen=True)
class PlantedFeature:
    """One feature that fits the classes, with a variant per class.

    Args:
        name: Its name, unique in a truth.
        kind: ``"place"`` for a thing at a place, which is exchanged with everything in it; else the name of the
            representation that holds it, such as ``"colour"``.
        parts: Per class, the mask (of ``ImageSet.masks``) of the part that shows it.
        variants: Per class, what it looks like there.
        parent: Name of the feature it is a feature of; None for one of the image itself.
    """

    name: str
    kind: str
    parts: tuple[str, ...]
    variants: tuple[str, ...]
    parent: str | None = None


@dataclass(frozen=True)
class Truth:
    """Everything that was planted.

    Args:
        features: Parents before what is nested in them.
        draw: ``draw(shown) -> images``: the images of ``tests["test"]`` as they would be in training, except that the
            feature ``name`` shows the variants of the classes ``shown[name]``, int64 (N,). A feature that is not named
            shows the image's own class's. Everything else is the same; masks and labels are those of the images drawn.

    Raises:
        ValueError: Names that repeat, a parent that does not come before, or not one part and variant per class.
    """

    features: tuple[PlantedFeature, ...]
    draw: Callable[[Mapping[str, Tensor]], ImageSet]

    def __post_init__(self) -> None:
        known: set[str] = set()
        for feature in self.features:
            if feature.name in known:
                raise ValueError(f"two planted features are called '{feature.name}'")
            if feature.parent is not None and feature.parent not in known:
                raise ValueError(f"planted feature '{feature.name}': its parent '{feature.parent}' must come before it")
            if len({len(feature.parts), len(feature.variants), self.classes}) > 1:
                raise ValueError(f"planted feature '{feature.name}' needs one part and one variant per class")
            known.add(feature.name)

    @property
    def classes(self) -> int:
        """How many classes the features tell apart."""
        return len(self.features[0].variants) if self.features else 0

    def level(self, name: str) -> int:
        """1 for a feature of the image itself, one more for each parent above."""
        parent = next(feature.parent for feature in self.features if feature.name == name)
        return 1 if parent is None else 1 + self.level(parent)

    def nested(self, name: str) -> list[str]:
        """The feature and everything nested in it: what is exchanged together with the thing itself."""
        names = [name]
        for feature in self.features:
            if feature.parent in names:
                names.append(feature.name)
        return names
