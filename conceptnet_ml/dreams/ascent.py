"""The climb: a batch of dreams at one size, each a row; finished rows leave, waiting ones enter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from conceptnet_ml.dreams.activations import NORMS, Layers
from conceptnet_ml.dreams.objectives import Objective, ObjectiveBatch
from conceptnet_ml.dreams.parametrizations import DreamRow
from conceptnet_ml.dreams.recipe import Recipe
from conceptnet_ml.runtime import devices, seeding

BETAS = (0.9, 0.999)

TINY = 1e-20

IDLE = -1

ATTEMPTS = 3

LEAK = 0.1
"""A target without a slope begins anew so often, with more noise each time and, for a while, ReLUs that leak."""

FP16_SCALE = 1024.0
"""Lifts fp16 slopes out of underflow; every slope is brought to length one afterwards."""


@dataclass(frozen=True, eq=False)
class Ascent:
    """One dream at one size: its target, its seed, and images (C, H, W) in [0, 1] to start from and to take from."""

    objective: Objective
    seed: int
    start: Tensor | None = None
    donor: Tensor | None = None


@dataclass(frozen=True, eq=False)
class AscentResult:
    """Where it got to: the image (C, H, W) in [0, 1], after how many steps, and how it ended."""

    image: Tensor
    steps: int
    outcome: str


@dataclass(eq=False)
class _Seat:
    """What is remembered of a row outside the tensors."""

    number: int
    climb: Ascent
    age: int = 0
    attempt: int = 0
    generator: torch.Generator = field(default_factory=torch.Generator)

    @property
    def idle(self) -> bool:
        """Nobody waits for this row."""
        return self.number == IDLE


@dataclass(frozen=True, eq=False)
class _Batch:
    """What is worked out once while the rows stay the same.

    ``rows`` are Adam's numbers and averages, ``clocks`` its times: row by row, or all rows at once where they are all
    at the same time.
    """

    objective: ObjectiveBatch
    generators: list[torch.Generator]
    every: Tensor
    constants: list[Tensor]
    rows: list[list[Tensor]]
    clocks: list[Tensor]


class BatchAscent:
    """Runs climbs of one recipe and size over the same layers.

    A row's numbers come from its own seed alone, rows enter and leave at the same places of their own time, and nothing
    is summed over rows; so a dream does not depend on who else is in the batch, up to how the processor rounds batches
    of another length. With ``exact`` the batch keeps its length to the end.

    Args:
        layers: What is run.
        recipe: How.
        size: Height and width.
        rows: Dreams at a time.
        device, dtype: Where, and autocast's type for the network alone.
        guides: Maps of guide pictures, by their terms' keys.
        exact: Keep the batch's length.
    """

    def __init__(
        self,
        layers: Layers,
        recipe: Recipe,
        size: tuple[int, int],
        rows: int,
        device: torch.device,
        dtype: torch.dtype | None,
        guides: Mapping[str, Tensor],
        exact: bool = False,
    ) -> None:
        self.layers, self.recipe, self.size, self.rows = layers, recipe, size, rows
        self.device, self.dtype, self.guides, self.exact = device, dtype, guides, exact
        self.turned = recipe.parametrization
        self.transforms = recipe.moves(size)
        self.rate = recipe.rate or self.turned.rate
        most = max(1, min(recipe.patience, recipe.steps // 2))
        self.tick = max(k for k in range(1, most + 1) if recipe.steps % k == 0)

    def run(
        self, climbs: Sequence[Ascent], advance: Callable[[int], None], check: Callable[[], None]
    ) -> Iterator[tuple[int, AscentResult]]:
        """Climb them all; gives (number, result) as they end.

        Args:
            climbs: What to dream.
            advance: Told how many steps were made or saved.
            check: Called between steps; may raise to stop.
        """
        waiting = list(enumerate(climbs))[::-1]
        seats: list[_Seat] = []
        state: dict[str, Tensor] = {}
        while waiting or not all(seat.idle for seat in seats):
            state = self._seat(seats, state, waiting)
            batch = self._batch(seats, state)
            waking = torch.tensor([seat.attempt > 0 and seat.age == 0 for seat in seats], device=self.device)
            self.layers.leak(waking * LEAK if bool(waking.any()) else None)
            for _ in range(self.tick):
                check()
                self._step(state, batch)
            state["time"].copy_(torch.stack(batch.clocks).expand(len(seats)))
            state["moved"] &= ~waking  # a slope that was let through is none of its own
            busy = [seat for seat in seats if not seat.idle]
            for seat in busy:
                seat.age += self.tick
            advance(self.tick * len(busy))
            for seat, done in self._ended(seats, state, advance):
                advance(self.recipe.steps - seat.age)
                number, seat.number = seat.number, IDLE
                yield number, done

    def begin(self, climb: Ascent) -> Tensor:
        """The first image of a climb, (C, H, W) in [0, 1]."""
        seat = _Seat(0, climb)
        state: dict[str, Tensor] = {}
        self._enter(state, 0, seat, 1)
        with torch.no_grad():
            return self.turned.images(state["numbers"], self._constants(state), self.size)[0].clamp(0, 1)

    def _seat(
        self, seats: list[_Seat], state: dict[str, Tensor], waiting: list[tuple[int, Ascent]]
    ) -> dict[str, Tensor]:
        """Waiting climbs into empty rows; what stays empty is dropped, or climbs idly where the length is kept."""
        if not seats:
            last = waiting[0][1]
            seats += [_Seat(IDLE, last) for _ in range(self.rows if self.exact else min(self.rows, len(waiting)))]
            entering = list(range(len(seats)))
        else:
            entering = [row for row, seat in enumerate(seats) if seat.idle and waiting]
        for row in entering:
            if waiting:
                seats[row] = _Seat(*waiting.pop())
            self._enter(state, row, seats[row], len(seats))
        kept = [row for row, seat in enumerate(seats) if self.exact or not seat.idle]
        if len(kept) < len(seats):
            index = torch.tensor(kept, device=self.device)
            state = {name: value.index_select(0, index) for name, value in state.items()}
            seats[:] = [seats[row] for row in kept]
        for row, seat in enumerate(seats):
            if seat.idle:
                state["age"][row] = 0
        return state

    def _enter(self, state: dict[str, Tensor], row: int, seat: _Seat, count: int) -> None:
        """Put a climb's own numbers into a row."""
        climb, channels = seat.climb, self.layers.channels
        seed = climb.seed if seat.attempt == 0 else seeding.seed_for(climb.seed, "again", seat.attempt)
        seat.generator, seat.age = seeding.generator(seed), 0
        start = None if climb.start is None else climb.start.cpu()
        donor = None if climb.donor is None else climb.donor.cpu()
        numbers, constants = self.turned.begin(
            DreamRow(self.size, channels, start, donor, 2.0**seat.attempt * (1.0 + (seat.attempt > 0)), seat.generator)
        )
        values = {
            "numbers": numbers,
            **{f"constant{n}": constant for n, constant in enumerate(constants)},
            "first": torch.zeros_like(numbers),
            "second": torch.zeros_like(numbers),
            "drawn": self.transforms.draw(self.recipe.steps, channels, seat.generator),
            "scores": torch.zeros(self.recipe.steps),
            "age": torch.tensor(0),
            "time": torch.tensor(0.0),
            "moved": torch.tensor(False),
        }
        if state and (kept := len(self._constants(state))) != len(constants):
            raise ValueError(f"{type(self.turned).__name__}.begin gave {len(constants)} constants, {kept} before")
        if self.recipe.near:
            values["origin"] = start if start is not None else torch.full((channels, *self.size), 0.5)
        for name, value in values.items():
            if name not in state:
                state[name] = torch.zeros(count, *value.shape, dtype=value.dtype, device=self.device)
            state[name][row] = value.to(self.device)

    def _batch(self, seats: Sequence[_Seat], state: Mapping[str, Tensor]) -> _Batch:
        """What stays the same from step to step while nobody enters or leaves."""
        names = ("numbers", "first", "second")
        whole = not self.exact and len({seat.age for seat in seats}) == 1
        rows = [[state[name]] if whole else list(state[name]) for name in names]
        return _Batch(
            objective=ObjectiveBatch([seat.climb.objective for seat in seats], self.guides, self.device),
            generators=[seat.generator for seat in seats],
            every=torch.arange(len(seats), device=self.device),
            constants=self._constants(state),
            rows=rows,
            clocks=[state["time"][0].clone()] if whole else list(state["time"]),
        )

    def _step(self, state: dict[str, Tensor], batch: _Batch) -> None:
        """One step of every row."""
        numbers, age, constants, every = state["numbers"], state["age"], batch.constants, batch.every
        with torch.no_grad():
            images = self.turned.images(numbers, constants, self.size)
        leaf = images.detach().requires_grad_(True)
        slope, scores = self._slope(leaf, state["drawn"][every, age], batch.objective, batch.generators)
        with torch.no_grad():
            state["scores"][every, age] = scores
            length = torch.linalg.vector_norm(slope.flatten(1), dim=1)
            state["moved"] |= length > 0
            slope.mul_((math.sqrt(slope[0].numel()) / length.clamp_min(TINY))[:, None, None, None])
            self._regularise(slope, images, state)
            climb = self.turned.slope(numbers, constants, images, slope)
        if (cost := self._cost(numbers)) is not None:
            climb = _even(climb) - cost
        with torch.no_grad():
            self._move(numbers, climb, batch)
            self.turned.bound(numbers)
            state["age"] += 1

    def _cost(self, numbers: Tensor) -> Tensor | None:
        """The slope of what the numbers themselves cost."""
        free = numbers.detach().requires_grad_(True)
        price = self.turned.price(free)
        return None if price is None else 4 * free[0].numel() * torch.autograd.grad(price.sum(), free)[0]

    def _slope(
        self, leaf: Tensor, drawn: Tensor, objective: ObjectiveBatch, generators: Sequence[torch.Generator]
    ) -> tuple[Tensor, Tensor]:
        """Where the objective grows, (B, C, H, W), and what it is, (B,)."""
        scale = FP16_SCALE if self.dtype is torch.float16 else 1.0
        natural = self.recipe.natural
        with _statistics(self.layers if natural else None) as unlike:
            view = self.transforms.view(leaf, drawn, generators)
            with devices.autocast(self.device, self.dtype):
                maps = self.layers(view)
            scores = objective(maps)
            (slope,) = torch.autograd.grad(
                scores.sum() * scale, leaf, retain_graph=bool(natural), materialize_grads=True
            )
            if natural and unlike:
                (other,) = torch.autograd.grad(torch.stack(unlike).sum(), leaf, materialize_grads=True)
                slope = _even(slope) - natural * _even(other)
        return slope, scores.detach()

    def _regularise(self, slope: Tensor, images: Tensor, state: Mapping[str, Tensor]) -> None:
        """Less total variation, less distance: both in the scale of a slope of one per pixel."""
        if self.recipe.smooth:
            for dim in (2, 3):
                step = images.diff(dim=dim)
                step = step * torch.rsqrt(step.square() + 1e-4) * self.recipe.smooth
                size = images.shape[dim]
                slope.narrow(dim, 0, size - 1).add_(step)
                slope.narrow(dim, 1, size - 1).sub_(step)
        if self.recipe.near:
            slope.sub_((images - state["origin"]) * (10 * self.recipe.near))

    def _move(self, numbers: Tensor, climb: Tensor, batch: _Batch) -> None:
        """One step up, in place: Adam, each row at its own time, or steps of an even mean length."""
        if self.recipe.ascent == "gradient":
            even = climb.flatten(1).abs().mean(1).clamp_min(TINY).view(-1, *(1,) * (numbers.ndim - 1))
            numbers.addcdiv_(climb, even, value=self.rate)
            return
        rows, first, second = batch.rows
        climb = climb.contiguous()
        adam(
            rows,
            [climb] if len(rows) < len(climb) else list(climb),
            first,
            second,
            [],
            batch.clocks,
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
        self, seats: list[_Seat], state: dict[str, Tensor], advance: Callable[[int], None]
    ) -> list[tuple[_Seat, AscentResult]]:
        """Rows that have made all steps, stalled, or found no slope at all; those without slope begin anew first."""
        scores, moved = state["scores"].cpu(), state["moved"].cpu()
        ended: list[tuple[int, str]] = []
        for row, seat in enumerate(seats):
            if seat.idle:
                continue
            if not moved[row] and seat.attempt and seat.age == self.tick < self.recipe.steps:
                continue  # woken, if at all, just now
            if not moved[row] and seat.attempt < ATTEMPTS:
                advance(-seat.age)
                seat.attempt += 1
                self._enter(state, row, seat, len(seats))
            elif not moved[row]:
                ended.append((row, "no gradient"))
            elif seat.age >= self.recipe.steps:
                ended.append((row, "all steps"))
            elif self._stalled(scores[row, : seat.age]):
                ended.append((row, "stalled"))
        if not ended:
            return []
        with torch.no_grad():
            rows = torch.tensor([row for row, _ in ended], device=self.device)
            constants = [value[rows] for value in self._constants(state)]
            images = self.turned.images(state["numbers"].detach()[rows], constants, self.size).clamp(0, 1).cpu()
        return [
            (seats[row], AscentResult(image.clone(), seats[row].age, outcome))
            for (row, outcome), image in zip(ended, images, strict=True)
        ]

    @staticmethod
    def _constants(state: Mapping[str, Tensor]) -> list[Tensor]:
        return [state[name] for name in sorted(state) if name.startswith("constant")]

    def _stalled(self, scores: Tensor) -> bool:
        span = self.recipe.patience
        if not self.recipe.stall or len(scores) < 2 * span:
            return False
        first, before, last = scores[:span].mean(), scores[-2 * span : -span].mean(), scores[-span:].mean()
        return bool(last - before < self.recipe.stall * (torch.maximum(last, before) - torch.minimum(first, before)))


def _even(slope: Tensor) -> Tensor:
    """Rows brought to a mean square of one; zero stays zero."""
    length = torch.linalg.vector_norm(slope.flatten(1), dim=1).clamp_min(TINY)
    scale = math.sqrt(slope[0].numel()) / length
    return slope * scale.view(-1, *(1,) * (slope.ndim - 1))


@contextmanager
def _statistics(layers: nn.Module | None) -> Iterator[list[Tensor]]:
    """While it lasts, what every batch norm sees against what it saw in training, (B,) each."""
    found: list[Tensor] = []

    def hook(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].float().flatten(2)
        mean, variance = norm.running_mean, norm.running_var
        assert isinstance(mean, Tensor)
        assert isinstance(variance, Tensor)
        spread = values.var(2, unbiased=False)
        apart = (values.mean(2) - mean).square() / (variance + 1e-5) + (spread / (variance + 1e-5) - 1).square()
        found.append(apart.mean(1).log1p())

    handles = [] if layers is None else [norm for norm in layers.modules() if isinstance(norm, NORMS)]
    hooks = [norm.register_forward_pre_hook(hook) for norm in handles if norm.running_mean is not None]
    try:
        yield found
    finally:
        for one in hooks:
            one.remove()
