"""Where a stage's units lie: in the values of the graph, and in the network's parameters and buffers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from conceptnet_ml.network.fx_route import Trace
from conceptnet_ml.network.staged_network import StagedNetwork

FOREIGN = -1
"""Number of a channel that is none of the stage's units."""


@dataclass(frozen=True)
class Layout:
    """Where a value has the stage's units.

    Args:
        dim: The dimension they lie along.
        units: (size of the dimension,) int64, whose unit each position is, or FOREIGN.
    """

    dim: int
    units: Tensor

    def same(self, other: Layout) -> bool:
        """Whether both say the same."""
        return self.dim == other.dim and torch.equal(self.units, other.units)


@dataclass(frozen=True)
class Tie:
    """A parameter or buffer with a place for each unit.

    Args:
        path: Of the module that owns it, empty for the network itself.
        name: Its name there.
        dim: The dimension the units lie along.
        units: As in :class:`Layout`.
        role: ``writes``, ``carries`` or ``reads``.
        node: Where it is used.
    """

    path: str
    name: str
    dim: int
    units: Tensor
    role: Literal["writes", "carries", "reads"]
    node: fx.Node

    def tensor(self, network: nn.Module) -> Tensor | None:
        """The tensor itself, None where the module has none of this name."""
        return getattr(network.get_submodule(self.path), self.name, None)

    def positions(self, units: Tensor) -> Tensor:
        """Where these units are along the dimension."""
        return torch.isin(self.units, units).nonzero().flatten()


@dataclass
class DependencyGroup:
    """All a stage's units are tied to.

    Args:
        stage: Its name.
        units: How many there are.
        trace: The graph.
        start: The stage's own node.
        layouts: For each value of the graph that holds the units, where.
        ties: All tensors with a place for them.
        shapes: Of every tensor that depends on the images, for two images.
        others: Sizes and the like, for two images.
    """

    stage: str
    units: int
    trace: Trace
    start: fx.Node
    layouts: dict[fx.Node, Layout] = field(default_factory=dict)
    ties: list[Tie] = field(default_factory=list)
    shapes: dict[fx.Node, torch.Size] = field(default_factory=dict)
    others: dict[fx.Node, Any] = field(default_factory=dict)

    def of(self, *roles: str) -> list[Tie]:
        """The ties of these roles."""
        return [tie for tie in self.ties if tie.role in roles]

    def tied_stages(self) -> tuple[str, ...]:
        """Names of the stages that have these very units, under the same numbers, this one among them."""
        own = Layout(1, torch.arange(self.units))
        places = self.trace.places.items()
        return tuple(name for name, node in places if node in self.layouts and self.layouts[node].same(own))

    @property
    def writers(self) -> set[fx.Node]:
        """The nodes whose layer makes the units out of other channels."""
        return {tie.node for tie in self.of("writes")}


def evaluate_node(root: nn.Module, node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    """The value of a node of the graph, from those of its inputs; what depends on weights alone is worked out."""

    def known(one: fx.Node) -> Any:
        return values[one] if one in values else evaluate_node(root, one, values)

    args, kwargs = fx.map_arg(node.args, known), fx.map_arg(node.kwargs, known)
    if node.op == "get_attr":
        return reduce(getattr, str(node.target).split("."), root)
    if node.op == "call_module":
        return root.get_submodule(str(node.target))(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    assert callable(node.target)
    return node.target(*args, **kwargs)


def layer_of(root: nn.Module, node: fx.Node) -> nn.Module | None:
    """The module a node calls, if it does."""
    return root.get_submodule(str(node.target)) if node.op == "call_module" else None


def is_depthwise(layer: nn.Module | None) -> bool:
    """Whether a layer is a convolution that keeps its input's channels apart."""
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1


def example(network: StagedNetwork) -> Tensor:
    """Two images of noise, as the network takes them."""
    images = torch.rand(2, 3, *network.image_size, generator=torch.Generator().manual_seed(0))
    return images.to(network.mean.device)


def spread(layout: Layout, shape: torch.Size) -> Tensor:
    """A tensor of this shape that shows at every position whose unit it is, in double."""
    view = [-1 if dim == layout.dim else 1 for dim in range(len(shape))]
    return layout.units.double().view(view).expand(shape).clone()


def layout_of(labels: Tensor) -> Layout | None:
    """The layout that labels everywhere show, None if they do not lie along one dimension."""
    for dim in range(labels.ndim - 1, 0, -1) if labels.ndim != 4 else (1, 3, 2):
        units = labels.movedim(dim, -1).reshape(-1, labels.shape[dim])[0]
        layout = Layout(dim, units.round().long())
        if torch.equal(labels, spread(layout, labels.shape)):
            return layout
    return None
