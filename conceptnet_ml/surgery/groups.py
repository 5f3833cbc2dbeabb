"""Which tensors have a place for each unit of a stage: along which axis of every value, parameter and buffer.

In conv (3 → 4 channels) → norm → relu → flatten → linear, with maps of 2 × 2 cells, the four units of the stage
``relu`` lie in its value (B, 4, 2, 2) along dimension 1 as ``[0, 1, 2, 3]``, and in flatten's (B, 16) along dimension 1
as ``[0, 0, 0, 0, 1, 1, 1, 1, 2, …]``. The convolution's weight and bias *write* them along dimension 0, the norm's four
tensors *carry* them, and the linear layer's weight (outputs, 16) *reads* them along dimension 1, as flatten has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from conceptnet_ml.network.fx_route import Trace, module_of
from conceptnet_ml.network.staged_network import StagedNetwork

FOREIGN = -1
"""Number of a channel that is none of the stage's units."""


@dataclass(frozen=True)
class UnitAxis:
    """Where a tensor has the stage's units.

    Args:
        dim: The dimension they lie along.
        units: (size of the dimension,) int64, the unit at each position, or FOREIGN.
    """

    dim: int
    units: Tensor

    def same(self, other: UnitAxis) -> bool:
        """Whether both have the same units at the same positions of the same dimension."""
        return self.dim == other.dim and torch.equal(self.units, other.units)

    def positions(self, units: Tensor) -> Tensor:
        """Where these units are along the dimension."""
        return torch.isin(self.units, units).nonzero().flatten()

    def labels(self, shape: torch.Size) -> Tensor:
        """A tensor of this shape that holds at every position the number of its unit, in double."""
        view = [-1 if dim == self.dim else 1 for dim in range(len(shape))]
        return self.units.double().view(view).expand(shape).clone()

    @staticmethod
    def from_labels(labels: Tensor) -> UnitAxis | None:
        """The axis of these labels, None if they do not lie along one dimension."""
        for dim in range(labels.ndim - 1, 0, -1) if labels.ndim != 4 else (1, 3, 2):
            axis = UnitAxis(dim, labels.movedim(dim, -1).reshape(-1, labels.shape[dim])[0].round().long())
            if torch.equal(labels, axis.labels(labels.shape)):
                return axis
        return None


@dataclass(frozen=True)
class Dependency(UnitAxis):
    """A parameter or buffer with a place for each unit.

    Args:
        dim, units: As in :class:`UnitAxis`.
        path: Of the module that owns it, empty for the network itself.
        name: Its name there.
        role: ``writes`` for a layer that makes the units of other channels, ``carries`` for one that keeps them apart,
            ``reads`` for one that makes other channels of them.
        node: Where it is used.
    """

    path: str
    name: str
    role: Literal["writes", "carries", "reads"]
    node: fx.Node

    def tensor(self, network: nn.Module) -> Tensor | None:
        """The tensor itself, None where the module has none of this name."""
        return getattr(network.get_submodule(self.path), self.name, None)


@dataclass
class DependencyGroup:
    """All that depends on the units of a stage.

    Args:
        stage, units: Its name, and how many there are.
        trace, start: The graph, and the stage's own node in it.
        shapes: Of every tensor that depends on the images, for two images.
        others: Sizes and the like that depend on them, for two images.
        axes: For each value of the graph that has the units, where.
        dependencies: All parameters and buffers that have a place for them.
    """

    stage: str
    units: int
    trace: Trace
    start: fx.Node
    shapes: dict[fx.Node, torch.Size]
    others: dict[fx.Node, Any]
    axes: dict[fx.Node, UnitAxis] = field(default_factory=dict)
    dependencies: list[Dependency] = field(default_factory=list)

    def of(self, *roles: str) -> list[Dependency]:
        """The dependencies of these roles."""
        return [one for one in self.dependencies if one.role in roles]


def evaluate_node(root: nn.Module, node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    """The value of a node of the graph, from those of its inputs; what depends on weights alone is computed."""

    def value_of(one: fx.Node) -> Any:
        return values[one] if one in values else evaluate_node(root, one, values)

    args, kwargs = fx.map_arg(node.args, value_of), fx.map_arg(node.kwargs, value_of)
    if node.op == "get_attr":
        return reduce(getattr, str(node.target).split("."), root)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    function: Any = module_of(root, node) or node.target
    return function(*args, **kwargs)


def example_images(network: StagedNetwork) -> Tensor:
    """Two images of noise, as the network takes them."""
    images = torch.rand(2, 3, *network.image_size, generator=torch.Generator().manual_seed(0))
    return images.to(network.mean.device)
