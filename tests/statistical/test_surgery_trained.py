"""Operations on a network that has learned something: what they keep, what training makes of it, beside pruning."""

from __future__ import annotations

import copy

import pytest
import torch
from image_views import ImageViews
from planted import quick
from pruning import prune_units, similar_units
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import TrainingJob, predict_set, to_float, train
from conceptnet_ml.surgery.dependency_graph import dependency_group
from conceptnet_ml.surgery.forget import forget_units
from conceptnet_ml.surgery.merge import importances, merge_units
from conceptnet_ml.surgery.split import split_unit

DEVICE, SIZE = torch.device("cpu"), (32, 32)


def stripes(count: int, seed: int, wrong: float = 0.0) -> ImageSet:
    """Three classes of noisy stripes: upright, level, slanting, each of a random phase and colour.

    Some labels may be drawn at random, so that there always is something left to learn and filters go on moving.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    across, down = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="xy")
    waves = torch.stack([across, down, (across + down) / 2**0.5])[labels]
    phase, tint = torch.rand(count, 1, 1, generator=generator), torch.rand(count, 3, 1, 1, generator=generator)
    shown = (torch.sin(waves * 0.9 + 6.3 * phase)[:, None] * 60 * (0.4 + tint)) + 128
    noisy = shown + 45 * torch.randn(count, 3, 32, 32, generator=generator)
    drawn = torch.randint(0, 3, (count,), generator=generator)
    labels = torch.where(torch.rand(count, generator=generator) < wrong, drawn, labels)
    return ImageSet(noisy.clamp(0, 255).to(torch.uint8), labels)


TRAIN, TEST = stripes(360, 0), stripes(240, 1)
WRONG = stripes(600, 2, wrong=0.5)
BATCHES = [to_float(TRAIN.take(part), DEVICE) for part in torch.arange(360).split(120)]


def taught(network: StagedNetwork, epochs: int = 1, images: ImageSet = TRAIN) -> StagedNetwork:
    network = copy.deepcopy(network)
    job = TrainingJob(len(images), epochs, 0.1, 0, DEVICE)
    job.settings = job.settings.model_copy(update={"batch": 20, "clip": 0.0})  # steps as long as they come
    train(network, ImageViews(images, DEVICE), job)
    return network


@pytest.fixture(scope="module")
def network() -> StagedNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = StagedNetwork(quick(3), SIZE)
    found = taught(fresh, 6)
    assert accuracy(found) > 0.9
    return found


def logits(network: StagedNetwork) -> Tensor:
    return predict_set(network, TEST, DEVICE, None)


def accuracy(network: StagedNetwork) -> float:
    return float((logits(network).argmax(1) == TEST.labels).double().mean())


def cosine(network: StagedNetwork, stage: str, one: int, other: int) -> float:
    rows = [
        network.get_submodule(tie.path).weight[[one, other]].detach().flatten(1)
        for tie in dependency_group(network, stage).of("writes")
        if tie.name == "weight"
    ]
    return max(float(functional.cosine_similarity(*row, dim=0)) for row in rows)


@pytest.mark.parametrize("stage", ["stem", "block2", "block3"])
def test_copies_grow_apart_and_with_equal_shares_do_not(network: StagedNetwork, stage: str) -> None:
    unit, new = int(importances(network, stage, BATCHES).argmax()), network.stage(stage).units
    apart = split_unit(network, stage, unit, 2)
    assert (logits(apart) - logits(network)).abs().max() < 1e-4
    assert cosine(apart, stage, unit, new) > 0.9999
    assert cosine(taught(apart, images=WRONG), stage, unit, new) < 0.99
    equal = split_unit(network, stage, unit, 2, (0.5, 0.5))
    assert cosine(taught(equal, images=WRONG), stage, unit, new) > 0.9999


@pytest.mark.parametrize("stage", ["stem", "block1", "block2", "block3"])
def test_merging_a_fifth_costs_far_less_than_pruning_it(network: StagedNetwork, stage: str) -> None:
    units = network.stage(stage).units
    with torch.no_grad():
        maps = [network.run_until(batch, stage) for batch in BATCHES]
    groups = similar_units(maps, round(units / 5), importances(network, stage, BATCHES))
    lost = [unit for members in groups for unit in members[1:]]
    merged = merge_units(network, stage, groups, BATCHES)
    before = logits(network)
    change, pruned = (
        float((logits(one) - before).square().mean().sqrt()) for one in (merged, prune_units(network, stage, lost))
    )
    assert change < pruned / 2
    assert accuracy(merged) > accuracy(network) - 0.02


def test_readers_that_are_not_fitted_lose_what_the_merged_units_told(network: StagedNetwork) -> None:
    """Units that have nothing to do with one another: the merged filter is neither of them, the fit makes up for it."""
    order = torch.randperm(64, generator=torch.Generator().manual_seed(3)).tolist()
    pairs = [order[2 * pair : 2 * pair + 2] for pair in range(13)]
    before = logits(network)
    fitted, prior = (merge_units(network, "block3", pairs, BATCHES, ridge=ridge) for ridge in (1e-3, 1e9))
    changes = [float((logits(one) - before).square().mean().sqrt()) for one in (fitted, prior)]
    assert changes[0] < 0.7 * changes[1]


def test_closed_units_stay_silent_under_training(network: StagedNetwork) -> None:
    for stage in ("stem", "block2"):
        merged = merge_units(network, stage, [[0, 1], [2, 5, 7]], BATCHES)
        after = taught(merged)
        assert not after.run_until(BATCHES[0], stage)[:, [1, 5, 7]].any()
        assert after.run_until(BATCHES[0], stage)[:, [0, 2]].flatten(2).std(2).max() > 0
        for tie in dependency_group(after, stage).of("writes", "reads"):
            tensor = getattr(after.get_submodule(tie.path), tie.name)
            assert not tensor.index_select(tie.dim, tie.positions(torch.tensor([1, 5, 7]))).any()


@pytest.mark.parametrize("stage", ["stem", "block1", "block3"])
def test_a_forgotten_unit_tells_nothing_after_training(network: StagedNetwork, stage: str) -> None:
    unit = int(importances(network, stage, BATCHES).argmax())
    held = forget_units(network, stage, [unit], BATCHES)
    after = taught(held)
    with torch.no_grad():
        maps = [one.run_until(BATCHES[0], stage)[:, unit] for one in (network, held, after)]
    assert float(maps[0].max() - maps[0].min()) > 0.1
    assert all(float(shown.max() - shown.min()) < 1e-5 for shown in maps[1:])
    norm = after.get_submodule("model.stem.1" if stage == "stem" else f"model.{stage}.norm2")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.weight[unit] == 0


def test_likeness_is_worth_something(network: StagedNetwork) -> None:
    """Merging chosen units changes the network less than merging as many at random, five times over."""
    importance = importances(network, "stem", BATCHES)
    with torch.no_grad():
        maps = [network.run_until(batch, "stem") for batch in BATCHES]
    before = logits(network)

    def change(groups: list[list[int]]) -> float:
        return float((logits(merge_units(network, "stem", groups, BATCHES)) - before).square().mean().sqrt())

    chance = []
    for seed in range(5):
        order = torch.randperm(16, generator=torch.Generator().manual_seed(seed)).tolist()
        chance.append(change([order[2 * pair : 2 * pair + 2] for pair in range(3)]))
    assert change(similar_units(maps, 3, importance)) < min(chance)
