"""Merging units: one filter instead of several, and readers that make up for the difference.

The merged unit's writers are the weighted means of the members', taken behind batch norm, so that before the
activation it is exactly their weighted mean. What the members told their readers is then estimated from all units that
are left, as the reader sees them: ridge regression of every lost activation in a reader's patch on the remaining ones
(where patches are wide: of the activations, place by place), folded into the reader's weights, a closed form (as in He
et al., arXiv 1707.06168). At last batch norm's statistics behind the stage are corrected by what has changed in them.
Merging on matched activations goes back to Li et al., arXiv 1511.07543.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.modes import eval_mode
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.runtime import seeding
from conceptnet_ml.surgery.batchnorm import BATCH_NORMS, recalibrate
from conceptnet_ml.surgery.groups import FOREIGN, DependencyGroup, Tie, evaluate_node, layer_of
from conceptnet_ml.surgery.similarity import importances
from conceptnet_ml.surgery.split import checked, opened, silence

RIDGE = 1e-3
"""Strength of the ridge, a share of the features' mean variance. It pulls towards the merged unit alone."""

PATCH = 600
"""Most features of a patch, units × taps: the matrix to be solved is as wide."""

ROWS = 20000
"""Most rows of a batch the moments are taken over."""


def merge_units(
    network: StagedNetwork,
    stage: str,
    units: Sequence[int] | Sequence[Sequence[int]],
    batches: Sequence[Tensor],
    closed: Collection[int] = (),
    ridge: float = RIDGE,
) -> StagedNetwork:
    """A network in which groups of units are one unit each, in the slot of the lowest member; the others are closed.

    Args:
        network: Read only.
        stage: Which.
        units: The members of one group, or several groups; each has at least two.
        batches: Float images (B, 3, H, W) the readers are fitted on; two or three hundred do.
        closed: Units that have been merged, forgotten or pruned.
        ridge: See :data:`RIDGE`.

    Cost: two passes of the images as far as the stage's readers (what they get from each unit; moments before and
    after, of which sums alone are kept), one of both networks for batch norm; a system as wide as a patch for each
    reader, however many groups there are.

    Raises:
        SettingsError: No such units, one of them closed, in two groups or alone in its group; they cannot be followed,
            or are written by different layers.
    """
    groups = _groups(units)
    group = opened(network, stage, [unit for members in groups for unit in members], closed)
    if any(len(members) < 2 for members in groups):
        raise SettingsError(f"stage '{stage}': one unit alone cannot be merged", "Give two units or more.")
    _check_writers(group, groups)
    if not batches:
        raise SettingsError(f"stage '{stage}': no images are given to fit the readers on", "Give some batches.")
    importance = importances(network, stage, batches)
    mixes = [_weights(importance, members) for members in groups]
    changed = copy.deepcopy(network)
    for members, mix in zip(groups, mixes, strict=True):
        _merge_writers(changed, group, members, mix)
    lost = [unit for members in groups for unit in members[1:]]
    silence(changed, group, lost, ("writes", "carries"))
    with eval_mode(network, changed):
        moments = _moments(network, changed, group, batches)
        for node, sums in moments.norms.items():
            before = layer_of(network, node)
            assert isinstance(before, BATCH_NORMS)
            if before.running_var is not None:
                sums.running = before.running_var.double().cpu()
                _restate(layer_of(changed, node), group.layouts[node].units, sums, groups)
        _compensate(changed, group, groups, moments, ridge)
    silence(changed, group, lost, ("reads",))
    after = checked(network, changed, stage)
    recalibrate(after, batches, network, since=stage)
    return after


def _groups(units: Sequence[int] | Sequence[Sequence[int]]) -> list[list[int]]:
    """One group, or several, each from its lowest member up."""
    several = [[unit] if isinstance(unit, int) else list(unit) for unit in units]
    alone = all(isinstance(unit, int) for unit in units)
    return [sorted(unit for group in several for unit in group)] if alone else [sorted(group) for group in several]


def _check_writers(group: DependencyGroup, groups: Sequence[Sequence[int]]) -> None:
    for tie in group.of("writes"):
        for members in groups:
            here = torch.isin(torch.tensor(members), tie.units)
            if here.any() and not here.all():
                raise SettingsError(
                    f"units {members} of stage '{group.stage}' are written by different layers, one of them "
                    f"'{tie.path}', and cannot become one",
                    "Merge units of one part of the concatenation.",
                )


def _weights(importance: Tensor, members: Sequence[int]) -> Tensor:
    energy = importance[list(members)]
    return energy / energy.sum() if energy.sum() > 0 else torch.full_like(energy, 1 / len(members))


def _merge_writers(network: nn.Module, group: DependencyGroup, members: Sequence[int], mix: Tensor) -> None:
    """The first member's rows become the weighted mean of all members', behind batch norm where one follows."""
    ties = group.of("writes", "carries")
    layers = {tie.node: tie for tie in ties if tie.name == "weight" and _is_layer(network, tie)}
    norms = {node: norm for node in layers if (norm := _norm_behind(network, group, node)) is not None}
    whole = {*norms, *(user for node in norms for user in node.users)}
    for tie in ties:
        if tie.node not in whole:
            _mean(tie.tensor(network), tie, members, mix)
    for node, norm in norms.items():
        rows = [(layers[node].units == unit).nonzero().flatten() for unit in members]
        _mean_with_norm(network.get_submodule(layers[node].path), norm, rows, mix)


def _is_layer(network: nn.Module, tie: Tie) -> bool:
    return isinstance(network.get_submodule(tie.path), nn.Conv2d | nn.Linear)


def _norm_behind(network: nn.Module, group: DependencyGroup, node: fx.Node) -> nn.BatchNorm2d | nn.BatchNorm1d | None:
    users = list(node.users)
    norm = layer_of(network, users[0]) if len(users) == 1 and users[0] in group.layouts else None
    whole = isinstance(norm, BATCH_NORMS) and norm.weight is not None and norm.running_mean is not None
    return norm if whole else None  # type: ignore[return-value]


@torch.no_grad()
def _mean(tensor: Tensor | None, tie: Tie, members: Sequence[int], mix: Tensor) -> None:
    if tensor is None or tie.name == "live":
        return
    places = [(tie.units == unit).nonzero().flatten().to(tensor.device) for unit in members]
    rows = tensor.movedim(tie.dim, 0)
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


def _zero() -> Tensor:
    return torch.zeros((), dtype=torch.float64)


@dataclass
class _Sums:
    """Sums over rows (n, C) as they were (old) and as they are with the merged writers, in double.

    Args:
        count: n.
        total, old_total: (C,).
        squares: (C, C) of the new rows' products, or (C,) of their squares; old_squares the same of the old ones.
        crossed: (C, C) products of old with new rows.
        running: (C,) running variances, for a batch norm's input.
    """

    count: int = 0
    total: Tensor = field(default_factory=_zero)
    old_total: Tensor = field(default_factory=_zero)
    squares: Tensor = field(default_factory=_zero)
    old_squares: Tensor = field(default_factory=_zero)
    crossed: Tensor = field(default_factory=_zero)
    running: Tensor = field(default_factory=_zero)

    def add(self, new: Tensor, old: Tensor, products: bool) -> None:
        """Take in further rows, with products of channels or squares alone."""
        new, old = new.double(), old.double()
        self.count += len(new)
        self.total = self.total + new.sum(0).cpu()
        self.old_total = self.old_total + old.sum(0).cpu()
        if products:
            self.squares = self.squares + (new.T @ new).cpu()
            self.crossed = self.crossed + (old.T @ new).cpu()
        else:
            self.squares = self.squares + new.square().sum(0).cpu()
            self.old_squares = self.old_squares + old.square().sum(0).cpu()


@dataclass
class _Moments:
    """Of what the readers read, before and after, and of what batch norms take in."""

    readers: dict[fx.Node, _Sums] = field(default_factory=dict)
    norms: dict[fx.Node, _Sums] = field(default_factory=dict)


def _moments(old: StagedNetwork, new: StagedNetwork, group: DependencyGroup, batches: Sequence[Tensor]) -> _Moments:
    """One pass: the stage's units as they were, and as they are with the merged writers on the same inputs."""
    found = _Moments()
    readers = [_Reader(old, tie) for tie in group.of("reads")]
    norms = {tie.node for tie in group.of("carries") if tie.name == "running_mean"}
    data = group.trace.data
    order = {node: number for number, node in enumerate(data)}
    last = max(order[node] for node in norms.union(reader.place for reader in readers))
    for images in batches:
        before = {data[0]: images.to(old.mean.device)}
        after: dict[fx.Node, Tensor] = {}
        for node in data[1 : last + 1]:
            before[node] = evaluate_node(old, node, before)
            if node in group.layouts:
                inputs = before if node in group.writers else {**before, **after}
                after[node] = evaluate_node(new, node, inputs)
        for reader in readers:
            new_rows, old_rows = (reader.rows(values[reader.place]) for values in (after, before))
            found.readers.setdefault(reader.node, _Sums()).add(new_rows, old_rows, products=True)
        for node in norms:
            source = node.all_input_nodes[0]
            new_rows, old_rows = (values[source].movedim(1, -1).flatten(0, -2) for values in (after, before))
            found.norms.setdefault(node, _Sums()).add(new_rows, old_rows, products=False)
    return found


def _some(count: int) -> Tensor:
    """All row numbers, or :data:`ROWS` of them, drawn always alike."""
    return torch.randperm(count, generator=seeding.generator(0))[:ROWS] if count > ROWS else torch.arange(count)


class _Reader:
    """A layer that reads the units, as a matrix on features: (units present) × (taps of a patch).

    A convolution's patches are taken as it reads them, if they are no wider than :data:`PATCH`; else each place is a
    row of units, whatever reads it, and so are the positions that a flatten gives a unit.
    """

    def __init__(self, network: nn.Module, tie: Tie) -> None:
        self.tie, self.node, self.place = tie, tie.node, tie.node.all_input_nodes[0]
        self.layer = cast(Any, network.get_submodule(tie.path))
        self.present = tie.units[tie.units != FOREIGN].unique()
        places = torch.stack([(tie.units == unit).nonzero().flatten() for unit in self.present])
        self.positions, self.each = places.flatten().to(self.layer.weight.device), places.shape[1]
        taps = self.layer.weight[0, 0].numel()
        plain = isinstance(self.layer, nn.Conv2d) and isinstance(self.layer.padding, tuple) and self.each == 1
        fits = plain and self.layer.padding_mode == "zeros" and len(self.present) * taps <= PATCH
        self.taps = taps if fits else 1
        self.in_patches = fits

    def rows(self, value: Tensor) -> Tensor:
        """(n, features) of what it reads, at most :data:`ROWS` of them, always the same ones."""
        if not self.in_patches:
            dim = 1 if isinstance(self.layer, nn.Conv2d) else value.ndim - 1
            flat = value.movedim(dim, -1).flatten(0, -2)[:, self.positions]
            rows = flat.view(len(flat), len(self.present), self.each).movedim(1, 2).flatten(0, 1)
            return rows[_some(len(rows)).to(rows.device)]
        each = len(self._patches(value[:1]))
        chosen = _some(each * len(value)).sort().values.to(value.device)
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

    def learn(self, table: Tensor, constant: Tensor) -> None:
        """Take in that ``old features ≈ constant + table · new features``."""
        weight, bias = self.layer.weight, self.layer.bias
        columns = weight[:, self.positions].double()
        if self.in_patches:
            columns = columns.flatten(1)[:, None]  # (outputs, 1, features)
        else:
            columns = columns.reshape(len(columns), len(self.present), self.each, -1).permute(0, 2, 3, 1).flatten(1, 2)
        if bias is not None:
            bias += (columns.sum(1) @ constant.to(columns.device)).to(bias)
        taught = columns @ table.to(columns.device)
        if not self.in_patches:
            taught = taught.unflatten(1, (self.each, -1)).permute(0, 3, 1, 2).flatten(1, 2)
        weight[:, self.positions] = taught.reshape(weight[:, self.positions].shape).to(weight)


def _restate(norm: nn.Module | None, units: Tensor, sums: _Sums, groups: Sequence[Sequence[int]]) -> None:
    """Say merged units' batch norm by the variance they really have; in evaluation mode they give what they gave.

    Running and real variance differ a little; a merged unit keeps the members' mean ratio of the two, so that it does
    in training mode what they did.
    """
    if not isinstance(norm, BATCH_NORMS) or norm.weight is None or norm.running_var is None:
        return
    before = sums.old_squares / sums.count - (sums.old_total / sums.count).square()
    after = sums.squares / sums.count - (sums.total / sums.count).square()
    for members in groups:
        for first, *others in zip(*((units == unit).nonzero().flatten().tolist() for unit in members), strict=True):
            here = [first, *others]
            ratios = (sums.running[here] + norm.eps) / (before[here].clamp_min(0) + norm.eps)
            variance = ((after[first].clamp_min(0) + norm.eps) * ratios.mean() - norm.eps).clamp_min(0).to(norm.weight)
            norm.weight[first] *= ((variance + norm.eps) / (norm.running_var[first] + norm.eps)).sqrt()
            norm.running_var[first] = variance


def _compensate(
    network: StagedNetwork, group: DependencyGroup, groups: Sequence[Sequence[int]], moments: _Moments, ridge: float
) -> None:
    """Fold what the lost units told their readers into the weights by which those read the units that are left."""
    for reader in (_Reader(network, tie) for tie in group.of("reads")):
        users = list(reader.node.users)
        shifted = len(users) == 1 and isinstance(layer_of(network, users[0]), BATCH_NORMS)
        number = {unit: place for place, unit in enumerate(reader.present.tolist())}
        here = [[number[unit] for unit in members] for members in groups if members[0] in number]
        free = reader.layer.bias is not None or shifted
        reader.learn(*_regression(here, reader.taps, moments.readers[reader.node], ridge, free))


def _regression(
    groups: Sequence[Sequence[int]], taps: int, sums: _Sums, ridge: float, free: bool
) -> tuple[Tensor, Tensor]:
    """``old ≈ constant + table · new``: (F, F) and (F,), the identity for units that are in no group.

    Args:
        groups: Numbers of the members among the units present.
        taps: Features of each unit.
        sums: Moments of the features.
        free: Whether a constant can be made up for, by a bias or a batch norm.
    """
    mean, old_mean = sums.total / sums.count, sums.old_total / sums.count
    gram, crossed = sums.squares / sums.count, sums.crossed / sums.count
    if free:
        gram, crossed = gram - mean[:, None] * mean, crossed - old_mean[:, None] * mean
    table, constant = torch.eye(len(mean), dtype=torch.float64), torch.zeros(len(mean), dtype=torch.float64)
    typical = gram.diagonal().mean().clamp_min(1e-30)
    rows = []
    for members in groups:
        for tap in range(taps):
            here = [member * taps + tap for member in members]
            # Where the merged unit hardly moves, as a dead one, members are taken for its equals: training may wake it.
            first, little = here[0], 1e-6 * typical
            table[here] = 0.0
            table[here, first] = (crossed[here, first] + little) / (gram[first, first] + little)
            rows += here
    if rows:
        left = crossed[rows] - table[rows] @ gram
        strength = ridge * typical * torch.eye(len(mean), dtype=torch.float64)
        table[rows] += torch.linalg.solve(gram + strength, left.T).T
    if rows and free:
        constant[rows] = old_mean[rows] - table[rows] @ mean
    return table, constant
