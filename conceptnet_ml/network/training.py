"""One training loop for everything: ordinary training, the views of a round, baselines, detectors of families.

What differs between them is only where a batch comes from: a :class:`ViewMaker` turns image numbers into a batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from conceptnet_ml.config.settings import TrainingSettings
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.errors import Interrupted, TrainingDiverged
from conceptnet_ml.runtime import devices, layout, ranks, seeding
from conceptnet_ml.storage.tensors import Checkpoint

CHECK_EVERY = 25
"""Steps between two looks at the loss: whether it is finite, and for the progress display."""


class ViewMaker(Protocol):
    """Turns image numbers into a training batch."""

    def __call__(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(B,) int64 image numbers to floats in [0, 1] (B, 3, H, W) and labels, both on the training device.

        Labels are class numbers (B,), or the classes' shares (B, K), floats that sum to one.
        """


LossFn = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""``objective(network, images, labels) -> loss``, one number; it runs under autocast, on a network in training mode.

Images and labels are those of the views, whose labels may then hold more than classes, such as the images' numbers.
State that it keeps from step to step belongs in the network, as parameters and buffers, so that a training can be
resumed."""


@dataclass
class TrainingJob:
    """Everything the loop needs besides the network and the views.

    Args:
        images: How many images the views are numbered by.
        epochs: Passes over them.
        rate: Peak of the one-cycle learning rate.
        seed: Every step draws its random numbers from this and its own number, so that a resumed training takes exactly
            the steps an uninterrupted one would have taken.
        device: Where to train.
        dtype: Autocast type, None for fp32.
        advance: Called every :data:`CHECK_EVERY` steps with the number of steps since and the loss.
        should_stop: Called after each step; True saves the state and raises Interrupted.
        checkpoint: Where the state is kept meanwhile, None for nowhere.
        objective: The loss of a batch; None for cross entropy on the network's logits.
    """

    images: int
    epochs: int
    rate: float
    seed: int
    device: torch.device
    dtype: torch.dtype | None = None
    advance: Callable[..., None] = lambda *args, **kwargs: None
    should_stop: Callable[[], bool] = lambda: False
    checkpoint: Checkpoint | None = None
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    objective: LossFn | None = None

    @property
    def steps(self) -> int:
        """Optimizer steps in all; the last, incomplete batch of a pass is left out (batch norm dislikes it)."""
        return self.epochs * self.steps_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(self.images, self.settings)

    @property
    def batch(self) -> int:
        return min(self.settings.batch, self.images)


def steps_per_epoch(images: int, settings: TrainingSettings) -> int:
    """Optimizer steps of a pass over so many images."""
    return max(1, images // min(settings.batch, images))


def enough_epochs(wanted: int, images: int, settings: TrainingSettings, least: int | None = None) -> int:
    """The epochs wanted, or as many as it takes for ``least`` steps (default: ``training.least_steps``); 0 stay 0."""
    steps = settings.least_steps if least is None else least
    return 0 if wanted == 0 else max(wanted, math.ceil(steps / steps_per_epoch(images, settings)))


def describe_epochs(wanted: int, images: int, settings: TrainingSettings) -> str:
    """In words: ``16 epochs of 14 steps, 224 steps in all``, or that they are too few, and how many there are."""
    each, epochs = steps_per_epoch(images, settings), enough_epochs(wanted, images, settings)
    begin = " of ".join(map(_counted, (wanted, each), ("epoch", "step")))
    few = f" {'is' if wanted == 1 else 'are'} too few: {epochs} epochs instead" if epochs > wanted else ""
    return f"{begin}{few}, {_counted(epochs * each, 'step')} in all"


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}{'s' * (count != 1)}"


def to_float(images: Tensor, device: torch.device) -> Tensor:
    """uint8 (B, 3, H, W) to floats in [0, 1] on the device, in its memory format."""
    return layout.arranged(images.to(device, non_blocking=True)).to(torch.float32).div_(255)


def train(network: nn.Module, views: ViewMaker, job: TrainingJob) -> dict[str, float]:
    """Train with SGD (Nesterov) or AdamW and a one-cycle rate; returns the last loss and the seconds taken.

    Args:
        network: Takes floats in [0, 1]; moved to ``job.device`` and its memory format, left in evaluation mode.
        views: Where the batches come from.
        job: Everything else.

    Raises:
        TrainingDiverged: The loss became NaN or infinite; the network holds the last good state.
        Interrupted: ``job.should_stop`` said so; the state is saved if there is a place for it.
    """
    layout.to_device(network, job.device).train()
    ranks.like_first(network.state_dict().values())
    narrow = layout.is_narrow(network)
    optimizer = _optimizer(network, job)
    scaler = devices.grad_scaler(job.device, job.dtype)
    start = reported = _restore(network, optimizer, scaler, job)
    if start:
        job.advance(start)
    began = saved = time.monotonic()
    good, loss = _copy_state(network), torch.zeros(())
    order, epoch = torch.empty(0, dtype=torch.int64), -1
    at_a_time = job.batch
    for step in range(start, job.steps):
        if step // job.steps_per_epoch != epoch:
            epoch = step // job.steps_per_epoch
            order = torch.randperm(job.images, generator=seeding.generator(seeding.seed_for(job.seed, "order", epoch)))
        place = step % job.steps_per_epoch
        generator = seeding.generator(seeding.seed_for(job.seed, "step", step))
        images, labels = views(order[place * job.batch : (place + 1) * job.batch], generator)
        images = layout.arranged(augment(images, job.settings, generator), narrow)
        for group in optimizer.param_groups:
            group["lr"] = one_cycle_rate(job.rate, step, job.steps)
        taken = partial(_step, network, optimizer, scaler, images, labels, job)
        loss, at_a_time = devices.within_memory(taken, at_a_time)
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == job.steps:
            _check_finite(network, good, loss, step, job)
            good = _copy_state(network)
            job.advance(step + 1 - reported, loss=float(loss))
            reported = step + 1
        now = time.monotonic()
        stop = job.should_stop() and step + 1 < job.steps
        if job.checkpoint is not None and (stop or now - saved > job.settings.save_seconds):
            job.checkpoint.save(_state(step + 1, _copy_state(network), _moments(optimizer), scaler.state_dict()))
            saved = now
        if stop:
            raise Interrupted("stopped during training")
    if job.checkpoint is not None:
        job.checkpoint.clear()
    network.eval()
    return {"loss": float(loss), "steps": float(job.steps), "seconds": time.monotonic() - began}


def _optimizer(network: nn.Module, job: TrainingJob) -> torch.optim.Optimizer:
    settings, parameters = job.settings, [one for one in network.parameters() if one.requires_grad]
    fused = job.device.type in ("cpu", "cuda")
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=job.rate, weight_decay=settings.weight_decay, fused=fused)
    return torch.optim.SGD(
        parameters,
        lr=job.rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.momentum > 0,
        fused=fused,
    )


def one_cycle_rate(peak: float, step: int, steps: int) -> float:
    """One cycle (Smith, arXiv 1708.07120) with cosine slopes: 30 % up from 1/25 of the peak, then down to 1/250,000.

    Not torch's OneCycleLR, which turns a fraction of a step earlier: with its rates runs would not stay the same.
    """
    total = max(1, steps - 1)
    turn = 0.3 * total
    if step <= turn:
        first, last, share = peak / 25, peak, step / max(turn, 1e-9)
    else:
        first, last, share = peak, peak / 25e4, (step - turn) / (total - turn)
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


def augment(images: Tensor, settings: TrainingSettings, generator: torch.Generator) -> Tensor:
    """Mirror each image with probability one half and shift it by a few px, edges reflected, each by its own draw.

    One gather for the whole batch, on the device; floats (B, 3, H, W) in, the same out, with channels innermost.
    """
    count, _, height, width = images.shape
    most = round(settings.shift * max(height, width))
    mirrored = torch.rand(count, generator=generator) < 0.5
    down, right = torch.randint(-most, most + 1, (2, count, 1), generator=generator)
    rows = _reflect(torch.arange(height) + down, height)
    columns = _reflect(torch.arange(width) + right, width)
    if settings.flip:
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    places = (torch.arange(count)[:, None] * height + rows)[:, :, None] * width + columns[:, None, :]
    flat = images.permute(0, 2, 3, 1).reshape(count * height * width, -1)
    found = flat.index_select(0, places.flatten().to(images.device))
    return found.view(count, height, width, -1).permute(0, 3, 1, 2)


def _reflect(places: Tensor, size: int) -> Tensor:
    """Positions outside 0..size−1 mirrored back in, the edge itself not repeated."""
    places = places.abs()
    return torch.where(places >= size, 2 * (size - 1) - places, places)


@torch.no_grad()
def predict_logits(network: nn.Module, images: Tensor, dtype: torch.dtype | None, batch: int = 512) -> Tensor:
    """Logits (N, classes) in fp32 of float images (N, 3, H, W), in evaluation mode."""
    network.eval()
    if layout.memory_format(images.device, layout.is_narrow(network)) is torch.contiguous_format:
        images = images.contiguous()

    def answers(at_a_time: int) -> Tensor:
        with devices.autocast(images.device, dtype):
            return torch.cat([network(part).float() for part in images.split(at_a_time)])

    return devices.within_memory(answers, max(1, min(batch, len(images))))[0]


def predict_set(network: nn.Module, images: ImageSet, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    """Logits (N, classes) in fp32, on the CPU, of a whole set of images."""
    parts = torch.arange(len(images)).split(512)
    return torch.cat([predict_logits(network, to_float(images.take(part), device), dtype).cpu() for part in parts])


def _step(
    network: nn.Module,
    optimizer: Any,
    scaler: Any,
    images: Tensor,
    labels: Tensor,
    job: TrainingJob,
    at_a_time: int,
) -> Tensor:
    """One step of the optimizer; returns the loss of the batch. Gradients of its parts are summed, each with the weight
    of its images; only batch norms see the parts by themselves. A gradient above ``training.clip`` is scaled down: at
    the peak of the rate a single one can throw a network back to chance, and it depends on the order of sums whether it
    does (docs/decisions/0048-clipped-gradients.md).

    Of several ranks each computes a part of the batch; gradients and loss are added up."""
    optimizer.zero_grad(set_to_none=True)
    whole, count = torch.zeros((), device=job.device), len(images)
    images, labels = ranks.own_part(images), ranks.own_part(labels)
    for part, right in zip(images.split(at_a_time), labels.split(at_a_time), strict=True):
        with devices.autocast(job.device, job.dtype):
            answers = network(part) if job.objective is None else job.objective(network, part, right)
        loss = nn.functional.cross_entropy(answers.float(), right) if job.objective is None else answers
        if len(part) < count:
            loss = loss * (len(part) / count)
        scaler.scale(loss).backward()
        whole += loss.detach()
    ranks.add_up_gradients(network.parameters(), whole)
    if job.settings.clip:
        scaler.unscale_(optimizer)
        parameters = [one for group in optimizer.param_groups for one in group["params"]]
        nn.utils.clip_grad_norm_(parameters, job.settings.clip)
    scaler.step(optimizer)
    scaler.update()
    return whole


def _check_finite(network: nn.Module, good: dict[str, Tensor], loss: Tensor, step: int, job: TrainingJob) -> None:
    """Where the loss is not finite, put the last good state back and raise TrainingDiverged."""
    if math.isfinite(float(loss)):
        return
    network.load_state_dict(good)
    network.eval()
    if job.checkpoint is not None:
        job.checkpoint.save(_state(step // CHECK_EVERY * CHECK_EVERY, good, None, {}))
    raise TrainingDiverged(
        f"the loss became {float(loss)} at step {step + 1}; the last good state is kept",
        "Lower training.rate (or training.warm_rate), or set training.precision=fp32.",
    )


def _copy_state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _moments(optimizer: torch.optim.Optimizer) -> list[Any]:
    """What the optimizer remembers of each parameter: of SGD its momentum, of AdamW all by name; None for nothing."""
    states = [optimizer.state.get(parameter) for parameter in optimizer.param_groups[0]["params"]]
    if isinstance(optimizer, torch.optim.SGD):
        return [None if state is None else state.get("momentum_buffer") for state in states]
    return [None if state is None else dict(state) for state in states]


def _state(step: int, network: dict[str, Tensor], momenta: Any, scaler: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint holds: steps taken, the state dict, the momenta, and the state of the gradient scaler."""
    return {"step": step, "network": network, "momenta": momenta, "scaler": scaler}


def _restore(network: nn.Module, optimizer: Any, scaler: Any, job: TrainingJob) -> int:
    """Load the checkpoint, if there is one; returns the number of steps taken."""
    state = ranks.first(job.checkpoint.load) if job.checkpoint is not None else None
    if state is None:
        return 0
    network.load_state_dict(state["network"])
    if state["scaler"]:
        scaler.load_state_dict(state["scaler"])
    parameters = optimizer.param_groups[0]["params"]
    for parameter, momenta in zip(parameters, state["momenta"] or [None] * len(parameters), strict=True):
        remembered = {"momentum_buffer": momenta} if isinstance(momenta, Tensor) else momenta or {}
        for name, value in remembered.items():
            # In the parameter's own memory layout: the fused optimizer walks both side by side.
            own = torch.empty_like(parameter if value.shape == parameter.shape else value)
            optimizer.state[parameter][name] = own.copy_(value)
    return int(state["step"])
