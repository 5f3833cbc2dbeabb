"""The parts of ``benchmarks/gpu.py``: each yields its figures row by row, so that those before an error are kept."""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import gc
import importlib.util
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import training_speed
from dream_contestants import CONTESTANTS, Contestant, Order
from image_views import ImageViews
from torch import Tensor, nn

from conceptnet_ml import DreamRequest, Objective, Recipe, RenderSettings, dream
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.load import load_data
from conceptnet_ml.dreams.activations import Layers
from conceptnet_ml.dreams.render import rows_for
from conceptnet_ml.errors import ConceptNetError
from conceptnet_ml.network.build import build_network
from conceptnet_ml.network.staged_network import MEAN, STD, StagedNetwork
from conceptnet_ml.network.training import TrainingJob, predict_set, to_float, train
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.runtime import devices, layout
from conceptnet_ml.surgery.merge import merge_units
from conceptnet_ml.surgery.split import split_unit
from conceptnet_ml.swap.probe import Prober
from conceptnet_ml.swap.representation import Codec

ROOT, CPU, GIB = Path(__file__).parents[1], torch.device("cpu"), 2**30

FORWARD = 1e-4
"""Largest difference of a logit, a share of the logits' deviation: fp32 carries seven digits, of which sums in another
order lose some. On a CPU another memory format makes 3e-7 to 6e-7, after a merge, too; convolutions of numbers rounded
to TF32 make 2e-4, so the limit also tells whether TF32 was off."""
TRAINED = 5e-2
"""The same after four steps of training, in which rounding grows. On a CPU, of four initialisations, another memory
format makes 2e-4 to 2e-3, the images in another order 0.09 to 0.24."""
GATES = 3e-4
"""Mean difference of a soft gate, in [0, 1]: on a CPU 3e-9 by another memory format, 7e-4 by TF32. The largest has no
limit: Adam's steps are as long for a small gradient as for a large one, so a cell worth its price may open or close."""
PICTURES = 0.5
"""Mean difference of a dream's pixel, in levels of 255, since the ascent magnifies rounding: 0 and 1.0."""

SHARE = 0.5
"""Part of the budget that one ``learn`` may take, so that something is left for the others."""
SCARCE = 0.6
"""Part of the memory a work needs that it is left with: enough for half of its batch."""
LITTLE = 0.25
"""GiB that are free when dreams choose how many to make at a time."""


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Args:
        turns: Of every loop that is timed, after one that is not counted.
        seeds: Trainings behind an accuracy.
        loops: Of training: backbone, side in px, images a batch, steps a turn.
        dreams, dream_steps: Networks, stages and dreams at a time; steps a turn.
        signs: Of the trainings in several precisions: data set, training images per class, epochs, backbone, batch.
        scarce: Images at a time of the works that lack memory.
        learn, pretrained: Settings of ``learn``.
    """

    turns: int
    seeds: int
    loops: tuple[tuple[str, int, int, int], ...]
    dreams: tuple[Order, ...]
    dream_steps: int
    signs: tuple[str, int, int, str, int]
    scarce: int
    learn: str
    pretrained: str


@dataclass(frozen=True)
class Row:
    """A figure, its least and greatest, and the limit it must keep; or a ``note`` where there is none."""

    what: str
    value: float | None = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    note: str = ""

    @classmethod
    def of(cls, what: str, values: Sequence[float], unit: str, middle: Callable[..., float] = statistics.median) -> Row:
        """From the values of all turns or seeds."""
        return cls(what, middle(values), unit, min(values), max(values))

    @property
    def fits(self) -> bool:
        """Whether the limit is kept; NaN keeps none."""
        return self.limit is None or (self.value is not None and self.value <= self.limit)

    def plain(self) -> dict[str, Any]:
        """What is known of it; a number that is not finite, which JSON does not have, is None."""
        known = {name: value for name, value in asdict(self).items() if value not in (None, "")}
        numbers = {name: value for name, value in known.items() if isinstance(value, float)}
        return {**known, **{name: value if math.isfinite(value) else None for name, value in numbers.items()}}


@dataclass(frozen=True)
class Bench:
    """What every part needs: options, where to run, how much, and since when."""

    options: argparse.Namespace
    device: torch.device
    scale: Scale
    plugins: Plugins
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds of the budget."""
        return self.options.budget - (time.monotonic() - self.began)

    def signs(self, source: str, limit: int, backbone: str = "small", batch: int = 64) -> tuple[Settings, Data]:
        """Drawn signs of 32 px, ``limit`` training images per class, and the settings that go with them."""
        given = {"source": source, "train_limit": limit}
        settings = Settings.model_validate(
            {"data": given, "network": {"backbone": backbone}, "training": {"batch": batch}}
        )
        return settings, load_data(settings, self.plugins)

    def trained(
        self,
        signs: tuple[Settings, Data],
        epochs: int,
        rate: float,
        device: torch.device,
        dtype: torch.dtype | None = None,
        seed: int = 0,
    ) -> tuple[StagedNetwork, float]:
        """The network of these settings after ordinary training on the device, and images per second."""
        settings, data = signs
        network = build_network(settings, data.classes, data.shape[1:], self.plugins, seed)
        job = TrainingJob(len(data.train), epochs, rate, seed, device, dtype, settings=settings.training)
        seconds = train(network, ImageViews(data.train.to(device), device), job)["seconds"]
        return network, job.steps * job.batch / seconds

    def gates(self, network: StagedNetwork, settings: Settings, images: Tensor, labels: Tensor) -> Tensor:
        """Place gates (B, 1, cells, cells) of the probe in pixels; the donors are the other half of the images."""
        codec, half = Codec(self.plugins.get("representation", "pixels")), len(images) // 2  # type: ignore[arg-type]
        targets = labels.roll(half).to(images.device)
        found = Prober(network, codec, settings.probe).gates(images, images.roll(half, 0), targets)
        assert found is not None
        return found


def agreement(bench: Bench) -> Iterator[Row]:
    """The device beside the CPU, both in fp32: a short training; of one network logits, surgery, gates and dreams."""
    signs = settings, data = bench.signs("glyphs:4", 64)
    chosen = torch.arange(0, len(data.train), 5)
    labels = data.train.labels[chosen]

    def pictures(network: StagedNetwork, images: Tensor) -> Tensor:
        wanted = [DreamRequest(Objective.unit("block3", unit), unit) for unit in range(16)]
        made = dream(network, wanted, Recipe(steps=16, stall=0.0), RenderSettings(rows=16))
        return torch.stack([one.image for one in made]).float()

    with exact_fp32():
        pair = [bench.trained(signs, 1, 0.01, device)[0] for device in (CPU, bench.device)]
        logits = [predict_set(one, data.tests["test"], one.mean.device, None) for one in pair]
        yield largest_difference("logits after 4 steps of training", logits, TRAINED)
        network, _ = bench.trained(signs, 4, 0.1, CPU)
        both = functools.partial(on_both, network, data.train.take(chosen), bench.device)
        yield largest_difference("logits", both(lambda network, images: network(images)), FORWARD)
        halves = both(lambda network, images: split_unit(network, "block2", 5, 2)(images))
        yield largest_difference("logits, a unit split", halves, FORWARD)
        merged = both(lambda network, images: merge_units(network, "block2", [[0, 1], [2, 3]], [images])(images))
        yield largest_difference("logits, units merged", merged, FORWARD)
        gates = both(lambda network, images: bench.gates(network, settings, images, labels))
        yield mean_difference("gates of a probe", gates, "of [0, 1]", GATES)
        yield mean_difference("pictures of dreams", both(pictures), "of 255 levels", PICTURES)


@contextlib.contextmanager
def exact_fp32() -> Iterator[None]:
    """Without TF32, to which torch rounds what goes into convolutions on a card unless it is forbidden."""
    kept = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = kept


def on_both(
    network: StagedNetwork, images: Tensor, device: torch.device, work: Callable[[StagedNetwork, Tensor], Tensor]
) -> list[Tensor]:
    """What the work gives on the CPU and on the device, with the same network and uint8 images; both on the CPU."""
    places = (CPU, device)
    networks = [layout.to_device(copy.deepcopy(network), place) for place in places]
    return [work(one, to_float(images, at)).detach().cpu() for one, at in zip(networks, places, strict=True)]


def largest_difference(what: str, pair: Sequence[Tensor], limit: float) -> Row:
    """A share of the first one's standard deviation."""
    apart = (pair[0] - pair[1]).abs().max() / pair[0].std()
    return Row(what, float(apart), "of the deviation", limit=limit)


def mean_difference(what: str, pair: Sequence[Tensor], unit: str, limit: float) -> Row:
    """The mean has a limit, the least and the largest stand beside it."""
    apart = (pair[0] - pair[1]).abs()
    return Row(what, float(apart.mean()), unit, float(apart.min()), float(apart.max()), limit)


def learn(bench: Bench) -> Iterator[Row]:
    """``learn`` on pictures, or drawings, where in training all of the first class have wheels."""
    source = f"folder:{bench.options.pictures}" if bench.options.pictures else "glyphs:2:faint"
    yield from run_learn(bench, "learn", source, ["data.trap=wheels", *bench.scale.learn.split()])


def pretrained(bench: Bench) -> Iterator[Row]:
    """``learn`` with a ResNet-50 at 224 px, from fresh or from given weights."""
    folder, weights = bench.options.bar, bench.options.weights
    if folder is None:
        yield Row("left out", note="no folder is given: --bar FOLDER")
        return
    settings = ["network.backbone=torchvision:resnet50", *bench.scale.pretrained.split()]
    if weights is not None:
        settings.append(f"network.weights={weights}")
    yield Row("weights", note=weights.name if weights else "fresh")
    yield from run_learn(bench, "pretrained", f"folder:{folder}", settings)


def run_learn(bench: Bench, name: str, source: str, settings: Sequence[str]) -> Iterator[Row]:
    """The real command in a process of its own: accuracies of both networks, seconds, memory.

    Raises:
        RuntimeError: It failed; what it said is in OUT/NAME.log.
    """
    out, log = bench.options.out / name, bench.options.out / f"{name}.log"
    command = [sys.executable, "cli.py", "learn", "--json", "--device", bench.options.device, "--data", source]
    command += [*(word for one in settings for word in ("--set", one)), "--out", str(out)]
    limit = max(1.0, min(bench.left, SHARE * bench.options.budget))
    began = time.monotonic()
    with log.open("w") as said:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=said, text=True, timeout=limit)
    wall = time.monotonic() - began
    if done.returncode:
        last = " ".join(log.read_text().split("\n")[-4:])
        raise RuntimeError(f"exit code {done.returncode}: {last}")
    summary = json.loads(done.stdout)
    yield Row("rounds kept", float(sum(one["decision"] == "kept" for one in summary["rounds"])), "rounds")
    for test, row in summary["test_sets"].items():
        for method in ("ordinary", "learned"):
            yield Row(f"{test}: {method}", 100 * row[method]["accuracy"], f"% of {row['images']}")
    seconds = {kind: summary["cost"][f"{kind}_seconds"] for kind in ("ordinary", "probing", "rounds", "controls")}
    for kind, value in {**seconds, "all else": wall - sum(seconds.values()), "in all": wall}.items():
        yield Row(f"time: {kind}", value, "s")
    yield Row("peak memory", summary["peak_memory_gib"], "GiB")


def throughput(bench: Bench) -> Iterator[Row]:
    """Images per second of the training loop, which augments, and of the barest loop over the same images; bf16."""
    for backbone, side, batch, steps in bench.scale.loops:
        how = {"backbone": backbone, "side": side, "batch": batch, "epochs": 1, "shift": True, "precision": "bf16"}
        images = torch.randint(0, 256, (steps * batch, 3, side, side), dtype=torch.uint8, device=bench.device)
        given = (argparse.Namespace(**how), images, torch.randint(0, 2, (len(images),)), bench.device)
        loops = {"ours": training_speed.our_seconds, "bare": bare_seconds}
        works = {name: functools.partial(loop, *given) for name, loop in loops.items()}
        yield from by_turns(bench, f"{backbone}, {side} px, batch {batch}", works, len(images))


def by_turns(bench: Bench, what: str, works: Mapping[str, Callable[[], float]], images: int) -> Iterator[Row]:
    """Images per second of works that return seconds, and of each as a multiple of the last one's, turn by turn."""
    turns = [{name: images / work() for name, work in works.items()} for _ in range(bench.scale.turns + 1)][1:]
    *others, last = works
    for name in works:
        yield Row.of(f"{what}: {name}", [turn[name] for turn in turns], "images/s")
    for name in others:
        yield Row.of(f"{what}: {name} to {last}", [turn[name] / turn[last] for turn in turns], "×")


def bare_seconds(options: argparse.Namespace, images: Tensor, labels: Tensor, device: torch.device) -> float:
    """Seconds of plain PyTorch over uint8 batches that lie on the device: normalised and in bf16, nothing augmented."""
    model = training_speed.network(options.backbone, options.side).train()
    model.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=5e-4, nesterov=True, fused=True)
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) * 255 for values in (MEAN, STD))
    batches = [one.contiguous(memory_format=torch.channels_last) for one in images.split(options.batch)]
    truths = labels.to(device).split(options.batch)
    training_speed.synchronize(device)
    began = time.perf_counter()
    for batch, truth in zip(batches, truths, strict=True):
        with devices.autocast(device, torch.bfloat16):
            loss = nn.functional.cross_entropy(model((batch - mean) / std), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    training_speed.synchronize(device)
    return time.perf_counter() - began


def dreams(bench: Bench) -> Iterator[Row]:
    """Images per second, of one step each: the engine, lucent, and the bare passes that both need."""
    rivals = ["lucent", "lucent, frozen, one objective"] if importlib.util.find_spec("lucent") else []
    if not rivals:
        yield Row("lucent", note="lucent is not installed")
    for order in bench.scale.dreams:
        for names in (["ours", *rivals, "floor"], ["ours, bf16", "floor, bf16"]):
            made = [CONTESTANTS[name](replace(order, who=name, device=str(bench.device))) for name in names]
            works = {one.order.who: functools.partial(step_seconds, one, bench.scale.dream_steps) for one in made}
            what = f"{order.network}, {order.side} px, {order.stage}, {order.batch} at a time"
            yield from by_turns(bench, what, works, order.batch)


def step_seconds(contestant: Contestant, steps: int) -> float:
    """Of one step."""
    return float(contestant.run(steps, False)["step"])


def amp(bench: Bench) -> Iterator[Row]:
    """Accuracy and speed of training in fp32 (a card's convolutions in TF32, as torch has it) and bf16, and in both
    memory formats."""
    source, limit, epochs, backbone, batch = bench.scale.signs
    signs = _, data = bench.signs(source, limit, backbone, batch)
    test = data.tests["test"]
    kinds = [(name, memory) for name in ("fp32", "bf16") for memory in ("contiguous", "channels_last")]
    found: dict[tuple[str, str], list[tuple[float, float]]] = {kind: [] for kind in kinds}
    try:
        for seed in range(-1, bench.scale.seeds):  # the first training chooses and builds kernels
            for name, memory in kinds:
                layout.use(memory)
                dtype = devices.choose_precision(name, bench.device)
                network, speed = bench.trained(signs, epochs, 0.1, bench.device, dtype, max(0, seed))
                right = predict_set(network, test, bench.device, dtype).argmax(1) == test.labels
                found[name, memory].append((100 * float(right.double().mean()), speed))
    finally:
        layout.use("auto")
    base = [right for right, _ in found[kinds[0]][1:]]
    for kind in kinds:
        what, (rights, speeds) = ", ".join(kind), zip(*found[kind][1:], strict=True)
        apart = [mine - other for mine, other in zip(rights, base, strict=True)]
        yield Row.of(f"{what}: accuracy", rights, f"% of {len(test)}", statistics.fmean)
        if kind != kinds[0]:
            yield Row.of(f"{what}: accuracy less that of {', '.join(kinds[0])}", apart, "points", statistics.fmean)
        yield Row.of(f"{what}: training", speeds, "images/s")


def oom(bench: Bench) -> Iterator[Row]:
    """What goes on, and in what batches, where memory runs out, and what ends there."""
    count, device = bench.scale.scarce, bench.device
    signs = settings, data = bench.signs("glyphs:4", count // 4)
    network, _ = bench.trained(signs, 1, 0.01, device)
    images, labels = data.train, data.train.labels
    objectives = [Objective.unit("block3", unit % 64) for unit in range(count)]
    recipe = Recipe(steps=2, stall=0.0)
    job = TrainingJob(count, 1, 0.01, 0, device, settings=settings.training.model_copy(update={"batch": count}))
    works: dict[str, Callable[[], object]] = {
        "training": lambda: train(copy.deepcopy(network), ImageViews(images, device), job),
        "logits of a set": lambda: predict_set(network, images, device, None),
        "gates of a probe": lambda: bench.gates(network, settings, to_float(images.images, device), labels),
        "dreams at a given number": lambda: dream(network, objectives, recipe, RenderSettings(rows=count)),
    }
    for name, work in works.items():
        yield Row(f"{name}, {count} images", note=outcome(device, network, work, count))
    with patch.object(devices, "free_memory", lambda device=None: LITTLE), limited(device, LITTLE * GIB):
        fitting = rows_for(Layers(network, ["block3"]).to(device), data.shape[1:], device, None)
        dream(network, objectives, recipe)
    yield Row(f"dreams, {count} made: at a time where {LITTLE} GiB are free", float(fitting), "dreams")


def outcome(device: torch.device, network: StagedNetwork, work: Callable[[], object], count: int) -> str:
    """What becomes of a work on ``count`` images at a time that lacks memory: a card has a part of what it needs, on a
    CPU a layer fails when it first sees so many."""
    batches: list[int] = []

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        batches.append(len(inputs[0]))
        if device.type == "cpu" and batches[-1] == count and batches.count(count) == 1:
            raise torch.OutOfMemoryError("out of memory, as asked for")

    needed = 0
    if device.type == "cuda":
        with limited(device):
            before = torch.cuda.memory_reserved(device)
            work()
            needed = torch.cuda.max_memory_reserved(device) - before
    hook = network.get_submodule("model.block2.shortcut").register_forward_pre_hook(look)  # copies keep it
    try:
        with limited(device, SCARCE * needed):
            work()
        return f"goes on, in batches of {min(batches)} to {max(batches)}"
    except (torch.OutOfMemoryError, ConceptNetError) as error:
        return f"ends: {type(error).__name__}"
    finally:
        hook.remove()


@contextlib.contextmanager
def limited(device: torch.device, most: float | None = None) -> Iterator[None]:
    """Allow a card so many bytes more than are held now, None for all, and let the peak of memory begin here."""
    if device.type == "cpu":
        yield
        return
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    whole = torch.cuda.get_device_properties(device).total_memory
    share = 1.0 if most is None else min(1.0, (torch.cuda.memory_reserved(device) + most) / whole)
    torch.cuda.set_per_process_memory_fraction(share, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
