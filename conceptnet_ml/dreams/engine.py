"""The dream engine: pictures that bring up what is asked for, many at a time, each as if it were alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from conceptnet_ml import runtime
from conceptnet_ml.directions import Rebased, plain
from conceptnet_ml.dreams.cache import DreamCache, digest
from conceptnet_ml.dreams.climbing import Climb, Climbed, Climber
from conceptnet_ml.dreams.layers import Layers, probe
from conceptnet_ml.dreams.recipes import Recipe
from conceptnet_ml.dreams.targets import Objective, Target, check
from conceptnet_ml.dreams.transforms import resized
from conceptnet_ml.errors import SettingsError
from conceptnet_ml.interrupt import Stopper
from conceptnet_ml.network import StagedNetwork
from conceptnet_ml.progress import Progress

VERSION = 1
"""Of what the engine computes; pictures of another version are not taken from the cache."""
ALL_STEPS, NEVER_ROSE, NO_GRADIENT = "all steps", "never rose", "no gradient"
NOT_FINITE = "not finite"
CPU_BYTES, CPU_ROWS, CARD_ROWS = 2**21, (8, 32), 256
"""On a processor a batch pays until its images outgrow the caches; on a card until the card is busy."""


@dataclass(frozen=True, eq=False)
class Wish:
    """One dream wished for.

    Args:
        target: What it is to bring up.
        seed: All of its chance.
        start: An image to begin with, uint8 (C, H, W).
        donor: Where a swap takes its material from, the same.
    """

    target: Target
    seed: int = 0
    start: Tensor | None = None
    donor: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Dream:
    """A picture, and what is known of it.

    Args:
        target, seed: What was wished for.
        image: uint8 (C, H, W).
        before, reached: The target on the first image and on this one, both unmoved and rounded to bytes.
        steps: How many were made, over all octaves.
        outcome: ``all steps``, ``stalled`` (there was little more to gain), ``never rose``, ``no gradient`` (the target
            does not answer to any of the starts) or ``not finite``.
        cached: It was read, not dreamt.
    """

    target: Target
    seed: int
    image: Tensor
    before: float
    reached: float
    steps: int
    outcome: str
    cached: bool = False

    @property
    def rose(self) -> bool:
        """Whether the target is higher than at the start."""
        return self.reached > self.before


def dream(
    network: StagedNetwork | Rebased,
    wishes: Sequence[Wish | Target],
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
        wishes: What to dream; a bare target is one from noise, or of ``seed``.
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
        One for each wish, in their order.

    Raises:
        SettingsError: No such layer, unit or cell; a size the network cannot take; no path for gradients; a start is
            missing or has other channels.
        Interrupted: The stopper said so.

    Cost: ``recipe.steps`` passes forward and back up to the deepest layer asked for, of each dream and octave.
    """
    recipe = Recipe() if recipe is None else recipe
    wanted = [wish if isinstance(wish, Wish) else Wish(wish, seed) for wish in wishes]
    device = plain(network).mean.device if device is None else device
    side = _size(network, wanted, size)
    _check_starts(wanted, recipe, plain(network).channels)
    groups: dict[frozenset[str], list[int]] = {}
    for number, wish in enumerate(wanted):
        groups.setdefault(wish.target.layers, []).append(number)
    studios = {names: Studio(network, names, recipe, side, device, dtype, exact) for names in groups}
    for names, members in groups.items():
        studios[names].check([wanted[number].target for number in members])
    found: dict[int, Dream] = {}
    keys = _keys(network, wanted, recipe, side, device, dtype) if cache is not None else {}
    for number, key in keys.items():
        kept = cache.load(key) if cache is not None else None
        if kept is not None:
            found[number] = Dream(wanted[number].target, wanted[number].seed, cached=True, **kept)
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
    network: StagedNetwork | Rebased,
    targets: Sequence[Target],
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
    device = plain(network).mean.device if device is None else device
    table = torch.empty(len(images), len(targets))
    groups: dict[frozenset[str], list[int]] = {}
    for column, target in enumerate(targets):
        groups.setdefault(target.layers, []).append(column)
    for names, columns in groups.items():
        layers = Layers(network, names).to(device)
        guides = _guides(layers, [targets[column] for column in columns], device)
        for places in torch.arange(len(images)).split(batch):
            with torch.no_grad(), runtime.autocast(device, dtype):
                maps = layers(_floats(images[places], device))
            for column in columns:
                objective = Objective([targets[column]] * len(places), guides, device)
                with torch.no_grad():
                    table[places, column] = objective(maps).cpu()
    return table


class Studio:
    """Everything for dreams that look at the same layers."""

    def __init__(
        self,
        network: StagedNetwork | Rebased,
        names: frozenset[str],
        recipe: Recipe,
        size: tuple[int, int],
        device: torch.device,
        dtype: torch.dtype | None,
        exact: bool,
    ) -> None:
        self.layers = Layers(network, names, fold=not recipe.natural).to(device)
        self.recipe, self.size, self.device, self.dtype, self.exact = recipe, size, device, dtype, exact
        self.sizes = octaves(size, recipe)

    def check(self, targets: Sequence[Target]) -> None:
        """Refuse what cannot be dreamt."""
        for side in self.sizes[:1] if len(self.sizes) == 1 else (self.sizes[0], self.sizes[-1]):
            maps = probe(self.layers, side, self.device)
        for target in targets:
            check(target, maps)
        image = torch.full((1, self.layers.channels, *self.size), 0.5, device=self.device, requires_grad=True)
        if not any(one.requires_grad for one in self.layers(image).values()):
            raise SettingsError(
                f"no gradient leads from layer '{self.layers.names[-1]}' back to the image",
                "Something on the way detaches, rounds or looks up; choose a layer before it.",
            )

    def run(
        self,
        wishes: Sequence[Wish],
        rows: int | None,
        advance: Callable[[int], None],
        stop: Callable[[], None],
        keep: Callable[[int, Dream], None],
    ) -> None:
        """Dream them; ``keep`` is told of each as it is done."""
        if not wishes:
            return
        guides = _guides(self.layers, [wish.target for wish in wishes], self.device)
        # The first octave's start is the whole image made small; later ones add to it what was won so far.
        details: list[Tensor | None] = [None] * len(wishes)
        steps = [0] * len(wishes)
        outcomes = [""] * len(wishes)
        for number, side in enumerate(self.sizes):
            climbs = [self._climb(wish, side, number, detail) for wish, detail in zip(wishes, details, strict=True)]
            count = rows or rows_for(self.layers, side, self.device, self.dtype)
            climber = Climber(self.layers, self.recipe, side, count, self.device, self.dtype, guides, self.exact)
            batch: list[tuple[int, Climbed]] = []
            for place, done in climber.run(climbs, advance, stop):
                steps[place] += done.steps
                outcomes[place] = done.outcome
                if number < len(self.sizes) - 1:
                    details[place] = self._detail(wishes[place], side, done.image)
                    continue
                batch.append((place, done))
                if len(batch) >= count:
                    self._finish(batch, wishes, guides, steps, outcomes, keep)
                    batch = []
            self._finish(batch, wishes, guides, steps, outcomes, keep)

    def _climb(self, wish: Wish, side: tuple[int, int], octave: int, detail: Tensor | None) -> Climb:
        seed = wish.seed if octave == 0 else runtime.seed_for(wish.seed, "octave", octave)
        start, donor = _at_size(wish.start, side), _at_size(wish.donor, side)
        if detail is not None:
            grey = torch.full((self.layers.channels, *side), 0.5)
            start = ((grey if start is None else start) + resized(detail[None], side)[0]).clamp(0, 1)
        return Climb(wish.target, seed, start, donor)

    def _detail(self, wish: Wish, side: tuple[int, int], image: Tensor) -> Tensor:
        start = _at_size(wish.start, side)
        return image - (0.5 if start is None else start)

    def _finish(
        self,
        batch: Sequence[tuple[int, Climbed]],
        wishes: Sequence[Wish],
        guides: Mapping[str, Tensor],
        steps: Sequence[int],
        outcomes: Sequence[str],
        keep: Callable[[int, Dream], None],
    ) -> None:
        """Round to bytes, measure, and hand over."""
        if not batch:
            return
        images = torch.stack([_bytes(done.image) for _, done in batch])
        targets = [wishes[place].target for place, _ in batch]
        first = torch.stack([self._first(wishes[place]) for place, _ in batch])
        before, reached = (self._measure(targets, part, guides) for part in (first, images))
        for n, (place, _) in enumerate(batch):
            outcome = outcomes[place]
            if not math.isfinite(reached[n]):
                outcome = NOT_FINITE
            elif outcome != NO_GRADIENT and not reached[n] > before[n]:
                outcome = NEVER_ROSE
            wish = wishes[place]
            keep(place, Dream(wish.target, wish.seed, images[n], before[n], reached[n], steps[place], outcome))

    def noise(self, seed: int) -> Tensor:
        """What a dream from noise begins with, uint8 (C, H, W)."""
        return self._first(Wish(Target("noise", ()), seed))

    def measured(self, wishes: Sequence[Wish]) -> list[Dream]:
        """The starts themselves as dreams of no steps, and what they reach."""
        images = torch.stack([self._first(wish) for wish in wishes])
        targets = [wish.target for wish in wishes]
        found = self._measure(targets, images, _guides(self.layers, targets, self.device))
        return [
            Dream(wish.target, wish.seed, image, value, value, 0, ALL_STEPS)
            for wish, image, value in zip(wishes, images, found, strict=True)
        ]

    def _first(self, wish: Wish) -> Tensor:
        """What a dream begins with, at its full size, as bytes."""
        if wish.start is not None:
            return _bytes(_at_size(wish.start, self.size))
        climber = Climber(self.layers, self.recipe, self.size, 1, torch.device("cpu"), None, {})
        return _bytes(climber.begin(self._climb(wish, self.size, 0, None)))

    def _measure(self, targets: Sequence[Target], images: Tensor, guides: Mapping[str, Tensor]) -> list[float]:
        objective = Objective(targets, guides, self.device)
        with torch.no_grad():
            with runtime.autocast(self.device, self.dtype):
                maps = self.layers(_floats(images, self.device))
            return objective(maps).tolist()


def octaves(size: tuple[int, int], recipe: Recipe) -> list[tuple[int, int]]:
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
    """How many dreams climb at a time: by what one keeps for its way back, measured, within a share of free memory."""
    kept = 0

    def pack(values: Tensor) -> Tensor:
        nonlocal kept
        kept += values.numel() * values.element_size()
        return values

    images = torch.full((2, layers.channels, *size), 0.5, device=device, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda values: values), runtime.autocast(device, dtype):
        layers(images)
    each = max(1, kept // 2) + 48 * layers.channels * size[0] * size[1]
    free = runtime.free_memory(device) * 2**30 * share
    least, most = CPU_ROWS
    fitting = CPU_BYTES // (4 * layers.channels * size[0] * size[1])
    most = CARD_ROWS if device.type == "cuda" else min(max(fitting, least), most)
    return max(1, min(most, int(free // each) if math.isfinite(free) else most))


def _size(network: StagedNetwork | Rebased, wishes: Sequence[Wish], size: tuple[int, int] | None) -> tuple[int, int]:
    if size is not None:
        if min(size) < 1:
            raise SettingsError(f"a dream of {size[1]}×{size[0]} px has no pixels", "Give a size of at least 8 px.")
        return (int(size[0]), int(size[1]))
    sizes = {tuple(wish.start.shape[1:]) for wish in wishes if wish.start is not None}
    if len(sizes) > 1:
        raise SettingsError("the images to start from differ in size", "Give them one size, or say the dream's.")
    if sizes:
        height, width = sizes.pop()
        return (height, width)
    return plain(network).image_size


def _check_starts(wishes: Sequence[Wish], recipe: Recipe, channels: int) -> None:
    from conceptnet_ml.dreams.parametrisations import Gate

    for wish in wishes:
        if wish.start is None and recipe.start == "image":
            raise SettingsError(f"the dream of {wish.target.name} needs an image to start from", "Give one (--from).")
        if wish.donor is None and isinstance(recipe.parametrisation, Gate):
            raise SettingsError(f"the swap toward {wish.target.name} needs a donor", "Give one.")
        for image in (wish.start, wish.donor):
            if image is not None and (image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != channels):
                raise SettingsError(
                    f"an image of {wish.target.name} is {image.dtype} {tuple(image.shape)}",
                    f"It must be uint8 ({channels}, H, W).",
                )


def _keys(
    network: StagedNetwork | Rebased,
    wishes: Sequence[Wish],
    recipe: Recipe,
    size: tuple[int, int],
    device: torch.device,
    dtype: torch.dtype | None,
) -> dict[int, str]:
    """The addresses of dreams: of all that decides about them, and of nothing else."""
    common = digest(VERSION, weights_digest(network), recipe.key, size, device.type, str(dtype))
    return {n: digest(common, wish.target.key, wish.seed, wish.start, wish.donor) for n, wish in enumerate(wishes)}


def weights_digest(network: nn.Module) -> str:
    """A digest of a network: its structure, names and every number."""
    state = network.state_dict()
    return digest(repr(network), *(part for name in sorted(state) for part in (name, state[name])))


def _guides(layers: Layers, targets: Sequence[Target], device: torch.device) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for target in targets:
        for term in target.terms:
            if term.image is not None and term.key not in found:
                with torch.no_grad():
                    found[term.key] = layers(_floats(term.image[None], device))[term.layer][0]
    return found


def _floats(images: Tensor, device: torch.device) -> Tensor:
    return images.to(device).float() / 255


def _bytes(image: Tensor) -> Tensor:
    return (image * 255).round().to(torch.uint8)


def _at_size(image: Tensor | None, size: tuple[int, int]) -> Any:
    return None if image is None else resized(image[None].float().cpu() / 255, size)[0].clamp(0, 1)
