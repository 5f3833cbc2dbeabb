"""Gradient ascent on a batch of dreams at one size, a row each; finished rows leave, waiting ones enter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from conceptnet_ml.dreams.activations import NORMS, Layers
from conceptnet_ml.dreams.objectives import ObjectiveBatch
from conceptnet_ml.dreams.parametrizations import DreamRow
from conceptnet_ml.dreams.recipe import Recipe
from conceptnet_ml.dreams.request import ALL_STEPS, NO_GRADIENT, STALLED, DreamRequest
from conceptnet_ml.runtime import devices, seeding

BETAS = (0.9, 0.999)

TINY = 1e-20

IDLE = -1

ATTEMPTS, LEAK = 3, 0.1
"""How often a dream without a gradient starts again, each time with more noise and, for a while, ReLUs that leak."""

FP16_SCALE = 1024.0
"""Lifts fp16 gradients out of underflow; every gradient is scaled to length one afterwards."""


Ended = tuple[Tensor, int, str]
"""The image reached, (C, H, W) in [0, 1], after how many steps, and how it ended."""


@dataclass(eq=False)
class _Slot:
    """What belongs to a row of the batch and is no tensor."""

    number: int
    ascent: DreamRequest
    age: int = 0
    attempt: int = 0
    generator: torch.Generator = field(default_factory=torch.Generator)

    @property
    def idle(self) -> bool:
        """Whether nothing is left for this row."""
        return self.number == IDLE


@dataclass(frozen=True, eq=False)
class _Batch:
    """What stays the same from step to step while no row enters or leaves.

    ``adam`` are Adam's numbers and averages, ``times`` its step counts: one for each row, or for all rows together
    where they are all equally old.
    """

    objective: ObjectiveBatch
    generators: list[torch.Generator]
    index: Tensor
    constants: list[Tensor]
    adam: list[list[Tensor]]
    times: list[Tensor]


class BatchAscent:
    """Ascents of one recipe and size over the same layers.

    A row's numbers come from its own seed alone, rows enter and leave at fixed ages, and nothing is summed over rows.
    So a dream does not depend on the others in the batch, up to how the processor rounds batches of another length.

    Args:
        layers: What is run.
        recipe: How.
        size: Height and width.
        device, dtype: Where, and autocast's type for the network alone.
        guides: Maps of guide pictures, by their terms' keys.
        exact: Keep the batch's length to the end.
    """

    def __init__(
        self,
        layers: Layers,
        recipe: Recipe,
        size: tuple[int, int],
        device: torch.device,
        dtype: torch.dtype | None,
        guides: Mapping[str, Tensor],
        exact: bool = False,
    ) -> None:
        recipe = recipe.filled(size, layers.names)
        assert recipe.transforms is not None
        assert recipe.rate is not None
        self.layers, self.recipe, self.size = layers, recipe, size
        self.device, self.dtype, self.guides, self.exact = device, dtype, guides, exact
        self.parametrization = recipe.parametrization
        self.transforms, self.rate = recipe.transforms, recipe.rate
        most = max(1, min(recipe.patience, recipe.steps // 2))
        self.interval = max(k for k in range(1, most + 1) if recipe.steps % k == 0)  # steps between two looks at ends

    def run(
        self, ascents: Sequence[DreamRequest], rows: int, advance: Callable[[int], None], check: Callable[[], None]
    ) -> Iterator[tuple[int, Ended]]:
        """Run all ascents; yields (number, result) as they end.

        Args:
            ascents: What to dream; their images are floats in [0, 1] of the size.
            rows: How many at a time.
            advance: Called with the number of steps that were made or saved.
            check: Called between steps; may raise to stop.
        """
        waiting = list(enumerate(ascents))[::-1]
        slots = [_Slot(IDLE, ascents[-1]) for _ in range(rows if self.exact else min(rows, len(waiting)))]
        state: dict[str, Tensor] = {}
        while waiting or not all(slot.idle for slot in slots):
            state = self._fill(slots, state, waiting)
            batch = self._batch(slots, state)
            leaking = torch.tensor([slot.attempt > 0 and slot.age == 0 for slot in slots], device=self.device)
            self.layers.leak(leaking * LEAK if bool(leaking.any()) else None)
            for _ in range(self.interval):
                check()
                self._step(state, batch)
            state["time"].copy_(torch.stack(batch.times).expand(len(slots)))
            state["moved"] &= ~leaking  # a gradient through a leak is not the objective's own
            busy = [slot for slot in slots if not slot.idle]
            for slot in busy:
                slot.age += self.interval
            advance(self.interval * len(busy))
            for slot, result in self._ended(slots, state, advance):
                advance(self.recipe.steps - slot.age)
                number, slot.number = slot.number, IDLE
                yield number, result

    def first_image(self, ascent: DreamRequest) -> Tensor:
        """The image an ascent begins with, (C, H, W) in [0, 1]."""
        state: dict[str, Tensor] = {}
        self._enter(state, 0, _Slot(0, ascent), 1)
        with torch.no_grad():
            return self.parametrization.images(state["numbers"], _constants(state), self.size)[0].clamp(0, 1)

    def _fill(
        self, slots: list[_Slot], state: dict[str, Tensor], waiting: list[tuple[int, DreamRequest]]
    ) -> dict[str, Tensor]:
        """Put waiting ascents into idle rows. What stays idle is dropped, or with ``exact`` goes on unused."""
        entering = [row for row, slot in enumerate(slots) if not state or (slot.idle and waiting)]
        for row in entering:
            if waiting:
                slots[row] = _Slot(*waiting.pop())
            self._enter(state, row, slots[row], len(slots))
        kept = [row for row, slot in enumerate(slots) if self.exact or not slot.idle]
        if len(kept) < len(slots):
            index = torch.tensor(kept, device=self.device)
            state = {name: value.index_select(0, index) for name, value in state.items()}
            slots[:] = [slots[row] for row in kept]
        for row, slot in enumerate(slots):
            if slot.idle:
                state["age"][row] = 0
        return state

    def _enter(self, state: dict[str, Tensor], row: int, slot: _Slot, count: int) -> None:
        """Put an ascent's first numbers into a row."""
        ascent, channels = slot.ascent, self.layers.channels
        seed = ascent.seed if slot.attempt == 0 else seeding.seed_for(ascent.seed, "again", slot.attempt)
        slot.generator, slot.age = seeding.generator(seed), 0
        start, donor = (None if image is None else image.cpu() for image in (ascent.start, ascent.donor))
        contrast = 2.0 ** (slot.attempt + 1) if slot.attempt else 1.0
        numbers, constants = self.parametrization.begin(
            DreamRow(self.size, channels, start, donor, contrast, slot.generator)
        )
        values = {
            "numbers": numbers,
            **{f"constant{n}": constant for n, constant in enumerate(constants)},
            "first": torch.zeros_like(numbers),
            "second": torch.zeros_like(numbers),
            "views": self.transforms.draw(self.recipe.steps, channels, slot.generator),
            "scores": torch.zeros(self.recipe.steps),
            "age": torch.tensor(0),
            "time": torch.tensor(0.0),
            "moved": torch.tensor(False),
        }
        if state and (before := len(_constants(state))) != len(constants):
            raise ValueError(
                f"{type(self.parametrization).__name__}.begin gave {len(constants)} constants, {before} before"
            )
        if self.recipe.near:
            values["origin"] = start if start is not None else torch.full((channels, *self.size), 0.5)
        for name, value in values.items():
            if name not in state:
                state[name] = torch.zeros(count, *value.shape, dtype=value.dtype, device=self.device)
            state[name][row] = value.to(self.device)

    def _batch(self, slots: Sequence[_Slot], state: Mapping[str, Tensor]) -> _Batch:
        whole = not self.exact and len({slot.age for slot in slots}) == 1
        return _Batch(
            objective=ObjectiveBatch([slot.ascent.objective for slot in slots], self.guides, self.device),
            generators=[slot.generator for slot in slots],
            index=torch.arange(len(slots), device=self.device),
            constants=_constants(state),
            adam=[[state[name]] if whole else list(state[name]) for name in ("numbers", "first", "second")],
            times=[state["time"][0].clone()] if whole else list(state["time"]),
        )

    def _step(self, state: dict[str, Tensor], batch: _Batch) -> None:
        """One step of every row."""
        numbers, age, constants = state["numbers"], state["age"], batch.constants
        with torch.no_grad():
            images = self.parametrization.images(numbers, constants, self.size)
        leaf = images.detach().requires_grad_(True)
        image_gradient, scores = self._image_gradient(leaf, state["views"][batch.index, age], batch)
        with torch.no_grad():
            state["scores"][batch.index, age] = scores
            length = torch.linalg.vector_norm(image_gradient.flatten(1), dim=1)
            state["moved"] |= length > 0
            image_gradient.mul_((math.sqrt(image_gradient[0].numel()) / length.clamp_min(TINY))[:, None, None, None])
            self._regularize(image_gradient, images, state)
            gradient = self.parametrization.gradient(numbers, constants, images, image_gradient)
        if (cost := self._price_gradient(numbers)) is not None:
            gradient = _normalized(gradient) - cost
        with torch.no_grad():
            self._move(numbers, gradient, batch)
            self.parametrization.bound(numbers)
            state["age"] += 1

    def _price_gradient(self, numbers: Tensor) -> Tensor | None:
        """The gradient of what the numbers themselves cost."""
        free = numbers.detach().requires_grad_(True)
        price = self.parametrization.price(free)
        return None if price is None else 4 * free[0].numel() * torch.autograd.grad(price.sum(), free)[0]

    def _image_gradient(self, leaf: Tensor, views: Tensor, batch: _Batch) -> tuple[Tensor, Tensor]:
        """The objective's gradient at the images, (B, C, H, W), and its values, (B,)."""
        scale = FP16_SCALE if self.dtype is torch.float16 else 1.0
        natural = self.recipe.natural
        with _norm_statistics(self.layers if natural else None) as distances:
            view = self.transforms.view(leaf, views, batch.generators)
            with devices.autocast(self.device, self.dtype):
                maps = self.layers(view)
            scores = batch.objective(maps)
            (gradient,) = torch.autograd.grad(
                scores.sum() * scale, leaf, retain_graph=bool(natural), materialize_grads=True
            )
            if natural and distances:
                (other,) = torch.autograd.grad(torch.stack(distances).sum(), leaf, materialize_grads=True)
                gradient = _normalized(gradient) - natural * _normalized(other)
        return gradient, scores.detach()

    def _regularize(self, gradient: Tensor, images: Tensor, state: Mapping[str, Tensor]) -> None:
        """Less total variation and less distance from the start, relative to a gradient of one per pixel; in place."""
        if self.recipe.smooth:
            for dim in (2, 3):
                step = images.diff(dim=dim)
                step = step * torch.rsqrt(step.square() + 1e-4) * self.recipe.smooth
                size = images.shape[dim]
                gradient.narrow(dim, 0, size - 1).add_(step)
                gradient.narrow(dim, 1, size - 1).sub_(step)
        if self.recipe.near:
            gradient.sub_((images - state["origin"]) * (10 * self.recipe.near))

    def _move(self, numbers: Tensor, gradient: Tensor, batch: _Batch) -> None:
        """One step up, in place: Adam, each row at its own time, or steps of equal mean length."""
        if self.recipe.ascent == "gradient":
            mean = gradient.flatten(1).abs().mean(1).clamp_min(TINY).view(-1, *(1,) * (numbers.ndim - 1))
            numbers.addcdiv_(gradient, mean, value=self.rate)
            return
        rows, first, second = batch.adam
        gradient = gradient.contiguous()
        adam(
            rows,
            [gradient] if len(rows) < len(gradient) else list(gradient),
            first,
            second,
            [],
            batch.times,
            fused=True,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=self.rate,
            weight_decay=0.0,
            eps=1e-12,
            maximize=True,
        )

    def _ended(
        self, slots: list[_Slot], state: dict[str, Tensor], advance: Callable[[int], None]
    ) -> list[tuple[_Slot, Ended]]:
        """Rows that have made all steps, stalled, or found no gradient; those without one start again first."""
        scores, moved = state["scores"].cpu(), state["moved"].cpu()
        ended: list[tuple[int, str]] = []
        for row, slot in enumerate(slots):
            if slot.idle:
                continue
            if not moved[row] and slot.attempt and slot.age == self.interval < self.recipe.steps:
                continue  # a leak may only just have moved it
            if not moved[row] and slot.attempt < ATTEMPTS:
                advance(-slot.age)
                slot.attempt += 1
                self._enter(state, row, slot, len(slots))
            elif not moved[row]:
                ended.append((row, NO_GRADIENT))
            elif slot.age >= self.recipe.steps:
                ended.append((row, ALL_STEPS))
            elif self._stalled(scores[row, : slot.age]):
                ended.append((row, STALLED))
        if not ended:
            return []
        with torch.no_grad():
            rows = torch.tensor([row for row, _ in ended], device=self.device)
            constants = [value[rows] for value in _constants(state)]
            numbers = state["numbers"].detach()[rows]
            images = self.parametrization.images(numbers, constants, self.size).clamp(0, 1).cpu()
        return [
            (slots[row], (image.clone(), slots[row].age, outcome))
            for (row, outcome), image in zip(ended, images, strict=True)
        ]

    def _stalled(self, scores: Tensor) -> bool:
        span = self.recipe.patience
        if not self.recipe.stall or len(scores) < 2 * span:
            return False
        first, before, last = scores[:span].mean(), scores[-2 * span : -span].mean(), scores[-span:].mean()
        return bool(last - before < self.recipe.stall * (torch.maximum(last, before) - torch.minimum(first, before)))


def _constants(state: Mapping[str, Tensor]) -> list[Tensor]:
    return [state[name] for name in sorted(state) if name.startswith("constant")]


def _normalized(gradient: Tensor) -> Tensor:
    """Rows scaled to a mean square of one; zero stays zero."""
    length = torch.linalg.vector_norm(gradient.flatten(1), dim=1).clamp_min(TINY)
    scale = math.sqrt(gradient[0].numel()) / length
    return gradient * scale.view(-1, *(1,) * (gradient.ndim - 1))


@contextmanager
def _norm_statistics(layers: nn.Module | None) -> Iterator[list[Tensor]]:
    """Collects how far every batch norm's input is from what it saw in training, (B,) each (Yin et al., CVPR 2020)."""
    distances: list[Tensor] = []

    def hook(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].float().flatten(2)
        mean, variance = norm.running_mean, norm.running_var
        assert isinstance(mean, Tensor)
        assert isinstance(variance, Tensor)
        spread = values.var(2, unbiased=False)
        apart = (values.mean(2) - mean).square() / (variance + 1e-5) + (spread / (variance + 1e-5) - 1).square()
        distances.append(apart.mean(1).log1p())

    with ExitStack() as hooks:
        for norm in () if layers is None else layers.modules():
            if isinstance(norm, NORMS) and norm.running_mean is not None:
                hooks.enter_context(norm.register_forward_pre_hook(hook))
        yield distances
