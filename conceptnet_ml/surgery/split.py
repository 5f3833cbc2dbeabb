"""Operations on the units of a stage: split one into variants, forget some, prune some; merging is in `merging.py`.

Every operation returns a new network and leaves the given one as it is. A unit keeps its number for ever: copies are
appended behind the last unit, and what is merged, forgotten or pruned leaves its slot behind, *closed*. Who keeps the
book of closed units passes it as ``closed``. What is done to a unit is done in every place that is tied to it
(`channels.tied_stages`). The new network is an ordinary one; `resizing.conform` makes a freshly built network take its
state dict.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.modes import eval_mode
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.runtime import seeding
from conceptnet_ml.surgery.dependency_graph import dependency_group
from conceptnet_ml.surgery.groups import DependencyGroup, Tie, example
from conceptnet_ml.surgery.resize import put, rebuilt

TWO_CLASSES = ((3.0, 0.0), (-2.0, 1.0))
"""Shares (variants, classes) of two variants for two classes."""


def split_unit(
    network: StagedNetwork,
    stage: str,
    unit: int,
    variants: int,
    shares: Tensor | Sequence[float] | Sequence[Sequence[float]] | None = None,
    seed: int = 0,
    closed: Collection[int] = (),
    apart: float = 3.0,
) -> StagedNetwork:
    """A network in which copies of a unit share its work: it computes the same, in training mode, too.

    The copies are exact, batch norm's statistics included; what tells them apart is who reads them. Where the
    classifier reads the unit, class c by default reads variant c (modulo ``variants``) alone, but for two classes, see
    :func:`class_shares`. Elsewhere every reading
    channel favours one variant, drawn at random, and the shares lie ``apart``: 1 means it reads that one alone, 3 that
    two variants are read by 2 and −1. So the copies get different gradients and grow apart, the faster the further
    apart; with equal shares they would stay equal for ever. After Net2Net (Chen et al., arXiv 1511.05641), with the
    readers in place of its noise. Where dropout lies between the unit and its readers, training mode agrees in the mean
    only.

    Args:
        network: Read only.
        stage, unit: Which; the first variant keeps this number, the others get the numbers after the last unit's.
        variants: How many there are to be, at least two.
        shares: For each variant its part, (variants,), the same for all readers, or (variants, readers) where one
            layer alone reads the unit, such as the classifier: (variants, classes). Each column sums to one.
        seed: Of the default shares.
        closed: Units that have been merged, forgotten or pruned.
        apart: How far the default shares below the top lie apart, at least 1.

    Cost: a few passes of two images.

    Raises:
        SettingsError: No such unit, it is closed, the shares do not fit, or the unit cannot be followed or appended to.
    """
    group = opened(network, stage, [unit], closed)
    if variants < 2:
        raise SettingsError(f"a unit cannot be split into {variants} variants", "Ask for two or more.")
    if not 1 <= apart <= 100:
        raise SettingsError(f"shares cannot lie {apart} apart", "Give a number from 1 to 100.")
    changed = copy.deepcopy(network)
    for tie in group.of("writes", "carries"):
        _append(changed, group, tie, unit, variants)
    reads = [tie for tie in group.of("reads") if unit in tie.units]
    for tie in reads:
        part = (
            _default_shares(changed, group, tie, variants, seed, apart)
            if shares is None
            else _given_shares(changed, group, tie, variants, shares, len(reads))
        )
        places = _append(changed, group, tie, unit, variants)
        weight = tie.tensor(changed)
        assert weight is not None
        with torch.no_grad():
            for variant in range(variants):
                here = (places == variant).nonzero().flatten()
                column = part[variant].to(weight.device).view(-1, *(1,) * (weight.ndim - 1))
                weight[:, here] = weight[:, here] * column
    return checked(network, changed, stage, same=True)


def prune_units(
    network: StagedNetwork, stage: str, units: Sequence[int], closed: Collection[int] = ()
) -> StagedNetwork:
    """A network in which units are silent: all that writes, carries or reads them is zero, and nothing makes up for it.

    They stay silent under further training with momentum and weight decay: a weight next to silence on one side and
    zeros on the other has no gradient.

    Raises:
        SettingsError: No such units, or they cannot be followed.
    """
    group = opened(network, stage, units, closed)
    changed = copy.deepcopy(network)
    silence(changed, group, units)
    return checked(network, changed, stage)


def class_shares(groups: Sequence[Sequence[int]], classes: int) -> Tensor:
    """Shares (variants, classes) by which each variant serves the classes it is given, for `split_unit`.

    With two classes the logits' gradients mirror each other, so that variants which serve one each would stay the same
    for ever. There the first class reads its own variant threefold and takes back twice the other's; the second class
    reads its own alone.

    Raises:
        SettingsError: A class is in no group or in several.
    """
    if sorted(number for group in groups for number in group) != list(range(classes)):
        raise SettingsError("each class must be served by exactly one variant", "Give each class's number once.")
    shares = torch.zeros(len(groups), classes)
    for variant, group in enumerate(groups):
        shares[variant, list(group)] = 1.0
    if classes == 2 and all(len(group) == 1 for group in groups):
        return torch.tensor(TWO_CLASSES)[[group[0] for group in groups]]
    return shares


def opened(network: StagedNetwork, stage: str, units: Sequence[int], closed: Collection[int] = ()) -> DependencyGroup:
    """What the units are tied to, once it is known that they can be operated on.

    Raises:
        SettingsError: Weights are NaN or infinite; a unit is out of range, named twice or closed; see `follow`.
    """
    network.stage(stage)
    for name, value in network.state_dict().items():
        if value.is_floating_point() and not value.isfinite().all():
            raise SettingsError(f"the network's '{name}' has values that are NaN or infinite", "Train it anew.")
    group = dependency_group(network, stage)
    if not units:
        raise SettingsError(f"stage '{stage}': no units are given", "Name at least one.")
    for unit in units:
        if not 0 <= unit < group.units:
            last = f"The last one is {group.units - 1}."
            raise SettingsError(f"stage '{stage}' has no unit {unit}", last)
        if unit in closed:
            raise SettingsError(f"unit {unit} of stage '{stage}' is closed", "It was merged, forgotten or pruned.")
    if len(set(units)) < len(units):
        raise SettingsError(f"stage '{stage}': a unit is named twice in {list(units)}", "Name each unit once.")
    return group


def silence(network: nn.Module, group: DependencyGroup, units: Sequence[int], roles: Collection[str] = ()) -> None:
    """Zero what writes, carries and reads these units, in place."""
    wanted = torch.as_tensor(units)
    for tie in group.of(*(roles or ("writes", "carries", "reads"))):
        tensor = tie.tensor(network)
        if tensor is not None and tie.name != "live":
            value = 1.0 if tie.name == "running_var" else 0.0
            with torch.no_grad():
                tensor.index_fill_(tie.dim, tie.positions(wanted).to(tensor.device), value)


def checked(before: StagedNetwork, changed: StagedNetwork, stage: str, same: bool = False) -> StagedNetwork:
    """The changed network, built anew and tried on two images.

    Raises:
        SettingsError: It cannot run, gives what is not finite, or, where it must, not what it gave before.
    """
    why = f"stage '{stage}' cannot be operated on: the network's code counts on the number of its units"
    try:
        after = rebuilt(before, changed.model)
        images = example(before)
        with eval_mode(before, after):
            old, new = before(images), after(images)
            after.run_all(images)
    except SettingsError as error:
        raise SettingsError(f"{why} ({error.message})", "Choose another stage or network.") from error
    if not new.isfinite().all():
        raise SettingsError(f"operating on stage '{stage}' gave answers that are NaN or infinite", "Train it first.")
    if same and (new - old).abs().max() > 1e-3 * (1 + old.abs().max()):
        raise SettingsError(why, "Choose another stage or network.")
    return after


def _append(network: nn.Module, group: DependencyGroup, tie: Tie, unit: int, variants: int) -> Tensor:
    """Copy a unit's places along a tensor's dimension to behind the last unit; returns whose place each then is:
    0 for the unit's own, 1 … for the copies', −1 for all others."""
    tensor = tie.tensor(network)
    assert tensor is not None
    own, last = _runs(tie.units, unit), _runs(tie.units, group.units - 1)
    if not own:
        return torch.full_like(tie.units, -1)
    if [len(run) for run in own] != [len(run) for run in last]:
        raise SettingsError(
            f"unit {unit} of stage '{group.stage}' cannot be split: behind '{tie.path}', in the middle of the stage, "
            "its copies would change the numbers of the units after them",
            "Units of the last part of a concatenation can be split, those of the others only merged or forgotten.",
        )
    index: list[int] = []
    whose: list[int] = []
    start = 0
    for mine, end in zip(own, last, strict=True):
        stretch = range(start, end[-1] + 1)
        index += [*stretch, *(mine * (variants - 1))]
        whose += [0 if int(tie.units[place]) == unit else -1 for place in stretch]
        whose += [variant for variant in range(1, variants) for _ in mine]
        start = end[-1] + 1
    index += range(start, len(tie.units))
    whose += [-1] * (len(tie.units) - start)
    put(network.get_submodule(tie.path), tie.name, tensor.index_select(tie.dim, torch.tensor(index).to(tensor.device)))
    return torch.tensor(whose)


def _runs(units: Tensor, unit: int) -> list[list[int]]:
    """The stretches of neighbouring positions that belong to a unit."""
    runs: list[list[int]] = []
    for place in (units == unit).nonzero().flatten().tolist():
        if runs and runs[-1][-1] == place - 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    return runs


def _default_shares(
    network: nn.Module, group: DependencyGroup, tie: Tie, variants: int, seed: int, apart: float
) -> Tensor:
    """(variants, outputs) of a layer that reads the unit: each output favours one."""
    weight = tie.tensor(network)
    assert weight is not None
    order = torch.arange(len(weight))
    if tie.node is not group.trace.result:
        order = torch.randperm(len(weight), generator=seeding.generator(seeding.seed_for(seed, "split", tie.path)))
    favoured = (order % variants == torch.arange(variants)[:, None]).to(weight.dtype)
    if tie.node is not group.trace.result:
        return 1 / variants + apart * (favoured - 1 / variants)
    two = len(weight) == variants == 2
    return class_shares([[0], [1]], 2).to(weight.dtype) if two else favoured


def _given_shares(
    network: nn.Module, group: DependencyGroup, tie: Tie, variants: int, shares: object, readers: int
) -> Tensor:
    """The same, as the caller wants it."""
    weight = tie.tensor(network)
    assert weight is not None
    outputs = len(weight)
    given = torch.as_tensor(shares, dtype=torch.float64)
    if given.ndim == 1:
        given = given[:, None].expand(-1, outputs)
    if given.shape != (variants, outputs) or (given.shape[1] != 1 and readers > 1 and not _constant(given)):
        raise SettingsError(
            f"shares of {tuple(given.shape)} do not fit: unit of stage '{group.stage}', {variants} variants, "
            f"{readers} layers that read it, '{tie.path}' with {outputs} outputs",
            "Give one share for each variant, or (variants, outputs) where one layer reads the stage.",
        )
    if not given.isfinite().all() or (given.sum(0) - 1).abs().max() > 1e-6:
        raise SettingsError("the shares of the variants do not sum to one", "Let every column sum to one.")
    return given.to(weight.dtype)


def _constant(shares: Tensor) -> bool:
    return bool((shares == shares[:, :1]).all())
