"""What linear probes read: planted in the units, or not there."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from torch import nn

from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.evaluation.linear_probe import cue_set, decodability
from conceptnet_ml.network.staged_network import StagedNetwork

CPU = torch.device("cpu")


def network() -> StagedNetwork:
    """Stage one passes red and blue on, stage two red alone."""
    one, two = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3, stride=2, padding=1)
    torch.manual_seed(0)
    with torch.no_grad():
        one.weight.copy_(torch.eye(3)[:, :, None, None])
        two.weight.zero_()
        two.weight[0, 0, 1, 1] = 1
        two.bias.zero_()  # type: ignore[union-attr]
    layers = OrderedDict(one=one, two=two, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(3, 2))
    return StagedNetwork(nn.Sequential(layers), (16, 16), stages=("one", "two")).eval()


def world(count: int) -> tuple[ImageSet, torch.Tensor, torch.Tensor]:
    draws = np.random.default_rng(0).integers(0, 2, (2, count))
    noise = np.random.default_rng(1).normal(0, 30, (count, 3, 16, 16))
    middle = np.stack([80 + 90 * draws[0], np.full(count, 128), 80 + 90 * draws[1]], 1)[:, :, None, None]
    pixels = torch.from_numpy(np.clip(middle + noise, 0, 255).astype(np.uint8))
    classes, cues = torch.from_numpy(draws)
    return ImageSet(pixels, cues), classes, cues


def test_a_probe_reads_what_a_stage_holds_and_no_more() -> None:
    images, classes, cues = world(400)
    rows = decodability(network(), images, {"class": classes, "cue": cues}, CPU, None)
    assert [row["stage"] for row in rows] == ["one", "two"]
    assert rows[0]["class"] > 0.98
    assert rows[0]["cue"] > 0.98
    assert rows[1]["class"] > 0.98
    assert rows[1]["cue"] < 0.6
    assert rows == decodability(network(), images, {"class": classes, "cue": cues}, CPU, None)


def test_the_cue_is_the_label_of_the_world_turned_round() -> None:
    images, classes, cues = world(20)
    test = images.with_labels(classes)
    data = Data("planted", ("a", "b"), test, {"test": test}, worlds={"turned test": lambda: images})
    found = cue_set(data)
    assert found is not None
    assert torch.equal(found[1], classes)
    assert torch.equal(found[2], cues)
    assert cue_set(Data("plain", ("a", "b"), test, {"test": test})) is None
