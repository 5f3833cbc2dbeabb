"""The dream engine: gradient ascent on images through a frozen network, many dreams at a time."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from conceptnet_ml.dreams.activations import Layers, probe_maps
from conceptnet_ml.dreams.ascent import BatchAscent, Ended
from conceptnet_ml.dreams.cache import DreamCache
from conceptnet_ml.dreams.objectives import Objective, ObjectiveBatch, check_objective
from conceptnet_ml.dreams.recipe import Recipe
from conceptnet_ml.dreams.request import ALL_STEPS, NEVER_ROSE, NO_GRADIENT, NOT_FINITE, Dream, DreamRequest, checked
from conceptnet_ml.dreams.transforms import resize_images
from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.basis import BasisNetwork, Network, without_basis
from conceptnet_ml.runtime import devices, ranks, seeding
from conceptnet_ml.runtime.progress import Progress, Task
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.storage.hashing import digest

VERSION = 2
"""Of what the engine computes; dreams of another version are not taken from the cache."""

SCORED = 128
"""Images at a time whose objectives are evaluated."""

CPU_BYTES, CPU_ROWS, CARD_ROWS = 2**21, (8, 32), 256
"""On a CPU larger batches pay until their images outgrow the caches; on a GPU until it is busy."""


@dataclass(frozen=True)
class RenderSettings:
    """How dreams are computed.

    Args:
        size: Height and width; default: the starts', else what the network was made for.
        seed: Of bare objectives, and of a zoom.
        rows: Dreams at a time; default: as memory and processor allow.
        exact: Keep the batch's length to the last dream, so that on a CPU in fp32 a dream is the same bit for bit
            whatever else is asked for; without it the same up to rounding, which the ascent may amplify.
        device: Default: the network's.
        dtype: Autocast's type for the network, None for fp32.
    """

    size: tuple[int, int] | None = None
    seed: int = 0
    rows: int | None = None
    exact: bool = False
    device: torch.device | None = None
    dtype: torch.dtype | None = None


@dataclass(frozen=True, eq=False)
class RenderSession:
    """What goes on beside the computation.

    Args:
        cache: Where dreams are looked for and stored.
        progress: Where it is shown; default: nowhere.
        stopper: Asked between steps; dreams that ended before a stop are stored.
        label: Of the progress.
        task: Of which these dreams are a part, for one display of several calls; default: one of their own.
        on_done: Called with a dream's position among the requests and the dream, as soon as it is found or made.
    """

    cache: DreamCache | None = None
    progress: Progress = field(default_factory=lambda: Progress(quiet=True))
    stopper: Stopper = field(default_factory=Stopper)
    label: str = "dream"
    task: Task | None = None
    on_done: Callable[[int, Dream], None] = lambda number, dream: None


def dream(
    network: Network,
    requests: Sequence[DreamRequest | Objective],
    recipe: Recipe | None = None,
    settings: RenderSettings | None = None,
    session: RenderSession | None = None,
) -> list[Dream]:
    """Pictures that maximize objectives, by gradient ascent on the image through the frozen network.

    Args:
        network: Images in [0, 1] (B, C, H, W) to logits; wrap any ``nn.Module`` in a :class:`StagedNetwork`.
        requests: What to dream; a bare objective is a request from noise.
        recipe: How; default: Fourier coefficients from noise.
        settings, session: Size, seed, device; cache, progress, callback.

    Returns:
        One for each request, in their order.

    Raises:
        SettingsError: No such layer, unit or cell; a size the network cannot take; no path for gradients; a start is
            missing or has other channels.
        Interrupted: The stopper said so.

    Cost: ``recipe.steps`` passes forward and back up to the deepest layer of its objective, for each dream and octave.
    """
    recipe = Recipe() if recipe is None else recipe
    settings, session = settings or RenderSettings(), session or RenderSession()
    wanted = checked(network, requests, recipe, settings.seed)
    settings = replace(settings, size=_size(network, wanted, settings.size), device=_device(network, settings))
    objectives = [request.objective for request in wanted]
    groups = [
        (members, Renderer(network, [objectives[number] for number in members], recipe, settings))
        for members in _by_layers(objectives).values()
    ]
    found: dict[int, Dream] = {}
    keys = [] if session.cache is None else _keys(network, wanted, recipe, settings)

    def finish(number: int, done: Dream) -> None:
        if session.cache is not None and not done.cached:
            session.cache.save(keys[number], done)
        found[number] = done
        if session.task is not None and done.cached:
            session.task.advance(recipe.steps * recipe.octaves)
        session.on_done(number, done)

    for number, key in enumerate(keys):
        if session.cache is not None and (stored := session.cache.load(key, wanted[number])) is not None:
            finish(number, stored)
    if left := len(wanted) - len(found):
        own = session.progress.task(session.label, total=left * recipe.steps * recipe.octaves)
        with own if session.task is None else nullcontext(session.task) as task:
            for members, renderer in groups:
                missing = {number: wanted[number] for number in members if number not in found}
                if missing:
                    _run(renderer, (network, recipe, settings), missing, (task.advance, session.stopper.check, finish))
    return [found[number] for number in range(len(wanted))]


def _run(
    renderer: Renderer,
    how: tuple[Network, Recipe, RenderSettings],
    requests: Mapping[int, DreamRequest],
    told: tuple[Callable[[int], None], Callable[[], None], Callable[[int, Dream], None]],
) -> None:
    """:meth:`Renderer.run`, with the ranks that wait, if any: each makes every n-th dream of its own network's copy."""
    count = min(ranks.helpers(), len(requests) - 1)
    network, recipe, settings = how
    sent = (copy.deepcopy(network).cpu() if count > 0 else network), recipe, settings
    if count < 1 or not ranks.can_be_sent(sent):
        renderer.run(requests, *told)
        return
    numbers, finish = list(requests), told[2]
    parts = [{number: requests[number] for number in numbers[turn :: count + 1]} for turn in range(count + 1)]
    parts += [{}] * (ranks.helpers() - count)
    tasks = [(*sent, part) for part in parts[1:]]
    for made in ranks.with_help(_helped, tasks, lambda: renderer.run(parts[0], *told)):
        for number, done in made:
            finish(number, done)


def _helped(
    network: Network,
    recipe: Recipe,
    settings: RenderSettings,
    requests: Mapping[int, DreamRequest],
) -> list[tuple[int, Dream]]:
    """Dreams that another rank asked this one for, on this one's own device."""
    made: list[tuple[int, Dream]] = []
    if requests:
        assert settings.device is not None
        settings = replace(settings, device=devices.choose_device(settings.device.type))
        renderer = Renderer(network, [one.objective for one in requests.values()], recipe, settings)
        renderer.run(requests, lambda count: None, ranks.heard, lambda number, done: made.append((number, done)))
    return made


def scores(
    network: Network,
    objectives: Sequence[Objective],
    images: Tensor,
    settings: RenderSettings | None = None,
) -> Tensor:
    """Values (N, objectives) of objectives on images, uint8 (N, C, H, W); the settings' device and type are used."""
    settings = settings or RenderSettings()
    device = _device(network, settings)
    table = torch.empty(len(images), len(objectives))
    for names, columns in _by_layers(objectives).items():
        layers = Layers(network, names).to(device)
        guides = guide_maps(layers, [objectives[column] for column in columns], device)
        for places in torch.arange(len(images)).split(SCORED):
            with torch.no_grad():
                with devices.autocast(device, settings.dtype):
                    maps = layers(_floats(images[places], device))
                for column in columns:
                    values = ObjectiveBatch([objectives[column]] * len(places), guides, device)(maps)
                    table[places, column] = values.cpu()
    return table


class Renderer:
    """Makes dreams of objectives that need the same layers; the settings must have a size and a device.

    Raises:
        SettingsError: The network cannot take such images, or has no such units, cells or gradients.
    """

    def __init__(
        self, network: Network, objectives: Sequence[Objective], recipe: Recipe, settings: RenderSettings
    ) -> None:
        assert settings.size is not None
        assert settings.device is not None
        self.size, self.device, self.dtype = settings.size, settings.device, settings.dtype
        self.recipe, self.rows, self.exact = recipe, settings.rows, settings.exact
        self.layers = Layers(network, objectives[0].layers, fold=not recipe.natural).to(self.device)
        self.sizes = octave_sizes(self.size, recipe)
        for size in dict.fromkeys((self.sizes[0], self.sizes[-1])):
            maps = probe_maps(self.layers, size, self.device)
        for objective in objectives:
            check_objective(objective, maps)
        image = torch.full((1, self.layers.channels, *self.size), 0.5, device=self.device, requires_grad=True)
        if not any(one.requires_grad for one in self.layers(image).values()):
            raise SettingsError(
                f"no gradient leads from layer '{self.layers.names[-1]}' back to the image",
                "Something on the way detaches, rounds or looks up; choose a layer before it.",
            )
        self.guides = guide_maps(self.layers, objectives, self.device)

    def run(
        self,
        requests: Mapping[int, DreamRequest],
        advance: Callable[[int], None],
        check: Callable[[], None],
        on_done: Callable[[int, Dream], None],
    ) -> None:
        """Make the dreams, and report each to ``on_done`` under its number.

        ``advance`` and ``check`` are called as by :meth:`BatchAscent.run`.
        """
        numbers = list(requests)
        # The first octave begins with the whole image made small; later ones add to it what was gained so far.
        gains: dict[int, Tensor] = {}
        steps = dict.fromkeys(numbers, 0)
        for octave, size in enumerate(self.sizes):
            ascents = [self._ascent(request, size, octave, gains.get(number)) for number, request in requests.items()]
            rows = self.rows or rows_for(self.layers, size, self.device, self.dtype)
            batch = BatchAscent(self.layers, self.recipe, size, self.device, self.dtype, self.guides, self.exact)
            ended: list[tuple[int, Ended]] = []
            for place, (image, made, outcome) in batch.run(ascents, rows, advance, check):
                number = numbers[place]
                steps[number] += made
                if octave < len(self.sizes) - 1:
                    start = _at_size(requests[number].start, size)
                    gains[number] = image - (0.5 if start is None else start)
                    continue
                ended.append((number, (image, steps[number], outcome)))
                if len(ended) >= rows:
                    self._finish(ended, requests, rows, on_done)
                    ended = []
            if ended:
                self._finish(ended, requests, rows, on_done)

    def first_image(self, request: DreamRequest) -> Tensor:
        """What a dream begins with, at its full size, uint8 (C, H, W)."""
        if request.start is not None:
            return _bytes(_at_size(request.start, self.size))
        batch = BatchAscent(self.layers, self.recipe, self.size, torch.device("cpu"), None, {})
        return _bytes(batch.first_image(self._ascent(request, self.size, 0, None)))

    def without_steps(self, request: DreamRequest) -> Dream:
        """The first image as a dream of no steps, with the objective's value on it."""
        image = self.first_image(request)
        (value,) = self._measure([request.objective], image[None])
        return Dream(request.objective, request.seed, image, value, value, 0, ALL_STEPS)

    def _ascent(self, request: DreamRequest, size: tuple[int, int], octave: int, gain: Tensor | None) -> DreamRequest:
        seed = request.seed if octave == 0 else seeding.seed_for(request.seed, "octave", octave)
        start, donor = _at_size(request.start, size), _at_size(request.donor, size)
        if gain is not None:
            grey = torch.full((self.layers.channels, *size), 0.5)
            start = ((grey if start is None else start) + resize_images(gain[None], size)[0]).clamp(0, 1)
        return DreamRequest(request.objective, seed, start, donor)

    def _finish(
        self,
        ended: Sequence[tuple[int, Ended]],
        requests: Mapping[int, DreamRequest],
        rows: int,
        on_done: Callable[[int, Dream], None],
    ) -> None:
        """Round to bytes, measure, and report."""
        images = torch.stack([_bytes(image) for _, (image, _, _) in ended])
        objectives = [requests[number].objective for number, _ in ended]
        first = torch.stack([self.first_image(requests[number]) for number, _ in ended])
        fill = rows if self.exact else 0
        before, reached = (self._measure(objectives, part, fill) for part in (first, images))
        for n, (number, (_, steps, outcome)) in enumerate(ended):
            if not math.isfinite(reached[n]):
                outcome = NOT_FINITE
            elif outcome != NO_GRADIENT and not reached[n] > before[n]:
                outcome = NEVER_ROSE
            seed = requests[number].seed
            on_done(number, Dream(objectives[n], seed, images[n], before[n], reached[n], steps, outcome))

    def _measure(self, objectives: Sequence[Objective], images: Tensor, fill: int = 0) -> list[float]:
        """The objectives on images, an image each; the batch is filled up to ``fill``, which rounds the same always."""
        more = max(0, fill - len(images))
        images = torch.cat([images, images[-1:].expand(more, -1, -1, -1)])
        objective = ObjectiveBatch([*objectives, *[objectives[-1]] * more], self.guides, self.device)
        with torch.no_grad():
            with devices.autocast(self.device, self.dtype):
                maps = self.layers(_floats(images, self.device))
            return objective(maps)[: len(objectives)].tolist()


def octave_sizes(size: tuple[int, int], recipe: Recipe) -> list[tuple[int, int]]:
    """The sizes a dream goes through, the smallest first; none has a side under 8 px."""
    found = []
    for number in reversed(range(recipe.octaves)):
        shrink = recipe.octave_scale**-number
        side = (max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink)))
        if number == 0 or min(side) >= 8:
            found.append(side)
    return found


def rows_for(
    layers: Layers, size: tuple[int, int], device: torch.device, dtype: torch.dtype | None, share: float = 0.25
) -> int:
    """How many dreams at a time: by what one keeps for its backward pass, measured, within a share of free memory."""
    kept = 0

    def pack(values: Tensor) -> Tensor:
        nonlocal kept
        kept += values.numel() * values.element_size()
        return values

    images = torch.full((2, layers.channels, *size), 0.5, device=device, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda values: values), devices.autocast(device, dtype):
        layers(images)
    numbers = layers.channels * size[0] * size[1]
    most = CARD_ROWS if device.type == "cuda" else min(max(CPU_BYTES // (4 * numbers), CPU_ROWS[0]), CPU_ROWS[1])
    free = devices.free_memory(device) * 2**30 * share
    fitting = free // (max(1, kept // 2) + 48 * numbers)
    return max(1, min(most, int(fitting) if math.isfinite(free) else most))


def guide_maps(layers: Layers, objectives: Sequence[Objective], device: torch.device) -> dict[str, Tensor]:
    """Maps of the guides' pictures, (C, h, w), by their terms' keys."""
    found: dict[str, Tensor] = {}
    for term in (term for objective in objectives for term in objective.terms):
        if term.image is not None and term.key not in found:
            with torch.no_grad():
                found[term.key] = layers(_floats(term.image[None], device))[term.layer][0]
    return found


def weights_digest(network: nn.Module) -> str:
    """A digest of a network: its structure, names and every number."""
    structure, state = repr(network), network.state_dict()
    if isinstance(network, BasisNetwork):  # dreams are stored under the class's first name
        structure = structure.replace("BasisNetwork", "Rebased", 1)
    return digest(structure, *(part for name in sorted(state) for part in (name, state[name])))


def _keys(network: Network, requests: Sequence[DreamRequest], recipe: Recipe, settings: RenderSettings) -> list[str]:
    """Digests of all that decides about each dream, and of nothing else."""
    assert settings.device is not None
    where = (settings.size, settings.device.type, str(settings.dtype))
    common = digest(VERSION, weights_digest(network), recipe.key, *where)
    return [digest(common, one.objective.key, one.seed, one.start, one.donor) for one in requests]


def _by_layers(objectives: Sequence[Objective]) -> dict[frozenset[str], list[int]]:
    groups: dict[frozenset[str], list[int]] = {}
    for number, objective in enumerate(objectives):
        groups.setdefault(objective.layers, []).append(number)
    return groups


def _device(network: Network, settings: RenderSettings) -> torch.device:
    return settings.device or without_basis(network).mean.device


def _size(network: Network, requests: Sequence[DreamRequest], size: tuple[int, int] | None) -> tuple[int, int]:
    if size is not None:
        if min(size) < 1:
            raise SettingsError(f"a dream of {size[1]}×{size[0]} px has no pixels", "Give a size of at least 8 px.")
        return (int(size[0]), int(size[1]))
    sizes = {tuple(request.start.shape[1:]) for request in requests if request.start is not None}
    if len(sizes) > 1:
        raise SettingsError("the images to start from differ in size", "Give them one size, or say the dream's.")
    height, width = sizes.pop() if sizes else without_basis(network).image_size
    return (height, width)


def _floats(images: Tensor, device: torch.device) -> Tensor:
    return images.to(device).float() / 255


def _bytes(image: Tensor) -> Tensor:
    return (image * 255).round().to(torch.uint8)


def _at_size(image: Tensor | None, size: tuple[int, int]) -> Any:
    return None if image is None else resize_images(image[None].float().cpu() / 255, size)[0].clamp(0, 1)
