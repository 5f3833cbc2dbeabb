"""One contract for every registered record: its functions import, take what their kind is given, and return what its
kind promises. A new plugin of a known kind is held to it without a line written here."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conceptnet_ml.concepts.evidence import MergeEvidence, SplitEvidence
from conceptnet_ml.concepts.scores import FindEvidence, Finding
from conceptnet_ml.config.settings import (
    ConceptSettings,
    DataSettings,
    NetworkSettings,
    RoundSettings,
    Settings,
    TrainingSettings,
)
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.data.load import load_source
from conceptnet_ml.data.traps import TrapGround
from conceptnet_ml.dreams.objectives import Objective
from conceptnet_ml.dreams.render import dream
from conceptnet_ml.dreams.request import DreamRequest
from conceptnet_ml.errors import Interrupted, PluginError
from conceptnet_ml.evaluation.baselines import BaselineContext, train_baselines
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.network.basis import BasisEvidence, Directions
from conceptnet_ml.network.build import build_network
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.records import API, KINDS, Record
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import Learned
from conceptnet_ml.storage.run_folder import Run
from conceptnet_ml.swap.interchangeability import SwapMeasurement
from conceptnet_ml.swap.representation import Codec, RegionalCodec
from conceptnet_ml.swap.stop_rule import Decision
from conceptnet_ml.swap.views import Views

PLUGINS = load_plugins(use_entry_points=False)
CPU = torch.device("cpu")
NEEDS_ARGUMENT = {
    ("backbone", "published"): "lenet",
    ("backbone", "torchvision"): "resnet18",
    ("backbone", "timm"): "resnet18",
    ("trap", "half"): "wheels",
}
NEEDS_PACKAGE = {
    ("backbone", "timm"): "timm",
    ("discoverer", "nmf"): "sklearn",
    ("discoverer", "kmeans"): "sklearn",
    ("trap", "corrupted"): "imagecorruptions",
}
LEAST_SIDE = {"corrupted": 32}
"""Of the images, px, where a trap refuses smaller ones."""


def records(kind: str) -> Any:
    """A parameter over all records of a kind."""
    return pytest.mark.parametrize("record", PLUGINS.all(kind), ids=lambda record: record.name)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def images(count: int = 6, height: int = 16, width: int = 16, seed: int = 0) -> Tensor:
    """Soft pictures, away from black and white."""
    small = noise(count, 3, 4, 4, seed=seed)
    soft = nn.functional.interpolate(small, (height, width), mode="bilinear")
    return 0.35 + 0.25 * soft + 0.05 * noise(count, 3, height, width, seed=seed + 1)


EVERY = [record for kind in KINDS for record in PLUGINS.all(kind)]


def test_nothing_is_broken_and_every_kind_that_a_run_needs_is_there() -> None:
    assert PLUGINS.broken == []
    for kind in KINDS:
        assert PLUGINS.all(kind) or kind == "command"


@pytest.mark.parametrize("record", EVERY, ids=lambda record: f"{record.kind}-{record.name}")
def test_every_record(record: Record) -> None:
    assert record.api == API
    assert record.summary
    assert len(record.summary) < 120
    assert PLUGINS.get(record.kind, record.name) is record
    assert record.functions()
    package = NEEDS_PACKAGE.get((record.kind, record.name))
    for name in record.functions():
        if package is None or importlib.util.find_spec(package) is not None:
            assert callable(record.function(name))


def test_a_function_that_is_not_there_is_a_plain_error() -> None:
    for where in ("conceptnet_ml.concepts.model:nothing", "no.such.module:it"):
        with pytest.raises(PluginError, match="cannot import"):
            KINDS["dreamer"](name="it", api="1", recipe=where).function("recipe")  # type: ignore[call-arg]


def others(source: str, classes: tuple[str, ...] | None = None) -> Data:
    """What a trap may load: without an argument it needs nothing that has to be downloaded."""
    return load_source(DataSettings(source=source, classes=classes, train_limit=12), 0, PLUGINS)


@records("trap")
@pytest.mark.parametrize("side", [24, 64])
def test_traps(record: Record, side: int) -> None:
    package = NEEDS_PACKAGE.get((record.kind, record.name))
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    side = max(side, LEAST_SIDE.get(record.name, 0))
    pictures = (images(12, side, side) * 255).to(torch.uint8).amax(1, keepdim=True).repeat(1, 3, 1, 1)
    pictures[:, :, : side // 4] = 0  # as around a digit
    argument = NEEDS_ARGUMENT.get((record.kind, record.name), "")
    find: Any = functools.partial(PLUGINS.get, "trap")
    ground = TrapGround(argument, "train", "grey", ("a", "b"), pictures, 0, others, find)
    prepared = record.function("prepare")(ground) if "prepare" in record.functions() else None

    def plant(*given: Tensor) -> Tensor:
        return record.function("plant")(*given, *(() if prepared is None else (prepared,)))

    cues = torch.tensor([0, 1, -1] * 4)
    seeds = torch.arange(12) * 7919 + 3
    before = pictures.clone()
    planted = plant(pictures.clone(), cues, seeds)
    assert planted.dtype == torch.uint8
    bare = plant(pictures.clone(), torch.full_like(cues, -1), seeds)
    if record.resizes:  # type: ignore[attr-defined]
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


@records("backbone")
def test_backbones(record: Record) -> None:
    package = NEEDS_PACKAGE.get((record.kind, record.name))
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    argument = NEEDS_ARGUMENT.get((record.kind, record.name), "")
    name = f"{record.name}:{argument}" if argument else record.name
    settings = Settings(network=NetworkSettings(backbone=name))
    network = build_network(settings, ("a", "b", "c"), (32, 32), PLUGINS).eval()
    pictures = images(3, 32, 32)
    with torch.no_grad():
        logits = network(pictures)
        assert logits.shape == (3, 3)
        assert torch.isfinite(logits).all()
        assert len(network.stages) >= 2
        for stage in network.stages:
            maps = network.run_until(pictures, stage.name)
            assert maps.shape == (3, stage.units, *stage.size)
            torch.testing.assert_close(network.run_from(maps, stage.name), logits, atol=1e-4, rtol=1e-4)


@records("representation")
def test_representations(record: Record) -> None:
    codec = Codec(record)  # type: ignore[arg-type]
    assert codec.gate in ("place", "channel", "whole")
    pictures, donors = images(), images(seed=50)
    back = codec._decode(codec.encode(pictures))
    assert back.shape == pictures.shape
    torch.testing.assert_close(back, pictures, atol=1e-3, rtol=0)
    encoding = codec.encode(pictures)
    swapped_part = encoding[0] if isinstance(encoding, tuple) else encoding
    channels = (6, codec.channels(pictures)) if codec.gate == "channel" else ()
    shape = {"place": (6, 1, 16, 16), "channel": channels, "whole": (6, 1)}[codec.gate]
    masks = None if record.masks is None else record.function("masks")(encoding)  # type: ignore[attr-defined]
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


UNITS = 8


def told_by(unit_of: dict[int, int], count: int = 90) -> tuple[Tensor, Tensor, Tensor]:
    """Maps (N, UNITS, 4, 4) in which each parent's images fire one unit of its own at a random place; the places."""
    draw = torch.Generator().manual_seed(3)
    maps = 0.3 * torch.rand(count, UNITS, 4, 4, generator=draw)
    parents = torch.arange(count) % len(unit_of)
    places = torch.zeros(count, 1, 4, 4)
    for image, (row, column) in enumerate(torch.randint(4, (count, 2), generator=draw).tolist()):
        maps[image, unit_of[int(parents[image])], row, column] += 2
        places[image, 0, row, column] = 1
    return maps, parents, places


OWN = {0: 6, 1: 2, 2: 4}


@records("discoverer")
def test_discoverers(record: Record) -> None:
    maps, parents, _ = told_by(OWN)
    weight = torch.zeros(3, UNITS)
    for parent, unit in OWN.items():
        weight[parent, unit] = 40.0
    batches = [(maps[:40], parents[:40]), (maps[40:], parents[40:])]
    evidence = FindEvidence(batches, lambda these: these.mean((2, 3)) @ weight.T, 3, ConceptSettings())
    findings = record.function("find")(evidence)
    assert isinstance(findings, list)
    assert all(isinstance(finding, Finding) for finding in findings)
    assert sorted(finding.parent for finding in findings) == [0, 1, 2]
    for finding in findings:
        assert OWN[finding.parent] in finding.units
        assert len(finding.units) == len(finding.auc) == len(finding.effect) == len(set(finding.units))
        assert all(0 <= unit < UNITS for unit in finding.units)
        assert all(0 <= auc <= 1 for auc in finding.auc)
        assert 0 < finding.share <= 1
    assert record.function("find")(evidence) == findings


@records("discoverer")
def test_bases(record: Record) -> None:
    if "basis" not in record.functions():
        pytest.skip("it looks at units")
    package = NEEDS_PACKAGE.get((record.kind, record.name))
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    maps, _, _ = told_by(OWN)

    def learned(seed: int = 5, **changes: Any) -> Any:
        evidence = BasisEvidence([maps[:40], maps[40:]], seed, ConceptSettings(**changes))
        return record.function("basis")(evidence)

    basis = learned()
    assert isinstance(basis, nn.Module)
    free = maps.clone().requires_grad_(True)
    coefficients = basis.encode(free)
    count = coefficients.shape[1]
    assert count >= 2
    assert coefficients.shape == (90, count, 4, 4)
    back = basis.decode(coefficients)
    assert back.shape == maps.shape
    (slope,) = torch.autograd.grad(back.square().sum(), free)
    assert torch.isfinite(slope).all()
    assert slope.abs().max() > 0
    # It keeps more of the maps than as many random directions, place by place, and every direction does something.
    whole = BasisEvidence([maps], 0)
    drawn = [whole.explained(Directions(noise(count, UNITS, seed=seed))) for seed in range(3)]
    assert whole.explained(basis) > sum(drawn) / 3 + 0.1
    torch.testing.assert_close(
        basis.encode(maps[3:5, :, 1:3, 2:]), coefficients[3:5, :, 1:3, 2:].detach(), atol=1e-4, rtol=0
    )
    for place in range(count):
        other = coefficients.detach().clone()
        other[:, place] += 1
        assert (basis.decode(other) - back.detach()).abs().max() > 1e-3
    # The same again, from its state, and of the size asked for.
    restored = record.function("restore")(basis.state_dict())
    torch.testing.assert_close(restored.encode(maps), coefficients.detach())
    torch.testing.assert_close(learned().encode(maps), coefficients.detach())
    assert learned(directions=3).encode(maps).shape[1] <= 3


@records("stop_rule")
@pytest.mark.parametrize("gate", ["place", "channel", "whole"])
def test_stop_rules(record: Record, gate: str) -> None:
    """On perfect figures, on those of some classes, on none: a decision with a reason, each time the same."""
    met = tuple((host, donor, 9, 9) for host in range(3) for donor in range(3) if host != donor)
    perfect = SwapMeasurement("it", gate, (9,) * 3, (1.0,) * 3, (1.0,) * 3, (0.0,) * 3, 0.1, asked=(9,) * 3, met=met)
    some = replace(perfect, others=(1.0, 1.0, 0.0), mates=(0.0, 0.0, 1.0))
    still = replace(perfect, flips=(0.0,) * 3, others=(0.0,) * 3, met=())
    decide = record.function("decide")
    for measured in (perfect, some, still, replace(still, answered=0.0, images=(0,) * 3)):
        decision = decide(measured, RoundSettings())
        assert isinstance(decision, Decision)
        assert decision.reason
        assert decision == decide(replace(measured), RoundSettings())
        assert decision.classes is None or (decision.keep and set(decision.classes) < {0, 1, 2})
    assert not decide(still, RoundSettings()).keep


def merge_evidence() -> MergeEvidence:
    maps, parents, places = told_by(OWN)
    return MergeEvidence(maps, places, parents, {parent: (unit,) for parent, unit in OWN.items()}, 3, 5)


@records("generalizer")
def test_generalizers(record: Record) -> None:
    evidence = merge_evidence()
    detector = record.function("merge")(evidence)
    assert isinstance(detector, nn.Module)
    logits = detector(evidence.maps)
    assert logits.shape == (90, 1, 4, 4)
    assert torch.isfinite(logits).all()
    # It finds the feature of every class: the highest place is where it is.
    right = logits.flatten(1).argmax(1) == evidence.targets.flatten(1).argmax(1)
    for parent in range(3):
        assert right[evidence.parents == parent].double().mean() > 0.8
    restored = record.function("restore")(detector.state_dict())
    torch.testing.assert_close(restored(evidence.maps), logits)
    assert torch.equal(record.function("merge")(merge_evidence())(evidence.maps), logits)


@records("specializer")
def test_specializers(record: Record) -> None:
    evidence = merge_evidence()

    class Looks(nn.Module):
        """The true places, as a detector's logits."""

        def forward(self, maps: Tensor) -> Tensor:
            return 12 * (maps.amax(1, keepdim=True) > 1.5).float() - 6

    split = SplitEvidence(Looks(), evidence.maps, evidence.parents, 3, 5)
    variants = record.function("split")(split)
    assert isinstance(variants, nn.Module)
    looks = Looks()(evidence.maps)
    answers = variants(evidence.maps, looks)
    assert answers.shape == (90, 3)
    assert (answers.argmax(1) == evidence.parents).double().mean() > 0.95
    # They read only where the detector looks.
    elsewhere = evidence.maps.clone()
    elsewhere += 3 * noise(90, UNITS, 4, 4) * (looks < 0)
    assert (variants(elsewhere, looks) - answers).abs().max() < 0.1 * answers.std()
    restored = record.function("restore")(variants.state_dict())
    torch.testing.assert_close(restored(evidence.maps, looks), answers)
    # A detector that the record's own kind makes will do as well.
    made = PLUGINS.get("generalizer", "detector").function("merge")(evidence)
    other = record.function("split")(SplitEvidence(made, evidence.maps, evidence.parents, 3, 5))
    assert other(evidence.maps, made(evidence.maps)).shape == (90, 3)


@records("dreamer")
def test_dreamers(record: Record) -> None:
    """Each brings up a unit of a small network, from its own kind of start, and is the same each time."""
    torch.manual_seed(3)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 11 * 11, 2)
    )
    network = StagedNetwork(model, (24, 24)).eval()
    real = (images(6, 24, 24) * 255).to(torch.uint8)
    recipe = replace(record.function("recipe")(real), steps=8, octaves=1)
    requests = [
        DreamRequest(Objective.unit("1", 2), 5, real[0], real[1]),
        DreamRequest(Objective.logit(1, "b"), 6, real[2], real[3]),
    ]
    made, again = (dream(network, requests, recipe) for _ in range(2))
    for one, other in zip(made, again, strict=True):
        assert one.image.shape == (3, 24, 24)
        assert one.image.dtype == torch.uint8
        assert one.rose
        assert torch.equal(one.image, other.image)


@records("exporter")
def test_exporters(record: Any, tmp_path: Path) -> None:
    graph = ConceptGraph(("cats", "dogs"), [("block1", 4), ("block2", 8)], network="n", settings="s", seed=0)
    for name in graph.classes:
        graph.add_node("class", name, classes=[name])
    feature = graph.add_node("feature", "ears & <tails>", stage="block2", round=1, classes=["cats"], units=[3])
    graph.add_edge("built_from", graph.class_node("cats").id, feature, weight=0.5)
    assert record.suffix.startswith(".")
    path, again = tmp_path / f"graph{record.suffix}", tmp_path / f"again{record.suffix}"
    record.function("write")(graph, path)
    record.function("write")(graph, again)
    assert path.stat().st_size > 0
    assert path.read_bytes() == again.read_bytes()
    assert "cats" in path.read_text(encoding="utf-8")


def bench_of(folder: Path, seed: int = 0, side: int = 16) -> Context:
    """A workbench over soft pictures, brighter in class 1, with a world of other labels."""
    labels = torch.arange(64) % 2
    whole = ImageSet(((images(64, side, side) + 0.1 * labels[:, None, None, None]) * 255).to(torch.uint8), labels)
    worlds = {"unbiased": lambda: whole.with_labels(1 - labels)}
    data = Data("soft", ("dark", "bright"), whole, {"test": whole}, worlds=worlds)
    training = TrainingSettings(epochs=2, batch=16, least_steps=12, precision="fp32")
    settings = Settings(device="cpu", seed=seed, training=training, data=DataSettings(holdout=0.25))
    run = Run.create(folder / f"run-{seed}", settings.model_dump(mode="json"), {}, {}, "0")
    return Context(settings, PLUGINS, data, run, Progress(quiet=True), Stopper(), CPU, None)


def trained(ctx: Context, record: Record) -> dict[str, Tensor]:
    """The weights a baseline ends with, after ordinary training of no epochs and one epoch of equal compute."""
    fresh = ctx.network()
    learned = Learned(fresh, fresh, epochs=1)
    return train_baselines(ctx, learned, [record.name])[record.name].state_dict()


@pytest.fixture(scope="module")
def weights_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Record], dict[str, Tensor]]:
    """The weights a baseline ends with in one go; trained once."""
    return functools.cache(lambda record: trained(bench_of(tmp_path_factory.mktemp("whole")), record))


@records("baseline")
def test_baselines(record: Any, weights_of: Callable[[Record], dict[str, Tensor]], tmp_path: Path) -> None:
    before = bench_of(tmp_path / "before").network().state_dict()
    weights = weights_of(record)
    assert {name: value.shape for name, value in weights.items()} == {name: v.shape for name, v in before.items()}
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert any(not torch.equal(weights[name], before[name]) for name in weights)
    again = trained(bench_of(tmp_path / "again"), record)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    other = trained(bench_of(tmp_path / "other", seed=1), record)
    assert any(not torch.equal(weights[name], other[name]) for name in weights)


@records("baseline")
def test_baselines_go_on_when_they_are_stopped_again_and_again(
    record: Any, weights_of: Callable[[Record], dict[str, Tensor]], tmp_path: Path
) -> None:
    whole = weights_of(record)
    ctx = bench_of(tmp_path / "stopped")
    stops = 0
    while True:
        ctx.stopper = Patience(2 + stops)  # what is read back asks, too
        try:
            found = trained(ctx, record)
            break
        except Interrupted:
            stops += 1
            assert stops < 60
    assert stops or record.name == "last-layer"  # which takes no time that could be stopped
    assert all(torch.equal(whole[name], found[name]) for name in whole)


class Patience(Stopper):
    """Asks to stop when it has been asked so many times whether to."""

    def __init__(self, patience: int) -> None:
        super().__init__()
        self.patience = patience

    @property
    def requested(self) -> bool:
        self.patience -= 1
        return self.patience < 0


@pytest.mark.parametrize("record", [r for r in PLUGINS.all("baseline") if r.views], ids=lambda r: r.name)  # type: ignore[attr-defined]
def test_views_of_baselines(record: Any, tmp_path: Path) -> None:
    ctx = bench_of(tmp_path)
    make = record.function("views")(BaselineContext(ctx, record, ctx.network(), 1))
    indices = torch.arange(16)
    found, told = make(indices, torch.Generator().manual_seed(0))
    assert found.shape == (16, 3, 16, 16)
    assert found.dtype == torch.float32
    assert 0 <= found.min() <= found.max() <= 1
    assert torch.equal(told, ctx.labels[ctx.fit[:16]])
    again, _ = make(indices, torch.Generator().manual_seed(0))
    assert torch.equal(again, found)


def test_the_random_box_exchanges_its_share_of_the_image(tmp_path: Path) -> None:
    record: Any = PLUGINS.get("baseline", "random-box")
    ctx = bench_of(tmp_path, side=32)
    labels = torch.arange(64) % 2
    flat = (torch.arange(64) * 3 + 20).view(-1, 1, 1, 1).expand(64, 3, 32, 32)
    plain = Views(ImageSet(flat.to(torch.uint8), labels), torch.arange(64), [], 2, CPU)
    for share in (0.1, 0.4):
        context = BaselineContext(ctx, record, ctx.network(), 1, share)
        context.plain = plain
        make = record.function("views")(context)
        indices = torch.arange(64).repeat(8)
        found, _ = make(indices, torch.Generator().manual_seed(0))
        changed = (found[:, 0] - plain.raw(indices)[:, 0]).abs() > 1e-6
        assert float(changed.double().mean()) == pytest.approx(share, rel=0.2)
