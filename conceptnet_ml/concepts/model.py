"""A generalized feature as a network: its detector, its variants, the family of both, and the model that has families.

Detectors and variants are fitted by plugins (*generalizers* and *specializers*); these are the built-in ones' classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from conceptnet_ml.network.basis import units_of
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.runtime import layout


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
        return self.weight(layout.for_convolution((maps - self.mean) / self.scale, self.weight.weight))


class Variants(nn.Module):
    """One variant of a generalized feature per parent, each reading only where the detector finds it.

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

    def forward(self, maps: Tensor, found: Tensor) -> Tensor:
        """Maps (B, C, h, w) and the detector's logits (B, 1, h, w) to responses (B, count)."""
        return self.weight((self.read(maps, found) - self.mean) / self.scale)

    def read(self, maps: Tensor, found: Tensor) -> Tensor:
        """r(x): (B, C), the maps averaged over the places where the detector finds the feature."""
        attention = (found.flatten(2) / self.temperature).softmax(2)
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
    """A generalized feature that answers: trunk up to its stage, detector and variants.

    The trunk is the network as it was when the feature was found, so a family still knows what the network's decision
    no longer rests on. Families may share a trunk.

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
    """The learner's result: the network after the last kept round, and the family of every feature it gave up.

    ``logits(x) = f(x) + Σ_k α_k · v^k(x)``. All α (the buffer ``alpha``) are zero by default, and a family with a
    weight of zero costs nothing.

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
        return self.add_families(self.network(images), images)

    def add_families(self, logits: Tensor, images: Tensor) -> Tensor:
        """Logits with the weighted answers of the families to the same images added."""
        for weight, family in zip(self.alpha.tolist(), self.families, strict=True):
            if weight:
                logits = logits + weight * family(images)
        return logits
