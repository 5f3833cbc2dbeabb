"""Every baseline on a small generated case on which it is known to work, beside ordinary training at equal compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from planted import QUICK, accuracy, images_with, planted_data, settings, workbench

from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.evaluation.baselines import BaselineContext, train_baselines
from conceptnet_ml.network.training import predict_set
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import Learned
from conceptnet_ml.swap.views import Views
from conceptnet_plugins.baselines import dac, dac_inverted, deepdream_chain, masktune

Figures = dict[str, dict[str, float]]
TINTS = torch.tensor([[1.25, 1.0, 0.75], [0.75, 1.0, 1.25]])


def compared(folder: Path, data: Data, names: list[str], more: int, seed: int = 0, **changes: Any) -> Figures:
    """Accuracy on every test set: of ordinary training, and of each baseline with so many epochs more."""
    ctx, ordinary = ordinarily(folder, data, seed, **changes)
    learned = Learned(ordinary, ordinary, epochs=more)
    found = train_baselines(ctx, learned, names)
    return {name: accuracy(network, data) for name, network in {"ordinary": ordinary, **found}.items()}


def ordinarily(
    folder: Path, data: Data, seed: int = 0, network: dict[str, Any] | None = None, **training: int
) -> tuple[Context, torch.nn.Module]:
    chosen = settings(network=network or {}, training={"epochs": 8, "batch": 32, **training}, seed=seed)
    ctx = workbench(folder, data, chosen)
    plain = ctx.views(ctx.fit, [])
    return ctx, ctx.train("ordinary", ctx.network(), plain, chosen.training.epochs, chosen.training.rate)


def with_exceptions(share: float, count: int, contrast: float) -> Data:
    """Images whose patch follows the label but for a share of them; in the unbiased world it says nothing."""
    own, other = (images_with(cue, count, seed, contrast) for cue, seed in (("own", 11), ("other", 16)))
    excepted = torch.rand(count, generator=torch.Generator().manual_seed(11)) < share
    train = ImageSet(torch.where(excepted.view(-1, 1, 1, 1), other.images, own.images), own.labels)
    world = images_with("random", count, 7, contrast)
    return replace(planted_data(contrast=contrast), train=train, worlds={"unbiased": lambda: world})


def tinted(cue: str, count: int, seed: int, contrast: float) -> ImageSet:
    """Images without a patch, their whole colour telling the ``own`` class, the ``other`` one, or ``none``."""
    plain = images_with("none", count, seed, contrast)
    factors = {"own": TINTS[plain.labels], "other": TINTS[1 - plain.labels], "none": torch.ones(count, 3)}[cue]
    pixels = (plain.images * factors[:, :, None, None]).round().clamp(0, 255)
    return ImageSet(pixels.to(torch.uint8), plain.labels)


def tinted_data(contrast: float = 0.4, seed: int = 0) -> Data:
    tests = {
        name: tinted(cue, 200, 1000 + place, contrast)
        for place, (name, cue) in enumerate({"test": "own", "conflict": "other", "absent": "none"}.items())
    }
    return Data("tinted", ("lying", "standing"), tinted("own", 320, 99 + seed, contrast), tests)


@pytest.fixture(scope="module")
def on_patches(tmp_path_factory: pytest.TempPathFactory) -> Figures:
    world = images_with("random", 320, 7)
    data = replace(planted_data(), worlds={"unbiased": lambda: world})
    return compared(tmp_path_factory.mktemp("patches"), data, ["longer", "unbiased", "cutmix"], 12, network=QUICK)


def test_longer_training_stays_with_the_shortcut_and_the_ceiling_has_none(on_patches: Figures) -> None:
    assert on_patches["longer"]["conflict"] < 0.1
    assert min(on_patches["unbiased"].values()) > 0.9


def test_cutmix_sees_the_whole_object(on_patches: Figures) -> None:
    """A network that sees parts of images learns what each of them tells, not the most telling one alone."""
    assert on_patches["longer"]["absent"] < 0.7
    assert on_patches["cutmix"]["absent"] > 0.9
    assert on_patches["cutmix"]["conflict"] > on_patches["longer"]["conflict"] + 0.4


def test_colour_jitter_takes_a_colour_cue_away(tmp_path: Path) -> None:
    found = compared(tmp_path, tinted_data(), ["longer", "colour-jitter"], 16, network=QUICK)
    assert found["longer"]["conflict"] < 0.1
    assert min(found["colour-jitter"].values()) > 0.9  # with ten epochs it has the colours the wrong way round


def test_masktune_masks_what_the_network_looks_at(tmp_path: Path) -> None:
    data = planted_data(contrast=0.0)  # nothing but the patch tells the class
    _, network = ordinarily(tmp_path, data, network=QUICK)
    images = data.train.images[:64].float() / 255
    mask = masktune.salient(network, images, data.train.labels[:64])[:, 0]
    patch = data.train.masks["patch"][:64].bool()
    assert (mask & patch).sum() / patch.sum() > 3 * (mask & ~patch).sum() / (~patch).sum()


@pytest.mark.slow
def test_masktune_finds_the_second_feature(tmp_path: Path) -> None:
    """The patch is masked, the bar is left. Not with every seed does what is looked at most cover the patch, so the
    means of three count; an epoch is too short to learn the bar from nothing, and must do no harm."""
    data = planted_data(count=640, contrast=0.14)
    names = ["longer", "masktune", "masktune-long"]
    runs = [compared(tmp_path / str(seed), data, names, 12, seed, epochs=3, batch=16) for seed in range(3)]
    absent = {name: sum(run[name]["absent"] for run in runs) / len(runs) for name in ("ordinary", *names)}
    assert absent["longer"] < 0.7
    assert absent["masktune"] > absent["ordinary"] - 0.05
    assert absent["masktune-long"] > absent["longer"] + 0.15


def test_just_train_twice_learns_from_the_exceptions(tmp_path: Path) -> None:
    found = compared(tmp_path, with_exceptions(0.02, 320, 0.14), ["longer", "just-train-twice"], 4, network=QUICK)
    assert found["longer"]["conflict"] < 0.8
    assert found["just-train-twice"]["conflict"] > 0.95
    assert found["just-train-twice"]["test"] > 0.95


@pytest.mark.slow
def test_learning_from_failure_learns_from_the_exceptions(tmp_path: Path) -> None:
    """Over five seeds .82 in conflict, as long a plain training .50; with one seed it stays with the cue. A fainter
    bar, of contrast .14, it learned with one seed of five."""
    data = with_exceptions(0.05, 320, 0.17)
    runs = [compared(tmp_path / str(seed), data, ["longer", "lff"], 8, seed, network=QUICK) for seed in range(5)]
    means = {name: {key: sum(run[name][key] for run in runs) / 5 for key in runs[0][name]} for name in runs[0]}
    assert means["longer"]["conflict"] < 0.65
    assert means["lff"]["conflict"] > means["longer"]["conflict"] + 0.15
    assert means["lff"]["test"] > 0.9


@pytest.mark.slow
def test_balancing_what_biased_networks_tell_apart_learns_from_the_exceptions(tmp_path: Path) -> None:
    found = compared(tmp_path, with_exceptions(0.02, 320, 0.14), ["longer", "fg-ccdb"], 16, network=QUICK)
    assert found["longer"]["conflict"] < 0.85  # with three seeds 0 to .76
    assert min(found["fg-ccdb"].values()) > 0.9  # .96 to 1


@pytest.mark.slow
def test_disagreeing_on_unlabelled_images_leaves_a_perfect_cue(tmp_path: Path) -> None:
    world = images_with("random", 320, 7, 0.2)
    data = replace(planted_data(contrast=0.2), worlds={"unbiased": lambda: world})
    found = compared(tmp_path, data, ["longer", "d-bat", "divdis"], 12, network=QUICK)
    assert found["longer"]["conflict"] < 0.1
    assert min(found["d-bat"].values()) > 0.9  # with three seeds .93 to .99
    assert min(found["divdis"].values()) > 0.9  # .96 to 1


@pytest.mark.slow
def test_composing_with_the_rest_of_other_images_reads_what_the_trunk_knows(
    tmp_path: Path,
) -> None:
    """A network that has learnt the bar, then to answer by the patch alone: as a pretrained one that falls for a cue.

    Turned round, the last layer reads the bar again. It also reads the patch the wrong way, for a composed image always
    shows another class's: with two seeds half of the aligned images are answered wrongly. Not turned round, it is the
    patch that is taught.
    """
    data = planted_data(contrast=0.5)
    chosen = settings(training={"batch": 32})
    ctx = workbench(tmp_path, data, chosen)
    known, patches = (
        Views(images_with(cue, 320, seed, contrast), ctx.fit, [], 2, ctx.device)
        for cue, seed, contrast in (("random", 7, 0.5), ("own", 8, 0.0))
    )
    knowing = ctx.train("known", ctx.network(), known, 8, chosen.training.rate)
    ordinary = ctx.train("ordinary", knowing, patches, 4, chosen.training.warm_rate)
    found = {"ordinary": accuracy(ordinary, data)}
    for name, fit in (("dac", dac.fit), ("dac-inverted", dac_inverted.fit)):
        record: Any = ctx.plugins.get("baseline", name)
        found[name] = accuracy(fit(BaselineContext(ctx, record, ordinary, 8)), data)
    assert max(found["ordinary"][name] for name in ("conflict", "absent")) < 0.6
    assert found["dac-inverted"]["absent"] > 0.85
    assert found["dac-inverted"]["random"] > found["ordinary"]["random"] + 0.1
    assert found["dac"]["conflict"] < 0.1


def test_a_refit_on_eight_examples_uses_what_the_network_knows(tmp_path: Path) -> None:
    found = compared(tmp_path, with_exceptions(0.03, 320, 0.12), ["last-layer"], 4)
    assert found["ordinary"]["conflict"] < 0.5  # below chance: the patch decides
    assert found["last-layer"]["conflict"] > found["ordinary"]["conflict"] + 0.4
    assert found["last-layer"]["random"] > 0.85


@pytest.mark.slow
def test_the_sieve_passes_what_an_early_layer_cannot_tell(tmp_path: Path) -> None:
    """Colour is told by the first layer; the bar's direction is not. Over seeds: the balance of erasing is unsteady."""
    conflict = []
    for seed in range(3):
        found = compared(tmp_path / str(seed), tinted_data(seed=seed), ["longer", "feature-sieve"], 16, seed)
        assert found["longer"]["conflict"] < 0.1
        conflict.append(found["feature-sieve"]["conflict"])
    assert sum(conflict) / 3 > 0.4


def test_the_chain_dreams_away_what_each_network_saw_and_the_next_one_learns_it_back(tmp_path: Path) -> None:
    """Free pixels do what they are made for; that they do not free a network of its shortcut is a finding, no bound."""
    data = planted_data(contrast=0.2)
    ctx, ordinary = ordinarily(tmp_path, data, network=QUICK, clip=0)  # sure of what it saw
    networks = [ordinary]
    right: Callable[[torch.nn.Module, ImageSet], float] = lambda network, images: float(  # noqa: E731
        (predict_set(network, images, ctx.device, None).argmax(1) == images.labels).double().mean()
    )
    record = ctx.plugins.get("baseline", "deepdream-chain")
    context = BaselineContext(ctx, record, ordinary, 16)  # type: ignore[arg-type]
    last = deepdream_chain.fit(context)
    networks += [context.train("train-1", ordinary, context.plain, 8), last]  # read back, not trained again
    for link in (1, 2):
        dreams = context.batched(f"dream-{link}", lambda places: places)  # read back, too
        images = context.views(dreams).images
        assert images.shape == (3, 32, 32)
        assert right(networks[link - 1], images) < 0.2
        assert right(networks[link], images) > 0.9
    raw = context.plain.raw(context.plain.pool)
    assert float((context.views(dreams).raw(torch.arange(len(dreams))) - raw).abs().mean()) < 0.12
