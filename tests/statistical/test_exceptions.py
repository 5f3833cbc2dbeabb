"""A network that is trained to read what contradicting images show reads a cue with exceptions, and not the object."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from planted import COARSE, QUICK, accuracy, planted_data, settings, workbench

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.learner import run_learner
from conceptnet_ml.steps import generalize
from conceptnet_ml.steps.closure import close
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.exceptions import _Read, _Readers, clearest, read_exceptions, read_views
from conceptnet_ml.steps.gates import gates
from conceptnet_ml.steps.purify import purify, rests_outside
from conceptnet_ml.steps.records import Learned, Outcome, ProbeResult, Site
from conceptnet_ml.swap.interchangeability import SwapMeasurement
from conceptnet_ml.swap.stop_rule import USER, Decision
from conceptnet_ml.swap.views import DrawnViews, Swap

ERRS = ProbeResult(
    SwapMeasurement("pixels", "place", (9, 9), (1, 1), (1, 1), (0, 0), 0.1, answered=0.96),
    Decision(False, "it errs", undecided=True),
)
REFUSED = [Outcome(ERRS, False, "it errs")]


CONTRAST = 0.12
"""Of the bar: plain enough to be learned in a while, and the patch is plainer."""


def with_exceptions(count: int = 480, seed: int = 0, every: int = 40, contrast: float = CONTRAST) -> Data:
    """Bars, and patches of which one in twenty says the other class."""
    data, other = (planted_data(cue, count, seed, contrast) for cue in ("own", "other"))
    contradicts = (torch.arange(count) % every == 0) | (torch.arange(count) % every == every // 2 + 1)
    images = torch.where(contradicts[:, None, None, None], other.train.images, data.train.images)
    return replace(data, train=ImageSet(images, data.train.labels, data.train.masks))


def bench(folder: Path, data: Data, **chosen: object) -> Context:
    return workbench(folder, data, settings(network=QUICK, training={"batch": 32, "rate": 0.05}, **chosen))


SIDES = ("places", "rest", "first")
"""Of whom readers learn first."""


def read_by(folder: Path, data: Data, side: str, only: pytest.MonkeyPatch) -> dict[str, float]:
    """The accuracy of the last reader, nothing where nobody reads, if the first ones learn from what the places take
    over, which are the patch's; from what they leave, which are the bar's; or from what is learned first alone."""
    ctx = bench(folder, data)
    places = torch.zeros(len(data.train), 1, 4, 4)
    places[:, :, -1, -1] = 1
    swap = None if side == "first" else Swap(ctx.codec("pixels"), places if side == "places" else 1 - places)
    site = Site("", Readout("classes", ctx.network()), "round")
    with only.context() as patched:
        if side != "first":
            patched.setattr(_Readers, "_by_what_is_first", lambda _: None)
        found = _Readers(ctx, site, swap).read(ctx.network())
    ctx.run.close()
    if found is None:
        return {}
    assert found.told > 0.8
    return accuracy(found.network, data)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_what_contradicting_images_show_is_read_alone(
    seed: int, side: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the two the places hold, also where the bar is as easy as the patch."""
    contrast = CONTRAST if side == "first" else 0.5
    right = read_by(tmp_path, with_exceptions(seed=seed, contrast=contrast), side, monkeypatch)
    assert right["conflict"] < 0.1, "it answers by the patch"
    assert right["absent"] < 0.6, "and not by the bar"


def test_the_last_reader_of_a_network_with_trained_weights_has_its_stages(tmp_path: Path) -> None:
    """Those before are asked only what they say, and are the default network."""
    data = with_exceptions(contrast=0.5)
    given = bench(tmp_path / "given", data)
    torch.save(given.network().model.state_dict(), file := tmp_path / "given.pt")
    given.run.close()
    ctx = workbench(
        tmp_path / "run",
        data,
        settings(
            network={**QUICK, "weights": str(file), "keep_statistics": False},
            training={"batch": 32, "head_epochs": 0, "rate": 0.05},
        ),
    )
    places = torch.zeros(len(data.train), 1, 4, 4)
    places[:, :, -1, -1] = 1
    readers = _Readers(ctx, Site("", Readout("classes", ctx.network()), "round"), Swap(ctx.codec("pixels"), places))
    found = readers.read(ctx.network())
    assert found is not None
    assert found.network.stage_names == ctx.network().stage_names
    shapes = [[value.shape for value in net.parameters()] for net in (found.network, ctx.network(), ctx._small())]
    assert shapes[0] == shapes[1] != shapes[2]
    assert accuracy(found.network, data)["conflict"] < 0.1, "it answers by the patch"
    ctx.run.close()


@pytest.mark.parametrize("contrast", [CONTRAST, 0.5])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_an_object_is_no_cue(seed: int, contrast: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that is hard to see, nor one that is easy, from whatever readers learn first."""
    data = planted_data("none", 480, seed, contrast)
    for side in SIDES:
        assert not read_by(tmp_path / side, data, side, monkeypatch)


@pytest.mark.parametrize(("last", "tells", "found"), [(0.9, 1.0, True), (0.6, 1.0, False), (0.71, 0.8, True)])
def test_where_the_surest_first_reader_comes_to_nothing_the_next_is_followed(
    last: float, tells: float, found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that is not half as sure as is asked is not. What it does not tell, exceptions, does not count."""
    ctx = bench(tmp_path, planted_data("own", 80))
    network, taught = ctx.network(), list[str]()
    readers = _Readers(ctx, Site("", Readout("classes", network), "round"), None)
    sure = {"places-1": 0.6, "places-2": 0.7, "places-3": 0.65, "rest-1": 0.5, "rest-2": 0.6, "rest-3": last}

    def read(certainty: float) -> _Read:
        return _Read(network, torch.zeros(80, 2), tells, certainty, 20)

    def by(before: _Read, other: _Read | None, at: str) -> _Read:
        taught.append(at.rpartition("/")[2])
        return read(sure.get(taught[-1], 0.1))

    for start in ("_by_places", "_by_the_rest", "_by_what_is_first"):
        monkeypatch.setattr(readers, start, lambda *_: read(0.0))
    monkeypatch.setattr(readers, "_taught", by)
    assert (readers.read(network) is not None) is found
    assert taught == ["places-1", "rest-1", "first-1", "places-2", "places-3", "rest-2", "rest-3"]
    ctx.run.close()


@pytest.mark.parametrize(("reads", "trained"), [(0.75, ["train-64"]), (1.0, ["train-64", "train-128", "train"])])
def test_what_is_learned_first_is_asked_as_soon_as_it_tells_enough(
    reads: float, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many images three epochs are long enough to learn the object, too: the first network then names few of those
    that contradict the cue, and its readers are not sure."""
    data = with_exceptions(2048)
    ctx = bench(tmp_path, data, round={"reads": reads})
    readers, names = _Readers(ctx, Site("", Readout("classes", ctx.network()), "round"), None), list[str]()
    train = ctx.train

    def noted(name: str, *given: Any, **more: Any) -> Any:
        names.append(name.rpartition("/")[2])
        return train(name, *given, **more)

    monkeypatch.setattr(ctx, "train", noted)
    first = readers._by_what_is_first()
    ctx.run.close()
    assert names == trained
    if reads < 1:
        assert accuracy(first.network, data)["conflict"] < 0.1, "it answers by the patch"


def test_a_reader_is_not_taught_what_both_sides_miss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = bench(tmp_path, planted_data("own", 80))
    network, seen = ctx.network(), list[DrawnViews]()
    readers = _Readers(ctx, Site("", Readout("classes", network), "round"), None)

    def says(classes: torch.Tensor) -> _Read:
        return _Read(network, (0.01 + 0.98 * torch.nn.functional.one_hot(classes, 2)).log(), 1.0, 1.0, 20)

    def train(name: str, network: object, views: DrawnViews, *rest: object) -> object:
        seen.append(views)
        return network

    monkeypatch.setattr(ctx, "train", train)
    monkeypatch.setattr(readers, "_judged", lambda *_: None)
    wrong = readers.labels.clone()
    wrong[0] = 1 - wrong[0]
    for other in (says(readers.labels), says(wrong), None):
        readers._taught(says(wrong), other, "at")
    assert [bool(views.weights[0] > 0) for views in seen] == [True, False, True]
    ctx.run.close()


def test_nobody_is_asked_where_it_would_not_help(tmp_path: Path) -> None:
    ctx = bench(tmp_path, planted_data("own", 80))
    network = ctx.network()
    site, learned = Site("", Readout("classes", network), "round"), Learned(network, network)
    patch = Swap(ctx.codec("pixels"), torch.ones(80, 1, 4, 4), outside=True)
    exact = replace(ERRS, measured=replace(ERRS.measured, answered=1.0))
    decided = replace(ERRS, decision=replace(ERRS.decision, evidence=USER))
    for at, probed in (
        (replace(site, readout=replace(site.readout, told=0.9)), ERRS),  # such a network was asked
        (replace(site, readout=replace(site.readout, elementary=3)), ERRS),  # below the top
        (replace(site, readout=replace(site.readout, swaps=[patch])), ERRS),
        (replace(site, number=ctx.settings.round.limit), ERRS),  # there is no next round
        (site, exact),
        (site, decided),
    ):
        assert read_exceptions(ctx, learned, at, [Outcome(probed, False, "")]) is None
    assert not (tmp_path / "run" / "steps").exists(), "nothing was trained"
    ctx.run.close()


def test_what_contradicts_by_little_is_left_out() -> None:
    shares = torch.tensor([[0.9, 0.1], [0.45, 0.55], [0.1, 0.9], [0.3, 0.7], [0.2, 0.8]])
    assert sorted(clearest(shares.log(), torch.tensor([0, 0, 0, 0, 1])).tolist()) == [0, 2, 3, 4]


def test_images_are_drawn_by_their_weights_under_other_labels(tmp_path: Path) -> None:
    ctx = bench(tmp_path, planted_data("own", 80))
    weights = torch.zeros(len(ctx.fit))
    weights[[3, 5]] = torch.tensor([1.0, 3.0])
    draw = DrawnViews(ctx.views(ctx.fit, []), weights, 1 - ctx.labels[ctx.fit])
    images, told = draw(torch.arange(400), ctx.generator("draw"))
    raw = ctx.views(ctx.fit, []).raw(ctx.fit[[3, 5]])
    mine = [(images == one).flatten(1).all(1) for one in raw]
    assert bool((mine[0] | mine[1]).all())
    assert 0.68 < float(mine[1].double().mean()) < 0.82
    for place, shown in zip((3, 5), mine, strict=True):
        assert bool((told[shown] == 1 - ctx.labels[ctx.fit[place]]).all())
    ctx.run.close()


def test_a_round_shows_each_class_what_the_cue_says_as_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two cues, too; as far as one is left in the views; and of none the images as they are."""
    ctx = bench(tmp_path, planted_data("own", 80))
    first, second = ctx.labels.clone(), ctx.labels.clone()
    first[ctx.fit[::3]], second[ctx.fit[::4]] = 1 - ctx.labels[ctx.fit[::3]], 1 - ctx.labels[ctx.fit[::4]]
    labels = ctx.labels[ctx.fit]
    shown = [one[ctx.fit] for one in (first, second, 2 * first + second)]  # either class has every pair
    left = {"round/left-1": 0.2, "round/left": 1.0}
    monkeypatch.setattr(generalize, "read_views", lambda ctx, name, swaps, says: (None, left[name]))
    drawn = generalize.round_views(ctx, "round", [], [first, second])
    assert isinstance(drawn, DrawnViews)
    for one in shown:
        for sort in one.unique():
            shares = [float(drawn.weights[(one == sort) & (labels == c)].sum()) for c in labels.unique()]
            assert shares == pytest.approx([shares[0]] * len(shares))
    left |= {"round/left": 0.0, "round/left-1": 0.5}
    halfway = generalize.round_views(ctx, "round", [], [first, second])
    assert isinstance(halfway, DrawnViews)
    assert halfway.weights.tolist() == pytest.approx((0.75 * drawn.weights + 0.25 / len(labels)).tolist())
    assert not isinstance(generalize.round_views(ctx, "round", [], []), DrawnViews)
    ctx.run.close()


def contradicted(ctx: Context) -> torch.Tensor:
    """What the patches of :func:`with_exceptions` say of every image."""
    says = ctx.labels.clone()
    says[::40], says[21::40] = 1 - ctx.labels[::40], 1 - ctx.labels[21::40]
    return says


def test_what_is_left_of_a_cue_in_views_is_told_and_its_gates_are_widened(tmp_path: Path) -> None:
    """A part of the patch is left beside a narrow gate, and a network that cannot use the bar finds it."""
    ctx = bench(tmp_path, with_exceptions(), concepts=COARSE)
    says, grid = contradicted(ctx), ctx.codec("pixels")
    half, whole = torch.zeros(2, len(ctx.labels), 1, 16, 16)
    half[..., 14:, 11:], whole[..., 11:, 11:] = 1, 1
    assert read_views(ctx, "none", [], says)[1] > 0.8
    assert read_views(ctx, "whole", [Swap(grid, whole)], says)[1] < 0.35
    network = ctx.network()
    site = Site("", Readout("classes", network, told=0.9, says=says), "round")
    told = replace(ERRS, measured=replace(ERRS.measured, told=0.9), decision=Decision(True, ""))
    swap, checks = close(ctx, site, [], Swap(grid, half), told)
    assert not checks[0].closed
    assert swap.widened
    assert swap.gates is not None
    opened = swap.gates[whole.bool() & ~half.bool()].mean(), swap.gates[~whole.bool() & ~half.bool()].mean()
    assert opened[0] > 3 * opened[1], "where the patch is, sooner than where the bar may be"
    assert read_views(ctx, "widened", [swap], says)[1] < checks[0].score
    ctx.run.close()


def test_a_reader_is_neither_purified_nor_closed_by_the_rule_and_its_gates_are_as_tight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = bench(tmp_path, planted_data("own", 80), round={"purify": 2, "closures": 2})
    site = Site("", Readout("classes", ctx.network(), told=0.9), "round")
    swap = Swap(ctx.codec("pixels"), torch.ones(80, 1, 4, 4))
    probed = replace(ERRS, measured=replace(ERRS.measured, told=0.9), decision=Decision(True, ""))
    assert purify(ctx, site, swap, probed) is swap
    assert close(ctx, site, [], swap, probed) == (swap, ())
    assert rests_outside(ctx, site, swap, swap, probed) == (False, "")
    assert not list((tmp_path / "run").glob("steps/*")), "nobody else was asked"
    prices: list[float | None] = []

    def prober(readout: Readout, codec: object, price: float | None = None, steps: int | None = None) -> None:
        prices.append(price)
        raise InterruptedError

    monkeypatch.setattr(ctx, "prober", prober)
    for told in (0.9, None):
        with pytest.raises(InterruptedError):
            gates(ctx, replace(site, readout=replace(site.readout, told=told)), swap.codec)
    assert prices == [ctx.settings.probe.view_price] * 2
    ctx.run.close()


def test_the_next_round_asks_the_reader_and_says_so(tmp_path: Path) -> None:
    ctx = bench(
        tmp_path,
        with_exceptions(960),
        concepts=COARSE,
        plugins={"representations": ["colour", "pixels"]},
        probe={"dreamt": 0},
        round={"epochs": 16, "limit": 2, "places": 9.0, "interchangeable": 2.0},  # the rule alone keeps nothing
    )
    learned = run_learner(ctx)
    first, second = learned.rounds
    assert (first.decision, second.decision) == ("leaf", "kept"), second.reason
    assert first.readout.told is None
    assert second.readout.told is not None
    assert second.swap is not None
    assert second.swap.codec.name == "pixels"
    assert "contradicting images" in second.reason
    assert accuracy(learned.network, ctx.data)["conflict"] > accuracy(learned.ordinary, ctx.data)["conflict"] + 0.2
    ctx.run.close()


def test_wrong_labels_are_no_cue(tmp_path: Path) -> None:
    """One label in twenty is wrong: the object tells the others, and whoever reads it is sure of what contradicts it.
    It may be taken for a cue with exceptions then, but no network is left without it."""
    data = planted_data("none", 960, contrast=0.5)
    labels = data.train.labels.clone()
    labels[::40] = 1 - labels[::40]
    labels[21::40] = 1 - labels[21::40]
    ctx = bench(
        tmp_path,
        replace(data, train=ImageSet(data.train.images, labels, data.train.masks)),
        concepts=COARSE,
        plugins={"representations": ["colour", "pixels"]},
        probe={"dreamt": 0},
        round={"epochs": 16, "limit": 2},
    )
    learned = run_learner(ctx)
    assert not any(one.decision == "kept" for one in learned.rounds), [one.reason for one in learned.rounds]
    assert accuracy(learned.network, ctx.data)["absent"] > 0.9
    ctx.run.close()
