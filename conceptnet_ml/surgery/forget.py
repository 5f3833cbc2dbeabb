"""Forgetting units for good: what writes them becomes a constant, and no training can revive it.

The layers before the stage write the unit's mean: their weights for it are zero, and batch norm's shift (or the layer's
bias) is chosen so that the stage shows the mean. Behind a batch norm it stays so in training, because neither the scale
of a normalised constant nor the filter behind a zero scale has a gradient; where none follows, the layer becomes one
with frozen filters (:class:`~conceptnet_ml.surgery.resize.FrozenConv2d`). The unit's level is still a bias of the
layers that read it, and changes as any bias does.

Example: in conv → norm → relu with a mean of 0.7 the filter and the norm's scale become 0 and its shift 0.7. In a
residual stage ``relu(x + branch(x))`` the branch writes 0.7 less what x shows, so that their sum does.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import NoReturn

import torch
from torch import Tensor, fx, nn

from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.fx_route import module_of
from conceptnet_ml.network.modes import eval_mode
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.surgery.batchnorm import Moments
from conceptnet_ml.surgery.groups import DependencyGroup, evaluate_node, example_images
from conceptnet_ml.surgery.resize import add_bias, freeze_channels
from conceptnet_ml.surgery.split import check_units, rebuild_checked


def forget_units(network: StagedNetwork, stage: str, units: Sequence[int], batches: Sequence[Tensor]) -> StagedNetwork:
    """A network in which units of a stage are constantly at their means, for every image.

    Where the stage is the end of a residual chain, the unit is at its mean in the places before it, too, since a
    channel there is the same one; what comes after the stage is left as it is.

    Args:
        network: Read only.
        stage, units: Which.
        batches: Float images (B, 3, H, W) the means are taken over.

    Cost: one pass of the images as far as the stage.

    Raises:
        SettingsError: No such units, they cannot be followed, or their layers cannot write a constant.
    """
    group = check_units(network, stage, units)
    solver = _ConstantSolver(copy.deepcopy(network), group, torch.as_tensor(units))
    if not batches:
        solver.refuse("no images are given to take its mean over")
    with eval_mode(solver.network):
        solver.measure(batches)
        solver.solve()
        solver.write()
    after = rebuild_checked(network, solver.network, stage)
    with eval_mode(after):
        shown = after.run_until(example_images(after), stage)[:, torch.as_tensor(units)].double().cpu()
    target = solver.means[group.start][None, :, None, None]
    if (shown - target).abs().max() > 1e-3 * (1 + target.abs().max()):
        solver.refuse("what comes before it does not pass on a constant as one")
    return after


class _ConstantSolver:
    """Finds the constants that the layers before a stage must write for the ``n`` units, and writes them.

    ``before`` are the stage's node and those before it that have the units, up to the layers that write them, ``means``
    the units' (n,) there; ``layers`` are these layers by the node that ends each, the batch norm right behind it or
    itself, and ``levels`` the constants (n,) that they are to write.
    """

    def __init__(self, network: StagedNetwork, group: DependencyGroup, units: Tensor) -> None:
        self.network, self.group, self.units = network, group, units
        self.means: dict[fx.Node, Tensor] = {}
        self.levels: dict[fx.Node, Tensor] = {}
        queue, seen = [group.start], {group.start}
        while queue:
            node = queue.pop()
            if isinstance(module_of(network, node), nn.Conv2d | nn.Linear):
                continue
            for source in node.all_input_nodes:
                axis = group.axes.get(source)
                if source not in seen and axis is not None and len(axis.positions(units)):
                    queue.append(source)
                    seen.add(source)
        self.before = [node for node in group.trace.data if node in seen]
        self.layers = {
            self._end(node): node for node in self.before if isinstance(module_of(network, node), nn.Conv2d | nn.Linear)
        }

    def _end(self, node: fx.Node) -> fx.Node:
        """The batch norm right behind a layer, else the layer."""
        users = list(node.users)
        follows = len(users) == 1 and users[0] in self.before
        layer = module_of(self.network, users[0]) if follows else None
        return users[0] if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) else node

    def refuse(self, why: str) -> NoReturn:
        """Raises SettingsError."""
        raise SettingsError(f"units of stage '{self.group.stage}' cannot be forgotten: {why}", "Choose another stage.")

    def measure(self, batches: Sequence[Tensor]) -> None:
        """Mean activation of the units at every node before the stage, in evaluation mode."""
        moments = {node: Moments() for node in self.before}
        data = self.group.trace.data
        for images in batches:
            values = {data[0]: images.to(self.network.mean.device)}
            for node in data[1 : data.index(self.group.start) + 1]:
                values[node] = evaluate_node(self.network, node, values)
            for node in self.before:
                moments[node].add(self._activations(node, values[node].double().cpu()), products=False)
        self.means = {node: moments[node].mean for node in self.before}

    def _activations(self, node: fx.Node, value: Tensor) -> Tensor:
        """(positions, n): the units' activations in a value, NaN where it does not have one."""
        axis = self.group.axes[node]
        flat = value.movedim(axis.dim, -1).flatten(0, -2)
        found = flat.new_full((len(flat), len(self.units)), math.nan)
        for column, unit in enumerate(self.units.tolist()):
            here = (axis.units == unit).nonzero().flatten()
            if len(here):
                found[:, column] = flat[:, here].mean(1)
        return found

    def shown(self, levels: dict[fx.Node, Tensor]) -> dict[fx.Node, Tensor]:
        """What all nodes show that depend on these layers alone, if the layers write these levels."""
        values: dict[fx.Node, Tensor] = {}
        found = {}
        inner = set(self.layers.values())
        for node in self.before:
            if node in levels:
                found[node] = levels[node]
                values[node] = self._constant(node, levels[node])
            elif node not in inner and all(s in values for s in node.all_input_nodes if s in self.before):
                zeros = {
                    s: self._constant(s, torch.zeros(len(self.units)))
                    for s in node.all_input_nodes
                    if s in self.group.shapes and s not in values
                }
                value = evaluate_node(self.network, node, {**zeros, **self.group.others, **values})
                values[node] = value
                for dim in range(value.ndim - 1, -1, -1):  # in the middle, since padding shows at the edges
                    if dim != self.group.axes[node].dim:
                        value = value.narrow(dim, value.shape[dim] // 2, 1)
                found[node] = self._activations(node, value.double().cpu())[0]
        return found

    def _constant(self, node: fx.Node, levels: Tensor) -> Tensor:
        """A value of this node with the units at these levels and zeros elsewhere."""
        value = torch.zeros(self.group.shapes[node], device=self.network.mean.device)
        axis = self.group.axes.get(node)
        if axis is not None:
            rows = value.movedim(axis.dim, -1)
            for column, unit in enumerate(self.units.tolist()):
                rows[..., axis.units == unit] = levels[column].to(value)
        return value

    def solve(self) -> None:
        """Every layer's constant: its own mean, but so that each place that is read elsewhere shows its mean, too."""
        ends = [node for node in self.before if node in self.layers]
        for end in ends:
            self.levels[end] = self.means[end].nan_to_num()
        for end in ends:
            place = self._place_read(end, ends)
            if place is not None:
                self._fit(end, place, torch.ones(len(self.units), dtype=torch.bool))
        unsolved = torch.ones(len(self.units), dtype=torch.bool)
        for end in reversed(ends):
            unsolved &= ~self._fit(end, self.group.start, unsolved)
        if unsolved.any():
            self.refuse("no constant before it gives its mean")

    def _place_read(self, end: fx.Node, ends: list[fx.Node]) -> fx.Node | None:
        """The first place behind a layer that is read elsewhere, unless a later layer also writes it."""
        later = ends[ends.index(end) + 1 :]
        known = self.shown({one: self.levels[one] for one in ends if one not in later})
        node = end
        while node in known:
            users = [user for user in node.users if user in self.group.shapes]
            if node is self.group.start or len(users) != 1 or users[0] not in self.before:
                return node
            node = users[0]
        return None

    def _fit(self, end: fx.Node, place: fx.Node, chosen: Tensor) -> Tensor:
        """Set a layer's constants for the chosen units so that a place shows their means; for which it could, (n,)."""
        target = self.means[place]

        def shown(level: Tensor) -> Tensor:
            return self.shown({**self.levels, end: level})[place]

        tolerance = 1e-5 * (1 + target.abs())
        level = self.levels[end]
        level = level + target - shown(level)  # right wherever the way is linear, as a ReLU's is above zero
        if not ((shown(level) - target).abs() <= tolerance)[chosen].all():
            level = _bisect(shown, level.nan_to_num(), target)
        fits = chosen & ((shown(level) - target).abs() <= 10 * tolerance) & ~self.means[end].isnan()
        self.levels[end] = torch.where(fits, level, self.levels[end])
        return fits

    def write(self) -> None:
        """Put the constants into the layers."""
        for end, node in self.layers.items():
            layer, norm = module_of(self.network, node), module_of(self.network, end)
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            for column, unit in enumerate(self.units.tolist()):
                rows = (self.group.axes[node].units == unit).nonzero().flatten().to(layer.weight.device)
                if not len(rows):
                    continue
                level = self.levels[end][column].to(layer.weight)
                if norm is layer:
                    freeze_channels(layer, rows)
                    add_bias(layer)
                    layer.get_parameter("bias").data[rows] = level
                    continue
                assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
                if norm.weight is None:
                    self.refuse("its batch norm has no weights")
                for tensor in (layer.weight, layer.bias, norm.weight, norm.running_mean):
                    if tensor is not None:
                        tensor.data[rows] = 0.0
                norm.bias.data[rows] = level
                if norm.running_var is not None:
                    norm.running_var[rows] = 1.0


def _bisect(shown: Callable[[Tensor], Tensor], level: Tensor, target: Tensor) -> Tensor:
    """A root on a rising branch, between the level that shows least and one that shows enough."""
    scale = 1 + level.abs() + target.abs()
    steps = torch.cat([-torch.logspace(3, -3, 37), torch.zeros(1), torch.logspace(-3, 3, 37)]).double()
    tried = torch.stack([shown(step * scale) for step in steps])
    least = tried.argmin(0)
    low = steps[least] * scale
    enough = (tried >= target) & (torch.arange(len(steps))[:, None] >= least)
    high = steps[torch.where(enough.any(0), enough.int().argmax(0), len(steps) - 1)] * scale
    for _ in range(60):
        middle = (low + high) / 2
        above = shown(middle) >= target
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return high
