"""What data sets, traps, backbones and representations promise."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.config.settings import DataSettings, NetworkSettings, Settings
from conceptnet_ml.contract.trial import Trial, soft_images
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.load import load_source, wrong_labels
from conceptnet_ml.data.traps import TrapGround
from conceptnet_ml.network.build import build_network
from conceptnet_ml.swap.representation import Codec, RegionalCodec


def check_dataset(trial: Trial) -> None:
    """Two classes or more, images of one size, labels that are classes, and the same for the same seed."""
    name = f"{trial.record.name}:{trial.argument}" if trial.argument else trial.record.name
    settings = DataSettings(source=name)
    data = load_source(settings, 0, trial.plugins)
    assert len(data.classes) >= 2, "fewer than two classes"
    assert not (wrong := wrong_labels(data)), wrong
    for images in (data.train, *data.tests.values()):
        assert len(images), "a set without images"
        assert images.shape == data.train.shape, "sets of different sizes"
        assert images.take(torch.arange(1)).dtype == torch.uint8, "images are not uint8"
    assert set(data.train.labels.tolist()) == set(range(len(data.classes))), "a class without training images"
    assert load_source(settings, 0, trial.plugins).digests() == data.digests(), "the same seed gives other images"


def check_trap(trial: Trial, side: int = 64) -> None:
    """On images of so many px: a cue is planted where one is asked for and nowhere else, the same in every batch, and
    two classes' cues differ."""
    record: Any = trial.record

    def others(source: str, classes: tuple[str, ...] | None = None) -> Data:
        settings = DataSettings(source=source, classes=classes, train_limit=12)
        return load_source(settings, 0, trial.plugins)

    pictures = (soft_images(12, side, side) * 255).to(torch.uint8).amax(1, keepdim=True).repeat(1, 3, 1, 1)
    pictures[:, :, : side // 4] = 0  # as around a digit
    find: Any = functools.partial(trial.plugins.get, "trap")
    ground = TrapGround(trial.argument, "train", "grey", ("a", "b"), pictures, 0, others, find)
    prepared = record.function("prepare")(ground) if "prepare" in record.functions() else None

    def plant(*given: Tensor) -> Tensor:
        return record.function("plant")(*given, *(() if prepared is None else (prepared,)))

    cues = torch.tensor([0, 1, -1] * 4)
    seeds = torch.arange(12) * 7919 + 3
    before = pictures.clone()
    planted = plant(pictures.clone(), cues, seeds)
    assert planted.dtype == torch.uint8
    bare = plant(pictures.clone(), torch.full_like(cues, -1), seeds)
    if record.resizes:
        assert planted.shape[:2] == pictures.shape[:2]
        # Without a cue an image is only moved: what is light is still there, and nothing else.
        assert int(bare.long().sum()) == int(pictures.long().sum())
    else:
        assert planted.shape == pictures.shape
        assert torch.equal(bare, before)
    assert torch.equal(planted[cues == -1], bare[cues == -1])
    assert not torch.equal(planted[cues == 0], bare[cues == 0])
    assert torch.equal(plant(pictures.clone(), cues, seeds), planted)
    # The same image gets the same cue whatever batch it comes in.
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(plant(pictures[order], cues[order], seeds[order]), planted[order])
    for one in range(12):
        alone = slice(one, one + 1)
        assert torch.equal(plant(pictures[alone].clone(), cues[alone], seeds[alone]), planted[alone])
    # Two classes' cues differ, else there is nothing to learn.
    same = pictures[:1].repeat(2, 1, 1, 1)
    told = plant(same.clone(), torch.tensor([0, 1]), seeds[:1].repeat(2))
    assert not torch.equal(told[0], told[1])


def check_built_backbone(trial: Trial) -> None:
    """Logits for three classes; stages, through each of which the network can be run in two parts."""
    record = trial.record
    name = f"{record.name}:{trial.argument}" if trial.argument else record.name
    settings = Settings(network=NetworkSettings(backbone=name))
    network = build_network(settings, ("a", "b", "c"), (32, 32), trial.plugins).eval()
    pictures = soft_images(3, 32, 32)
    with torch.no_grad():
        logits = network(pictures)
        assert logits.shape == (3, 3)
        assert torch.isfinite(logits).all()
        assert len(network.stages) >= 2
        for stage in network.stages:
            maps = network.run_until(pictures, stage.name)
            assert maps.shape == (3, stage.units, *stage.size)
            torch.testing.assert_close(network.run_from(maps, stage.name), logits, atol=1e-4, rtol=1e-4)


def check_representation(trial: Trial) -> None:
    """There and back again, image by image, differentiable; the swap is T⁻¹(T(x) + g (T(d) − T(x))) by every way."""
    record: Any = trial.record
    codec = Codec(record)
    assert codec.gate in ("place", "channel", "whole")
    pictures, donors = soft_images(), soft_images(seed=50)
    back = codec._decode(codec.encode(pictures))
    assert back.shape == pictures.shape
    torch.testing.assert_close(back, pictures, atol=1e-3, rtol=0)
    encoding = codec.encode(pictures)
    swapped_part = encoding[0] if isinstance(encoding, tuple) else encoding
    channels = (6, codec.channels(pictures)) if codec.gate == "channel" else ()
    shape = {"place": (6, 1, 16, 16), "channel": channels, "whole": (6, 1)}[codec.gate]
    masks = None if record.masks is None else record.function("masks")(encoding)
    exchanged = torch.ones_like(swapped_part[:1]) if masks is None else masks.sum(0).expand_as(swapped_part[:1])
    assert exchanged.min() >= 0
    assert exchanged.max() <= 1 + 1e-6
    closed, opened = torch.zeros(shape), torch.ones(shape)
    torch.testing.assert_close(codec.swap(pictures, donors, closed), pictures, atol=1e-3, rtol=0)
    full = codec.swap(pictures, donors, opened)
    torch.testing.assert_close(full, codec.swap(pictures, donors), atol=1e-5, rtol=0)
    assert (full - pictures).abs().max() > 0.02
    assert 0 <= full.min() <= full.max() <= 1
    theirs, now = codec.encode(donors), codec.encode(full)
    wanted = theirs[0] if isinstance(theirs, tuple) else theirs
    found = now[0] if isinstance(now, tuple) else now
    if not record.redundant:
        torch.testing.assert_close(found, swapped_part + exchanged * (wanted - swapped_part), atol=0.02, rtol=0)
    # Image by image, and differentiable.
    torch.testing.assert_close(codec.swap(pictures[2:3], donors[2:3]), full[2:3], atol=1e-4, rtol=0)
    free, gate = pictures.clone().requires_grad_(True), torch.full(shape, 0.5, requires_grad=True)
    slopes = torch.autograd.grad(codec.swap(free, donors, gate).square().sum(), (free, gate))
    assert all(torch.isfinite(slope).all() and slope.abs().max() > 0 for slope in slopes)
    # The swap is T⁻¹(T(x) + g (T(d) − T(x))), also where what does not depend on the gate is computed once.
    mixer, mine = codec.mixer(pictures, donors), codec.encode(pictures)
    spread = {"place": shape, "channel": (*shape, *[1] * (swapped_part.ndim - 2)), "whole": (6, *[1] * 9)}[codec.gate]
    for part in (closed, opened, opened / 3, torch.rand(shape, generator=torch.Generator().manual_seed(7))):
        share = (
            part.reshape(spread[: swapped_part.ndim]) if masks is None else torch.einsum("bc,c...->b...", part, masks)
        )
        mixed = swapped_part + share * (wanted - swapped_part)
        expected = codec._decode((mixed, mine[1]) if isinstance(mine, tuple) else mixed).clamp(0, 1)
        for made in (mixer(part), codec.swap(pictures, donors, part)):
            torch.testing.assert_close(made, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(mixer(None), full, atol=1e-6, rtol=0)
    (slope,) = torch.autograd.grad(codec.mixer(pictures, donors)(gate).square().sum(), gate)
    (wanted_slope,) = torch.autograd.grad(codec.swap(pictures, donors, gate).square().sum(), gate)
    torch.testing.assert_close(slope, wanted_slope, atol=1e-4, rtol=1e-4)
    if codec.record.regional:
        places = RegionalCodec(codec.record)
        where, cells = (torch.ones(6, 1, 16, 16), torch.ones(6, 1, 16, 16)), torch.rand(6, 1, 4, 4)
        torch.testing.assert_close(
            places.mixer(pictures, donors, where)(cells), places.swap(pictures, donors, cells, where), atol=1e-6, rtol=0
        )
        nowhere, half = torch.zeros(6, 1, 16, 16), torch.zeros(6, 1, 16, 16)
        half[..., :8] = 1
        assert torch.equal(codec.swap(pictures, donors, where=(nowhere, half)), pictures)
        partly = codec.swap(pictures, donors, where=(half, half))
        assert torch.equal(partly[..., 8:], pictures[..., 8:])
        assert (partly[..., :8] - pictures[..., :8]).abs().max() > 0.01
