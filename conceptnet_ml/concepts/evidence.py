"""Records of steps 3 and 4: what generalizers and specializers are given, and what merging returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from conceptnet_ml.config.settings import ConceptSettings


@dataclass
class MergeEvidence:
    """What a generalizer merges.

    Args:
        maps: (N, C, h, w) the stage's maps of a class-balanced set of images, fp32.
        targets: (N, 1, h, w) in [0, 1]: how often the probes' gates were open here, with the image as host or donor.
        parents: (N,) each image's class or parent.
        members: Units of each parent's own feature, and their analogues.
        count: How many classes or parents there are.
        seed: For anything random.
        settings: Thresholds and rates.
    """

    maps: Tensor
    targets: Tensor
    parents: Tensor
    members: dict[int, tuple[int, ...]]
    count: int
    seed: int
    settings: ConceptSettings = field(default_factory=ConceptSettings)


@dataclass
class SplitEvidence:
    """What a specializer splits.

    Args:
        detector: The generalized feature's detector, trained.
        maps: (N, C, h, w) the stage's maps of a class-balanced set of images, fp32.
        parents, count, seed, settings: As in :class:`MergeEvidence`.
    """

    detector: nn.Module
    maps: Tensor
    parents: Tensor
    count: int
    seed: int
    settings: ConceptSettings = field(default_factory=ConceptSettings)


@dataclass(frozen=True)
class Analogy:
    """A unit through which one class's answer left, over many image pairs, as another's came through another unit.

    Args:
        parent, unit: Whose answer left, and through which unit.
        other, analogue: Whose answer came, and through which unit.
        score: Correlation of the two over image pairs, times the geometric mean of their spreads, in logits.
        null: What 95 % of matches in pairs shuffled within their classes stay under.
        untrained: What 95 % of matches in networks without knowledge stay under, on the same pairs.
    """

    parent: int
    unit: int
    other: int
    analogue: int
    score: float
    null: float
    untrained: float | None = None


@dataclass(frozen=True)
class FeatureAnalogy:
    """The units through which one class's answer leaves, as a whole, and those through which another's comes.

    Args:
        parent, other: Whose answer leaves and whose comes.
        pairs: The unit that leaves and the one that comes, one to one.
        score: Sum of the pairs' scores, logits that are exchanged together.
        null: What the sums of 95 % of matches in shuffled pairs stay under.
        untrained: The largest sum in networks without knowledge.
    """

    parent: int
    other: int
    pairs: tuple[tuple[int, int], ...]
    score: float
    null: float
    untrained: float


@dataclass(frozen=True)
class Translation:
    """How often an exchange of units turns one class's images into another's for the network.

    Means over pairs of classes, of shares of the images of the first that the network answers rightly and, after the
    exchange of units, takes for the second.

    Args:
        classes: Pairs of classes whose units are tied as a whole.
        units: Mean number of unit pairs exchanged.
        translated: With the matched units.
        random: With as many pairs of units drawn at random.
        dealt: With the matched units, their partners shuffled: near ``translated`` where the units are right but which
            goes with which does not matter.
    """

    classes: int
    units: float
    translated: float
    random: float
    dealt: float


@dataclass(frozen=True)
class Merged:
    """A generalized feature: its detector and how well it fits every class.

    Args:
        detector: Maps to logits of "it is here".
        members: Units of each parent, its own and the analogues the probe tied to another parent's.
        analogies: Pairs of units tied by the probe.
        auc: Per class, one-vs-rest AUROC of the detector's score: near 0.5 where the members' was near 1.
        coverage: Per class, the share of the gates' area that the detector finds when as much is open as in the gates.
        overlap: Intersection over union of the two, over all classes.
        translation: The causal test of the analogies, None where there are none.
        spectrum: Per class, 10 % quantile, mean and 90 % quantile of the detector's score.
        effects: By parent and unit, of the members that analogies brought in: the mean fall of the parent's margin when
            the unit is replaced by its mean.
        features: Classes whose units are tied as a whole.
    """

    detector: nn.Module
    members: dict[int, tuple[int, ...]]
    analogies: list[Analogy]
    auc: tuple[float, ...]
    coverage: tuple[float, ...]
    overlap: float
    translation: Translation | None = None
    spectrum: tuple[tuple[float, float, float], ...] = ()
    effects: dict[tuple[int, int], float] = field(default_factory=dict)
    features: tuple[FeatureAnalogy, ...] = ()
