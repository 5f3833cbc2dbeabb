"""Methods that learn from dreams: what they share, each by hand-computed values, and what a dream changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from two_convolutions import draw, network

from conceptnet_ml.contract.baseline_kind import small_context
from conceptnet_ml.errors import PluginError, SettingsError
from conceptnet_ml.evaluation.baselines import BaselineContext, baseline_of, check_baselines
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.records import Baseline
from conceptnet_ml.steps.context import Context
from conceptnet_plugins.baselines import clouds_to_cars, dream_datasets
from conceptnet_plugins.baselines.dreamed import beside, donated, dreamed
from conceptnet_plugins.dreamers import deepdream, swap

PLUGINS = load_plugins(use_entry_points=False)


def context_of(ctx: Context, method: str) -> BaselineContext:
    record, argument = baseline_of(method, PLUGINS)
    return BaselineContext(ctx, record, ctx.network(), 1, argument=argument)


def logits(context: BaselineContext, images: Tensor) -> Tensor:
    return context.ordinary(images.float() / 255).detach()


# ----------------------------------------------------------------------------------------------------- what they share


def test_dreams_rise_toward_their_class_and_what_is_of_it_stays_as_it_is(tmp_path: Path) -> None:
    context = context_of(small_context(tmp_path, PLUGINS), "clouds-to-cars")
    plain = context.plain
    images, labels = plain.images.take(plain.pool), plain.images.labels[plain.pool]
    targets = torch.ones_like(labels)
    found = dreamed(context, "it", context.ordinary, plain, targets, deepdream.recipe())
    assert found.dtype == torch.uint8
    assert torch.equal(found[labels == 1], images[labels == 1])
    before, after = (logits(context, some[labels == 0])[:, 1] for some in (images, found))
    assert (after > before).all()


def test_an_exchange_shows_what_its_image_and_a_donor_of_the_class_hold(tmp_path: Path) -> None:
    context = context_of(small_context(tmp_path, PLUGINS), "dream-datasets")
    plain = context.plain
    images, labels = plain.images.take(plain.pool).int(), plain.images.labels[plain.pool]
    donors = donated(context, "it", plain, 1 - labels)
    assert torch.equal(plain.images.labels[donors], 1 - labels)
    assert len(donors.unique()) > 10
    recipe = replace(swap.recipe(), steps=6)
    found = dreamed(context, "it", context.ordinary, plain, 1 - labels, recipe).int()
    other = plain.images.take(donors).int()
    assert ((found >= torch.minimum(images, other) - 1) & (found <= torch.maximum(images, other) + 1)).all()
    assert (found != images).any()


def test_views_beside_views_show_either_as_often() -> None:
    def flat(value: float) -> Any:
        return lambda indices, generator: (torch.full((len(indices), 3, 2, 2), value), indices % 2)

    make = beside(flat(0.0), flat(1.0))
    found, labels = make(torch.arange(400), draw())
    shown = found.flatten(1)
    assert (shown == shown[:, :1]).all()
    assert 0.4 < float(shown[:, 0].mean()) < 0.6
    assert torch.equal(labels, torch.arange(400) % 2)


# --------------------------------------------------------------------------------------------- clouds turned into cars


def test_a_climb_goes_toward_the_class_in_steps_of_one_size_and_leaves_the_network_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net, images = network().train(), 0.3 + 0.4 * torch.rand(4, 3, 8, 8, generator=draw())
    found = clouds_to_cars.climb(net, images, torch.ones(4, dtype=torch.int64))
    before, after = (net(some).log_softmax(1)[:, 1].detach() for some in (images, found))
    assert (after > before).all()
    assert not found.requires_grad
    assert net.training
    assert all(parameter.grad is None for parameter in net.parameters())
    monkeypatch.setattr(clouds_to_cars, "STEPS", 1)
    moved = clouds_to_cars.climb(net, images, torch.ones(4, dtype=torch.int64)) - images
    assert torch.allclose(moved.abs().mean((1, 2, 3)), torch.full((4,), clouds_to_cars.STEP), rtol=1e-3)


def test_dreams_have_their_images_label_and_no_class_counts_more_than_before(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    images, labels = torch.rand(3, 3, 8, 8, generator=draw()), torch.tensor([0, 1, 1])
    dreams = torch.rand(2, 3, 8, 8, generator=draw(1))
    monkeypatch.setattr(clouds_to_cars, "climb", lambda network, some, into: dreams if not into.any() else some[:0])
    losses = functional.cross_entropy(net(torch.cat([images, dreams])), torch.tensor([0, 1, 1, 1, 1]), reduction="none")
    whole = (losses * torch.tensor([1, 0.5, 0.5, 0.5, 0.5])).sum() / 3
    assert torch.allclose(clouds_to_cars.against_dreams(0, net, images, labels), whole)


def test_a_batch_of_the_class_alone_has_no_dreams() -> None:
    net, images, labels = network(), torch.rand(2, 3, 8, 8, generator=draw()), torch.tensor([1, 1])
    loss = clouds_to_cars.against_dreams(1, net, images, labels)
    assert torch.allclose(loss, functional.cross_entropy(net(images), labels))


def test_who_learned_against_dreams_is_not_led_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bright images, .2 above dark ones, are taken for dark ones after a climb of .15, unless that was learned against;
    without steps in training nothing is."""
    labels = torch.arange(16) % 2
    images = 0.4 + 0.2 * labels[:, None, None, None] + 0.01 * torch.rand(16, 3, 8, 8, generator=draw())
    monkeypatch.setattr(clouds_to_cars, "STEP", 0.03)
    led = {}
    for steps in (5, 0):
        monkeypatch.setattr(clouds_to_cars, "STEPS", steps)
        net = network().train()
        optimizer = torch.optim.Adam(net.parameters(), 0.05)
        for _ in range(40):
            optimizer.zero_grad()
            clouds_to_cars.against_dreams(0, net, images, labels).backward()
            optimizer.step()
        assert (net(images).argmax(1) == labels).all()
        monkeypatch.setattr(clouds_to_cars, "STEPS", 5)
        dreams = clouds_to_cars.climb(net, images[labels == 1], torch.zeros(8, dtype=torch.int64))
        led[steps] = float((net(dreams).argmax(1) == 0).double().mean())
    assert led == {5: 0.0, 0: 1.0}


def test_the_literal_form_never_sees_the_others_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = context_of(small_context(tmp_path, PLUGINS), "clouds-to-cars-literal:bright")
    shown: list[Any] = []
    monkeypatch.setattr(context, "train", lambda name, net, views, epochs: shown.append(views) or net)
    clouds_to_cars.literal(context)
    images, labels = shown[0](torch.arange(len(context.plain)), draw())
    same = (images == context.plain.raw(context.plain.pool)).flatten(1).all(1)
    assert torch.equal(same, labels == 1)


# -------------------------------------------------------------------------------------------------- data sets of dreams


@pytest.mark.parametrize("alone", [True, False])
def test_each_data_set_is_dreamed_from_the_one_before_by_the_network_that_learned_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    ctx = small_context(tmp_path, PLUGINS)
    context = context_of(ctx, "dream-datasets:3")
    seen, trained = [], []

    def dream(context: Any, name: str, network: nn.Module, views: Any, targets: Tensor, recipe: Any) -> Tensor:
        images, labels = views(torch.arange(len(views)), draw())
        assert (labels != targets).all()
        seen.append((network, float(images.mean())))
        return torch.full_like(context.plain.images.take(context.plain.pool), 10 * len(seen))

    def train(name: str, network: nn.Module, views: Any, epochs: int) -> nn.Module:
        images, _ = views(torch.arange(len(context.plain)), draw())
        trained.append((network, (images * 255).round()))
        return network

    monkeypatch.setattr(dream_datasets, "dreamed", dream)
    monkeypatch.setattr(context, "train", train)
    last = dream_datasets.generations(context, swap.recipe(), alone)
    assert [one for one, _ in seen] == [context.ordinary, *(one for one, _ in trained[:2])]
    assert [round(255 * mean) for _, mean in seen[1:]] == [10, 20]
    for number, (_, images) in enumerate(trained, 1):
        share = float((images == 10 * number).flatten(1).all(1).double().mean())
        assert share == 1 if alone else 0.2 < share < 0.8
    assert last is trained[-1][0]
    told = [line for line in ctx.run.metrics() if line["event"] == "measured"]
    assert [(line["method"], line["name"]) for line in told] == [("dream-datasets:3", f"train-{n}") for n in (1, 2, 3)]


# ------------------------------------------------------------------------------------------ arguments, and what is told


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        ("longer:3", "takes no argument '3'"),
        ("dream-datasets:", "no count from 1"),
        ("dream-datasets:0", "no count from 1"),
        ("dream-datasets:many", "no count from 1"),
        ("clouds-to-cars:cloud", "no class 'cloud'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(method: str, wrong: str, tmp_path: Path) -> None:
    ctx = small_context(tmp_path, PLUGINS)
    with pytest.raises(SettingsError, match=wrong):
        check_baselines([method], PLUGINS, ctx.data)
    check_baselines(["dream-datasets", "dream-datasets:12", "clouds-to-cars:bright"], PLUGINS, ctx.data)


def test_a_record_takes_an_argument_of_a_known_kind() -> None:
    with pytest.raises(PluginError, match="argument is 'number'"):
        Baseline(name="it", api="1", fit="a:b", argument="number")


def test_figures_and_notes_are_told_once_and_the_seed_is_the_methods_own(tmp_path: Path) -> None:
    ctx = small_context(tmp_path, PLUGINS)
    one, other = (context_of(ctx, f"dream-datasets:{times}") for times in (2, 3))
    assert one.seed("it") != other.seed("it")
    for _ in range(2):
        assert one.measure("first", ctx.network()) is None  # type: ignore[func-returns-value]
        one.note("gate", kept=True)
    measured, noted = (line for line in ctx.run.metrics() if line["event"] in ("measured", "noted"))
    assert set(measured["accuracy"]) == set(ctx.data.tests)
    assert (noted["method"], noted["name"], noted["kept"]) == ("dream-datasets:2", "gate", True)
