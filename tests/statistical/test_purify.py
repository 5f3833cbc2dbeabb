"""Gates that hold a cue and a part of the object, and gates found by a network that sees nothing outside of these."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from planted import planted_data, settings, workbench
from torch import Tensor
from torch.nn import functional

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.steps import purify as purify_step
from conceptnet_ml.steps.gates import probe_representation
from conceptnet_ml.steps.purify import purify
from conceptnet_ml.steps.records import Site
from conceptnet_ml.swap.representation import open_cells
from conceptnet_ml.swap.views import Swap

CONTRAST = 0.14
"""Of the object, a bar: plain enough to be learned in a while, and the patch is plainer."""


def share(swap: Swap, size: tuple[int, int], mask: Tensor) -> float:
    """The share of the open places that lies in a mask (N, H, W)."""
    assert swap.gates is not None
    opened = open_cells(swap.gates, size, swap.threshold, 0)[:, 0].bool()
    return float((opened & mask).sum() / opened.sum())


def upper_half(mask: Tensor) -> Tensor:
    """The upper half of each mask (N, H, W), by its rows."""
    rows = torch.arange(mask.shape[1])
    filled = mask.any(2)
    middle = (torch.where(filled, rows, 0).amax(1) + torch.where(filled, rows, len(rows)).amin(1) + 1) / 2
    return mask & (rows < middle[:, None])[:, :, None]


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_purified_gates_let_go_of_the_object(seed: int, tmp_path: Path) -> None:
    data, without = planted_data("own", 320, contrast=CONTRAST), planted_data("own", 320, contrast=0.0)
    patch = data.train.masks["patch"].bool()
    bar = (data.train.images.int() - without.train.images.int()).abs().amax(1) > 3
    chosen = settings(seed=seed, training={"batch": 32, "rate": 0.05}, round={"purify": 2}, probe={"dreamt": 0})
    ctx = workbench(tmp_path, data, chosen)
    ordinary = ctx.train("ordinary", ctx.network(), ctx.views(ctx.fit, []), 8, 0.05)
    site = Site("", Readout("classes", ordinary), "probe")
    probed = probe_representation(ctx, site, ctx.codec("pixels"))
    both = (patch | upper_half(bar))[:, None].float()
    mixed = Swap(ctx.codec("pixels"), functional.adaptive_max_pool2d(both, 16), name="mixed")
    pure = purify(ctx, site, mixed, probed)
    assert pure.name == mixed.name
    assert share(pure, ctx.size, patch) > share(mixed, ctx.size, patch) + 0.15
    assert share(pure, ctx.size, bar & ~patch) < 0.5 * share(mixed, ctx.size, bar & ~patch)
    ctx.run.close()


def test_a_network_that_learned_nothing_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On few images some epochs are a few steps; gates of such a network are shut or anywhere."""
    monkeypatch.setattr(purify_step, "STEPS", 1)
    chosen = settings(training={"batch": 64}, round={"purify": 2, "cue": 1}, probe={"dreamt": 0})
    ctx = workbench(tmp_path, planted_data("own", 80, contrast=CONTRAST), chosen)
    site = Site("", Readout("classes", ctx.network()), "probe")
    probed = probe_representation(ctx, site, ctx.codec("pixels"))
    patch = ctx.data.train.masks["patch"][:, None].float()
    swap = Swap(ctx.codec("pixels"), functional.adaptive_max_pool2d(patch, 16), name="patch")
    assert purify(ctx, site, swap, probed) is swap
    ctx.run.close()
