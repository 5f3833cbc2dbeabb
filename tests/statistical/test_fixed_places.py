"""A cue that stands in the same places of all images, some of them in the gates: all of them are found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from planted import COARSE, QUICK, SIDE, accuracy, images_with, planted_data, settings, workbench
from torch import Tensor, nn

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.learner import run_learner
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.steps import closure, generalize, purify
from conceptnet_ml.steps.closure import close
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.purify import fixed_places, places_left
from conceptnet_ml.steps.records import Closure, Learned, ProbeResult, Site, Trained
from conceptnet_ml.swap.interchangeability import SwapMeasurement
from conceptnet_ml.swap.stop_rule import HELD_OUT, USER, Decision
from conceptnet_ml.swap.views import Swap

CELLS = 16
COLOURS = torch.tensor([[200, 60, 60], [60, 60, 200]], dtype=torch.uint8).view(2, 3, 1, 1)


def data_with(cue: Tensor) -> Data:
    """Bars in noise, with their class's colour where a mask (N, 1, SIDE, SIDE) says so."""
    bare = images_with("none", len(cue), 7)
    return Data(
        "cued", ("lying", "standing"), ImageSet(torch.where(cue, COLOURS[bare.labels], bare.images), bare.labels), {}
    )


def still_bench(folder: Path, data: Data) -> Context:
    """A workbench whose networks learn from what gates take over in a few steps."""
    chosen = settings(
        network=QUICK,
        training={"batch": 32, "rate": 0.05},
        round={"purify": 2, "cue": 6},
        probe={"dreamt": 48, "cells": CELLS},
    )
    return workbench(folder, data, chosen)


def places(folder: Path, data: Data, some: Tensor, more: Tensor) -> Tensor:
    """The fixed places, (CELLS, CELLS), from gates that hold some of a cue and further ones that hold more."""
    ctx = still_bench(folder, data)
    swap = Swap(ctx.codec("pixels"), some, grow=1)
    found = fixed_places(ctx, Site("", Readout("classes", ctx.network()), "closure-1"), swap, more)
    ctx.run.close()
    return found[0, 0].bool()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_the_rest_of_a_frame_is_found_and_the_object_is_left(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purify, "TURNS", 2)
    count = 240
    frame = torch.ones(1, 1, SIDE, SIDE, dtype=torch.bool)
    frame[..., 2:-2, 2:-2] = False
    draw = torch.Generator().manual_seed(seed)
    some, more = torch.zeros(2, count, 1, CELLS, CELLS)
    some[:, :, 0] = 1  # the upper side, and in half of the images the left one
    some[torch.rand(count, generator=draw) < 0.5, :, :, 0] = 1
    for side in (more[:, :, -1], more[..., -1]):  # some of the two others, and of the object
        side[torch.rand(count, generator=draw) < 0.5] = 1
    more[:, :, 3:13, 3:13] = (torch.rand(count, 1, 10, 10, generator=draw) < 0.3).float()
    found = places(tmp_path, data_with(frame.expand(count, -1, -1, -1)), some, more)
    sides = torch.stack([found[0], found[-1], found[:, 0], found[:, -1]]).float()
    assert sides.mean(1).min() > 0.8  # each of them
    assert found[2:-2, 2:-2].float().mean() < 0.05  # the frame's neighbours help to open it


def test_a_cue_that_moves_has_no_fixed_places(tmp_path: Path) -> None:
    count = 240
    draw = torch.Generator().manual_seed(0)
    cue = torch.zeros(count, 1, SIDE, SIDE, dtype=torch.bool)
    for image, (top, left) in enumerate(torch.randint(SIDE - 6, (count, 2), generator=draw).tolist()):
        cue[image, :, top : top + 6, left : left + 6] = True
    gates = torch.nn.functional.adaptive_max_pool2d(cue.float(), CELLS)
    assert not places(tmp_path, data_with(cue), gates, torch.zeros_like(gates)).any()


def test_what_is_asked_for_nearly_everywhere_is_no_fixed_cue(tmp_path: Path) -> None:
    count = 240
    scene = torch.ones(1, 1, SIDE, SIDE, dtype=torch.bool)
    scene[..., 8:16, 8:16] = False
    some, more = torch.zeros(2, count, 1, CELLS, CELLS)
    some[:, :, :4], more[:, :, -6:] = 1, 1
    assert not places(tmp_path, data_with(scene.expand(count, -1, -1, -1)), some, more).any()


class Reads(nn.Module):
    """Tells the class by how red an image is in some columns of the cue."""

    def __init__(self, columns: slice) -> None:
        super().__init__()
        self.columns = columns

    def forward(self, images: Tensor) -> Tensor:
        red = (images[:, 0] - images[:, 2])[:, 8:20, self.columns].mean((1, 2))
        return torch.stack([red, -red], 1)


def read_by(network: nn.Module, fell: float) -> Trained:
    """A training that ended with this network, r so much lower."""
    return Trained(cast(StagedNetwork, network), Decision(True, ""), 1.0, 1.0 - fell, 1.0 - fell)


@pytest.mark.parametrize(
    ("columns", "fell", "left"),
    [
        pytest.param(slice(13, 15), 0.2, True, id="reads what the gates leave out"),
        pytest.param(slice(13, 15), 1.0, False, id="but misses what they exchange"),
        pytest.param(slice(24, 32), 0.0, False, id="reads no cue"),
    ],
)
def test_places_are_left_where_the_trained_network_reads_them(
    columns: slice, fell: float, left: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 240
    cue = torch.zeros(count, 1, SIDE, SIDE, dtype=torch.bool)
    cue[..., 8:20, 4:20] = True
    gates = torch.zeros(count, 1, CELLS, CELLS)
    gates[..., 4:10, 2:6] = 1  # half of the cue
    monkeypatch.setattr(purify, "TURNS", 2)
    ctx = still_bench(tmp_path, data_with(cue))
    swap = Swap(ctx.codec("pixels"), gates, grow=1)
    places, iota, _ = places_left(
        ctx, Site("", Readout("classes", ctx.network()), "round"), swap, read_by(Reads(columns), fell)
    )
    ctx.run.close()
    assert (iota > 0.3) == (columns.start < 20)
    if left:
        assert places[0, 0, 4:10, 6:10].mean() > 0.4, "two networks find half of what was left out"
        assert places.sum() <= places[0, 0, 4:10, 2:10].sum() + 6, "and hardly anything else"
    else:
        assert not places.any()


def test_nobody_is_asked_for_the_places_of_a_cue_that_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = still_bench(tmp_path, planted_data("own", 80))
    monkeypatch.setattr(purify, "train_cue", lambda *_: pytest.fail("a network was trained"))
    swap = Swap(ctx.codec("pixels"), torch.eye(80, CELLS * CELLS).view(-1, 1, CELLS, CELLS))
    site = Site("", Readout("classes", ctx.network()), "round")
    places, iota, _ = places_left(ctx, site, swap, read_by(ctx.network(), 0.0))
    assert (places.any(), iota) == (torch.tensor(False), 0)
    ctx.run.close()


@pytest.mark.parametrize(
    ("after", "evidence", "wide", "said"),
    [
        (0.8, HELD_OUT, True, "they are opened, r 0.95 → 0.80"),
        (0.7, HELD_OUT, False, f"but to open them leaves too little, r 0.70: {generalize.WHOLE}"),
        (0.7, USER, False, "but to open them leaves too little, r 0.70"),
    ],
)
def test_a_round_is_trained_again_with_the_places_that_were_left(
    after: float, evidence: str, wide: bool, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = workbench(tmp_path, planted_data("own", 80), settings(round={"purify": 1}))
    held, places = torch.zeros(2, 80, 1, 4, 4)
    held[..., 3, :], places[..., 0, :] = 1, 1
    swap = Swap(ctx.codec("pixels"), held)
    site = Site("block3", Readout("classes", ctx.network()), "round")
    kept = Decision(True, "", evidence=evidence)
    first, again = (Trained(ctx.network(), kept, 1.0, r, r) for r in (0.95, after))
    measured = SwapMeasurement("pixels", "place", (9, 9), (1, 1), (1, 1), (0, 0), 0.1)
    monkeypatch.setattr(generalize, "places_left", lambda *_: (places[:1], 0.25, None))
    monkeypatch.setattr(generalize, "_train", lambda *_: again)
    opened = generalize._open_places
    learned = cast(Learned, None)
    found, trained, reason = opened(ctx, learned, site, swap, ProbeResult(measured, kept), first)
    assert found.gates is not None
    assert torch.equal(found.gates, held + places if wide else held)
    assert trained == (replace(again, left=0.25) if wide else first if evidence == USER else None)
    assert reason.endswith(said)
    assert "0.25" in reason
    for other in (
        replace(swap, outside=True),
        replace(swap, codec=ctx.codec("colour"), gates=None),
    ):
        assert opened(ctx, learned, site, other, ProbeResult(measured, kept), first) == (other, first, "")
    ctx.run.close()


def test_a_swap_is_widened_by_fixed_places_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what a fresh network finds the rest may be the object; where nothing stands still it is purified of that."""
    ctx = workbench(tmp_path, planted_data("own", 80), settings(round={"purify": 1, "closures": 1, "fresh": 1}))
    held, found, still, pure = torch.zeros(4, 80, 1, 4, 4)
    held[..., 3, :], found[..., 1, :], still[..., 0, :], pure[..., 1, :2] = 1, 1, 1, 1
    swap = Swap(ctx.codec("pixels"), held)
    open_check = Closure(cast(ProbeResult, None), Readout("classes", ctx.network()), 1.0, False)
    monkeypatch.setattr(closure, "check_closure", lambda *args: open_check)
    monkeypatch.setattr(closure, "gates", lambda *args: found)
    measured = SwapMeasurement("pixels", "place", (9, 9), (1, 1), (1, 1), (0, 0), 0.1)
    probed = ProbeResult(measured, Decision(True, ""))
    monkeypatch.setattr(closure, "purify", lambda ctx, site, swap, probed: replace(swap, gates=pure))
    for places, wider in ((still[:1], still), (torch.zeros(1, 1, 4, 4), pure)):
        monkeypatch.setattr(closure, "fixed_places", lambda *args, places=places: places)
        widened, _ = close(ctx, Site("", open_check.readout, "round"), [], swap, probed)
        assert widened.gates is not None
        assert torch.equal(widened.gates, held + wider)
        assert widened.widened == 1
    ctx.run.close()


@pytest.mark.parametrize(("answered", "closed"), [(0.95, True), (0.98, False)])
def test_a_closure_check_counts_errors_twice(
    answered: float, closed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = workbench(tmp_path, planted_data("own", 80), settings(round={"fresh": 1, "closed": 0.3}))
    measured = SwapMeasurement("pixels", "place", (9, 9), (1, 1), (0.35, 0.35), (0, 0), 0.1, answered=answered)
    monkeypatch.setattr(closure, "probe_representation", lambda *_: ProbeResult(measured, Decision(True, "")))
    swap = Swap(ctx.codec("pixels"), torch.ones(80, 1, 4, 4))
    site = Site("", Readout("classes", ctx.network()), "round")
    found = closure.check_closure(ctx, site, [swap])
    assert found.closed == closed
    assert found.score == pytest.approx(0.35 - 2 * (1 - answered))
    ctx.run.close()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_a_network_does_without_the_place_that_the_user_names_and_the_rule_would_leave(
    seed: int, tmp_path: Path, hasty_merges: None
) -> None:
    data = planted_data("own", seed=seed, contrast=0.2)
    named = {"exchange": "0.66,0.66,1,1", "limit": 1, "interchangeable": 9.0}
    ctx = workbench(tmp_path, data, settings(seed=seed, network=QUICK, concepts=COARSE, round=named))
    with ctx.run:
        learned = run_learner(ctx)
    (ended,), (swap,) = learned.rounds, learned.swaps
    assert ended.decision == "kept"
    assert ended.reason.startswith("pixels: the user decided to exchange 0.66,0.66,1,1; the rule would refuse it: ι ")
    assert ended.merged is not None
    opened = swap.open_gate(torch.arange(len(data.train)), ctx.size, ctx.device)
    assert opened is not None
    assert not (data.train.masks["patch"][:, None].bool() & ~opened).any(), "all of the patch"
    assert 0.12 < float(opened.double().mean()) < 0.18, "and little else"
    before, after = accuracy(learned.ordinary, data), accuracy(learned.network, data)
    assert before["conflict"] < 0.1
    assert min(after["conflict"], after["absent"]) > 0.85
