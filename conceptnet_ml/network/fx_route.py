"""Running parts of a network by its torch.fx graph."""

from __future__ import annotations

import itertools
import operator
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from conceptnet_ml.network.hook_route import POOLS, PREFIX
from conceptnet_ml.network.modes import eval_mode
from conceptnet_ml.network.stages import Cut


class CannotTraceError(Exception):
    """The network's Python code depends on the data, or does something its graph does not show."""


class _Tracer(fx.Tracer):
    """Traces down to modules without children, and records which modules a node ends and lies inside of."""

    proxy_buffer_attributes = True  # what is computed from buffers is part of the graph, not a constant

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[tuple[str, fx.Node]] = []
        self.levels: dict[fx.Node, int] = {}
        self._depth = -1  # the user's network is itself inside the staged one

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        ready_made = m.__module__.startswith("torch.nn") and not isinstance(m, nn.Sequential)
        is_part = f"{module_qualified_name}." != PREFIX  # a network without modules of its own has functions
        return ready_made or (is_part and next(m.children(), None) is None)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        self._depth += 1
        result = super().call_module(m, forward, args, kwargs)
        self._depth -= 1
        if isinstance(result, fx.Proxy):
            self.outputs.append((self.path_of_module(m).removeprefix(PREFIX), result.node))
            self.levels[result.node] = self._depth
        return result

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        self.levels[node] = self._depth
        return node


@dataclass(frozen=True)
class Trace:
    """One traced graph.

    Args:
        data: The nodes that depend on the images, in the order they run; the first is the images.
        result: The node of the logits.
        names: The names of each node that everything passes through.
        levels: How many modules each node lies inside of.
        counts: The nodes that are how many images there are, which every part reads off its own value.
    """

    data: list[fx.Node]
    result: fx.Node
    names: dict[fx.Node, tuple[str, ...]]
    levels: dict[fx.Node, int]
    counts: frozenset[fx.Node]

    @property
    def places(self) -> dict[str, fx.Node]:
        """The nodes by name."""
        return {name: node for node, names in self.names.items() for name in names}


class FxRoute:
    """Runs parts of a network by its torch.fx graph: only the wanted part is computed, and no hook is needed.

    The graph is kept as code that takes the network as its argument. Each pattern of training and evaluation modes is
    traced by itself, because code such as ``F.dropout(x, training=self.training)`` leaves the mode in the graph.
    """

    def __init__(self) -> None:
        self._traces: dict[bytes, Trace] = {}
        self._parts: dict[tuple[bytes, str | None, str | None], Callable[[nn.Module, Tensor], tuple[Any, ...]]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> FxRoute:
        return self  # a copy of the network has the same structure, and nothing else is kept here

    def __getstate__(self) -> dict[str, Any]:
        return {"_traces": {}, "_parts": {}}  # generated code does not pickle; it is made again when needed

    def cuts(self, root: nn.Module, images: Tensor) -> list[Cut]:
        """See :class:`Route`.

        Raises:
            CannotTraceError: The graph does not show the whole network.
        """
        with eval_mode(root):
            trace = self.trace(root)
            nodes = list(trace.names)
            *values, logits = _compile(trace, trace.data[0], [*nodes, trace.result])(root, images)
            if not isinstance(logits, Tensor) or not torch.allclose(logits, root(images), rtol=1e-3, atol=1e-4):
                raise CannotTraceError("the traced graph computes something else")
        parameters = {name for name, _ in root.named_parameters()}
        learned, count = {}, 0
        for node in trace.data:
            count += _has_weights(root, node, parameters)
            learned[node] = count
        return [
            Cut(
                names=trace.names[node],
                shape=(value.shape[1], value.shape[2], value.shape[3]),
                level=trace.levels[node],
                learned=learned[node] / count,
                final=isinstance(module_of(root, node), POOLS) or "adaptive" in getattr(node.target, "__name__", ""),
            )
            for node, value in zip(nodes, values, strict=True)
            if isinstance(value, Tensor) and value.ndim == 4 and 0 < learned[node] < count
        ]

    def trace(self, root: nn.Module) -> Trace:
        """The graph of a network in its present modes."""
        modes = _modes(root)
        if modes not in self._traces:
            self._traces[modes] = _trace(root)
        return self._traces[modes]

    def run(self, root: nn.Module, value: Tensor, start: str | None, end: str | None) -> Tensor:
        """See :class:`Route`."""
        key = (_modes(root), start, end)
        if key not in self._parts:
            trace = self.trace(root)
            first = trace.data[0] if start is None else trace.places[start]
            last = trace.result if end is None else trace.places[end]
            self._parts[key] = _compile(trace, first, [last])
        return self._parts[key](root, value)[0]


def module_of(root: nn.Module, node: fx.Node) -> nn.Module | None:
    """The module that a node calls, None for a function or method."""
    return root.get_submodule(str(node.target)) if node.op == "call_module" else None


def _modes(root: nn.Module) -> bytes:
    return bytes(module.training for module in root.modules())


def _trace(root: nn.Module) -> Trace:
    tracer = _Tracer()
    before = set(vars(root))
    try:
        graph = tracer.trace(root)
    except Exception as error:  # a user's code may raise anything when it meets a proxy
        raise CannotTraceError(str(error)) from error
    constants = set(vars(root)) - before  # tensors made while tracing would stay on the device they were made on
    for constant in constants:
        delattr(root, constant)
    nodes = list(graph.nodes)
    result = nodes[-1].args[0]
    if constants or not isinstance(result, fx.Node):
        raise CannotTraceError("tensors are made on the way" if constants else "the output is not one tensor")
    data = [node for node in nodes if node.op == "placeholder"]
    known, counts = set(data), _counts(nodes)
    for node in nodes:
        if node.op not in ("placeholder", "output") and node not in counts and known.intersection(node.all_input_nodes):
            data.append(node)
            known.add(node)
    return Trace(data, result, _names(_passages(data, result), tracer.outputs, data), tracer.levels, counts)


def _counts(nodes: Sequence[fx.Node]) -> frozenset[fx.Node]:
    """Where a network asks how many images there are before its first layer, as in ``count = x.size(0)``, and uses that
    past it. It would be a second way from the images to there, so that nothing between could be cut.
    """

    def is_size(node: object) -> bool:
        asked = (node.op, node.target, *node.args[1:]) if isinstance(node, fx.Node) else ()
        return asked in (("call_method", "size"), ("call_function", getattr, "shape"))

    def is_count(node: fx.Node) -> bool:
        asked = (node.op, node.target, *node.args[1:])
        return asked == ("call_method", "size", 0) or (
            asked == ("call_function", operator.getitem, 0) and is_size(node.args[0])
        )

    return frozenset(filter(is_count, itertools.takewhile(lambda node: node.op != "call_module", nodes)))


def _passages(data: Sequence[fx.Node], result: fx.Node) -> list[fx.Node]:
    """The nodes every path from input to output passes through: nothing computed before is used after."""
    place = {node: number for number, node in enumerate(data)}
    furthest, found = 0, []
    for number, node in enumerate(data):
        if number and furthest <= number and node is not result:
            found.append(node)
        furthest = max([furthest, *(place[user] for user in node.users if user in place)])
    return found


def _names(
    nodes: Sequence[fx.Node], outputs: Sequence[tuple[str, fx.Node]], data: Sequence[fx.Node]
) -> dict[fx.Node, tuple[str, ...]]:
    """Names from the modules that end at a node, innermost first; else the last module before it and the function."""
    calls = Counter(path for path, _ in outputs)
    ends: dict[fx.Node, list[str]] = {}
    for path, node in outputs:
        if calls[path] == 1:  # a module used twice, such as one ReLU for all, names no place
            ends.setdefault(node, []).append(path)
    wanted, names, used, module = set(nodes), {}, Counter[str](), ""
    for node in data:
        if node in ends:
            module = ends[node][0]
        if node not in wanted:
            continue
        if node in ends:
            names[node] = tuple(ends[node])
            continue
        function = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.name)
        name = ".".join(part for part in (module, function.rpartition(".")[2].rstrip("_")) if part)
        used[name] += 1
        names[node] = (name if used[name] == 1 else f"{name}_{used[name]}",)
    return names


def _compile(trace: Trace, first: fx.Node, last: Sequence[fx.Node]) -> Callable[[nn.Module, Tensor], tuple[Any, ...]]:
    """Code for the nodes after ``first`` up to the last of ``last``, as a function of the network and a value."""
    graph = fx.Graph()
    copies = {first: graph.placeholder("value")}

    def copy(node: fx.Node) -> fx.Node:
        if node in trace.counts:
            copies[node] = graph.call_method("size", (copies[first], 0))
        if node not in copies:  # weights, and what is computed from them alone, are fetched where they are needed
            copies[node] = graph.node_copy(node, copy)
            # Else the code would register the functions it calls with torch.fx, which holds on to that for good and
            # patches all of it at every trace. What is compiled here is never traced.
            copies[node].meta.pop("is_wrapped", None)
        return copies[node]

    begin, stop = trace.data.index(first), max(trace.data.index(node) for node in last)
    for node in trace.data[begin + 1 : stop + 1]:
        copy(node)
    graph.output(tuple(copies[node] for node in last))
    code = graph.python_code("self")
    scope = dict(code.globals)
    exec(code.src, scope)  # what torch.fx.GraphModule does, but without holding on to modules and weights
    return scope["forward"]


def _has_weights(root: nn.Module, node: fx.Node, parameters: set[str]) -> bool:
    module = module_of(root, node)
    if module is not None:
        return next(module.parameters(), None) is not None
    sources = [*node.all_input_nodes]
    made = [source for source in sources if all(inner.op == "get_attr" for inner in source.all_input_nodes)]
    sources += [inner for source in made for inner in source.all_input_nodes]  # as in w.t()
    return any(source.op == "get_attr" and source.target in parameters for source in sources)
