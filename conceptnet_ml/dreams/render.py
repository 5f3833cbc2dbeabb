"""The dream engine: pictures that bring up what is asked for, many at a time, each as if it were alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from conceptnet_ml.dreams.activations import Layers
from conceptnet_ml.dreams.cache import DreamCache
from conceptnet_ml.dreams.objectives import Objective, ObjectiveBatch
from conceptnet_ml.dreams.parametrizations import Gate
from conceptnet_ml.dreams.recipe import Recipe
from conceptnet_ml.dreams.request import Dream, DreamRequest
from conceptnet_ml.dreams.studio import Studio, guide_maps, to_floats
from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.basis import BasisNetwork, without_basis
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.runtime import devices
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.storage.hashing import digest

VERSION = 1
"""Of what the engine computes; pictures of another version are not taken from the cache."""


def dream(
    network: StagedNetwork | BasisNetwork,
    requests: Sequence[DreamRequest | Objective],
    recipe: Recipe | None = None,
    *,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    rows: int | None = None,
    exact: bool = False,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    cache: DreamCache | None = None,
    progress: Progress | None = None,
    stopper: Stopper | None = None,
    label: str = "dream",
) -> list[Dream]:
    """Pictures that bring up targets, by gradient ascent on the image through the frozen network.

    Args:
        network: Images in [0, 1] (B, C, H, W) to logits; wrap any ``nn.Module`` in a :class:`StagedNetwork`.
        requests: What to dream; a bare target is one from noise, or of ``seed``.
        recipe: How; default: Fourier coefficients from noise.
        size: Height and width; default: the starts', else what the network was made for.
        seed: Of bare targets.
        rows: Dreams at a time; default: what memory and processor like.
        exact: Keep the batch's length to the last dream, so that on a CPU in fp32 a dream is the same bit for bit
            whatever else is asked for; without it the same up to rounding, which a climb may enlarge.
        device: Default: the network's.
        dtype: Autocast's type for the network, None for fp32.
        cache: Where dreams are looked for and kept.
        progress, stopper: Shown and asked between steps; dreams that ended before a stop are in the cache.
        label: What the progress is called.

    Returns:
        One for each request, in their order.

    Raises:
        SettingsError: No such layer, unit or cell; a size the network cannot take; no path for gradients; a start is
            missing or has other channels.
        Interrupted: The stopper said so.

    Cost: ``recipe.steps`` passes forward and back up to the deepest layer asked for, of each dream and octave.
    """
    recipe = Recipe() if recipe is None else recipe
    _check_kinds(network, requests, recipe)
    wanted = [request if isinstance(request, DreamRequest) else DreamRequest(request, seed) for request in requests]
    device = without_basis(network).mean.device if device is None else device
    side = _size(network, wanted, size)
    _check_starts(wanted, recipe, without_basis(network).channels)
    groups: dict[frozenset[str], list[int]] = {}
    for number, request in enumerate(wanted):
        groups.setdefault(request.objective.layers, []).append(number)
    studios = {names: Studio(network, names, recipe, side, device, dtype, exact) for names in groups}
    for names, members in groups.items():
        studios[names].check([wanted[number].objective for number in members])
    found: dict[int, Dream] = {}
    keys = _keys(network, wanted, recipe, side, device, dtype) if cache is not None else {}
    for number, key in keys.items():
        kept = cache.load(key) if cache is not None else None
        if kept is not None:
            found[number] = Dream(wanted[number].objective, wanted[number].seed, cached=True, **kept)
    left = sum(number not in found for number in range(len(wanted)))
    progress = Progress(quiet=True) if progress is None else progress
    stopper = Stopper() if stopper is None else stopper
    if left:
        with progress.task(label, total=left * recipe.steps * recipe.octaves) as task:
            for names, members in groups.items():
                ask = [number for number in members if number not in found]

                def keep(place: int, made: Dream, ask: list[int] = ask) -> None:
                    found[ask[place]] = made
                    if cache is not None:
                        cache.save(keys[ask[place]], made)

                studios[names].run([wanted[n] for n in ask], rows, task.advance, stopper.check, keep)
    return [found[number] for number in range(len(wanted))]


def scores(
    network: StagedNetwork | BasisNetwork,
    targets: Sequence[Objective],
    images: Tensor,
    *,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    batch: int = 128,
) -> Tensor:
    """What images reach of targets, (images, targets).

    Args:
        network: As in :func:`dream`.
        targets: What is looked for.
        images: uint8 (N, C, H, W).
    """
    device = without_basis(network).mean.device if device is None else device
    table = torch.empty(len(images), len(targets))
    groups: dict[frozenset[str], list[int]] = {}
    for column, target in enumerate(targets):
        groups.setdefault(target.layers, []).append(column)
    for names, columns in groups.items():
        layers = Layers(network, names).to(device)
        guides = guide_maps(layers, [targets[column] for column in columns], device)
        for places in torch.arange(len(images)).split(batch):
            with torch.no_grad(), devices.autocast(device, dtype):
                maps = layers(to_floats(images[places], device))
            for column in columns:
                objective = ObjectiveBatch([targets[column]] * len(places), guides, device)
                with torch.no_grad():
                    table[places, column] = objective(maps).cpu()
    return table


def _check_kinds(network: Any, requests: Any, recipe: Any) -> None:
    """Say in words what Python would say in a traceback."""
    if not isinstance(network, StagedNetwork | BasisNetwork):
        raise SettingsError(f"a {type(network).__name__} has no stages", "Wrap it: StagedNetwork(model, (224, 224)).")
    for request in requests if isinstance(requests, list | tuple) else ():
        image = getattr(request, "start", None)
        if image is not None and not isinstance(image, Tensor):
            raise SettingsError(f"an image is a {type(image).__name__}", "Give a tensor, uint8 (C, H, W).")
    if isinstance(requests, DreamRequest | Objective):
        raise SettingsError("one target was given where a list is wanted", "Put it into a list: dream(network, [it]).")
    if not isinstance(recipe, Recipe):
        mend = "Give a Recipe; a dreamer's: load_plugins().get('dreamer', NAME).function('recipe')(None)."
        raise SettingsError(f"a {type(recipe).__name__} is no recipe", mend)


def _size(
    network: StagedNetwork | BasisNetwork, requests: Sequence[DreamRequest], size: tuple[int, int] | None
) -> tuple[int, int]:
    if size is not None:
        if min(size) < 1:
            raise SettingsError(f"a dream of {size[1]}×{size[0]} px has no pixels", "Give a size of at least 8 px.")
        return (int(size[0]), int(size[1]))
    sizes = {tuple(request.start.shape[1:]) for request in requests if request.start is not None}
    if len(sizes) > 1:
        raise SettingsError("the images to start from differ in size", "Give them one size, or say the dream's.")
    if sizes:
        height, width = sizes.pop()
        return (height, width)
    return without_basis(network).image_size


def _check_starts(requests: Sequence[DreamRequest], recipe: Recipe, channels: int) -> None:
    for request in requests:
        if request.start is None and recipe.start == "image":
            raise SettingsError(
                f"the dream of {request.objective.name} needs an image to start from", "Give one: --from IMAGE."
            )
        if request.donor is None and isinstance(recipe.parametrization, Gate):
            raise SettingsError(
                f"the swap toward {request.objective.name} needs a donor",
                "In a run, turn a picture into a class (--toward): the class's real images are the donors.",
            )
        for image in (request.start, request.donor):
            if image is not None and (image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != channels):
                raise SettingsError(
                    f"an image of {request.objective.name} is {image.dtype} {tuple(image.shape)}",
                    f"It must be uint8 ({channels}, H, W).",
                )


def _keys(
    network: StagedNetwork | BasisNetwork,
    requests: Sequence[DreamRequest],
    recipe: Recipe,
    size: tuple[int, int],
    device: torch.device,
    dtype: torch.dtype | None,
) -> dict[int, str]:
    """The addresses of dreams: of all that decides about them, and of nothing else."""
    common = digest(VERSION, weights_digest(network), recipe.key, size, device.type, str(dtype))
    return {
        n: digest(common, request.objective.key, request.seed, request.start, request.donor)
        for n, request in enumerate(requests)
    }


def weights_digest(network: nn.Module) -> str:
    """A digest of a network: its structure, names and every number."""
    state = network.state_dict()
    return digest(repr(network), *(part for name in sorted(state) for part in (name, state[name])))
