"""Disagreement on unlabelled pictures, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.drawing.pictures import to_png
from conceptnet_ml.errors import DataError
from conceptnet_ml.evaluation.accuracy import disagreement, unlabelled, wilson

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
