"""Forgetting units for good: what writes them is put at a constant, and no training can wake it.

This is the graph's ablation, a unit replaced by its mean, made permanent. The layers before the stage write the
constant: their weights for the unit are zero, and batch norm's shift (or the layer's bias) is chosen so that the
stage shows the unit's mean. Behind a batch norm that stays so under training, because a normalised constant has no
gradient to its scale, nor a zero scale to the filter; where no batch norm follows, the layer becomes one that holds its
filter (`resizing.HeldConv2d`). The unit then tells nothing of the image for ever. Its level is still a bias of the
layers that read it, and moves as any bias does.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import torch
from torch import Tensor, fx, nn

from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.modes import eval_mode
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.surgery.groups import DependencyGroup, evaluate_node, example, layer_of
from conceptnet_ml.surgery.resize import give_bias, hold
from conceptnet_ml.surgery.split import checked, opened


def forget_units(
    network: StagedNetwork,
    stage: str,
    units: Sequence[int],
    batches: Sequence[Tensor],
    means: Tensor | Sequence[float] | None = None,
    closed: Collection[int] = (),
) -> StagedNetwork:
    """A network in which units of a stage are constantly at their means, whatever the image.

    Where the stage is the end of a residual chain, the unit is held at its mean in the places before it, too, since a
    channel there is the same one; what comes after the stage is left as it is.

    Args:
        network: Read only.
        stage, units: Which.
        batches: Float images (B, 3, H, W) the means are taken over.
        means: (units,) at the stage, where they are known; by default from the images.
        closed: Units that have been merged, forgotten or pruned.

    Cost: one pass of the images as far as the stage.

    Raises:
        SettingsError: No such units, they cannot be followed, or their layers cannot hold a constant.
    """
    group = opened(network, stage, units, closed)
    holder = _Holder(copy.deepcopy(network), group, torch.as_tensor(units))
    with eval_mode(holder.network):
        holder.measure(batches)
        if means is not None:
            holder.means[group.start] = torch.as_tensor(means, dtype=torch.float64).expand(len(units))
        holder.solve()
        holder.write()
    after = checked(network, holder.network, stage)
    with eval_mode(after):
        shown = after.run_until(example(after), stage)[:, torch.as_tensor(units)].double().cpu()
    wanted = holder.means[group.start][None, :, None, None]
    if (shown - wanted).abs().max() > 1e-3 * (1 + wanted.abs().max()):
        holder.refuse("what comes before it does not pass on a constant as one")
    return after


@dataclass
class _Holder:
    """Finds the constants that what comes before a stage must write.

    Args:
        network: To be changed.
        group: What the units are tied to.
        units: (n,) which.
        means: (n,) of the units, at each node before the stage.
        levels: (n,) what each node is to be held at.
    """

    network: StagedNetwork
    group: DependencyGroup
    units: Tensor
    means: dict[fx.Node, Tensor] = field(default_factory=dict)
    levels: dict[fx.Node, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.upstream: list[fx.Node] = []
        self.layers: dict[fx.Node, fx.Node] = {}  # the node that writes the constant → the convolution's
        queue, seen = [self.group.start], {self.group.start}
        while queue:
            node = queue.pop()
            self.upstream.append(node)
            if isinstance(layer_of(self.network, node), nn.Conv2d | nn.Linear):
                continue
            sources = [s for s in node.all_input_nodes if s in self.group.layouts and s not in seen]
            seen.update(sources)
            queue += [s for s in sources if torch.isin(self.units, self.group.layouts[s].units).any()]
        place = {node: number for number, node in enumerate(self.group.trace.data)}
        self.upstream.sort(key=lambda node: place[node])
        for node in self.upstream:
            if isinstance(layer_of(self.network, node), nn.Conv2d | nn.Linear):
                self.layers[self._end(node)] = node

    def _end(self, node: fx.Node) -> fx.Node:
        """The batch norm right behind a layer, else the layer."""
        users = list(node.users)
        follows = len(users) == 1 and users[0] in self.upstream
        layer = layer_of(self.network, users[0]) if follows else None
        return users[0] if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) else node

    def refuse(self, why: str) -> NoReturn:
        raise SettingsError(
            f"units of stage '{self.group.stage}' cannot be forgotten: {why}", "Prune them, or choose another stage."
        )

    def measure(self, batches: Sequence[Tensor]) -> None:
        """Mean activation of the units at every node before the stage, in evaluation mode."""
        sums = {node: torch.zeros(len(self.units), dtype=torch.float64) for node in self.upstream}
        counts = dict.fromkeys(self.upstream, 0)
        data = self.group.trace.data
        last = data.index(self.group.start)
        for images in batches:
            values = {data[0]: images.to(self.network.mean.device)}
            for node in data[1 : last + 1]:
                values[node] = evaluate_node(self.network, node, values)
            for node in self.upstream:
                found = self.at(node, values[node].double().cpu())
                sums[node] += found.sum(0)
                counts[node] += len(found)
        if not batches:
            self.refuse("no images are given to take its mean over")
        self.means = {node: sums[node] / counts[node] for node in self.upstream}

    def at(self, node: fx.Node, value: Tensor) -> Tensor:
        """(positions, n): the units' activations in a value, NaN where it does not have one."""
        layout = self.group.layouts[node]
        flat = value.movedim(layout.dim, -1).flatten(0, -2)
        found = flat.new_full((len(flat), len(self.units)), math.nan)
        for column, unit in enumerate(self.units.tolist()):
            here = (layout.units == unit).nonzero().flatten()
            if len(here):
                found[:, column] = flat[:, here].mean(1)
        return found

    def passed_on(self, levels: dict[fx.Node, Tensor]) -> dict[fx.Node, Tensor]:
        """The levels of all nodes that follow from those of the layers'."""
        values: dict[fx.Node, Tensor] = {}
        found = {}
        for node in self.upstream:
            if node in levels:
                found[node] = levels[node]
                values[node] = self._constant(node, levels[node])
            elif all(s in values for s in node.all_input_nodes if s in self.upstream) and node not in set(
                self.layers.values()
            ):
                others = {
                    s: self._constant(s, torch.zeros(len(self.units)))
                    for s in node.all_input_nodes
                    if s in self.group.shapes and s not in values
                }
                values[node] = evaluate_node(self.network, node, {**others, **self.group.others, **values})
                found[node] = self._middle(node, values[node])
        return found

    def _constant(self, node: fx.Node, levels: Tensor) -> Tensor:
        value = torch.zeros(self.group.shapes[node], device=self.network.mean.device)
        layout = self.group.layouts.get(node)
        if layout is not None:
            rows = value.movedim(layout.dim, -1)
            for column, unit in enumerate(self.units.tolist()):
                rows[..., layout.units == unit] = levels[column].to(value)
        return value

    def _middle(self, node: fx.Node, value: Tensor) -> Tensor:
        """(n,) a constant value away from the edges, where padding shows."""
        layout = self.group.layouts[node]
        for dim in range(value.ndim - 1, -1, -1):
            if dim != layout.dim:
                value = value.narrow(dim, value.shape[dim] // 2, 1)
        return self.at(node, value.double().cpu())[0]

    def solve(self) -> None:
        """Every layer's constant: its own mean, except that each place read elsewhere is to show its mean, too."""
        ends = [node for node in self.upstream if node in self.layers]
        for end in ends:
            self.levels[end] = self.means[end].nan_to_num()
        for end in ends:
            place = self._place(end, ends)
            if place is not None:
                self._fit(end, place, torch.ones(len(self.units), dtype=torch.bool))
        left = torch.ones(len(self.units), dtype=torch.bool)
        for end in reversed(ends):
            left &= ~self._fit(end, self.group.start, left)
        if left.any():
            self.refuse("no constant before it gives its mean")

    def _place(self, end: fx.Node, ends: list[fx.Node]) -> fx.Node | None:
        """The first place behind a layer that is read elsewhere, unless a later layer has its say there."""
        later = ends[ends.index(end) + 1 :]
        known = self.passed_on({one: self.levels[one] for one in ends if one not in later})
        node = end
        while node in known:
            users = [user for user in node.users if user in self.group.shapes]
            if node is self.group.start or len(users) != 1 or users[0] not in self.upstream:
                return node
            node = users[0]
        return None

    def _fit(self, end: fx.Node, place: fx.Node, wish: Tensor) -> Tensor:
        """Set a layer's constants for the units that are wished for so that a place shows their means.

        Returns:
            (n,) for which units that could be done.
        """
        wanted = self.means[place]

        def shown(level: Tensor) -> Tensor:
            return self.passed_on({**self.levels, end: level})[place]

        exact = 1e-5 * (1 + wanted.abs())
        level = self.levels[end]
        level = level + wanted - shown(level)  # right wherever the way is linear, as a ReLU's is above zero
        if not ((shown(level) - wanted).abs() <= exact)[wish].all():
            level = self._bisect(shown, level.nan_to_num(), wanted)
        fits = wish & ((shown(level) - wanted).abs() <= 10 * exact) & ~self.means[end].isnan()
        self.levels[end] = torch.where(fits, level, self.levels[end])
        return fits

    @staticmethod
    def _bisect(shown: object, level: Tensor, wanted: Tensor) -> Tensor:
        """A root on a rising branch, between the level that shows least and one that shows enough."""
        assert callable(shown)
        scale = 1 + level.abs() + wanted.abs()
        steps = torch.cat([-torch.logspace(3, -3, 37), torch.zeros(1), torch.logspace(-3, 3, 37)]).double()
        tried = torch.stack([shown(step * scale) for step in steps])
        least = tried.argmin(0)
        low = steps[least] * scale
        enough = (tried >= wanted) & (torch.arange(len(steps))[:, None] >= least)
        high = steps[torch.where(enough.any(0), enough.int().argmax(0), len(steps) - 1)] * scale
        for _ in range(60):
            middle = (low + high) / 2
            above = shown(middle) >= wanted
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return high

    def write(self) -> None:
        """Put the constants into the layers."""
        for end, node in self.layers.items():
            layer, norm = layer_of(self.network, node), layer_of(self.network, end)
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            layout = self.group.layouts[node]
            for column, unit in enumerate(self.units.tolist()):
                rows = (layout.units == unit).nonzero().flatten().to(layer.weight.device)
                if not len(rows):
                    continue
                level = self.levels[end][column].to(layer.weight)
                if norm is layer:
                    hold(layer, rows)
                    give_bias(layer)
                    assert layer.bias is not None
                    layer.bias.data[rows] = level
                else:
                    assert norm is not None
                    self._hold_norm(layer, norm, rows, level)

    def _hold_norm(self, layer: nn.Module, norm: nn.Module, rows: Tensor, level: Tensor) -> None:
        if getattr(norm, "weight", None) is None:
            self.refuse("its batch norm has no weights")
        for module, name in ((layer, "weight"), (layer, "bias"), (norm, "weight"), (norm, "running_mean")):
            tensor = getattr(module, name, None)
            if isinstance(tensor, Tensor):
                tensor.data[rows] = 0.0
        norm.bias.data[rows] = level  # type: ignore[operator, index]
        if isinstance(norm.running_var, Tensor):
            norm.running_var[rows] = 1.0
