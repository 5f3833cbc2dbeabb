"""Directions of a stage's maps in place of its units: what a *basis* is, and a network described by one.

A basis is a module with ``encode``, maps (B, C, h, w) to coefficients (B, D, h, w), and ``decode`` back to maps, both
place by place and differentiable. A coefficient's map is used as a unit's map is: it is scored, ablated, swapped and
attributed. What a basis leaves out of the maps is passed on as further channels, so that the network computes the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from conceptnet_ml.config.settings import ConceptSettings
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.stages import Stage
from conceptnet_ml.runtime import seeding


@dataclass
class BasisEvidence:
    """A stage's maps, for a discoverer to learn a basis from.

    Args:
        maps: (B, C, h, w), fp32, of the probe images, batch by batch; on the run's device.
        seed: For all random draws.
        settings: How many directions are wanted, and more.
    """

    maps: list[Tensor]
    seed: int
    settings: ConceptSettings = field(default_factory=ConceptSettings)

    @property
    def units(self) -> int:
        """C, how many units the stage has."""
        return self.maps[0].shape[1]

    def places(self, most: int) -> Tensor:
        """Activations (n, C) at up to ``most`` places of all images, drawn at random and in random order.

        The same for the same seed, however the images are batched.
        """
        rows = [maps.permute(0, 2, 3, 1).flatten(0, 2) for maps in self.maps]
        total = sum(len(part) for part in rows)
        chosen = torch.randperm(total, generator=seeding.generator(self.seed))[:most].to(rows[0].device)
        found = rows[0].new_empty(len(chosen), self.units)
        start = 0
        for part in rows:  # not concatenated first: maps of all images may be large
            here = (chosen >= start) & (chosen < start + len(part))
            found[here] = part[chosen[here] - start]
            start += len(part)
        return found

    def explained(self, basis: nn.Module) -> float:
        """Share of the maps' variance, over images and places, that a basis keeps."""
        total = sum(maps.double().sum((0, 2, 3)) for maps in self.maps)
        count = sum(maps[:, 0].numel() for maps in self.maps)
        mean = (total / count).float()[:, None, None]  # type: ignore[union-attr, operator]
        error = variance = 0.0
        with torch.no_grad():
            for maps in self.maps:
                error += float((maps - basis.decode(basis.encode(maps))).double().square().sum())  # type: ignore[operator]
                variance += float((maps - mean).double().square().sum())
        return 1 - error / max(variance, 1e-12)


class Directions(nn.Module):
    """Maps as non-negative sums of directions: ``h(x)[:, p] ≈ Σ_k a_k(x)[p] · d_k``, ``a ≥ 0``.

    The coefficients are those of least squares (with a small ridge, so that there is only one answer), found place by
    place by accelerated projected gradient (Beck & Teboulle, SIAM J. Imaging Sci. 2009). Their gradient is that of the
    solution, not of the steps that led there.

    Args:
        directions: (D, C); scaled to length one.

    Cost: ``STEPS`` products of the (B·h·w, D) coefficients with a (D, D) matrix, ``BACK_STEPS`` of them backward.
    """

    directions: Tensor

    def __init__(self, directions: Tensor) -> None:
        super().__init__()
        length = directions.norm(dim=1, keepdim=True).clamp_min(1e-12)
        self.register_buffer("directions", (directions / length).clone())

    def encode(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) to (B, D, h, w)."""
        rows = maps.permute(0, 2, 3, 1)
        found: Any = _NonNegative.apply(rows.flatten(0, 2), self.directions)
        return found.view(*rows.shape[:3], -1).permute(0, 3, 1, 2)

    def decode(self, coefficients: Tensor) -> Tensor:
        """(B, D, h, w) to (B, C, h, w)."""
        return (coefficients.permute(0, 2, 3, 1) @ self.directions).permute(0, 3, 1, 2)


STEPS, BACK_STEPS = 100, 30
"""Steps of projected gradient, and of conjugate gradients in the backward pass."""

RIDGE = 1e-3


class _NonNegative(torch.autograd.Function):
    """Rows (N, C) and directions (D, C) to the coefficients (N, D) of non-negative least squares."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, directions: Tensor) -> Tensor:
        gram = directions @ directions.T
        gram = gram + RIDGE * torch.eye(len(gram), device=gram.device, dtype=gram.dtype)
        products = rows @ directions.T
        rate = 1 / torch.linalg.matrix_norm(gram, 2)
        found, ahead, weight = torch.zeros_like(products), torch.zeros_like(products), 1.0
        for _ in range(STEPS):
            after = torch.addmm(products, ahead, gram, alpha=-1).mul_(rate).add_(ahead).clamp_min_(0)
            next_weight = (1 + (1 + 4 * weight**2) ** 0.5) / 2
            ahead = torch.lerp(found, after, 1 + (weight - 1) / next_weight)
            found, weight = after, next_weight
        ctx.save_for_backward(found > 0, directions, gram)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """``dL/dm = Wᵀ x`` with ``G_SS x = gradient_S`` on the support S, by conjugate gradients."""
        support, directions, gram = ctx.saved_tensors
        residual = gradient * support
        solution, along, size = torch.zeros_like(residual), residual, residual.square().sum(1, keepdim=True)
        for _ in range(BACK_STEPS):
            image = (along @ gram) * support
            step = size / (along * image).sum(1, keepdim=True).clamp_min(1e-20)
            solution = solution + step * along
            residual = residual - step * image
            new_size = residual.square().sum(1, keepdim=True)
            along = residual + new_size / size.clamp_min(1e-20) * along
            size = new_size
        return solution @ directions, None


def restore_directions(state: Mapping[str, Tensor]) -> Directions:
    """:class:`Directions` from their state dict."""
    return Directions(state["directions"])


class BasisNetwork(nn.Module):
    """A staged network some of whose stages are described by directions.

    At such a stage ``run_until`` returns (B, D + C, h, w): the coefficients, then what the basis leaves out of the C
    units, ``maps − decode(coefficients)``. ``run_from`` and ``run_between`` take these channels, decode them and add
    what was left out, so that they compute what the network does. A change of a coefficient changes the maps along its
    direction.

    Args:
        network: The network itself; shared, not copied.
        bases: By name of the stage.
    """

    def __init__(self, network: StagedNetwork, bases: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.network = network
        self._names = tuple(bases)  # beside the modules, whose names must not contain dots
        self._bases = nn.ModuleList(bases.values())
        self.widths = {stage: basis_width(basis, network.stage(stage).units) for stage, basis in bases.items()}

    @property
    def bases(self) -> dict[str, nn.Module]:
        """The bases by stage."""
        return dict(zip(self._names, self._bases, strict=True))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The network's stages."""
        return self.network.stages

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images in px."""
        return self.network.image_size

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, 3, H, W), floats in [0, 1]: the network's own."""
        return self.network(images)

    def run_until(self, images: Tensor, stage: str) -> Tensor:
        """Coefficients and what they leave out, (B, D + C, h, w); the maps themselves at a stage without a basis."""
        return self._encode(self.network.run_until(images, stage), stage)

    def run_from(self, maps: Tensor, stage: str) -> Tensor:
        """Logits (B, classes) of what :meth:`run_until` returns."""
        return self.network.run_from(self._decode(maps, stage), stage)

    def run_between(self, maps: Tensor, from_stage: str, to_stage: str) -> Tensor:
        """What :meth:`run_until` returns at a later stage, from what it returns at an earlier one."""
        if from_stage == to_stage:
            return maps
        return self._encode(self.network.run_between(self._decode(maps, from_stage), from_stage, to_stage), to_stage)

    def _encode(self, maps: Tensor, stage: str) -> Tensor:
        basis: Any = self.bases.get(stage)
        if basis is None:
            return maps
        with torch.autocast(maps.device.type, enabled=False):
            maps = maps.float()
            coefficients = basis.encode(maps)
            return torch.cat([coefficients, maps - basis.decode(coefficients)], 1)

    def _decode(self, described: Tensor, stage: str) -> Tensor:
        basis: Any = self.bases.get(stage)
        if basis is None:
            return described
        width = self.widths[stage]
        with torch.autocast(described.device.type, enabled=False):
            described = described.float()
            return basis.decode(described[:, :width]) + described[:, width:]


Network = StagedNetwork | BasisNetwork
"""A network described by its units, or by directions at some of its stages."""


def with_basis(network: Network, stage: str, basis: nn.Module) -> BasisNetwork:
    """The network with a stage described by a basis, the other stages as they were."""
    bases = network.bases if isinstance(network, BasisNetwork) else {}
    return BasisNetwork(without_basis(network), {**bases, stage: basis})


def without_basis(network: Network) -> StagedNetwork:
    """The network itself."""
    return network.network if isinstance(network, BasisNetwork) else network


def units_of(network: nn.Module, stage: str, maps: Tensor) -> Tensor:
    """Of the channels that ``run_until`` returns, the units, or the directions without what they leave out."""
    return maps[:, : direction_count(network, stage)]


def direction_count(network: nn.Module, stage: str) -> int | None:
    """D, how many directions describe a stage; None where it is described by its units."""
    return network.widths.get(stage) if isinstance(network, BasisNetwork) else None


def basis_width(basis: nn.Module, units: int) -> int:
    """D, how many directions a basis has at a stage of so many units."""
    device = next((tensor.device for tensor in [*basis.buffers(), *basis.parameters()]), None)
    with torch.no_grad():
        return basis.encode(torch.zeros(1, units, 1, 1, device=device)).shape[1]  # type: ignore[operator]
