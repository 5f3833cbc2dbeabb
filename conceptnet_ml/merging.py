"""Merging units: one filter instead of several, and readers that make up for the difference.

The merged unit's writers are the weighted means of the members', taken behind batch norm, so that before the
activation it is exactly their weighted mean. What the members told their readers is then estimated from all units that
are left: ridge regression of every lost activation on the remaining ones, place by place of the network that reads
them, and folded into the readers' weights, a closed form (as in He et al., arXiv 1707.06168, with one regression for
all readers of a place). At last batch norm's statistics behind the stage are corrected by what has changed in them.
Merging on matched activations goes back to Li et al., arXiv 1511.07543.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn

from conceptnet_ml.channels import FOREIGN, Group, Tie, evaluate, follow, layer_of
from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network import StagedNetwork
from conceptnet_ml.staging import quiet
from conceptnet_ml.surgery import checked, opened, silence

RIDGE = 1e-3
"""Strength of the ridge, a share of the mean variance of a place's units. It pulls towards the merged unit alone."""

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


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

    Cost: three passes of the images as far as the stage's readers (moments of the members, moments of what is left,
    both with nothing kept but sums), one of both networks for batch norm; a matrix of the stage's units is solved.

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
    with quiet(network, changed):
        moments = _moments(network, changed, group, batches)
        for node, sums in moments.norms.items():
            before = layer_of(network, node)
            assert isinstance(before, NORMS)
            if before.running_var is not None:
                sums.running = before.running_var.double().cpu()
                _restate(layer_of(changed, node), group.layouts[node].units, sums, groups)
        _compensate(changed, group, groups, moments, ridge)
    silence(changed, group, lost, ("reads",))
    after = checked(network, changed, stage)
    recalibrate(after, batches, network, since=stage)
    return after


def similar_units(
    maps: Tensor | Sequence[Tensor],
    count: int,
    importance: Tensor | None = None,
    closed: Collection[int] = (),
) -> list[list[int]]:
    """Which units to merge so that ``count`` units fewer are left: those whose merging costs least.

    Greedy agglomeration: the cost of merging two (groups of) units is ``e₁e₂/(e₁+e₂)·(1 − ρ²)``, ρ the correlation of
    their activations over places and images (negative counts as none) and e what the readers get from each of them.
    Merged activations' moments follow from the members'. Cost: one matrix of moments, ``count`` · C².

    Args:
        maps: A stage's maps (B, C, h, w), or several batches of them.
        count: How many units are to be closed.
        importance: (C,) what readers get from each unit; by default its variance.
        closed: Units left out.

    Returns:
        Groups of two or more units, lowest first.

    Raises:
        SettingsError: There are not that many units to close.
    """
    covariance = _covariance([maps] if isinstance(maps, Tensor) else maps)
    energy = covariance.diagonal().clone() if importance is None else importance.double().cpu().clone()
    alive = [unit for unit in range(len(covariance)) if unit not in closed]
    if not 0 < count < len(alive):
        raise SettingsError(f"{count} of {len(alive)} units cannot be merged away", "Leave at least one.")
    members = {unit: [unit] for unit in alive}
    dead = torch.ones(len(covariance), dtype=torch.bool)
    dead[alive] = False
    for _ in range(count):
        costs = _costs(covariance, energy)
        costs[dead] = torch.inf
        costs[:, dead] = torch.inf
        low, high = sorted(divmod(int(costs.argmin()), len(costs)))
        total = float(energy[low] + energy[high])
        mix = float(energy[low]) / total if total > 0 else 0.5
        for matrix in (covariance, covariance.T):
            matrix[low] = mix * matrix[low] + (1 - mix) * matrix[high]
        energy[low], dead[high] = total, True
        members[low] += members.pop(high)
    return [sorted(group) for group in members.values() if len(group) > 1]


def importances(network: StagedNetwork, stage: str, batches: Sequence[Tensor]) -> Tensor:
    """(C,) what its readers get from each unit: its variance times the squared norm of all weights that read it.

    Cost: one pass of the images as far as the stage.
    """
    group = follow(network, stage)
    with quiet(network):
        spread = _covariance(network.run_until(images, stage) for images in batches).diagonal()
    norms = torch.zeros(group.units, dtype=torch.float64)
    for tie in group.of("reads"):
        weight = tie.tensor(network)
        assert weight is not None
        columns = weight.detach().double().cpu().movedim(1, 0).flatten(1).square().sum(1)
        norms.index_add_(0, tie.units[tie.units >= 0], columns[tie.units >= 0])
    return spread * norms


@torch.no_grad()
def recalibrate(
    network: StagedNetwork,
    batches: Sequence[Tensor],
    reference: StagedNetwork | None = None,
    since: str | None = None,
) -> None:
    """Take batch norm's running statistics anew, in place: their mean over the batches, as training mode sees them.

    Args:
        network: Nothing but its running statistics changes; modes stay.
        batches: Float images (B, 3, H, W), of one size if their parts are to count alike.
        reference: The network before it was operated on. Given that, statistics are only corrected by what the
            operation changed in them: shifted by the difference of the means, scaled by the ratio of the variances.
            What an operation leaves as it was then stays as it was, exactly, whichever images are at hand.
        since: Only batch norms behind this stage; None for all.

    Cost: one pass of the images, one more for a reference.
    """
    after = _statistics(network, batches)
    before = _statistics(reference, batches) if reference is not None else None
    behind = None if since is None else _behind(network, since)
    for name, (mean, variance) in after.items():
        norm = network.get_submodule(name)
        assert isinstance(norm, NORMS)
        if (behind is not None and name not in behind) or norm.running_mean is None or norm.running_var is None:
            continue
        if before is not None and norm.running_mean.shape == before[name][0].shape:
            old_mean, old_variance = before[name]
            ratio = variance / old_variance
            known = (old_variance > 1e-12) & ratio.isfinite()
            mean = norm.running_mean + mean - old_mean
            variance = torch.where(known, norm.running_var * ratio, variance)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)


def _behind(network: StagedNetwork, stage: str) -> set[str]:
    """Paths of the modules that run after a stage."""
    trace = follow(network, stage).trace
    later = trace.data[trace.data.index(trace.places[stage]) + 1 :]
    return {str(node.target) for node in later if node.op == "call_module"}


def _statistics(network: StagedNetwork, batches: Sequence[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean over the batches of each batch norm's mean and variance; the network stays as it is."""
    probe = copy.deepcopy(network).eval()
    norms = {name: part for name, part in probe.named_modules() if isinstance(part, NORMS) and part.track_running_stats}
    for norm in norms.values():
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
        norm.train()
    with torch.no_grad():
        for images in batches:
            probe(images.to(network.mean.device))
    return {name: (norm.running_mean, norm.running_var) for name, norm in norms.items()}  # type: ignore[misc]


def _groups(units: Sequence[int] | Sequence[Sequence[int]]) -> list[list[int]]:
    if all(isinstance(unit, int) for unit in units):
        return [sorted(units)]  # type: ignore[type-var]
    return [sorted(members) for members in units]  # type: ignore[arg-type]


def _check_writers(group: Group, groups: Sequence[Sequence[int]]) -> None:
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


def _costs(covariance: Tensor, energy: Tensor) -> Tensor:
    deviation = covariance.diagonal().clamp_min(0).sqrt()
    correlation = (covariance / (deviation[:, None] * deviation).clamp_min(1e-30)).clamp(0, 1)
    both = energy[:, None] * energy / (energy[:, None] + energy).clamp_min(1e-300)
    return (both * (1 - correlation.square())).fill_diagonal_(torch.inf)


def _covariance(batches: Iterator[Tensor] | Sequence[Tensor]) -> Tensor:
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for maps in batches:
        rows = maps.detach().movedim(1, -1).flatten(0, -2).double()
        count += len(rows)
        total, squares = total + rows.sum(0).cpu(), squares + (rows.T @ rows).cpu()
    mean = total / count
    return squares / count - mean[:, None] * mean


def _merge_writers(network: nn.Module, group: Group, members: Sequence[int], mix: Tensor) -> None:
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


def _norm_behind(network: nn.Module, group: Group, node: fx.Node) -> nn.BatchNorm2d | nn.BatchNorm1d | None:
    users = list(node.users)
    norm = layer_of(network, users[0]) if len(users) == 1 and users[0] in group.layouts else None
    whole = isinstance(norm, NORMS) and norm.weight is not None and norm.running_mean is not None
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
def _mean_with_norm(layer: nn.Module, norm: nn.Module, rows: Sequence[Tensor], mix: Tensor) -> None:
    """``Σ w·bn(conv)`` as one filter and one batch norm; the filter's norm is the members' mean, for training's sake."""
    weight, bias = getattr(layer, "weight"), getattr(layer, "bias", None)
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

    places: dict[fx.Node, _Sums] = field(default_factory=dict)
    norms: dict[fx.Node, _Sums] = field(default_factory=dict)


def _moments(old: StagedNetwork, new: StagedNetwork, group: Group, batches: Sequence[Tensor]) -> _Moments:
    """One pass: the stage's units as they were, and as they are with the merged writers on the same inputs."""
    found = _Moments()
    places = {tie.node.all_input_nodes[0] for tie in group.of("reads")}
    norms = {tie.node for tie in group.of("carries") if tie.name == "running_mean"}
    data = group.trace.data
    order = {node: number for number, node in enumerate(data)}
    last = max(order[node] for node in places | norms)
    for images in batches:
        before = {data[0]: images.to(old.mean.device)}
        after: dict[fx.Node, Tensor] = {}
        for node in data[1 : last + 1]:
            before[node] = evaluate(old, node, before)
            if node in group.layouts:
                inputs = before if node in group.writers else {**before, **after}
                after[node] = evaluate(new, node, inputs)
        for place in places:
            sums = found.places.setdefault(place, _Sums())
            sums.add(_by_unit(group, place, after[place]), _by_unit(group, place, before[place]), products=True)
        for node in norms:
            source = node.all_input_nodes[0]
            rows = [values[source].movedim(1, -1).flatten(0, -2) for values in (after, before)]
            found.norms.setdefault(node, _Sums()).add(*rows, products=False)
    return found


def _order(units: Tensor) -> tuple[Tensor, Tensor, int]:
    """The units that lie along a dimension, their positions unit by unit, and how many each has."""
    present = units[units != FOREIGN].unique()
    positions = torch.stack([(units == unit).nonzero().flatten() for unit in present])
    return present, positions.flatten(), positions.shape[1]


def _by_unit(group: Group, node: fx.Node, value: Tensor) -> Tensor:
    """(n, units present): a value's rows, the positions of a unit taken for further rows."""
    layout = group.layouts[node]
    present, positions, each = _order(layout.units)
    flat = value.movedim(layout.dim, -1).flatten(0, -2)[:, positions.to(value.device)]
    return flat.view(len(flat), len(present), each).movedim(1, 2).flatten(0, 1)


def _restate(norm: nn.Module | None, units: Tensor, sums: _Sums, groups: Sequence[Sequence[int]]) -> None:
    """Say merged units' batch norm by the variance they really have; in evaluation mode they give what they gave.

    Running and real variance differ a little; a merged unit keeps the members' mean ratio of the two, so that it does
    in training mode what they did.
    """
    if not isinstance(norm, NORMS) or norm.weight is None or norm.running_var is None:
        return
    before = sums.old_squares / sums.count - (sums.old_total / sums.count).square()
    after = sums.squares / sums.count - (sums.total / sums.count).square()
    for members in groups:
        for first, *others in zip(*((units == unit).nonzero().flatten().tolist() for unit in members), strict=True):
            ratios = sums.running[[first, *others]] / before[[first, *others]].clamp_min(1e-12)
            variance = after[first].clamp_min(0).to(norm.weight) * ratios.mean().to(norm.weight)
            norm.weight[first] *= ((variance + norm.eps) / (norm.running_var[first] + norm.eps)).sqrt()
            norm.running_var[first] = variance


def _compensate(
    network: StagedNetwork, group: Group, groups: Sequence[Sequence[int]], moments: _Moments, ridge: float
) -> None:
    """Fold what the lost units told their readers into the weights by which those read the units that are left."""
    for tie in group.of("reads"):
        layer = network.get_submodule(tie.path)
        present, positions, each = _order(tie.units)
        bias = getattr(layer, "bias", None)
        users = list(tie.node.users)
        shifted = len(users) == 1 and isinstance(layer_of(network, users[0]), NORMS)
        sums = moments.places[tie.node.all_input_nodes[0]]
        table, constant = _regression(present, groups, sums, ridge, bias is not None or shifted)
        weight = tie.tensor(network)
        assert weight is not None
        columns = weight.double().movedim(1, -1)[..., positions.to(weight.device)]
        columns = columns.unflatten(-1, (len(present), each))
        taught = torch.einsum("...ck,cd->...dk", columns, table.to(columns.device))
        if bias is not None:
            summed = columns.sum(tuple(range(1, columns.ndim - 2)) + (columns.ndim - 1,))
            bias += (summed @ constant.to(columns.device)).to(bias)
        weight.movedim(1, -1)[..., positions.to(weight.device)] = taught.flatten(-2).to(weight)


def _regression(
    present: Tensor, groups: Sequence[Sequence[int]], sums: _Sums, ridge: float, free: bool
) -> tuple[Tensor, Tensor]:
    """``old ≈ constant + table · new``: (C, C) and (C,), the identity for units that are in no group.

    Args:
        present: (C,) the units of this place.
        free: Whether a constant can be made up for, by a bias or a batch norm.
    """
    size = len(present)
    table, constant = torch.eye(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    number = {unit: place for place, unit in enumerate(present.tolist())}
    mean, old_mean = sums.total / sums.count, sums.old_total / sums.count
    gram, crossed = sums.squares / sums.count, sums.crossed / sums.count
    if free:
        gram, crossed = gram - mean[:, None] * mean, crossed - old_mean[:, None] * mean
    here = [[number[unit] for unit in members] for members in groups if members[0] in number]
    rows = [place for members in here for place in members]
    if not rows:
        return table, constant
    for members in here:
        power = gram[members[0], members[0]]
        table[members] = 0.0
        table[members, members[0]] = crossed[members, members[0]] / power if power > 0 else 0.0
    left = crossed[rows] - table[rows] @ gram
    strength = ridge * gram.diagonal().mean().clamp_min(1e-30)
    table[rows] += torch.linalg.solve(gram + strength * torch.eye(size, dtype=torch.float64), left.T).T
    if free:
        constant[rows] = old_mean[rows] - table[rows] @ mean
    return table, constant
