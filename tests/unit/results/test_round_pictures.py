"""A kept round's picture shows what is exchanged in training, and its words say how much that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from planted import planted_data, settings, workbench

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.results.looks import share_of
from conceptnet_ml.results.round_pictures import _examples
from conceptnet_ml.results.verdict import narrowed, percent
from conceptnet_ml.steps.records import ProbeResult, Round
from conceptnet_ml.swap.interchangeability import SwapMeasurement
from conceptnet_ml.swap.stop_rule import Decision
from conceptnet_ml.swap.views import Swap

KEPT = ProbeResult(SwapMeasurement("pixels", "place", (9, 9), (1, 1), (1, 1), (0, 0), 0.4), Decision(True, ""))


def test_the_picture_of_a_kept_round_is_of_the_swap_that_was_trained_on(tmp_path: Path) -> None:
    """The probe's gates, which hold more of the object, would show another one."""
    data = planted_data(count=64)
    ctx = workbench(tmp_path, data, settings())
    corner = torch.zeros(len(data.train), 1, 16, 16)
    corner[:, :, :4, :4] = 1
    swap = Swap(ctx.codec("pixels"), corner, grow=2)
    readout = Readout("classes", ctx.network())
    kept = Round("round", "", 1, readout, [], [KEPT], "kept", chosen=KEPT, swap=swap)
    cells = data.train.images.shape[-1] // 16
    for one in _examples(ctx, kept, swap.codec):
        inside = torch.zeros(one.image.shape[-2:], dtype=torch.bool)
        inside[: 4 * cells + 2, : 4 * cells + 2] = True
        assert torch.equal(torch.as_tensor(one.gate)[0].bool(), inside)
        assert torch.equal(one.swapped, torch.where(inside, one.donor, one.image))
    assert share_of(kept, ctx.held) == pytest.approx(1 / 16)
    ctx.run.close()


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ([0.1], f", narrowed down to places that cover {percent(0.1)} of an image"),
        ([0.5], f", widened to places that cover {percent(0.5)} of an image"),
        ([0.41], ""),
        ([None], ""),
        ([0.1, 0.1], ""),
    ],
)
def test_it_is_said_how_much_of_what_was_probed_is_exchanged(shares: list[float | None], said: str) -> None:
    probe = {"representation": "pixels", "price": 0.4}
    entries: list[dict[str, Any]] = [{"chosen": "pixels", "representations": [probe]} for _ in shares]
    for entry, share in zip(entries, shares, strict=True):
        entry |= {} if share is None else {"share": share}
    assert narrowed(entries) == said
