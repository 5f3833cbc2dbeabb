"""How like the images that a network learned from a picture is: known kinds of pictures, and the words for them."""

from __future__ import annotations

import pytest
import torch

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.contract.trial import soft_images
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.network.build import build_network
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.results.explanation import Explanation
from conceptnet_ml.results.familiarity import FEWEST, UNKNOWN, Familiarity, familiarity

CPU = torch.device("cpu")


def soft(count: int, seed: int) -> torch.Tensor:
    return (soft_images(count, 32, 32, seed) * 255).round().to(torch.uint8)


def test_pictures_of_the_same_kind_are_as_far_as_held_out_ones_and_noise_is_further_than_all() -> None:
    torch.manual_seed(0)
    network = build_network(Settings(), ("a", "b"), (32, 32), load_plugins(use_entry_points=False))
    held = ImageSet(soft(120, 0), torch.arange(120) % 2)
    noise = torch.randint(0, 256, (4, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    alike, strange = familiarity(network, held, soft(20, 500), CPU, None), familiarity(network, held, noise, CPU, None)
    assert all(one is not None and one.nearer == 1.0 and one.times > 3 for one in strange)
    assert sum(one is not None and one.nearer < 0.95 for one in alike) >= 15
    assert sum(one is not None and one.times > 2 for one in alike) == 0
    few = ImageSet(soft(2 * FEWEST - 1, 0), torch.arange(2 * FEWEST - 1) % 2)
    assert familiarity(network, few, noise, CPU, None) == [None] * 4


@pytest.mark.parametrize(
    ("nearer", "times", "words"),
    [
        (0.5, 0.0, "no further from those the network learned from than others of their kind (further than 50 %"),
        (0.97, 1.2, "is unusual among those the network learned from (further than 97 % of 150 held-out pictures, at"),
        (
            1.0,
            4.0,
            "is unlike all that the network learned from: further than 100 % of 150 held-out pictures",
        ),
    ],
)
def test_words(nearer: float, times: float, words: str) -> None:
    found = Familiarity(nearer, times, "block3", 150)
    assert words in found.words
    assert ("do not rest on the answer" in found.words) is (times == 4.0)
    assert found.record()["words"] == found.words


def test_what_is_not_known_is_said() -> None:
    shares = {"ordinary": {"a": 1.0}, "learned": {"a": 1.0}}
    one = Explanation("it.png", torch.zeros(3, 8, 8, dtype=torch.uint8), shares, [], [], [], 10)
    assert one.familiar == UNKNOWN
    assert one.record()["likeness"] is None
