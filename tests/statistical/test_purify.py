"""Gates that hold a cue and a part of the object, gates found by a network that sees nothing outside of these, and the
side of the gates that is exchanged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from planted import QUICK, accuracy, cast, images_with, planted_data, settings, workbench
from torch import Tensor
from torch.nn import functional

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.results.report import round_record
from conceptnet_ml.results.round_pictures import draw_rounds
from conceptnet_ml.steps import generalize as generalize_step
from conceptnet_ml.steps import purify as purify_step
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.gates import probe_representation
from conceptnet_ml.steps.generalize import generalize, train_views
from conceptnet_ml.steps.purify import _read, purify, rests_outside, turn
from conceptnet_ml.steps.records import Learned, ProbeResult, Round, Site
from conceptnet_ml.swap.interchangeability import SwapMeasurement
from conceptnet_ml.swap.representation import open_cells
from conceptnet_ml.swap.stop_rule import Decision
from conceptnet_ml.swap.views import Swap

CONTRAST = 0.14
"""Of the object, a bar: plain enough to be learned in a while, and the patch is plainer."""


KEPT = ProbeResult(SwapMeasurement("pixels", "place", (9, 9), (1, 1), (1, 1), (0, 0), 0.1), Decision(True, ""))


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
    chosen = settings(
        seed=seed,
        network=QUICK,
        training={"batch": 32, "rate": 0.05},
        round={"purify": 2},
        probe={"dreamt": 0},
    )
    ctx = workbench(tmp_path, data, chosen)
    ordinary = ctx.train("ordinary", ctx.network(), ctx.views(ctx.fit, []), 8, 0.05)
    site = Site("", Readout("classes", ordinary), "probe")
    probed = probe_representation(ctx, site, ctx.codec("pixels"))
    both = (patch | upper_half(bar))[:, None].float()
    mixed = Swap(ctx.codec("pixels"), functional.adaptive_max_pool2d(both, 16), name="mixed")
    assert mixed.gates is not None
    nothing = replace(mixed, gates=torch.zeros_like(mixed.gates))
    assert _read(ctx, site, mixed) > 0.8, "the network answers by the patch and half of the bar, and not by chance"
    assert _read(ctx, site, nothing) < 0.65
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


def test_a_probe_says_whether_anything_was_exchanged_before_and_by_what_it_is_judged(tmp_path: Path) -> None:
    ctx = workbench(tmp_path, planted_data("own", 80), settings())
    network, swap = ctx.network(), Swap(ctx.codec("pixels"), torch.ones(80, 1, 4, 4))
    for name, swaps in (("first", []), ("second", [Swap(ctx.codec("colour"), None)]), ("third", [swap])):
        site = Site("", Readout("classes", network, swaps=swaps), name)
        places, colour = (probe_representation(ctx, site, ctx.codec(one)).measured for one in ("pixels", "colour"))
        assert places.later == colour.later == bool(swaps)
        assert colour.in_part
        assert not places.in_part
    ctx.run.close()


def told(share: float) -> Tensor:
    """What a network tells of each of the held-out images: the same of all."""
    return torch.full((40,), share, dtype=torch.float64)


@pytest.mark.parametrize(("learned", "taken"), [((0.98, 0.96), 2), ((0.95, 0.87), 0)])
def test_gates_that_lost_a_part_of_the_cue_are_not_taken(
    learned: tuple[float, float], taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = workbench(tmp_path, planted_data("own", 80), settings(round={"purify": 2}))
    site, steps = Site("", Readout("classes", ctx.network()), "round"), iter(learned)
    found = [Swap(ctx.codec("pixels"), torch.ones(80, 1, 4, 4), name=name) for name in ("mixed", "first", "second")]
    turns = iter(found[1:])
    monkeypatch.setattr(purify_step, "train_cue", lambda *args: (ctx.network(), told(next(steps))))
    monkeypatch.setattr(purify_step, "swap_of", lambda *args: next(turns))
    assert purify(ctx, site, found[0], KEPT).gates is found[taken].gates
    ctx.run.close()


@pytest.mark.parametrize(("reads", "taken"), [((1.0, 0.9, 0.61), 2), ((1.0, 0.9, 0.59), 1), ((1.0, 0.6), 0)])
def test_gates_by_which_the_probed_network_no_longer_answers_are_not_taken(
    reads: tuple[float, ...], taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left tells the class as well: of two stickers the one that is there or not."""
    ctx = workbench(tmp_path, planted_data("own", 80), settings(round={"purify": 2}))
    site = Site("", Readout("classes", ctx.network()), "round")
    found = [Swap(ctx.codec("pixels"), torch.ones(80, 1, 4, 4), name=name) for name in ("mixed", "first", "second")]
    turns, read = iter(found[1:]), {id(swap.gates): share for swap, share in zip(found, reads, strict=False)}
    monkeypatch.setattr(purify_step, "train_cue", lambda *args: (ctx.network(), told(1.0)))
    monkeypatch.setattr(purify_step, "swap_of", lambda *args: next(turns))
    monkeypatch.setattr(purify_step, "_read", lambda ctx, site, swap: read[id(swap.gates)])
    assert purify(ctx, site, found[0], KEPT).gates is found[taken].gates
    ctx.run.close()


def on_coloured_grounds(count: int, seed: int, turned: bool = False) -> ImageSet:
    """Bars in noise of which the ground, but not the bar, has a colour that tells the class, or the other one."""
    bare, without = (images_with("none", count, seed, contrast) for contrast in (CONTRAST, 0.0))
    bar = (bare.images.int() - without.images.int()).abs().amax(1, keepdim=True) > 3
    shown = 1 - bare.labels if turned else bare.labels
    ground = (cast(bare.images.float() / 255, shown).clamp(0, 1) * 255).round().to(torch.uint8)
    return ImageSet(torch.where(bar, bare.images, ground), bare.labels, {"bar": bar[:, 0].to(torch.uint8)})


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_where_the_class_hangs_on_the_ground_that_is_exchanged(seed: int, tmp_path: Path) -> None:
    tests = {"test": on_coloured_grounds(200, 10 + seed), "conflict": on_coloured_grounds(200, 20 + seed, turned=True)}
    data = Data("grounds", ("lying", "standing"), on_coloured_grounds(320, seed), tests)
    chosen = settings(
        seed=seed,
        network=QUICK,
        training={"batch": 32, "rate": 0.05},
        round={"epochs": 12},
    )
    ctx = workbench(tmp_path, data, chosen)
    ordinary = ctx.train("ordinary", ctx.network(), ctx.views(ctx.fit, []), 6, 0.05)
    site = Site("", Readout("classes", ordinary), "round")
    bars = Swap(ctx.codec("pixels"), functional.adaptive_max_pool2d(data.train.masks["bar"][:, None].float(), 16))
    outside, reason = rests_outside(ctx, site, bars, bars, KEPT)
    assert outside, reason
    turned = turn(replace(bars, grow=1, again=0.5))
    assert (turned.outside, turned.grow, turned.again) == (True, 0, 0.0)
    learned = train_views(ctx, "round", Learned(ordinary, ordinary), turned).network
    before, after = accuracy(ordinary, data), accuracy(learned, data)
    assert before["conflict"] < 0.3
    assert after["conflict"] > 0.8
    told = Round("round", "", 1, site.readout, [], [KEPT], "kept", chosen=KEPT, swap=turned)
    assert round_record(told)["exchanged"] == "outside the gates"
    assert draw_rounds(ctx, [told])["round"] == ["pictures/round-swaps.png"]
    ctx.run.close()


def test_where_the_class_hangs_on_what_is_inside_nothing_is_turned(tmp_path: Path) -> None:
    data = planted_data("own", 320)
    chosen = settings(network=QUICK, training={"batch": 32, "rate": 0.05})
    ctx = workbench(tmp_path, data, chosen)
    ordinary = ctx.train("ordinary", ctx.network(), ctx.views(ctx.fit, []), 6, 0.05)
    site = Site("", Readout("classes", ordinary), "round")
    patch = functional.adaptive_max_pool2d(data.train.masks["patch"][:, None].float(), 16)
    swap = Swap(ctx.codec("pixels"), patch)
    assert rests_outside(ctx, site, swap, swap, KEPT) == (False, "")
    half = patch * (torch.arange(patch[0].numel()).view(16, 16) % 2)  # the other half of the cue is outside
    part = Swap(ctx.codec("pixels"), half)
    assert rests_outside(ctx, site, part, part, KEPT)[0]
    told = replace(KEPT, measured=replace(KEPT.measured, told=0.9))
    assert rests_outside(ctx, site, part, part, told) == (False, ""), "it errs as a cue with exceptions does"
    outside, reason = rests_outside(ctx, site, part, swap, KEPT)
    assert not outside
    assert "outside the widened ones" in reason
    ctx.run.close()


def test_of_few_held_out_images_a_round_whose_class_hangs_on_the_outside_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = settings(network=QUICK, round={"purify": 0, "epochs": 1}, probe={"dreamt": 0})
    ctx = workbench(tmp_path, planted_data("own", 80), few)
    network = ctx.network()
    monkeypatch.setattr(generalize_step, "close", lambda ctx, site, swaps, swap, probed: (swap, ()))
    monkeypatch.setattr(generalize_step, "rests_outside", lambda *_: (True, "the signs"))
    site = Site("block3", Readout("classes", network), "block3/classes/1")
    ended = generalize(ctx, Learned(network, network), site, [], KEPT)
    assert (ended.keep, ended.trained, ended.probed.decision.keep) == (False, None, False)
    assert f"of {len(ctx.held)} held-out images, too few to tell which side is meant" in ended.reason
    ctx.run.close()


@pytest.mark.parametrize(
    ("side", "found", "outside"),
    [("outside", False, True), ("inside", True, False), ("", True, True), ("", False, False)],
)
def test_the_side_is_the_users_or_the_one_that_was_found(
    side: str, found: bool, outside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = (f"block3/classes/1/pixels:{side}",) if side else ()
    ctx = workbench(
        tmp_path,
        planted_data("own", 80),
        settings(network=QUICK, round={"keep": keep, "purify": 0, "epochs": 1}, probe={"dreamt": 0}),
    )
    network = ctx.network()
    site, widened = Site("block3", Readout("classes", network), "block3/classes/1"), []

    def close(ctx: Context, site: Site, swaps: list[Swap], swap: Swap, probed: ProbeResult) -> tuple[Swap, tuple[()]]:
        widened.append(swap)
        return replace(swap, widened=1), ()

    monkeypatch.setattr(generalize_step, "close", close)
    monkeypatch.setattr(generalize_step, "rests_outside", lambda *_: (found, "the signs"))
    monkeypatch.setattr(generalize_step, "FEW", 0)  # of fewer held-out images than that nothing outside is exchanged
    monkeypatch.setattr(generalize_step, "_spares", lambda *_: True)
    monkeypatch.setattr(
        generalize_step,
        "_open_places",
        lambda ctx, learned, site, swap, probed, trained: (replace(swap, name="opened"), trained, "; opened"),
    )
    ended = generalize(ctx, Learned(network, network), site, [], KEPT)
    swap = ended.swap
    assert swap is not None
    said = f"the user decided to exchange what is {side} the gates" if side else "the signs"
    assert said in ended.reason
    assert swap.outside == outside
    assert ("; opened" in ended.reason) == (swap.name == "opened") == (not side), (
        "a side that is asked for stays as it is"
    )
    assert bool(widened) == (side != "outside"), "nothing is widened where the user wants the outside"
    assert swap.widened == (0 if outside else 1), "the gates of before are turned, not the widened ones"
    if outside:
        assert (swap.grow, swap.again) == (0, 0.0)
    ctx.run.close()
