"""The contestants of ``benchmarks/dreams.py``: each dreams the same units in a process of its own.

    python benchmarks/dream_contestants.py    # an order, then steps to run, as JSON lines on stdin

The order says who, on which network, side, stage, batch. Every line ``{"steps": N}`` is answered by what N steps took,
``{"steps": N, "activations": true}`` also by what each unit reached on its plain picture, rounded to 8 bits. Seconds
are those the process got: with one thread and nothing to wait for, the clock's on a machine with nothing else to do. On
a card they are the clock's, and every step is waited for.
"""

from __future__ import annotations

import importlib
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml import DreamRequest, Objective, Recipe, RenderSession, RenderSettings, Transforms, dream
from conceptnet_ml.config.settings import NetworkSettings
from conceptnet_ml.network.staged_network import MEAN, STD, StagedNetwork
from conceptnet_ml.runtime import devices, seeding
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_plugins.backbones import small, torchvision_models

PAD, JITTER, SCALE, ROTATE = 12, 12, 0.1, 10.0
"""Everyone's transforms, lucent's standard ones: grey frame and shifts of 8 + 4 px in px, scale 1 ± .1, degrees."""


@dataclass(frozen=True)
class Order:
    """Who dreams what.

    Args:
        who: A name in :data:`CONTESTANTS`.
        network: ``small`` or a model of torchvision.
        side: Of the images, px.
        stage: Whose channels are dreamed.
        batch: Dreams at a time; unit i of the stage for image i, from the first again after the last.
        weights: File of a trained network; None leaves it at its initialisation, seed 0.
        device: Where; lucent takes the card where there is one, horama the CPU.
    """

    who: str
    network: str
    side: int
    stage: str
    batch: int
    weights: str | None = None
    device: str = "cpu"


def build(order: Order) -> nn.Module:
    """The classifier, in evaluation mode."""
    torch.manual_seed(0)
    backbone, name = (small, "") if order.network == "small" else (torchvision_models, order.network)
    model = backbone.build(name, 2, (order.side, order.side), NetworkSettings())
    if order.weights:
        kept = torch.load(order.weights)["network"]
        model.load_state_dict({name.removeprefix("model."): value for name, value in kept.items() if "model." in name})
    return model.eval().to(order.device)


def truncated(model: nn.Module, stage: str) -> nn.Sequential:
    """The classifier's children up to a stage: both networks run them one after the other."""
    names = [name for name, _ in model.named_children()]
    return nn.Sequential(*[getattr(model, name) for name in names[: names.index(stage) + 1]])


class Contestant:
    """Dreams a batch of units with the packages it ``needs``; ``base`` is the peak memory before, GiB."""

    needs: tuple[str, ...] = ()

    def __init__(self, order: Order) -> None:
        for name in self.needs:
            importlib.import_module(name)
        self.order = order
        self.model = build(order)
        self.base = devices.peak_memory()
        self.units = awake(self.model, order)
        self.stamps: list[float] = []
        self.prepare()

    def prepare(self) -> None:
        """What is done once, off the clock."""

    def clock(self) -> float:
        """Seconds, of the process, or by the clock once the card has done all it was given."""
        if self.order.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize(self.order.device)
        return time.perf_counter()

    def stamp(self) -> None:
        """A step begins."""
        self.stamps.append(self.clock())

    def dream(self, steps: int) -> Tensor | None:
        """Run; pictures (B, 3, H, W) in [0, 1] where there are any."""
        raise NotImplementedError

    def run(self, steps: int, activations: bool) -> dict[str, Any]:
        """Seconds of the whole call and of a step, and what the units reached."""
        self.stamps = []
        began = self.clock()
        pictures = self.dream(steps)
        seconds = self.clock() - began
        packs = max(1, len(self.stamps) // steps)  # whoever takes the images in parts has as many stamps a step
        lasted = [later - earlier for earlier, later in itertools.pairwise(self.stamps)]
        lasted = lasted[packs:] if len(lasted) > packs else lasted  # the first step may still prepare something
        found: dict[str, Any] = {"seconds": seconds, "step": packs * statistics.fmean(lasted or [seconds / steps])}
        if activations and pictures is not None:
            found["activations"] = self.activations(pictures).tolist()
        return found

    @torch.no_grad()
    def activations(self, pictures: Tensor) -> Tensor:
        """Mean of each picture's unit, on the picture as it would be stored."""
        pictures = pictures.detach().to(self.order.device).clamp(0, 1).mul(255).round().div(255)
        parts = [truncated(self.model, self.order.stage)(normalised(part)) for part in pictures.split(16)]
        return chosen(torch.cat(parts), self.units)


def chosen(maps: Tensor, units: Tensor) -> Tensor:
    """Mean over positions of each image's own unit, (B,)."""
    return maps[torch.arange(len(maps), device=maps.device), units].mean((1, 2))


def awake(model: nn.Module, order: Order) -> Tensor:
    """Units of the stage that answer to grey under any noise, loud or faint, the first again after the last, (B,): to
    bring up one that is closed is another task."""
    generator, parts, body = seeding.generator(0), [], truncated(model, order.stage)
    for loudness in torch.logspace(-3, -0.5, 32):  # one by one: the peak of memory is not to be this one's
        for smooth in (False, True):
            noise = torch.randn(1, 3, order.side, order.side, generator=generator)
            noise = functional.avg_pool2d(noise, 5, 1, 2) * 5 if smooth else noise
            with torch.no_grad():
                maps = body(normalised((0.5 + loudness * noise).clamp(0, 1).to(order.device)))
            parts.append((maps.flatten(2) > 0).float().mean(2))
    found = torch.cat(parts).amin(0).gt(0.01).nonzero().flatten()
    return found[torch.arange(order.batch, device=found.device) % len(found)]


def normalised(images: Tensor) -> Tensor:
    """As the networks and lucent's preprocessing have it."""
    mean, std = (torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (images - mean) / std


class Floor(Contestant):
    """Bare forward and backward of the truncated network: nothing normalised, moved or stepped, weights frozen; in the
    faster of the two memory layouts."""

    dtype: torch.dtype | None = None

    def prepare(self) -> None:
        self.body = truncated(self.model.requires_grad_(False), self.order.stage)
        times = {}
        for layout in (torch.contiguous_format, torch.channels_last):
            self._arrange(layout)
            self.dream(1)
            began = self.clock()
            self.dream(1 if self.order.batch * self.order.side > 4096 else 4)
            times[layout] = self.clock() - began
        self._arrange(min(times, key=lambda layout: times[layout]))

    def _arrange(self, layout: torch.memory_format) -> None:
        self.body.to(memory_format=layout)  # type: ignore[call-overload]
        shape = (self.order.batch, 3, self.order.side, self.order.side)
        images = torch.rand(shape, generator=seeding.generator(0)).to(self.order.device)
        self.images = images.contiguous(memory_format=layout).requires_grad_()

    def dream(self, steps: int) -> None:
        for _ in range(steps):
            self.stamp()
            with devices.autocast(self.images.device, self.dtype):
                value = chosen(self.body(self.images), self.units).sum()
            torch.autograd.grad(value, self.images)
        self.stamp()


class HalfFloor(Floor):
    """The same in bf16."""

    dtype = torch.bfloat16


class Lucent(Contestant):
    """torch-lucent as its page uses it: a model in evaluation mode, one objective per image, its standard transforms.

    Each call has a fresh copy of the model; what it does to one and the same is :class:`LucentPiled`'s.
    """

    needs = ("lucent.optvis.render",)
    frozen, together, upsampled, fresh = False, False, False, True

    def prepare(self) -> None:
        self.model.requires_grad_(not self.frozen)
        self.state = self.model.state_dict()
        self.model_now = self.model

    def dream(self, steps: int) -> Tensor:
        from lucent.optvis import param, render

        if self.fresh:
            self.model_now = build(self.order).requires_grad_(not self.frozen)
        kept: list[Callable[[], Tensor]] = []

        def parameters() -> Any:
            values, image = param.image(self.order.side, batch=self.order.batch)
            kept.append(image)
            return values, image

        torch.manual_seed(0)
        self.stamps = []
        render.render_vis(
            self.model_now,
            self._objective(),
            parameters,
            thresholds=(steps,),
            progress=False,
            show_image=False,
            fixed_image_size=None if self.upsampled else self.order.side,
        )
        return kept[0]()

    def _objective(self) -> Callable[[Any], Tensor]:
        from lucent.optvis import objectives

        units, stage = self.units.tolist(), self.order.stage
        if self.together:
            inner: Callable[[Any], Tensor] = lambda model: -chosen(model(stage), self.units).sum()  # noqa: E731
        elif len(units) == 1:
            inner = objectives.channel(stage, units[0])
        else:
            inner = objectives.Objective.sum([objectives.channel(stage, u, batch=i) for i, u in enumerate(units)])

        def objective(model: Any) -> Tensor:
            self.stamp()
            return inner(model)

        return objective


class LucentFrozen(Lucent):
    """The same with the weights frozen, which its page does not do."""

    frozen = True


class LucentTogether(LucentFrozen):
    """Frozen, and one hand-written objective for the whole batch: the best that can be made of it."""

    together = True


class LucentUpsampled(Lucent):
    """As its page uses it, with images under 224 px enlarged to 224, which it does unless told not to."""

    upsampled = True


class LucentPiled(Lucent):
    """One and the same model for every call: its hooks are never removed."""

    fresh = False


class Horama(Contestant):
    """Horama's Fourier images, one at a time: a batch of N is N calls, of which one is run.

    A step takes two crops (one is refused, it loses the batch axis), about as large as the image, at the image's own
    size; the objective is given the truncated network, as its user would write it. Its crops, noise and resizing stand
    in for the transforms of the others.
    """

    needs = ("horama",)

    def prepare(self) -> None:
        self.body = truncated(self.model, self.order.stage)

    def dream(self, steps: int) -> Tensor:
        import horama

        mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
        pictures = []
        for unit in self.units.tolist():

            def objective(images: Tensor, unit: int = unit) -> Tensor:
                self.stamp()
                return self.body(images)[:, unit].mean()

            torch.manual_seed(unit)
            self.stamps = []
            picture, _ = horama.fourier(
                objective,
                total_steps=steps,
                image_size=self.order.side,
                model_input_size=self.order.side,
                crops_per_iteration=2,
                box_size=(0.9, 1.0),
                device="cpu",
            )
            pictures.append(picture.detach() * std[0] + mean[0])
        return torch.stack(pictures)


class Ours(Contestant):
    """This package's engine: the same Fourier images and ranges of transforms, every step taken, all at once."""

    dtype: torch.dtype | None = None
    packed = False
    rate: float | None = None

    def prepare(self) -> None:
        side = self.order.side
        self.network = StagedNetwork(self.model, (side, side)).eval()

    def dream(self, steps: int) -> Tensor:
        self.stamps = []
        moves = Transforms(shift=JITTER, scale=(1 - SCALE, 1 + SCALE), rotate=ROTATE, edges="grey")
        made = dream(
            self.network,
            [
                DreamRequest(Objective.unit(self.order.stage, unit), seed)
                for seed, unit in enumerate(self.units.tolist())
            ],
            Recipe(steps=steps, transforms=moves, stall=0.0, rate=self.rate),
            RenderSettings(rows=None if self.packed else self.order.batch, dtype=self.dtype),
            RenderSession(stopper=Stamps(self)),
        )
        return torch.stack([one.image for one in made]) / 255


class OursPacked(Ours):
    """The same, as many at a time as the engine likes."""

    packed = True


class OursQuick(Ours):
    """The same in longer steps than the default's."""

    rate = 0.2


class OursHalf(Ours):
    """The same in bf16."""

    dtype = torch.bfloat16


class Stamps(Stopper):
    """Is asked before every step."""

    def __init__(self, contestant: Contestant) -> None:
        super().__init__()
        self.contestant = contestant

    def check(self) -> None:
        self.contestant.stamp()


CONTESTANTS: dict[str, type[Contestant]] = {
    "floor": Floor,
    "floor, bf16": HalfFloor,
    "ours": Ours,
    "ours, packed": OursPacked,
    "ours, rate .2": OursQuick,
    "ours, bf16": OursHalf,
    "lucent": Lucent,
    "lucent, frozen": LucentFrozen,
    "lucent, frozen, one objective": LucentTogether,
    "lucent, 224 px": LucentUpsampled,
    "lucent, same model": LucentPiled,
    "horama": Horama,
}


def main() -> None:
    """Answer every line until stdin ends."""
    order = Order(**json.loads(sys.stdin.readline()))
    devices.setup_threads()
    contestant = CONTESTANTS[order.who](order)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        answer = contestant.run(asked["steps"], asked.get("activations", False))
        print(json.dumps({**answer, "memory": devices.peak_memory() - contestant.base}), flush=True)


if __name__ == "__main__":
    main()
