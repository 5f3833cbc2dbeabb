"""Following the units of a stage through a network: which tensors write them, carry them and read them.

A unit is one channel of a stage. To copy, merge or close it, every tensor with a row or column for it must be known:
the layers that *write* it (a convolution's filters), those that *carry* it (batch norm, a depthwise convolution, a
layer scale) and those that *read* it (the next convolutions, a linear layer behind a flatten, where one channel is
h·w features). Additions and identity shortcuts tie the units of several places together: in a residual stage a
channel is the same one in every block. The idea is that of structured pruning's dependency graphs (Fang et al., arXiv
2301.12900); here the graph is the torch.fx graph the stages are run by, and how operations rearrange channels is not
tabulated but tried: they are applied to the channels' numbers.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor, fx, nn

from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.fx_route import FxRoute, Trace
from conceptnet_ml.network.hook_route import PREFIX
from conceptnet_ml.network.modes import eval_mode
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.surgery.groups import (
    FOREIGN,
    DependencyGroup,
    Layout,
    Tie,
    evaluate_node,
    example,
    is_depthwise,
    layer_of,
    layout_of,
    spread,
)
from conceptnet_ml.surgery.resize import HELD


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
"""These take the channel to be dimension 1 and leave it there."""

REARRANGING = _words(
    "flatten view reshape permute transpose movedim swapaxes squeeze unsqueeze unflatten getitem cat concat"
)

REDUCING = _words("mean amax amin")

JOINING = _words("add iadd sub isub mul imul div truediv itruediv")

LAYERS = (nn.Conv2d, nn.Linear)


def dependency_group(network: StagedNetwork, stage: str) -> DependencyGroup:
    """All that the units of a stage are tied to.

    Cost: one pass of two images.

    Raises:
        SettingsError: No such stage, or its units pass through what mixes them or what is not known.
    """
    name = network.stage(stage).name
    if not isinstance(network._route, FxRoute):
        raise SettingsError(
            f"stage '{stage}': the network's code depends on its data, so its units cannot be followed",
            "Choose a network that torch.fx can trace.",
        )
    with eval_mode(network):
        trace = network._route.trace(network)
        shapes, others = _values(network, trace)
    return _Follower(network, name, trace, shapes, others).follow()


def tied_stages(network: StagedNetwork, stage: str) -> tuple[str, ...]:
    """Names of the network's stages that share the units of this one by identity shortcuts or pooling, it included.

    What is done to a unit of one of them is done to the unit of that number in all of them.
    """
    tied = set(dependency_group(network, stage).tied_stages())
    return tuple(name for name in network.stage_names if name in tied)


def _values(network: StagedNetwork, trace: Trace) -> tuple[dict[fx.Node, torch.Size], dict[fx.Node, Any]]:
    """Of every node that depends on the images: the shape of its tensor, or what else it is, such as a size."""
    values: dict[fx.Node, Any] = {trace.data[0]: example(network)}
    data = set(trace.data)
    left = {node: len(data.intersection(node.users)) for node in trace.data}
    shapes: dict[fx.Node, torch.Size] = {}
    others: dict[fx.Node, Any] = {}
    for node in trace.data:
        if node not in values:
            values[node] = evaluate_node(network, node, values)
        value = values[node]
        if isinstance(value, Tensor):
            shapes[node] = value.shape
        else:
            others[node] = value
        for source in node.all_input_nodes:
            if source in left:
                left[source] -= 1
                if not left[source]:
                    values.pop(source, None)
    return shapes, others


class _Follower:
    """Spreads the layout of one node to all others it is tied to, until nothing new is found."""

    def __init__(
        self,
        network: StagedNetwork,
        stage: str,
        trace: Trace,
        shapes: dict[fx.Node, torch.Size],
        others: dict[fx.Node, Any],
    ) -> None:
        self.network, self.shapes, self.others = network, shapes, others
        start = trace.places[stage]
        self.group = DependencyGroup(stage, shapes[start][1], trace, start, shapes=shapes, others=others)
        self.queue: deque[fx.Node] = deque()
        self.data = set(trace.data)
        self.calls = Counter(str(node.target) for node in trace.data if node.op == "call_module")
        owners = Counter(id(p) for _, p in network.named_parameters(remove_duplicate=False))
        self.shared = {number for number, count in owners.items() if count > 1}

    def follow(self) -> DependencyGroup:
        """From the stage on, in both directions, until nothing new is tied to it."""
        group = self.group
        self.mark(group.start, Layout(1, torch.arange(group.units)))
        while self.queue:
            node = self.queue.popleft()
            if node is group.trace.result:
                self.refuse(node, "they are the network's own answers")
            for place in (node, *node.users):
                if place in self.data:
                    self.relate(place)
        return group

    def mark(self, node: fx.Node, layout: Layout) -> None:
        """Say where a value has the units; what uses it or makes it is looked at next."""
        known = self.group.layouts.get(node)
        if known is None:
            self.group.layouts[node] = layout
            self.queue.append(node)
        elif not known.same(layout):
            self.refuse(node, "two of them meet there as one")

    def refuse(self, node: fx.Node, why: str) -> NoReturn:
        """Name the operation, the stage and the reason. Raises SettingsError."""
        what = str(node.target) if isinstance(node.target, str) else getattr(node.target, "__name__", node.name)
        layer, data = layer_of(self.network, node), self.group.trace.data
        before = [one for one in data[: data.index(node)] if one.op == "call_module"]
        where = f" behind '{str(before[-1].target).removeprefix(PREFIX)}'" if layer is None and before else ""
        kind = f"{type(layer).__name__} " if layer is not None else ""
        raise SettingsError(
            f"the units of stage '{self.group.stage}' cannot be followed through {kind}"
            f"'{what.removeprefix(PREFIX)}'{where}: {why}",
            "Choose another stage (network.stages), or a network of convolutions, batch norm and residual additions.",
        )

    def relate(self, node: fx.Node) -> None:
        """Apply what an operation says about the layouts of its inputs and its output."""
        layer, layouts = layer_of(self.network, node), self.group.layouts
        sources = [source for source in node.all_input_nodes if source in self.shapes]
        if node not in layouts and not any(source in layouts for source in sources):
            return
        if node.op == "placeholder":
            self.refuse(node, "they are the image's own channels")
        if node not in self.shapes:  # a size, or a tuple of tensors
            value = self.others[node]
            if isinstance(value, tuple | list) and any(isinstance(part, Tensor) for part in value):
                self.refuse(node, "it cuts them into several tensors")
            return
        if layer is not None and (
            next(layer.parameters(), None) is not None or next(layer.buffers(), None) is not None
        ):
            self.relate_layer(node, layer, sources[0])
            return
        kind = _kind(node, layer)
        if kind in POINTWISE or kind in SPATIAL:
            self.through(node, sources[0], spatial=kind in SPATIAL)
        elif kind in REARRANGING or kind in REDUCING:
            self.rearrange(node, sources, kind)
        elif kind in JOINING:
            self.join(node, sources)
        else:
            self.refuse(node, "it is not known whether it keeps channels apart")

    def through(self, node: fx.Node, source: fx.Node, spatial: bool) -> None:
        """An operation that leaves every channel where it is; a spatial one wants them along dimension 1."""
        layout = self.group.layouts.get(node) or self.group.layouts[source]
        if spatial and layout.dim != 1:
            self.refuse(node, "they are not its dimension 1")
        self.mark(node, layout)
        self.mark(source, layout)

    def relate_layer(self, node: fx.Node, layer: nn.Module, source: fx.Node) -> None:
        """A layer with weights of its own: carries the units, or ends them."""
        if self.calls[str(node.target)] > 1 or any(id(p) in self.shared for p in layer.parameters()):
            self.refuse(node, "its weights are used more than once")
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            self.through(node, source, spatial=True)
            for name in ("weight", "bias", "running_mean", "running_var"):
                self.tie(node, name, 0, self.group.layouts[node], "carries")
        elif isinstance(layer, nn.PReLU):
            self.through(node, source, spatial=True)
            if layer.num_parameters > 1:
                self.tie(node, "weight", 0, self.group.layouts[node], "carries")
        elif isinstance(layer, nn.Conv2d) and is_depthwise(layer):
            self.depthwise(node, layer, source)
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            self.dense(node, layer, source)
        else:
            self.refuse(node, "it mixes the channels, or it is not known whether it does")

    def depthwise(self, node: fx.Node, layer: nn.Conv2d, source: fx.Node) -> None:
        """One filter, or several, for each channel: carries the units."""
        self.usual(node, layer)
        times = layer.out_channels // layer.in_channels
        known = self.group.layouts.get(source)
        units = known.units.repeat_interleave(times) if known else self.group.layouts[node].units
        self.mark(node, Layout(1, units))
        self.mark(source, Layout(1, units[::times]))
        for name in ("weight", "bias", "live"):
            self.tie(node, name, 0, self.group.layouts[node], "carries")

    def dense(self, node: fx.Node, layer: nn.Conv2d | nn.Linear, source: fx.Node) -> None:
        """Reads the units where its input has them, writes them where its output has."""
        self.usual(node, layer)
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            self.refuse(node, "it is a convolution in groups")
        inside, outside = self.group.layouts.get(source), self.group.layouts.get(node)
        if inside is not None:
            if inside.dim != (1 if isinstance(layer, nn.Conv2d) else len(self.shapes[source]) - 1):
                self.refuse(node, "they are not the dimension it reads")
            self.tie(node, "weight", 1, inside, "reads")
        if outside is not None:
            if outside.dim != (1 if isinstance(layer, nn.Conv2d) else len(self.shapes[node]) - 1):
                self.refuse(node, "they are not the dimension it writes")
            for name in ("weight", "bias", "live"):
                self.tie(node, name, 0, outside, "writes")

    def usual(self, node: fx.Node, layer: nn.Module) -> None:
        """Only layers whose code is known are followed."""
        if type(layer) not in (*LAYERS, *HELD.values()):
            self.refuse(node, "it is a layer with code of its own")

    def tie(self, node: fx.Node, name: str, dim: int, layout: Layout, role: Any, path: str | None = None) -> None:
        """Note a tensor with a place for each unit, once; a layer may lack it."""
        path = str(node.target) if path is None else path
        if any((tie.path, tie.name, tie.dim) == (path, name, dim) for tie in self.group.ties):
            return
        tie = Tie(path, name, dim, layout.units, role, node)
        if tie.tensor(self.network) is not None:
            self.group.ties.append(tie)

    def join(self, node: fx.Node, sources: list[fx.Node]) -> None:
        """A sum or product of broadcast tensors: along the channels all of them are tied, unless they have but one."""
        shape, layouts = self.shapes[node], self.group.layouts
        if node not in layouts:
            source = next(source for source in sources if source in layouts)
            layout = layouts[source]
            dim = layout.dim + len(shape) - len(self.shapes[source])
            if shape[dim] != len(layout.units):
                self.refuse(node, "one channel becomes many there")
            self.mark(node, Layout(dim, layout.units))
        layout = layouts[node]
        for operand in node.all_input_nodes:
            size = self.shapes.get(operand) or self.weight_shape(node, operand)
            if size is None:
                continue
            dim = layout.dim - (len(shape) - len(size))
            if dim < 0 or size[dim] == 1:
                if operand in layouts:
                    self.refuse(node, "one channel becomes many there")
                continue
            if operand in self.shapes:
                self.mark(operand, Layout(dim, layout.units))
            else:
                path, _, name = str(operand.target).rpartition(".")
                self.tie(node, name, dim, layout, "carries", path)

    def weight_shape(self, node: fx.Node, operand: fx.Node) -> torch.Size | None:
        """Of an operand that is no data: a parameter; None for a number."""
        if operand in self.data:
            return None
        value = evaluate_node(self.network, operand, {})
        if not isinstance(value, Tensor) or value.ndim == 0:
            return None
        if operand.op != "get_attr" or id(value) in self.shared or len(operand.users) > 1:
            self.refuse(node, "it takes what is worked out from weights, or weights used more than once")
        return value.shape

    def rearrange(self, node: fx.Node, sources: list[fx.Node], kind: str) -> None:
        """Views, permutations, concatenations, means over places: applied to numbers instead of activations."""
        layouts = self.group.layouts
        if not sources:
            self.refuse(node, "it takes them out of several tensors")
        if kind not in ("cat", "concat"):
            sources = sources[:1]
        if node not in layouts:
            labels = {s: spread(layouts[s], self.shapes[s]) if s in layouts else self.blank(s) for s in sources}
            found = layout_of(self.apply(node, labels))
            if found is None or {*found.units.tolist()} - {FOREIGN} != _known(layouts, sources):
                self.refuse(node, "it mixes channels, or channels with places")
            self.mark(node, found)
        wanted = spread(layouts[node], self.shapes[node])
        if kind in REDUCING:
            self.mark(sources[0], self.before_reducing(node, sources[0], wanted))
            return
        for source in sources:
            self.backward(node, source, sources, wanted)

    def backward(self, node: fx.Node, source: fx.Node, sources: list[fx.Node], wanted: Tensor) -> None:
        """The layout of an input: where each of its positions comes to lie in the output."""
        shape = self.shapes[source]
        places = torch.arange(shape.numel(), dtype=torch.float64).view(shape)
        moved = self.apply(node, {**{s: self.blank(s) for s in sources}, source: places}).flatten()
        labels = torch.full((shape.numel(),), float(FOREIGN - 1), dtype=torch.float64)
        labels[moved[moved >= 0].long()] = wanted.flatten()[moved >= 0]
        if (labels == FOREIGN).all():
            return  # a part of a concatenation that has no unit
        found = layout_of(labels.view(shape))
        if found is None or (labels < FOREIGN).any():
            self.refuse(node, "it mixes channels with places, or passes on only some of them")
        self.mark(source, found)

    def before_reducing(self, node: fx.Node, source: fx.Node, wanted: Tensor) -> Layout:
        """Where the input of a mean over places had the units: found by trying its dimensions."""
        units = self.group.layouts[node].units
        for dim, size in enumerate(self.shapes[source]):
            if size == len(units):
                layout = Layout(dim, units)
                if torch.equal(self.apply(node, {source: spread(layout, self.shapes[source])}), wanted):
                    return layout
        self.refuse(node, "it mixes channels")

    def blank(self, source: fx.Node) -> Tensor:
        """A value of this shape with no unit anywhere."""
        return torch.full(self.shapes[source], float(FOREIGN), dtype=torch.float64)

    def apply(self, node: fx.Node, labels: dict[fx.Node, Tensor]) -> Tensor:
        """The operation itself, on labels in place of activations."""
        others = {source: self.others[source] for source in node.all_input_nodes if source in self.others}
        return evaluate_node(self.network, node, {**others, **labels})


def _kind(node: fx.Node, layer: nn.Module | None) -> str:
    """Name of an operation, the same for a module, a function and a method: ``maxpool2d``, ``add``, ``flatten``."""
    target: Any = node.target
    name = type(layer).__name__ if layer is not None else target if isinstance(target, str) else target.__name__
    return name.lower().replace("_", "")


def _known(layouts: Mapping[fx.Node, Layout], sources: list[fx.Node]) -> set[int]:
    return {unit for s in sources if s in layouts for unit in layouts[s].units.tolist()} - {FOREIGN}
