"""Where dreams that look at the same layers are dreamt: octaves, batches that fit the memory, measuring."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.dreams.activations import Layers, probe
from conceptnet_ml.dreams.ascent import Ascent, AscentResult, BatchAscent
from conceptnet_ml.dreams.objectives import Objective, ObjectiveBatch, check_objective
from conceptnet_ml.dreams.recipe import Recipe
from conceptnet_ml.dreams.request import ALL_STEPS, NEVER_ROSE, NO_GRADIENT, NOT_FINITE, Dream, DreamRequest
from conceptnet_ml.dreams.transforms import resized
from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.basis import BasisNetwork
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.runtime import devices, seeding

CPU_BYTES, CPU_ROWS, CARD_ROWS = 2**21, (8, 32), 256
"""On a processor a batch pays until its images outgrow the caches; on a card until the card is busy."""


class Studio:
    """Everything for dreams that look at the same layers."""

    def __init__(
        self,
        network: StagedNetwork | BasisNetwork,
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

    def check(self, targets: Sequence[Objective]) -> None:
        """Refuse what cannot be dreamt."""
        for side in self.sizes[:1] if len(self.sizes) == 1 else (self.sizes[0], self.sizes[-1]):
            maps = probe(self.layers, side, self.device)
        for target in targets:
            check_objective(target, maps)
        image = torch.full((1, self.layers.channels, *self.size), 0.5, device=self.device, requires_grad=True)
        if not any(one.requires_grad for one in self.layers(image).values()):
            raise SettingsError(
                f"no gradient leads from layer '{self.layers.names[-1]}' back to the image",
                "Something on the way detaches, rounds or looks up; choose a layer before it.",
            )

    def run(
        self,
        requests: Sequence[DreamRequest],
        rows: int | None,
        advance: Callable[[int], None],
        stop: Callable[[], None],
        keep: Callable[[int, Dream], None],
    ) -> None:
        """Dream them; ``keep`` is told of each as it is done."""
        if not requests:
            return
        guides = guide_maps(self.layers, [request.objective for request in requests], self.device)
        # The first octave's start is the whole image made small; later ones add to it what was won so far.
        details: list[Tensor | None] = [None] * len(requests)
        steps = [0] * len(requests)
        outcomes = [""] * len(requests)
        for number, side in enumerate(self.sizes):
            climbs = [
                self._climb(request, side, number, detail) for request, detail in zip(requests, details, strict=True)
            ]
            count = rows or rows_for(self.layers, side, self.device, self.dtype)
            climber = BatchAscent(self.layers, self.recipe, side, count, self.device, self.dtype, guides, self.exact)
            batch: list[tuple[int, AscentResult]] = []
            for place, done in climber.run(climbs, advance, stop):
                steps[place] += done.steps
                outcomes[place] = done.outcome
                if number < len(self.sizes) - 1:
                    details[place] = self._detail(requests[place], side, done.image)
                    continue
                batch.append((place, done))
                if len(batch) >= count:
                    self._finish(batch, requests, guides, steps, outcomes, keep, count)
                    batch = []
            self._finish(batch, requests, guides, steps, outcomes, keep, count)

    def _climb(self, request: DreamRequest, side: tuple[int, int], octave: int, detail: Tensor | None) -> Ascent:
        seed = request.seed if octave == 0 else seeding.seed_for(request.seed, "octave", octave)
        start, donor = _at_size(request.start, side), _at_size(request.donor, side)
        if detail is not None:
            grey = torch.full((self.layers.channels, *side), 0.5)
            start = ((grey if start is None else start) + resized(detail[None], side)[0]).clamp(0, 1)
        return Ascent(request.objective, seed, start, donor)

    def _detail(self, request: DreamRequest, side: tuple[int, int], image: Tensor) -> Tensor:
        start = _at_size(request.start, side)
        return image - (0.5 if start is None else start)

    def _finish(
        self,
        batch: Sequence[tuple[int, AscentResult]],
        requests: Sequence[DreamRequest],
        guides: Mapping[str, Tensor],
        steps: Sequence[int],
        outcomes: Sequence[str],
        keep: Callable[[int, Dream], None],
        count: int,
    ) -> None:
        """Round to bytes, measure, and hand over."""
        if not batch:
            return
        images = torch.stack([_bytes(done.image) for _, done in batch])
        targets = [requests[place].objective for place, _ in batch]
        first = torch.stack([self._first(requests[place]) for place, _ in batch])
        fill = count if self.exact else 0
        before, reached = (self._measure(targets, part, guides, fill) for part in (first, images))
        for n, (place, _) in enumerate(batch):
            outcome = outcomes[place]
            if not math.isfinite(reached[n]):
                outcome = NOT_FINITE
            elif outcome != NO_GRADIENT and not reached[n] > before[n]:
                outcome = NEVER_ROSE
            request = requests[place]
            keep(place, Dream(request.objective, request.seed, images[n], before[n], reached[n], steps[place], outcome))

    def noise(self, seed: int) -> Tensor:
        """What a dream from noise begins with, uint8 (C, H, W)."""
        return self._first(DreamRequest(Objective("noise", ()), seed))

    def measured(self, requests: Sequence[DreamRequest]) -> list[Dream]:
        """The starts themselves as dreams of no steps, and what they reach."""
        images = torch.stack([self._first(request) for request in requests])
        targets = [request.objective for request in requests]
        found = self._measure(targets, images, guide_maps(self.layers, targets, self.device))
        return [
            Dream(request.objective, request.seed, image, value, value, 0, ALL_STEPS)
            for request, image, value in zip(requests, images, found, strict=True)
        ]

    def _first(self, request: DreamRequest) -> Tensor:
        """What a dream begins with, at its full size, as bytes."""
        if request.start is not None:
            return _bytes(_at_size(request.start, self.size))
        climber = BatchAscent(self.layers, self.recipe, self.size, 1, torch.device("cpu"), None, {})
        return _bytes(climber.begin(self._climb(request, self.size, 0, None)))

    def _measure(
        self, targets: Sequence[Objective], images: Tensor, guides: Mapping[str, Tensor], fill: int = 0
    ) -> list[float]:
        """The targets on images; a batch is filled up to ``fill``, so that its length decides nothing."""
        more = max(0, fill - len(images))
        images = torch.cat([images, images[-1:].expand(more, -1, -1, -1)])
        objective = ObjectiveBatch([*targets, *[targets[-1]] * more], guides, self.device)
        with torch.no_grad():
            with devices.autocast(self.device, self.dtype):
                maps = self.layers(to_floats(images, self.device))
            return objective(maps)[: len(targets)].tolist()


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
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda values: values), devices.autocast(device, dtype):
        layers(images)
    each = max(1, kept // 2) + 48 * layers.channels * size[0] * size[1]
    free = devices.free_memory(device) * 2**30 * share
    least, most = CPU_ROWS
    fitting = CPU_BYTES // (4 * layers.channels * size[0] * size[1])
    most = CARD_ROWS if device.type == "cuda" else min(max(fitting, least), most)
    return max(1, min(most, int(free // each) if math.isfinite(free) else most))


def guide_maps(layers: Layers, targets: Sequence[Objective], device: torch.device) -> dict[str, Tensor]:
    """Maps of the guides' pictures, (C, h, w), by their terms' keys; each is run once."""
    found: dict[str, Tensor] = {}
    for target in targets:
        for term in target.terms:
            if term.image is not None and term.key not in found:
                with torch.no_grad():
                    found[term.key] = layers(to_floats(term.image[None], device))[term.layer][0]
    return found


def to_floats(images: Tensor, device: torch.device) -> Tensor:
    return images.to(device).float() / 255


def _bytes(image: Tensor) -> Tensor:
    return (image * 255).round().to(torch.uint8)


def _at_size(image: Tensor | None, size: tuple[int, int]) -> Any:
    return None if image is None else resized(image[None].float().cpu() / 255, size)[0].clamp(0, 1)
