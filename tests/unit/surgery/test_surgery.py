"""Splitting, merging, forgetting and pruning units, and taking stored widths."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from pruning import prune_units, similar_units
from surgical import ablated, fresh, images, used
from torch import nn

from conceptnet_ml.errors import ConceptNetError, DataError, SettingsError
from conceptnet_ml.network.export import export_program
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.surgery.batchnorm import recalibrate
from conceptnet_ml.surgery.forget import forget_units
from conceptnet_ml.surgery.merge import importances, merge_units
from conceptnet_ml.surgery.resize import resized
from conceptnet_ml.surgery.split import class_shares, split_unit

QUICK = ["small", "chained", "lastfirst", "resnet18"]
SLOW = [
    "resnet50",
    "vgg11_bn",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "densenet121",
    "efficientnet_b0",
    "regnet_y_400mf",
]
EVERY = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def stages(network: StagedNetwork, name: str) -> tuple[str, ...]:
    """All of a small network's, the first, the tied and the last of a large one's."""
    return network.stage_names if name in QUICK[:3] else (*network.stage_names[:2], network.stage_names[-1])


def change(one: StagedNetwork, other: StagedNetwork, training: bool = False) -> float:
    """Largest change of the logits, relative to the largest logit where those are above one."""
    batch = images(6, 9, one.image_size)
    with torch.no_grad():
        first, second = (copy.deepcopy(network).train(training)(batch) for network in (one, other))
    return float((first - second).abs().max() / first.abs().max().clamp_min(1))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("shares", [None, (0.2, 0.5, 0.3)])
def test_a_split_changes_nothing(name: str, shares: tuple[float, ...] | None) -> None:
    network = used(name)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    for stage in stages(network, name):
        units = network.stage(stage).units
        after = split_unit(network, stage, units - 1, 3, shares)
        assert after.stage(stage).units == units + 2
        assert after.stage_names == network.stage_names
        assert change(network, after) < 1e-5
        # Batch norm of a few 2 × 2 maps takes up rounding errors a thousandfold in a deep network with fresh weights.
        assert change(network, after, training=True) < (1e-5 if name in ("small", "chained", "lastfirst") else 1e-3)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_copies_come_behind_the_last_unit_and_no_number_changes() -> None:
    network = used("small")
    after = split_unit(network, "block2", 5, 3)
    before_maps, maps = (one.run_until(images(), "block2") for one in (network, after))
    torch.testing.assert_close(maps[:, :32], before_maps)
    torch.testing.assert_close(maps[:, 32:], before_maps[:, [5, 5]])


def test_at_the_top_each_class_reads_its_own_copy() -> None:
    network = used("small")
    old, new = network.model.head.weight, split_unit(network, "block3", 7, 3).model.head.weight
    copies = new[:, [7, 64, 65]]
    torch.testing.assert_close(copies, torch.diag(old[:, 7]))
    other = split_unit(network, "block3", 7, 2, class_shares([[0, 2], [1]], 3)).model.head.weight
    column = old[:, 7].tolist()
    torch.testing.assert_close(other[:, [7, 64]], torch.tensor([[column[0], 0.0], [0.0, column[1]], [column[2], 0.0]]))


def test_below_every_reader_favours_one_copy_and_the_seed_decides_which() -> None:
    network = used("small")
    old = network.model.block2.conv1.weight[:, 3]

    def columns(**options: float) -> torch.Tensor:
        return split_unit(network, "block1", 3, 2, **options).model.block2.conv1.weight[:, [3, 16]]

    alone = columns(seed=4, shares=1)
    torch.testing.assert_close(alone.sum(1), old)
    assert ((alone != 0).flatten(2).any(2).sum(1) == 1).all()
    assert (alone[:, 0].flatten(1) != 0).any(1).sum() == 16  # of 32 readers
    further = columns(seed=4)
    torch.testing.assert_close(further, torch.where(alone != 0, 2 * old[:, None], -old[:, None]))
    assert torch.equal(columns(seed=4), further)
    assert not torch.equal(columns(seed=5), further)


@pytest.mark.parametrize("name", EVERY)
def test_merging_exact_copies_undoes_the_split(name: str) -> None:
    network = used(name)
    batches = list(images(24, 5, network.image_size).split(12))
    for stage in stages(network, name):
        units = network.stage(stage).units
        twice = split_unit(network, stage, units - 2 if name != "densenet121" else units - 1, 2, shares=(0.3, 0.7))
        unit = units - 2 if name != "densenet121" else units - 1
        pruned = prune_units(twice, stage, [units])
        merged = merge_units(twice, stage, [[unit, units]], batches)
        assert change(network, merged) < 1e-4
        if change(network, pruned) > 1e-5:  # with fresh weights some networks say the same of every image
            assert change(network, merged) < change(network, pruned) / 10
        assert not merged.run_until(batches[0], stage)[:, units].any()


def test_a_merged_unit_is_the_weighted_mean_before_the_activation() -> None:
    network = used("small")
    batch = images(16, 5)
    importance = importances(network, "stem", [batch])
    stem = network.model.stem
    merged = merge_units(network, "stem", [[2, 9, 4]], [batch])
    weights = importance[[2, 4, 9]] / importance[[2, 4, 9]].sum()
    normal = (batch - network.mean) / network.std
    wanted = (stem[1](stem[0](normal))[:, [2, 4, 9]] * weights[:, None, None]).sum(1)
    torch.testing.assert_close(merged.model.stem[1](merged.model.stem[0](normal))[:, 2], wanted.float())
    assert not merged.run_until(batch, "stem")[:, [4, 9]].any()


def test_readers_are_fitted_to_what_the_lost_unit_told_them() -> None:
    """One unit is twice another: whatever the merged filter gives, the head's answers can be kept, and are."""
    network = used("small")
    with torch.no_grad():  # before the ReLU unit 6 is twice unit 5, and so it is behind it
        for part in (network.model.block3.norm2, network.model.block3.shortcut):
            for values in (part.weight, part.bias):
                values[6] = 2 * values[5]
        network.model.block3.conv2.weight[6] = network.model.block3.conv2.weight[5]
        for values in (network.model.block3.norm2.running_mean, network.model.block3.norm2.running_var):
            values[6] = values[5]
    merged = merge_units(network, "block3", [[5, 6]], [images(32, 2)])
    assert change(network, merged) < 1e-4
    assert change(network, prune_units(network, "block3", [6])) > 1e-3


def test_several_groups_merge_in_one_call() -> None:
    network = used("small")
    merged = merge_units(network, "block2", [[1, 3], [4, 9, 20]], [images(32, 2)])
    maps = merged.run_until(images(), "block2")
    assert not maps[:, [3, 9, 20]].any()
    assert maps[:, [1, 4]].flatten(2).std(2).min() > 0


def test_similar_units_finds_planted_copies_and_leaves_out_closed_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(20, 6, 4, 4, generator=generator)
    maps[:, 4] = 2 * maps[:, 1] + 0.05 * torch.randn(20, 4, 4, generator=generator)
    maps[:, 5] = -maps[:, 0]  # the opposite is not alike
    assert similar_units(maps, 1) == [[1, 4]]
    assert similar_units([maps[:7], maps[7:]], 1) == [[1, 4]]
    groups = similar_units(maps, 2, closed=[4])
    assert 4 not in [unit for group in groups for unit in group]
    assert sum(len(group) - 1 for group in groups) == 2
    with pytest.raises(SettingsError, match="merged away"):
        similar_units(maps, 6)


@pytest.mark.parametrize("name", EVERY)
def test_a_forgotten_unit_is_the_ablation_made_permanent(name: str) -> None:
    network = used(name)
    batches = list(images(24, 5, network.image_size).split(12))
    for stage in stages(network, name):
        units = [0, network.stage(stage).units - 1]
        maps = torch.cat([network.run_until(part, stage) for part in batches])[:, units]
        means = maps.mean((0, 2, 3))
        after = forget_units(network, stage, units, batches)
        held = after.run_until(images(4, 77, network.image_size), stage)[:, units]
        torch.testing.assert_close(held, means[:, None, None].expand_as(held), rtol=1e-3, atol=1e-4)
        if stage == network.stage_names[0] and name != "chained":  # nothing before it shares its units
            held_there = ablated(network, batches[0], stage, units, means)
            assert (after(batches[0]) - held_there).abs().max() < 1e-4 * (1 + held_there.abs().max())


def test_pruned_units_are_silent() -> None:
    network = used("chained")
    for stage in network.stage_names:
        after = prune_units(network, stage, [1, 2])
        assert not after.run_until(images(), stage)[:, [1, 2]].any()


@pytest.mark.parametrize("name", EVERY)
def test_a_fresh_network_takes_the_state_of_a_changed_one(name: str) -> None:
    network = used(name)
    stage = network.stage_names[0]
    batch = images(12, 5, network.image_size)
    after = split_unit(network, stage, network.stage(stage).units - 1, 2)
    after = forget_units(after, stage, [0], [batch])
    state = {key: value.clone() for key, value in after.state_dict().items()}
    again = resized(fresh(name, seed=8).eval(), state)
    assert again.stages == after.stages
    assert set(again.state_dict()) == set(state)
    assert torch.equal(again(batch), after(batch))


def test_what_does_not_fit_is_refused() -> None:
    state = dict(split_unit(used("small"), "block1", 0, 2).state_dict())
    plain = fresh("small")

    def refused(changed: dict[str, torch.Tensor], what: str) -> None:
        with pytest.raises(DataError, match=what):
            resized(plain, changed)

    refused({**state, "model.block1.conv2.weight": state["model.block1.conv2.weight"][:-1]}, "stored weights")
    refused({**state, "model.block1.conv2.weight": state["model.block1.conv2.weight"][..., :2]}, "3×3")
    refused({**state, "model.block9.weight": torch.zeros(3)}, "no such tensor")
    refused({key: value for key, value in state.items() if key != "model.head.bias"}, "head.bias: it is missing")
    named = StagedNetwork(fresh("small").model, (32, 32), classes=("a", "b", "c"))
    with pytest.raises(DataError, match="2 outputs"):
        resized(
            named, {**state, "model.head.weight": state["model.head.weight"][:2], "model.head.bias": torch.zeros(2)}
        )


def test_the_result_is_an_ordinary_network(tmp_path: Path) -> None:
    network = used("small")
    after = forget_units(split_unit(network, "block2", 0, 2), "block1", [2], [images()])
    batch = images()
    maps, logits = after.run_all(batch)
    torch.testing.assert_close(logits, after(batch))
    torch.testing.assert_close(after.run_from(maps["block2"], "block2"), logits)
    torch.testing.assert_close(after.run_between(maps["stem"], "stem", "block3"), maps["block3"])
    assert torch.equal(copy.deepcopy(after)(batch), after(batch))
    export_program(after, tmp_path / "alone.pt2")
    torch.testing.assert_close(torch.export.load(tmp_path / "alone.pt2").module()(batch), logits)


@pytest.mark.parametrize(
    ("work", "what"),
    [
        (lambda n, b: split_unit(n, "block9", 0, 2), "no stage 'block9'"),
        (lambda n, b: split_unit(n, "stem", 16, 2), "no unit 16"),
        (lambda n, b: split_unit(n, "stem", -1, 2), "no unit -1"),
        (lambda n, b: split_unit(n, "stem", 0, 1), "1 variants"),
        (lambda n, b: split_unit(n, "stem", 0, 2, 0.5), "0.5 apart"),
        (lambda n, b: split_unit(n, "stem", 0, 2, (0.5, 0.6)), "sum to one"),
        (lambda n, b: split_unit(n, "stem", 0, 2, (0.5, 0.3, 0.2)), "do not fit"),
        (lambda n, b: split_unit(n, "block3", 0, 2, class_shares([[0], [1]], 3)), "exactly one variant"),
        (lambda n, b: merge_units(n, "stem", [[4]], b), "one unit alone"),
        (lambda n, b: merge_units(n, "stem", [[4, 4]], b), "named twice"),
        (lambda n, b: merge_units(n, "stem", [[4, 5], [5, 6]], b), "named twice"),
        (lambda n, b: merge_units(n, "stem", [[4, 5]], []), "no images"),
        (lambda n, b: forget_units(n, "stem", [], b), "no units"),
        (lambda n, b: forget_units(n, "stem", [1], []), "no images"),
        (lambda n, b: prune_units(n, "stem", [1, 1]), "named twice"),
    ],
)
def test_what_cannot_be_done_is_refused(work: object, what: str) -> None:
    assert callable(work)
    network = used("small")
    state = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ConceptNetError, match=what):
        work(network, [images()])
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_weights_that_are_no_numbers_are_refused() -> None:
    network = used("small")
    with torch.no_grad():
        network.model.block2.conv1.weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(SettingsError, match=r"block2\.conv1\.weight' has values that are NaN"):
        prune_units(network, "stem", [0])


def test_code_that_counts_on_a_width_is_refused_where_the_width_changes() -> None:
    network = fresh("counting").eval()
    stage = network.stage_names[0]
    with pytest.raises(SettingsError, match=r"counts on the number of its units|cannot be followed"):
        split_unit(network, stage, 7, 2)


def test_a_copy_in_the_middle_of_a_concatenation_is_refused_a_merge_there_is_not() -> None:
    network = used("lastfirst")
    stage = network.stage_names[-1]
    with pytest.raises(SettingsError, match="change the numbers"):
        split_unit(network, stage, 1, 2)
    with pytest.raises(SettingsError, match="different layers"):
        merge_units(network, stage, [[1, 6]], [images()])
    merged = merge_units(network, stage, [[1, 2]], [images(32, 2)])
    assert merged.stage(stage).units == network.stage(stage).units


def test_recalibration_takes_the_statistics_of_the_images() -> None:
    network = used("small")
    batches = list(images(32, 3).split(16))
    with torch.no_grad():
        network.model.stem[1].running_mean += 5
        network.model.stem[1].running_var *= 7
    modes = [part.training for part in network.modules()]
    recalibrate(network, batches)
    inner = torch.cat([network.model.stem[0]((part - network.mean) / network.std) for part in batches])
    torch.testing.assert_close(network.model.stem[1].running_mean, inner.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
    assert [part.training for part in network.modules()] == modes
    assert all(norm.momentum == 0.1 for norm in network.modules() if isinstance(norm, nn.BatchNorm2d))


def test_recalibration_beside_a_reference_leaves_what_did_not_change() -> None:
    network = used("small")
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.model.block2.conv1.weight *= 3
    before = copy.deepcopy(other.state_dict())
    recalibrate(other, [images(16, 3)], network)
    state = other.state_dict()
    assert torch.equal(state["model.stem.1.running_var"], before["model.stem.1.running_var"])
    ratio = state["model.block2.norm1.running_var"] / before["model.block2.norm1.running_var"]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 9.0), rtol=1e-3, atol=1e-3)
