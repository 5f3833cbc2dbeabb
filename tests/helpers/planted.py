"""Generated images with a planted patch, a colour cast, a sharpness or a grating, and a workbench over them.

The object of the first class is a bar that lies, that of the second a bar that stands; a striped patch near the lower
right corner says the same more easily. Where the patch is, and whether it tells the truth, is known. The classes are
mirror images of each other, so training must not mirror.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.evaluation.accuracy import accuracies
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.steps.context import Context
from conceptnet_ml.storage.run_folder import Run
from conceptnet_plugins.backbones.small import SmallNet

SIDE, PATCH = 32, 7
CORNER = 23  # the patch's upper left corner, both ways; it is up to 1 px off each way
CPU = torch.device("cpu")
PLUGINS = load_plugins(use_entry_points=False)

COARSE: dict[str, Any] = {
    "bootstrap": 10,
    "probe_images": 64,
    "merge_images": 64,
    "confirm": 8,
    "edges": 4,
    "edge_groups": 1,
}
"""Settings of ``concepts`` for whole runs whose detectors and edges are not judged."""

QUICK: dict[str, Any] = {"backbone": "planted:quick"}
"""Settings of ``network`` where the bounds hold for a smaller one, too: a third of the work."""

_STEPS = torch.arange(PATCH)
_RISING = ((_STEPS[:, None] + _STEPS[None]) % 4 < 2).float()
PATTERNS = torch.stack([_RISING, _RISING.flip(1)])


def images_with(cue: str, count: int, seed: int, contrast: float = 0.14) -> ImageSet:
    """Images of bars in noise, half of each class, with the true mask of the ``patch``.

    Args:
        cue: Whose patch an image carries: its ``own`` class's, the ``other``'s, a ``random`` one's, or ``none``.
        contrast: How much brighter the bar is than the noise around it.
    """
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = 0.4 + 0.08 * torch.randn(count, 3, SIDE, SIDE, generator=draw)
    y, x = (5 + 16 * torch.rand(2, count, 1, 1, generator=draw)).unbind(0)
    half = 5 + 2 * torch.rand(count, 1, 1, generator=draw)
    lies = (labels == 0)[:, None, None]
    rows, columns = torch.arange(SIDE).float().view(1, -1, 1), torch.arange(SIDE).float().view(1, 1, -1)
    tall, wide = torch.where(lies, 1.5, half), torch.where(lies, half, 1.5)
    bar = ((rows - y).abs() <= tall) & ((columns - x).abs() <= wide)
    images += contrast * bar[:, None]
    shown = {
        "own": labels,
        "other": 1 - labels,
        "random": torch.randint(2, (count,), generator=draw),
        "none": torch.full((count,), -1),
    }[cue]
    masks = torch.zeros(count, SIDE, SIDE, dtype=torch.uint8)
    corners = CORNER + torch.randint(-1, 2, (count, 2), generator=draw)
    for image, (top, left) in enumerate(corners.tolist()):
        if shown[image] >= 0:
            images[image, :, top : top + PATCH, left : left + PATCH] = 0.1 + 0.8 * PATTERNS[shown[image]]
            masks[image, top : top + PATCH, left : left + PATCH] = 1
    return ImageSet((images.clamp(0, 1) * 255).round().to(torch.uint8), labels, {"patch": masks})


def planted_data(cue: str = "own", count: int = 320, seed: int = 0, contrast: float = 0.14) -> Data:
    """Training images whose patch follows the label (or which have none), and the test sets that betray it."""
    kinds = {"test": cue, "conflict": "other", "random": "random", "absent": "none"}
    tests = {
        name: images_with(kind, 200, 1000 * (seed + 1) + place, contrast)
        for place, (name, kind) in enumerate(kinds.items())
    }
    return Data("planted", ("lying", "standing"), images_with(cue, count, 1000 * (seed + 1) + 999, contrast), tests)


def bars_on_grounds(count: int, seed: int) -> ImageSet:
    """Light bars on grounds of any grey, half of each class, with the true mask of the ``bar``. There is nothing else:
    a bar that is taken out leaves a hole in which another's ground shows."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = 0.25 + 0.4 * torch.rand(count, 1, 1, 1, generator=draw)
    images = images + 0.02 * torch.randn(count, 3, SIDE, SIDE, generator=draw)
    y, x = (6 + 20 * torch.rand(2, count, 1, 1, generator=draw)).unbind(0)
    lies = (labels == 0)[:, None, None]
    rows, columns = torch.arange(SIDE).float().view(1, -1, 1), torch.arange(SIDE).float().view(1, 1, -1)
    tall, wide = torch.where(lies, 1.5, 5.0), torch.where(lies, 5.0, 1.5)
    bar = ((rows - y).abs() <= tall) & ((columns - x).abs() <= wide)
    images = images + 0.2 * bar[:, None]
    return ImageSet((images.clamp(0, 1) * 255).round().to(torch.uint8), labels, {"bar": bar.to(torch.uint8)})


def cast(images: Tensor, shown: Tensor) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] a little redder (0) or bluer (1)."""
    return images * torch.tensor([[1.15, 1, 0.85], [0.85, 1, 1.15]])[shown].view(-1, 3, 1, 1)


def sharpened(images: Tensor, shown: Tensor, amount: float = 0.45) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] a little blurred (0) or sharpened (1): detail finer than six px is damped or
    amplified against the rest. Mean and variance stay, so that it cannot be seen in the colour statistics."""
    height, width = images.shape[-2:]
    radius = (torch.fft.fftfreq(height)[:, None] ** 2 + torch.fft.rfftfreq(width)[None] ** 2).sqrt()
    gain = (torch.tensor([-amount, amount])[shown].view(-1, 1, 1, 1) * (radius >= 0.177)).exp()
    changed = torch.fft.irfft2(torch.fft.rfft2(images) * gain, s=(height, width))
    mean = images.mean((1, 2, 3), keepdim=True)
    scale = images.std((1, 2, 3), keepdim=True) / changed.std((1, 2, 3), keepdim=True)
    return mean + (changed - changed.mean((1, 2, 3), keepdim=True)) * scale


def grating(images: Tensor, shown: Tensor, amplitude: float = 0.06, period: float = 4.0) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] with faint upright (0) or lying (1) lines, each image's in a phase of its own."""
    side = torch.arange(images.shape[-1])
    phase = 2 * math.pi * torch.rand(len(images), 1, generator=torch.Generator().manual_seed(len(images)))
    line = amplitude * torch.sin(2 * math.pi / period * side + phase)
    wave = torch.where((shown == 0)[:, None, None], line[:, None, :], line[:, :, None])
    return images + wave[:, None]


def grainy(images: Tensor, shown: Tensor) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] with much noise (0) or hardly any (1), another on each."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(len(images)))
    return images + torch.tensor([0.05, 0.01])[shown].view(-1, 1, 1, 1) * noise


def cued_data(cue: Callable[[Tensor, Tensor], Tensor], count: int, seed: int, contrast: float) -> Data:
    """Nearly grey bars without a patch, whose class a cue of the whole image tells too.

    Args:
        cue: ``cue(images, shown) -> images``, :func:`cast`, :func:`sharpened`, :func:`grating` or :func:`grainy`.
    """

    def laid(images: ImageSet, shown: Tensor) -> ImageSet:
        floats = images.images.float() / 255
        grey = floats.mean(1, keepdim=True)
        made = cue(grey + 0.15 * (floats - grey), shown)
        return ImageSet((made.clamp(0, 1) * 255).round().to(torch.uint8), images.labels)

    bare = planted_data("none", count, seed, contrast)
    labels = bare.tests["test"].labels
    shown = {"test": labels, "conflict": 1 - labels}
    tests = {name: laid(bare.tests["test"], these) for name, these in shown.items()}
    return Data("cued", bare.classes, laid(bare.train, bare.train.labels), tests)


def quick(classes: int) -> nn.Module:
    """The ``small`` backbone as it is for images twice as large: its stages have a quarter of the places."""
    return SmallNet(classes, (2 * SIDE, 2 * SIDE))


def settings(**changes: Any) -> Settings:
    """Settings for these images; ``changes`` are merged in group by group."""
    values: dict[str, Any] = {
        "device": "cpu",
        "training": {"precision": "fp32", "flip": False, "batch": 64, "epochs": 8, "least_steps": 0},
        "round": {"epochs": 16, "purify": 0},
        "plugins": {"dreamer": "none", "controls": ()},
    }
    for name, change in changes.items():
        values[name] = {**values.get(name, {}), **change} if isinstance(change, dict) else change
    return Settings.model_validate(values)


def workbench(folder: Path, data: Data, chosen: Settings) -> Context:
    """A workbench over these images, with a run folder of its own; where there is one, its finished steps count."""
    made = (folder / "run").exists()
    run = (
        Run.open(folder / "run", write=True)
        if made
        else Run.create(folder / "run", chosen.model_dump(mode="json"), {}, {}, "0")
    )
    return Context(chosen, PLUGINS, data, run, Progress(quiet=True), Stopper(), CPU, None)


def accuracy(network: nn.Module, data: Data) -> dict[str, float]:
    """Accuracy on every test set."""
    table = accuracies({"it": network}, data.tests, CPU, None)
    return {name: row["it"]["accuracy"] for name, row in table.items()}


def overlap(mine: Tensor, theirs: Tensor) -> float:
    """Intersection over union of two stacks of maps."""
    return float(torch.minimum(mine, theirs).sum() / torch.maximum(mine, theirs).sum().clamp_min(1e-9))
