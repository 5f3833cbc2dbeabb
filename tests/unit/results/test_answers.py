"""Where two networks answer differently: counted, confused pairs named, pictures of both wins and losses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.results.answers import _compare, compare_answers


class Told(nn.Module):
    """Answers that are written in the images' first pixel, of a channel."""

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.channel = channel

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.one_hot((images[:, self.channel, 0, 0] * 255).round().long(), 3).float()


def test_won_and_lost_are_counted_and_shown() -> None:
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 2])
    ordinary = torch.tensor([1, 1, 1, 1, 1, 0, 1, 1])
    learned = torch.tensor([0, 0, 0, 0, 0, 2, 1, 0])
    pixels = torch.zeros(8, 3, 4, 4, dtype=torch.uint8)
    pixels[:, 0], pixels[:, 1] = ordinary[:, None, None], learned[:, None, None]
    ctx: Any = SimpleNamespace(device=torch.device("cpu"), dtype=None, data=SimpleNamespace(classes=("a", "b", "c")))
    found = _compare(ctx, Told(0).eval(), Told(1).eval(), ImageSet(pixels, labels))
    assert (found["differ"], found["won"], found["lost"]) == (7, 5, 1)
    assert found["confused"] == [["a", "b", 5, 0], ["a", "c", 0, 1], ["c", "a", 0, 1], ["c", "b", 1, 0]]
    assert found["shown"] == [[0, 0, 1, 0], [2, 0, 1, 0], [4, 0, 1, 0], [5, 0, 0, 2]]


def test_one_network_has_nothing_to_compare() -> None:
    learned: Any = SimpleNamespace(rounds=[SimpleNamespace(decision="leaf")])
    assert compare_answers(SimpleNamespace(), learned) == {}  # type: ignore[arg-type]
