"""Baselines: what they are given and asked, and the parts of the built-in ones by hand-computed values."""

from __future__ import annotations

import colorsys
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_views import ImageViews
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml.checks import Session, check_plan
from conceptnet_ml.config.settings import DataSettings, Settings, TrainingSettings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.drawing.pictures import to_png
from conceptnet_ml.errors import DataError, PluginError, SettingsError
from conceptnet_ml.evaluation.baselines import BaselineContext, baseline_seconds, check_baselines, train_baselines
from conceptnet_ml.network.training import TrainingJob, train
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.records import Baseline
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import Learned
from conceptnet_ml.storage.run_folder import Run
from conceptnet_plugins.baselines import (
    colour_jitter,
    cutmix,
    d_bat,
    dac,
    deepdream_chain,
    divdis,
    divdis_queried,
    feature_sieve,
    fg_ccdb,
    just_train_twice,
    last_layer,
    lff,
    masktune,
)

PLUGINS = load_plugins(use_entry_points=False)
CPU = torch.device("cpu")


def bench_of(
    folder: Path, world: bool = True, target: Path | None = None, channels: int = 3, **controls: Any
) -> Context:
    """A workbench over 64 images of noise, brighter in class 1; in the unbiased world the labels are turned round."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 2
    pixels = torch.randint(40, 140, (64, channels, 16, 16), generator=draw) + 40 * labels[:, None, None, None]
    whole = ImageSet(pixels.to(torch.uint8), labels)
    worlds = {"unbiased": lambda: whole.with_labels(1 - labels)} if world else {}
    data = Data("noise", ("dark", "bright"), whole, {"test": whole}, worlds=worlds)
    settings = Settings.model_validate(
        {
            "device": "cpu",
            "data": DataSettings(holdout=0.25, target=None if target is None else str(target)),
            "training": TrainingSettings(epochs=3, least_steps=0, batch=16, precision="fp32"),
            "round": {"epochs": 2},
            "probe": {"batch": 20},
            "plugins": {"controls": ("longer", "unbiased"), **controls},
        }
    )
    run = Run.create(folder / "run", settings.model_dump(mode="json"), {}, {}, "0")
    return Context(settings, PLUGINS, data, run, Progress(quiet=True), Stopper(), CPU, None)


def context_of(ctx: Context, name: str, epochs: int = 2) -> BaselineContext:
    record = PLUGINS.get("baseline", name)
    assert isinstance(record, Baseline)
    return BaselineContext(ctx, record, ctx.network(), epochs)


def noise(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def learned(ctx: Context, epochs: int) -> Learned:
    fresh = ctx.network()
    return Learned(fresh, fresh, epochs=epochs)


# ---------------------------------------------------------------------------------------------------- records


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, "one of views and fit"),
        ({"views": "a:b", "fit": "a:c"}, "one of views and fit"),
        ({"fit": "a:b", "needs": ("masks",)}, "needs masks"),
    ],
)
def test_a_record_has_one_function_and_known_needs(fields: dict[str, Any], wrong: str) -> None:
    with pytest.raises(PluginError, match=wrong):
        Baseline(name="it", api="1", **fields)


def test_the_function_a_record_does_not_have_is_a_plain_error() -> None:
    record = Baseline(name="it", api="1", fit=print)
    assert record.functions() == ["fit"]
    with pytest.raises(PluginError, match="no function views"):
        record.function("views")


def test_a_broken_baseline_is_listed_with_its_reason(tmp_path: Path) -> None:
    text = """
from conceptnet_ml import Baseline, hookimpl

@hookimpl
def conceptnet_baselines():
    return [Baseline(name="both", api="1", views=print, fit=print)]
"""
    (tmp_path / "both.py").write_text(text, encoding="utf-8")
    plugins = load_plugins(tmp_path / "both.py", use_entry_points=False, warn=lambda text: None)
    assert "one of views and fit" in plugins.broken[0][1]


# ---------------------------------------------------------------------------------------------------- which and when


def test_controls_are_the_settings_own_and_none_without_a_kept_round(tmp_path: Path) -> None:
    ctx = bench_of(tmp_path)
    assert train_baselines(ctx, learned(ctx, 0)) == {}
    assert list(train_baselines(ctx, learned(ctx, 1))) == ["longer", "unbiased"]
    assert baseline_seconds(ctx, "longer") > 0
    assert baseline_seconds(ctx, "long") == 0


def test_named_baselines_are_trained_whatever_was_kept_for_as_long_as_a_round(tmp_path: Path) -> None:
    ctx = bench_of(tmp_path)
    assert list(train_baselines(ctx, learned(ctx, 0), ["longer"])) == ["longer"]
    (entry,) = [line for line in ctx.run.metrics() if line["event"] == "trained"]
    assert entry["name"] == "control/longer"
    assert entry["steps"] == 2 * (48 // 16)
    assert entry["curve"] == [[entry["steps"], round(entry["loss"], 4)]]


def test_what_needs_an_unbiased_world_is_refused_where_there_is_none(tmp_path: Path) -> None:
    ctx = bench_of(tmp_path, world=False)
    check_baselines(["longer"], PLUGINS, ctx.data)
    with pytest.raises(SettingsError, match=r"'unbiased' needs .* random cues") as error:
        train_baselines(ctx, learned(ctx, 1))
    assert "data.trap" in error.value.mend
    assert not ctx.run.has_step("control/longer")  # before anything was trained
    with pytest.raises(SettingsError, match="no baseline named 'longr'"):
        check_baselines(["longr"], PLUGINS, ctx.data)


def test_only_who_says_so_sees_the_unbiased_world(tmp_path: Path) -> None:
    ctx = bench_of(tmp_path)
    assert context_of(ctx, "longer").unbiased is None
    unbiased = context_of(ctx, "unbiased").unbiased
    assert unbiased is not None
    images, labels = unbiased()(torch.arange(48), torch.Generator())
    plain, told = context_of(ctx, "longer").plain(torch.arange(48), torch.Generator())
    assert torch.equal(images, plain)
    assert torch.equal(labels, 1 - told)


def shades(folder: Path, *lights: int) -> Path:
    """A folder of pictures, each of one grey."""
    folder.mkdir()
    for light in lights:
        (folder / f"{light}.png").write_bytes(to_png(torch.full((3, 16, 16), light, dtype=torch.uint8)))
    return folder


@pytest.mark.parametrize("name", ["d-bat", "divdis"])
def test_what_needs_unlabelled_pictures_is_refused_where_there_are_none(name: str, tmp_path: Path) -> None:
    ctx = bench_of(tmp_path, world=False)
    with pytest.raises(SettingsError, match=f"'{name}' needs unlabelled pictures of the new world") as error:
        train_baselines(ctx, learned(ctx, 1), [name])
    assert "--target" in error.value.mend
    assert not ctx.run.has_step(f"control/{name}/train")  # before anything was trained
    check_baselines([name], PLUGINS, ctx.data, "FOLDER")
    settings = Settings.model_validate({"device": "cpu", "plugins": {"controls": (name,)}})
    with pytest.raises(SettingsError, match="needs unlabelled pictures"):
        check_plan(settings, Session(PLUGINS), ctx.data)


@pytest.mark.parametrize("world", [True, False])
def test_pictures_of_the_new_world_stand_before_random_cues(world: bool, tmp_path: Path) -> None:
    folder = shades(tmp_path / "new", 10, 20, 30)
    ctx = bench_of(tmp_path, world=world, target=folder)
    assert context_of(ctx, "longer").unlabelled is None
    context = context_of(ctx, "d-bat")
    assert context.unbiased is None
    assert context.unlabelled is not None
    images, _ = context.paired(context.plain, context.unlabelled())(torch.arange(48), torch.Generator())
    torch.testing.assert_close(images[:, 3:].amax((1, 2, 3)), images[:, 3:].amin((1, 2, 3)))
    assert {round(255 * float(one)) for one in images[:, 3, 0, 0]} == {10, 20, 30}


def test_what_was_shown_other_pictures_is_trained_again(tmp_path: Path) -> None:
    ctx = bench_of(tmp_path, target=shades(tmp_path / "new", 10, 20))
    one = train_baselines(ctx, learned(ctx, 1), ["d-bat"])["d-bat"].state_dict()
    ctx.settings = ctx.settings.model_copy(
        update={"data": ctx.settings.data.model_copy(update={"target": str(shades(tmp_path / "other", 200, 250))})}
    )
    other = train_baselines(ctx, learned(ctx, 1), ["d-bat"])["d-bat"].state_dict()
    assert not same(one, other)
    assert same(other, train_baselines(ctx, learned(ctx, 1), ["d-bat"])["d-bat"].state_dict())
    assert len([line for line in ctx.run.metrics() if line["event"] == "trained"]) == 2


DREAMING = ("clouds-to-cars", "dream-datasets", "amplify", "self-distil")
"""How the names begin of those whose dreams take seconds."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(record.name, marks=[pytest.mark.slow] if record.name.startswith(DREAMING) else [])
        for record in PLUGINS.all("baseline")
    ],
)
def test_images_of_other_channels_are_taken_or_refused(name: str, tmp_path: Path) -> None:
    ctx = bench_of(tmp_path, channels=5)
    if name == "colour-jitter":
        with pytest.raises(SettingsError, match="takes images of 3 channels, those of noise have 5") as error:
            train_baselines(ctx, learned(ctx, 1), [name])
        assert error.value.mend == "Leave this baseline out."
    else:
        assert train_baselines(ctx, learned(ctx, 1), [name])[name].channels == 5


@pytest.mark.parametrize("name", ["d-bat", "divdis"])
def test_pictures_of_the_new_world_have_the_channels_of_the_images(name: str, tmp_path: Path) -> None:
    for number in range(4):
        np.save(tmp_path / f"{number}.npy", np.full((16, 16, 5), 60 * number, np.uint8))
    ctx = bench_of(tmp_path, world=False, target=tmp_path, channels=5)
    assert train_baselines(ctx, learned(ctx, 1), [name])[name].channels == 5
    other = bench_of(tmp_path / "other", world=False, target=tmp_path)
    with pytest.raises(DataError, match="its pictures have 5 channels, not 3"):
        train_baselines(other, learned(other, 1), [name])


@pytest.mark.parametrize("what", [nn.Linear(2, 2), None])
def test_a_network_of_another_build_is_refused(what: Any, tmp_path: Path) -> None:
    ctx = bench_of(tmp_path)
    record = Baseline(name="odd", api="1", fit=lambda context: what)
    ctx.plugins = load_plugins(use_entry_points=False)
    ctx.plugins._found["baseline", "odd"] = [(record, "here")]
    with pytest.raises(PluginError, match="built as the ordinary one"):
        train_baselines(ctx, learned(ctx, 1), ["odd"])


def test_batches_are_remembered_and_come_in_the_order_of_the_images(tmp_path: Path) -> None:
    ctx = bench_of(tmp_path)
    calls: list[int] = []

    def twice(places: Tensor) -> Tensor:
        calls.append(len(places))
        return 2 * places

    for _ in range(2):
        assert torch.equal(context_of(ctx, "longer").batched("twice", twice), 2 * torch.arange(48))
    assert calls == [20, 20, 8]


# ---------------------------------------------------------------------------------------------------- objectives


def trained(labels: Any = None, **changes: Any) -> dict[str, Tensor]:
    """A few steps on noise; ``labels`` turns the batch's labels into others."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    images = torch.randint(0, 256, (48, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    plain = ImageViews(ImageSet(images.to(torch.uint8), torch.arange(48) % 3), CPU)

    def views(indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        batch, told = plain(indices, generator)
        return batch, told if labels is None else labels(told)

    train(network, views, TrainingJob(48, 2, 0.1, 5, CPU, settings=TrainingSettings(batch=16), **changes))
    return network.state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_an_objective_takes_the_place_of_cross_entropy() -> None:
    entropy = trained(objective=lambda network, images, labels: functional.cross_entropy(network(images), labels))
    assert same(entropy, trained())
    twice = trained(objective=lambda network, images, labels: 2 * functional.cross_entropy(network(images), labels))
    assert not same(twice, trained())


def test_labels_may_be_shares_of_the_classes() -> None:
    whole = trained(labels=lambda told: functional.one_hot(told, 3).float())
    for name, value in trained().items():
        torch.testing.assert_close(whole[name], value)
    assert not same(trained(labels=lambda told: 0.5 * functional.one_hot(told, 3).float() + 1 / 6), trained())


# ---------------------------------------------------------------------------------------------------- the rivals' parts


def test_cutmix_labels_are_the_shares_of_the_pixels(tmp_path: Path) -> None:
    ctx = bench_of(tmp_path)
    flat = torch.where(torch.arange(64) % 2 == 1, 255, 0).view(-1, 1, 1, 1).expand(64, 3, 16, 16)
    ctx.data = Data("flat", ("black", "white"), ImageSet(flat.to(torch.uint8), torch.arange(64) % 2), {})
    make = cutmix.views(context_of(ctx, "cutmix"))
    images, labels = make(torch.arange(48).repeat(20), torch.Generator().manual_seed(0))
    torch.testing.assert_close(labels.sum(1), torch.ones(960))
    torch.testing.assert_close(labels[:, 1], images.mean((1, 2, 3)))  # white is class 1
    boxes = cutmix._boxes(4000, 20, 20, torch.Generator().manual_seed(1)).float()
    assert 0.2 < float(boxes.mean()) < 0.5  # one half, less what is cut off at the edges
    assert torch.equal(boxes.amax(2).sum(-1) * boxes.amax(3).sum(-1), boxes.sum((2, 3)))  # boxes, no other shapes


def test_colours_are_jittered_image_by_image_and_hues_turned_as_the_book_says() -> None:
    images = torch.rand(6, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(colour_jitter.jittered(images, torch.zeros(6, 4)), images)
    draws = torch.rand(6, 4, generator=torch.Generator().manual_seed(1)) * 2 - 1
    whole = colour_jitter.jittered(images, draws)
    assert 0 <= whole.min() <= whole.max() <= 1
    torch.testing.assert_close(colour_jitter.jittered(images[2:3], draws[2:3]), whole[2:3])
    only_hue = colour_jitter.jittered(images, draws * torch.tensor([0.0, 0, 0, 1]))
    for image, before, turn in zip(only_hue, images, draws[:, 3].tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before[:, 1, 3].tolist())
        wanted = colorsys.hsv_to_rgb((hue + turn / 2) % 1, saturation, value)
        torch.testing.assert_close(image[:, 1, 3], torch.tensor(wanted))
    brighter = colour_jitter.jittered(images * 0.5, torch.tensor([[0.5, 0, 0, 0]]).expand(6, 4))
    torch.testing.assert_close(brighter, images * 0.5 * 1.4)


def test_dreams_raise_the_other_class_and_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    ctx = bench_of(tmp_path)
    context = context_of(ctx, "deepdream-chain")
    network = context.ordinary
    images, _ = context.plain(torch.arange(12), torch.Generator())
    targets = torch.arange(12) % 2

    def dreamed(part: slice) -> Tensor:
        generator = torch.Generator().manual_seed(3)
        return deepdream_chain.ascend(context, network, images[part], targets[part], generator)

    whole = dreamed(slice(None))
    with torch.no_grad():
        before, after = (network(one).gather(1, targets[:, None]) for one in (images, whole))
    assert (after > before).all()
    assert 0 <= whole.min() <= whole.max() <= 1
    assert float((whole - images).abs().mean()) <= deepdream_chain.STEPS * deepdream_chain.STEP * 1.01
    torch.testing.assert_close(dreamed(slice(4, 7)), whole[4:7], atol=1e-3, rtol=0)
    assert all(weight.grad is None for weight in network.parameters())


def test_the_refit_layer_is_the_minimum_of_its_loss() -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(24) % 3
    features = torch.randn(24, 10, generator=draw, dtype=torch.float64) * 3 + 5
    features[:, 0] += 6 * (labels == 1)
    features[:, 9] = 2.0  # constant
    weight, bias = last_layer.logistic(features, labels, 3)
    mean, spread = features.mean(0), features.std(0, unbiased=False)
    assert (features @ weight.T + bias).argmax(1)[labels == 1].eq(1).double().mean() > 0.8
    assert torch.equal(weight[:, 9], torch.zeros(3, dtype=torch.float64))
    # At a minimum of C · loss + ‖w‖₁ the slope is −sign(w) where w is not 0, and within ±1 where it is.
    scaled = weight * spread
    standard = ((features - mean) / spread.clamp_min(1e-6))[:, :9]
    wrong = (features @ weight.T + bias).softmax(1) - functional.one_hot(labels, 3)
    slope = (wrong.T @ standard) * last_layer.STRENGTH
    used = scaled[:, :9].abs() > 1e-6
    torch.testing.assert_close(slope[used], -scaled[:, :9].sign()[used], atol=1e-3, rtol=0)
    assert (slope[~used].abs() <= 1 + 1e-3).all()
    assert (~used).any()
    torch.testing.assert_close(wrong.sum(0), torch.zeros(3, dtype=torch.float64), atol=1e-3, rtol=0)


def test_the_refit_changes_nothing_but_the_last_layer(tmp_path: Path) -> None:
    ctx = bench_of(tmp_path)
    context = context_of(ctx, "last-layer")
    before = {name: value.clone() for name, value in context.ordinary.state_dict().items()}
    after = last_layer.fit(context).state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed == ["model.head.weight", "model.head.bias"]
    assert same(before, context.ordinary.state_dict())


def test_a_refit_on_more_examples_than_there_are_is_refused(tmp_path: Path) -> None:
    ctx = bench_of(tmp_path)
    context = context_of(ctx, "last-layer")
    context.held = context.held[:12]
    with pytest.raises(SettingsError, match=r"needs 8 held-out images") as error:
        last_layer.fit(context)
    assert "data.holdout" in error.value.mend


def test_masks_cover_what_the_answer_rests_on(tmp_path: Path) -> None:
    """A network whose one unit fires for bright places, and whose logit for class 1 is its mean."""
    context = context_of(bench_of(tmp_path), "masktune")
    network = context.ordinary
    images = torch.full((8, 3, 16, 16), 0.3)
    images[:, :, 9:13, 3:7] = 1.0

    class Bright(nn.Module):
        stage_names = ("only",)

        def run_until(self, images: Tensor, stage: str) -> Tensor:
            return torch.stack([images.mean(1), 0.1 * noise(images.shape[0], 16, 16)], 1)

        def run_from(self, maps: Tensor, stage: str) -> Tensor:
            return torch.stack([-maps[:, 0].mean((1, 2)), maps[:, 0].mean((1, 2))], 1)

    found = masktune.salient(Bright(), images, torch.ones(8, dtype=torch.int64))  # type: ignore[arg-type]
    truth = torch.zeros(16, 16, dtype=torch.bool)
    truth[9:13, 3:7] = True
    assert torch.equal(found, truth.expand(8, 1, 16, 16))
    # A real network: something is masked in most images, never most of one.
    share = masktune.salient(network, noise(20, 3, 16, 16), torch.arange(20) % 2).float().mean((1, 2, 3))
    assert float(share.max()) < 0.3


def test_the_sieve_erases_below_its_head_and_teaches_the_head_alone(tmp_path: Path) -> None:
    context = context_of(bench_of(tmp_path), "feature-sieve")
    images, labels = context.plain(torch.arange(16), torch.Generator())
    torch.manual_seed(0)
    sieve = feature_sieve.Sieve(context.fresh(), 2).train()

    def slopes(step: int) -> dict[str, Tensor]:
        sieve.steps.fill_(step)
        for parameter in sieve.parameters():
            parameter.grad = None
        feature_sieve.sieving(sieve, images, labels).backward()
        assert int(sieve.steps) == step + 1
        return {name: p.grad.clone() for name, p in sieve.named_parameters() if p.grad is not None}

    erasing, between = slopes(0), slopes(1)
    changed = {name for name in erasing if not torch.allclose(erasing[name], between[name], atol=1e-6)}
    assert changed
    assert all(name.startswith(("network.model.stem", "network.model.block1")) for name in changed)
    assert sieve.stage == "block1"
    # Between erasures the network learns as if there were no head.
    for parameter in sieve.parameters():
        parameter.grad = None
    functional.cross_entropy(sieve(images), labels).backward()
    for name, parameter in sieve.network.named_parameters():
        torch.testing.assert_close(between[f"network.{name}"], parameter.grad, atol=1e-5, rtol=1e-4)
    assert torch.equal(sieve(images[:2]), sieve.network(images[:2]))


def test_errors_are_drawn_so_many_times_as_often(tmp_path: Path) -> None:
    context = context_of(bench_of(tmp_path), "just-train-twice")
    errors = torch.zeros(48, dtype=torch.bool)
    errors[7] = True
    make = just_train_twice.upweighted(context, errors)
    images, labels = make(torch.arange(48).repeat(100), torch.Generator().manual_seed(0))
    mine, told = context.plain(torch.tensor([7]), torch.Generator())
    drawn = (images == mine).all(3).all(2).all(1)
    assert float(drawn.float().mean()) == pytest.approx(50 / 97, abs=0.03)
    assert (labels[drawn] == told).all()


def test_failing_images_weigh_by_both_networks_moving_losses(tmp_path: Path) -> None:
    """By hand, over two steps: losses move by 3/10, and are divided by the largest of their class."""
    context = context_of(bench_of(tmp_path), "lff")
    pair = lff.Failing(context.fresh(), context.fresh(), torch.tensor([0, 1, 0]))
    first = pair.difficulty(torch.tensor([[1.0, 2.0, 4.0], [1.0, 1.0, 1.0]]), torch.tensor([0, 1, 2]))
    torch.testing.assert_close(first, torch.tensor([0.25 / 1.25, 1 / 2, 1 / 2]))
    second = pair.difficulty(torch.tensor([[3.0], [2.0]]), torch.tensor([2]))
    assert pair.losses[:, 2].tolist() == pytest.approx([0.7 * 4 + 0.3 * 3, 0.7 * 1 + 0.3 * 2])
    assert second.tolist() == pytest.approx([0.5])  # its class's largest under both
    again = pair.difficulty(torch.tensor([[1.0], [1.0]]), torch.tensor([0]))
    assert again.tolist() == pytest.approx([(1 / 3.7) / (1 / 3.7 + 1 / 1.3)])


def test_generalized_cross_entropy_and_its_slope() -> None:
    """(1 − p^0.7) / 0.7, whose slope is that of cross entropy times p^0.7."""
    shares = torch.tensor([1.0, 0.5, 0.1])
    losses = (-shares.log()).requires_grad_(True)
    found = lff.generalized(losses)
    assert found.tolist() == pytest.approx([0.0, (1 - 0.5**0.7) / 0.7, (1 - 0.1**0.7) / 0.7])
    found.sum().backward()
    assert losses.grad is not None
    torch.testing.assert_close(losses.grad, shares**0.7)


def test_views_are_numbered_beside_their_labels(tmp_path: Path) -> None:
    context = context_of(bench_of(tmp_path), "lff")
    indices = torch.tensor([5, 2, 40])
    images, told = lff.numbered(context.plain)(indices, torch.Generator())
    plain, labels = context.plain(indices, torch.Generator())
    assert torch.equal(images, plain)
    assert torch.equal(told, torch.stack([labels, indices], 1))


def test_every_class_shows_each_sort_as_often_as_all_do() -> None:
    """Three of class 0 look like 0 and one like 1; one of class 1 looks like 0, one like 1: 4 and 2 of 6."""
    sorts, labels = torch.tensor([0, 0, 0, 1, 0, 1]), torch.tensor([0, 0, 0, 0, 1, 1])
    weights = fg_ccdb.balancing(sorts, labels)
    assert weights.tolist() == pytest.approx([2 / 9, 2 / 9, 2 / 9, 1 / 3, 2 / 3, 1 / 3])
    for c in range(2):
        seen = [float(weights[(labels == c) & (sorts == sort)].sum()) for sort in range(2)]
        assert seen == pytest.approx([4 / 6, 2 / 6])


def test_the_surest_half_of_each_class_is_kept() -> None:
    answers = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3], [0.9, 0.1], [0.1, 0.9]]).log()
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    assert fg_ccdb.surest(answers, labels).tolist() == [1, 0, 0, 1, 0, 1]


def test_images_are_drawn_as_their_weights_say(tmp_path: Path) -> None:
    context = context_of(bench_of(tmp_path), "fg-ccdb")
    weights = torch.zeros(48)
    weights[[0, 7, 47]] = torch.tensor([1.0, 2.0, 1.0])
    draw = fg_ccdb.DrawnViews(context.plain, weights)
    images, _ = draw(torch.arange(48).repeat(100), torch.Generator().manual_seed(0))
    for place, share in ((0, 0.25), (7, 0.5), (47, 0.25)):
        mine, _ = context.plain(torch.tensor([place]), torch.Generator())
        assert float((images == mine).flatten(1).all(1).float().mean()) == pytest.approx(share, abs=0.03)


def test_agreement_is_about_the_first_networks_answer() -> None:
    first = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.0, 0.8]])
    second = torch.tensor([[0.6, 0.3, 0.1], [0.0, 1.0, 0.0]])
    wanted = -(torch.tensor([0.9 * 0.4 + 0.6 * 0.1, 0.8]).log().mean())
    torch.testing.assert_close(d_bat.agreement(first, second), wanted)


def test_other_views_lie_beside_the_images_without_their_labels(tmp_path: Path) -> None:
    context = context_of(bench_of(tmp_path), "d-bat")
    assert context.unlabelled is not None
    images, labels = context.paired(context.plain, context.unlabelled())(torch.arange(16), torch.Generator())
    plain, told = context.plain(torch.arange(16), torch.Generator())
    assert images.shape == (16, 6, 16, 16)
    assert torch.equal(images[:, :3], plain)
    assert torch.equal(labels, told)
    whole, _ = context.unlabelled()(torch.arange(48), torch.Generator())
    assert all((whole == one).flatten(1).all(1).any() for one in images[:, 3:])


def test_mutual_information_of_two_heads() -> None:
    certain = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    same = divdis.mutual_information(certain, certain)
    assert float(same) == pytest.approx(math.log(2), abs=1e-5)
    assert float(divdis.mutual_information(certain, certain.flip(1))) == pytest.approx(math.log(2), abs=1e-5)
    other = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert float(divdis.mutual_information(certain, other)) == pytest.approx(0, abs=1e-5)
    soft = torch.tensor([[0.8, 0.2], [0.2, 0.8]])  # joint .34 and .16, twice each, beside 1/4
    wanted = 2 * (0.34 * math.log(0.34 * 4) + 0.16 * math.log(0.16 * 4))
    assert float(divdis.mutual_information(soft, soft)) == pytest.approx(wanted, abs=1e-5)


def test_the_head_is_chosen_that_answers_less_like_the_ordinary_network(tmp_path: Path) -> None:
    context = context_of(bench_of(tmp_path), "divdis")
    assert context.unlabelled is not None
    pictures = context.unlabelled()

    class Turned(nn.Module):
        """Two heads: the ordinary network's answers, turned round by one class or left as they are."""

        def __init__(self, *turns: int) -> None:
            super().__init__()
            self.turns = turns

        def forward(self, images: Tensor) -> Tensor:
            return torch.stack([context.ordinary(images).roll(turn, 1) for turn in self.turns])

    assert [divdis.less_alike(context, Turned(*turns), pictures) for turns in ((0, 1), (1, 0), (0, 0))] == [1, 0, 0]


def test_a_queried_head_is_chosen_where_the_heads_differ_most() -> None:
    labels = torch.tensor([0, 0, 1, 1, 0, 0])
    one = torch.tensor([0.9, 0.9, 0.9, 0.9, 0.6, 0.6])  # for class 0
    other = torch.tensor([0.1, 0.1, 0.1, 0.1, 0.4, 0.4])
    told = torch.stack([torch.stack([share, 1 - share], 1) for share in (one, other)])
    assert divdis_queried.queried(told, labels) == 0  # two of four each: the last two are not asked for
    labels[0] = 1
    assert divdis_queried.queried(told, labels) == 1
    assert divdis_queried.queried(told.flip(0), labels) == 0


def test_composed_images_show_what_makes_the_class_among_the_others_rest(tmp_path: Path) -> None:
    context = context_of(bench_of(tmp_path), "dac")
    masks = torch.zeros(48, 1, 16, 16, dtype=torch.bool)
    labels = context.plain.images.labels[context.plain.pool]
    masks[labels == 0, :, :8] = True
    masks[labels == 1, :, :, :8] = True
    images, told = dac.composed(context, masks, torch.arange(48))(torch.arange(16), torch.Generator())
    raw = context.plain.raw(context.plain.pool)
    plain, alone, among = images.split(3, 1)
    assert torch.equal(plain, raw[:16])
    assert torch.equal(told[:, 0], labels[:16])
    mean = alone[:1, :, -1:, -1:]
    for one, mixed, label in zip(alone, among, told[:, 1].tolist(), strict=True):
        mine, theirs = masks[labels == label][0], masks[labels != label][0]
        host = (raw == torch.where(mine, one, raw)).flatten(1).all(1)
        assert host.sum() == 1
        assert labels[host].item() == label
        torch.testing.assert_close(one, torch.where(mine, raw[host][0], mean[0]))
        hidden = ~mine & ~theirs
        donor = (raw == torch.where(hidden, mixed, raw)).flatten(1).all(1)
        assert labels[donor].tolist() == [1 - label]
        torch.testing.assert_close(mixed, torch.where(hidden, raw[donor][0], one))


def test_the_elbow_is_where_the_loss_is_farthest_below_its_chord() -> None:
    curves = torch.tensor(
        [[0.0, 0.0, 0.0, 0.0, 1.0, 2.0], [0.0, 0.1, 0.2, 0.9, 1.5, 2.0], [0.0, 1.0, 1.6, 1.8, 1.9, 2.0]]
    )
    assert dac.elbows(curves.T).tolist() == [3, 2, 5]


def test_composing_trains_nothing_but_the_last_layer(tmp_path: Path) -> None:
    context = context_of(bench_of(tmp_path), "dac")
    before = {name: value.clone() for name, value in context.ordinary.state_dict().items()}
    network = dac.fit(context)
    after = network.state_dict()
    assert [n for n in before if not torch.equal(before[n], after[n])] == ["model.head.weight", "model.head.bias"]
    assert same(before, context.ordinary.state_dict())
    assert all(weight.requires_grad for weight in network.parameters())
