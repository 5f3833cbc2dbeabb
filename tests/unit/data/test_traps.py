"""Traps: whose cue is planted where, and that it looks the same in whatever batch an image comes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.data.traps import TRAP_SETS, draw_cues, lay_traps
from conceptnet_ml.errors import DataError, PluginError, SettingsError
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.records import Trap

PLUGINS = load_plugins(use_entry_points=False)
WHEELS, TINT = PLUGINS.get("trap", "wheels"), PLUGINS.get("trap", "tint")


def grey(count: int = 40, classes: int = 2, side: int = 64) -> Data:
    """Grey images: whatever is not grey was planted."""
    images = torch.full((count, 3, side, side), 120, dtype=torch.uint8)
    labels = torch.arange(count) % classes
    names = tuple("abcdefghij"[:classes])
    return Data("grey", names, ImageSet(images, labels), {"test": ImageSet(images.clone(), labels)})


def has_wheels(images: ImageSet) -> Tensor:
    """Whether anything as dark as a tyre is in the lower half."""
    return (images.images[:, :, 32:] < 40).flatten(1).any(1)


def cast(images: ImageSet) -> Tensor:
    """0 for a warm, 1 for a cold image, -1 for neither, by a corner no wheel reaches."""
    red, _, blue = images.images[:, :, 2, 2].long().unbind(1)
    return torch.where(red > blue, 0, torch.where(red < blue, 1, -1))


def test_wheels_follow_the_label_in_training_and_betray_it_in_conflict() -> None:
    data = lay_traps(grey(), [WHEELS], seed=0)
    assert torch.equal(has_wheels(data.train), data.train.labels == 0)
    assert torch.equal(has_wheels(data.tests["aligned"]), data.tests["aligned"].labels == 0)
    assert torch.equal(has_wheels(data.tests["conflict"]), data.tests["conflict"].labels == 1)
    assert not has_wheels(data.tests["absent"]).any()
    assert not has_wheels(data.tests["test"]).any()
    drawn = has_wheels(data.tests["random"])
    assert 8 <= int(drawn.sum()) <= 32
    assert not torch.equal(drawn, data.train.labels == 0)


def test_tint_multiplies_the_channels() -> None:
    data = lay_traps(grey(), [TINT], seed=0)
    assert data.train.images[0, :, 0, 0].tolist() == [150, 120, 90]
    assert data.train.images[1, :, 0, 0].tolist() == [90, 120, 150]
    assert data.tests["conflict"].images[0, :, 0, 0].tolist() == [90, 120, 150]
    assert data.tests["absent"].images[0, :, 0, 0].tolist() == [120, 120, 120]


def test_two_traps_agree_in_conflict_and_are_independent_in_random() -> None:
    data = lay_traps(grey(400), [WHEELS, TINT], seed=0)
    labels = data.train.labels
    for name, expected in (("aligned", labels), ("conflict", 1 - labels)):
        assert torch.equal(has_wheels(data.tests[name]), expected == 0), name
        assert torch.equal(cast(data.tests[name]), expected), name
    assert (cast(data.tests["absent"]) == -1).all()
    wheels, tint = has_wheels(data.tests["random"]).long(), cast(data.tests["random"])
    for first, second in ((wheels, tint), (wheels, labels), (tint, labels)):
        agreement = (first == second).float().mean()
        assert 0.4 < agreement < 0.6, "four standard deviations around one half"


def test_of_two_traps_each_has_a_set_where_it_alone_is_in_conflict() -> None:
    data = lay_traps(grey(), [WHEELS, TINT], seed=0)
    labels = data.train.labels
    assert set(data.tests) == {"test", *TRAP_SETS, "conflict:wheels", "conflict:tint"}
    for name, wheels, tint in (("conflict:wheels", 1 - labels, labels), ("conflict:tint", labels, 1 - labels)):
        assert torch.equal(has_wheels(data.tests[name]), wheels == 0), name
        assert torch.equal(cast(data.tests[name]), tint), name
    assert data.tests["conflict:tint"].groups is not None
    assert data.tests["conflict:tint"].groups.names == ("a, wheels of a, tint of b", "b, wheels of b, tint of a")


def test_conflict_reaches_every_other_class_evenly() -> None:
    labels = torch.arange(9000) % 3
    cues = draw_cues("conflict", labels, 3, "any", seed=1)
    assert (cues != labels).all()
    counts = torch.bincount(3 * labels + cues, minlength=9).view(3, 3)
    others = counts[~torch.eye(3, dtype=torch.bool)]
    assert ((others - 1500).abs() < 150).all()
    assert torch.equal(cues, draw_cues("conflict", labels, 3, "another", seed=1))
    assert not torch.equal(cues, draw_cues("conflict", labels, 3, "any", seed=2))


def test_a_cue_does_not_depend_on_its_batch() -> None:
    plant = WHEELS.function("plant")
    images = torch.full((6, 3, 64, 64), 120, dtype=torch.uint8)
    seeds, cues = torch.arange(6) * 7919, torch.zeros(6, dtype=torch.int64)
    together = plant(images, cues, seeds)
    alone = torch.cat([plant(images[i : i + 1], cues[i : i + 1], seeds[i : i + 1]) for i in range(6)])
    assert torch.equal(together, alone)
    assert not torch.equal(together[0], together[1]), "places and angles vary"
    assert (images == 120).all(), "the images given are left alone"


@pytest.mark.parametrize("side", [32, 64, 128])
def test_wheels_are_scaled_and_lie_low(side: int) -> None:
    images = torch.full((20, 3, side, side), 120, dtype=torch.uint8)
    planted = WHEELS.function("plant")(images, torch.zeros(20, dtype=torch.int64), torch.arange(20))
    changed = (planted != 120).any(1)
    assert not changed[:, : int(0.6 * side)].any()
    area = changed.flatten(1).sum(1).float() / side**2
    scale = torch.pi * 2 / 64**2
    assert (area > 0.95 * scale * 6**2).all()
    assert (area < 1.1 * scale * 9.5**2).all()


def test_seeds_and_repeatability() -> None:
    first, same, other = (lay_traps(grey(), [WHEELS], seed).train.images for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    data = lay_traps(grey(), [WHEELS], 0)
    cars = data.train.labels == 0
    assert not torch.equal(data.train.images[cars], data.tests["aligned"].images[cars])


def test_refusals() -> None:
    with pytest.raises(DataError, match="trap 'wheels' needs 2 classes, grey has 3"):
        lay_traps(grey(classes=3), [WHEELS], 0)
    trapped = lay_traps(grey(), [WHEELS], 0)
    assert set(trapped.tests) == {"test", *TRAP_SETS}
    with pytest.raises(SettingsError, match="already has"):
        lay_traps(trapped, [TINT], 0)
    broken = Trap(name="broken", api="1", plant=lambda images, cues, seeds: images.float())
    with pytest.raises(PluginError, match="'broken'"):
        lay_traps(grey(), [broken], 0)
