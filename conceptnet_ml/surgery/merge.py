"""Merging units: one filter instead of several, and readers that compensate for the difference.

1. *Writers*: the merged unit's are the weighted means of the members', taken behind batch norm, so that before the
   activation it is exactly their weighted mean.
2. *Readers*: the members' activations are estimated from all units that are left, as a reader sees them, by ridge
   regression of every lost activation in its patch on the remaining ones (place by place where patches are wide). The
   regression is folded into the reader's weights, a closed form (as in He et al., arXiv 1707.06168).
3. *Batch norms* behind the stage: their statistics are corrected by what has changed in them.

Example: with ``u₂ ≈ u₁`` a reader ``y = a·u₁ + b·u₂ + c·u₃`` becomes ``y ≈ (a + b)·u + c'·u₃``, where c' also takes
over what u₃ tells about ``u₂ − u₁``. Merging on matched activations goes back to Li et al., arXiv 1511.07543.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.fx_route import module_of
from conceptnet_ml.network.modes import eval_mode
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.runtime import seeding
from conceptnet_ml.surgery.batchnorm import BATCH_NORMS, Moments, channel_rows, recalibrate
from conceptnet_ml.surgery.dependency_graph import dependency_group
from conceptnet_ml.surgery.groups import FOREIGN, Dependency, DependencyGroup, evaluate_node
from conceptnet_ml.surgery.split import check_units, rebuild_checked, zero_units

RIDGE = 1e-3
"""Strength of the ridge, a share of the features' mean variance. It pulls towards the merged unit alone."""

PATCH = 600
"""Most features of a patch, units × taps: the matrix to be solved is as wide."""

ROWS = 20000
"""Most rows of a batch the moments are taken over."""


def merge_units(
    network: StagedNetwork,
    stage: str,
    groups: Sequence[Sequence[int]],
    batches: Sequence[Tensor],
    ridge: float = RIDGE,
) -> StagedNetwork:
    """A network in which groups of units are one unit each, in the slot of the lowest member; the others are closed.

    Args:
        network: Read only.
        stage: Which.
        groups: The members of each; at least two.
        batches: Float images (B, 3, H, W) the readers are fitted on; two or three hundred do.
        ridge: See :data:`RIDGE`.

    Cost: two passes of the images as far as the stage's readers, one of both networks for batch norm; a system of
    equations as wide as a patch for each reader, for any number of groups.

    Raises:
        SettingsError: No such units, one of them in two groups or alone in its group; they cannot be followed, or are
            written by different layers.
    """
    groups = [sorted(members) for members in groups]
    group = check_units(network, stage, [unit for members in groups for unit in members])
    if any(len(members) < 2 for members in groups):
        raise SettingsError(f"stage '{stage}': one unit alone cannot be merged", "Give two units or more.")
    _check_writers(group, groups)
    if not batches:
        raise SettingsError(f"stage '{stage}': no images are given to fit the readers on", "Give some batches.")
    importance = importances(network, stage, batches)
    changed = copy.deepcopy(network)
    for members in groups:
        energy = importance[members]
        mix = energy / energy.sum() if energy.sum() > 0 else torch.full_like(energy, 1 / len(members))
        _merge_writers(changed, group, members, mix)
    lost = [unit for members in groups for unit in members[1:]]
    zero_units(changed, group, lost, ("writes", "carries"))
    with eval_mode(network, changed):
        readers, norms = _measure(network, changed, group, batches)
        for node, (old, new) in norms.items():
            _restate(module_of(network, node), module_of(changed, node), group.axes[node].units, old, new, groups)
        for dependency in group.of("reads"):
            _compensate(changed, dependency, groups, readers[dependency.node], ridge)
    zero_units(changed, group, lost, ("reads",))
    after = rebuild_checked(network, changed, stage)
    recalibrate(after, batches, network, since=stage)
    return after


def importances(network: StagedNetwork, stage: str, batches: Sequence[Tensor]) -> Tensor:
    """(C,) what its readers get from each unit: its variance times the squared norm of all weights that read it.

    Cost: one pass of the images as far as the stage.
    """
    group, moments = dependency_group(network, stage), Moments()
    with eval_mode(network):
        for images in batches:
            moments.add(channel_rows(network.run_until(images, stage)))
    norms = torch.zeros(group.units, dtype=torch.float64)
    for reader in group.of("reads"):
        weight = reader.tensor(network)
        assert weight is not None
        columns = weight.detach().double().cpu().movedim(1, 0).flatten(1).square().sum(1)
        own = reader.units >= 0
        norms.index_add_(0, reader.units[own], columns[own])
    return moments.covariance.diagonal() * norms


def _check_writers(group: DependencyGroup, groups: Sequence[Sequence[int]]) -> None:
    for writer in group.of("writes"):
        for members in groups:
            here = torch.isin(torch.tensor(members), writer.units)
            if here.any() and not here.all():
                raise SettingsError(
                    f"units {members} of stage '{group.stage}' are written by different layers, one of them "
                    f"'{writer.path}', and cannot become one",
                    "Merge units of one part of the concatenation.",
                )


def _merge_writers(network: nn.Module, group: DependencyGroup, members: Sequence[int], mix: Tensor) -> None:
    """The first member's rows become the weighted mean of all members', behind batch norm where one follows."""
    dependencies = group.of("writes", "carries")
    layers = {
        one.node: one
        for one in dependencies
        if one.name == "weight" and isinstance(network.get_submodule(one.path), nn.Conv2d | nn.Linear)
    }
    norms = {node: norm for node in layers if (norm := _norm_behind(network, group, node)) is not None}
    with_norm = {*norms, *(user for node in norms for user in node.users)}
    for one in dependencies:
        if one.node not in with_norm:
            _mean(one.tensor(network), one, members, mix)
    for node, norm in norms.items():
        rows = [(layers[node].units == unit).nonzero().flatten() for unit in members]
        _mean_with_norm(network.get_submodule(layers[node].path), norm, rows, mix)


def _norm_behind(network: nn.Module, group: DependencyGroup, node: fx.Node) -> nn.Module | None:
    """The batch norm right behind a layer, if it has weights and statistics."""
    users = list(node.users)
    norm = module_of(network, users[0]) if len(users) == 1 and users[0] in group.axes else None
    return norm if isinstance(norm, BATCH_NORMS) and norm.weight is not None and norm.running_mean is not None else None


@torch.no_grad()
def _mean(tensor: Tensor | None, one: Dependency, members: Sequence[int], mix: Tensor) -> None:
    """The first member's rows of a tensor become the weighted mean of all members'."""
    if tensor is None or one.name == "live":
        return
    places = [(one.units == unit).nonzero().flatten().to(tensor.device) for unit in members]
    rows = tensor.movedim(one.dim, 0)
    if len(places[0]):
        parts = [float(weight) * rows[place] for weight, place in zip(mix, places, strict=True)]
        rows[places[0]] = torch.stack(parts).sum(0)


@torch.no_grad()
def _mean_with_norm(layer: Any, norm: Any, rows: Sequence[Tensor], mix: Tensor) -> None:
    """``Σ w·bn(conv)`` as one filter and one batch norm; the filter is as large as the members' are on average."""
    weight, bias = layer.weight, layer.bias
    gain, shift, mean, variance = (getattr(norm, name) for name in ("weight", "bias", "running_mean", "running_var"))
    for places in zip(*(row.tolist() for row in rows), strict=True):
        here = torch.tensor(places, device=weight.device)
        scale = mix.to(weight) * gain[here] / (variance[here] + norm.eps).sqrt()
        filters = weight[here].flatten(1)
        merged = scale @ filters
        size = filters.norm(dim=1).mean() / merged.norm().clamp_min(1e-12) if merged.norm() > 0 else merged.new_ones(())
        new_mean, new_variance = size * (scale @ mean[here]), (size * scale).square() @ variance[here]
        new_shift = mix.to(weight) @ shift[here]
        first = places[0]
        weight[first] = (size * merged).view_as(weight[first])
        if bias is not None:
            bias[first] = size * (scale @ bias[here])
        mean[first], variance[first], shift[first] = new_mean, new_variance, new_shift
        gain[first] = (new_variance + norm.eps).sqrt() / size


@dataclass
class _ReaderMoments:
    """Of the features that a reader reads with the merged writers (new) and as they were: moments of the new rows, (F,)
    sums of the old ones, and (F, F) sums of products of old with new ones."""

    new: Moments = field(default_factory=Moments)
    old_total: Any = 0.0
    crossed: Any = 0.0

    def add(self, new: Tensor, old: Tensor) -> None:
        """Add the same rows as they are and as they were."""
        self.new.add(new)
        self.old_total = self.old_total + old.double().sum(0).cpu()
        self.crossed = self.crossed + (old.double().T @ new.double()).cpu()


def _measure(
    old: StagedNetwork, new: StagedNetwork, group: DependencyGroup, batches: Sequence[Tensor]
) -> tuple[dict[fx.Node, _ReaderMoments], dict[fx.Node, tuple[Moments, Moments]]]:
    """Moments of the stage's units as they were, and as they are with the merged writers on the same inputs, in one
    pass: for each reader of what it reads; for each batch norm of its input, before and after."""
    readers = [_Reader(old, one) for one in group.of("reads")]
    read = {reader.node: _ReaderMoments() for reader in readers}
    norms = {one.node: (Moments(), Moments()) for one in group.of("carries") if one.name == "running_mean"}
    writers = {one.node for one in group.of("writes")}
    data = group.trace.data
    last = max(data.index(node) for node in [*norms, *(reader.place for reader in readers)])
    for images in batches:
        before = {data[0]: images.to(old.mean.device)}
        after: dict[fx.Node, Tensor] = {}
        for node in data[1 : last + 1]:
            before[node] = evaluate_node(old, node, before)
            if node in group.axes:
                after[node] = evaluate_node(new, node, before if node in writers else {**before, **after})
        for reader in readers:
            read[reader.node].add(reader.rows(after[reader.place]), reader.rows(before[reader.place]))
        for node, pair in norms.items():
            for moments, values in zip(pair, (before, after), strict=True):
                moments.add(channel_rows(values[node.all_input_nodes[0]]), products=False)
    return read, norms


def _drawn_rows(count: int) -> Tensor:
    """All row numbers, or :data:`ROWS` of them, always the same."""
    return torch.randperm(count, generator=seeding.generator(0))[:ROWS] if count > ROWS else torch.arange(count)


class _Reader:
    """A layer that reads the units, as a matrix on features: (units present) × (taps of a patch).

    Where a convolution's patches are wider than :data:`PATCH`, and behind a flatten, each place is a row of units.
    """

    def __init__(self, network: nn.Module, dependency: Dependency) -> None:
        self.node, self.place = dependency.node, dependency.node.all_input_nodes[0]
        self.layer = cast(Any, network.get_submodule(dependency.path))
        self.present = dependency.units[dependency.units != FOREIGN].unique()
        places = torch.stack([(dependency.units == unit).nonzero().flatten() for unit in self.present])
        self.positions, self.each = places.flatten().to(self.layer.weight.device), places.shape[1]
        taps = self.layer.weight[0, 0].numel()
        plain = isinstance(self.layer, nn.Conv2d) and isinstance(self.layer.padding, tuple) and self.each == 1
        self.in_patches = plain and self.layer.padding_mode == "zeros" and len(self.present) * taps <= PATCH
        self.taps = taps if self.in_patches else 1

    def rows(self, value: Tensor) -> Tensor:
        """(n, features) of what it reads, at most :data:`ROWS` of them, always the same ones."""
        if not self.in_patches:
            dim = 1 if isinstance(self.layer, nn.Conv2d) else value.ndim - 1
            flat = value.movedim(dim, -1).flatten(0, -2)[:, self.positions]
            rows = flat.view(len(flat), len(self.present), self.each).movedim(1, 2).flatten(0, 1)
            return rows[_drawn_rows(len(rows)).to(rows.device)]
        each = len(self._patches(value[:1]))
        chosen = _drawn_rows(each * len(value)).sort().values.to(value.device)
        found = []
        for number, part in enumerate(value.split(16)):  # all patches at once are as many times the maps as taps
            here = chosen[(chosen >= 16 * number * each) & (chosen < 16 * (number + 1) * each)] - 16 * number * each
            found.append(self._patches(part)[here])
        return torch.cat(found)

    def _patches(self, value: Tensor) -> Tensor:
        conv = self.layer
        columns = functional.unfold(
            value[:, self.positions], conv.kernel_size, conv.dilation, conv.padding, conv.stride
        )
        return columns.movedim(1, -1).flatten(0, 1)

    def fold_in(self, table: Tensor, constant: Tensor) -> None:
        """Change weight and bias by ``old features ≈ constant + table · new features``."""
        weight, bias = self.layer.weight, self.layer.bias
        columns = weight[:, self.positions].double()
        if self.in_patches:
            columns = columns.flatten(1)[:, None]  # (outputs, 1, features)
        else:
            columns = columns.reshape(len(columns), len(self.present), self.each, -1).permute(0, 2, 3, 1).flatten(1, 2)
        if bias is not None:
            bias += (columns.sum(1) @ constant.to(columns.device)).to(bias)
        changed = columns @ table.to(columns.device)
        if not self.in_patches:
            changed = changed.unflatten(1, (self.each, -1)).permute(0, 3, 1, 2).flatten(1, 2)
        weight[:, self.positions] = changed.reshape(weight[:, self.positions].shape).to(weight)


def _restate(
    original: Any, norm: Any, units: Tensor, old: Moments, new: Moments, groups: Sequence[Sequence[int]]
) -> None:
    """Give merged units' batch norm the variance they really have; in evaluation mode their output stays the same.

    Running and real variance differ a little; a merged unit keeps the members' mean ratio of the two, so that training
    mode, too, gives what they gave.
    """
    if norm.weight is None:
        return
    running, before, after = original.running_var.double().cpu(), old.covariance, new.covariance
    for members in groups:
        for first, *others in zip(*((units == unit).nonzero().flatten().tolist() for unit in members), strict=True):
            here = [first, *others]
            ratios = (running[here] + norm.eps) / (before[here].clamp_min(0) + norm.eps)
            variance = ((after[first].clamp_min(0) + norm.eps) * ratios.mean() - norm.eps).clamp_min(0).to(norm.weight)
            norm.weight[first] *= ((variance + norm.eps) / (norm.running_var[first] + norm.eps)).sqrt()
            norm.running_var[first] = variance


def _compensate(
    network: nn.Module, dependency: Dependency, groups: Sequence[Sequence[int]], moments: _ReaderMoments, ridge: float
) -> None:
    """Fold the estimate of the lost activations into the weights by which a layer reads the units that are left."""
    reader = _Reader(network, dependency)
    users = list(reader.node.users)
    followed_by_norm = len(users) == 1 and isinstance(module_of(network, users[0]), BATCH_NORMS)
    number = {unit: place for place, unit in enumerate(reader.present.tolist())}
    here = [[number[unit] for unit in members] for members in groups if members[0] in number]
    with_constant = reader.layer.bias is not None or followed_by_norm
    reader.fold_in(*_regression(here, reader.taps, moments, ridge, with_constant))


def _regression(
    groups: Sequence[Sequence[int]], taps: int, moments: _ReaderMoments, ridge: float, with_constant: bool
) -> tuple[Tensor, Tensor]:
    """``old ≈ constant + table · new``: (F, F) and (F,), the identity for units that are in no group.

    ``groups`` are places among the units present, each with ``taps`` features; a constant needs a bias or a batch norm.
    """
    new = moments.new
    mean, old_mean = new.mean, moments.old_total / new.count
    gram, crossed = new.squares / new.count, moments.crossed / new.count
    if with_constant:
        gram, crossed = new.covariance, crossed - old_mean[:, None] * mean
    table, constant = torch.eye(len(mean), dtype=torch.float64), torch.zeros(len(mean), dtype=torch.float64)
    typical = gram.diagonal().mean().clamp_min(1e-30)
    rows = []
    for members in groups:
        for tap in range(taps):
            here = [member * taps + tap for member in members]
            # Where the merged unit hardly moves, as a dead one, members are taken to equal it: training may revive it.
            first, little = here[0], 1e-6 * typical
            table[here] = 0.0
            table[here, first] = (crossed[here, first] + little) / (gram[first, first] + little)
            rows += here
    if rows:
        left = crossed[rows] - table[rows] @ gram
        strength = ridge * typical * torch.eye(len(mean), dtype=torch.float64)
        table[rows] += torch.linalg.solve(gram + strength, left.T).T
    if rows and with_constant:
        constant[rows] = old_mean[rows] - table[rows] @ mean
    return table, constant
