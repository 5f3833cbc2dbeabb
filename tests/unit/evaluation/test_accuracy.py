"""Accuracy on sets and groups, and disagreement on unlabelled pictures, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from conceptnet_ml.data.images import Groups, ImageSet
from conceptnet_ml.data.load import unlabelled
from conceptnet_ml.drawing.pictures import to_png
from conceptnet_ml.errors import DataError
from conceptnet_ml.evaluation.accuracy import accuracies, disagreement, group_accuracies
from conceptnet_ml.steps.ordinary import wilson

CPU = torch.device("cpu")


class Bright(nn.Module):
    """Class 1 where the image is brighter than a threshold."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, images: Tensor) -> Tensor:
        off = images.mean((1, 2, 3)) - self.threshold
        return torch.stack([-off, off], 1) * 100


def test_wilson_by_hand() -> None:
    # z² = 3.8415: the middle is (0 + z²/20) / (1 + z²/10), the half-width the same, for no hit of ten
    assert wilson(0, 10) == pytest.approx((0, 0.27753), abs=1e-4)
    assert wilson(5, 10) == pytest.approx((0.23659, 0.76341), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.72247, 1), abs=1e-4)


def test_disagreement_counts_where_two_networks_differ() -> None:
    brightness = torch.tensor([0, 100, 120, 140, 255], dtype=torch.uint8)
    images = ImageSet(brightness[:, None, None, None].expand(5, 3, 4, 4), torch.zeros(5))
    found = disagreement(Bright(110 / 255), Bright(130 / 255), images, CPU, None)
    assert found["images"] == 5
    assert found["disagreement"] == pytest.approx(0.2)
    assert found["interval"] == pytest.approx(wilson(1, 5))
    assert 0.9 < found["confidence"]["learned"] <= 1
    with pytest.raises(DataError, match="no picture"):
        disagreement(Bright(0), Bright(1), images.subset(torch.arange(0)), CPU, None)


def test_accuracy_of_groups_and_the_worst_of_them() -> None:
    brightness = torch.tensor([0, 100, 120, 140, 255, 90], dtype=torch.uint8)
    pixels = brightness[:, None, None, None].expand(6, 3, 4, 4)
    images = ImageSet(pixels, torch.tensor([0, 1, 1, 1, 1, 0])).with_groups(
        Groups(("low", "high", "nobody"), torch.tensor([0, 0, 0, 1, 1, -1]))
    )
    networks = {"first": Bright(110 / 255), "second": Bright(130 / 255)}
    plain = images.with_groups(None)
    table = accuracies(networks, {"grouped": images, "plain": plain}, CPU, None)
    assert table["plain"] == {"images": 6, "first": {"accuracy": 5 / 6}, "second": {"accuracy": 4 / 6}}
    row = table["grouped"]
    assert set(row) == {"images", "first", "second"}, "every key but images is a method"
    assert row["first"]["accuracy"] == 5 / 6
    assert row["first"]["groups"] == {
        "low": {"images": 3, "accuracy": pytest.approx(2 / 3)},
        "high": {"images": 2, "accuracy": 1.0},
    }
    assert row["second"]["worst_group"] == {"name": "low", "images": 3, "accuracy": pytest.approx(1 / 3)}


def test_a_small_group_is_the_worst_only_where_all_are_small() -> None:
    groups = Groups(("nine", "ten", "eleven"), torch.tensor([0] * 9 + [1] * 10 + [2] * 11))
    right = torch.ones(30, dtype=torch.bool)
    right[:9] = False
    right[-1] = False
    assert group_accuracies(right, groups)["worst_group"] == {"name": "eleven", "images": 11, "accuracy": 10 / 11}
    right[-1] = True
    assert group_accuracies(right, groups)["worst_group"]["name"] == "ten", "the first of equals"
    small = torch.arange(12)
    assert group_accuracies(right[small], groups.subset(small))["worst_group"]["name"] == "nine"
    assert group_accuracies(right[:2], Groups((), torch.tensor([-1, -1]))) == {}


def test_a_folder_of_pictures_needs_no_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        unlabelled(tmp_path / "absent", (8, 8))
    with pytest.raises(DataError, match="no pictures"):
        unlabelled(tmp_path, (8, 8))
    for name in ("b.png", "deep/er/a.png", ".hidden/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(to_png(torch.full((3, 12, 10), 7, dtype=torch.uint8)))
    (tmp_path / "notes.txt").write_text("no picture")
    images = unlabelled(tmp_path, (8, 8))
    assert images.take(torch.arange(2)).shape == (2, 3, 8, 8)
    assert len(images) == 2
    assert unlabelled(tmp_path, (16, 8)).take(torch.arange(2)).shape == (2, 3, 16, 8), "not square either"


def test_in_a_set_of_uneven_classes_each_is_judged_by_itself() -> None:
    class Majority(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[1.0, 0.0]]).expand(len(images), 2)

    pixels = torch.zeros(120, 3, 8, 8, dtype=torch.uint8)
    labels = (torch.arange(120) >= 100).long()
    sets = {"uneven": ImageSet(pixels, labels), "even": ImageSet(pixels, torch.arange(120) % 2)}
    table = accuracies({"it": Majority()}, sets, CPU, None, ("most", "few"))
    assert table["uneven"]["it"]["accuracy"] == 100 / 120
    assert table["uneven"]["it"]["worst_class"] == {"name": "few", "images": 20, "accuracy": 0.0}
    assert table["uneven"]["it"]["classes"]["most"] == {"images": 100, "accuracy": 1.0}
    assert table["even"]["it"] == {"accuracy": 0.5}
