"""The trainable part of a concept: a detector of a generalized feature and its variants, one per class or parent.

Fitting them is the work of plugins (*generalizers* and *specializers*); this is what they are given and what they
return, and what becomes of them: a family whose answers the model can draw on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml.directions import units_of
from conceptnet_ml.network import StagedNetwork
from conceptnet_ml.settings import ConceptSettings

if TYPE_CHECKING:
    from conceptnet_ml.translating import Translation


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
        untrained: What 95 % of matches in networks that know nothing stay under, on the same pairs.
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
        untrained: The largest sum in networks that know nothing.
    """

    parent: int
    other: int
    pairs: tuple[tuple[int, int], ...]
    score: float
    null: float
    untrained: float


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
        effects: By parent and unit, what hangs on the members that analogies brought in: the mean fall of the parent's
            margin when the unit is replaced by its mean.
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


class Detector(nn.Module):
    """Where a generalized feature is, whatever the class: a 1×1 convolution over normalised units.

    ``G(x)[p] = Σ_u w_u · (h(x)[u, p] − m_u) / s_u + b``, a logit per place.

    Args:
        mean, scale: (C,) m_u and s_u, of the units over the images it was made on.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.reshape(1, -1, 1, 1).clone())
        self.register_buffer("scale", scale.reshape(1, -1, 1, 1).clone())
        self.weight = nn.Conv2d(mean.numel(), 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) maps to (B, 1, h, w) logits."""
        return self.weight((maps - self.mean) / self.scale)


class Variants(nn.Module):
    """One variant of a generalized feature per parent, each reading only where the detector looks.

    ``r(x) = Σ_p softmax_p(G(x)[p] / τ) · h(x)[p]`` and ``v_c(x) = ⟨w_c, r(x)⟩``, on normalised units.

    Args:
        mean, scale: (C,) of the units.
        count: Number of variants.
        temperature: τ.
    """

    mean: Tensor
    scale: Tensor
    temperature: Tensor

    def __init__(self, mean: Tensor, scale: Tensor, count: int, temperature: float) -> None:
        super().__init__()
        self.register_buffer("mean", mean.reshape(1, -1).clone())
        self.register_buffer("scale", scale.reshape(1, -1).clone())
        self.register_buffer("temperature", torch.tensor(float(temperature)))
        self.weight = nn.Linear(mean.numel(), count)

    def forward(self, maps: Tensor, looks: Tensor) -> Tensor:
        """Maps (B, C, h, w) and the detector's logits (B, 1, h, w) to responses (B, count)."""
        return self.weight((self.read(maps, looks) - self.mean) / self.scale)

    def read(self, maps: Tensor, looks: Tensor) -> Tensor:
        """r(x): (B, C), the maps averaged over the places where the detector looks."""
        attention = (looks.flatten(2) / self.temperature).softmax(2)
        return (maps.flatten(2) * attention).sum(2)


def restore_detector(state: dict[str, Tensor]) -> Detector:
    """A :class:`Detector` from its state dict."""
    detector = Detector(state["mean"].flatten(), state["scale"].flatten())
    detector.load_state_dict(state)
    return detector


def restore_variants(state: dict[str, Tensor]) -> Variants:
    """:class:`Variants` from their state dict."""
    count = state["weight.weight"].shape[0]
    variants = Variants(state["mean"].flatten(), state["scale"].flatten(), count, float(state["temperature"]))
    variants.load_state_dict(state)
    return variants


class Family(nn.Module):
    """A generalized feature at work: trunk up to its stage, detector and variants.

    The trunk is the network as it was when the feature was found, so that what the decision no longer rests on is
    still known: nothing is forgotten. It may be shared by several families.

    Args:
        trunk: Images (B, 3, H, W) to the stage's maps.
        detector: Maps to (B, 1, h, w) logits.
        variants: Maps and logits to (B, parents).
    """

    def __init__(self, trunk: nn.Module, detector: nn.Module, variants: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.detector = detector
        self.variants = variants

    def forward(self, images: Tensor) -> Tensor:
        """The variants' responses to float images, (B, parents)."""
        return self.respond(self.trunk(images).float())

    def respond(self, maps: Tensor) -> Tensor:
        """The variants' responses to the stage's maps."""
        return self.variants(maps, self.detector(maps))


class Trunk(nn.Module):
    """A network up to one of its stages: its units there, or their directions."""

    def __init__(self, network: nn.Module, stage: str) -> None:
        super().__init__()
        self.network = network
        self.stage = stage

    def forward(self, images: Tensor) -> Tensor:
        """Float images (B, 3, H, W) to maps (B, C, h, w)."""
        return units_of(self.network, self.stage, self.network.run_until(images, self.stage))  # type: ignore[operator]


class GeneralizedModel(nn.Module):
    """The learner's result: the network after the last good round, and every family it let go of.

    ``logits(x) = f(x) + Σ_k α_k · v^k(x)`` with all α zero by default, so the families cost nothing until one is
    wanted (``alpha`` is a buffer of one weight per family).

    Args:
        network: Images to logits.
        families: By name.
    """

    alpha: Tensor
    network: StagedNetwork

    def __init__(self, network: StagedNetwork, families: dict[str, Family] | None = None) -> None:
        super().__init__()
        self.network = network
        # Module names must not contain dots, the families' names do.
        self.names = tuple(families or {})
        self.families = nn.ModuleList((families or {}).values())
        self.register_buffer("alpha", torch.zeros(len(self.families)))

    def named_families(self) -> list[tuple[str, Family]]:
        """The families by name."""
        return list(zip(self.names, self.families, strict=True))  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """Float images in [0, 1] (B, 3, H, W) to logits (B, classes)."""
        logits = self.network(images)
        for weight, family in zip(self.alpha.tolist(), self.families, strict=True):
            if weight:
                logits = logits + weight * family(images)
        return logits


def pooled(gates: Tensor, size: tuple[int, int]) -> Tensor:
    """Gates (N, 1, H, W) at a stage's resolution: the share of each cell that is open."""
    return functional.adaptive_avg_pool2d(gates.float(), size)
