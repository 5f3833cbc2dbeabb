"""Splitting a unit into variants, and what all operations on units share.

Every operation returns a new network and leaves the given one as it is. A unit never changes its number: copies come
behind the last unit, and what is merged or forgotten leaves an empty, *closed* slot, which the caller remembers. An
operation acts on all stages that share the unit by identity shortcuts or pooling. The new network is an ordinary one;
:func:`~conceptnet_ml.surgery.resize.load_state` makes a freshly built network take its state dict.
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
from conceptnet_ml.surgery.groups import Dependency, DependencyGroup, example_images
from conceptnet_ml.surgery.resize import rebuild, replace_tensor

APART = 3.0
"""How far the default shares below the top lie apart."""

TWO_CLASSES = ((3.0, 0.0), (-2.0, 1.0))
"""Shares (variants, classes) of two variants for two classes."""


def split_unit(
    network: StagedNetwork,
    stage: str,
    unit: int,
    variants: int,
    shares: float | Tensor | Sequence[float] | Sequence[Sequence[float]] | None = None,
    seed: int = 0,
) -> StagedNetwork:
    """A network in which copies of a unit share its work: it computes the same, in training mode, too.

    The copies are exact, batch norm's statistics included; only the layers that read them tell them apart. At the
    classifier class c by default reads copy c (modulo ``variants``) alone; for two classes see :func:`class_shares`.
    Elsewhere every reading channel favours one copy, drawn at random: with shares 3 apart ``4·u`` becomes
    ``2·4·u − 1·4·u'``. So the copies get different gradients and grow apart; with equal shares they would stay equal.
    After Net2Net (Chen et al., arXiv 1511.05641), with unequal shares in place of its noise. With dropout between the
    unit and its readers, training mode agrees in the mean only.

    Args:
        network: Read only.
        stage, unit: Which; the first copy keeps this number, the others get the numbers after the last unit's.
        variants: How many copies, this one included; at least two.
        shares: The share of each copy, (variants,), the same for all readers, or (variants, outputs) where one layer
            alone reads the unit, such as the classifier: (variants, classes). Each column sums to one. A number: the
            default shares, this far apart; None for :data:`APART`.
        seed: Of the default shares.

    Cost: a few passes of two images.

    Raises:
        SettingsError: No such unit, the shares do not fit, or the unit cannot be followed or appended to.
    """
    group = check_units(network, stage, [unit])
    if variants < 2:
        raise SettingsError(f"a unit cannot be split into {variants} variants", "Ask for two or more.")
    apart = APART if shares is None else shares if isinstance(shares, int | float) else None
    if apart is not None and not 1 <= apart <= 100:
        raise SettingsError(f"shares cannot lie {apart} apart", "Give a number from 1 to 100.")
    changed = copy.deepcopy(network)
    for writer in group.of("writes", "carries"):
        _append(changed, group, writer, unit, variants)
    readers = [reader for reader in group.of("reads") if unit in reader.units]
    for reader in readers:
        if apart is not None:
            own_shares = _default_shares(changed, group, reader, variants, seed, apart)
        else:
            own_shares = _given_shares(changed, group, reader, variants, shares, len(readers))
        copy_numbers = _append(changed, group, reader, unit, variants)
        weight = reader.tensor(changed)
        assert weight is not None
        with torch.no_grad():
            for number in range(variants):
                here = (copy_numbers == number).nonzero().flatten()
                column = own_shares[number].to(weight.device).view(-1, *(1,) * (weight.ndim - 1))
                weight[:, here] = weight[:, here] * column
    return rebuild_checked(network, changed, stage, same=True)


def class_shares(groups: Sequence[Sequence[int]], classes: int) -> Tensor:
    """Shares (variants, classes) for :func:`split_unit`: each variant serves the classes of its group.

    With two classes the logits' gradients mirror each other, so that variants which serve one class each would stay
    equal. There the first class reads its own variant threefold and the other's by −2; the second class reads its own
    alone.

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


def check_units(network: StagedNetwork, stage: str, units: Sequence[int]) -> DependencyGroup:
    """The dependency group of the stage, after a check that these units can be operated on. Raises SettingsError where
    weights are not finite, or a unit is out of range, named twice or cannot be followed.
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
            raise SettingsError(f"stage '{stage}' has no unit {unit}", f"The last one is {group.units - 1}.")
    if len(set(units)) < len(units):
        raise SettingsError(f"stage '{stage}': a unit is named twice in {list(units)}", "Name each unit once.")
    return group


def zero_units(network: nn.Module, group: DependencyGroup, units: Sequence[int], roles: Collection[str] = ()) -> None:
    """Set what writes, carries and reads these units to zero, in place (running variances to one)."""
    chosen = torch.as_tensor(units)
    for one in group.of(*(roles or ("writes", "carries", "reads"))):
        tensor = one.tensor(network)
        if tensor is not None and one.name != "live":
            value = 1.0 if one.name == "running_var" else 0.0
            with torch.no_grad():
                tensor.index_fill_(one.dim, one.positions(chosen).to(tensor.device), value)


def rebuild_checked(before: StagedNetwork, changed: StagedNetwork, stage: str, same: bool = False) -> StagedNetwork:
    """A staged network around the changed one's model, tried on two images.

    Raises:
        SettingsError: It cannot run, gives what is not finite, or, where it must, not what it gave before.
    """
    why = f"stage '{stage}' cannot be operated on: the network's code counts on the number of its units"
    try:
        after = rebuild(before, changed.model)
        images = example_images(before)
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


def _append(network: nn.Module, group: DependencyGroup, one: Dependency, unit: int, variants: int) -> Tensor:
    """Copy a unit's positions along a tensor's dimension to behind the last unit.

    Returns:
        (new size of the dimension,): 0 at the unit's own positions, 1, 2, … at those of its copies, −1 elsewhere.
    """
    tensor = one.tensor(network)
    assert tensor is not None
    own, last = _runs(one.units, unit), _runs(one.units, group.units - 1)
    if not own:
        return torch.full_like(one.units, -1)
    if [len(run) for run in own] != [len(run) for run in last]:
        raise SettingsError(
            f"unit {unit} of stage '{group.stage}' cannot be split: behind '{one.path}', in the middle of the stage, "
            "its copies would change the numbers of the units after them",
            "Units of the last part of a concatenation can be split, those of the others only merged or forgotten.",
        )
    behind = {last_run[-1]: run for run, last_run in zip(own, last, strict=True)}
    index: list[int] = []
    numbers: list[int] = []
    for place, here in enumerate(one.units.tolist()):
        copied = behind.get(place, [])
        index += [place, *copied * (variants - 1)]
        numbers += [0 if here == unit else -1, *(number for number in range(1, variants) for _ in copied)]
    value = tensor.index_select(one.dim, torch.tensor(index).to(tensor.device))
    replace_tensor(network.get_submodule(one.path), one.name, value)
    return torch.tensor(numbers)


def _runs(units: Tensor, unit: int) -> list[list[int]]:
    """The runs of neighbouring positions that belong to a unit."""
    places = (units == unit).nonzero().flatten()
    breaks = (places.diff() > 1).nonzero().flatten() + 1
    return [run.tolist() for run in places.tensor_split(breaks) if len(run)]


def _default_shares(
    network: nn.Module, group: DependencyGroup, reader: Dependency, variants: int, seed: int, apart: float
) -> Tensor:
    """(variants, outputs) of a layer that reads the unit: each output favours one copy."""
    weight = reader.tensor(network)
    assert weight is not None
    at_the_top = reader.node is group.trace.result
    order = torch.arange(len(weight))
    if not at_the_top:
        order = torch.randperm(len(weight), generator=seeding.generator(seeding.seed_for(seed, "split", reader.path)))
    favoured = (order % variants == torch.arange(variants)[:, None]).to(weight.dtype)
    if not at_the_top:
        return 1 / variants + apart * (favoured - 1 / variants)
    return class_shares([[0], [1]], 2).to(weight.dtype) if len(weight) == variants == 2 else favoured


def _given_shares(
    network: nn.Module, group: DependencyGroup, reader: Dependency, variants: int, shares: object, readers: int
) -> Tensor:
    """The caller's shares, checked, as (variants, outputs) of this reader."""
    weight = reader.tensor(network)
    assert weight is not None
    outputs = len(weight)
    given = torch.as_tensor(shares, dtype=torch.float64)
    if given.ndim == 1:
        given = given[:, None].expand(-1, outputs)
    alike = given.shape == (variants, outputs) and bool((given == given[:, :1]).all())
    if given.shape != (variants, outputs) or (outputs != 1 and readers > 1 and not alike):
        raise SettingsError(
            f"shares of {tuple(given.shape)} do not fit: unit of stage '{group.stage}', {variants} variants, "
            f"{readers} layers that read it, '{reader.path}' with {outputs} outputs",
            "Give one share for each variant, or (variants, outputs) where one layer reads the stage.",
        )
    if not given.isfinite().all() or (given.sum(0) - 1).abs().max() > 1e-6:
        raise SettingsError("the shares of the variants do not sum to one", "Let every column sum to one.")
    return given.to(weight.dtype)
