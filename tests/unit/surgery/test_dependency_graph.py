"""Following a stage's units: every tensor with a place for them is found, and what mixes them is refused."""

from __future__ import annotations

import pytest
import torch
from surgical import fresh

from conceptnet_ml.errors import SettingsError
from conceptnet_ml.surgery.dependency_graph import dependency_group


def found(name: str, stage: str, *roles: str) -> set[tuple[str, str, int]]:
    return {
        (tie.path.removeprefix("model."), tie.name, tie.dim) for tie in dependency_group(fresh(name), stage).of(*roles)
    }


def test_a_stage_between_convolutions() -> None:
    assert found("small", "stem", "writes") == {("stem.0", "weight", 0)}
    norm = {("stem.1", name, 0) for name in ("weight", "bias", "running_mean", "running_var")}
    assert found("small", "stem", "carries") == norm
    assert found("small", "stem", "reads") == {("block1.conv1", "weight", 1), ("block1.shortcut", "weight", 1)}


def test_an_addition_ties_all_that_is_added() -> None:
    writes = {("block1.conv2", "weight", 0), ("block1.shortcut", "weight", 0), ("block1.shortcut", "bias", 0)}
    assert found("small", "block1", "writes") == writes


def test_an_identity_shortcut_a_gate_and_bare_parameters() -> None:
    network = fresh("chained")
    (low, *_) = network.stage_names
    group = dependency_group(network, low)
    places = {
        (tie.path.removeprefix("model."), tie.name, tie.role) for tie in group.dependencies if "running" not in tie.name
    }
    # y = norm(depth(relu(inner(x)))) and x + gate·y: all of them are the same six channels.
    writers = {(layer, name, "writes") for layer in ("inner", "excite") for name in ("weight", "bias")}
    readers = {(layer, "weight", "reads") for layer in ("inner", "squeeze", "top")}
    assert places == {
        ("stem.0", "weight", "writes"),
        ("stem.1", "weight", "carries"),
        ("stem.1", "bias", "carries"),
        ("depth", "weight", "carries"),
        ("depth", "bias", "carries"),
        ("norm", "weight", "carries"),
        ("norm", "bias", "carries"),
        ("model", "scale", "carries"),
        *writers,
        *readers,
    }


def test_a_flatten_gives_a_unit_as_many_features_as_it_has_places() -> None:
    network = fresh("chained")
    (head,) = dependency_group(network, network.stage_names[-1]).of("reads")
    assert head.path == "model.head"
    assert head.units.tolist() == [unit for unit in range(5) for _ in range(16)]


def test_channels_last_and_a_concatenation() -> None:
    network = fresh("lastfirst")
    group = dependency_group(network, network.stage_names[-1])
    (head,) = group.of("reads")
    assert head.units.tolist() == list(range(9)) * 4
    units = {tie.path: tie.units.tolist() for tie in group.of("writes")}
    assert units == {"model.left": [0, 1, 2, 3], "model.right": [4, 5, 6, 7, 8]}


def test_stages_that_share_their_units() -> None:
    network = fresh("resnet18")
    for stage, shared in (("layer1", ["relu", "layer1"]), ("layer2", ["layer2"])):
        group = dependency_group(network, stage)
        own = group.axes[group.start]
        places = group.trace.places
        same = [name for name, node in places.items() if node in group.axes and group.axes[node].same(own)]
        assert [name for name in network.stage_names if name in same] == shared


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("mixing", "GroupNorm 'mixed'"),
        ("untraceable", "depends on its data"),
        pytest.param("convnext_tiny", "LayerNorm2d 'features", marks=pytest.mark.slow),
        pytest.param("shufflenet_v2_x0_5", "'view' behind 'stage2", marks=pytest.mark.slow),
    ],
)
def test_what_cannot_be_followed_is_named(name: str, what: str) -> None:
    network = fresh(name)
    stage = {"convnext_tiny": "features.1", "shufflenet_v2_x0_5": "stage2"}.get(name, network.stage_names[0])
    with pytest.raises(SettingsError, match=f"stage '{stage}'.*{what}"):
        dependency_group(network, stage)


def test_a_layer_used_twice_is_refused() -> None:
    network = fresh("small")
    network.model.block1.conv1.weight = network.model.block1.conv2.weight
    with pytest.raises(SettingsError, match="used more than once"):
        dependency_group(network, "stem")


def test_following_leaves_modes_and_random_numbers_alone() -> None:
    network = fresh("small")
    before, state = [part.training for part in network.modules()], torch.get_rng_state()
    dependency_group(network, "block2")
    assert [part.training for part in network.modules()] == before
    assert torch.equal(torch.get_rng_state(), state)
