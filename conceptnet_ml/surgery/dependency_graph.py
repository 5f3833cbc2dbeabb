"""Following the units of a stage through a network: which tensors write them, carry them and read them.

A unit is one channel of a stage; to copy, merge or close it, every tensor with a row or column for it must be known
(:mod:`conceptnet_ml.surgery.groups`). Additions and identity shortcuts tie the units of several places together. The
idea is that of dependency graphs in structured pruning (Fang et al., arXiv 2301.12900), on the torch.fx graph that runs
the stages. How an operation rearranges channels is tried: it is applied to labels, a tensor of the input's shape that
holds at every position the number of its unit. A flatten of the labels of three units with 2 cells each is
``[0, 0, 1, 1, 2, 2]``; if the labels afterwards do not lie along one dimension, the operation mixes channels.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor, fx, nn

from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.fx_route import FxRoute, module_of
from conceptnet_ml.network.hook_route import PREFIX
from conceptnet_ml.network.modes import eval_mode
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.surgery.groups import FOREIGN, Dependency, DependencyGroup, UnitAxis, evaluate_node, example_images
from conceptnet_ml.surgery.resize import FROZEN


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


POINTWISE = _words(
    "relu relu6 leakyrelu elu selu celu gelu silu mish hardswish hardsigmoid sigmoid logsigmoid tanh softplus softsign "
    "hardtanh clamp threshold rrelu identity dropout alphadropout featurealphadropout stochasticdepth droppath "
    "contiguous clone detach float to abs neg sqrt exp pow"
)

SPATIAL = _words(
    "dropout1d dropout2d dropout3d maxpool2d avgpool2d lppool2d adaptiveavgpool2d adaptivemaxpool2d instancenorm2d "
    "zeropad2d constantpad2d reflectionpad2d replicationpad2d upsample interpolate"
)
"""These take dimension 1 for the channels and leave them there."""

REARRANGING = _words(
    "flatten view reshape permute transpose movedim swapaxes squeeze unsqueeze unflatten getitem cat concat"
)

REDUCING = _words("mean amax amin")

JOINING = _words("add iadd sub isub mul imul div truediv itruediv")


def dependency_group(network: StagedNetwork, stage: str) -> DependencyGroup:
    """All that depends on the units of a stage.

    Cost: one pass of two images.

    Raises:
        SettingsError: No such stage, or an operation that its units pass through mixes them or is not known.
    """
    name = network.stage(stage).name
    if not isinstance(network._route, FxRoute):
        raise SettingsError(
            f"stage '{stage}': the network's code depends on its data, so its units cannot be followed",
            "Choose a network that torch.fx can trace.",
        )
    if network.stage(name).channels_last:
        raise SettingsError(
            f"stage '{stage}': the network holds its maps with the channels last, where units cannot be followed",
            "Choose a stage whose module gives maps (B, C, h, w).",
        )
    with eval_mode(network):
        trace = network._route.trace(network)
        values: dict[fx.Node, Any] = {trace.data[0]: example_images(network)}
        for node in trace.data[1:]:
            values[node] = evaluate_node(network, node, values)
    shapes = {node: value.shape for node, value in values.items() if isinstance(value, Tensor)}
    others = {node: value for node, value in values.items() if node not in shapes}
    start = trace.places[name]
    group = DependencyGroup(name, shapes[start][1], trace, start, shapes, others)
    _Search(network, group).run()
    return group


class _Search:
    """Follows the units from value to value in both directions, until nothing new depends on them."""

    def __init__(self, network: StagedNetwork, group: DependencyGroup) -> None:
        self.network, self.group = network, group
        self.axes, self.shapes = group.axes, group.shapes
        self.queue: deque[fx.Node] = deque()
        self.data = set(group.trace.data)
        self.calls = Counter(str(node.target) for node in group.trace.data if node.op == "call_module")
        owners = Counter(id(p) for _, p in network.named_parameters(remove_duplicate=False))
        self.shared = {number for number, count in owners.items() if count > 1}

    def run(self) -> None:
        """Fill the group's axes and dependencies."""
        self.mark(self.group.start, UnitAxis(1, torch.arange(self.group.units)))
        while self.queue:
            node = self.queue.popleft()
            if node is self.group.trace.result:
                self.refuse(node, "they are the network's own answers")
            for place in (node, *node.users):
                if place in self.data:
                    self.relate(place)

    def mark(self, node: fx.Node, axis: UnitAxis) -> None:
        """Note where a value has the units; the operations that use it or make it come next."""
        known = self.axes.get(node)
        if known is None:
            self.axes[node] = axis
            self.queue.append(node)
        elif not known.same(axis):
            self.refuse(node, "two of them meet there as one")

    def add(
        self,
        node: fx.Node,
        names: str,
        dim: int,
        axis: UnitAxis,
        role: Literal["writes", "carries", "reads"],
        path: str | None = None,
    ) -> None:
        """Note tensors of a module that have a place for each unit, once; the module may lack some of them."""
        path = str(node.target) if path is None else path
        known = {(one.path, one.name, one.dim) for one in self.group.dependencies}
        for name in names.split():
            one = Dependency(dim, axis.units, path, name, role, node)
            if (path, name, dim) not in known and one.tensor(self.network) is not None:
                self.group.dependencies.append(one)

    def refuse(self, node: fx.Node, why: str) -> NoReturn:
        """Name the operation, the stage and the reason. Raises SettingsError."""
        what = str(node.target) if isinstance(node.target, str) else getattr(node.target, "__name__", node.name)
        layer, data = module_of(self.network, node), self.group.trace.data
        before = [one for one in data[: data.index(node)] if one.op == "call_module"]
        where = f" behind '{str(before[-1].target).removeprefix(PREFIX)}'" if layer is None and before else ""
        kind = f"{type(layer).__name__} " if layer is not None else ""
        raise SettingsError(
            f"the units of stage '{self.group.stage}' cannot be followed through {kind}"
            f"'{what.removeprefix(PREFIX)}'{where}: {why}",
            "Choose another stage (network.stages), or a network of convolutions, batch norm and residual additions.",
        )

    def relate(self, node: fx.Node) -> None:
        """Apply what an operation implies for the axes of its inputs and its output."""
        sources = [source for source in node.all_input_nodes if source in self.shapes]
        if node not in self.axes and not any(source in self.axes for source in sources):
            return
        if node.op == "placeholder":
            self.refuse(node, "they are the image's own channels")
        if node not in self.shapes:  # a size, or a tuple of tensors
            value = self.group.others[node]
            if isinstance(value, tuple | list) and any(isinstance(part, Tensor) for part in value):
                self.refuse(node, "it cuts them into several tensors")
            return
        layer = module_of(self.network, node)
        if layer is not None and [*layer.parameters(), *layer.buffers()]:
            _layer(self, node, layer, sources[0])
            return
        kind = _kind(node, layer)
        if kind in POINTWISE or kind in SPATIAL:
            self.keep(node, sources[0], spatial=kind in SPATIAL)
        elif kind in REARRANGING or kind in REDUCING:
            _rearrangement(self, node, sources, kind)
        elif kind in JOINING:
            _broadcast(self, node, sources)
        else:
            self.refuse(node, "it is not known whether it keeps channels apart")

    def keep(self, node: fx.Node, source: fx.Node, spatial: bool) -> None:
        """An operation that leaves every channel where it is; a spatial one needs them along dimension 1."""
        axis = self.axes.get(node) or self.axes[source]
        if spatial and axis.dim != 1:
            self.refuse(node, "they are not its dimension 1")
        self.mark(node, axis)
        self.mark(source, axis)


def _kind(node: fx.Node, layer: nn.Module | None) -> str:
    """Name of an operation, the same for a module, a function and a method: ``maxpool2d``, ``add``, ``flatten``."""
    target: Any = node.target
    name = type(layer).__name__ if layer is not None else target if isinstance(target, str) else target.__name__
    return name.lower().replace("_", "")


def _layer(search: _Search, node: fx.Node, layer: nn.Module, source: fx.Node) -> None:
    """A layer with weights of its own: carries the units, or reads its input's and writes its output's."""
    if search.calls[str(node.target)] > 1 or any(id(p) in search.shared for p in layer.parameters()):
        search.refuse(node, "its weights are used more than once")
    if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
        search.keep(node, source, spatial=True)
        search.add(node, "weight bias running_mean running_var", 0, search.axes[node], "carries")
    elif isinstance(layer, nn.PReLU):
        search.keep(node, source, spatial=True)
        if layer.num_parameters > 1:
            search.add(node, "weight", 0, search.axes[node], "carries")
    elif not isinstance(layer, nn.Conv2d | nn.Linear):
        search.refuse(node, "it mixes the channels, or it is not known whether it does")
    elif type(layer) not in (nn.Conv2d, nn.Linear, *FROZEN.values()):
        search.refuse(node, "it is a layer with code of its own")
    elif isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1:  # depthwise: it keeps channels apart
        times = layer.out_channels // layer.in_channels
        known = search.axes.get(source)
        units = known.units.repeat_interleave(times) if known else search.axes[node].units
        search.mark(node, UnitAxis(1, units))
        search.mark(source, UnitAxis(1, units[::times]))
        search.add(node, "weight bias live", 0, search.axes[node], "carries")
    else:
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            search.refuse(node, "it is a convolution in groups")
        for value, verb in ((source, "reads"), (node, "writes")):
            axis = search.axes.get(value)
            if axis is None:
                continue
            if axis.dim != (1 if isinstance(layer, nn.Conv2d) else len(search.shapes[value]) - 1):
                search.refuse(node, f"they are not the dimension it {verb}")
            if verb == "reads":
                search.add(node, "weight", 1, axis, "reads")
            else:
                search.add(node, "weight bias live", 0, axis, "writes")


def _broadcast(search: _Search, node: fx.Node, sources: list[fx.Node]) -> None:
    """A sum or product of broadcast tensors: its operands have the same units, unless they have but one channel."""
    shape, axes = search.shapes[node], search.axes
    if node not in axes:
        source = next(source for source in sources if source in axes)
        dim = axes[source].dim + len(shape) - len(search.shapes[source])
        if shape[dim] != len(axes[source].units):
            search.refuse(node, "one channel becomes many there")
        search.mark(node, UnitAxis(dim, axes[source].units))
    axis = axes[node]
    for operand in node.all_input_nodes:
        size = search.shapes.get(operand) or _weight_shape(search, node, operand)
        if size is None:
            continue
        dim = axis.dim - (len(shape) - len(size))
        if dim < 0 or size[dim] == 1:
            if operand in axes:
                search.refuse(node, "one channel becomes many there")
        elif operand in search.shapes:
            search.mark(operand, UnitAxis(dim, axis.units))
        else:
            path, _, name = str(operand.target).rpartition(".")
            search.add(node, name, dim, axis, "carries", path)


def _weight_shape(search: _Search, node: fx.Node, operand: fx.Node) -> torch.Size | None:
    """Shape of an operand that is a parameter; None for a number."""
    if operand in search.data:
        return None
    value = evaluate_node(search.network, operand, {})
    if not isinstance(value, Tensor) or value.ndim == 0:
        return None
    if operand.op != "get_attr" or id(value) in search.shared or len(operand.users) > 1:
        search.refuse(node, "it takes what is worked out from weights, or weights used more than once")
    return value.shape


def _rearrangement(search: _Search, node: fx.Node, sources: list[fx.Node], kind: str) -> None:
    """Views, permutations, concatenations, means over places: applied to labels instead of activations."""
    axes, shapes = search.axes, search.shapes
    if not sources:
        search.refuse(node, "it takes them out of several tensors")
    if kind not in ("cat", "concat"):
        sources = sources[:1]
    others = {source: search.group.others[source] for source in node.all_input_nodes if source in search.group.others}
    blank = {source: torch.full(shapes[source], float(FOREIGN), dtype=torch.float64) for source in sources}

    def apply(labels: dict[fx.Node, Tensor]) -> Tensor:
        return evaluate_node(search.network, node, {**others, **blank, **labels})

    if node not in axes:
        known = [source for source in sources if source in axes]
        found = UnitAxis.from_labels(apply({source: axes[source].labels(shapes[source]) for source in known}))
        units = {unit for source in known for unit in axes[source].units.tolist()}
        if found is None or {*found.units.tolist()} - {FOREIGN} != units - {FOREIGN}:
            search.refuse(node, "it mixes channels, or channels with places")
        search.mark(node, found)
    wanted = axes[node].labels(shapes[node])
    if kind in REDUCING:
        own = axes[node].units
        for axis in (UnitAxis(dim, own) for dim, size in enumerate(shapes[sources[0]]) if size == len(own)):
            if torch.equal(apply({sources[0]: axis.labels(shapes[sources[0]])}), wanted):
                search.mark(sources[0], axis)
                return
        search.refuse(node, "it mixes channels")
    for source in sources:  # the label of each of its positions is the one at the place where that comes to lie
        count = shapes[source].numel()
        moved = apply({source: torch.arange(count, dtype=torch.float64).view(shapes[source])}).flatten()
        labels = torch.full((count,), float(FOREIGN - 1), dtype=torch.float64)
        labels[moved[moved >= 0].long()] = wanted.flatten()[moved >= 0]
        if (labels == FOREIGN).all():
            continue  # a part of a concatenation that has no unit
        found = UnitAxis.from_labels(labels.view(shapes[source]))
        if found is None or (labels < FOREIGN).any():
            search.refuse(node, "it mixes channels with places, or passes on only some of them")
        search.mark(source, found)
