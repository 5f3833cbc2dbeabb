"""The one training loop: resuming, diverging, augmenting, the rate, and that it learns."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_views import ImageViews
from torch import Tensor, nn

from conceptnet_ml.config.settings import TrainingSettings
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.errors import Interrupted, SettingsError, TrainingDiverged
from conceptnet_ml.network.training import (
    TrainingJob,
    augment,
    describe_epochs,
    enough_epochs,
    one_cycle_rate,
    predict_logits,
    predict_set,
    to_float,
    train,
)
from conceptnet_ml.runtime import layout
from conceptnet_ml.storage.run_folder import Run

CPU = torch.device("cpu")


def images(count: int = 90) -> ImageSet:
    """Noise, brighter in class 1."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    pixels = torch.randint(60, 120, (count, 3, 12, 12), generator=draw) + 40 * labels[:, None, None, None]
    return ImageSet(pixels.to(torch.uint8), labels)


class Scarce(nn.Module):
    """Memory for so many images at a time; notes how many it was given."""

    def __init__(self, model: nn.Module, most: int) -> None:
        super().__init__()
        self.model, self.most, self.given = model, most, list[int]()

    def forward(self, images: Tensor) -> Tensor:
        self.given.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return self.model(images)


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 2)
    )


def job(epochs: int = 6, seed: int = 7, **changes: Any) -> TrainingJob:
    settings = TrainingSettings(batch=16, precision="fp32", **changes)
    return TrainingJob(90, epochs, 0.05, seed, CPU, settings=settings)


def trained(seed: int = 7, epochs: int = 6, **changes: Any) -> nn.Sequential:
    made = network()
    train(made, ImageViews(images(), CPU), job(epochs, seed, **changes))
    return made


def equal(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", {}, {}, {}, "0")


def test_it_learns() -> None:
    before, after = network(), trained(epochs=16)
    answers = predict_set(after, images(), CPU, None).argmax(1)
    assert (predict_set(before.eval(), images(), CPU, None).argmax(1) == images().labels).double().mean() < 0.9
    assert (answers == images().labels).double().mean() > 0.97
    assert not after.training


def test_its_report_and_progress_count_every_step() -> None:
    done: list[float] = []
    report = train(
        network(),
        ImageViews(images(), CPU),
        replace(job(epochs=11), advance=lambda steps=1, **figures: done.append(steps)),
    )
    assert report["steps"] == 11 * 5 == sum(done)
    assert report["loss"] < 0.4
    assert report["seconds"] > 0


@pytest.mark.parametrize(("count", "batch", "steps"), [(90, 16, 5), (96, 16, 6), (10, 16, 1), (17, 16, 1)])
def test_a_pass_leaves_the_last_incomplete_batch_out(count: int, batch: int, steps: int) -> None:
    made = TrainingJob(count, 3, 0.1, 0, CPU, settings=TrainingSettings(batch=batch))
    assert made.steps == 3 * steps
    seen: list[int] = []
    plain = ImageViews(images(count), CPU)

    def views(indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        seen.append(len(indices))
        assert len(indices.unique()) == len(indices)
        return plain(indices, generator)

    train(network(), views, made)
    assert seen == [min(batch, count)] * 3 * steps


@pytest.mark.parametrize(
    ("wanted", "images", "least", "epochs", "words"),
    [
        (16, 1800, 64, 16, "16 epochs of 14 steps, 224 steps in all"),
        (16, 300, 64, 32, "16 epochs of 2 steps are too few: 32 epochs instead, 64 steps in all"),
        (1, 400, 64, 22, "1 epoch of 3 steps is too few: 22 epochs instead, 66 steps in all"),
        (1, 10, 0, 1, "1 epoch of 1 step, 1 step in all"),
    ],
)
def test_epochs_give_way_to_the_least_steps(wanted: int, images: int, least: int, epochs: int, words: str) -> None:
    settings = TrainingSettings(least_steps=least)
    assert enough_epochs(wanted, images, settings) == epochs
    assert describe_epochs(wanted, images, settings) == words
    assert enough_epochs(wanted, images, settings, least=0) == wanted
    assert enough_epochs(wanted, 128, settings, least=500) == 500


def test_the_same_seed_gives_the_same_weights_and_another_one_others() -> None:
    assert equal(trained(), trained())
    assert not equal(trained(), trained(seed=8))


def test_another_optimizer_learns_another_way() -> None:
    other = trained(optimizer="adamw")
    answers = predict_set(other, images(), CPU, None).argmax(1)
    assert float((answers == images().labels).float().mean()) > 0.9
    assert not equal(other, trained())


@pytest.mark.parametrize(("stop", "optimizer"), [(1, "sgd"), (7, "sgd"), (25, "sgd"), (29, "sgd"), (7, "adamw")])
def test_resuming_gives_bit_identical_weights(stop: int, optimizer: str, run: Run) -> None:
    made, asked = network(), itertools.count(1)
    these = job(optimizer=optimizer)
    first = replace(these, checkpoint=run.checkpoint("it"), should_stop=lambda: next(asked) >= stop)
    with pytest.raises(Interrupted):
        train(made, ImageViews(images(), CPU), first)
    again = network(seed=99)  # whatever weights it starts from, the saved ones count
    counted: list[float] = []
    second = replace(these, checkpoint=run.checkpoint("it"), advance=lambda steps=1, **figures: counted.append(steps))
    train(again, ImageViews(images(), CPU), second)
    assert equal(again, trained(optimizer=optimizer))
    assert counted[0] == stop
    assert run.checkpoint("it").load() is None


def test_a_training_killed_between_saves_resumes_bit_identically(run: Run) -> None:
    plain, calls = ImageViews(images(), CPU), itertools.count()

    def views(indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if next(calls) == 17:
            raise KeyboardInterrupt
        return plain(indices, generator)

    with pytest.raises(KeyboardInterrupt):
        train(network(), views, replace(job(save_seconds=1e-6), checkpoint=run.checkpoint("it")))
    state = run.checkpoint("it").load()
    assert state is not None
    assert int(state["step"]) == 17
    again = network()
    train(again, plain, replace(job(), checkpoint=run.checkpoint("it")))
    assert equal(again, trained())


def test_a_stop_after_the_last_step_does_not_interrupt() -> None:
    asked = itertools.count(1)
    train(network(), ImageViews(images(), CPU), replace(job(), should_stop=lambda: next(asked) >= 30))


def test_frozen_weights_stay() -> None:
    made = network()
    made[0].requires_grad_(False)
    before = made[0].weight.detach().clone()
    train(made, ImageViews(images(), CPU), job())
    assert torch.equal(made[0].weight, before)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_an_error_and_the_last_good_state_is_kept(bad: float) -> None:
    made, plain, calls = network(), ImageViews(images(), CPU), itertools.count()
    good: dict[str, Tensor] = {}

    def views(indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        batch, labels = plain(indices, generator)
        return (batch * bad if next(calls) >= 30 else batch), labels

    def advance(steps: float = 1, **figures: Any) -> None:
        good.update({name: value.clone() for name, value in made.state_dict().items()})

    with pytest.raises(TrainingDiverged, match="last good state"):
        train(made, views, replace(job(epochs=12), advance=advance))
    assert all(torch.isfinite(value).all() for value in made.state_dict().values())
    assert all(torch.equal(value, good[name]) for name, value in made.state_dict().items())
    assert not equal(made, network())
    assert not made.training


def moved(objective: Callable[..., Tensor] | None = None, **changes: Any) -> float:
    """How far all weights moved in six epochs without momentum and decay."""
    made = network()
    before = [one.detach().clone() for one in made.parameters()]
    plain = replace(job(momentum=0.0, weight_decay=0.0, **changes), objective=objective)
    train(made, ImageViews(images(), CPU), plain)
    steps = [one.detach() - old for one, old in zip(made.parameters(), before, strict=True)]
    return float(torch.cat([step.flatten() for step in steps]).norm())


def test_a_gradient_is_scaled_down_to_the_norm_of_clip_and_a_smaller_one_is_not_touched() -> None:
    def steep(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return 1000 * nn.functional.cross_entropy(network(images), labels)

    plain = job()
    most = sum(one_cycle_rate(plain.rate, step, plain.steps) for step in range(plain.steps))
    assert moved(steep, clip=0.25) <= 0.25 * most
    assert moved(steep, clip=0) > 10 * most
    assert equal(trained(clip=1e6), trained(clip=0))


def gradient(count: int, height: int, width: int) -> Tensor:
    """Images in which every pixel is different."""
    values = torch.arange(count * 3 * height * width, dtype=torch.float32).view(count, 3, height, width)
    return values.contiguous(memory_format=torch.channels_last)


def slowly(image: Tensor, down: int, right: int, most: int, mirrored: bool) -> Tensor:
    """Reflect the edges, cut out the shifted window, mirror it."""
    padded = np.pad(image.numpy(), ((0, 0), (most, most), (most, most)), mode="reflect")
    height, width = image.shape[1:]
    window = padded[:, most + down : most + down + height, most + right : most + right + width]
    return torch.from_numpy(window[:, :, ::-1].copy() if mirrored else window.copy())


@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 16)])
def test_augmenting_is_a_slow_references_mirror_and_shift_of_each_image(height: int, width: int) -> None:
    settings, most = TrainingSettings(shift=0.125), 2
    batch = gradient(64, height, width)
    found = augment(batch, settings, torch.Generator().manual_seed(0))
    assert found.shape == batch.shape
    assert found.is_contiguous(memory_format=torch.channels_last)
    shifts = range(-most, most + 1)
    drawn = []
    for image, moved in zip(batch, found, strict=True):
        fits = [
            (down, right, mirrored)
            for down, right, mirrored in itertools.product(shifts, shifts, (False, True))
            if torch.equal(slowly(image, down, right, most, mirrored), moved)
        ]
        assert len(fits) == 1
        drawn += fits
    assert 18 <= sum(mirrored for _, _, mirrored in drawn) <= 46  # half of 64 expected
    assert {down for down, _, _ in drawn} == set(shifts) == {right for _, right, _ in drawn}
    assert len(set(drawn)) > 25  # each image by its own draw


def test_augmenting_is_reproducible() -> None:
    batch = gradient(8, 16, 16)
    make: Callable[[int], Tensor] = lambda seed: augment(  # noqa: E731
        batch, TrainingSettings(), torch.Generator().manual_seed(seed)
    )
    assert torch.equal(make(0), make(0))
    assert not torch.equal(make(0), make(1))


def test_augmenting_can_be_switched_off() -> None:
    batch = gradient(8, 16, 16)
    assert torch.equal(augment(batch, TrainingSettings(flip=False, shift=0), torch.Generator().manual_seed(0)), batch)
    only = augment(batch, TrainingSettings(flip=True, shift=0), torch.Generator().manual_seed(0))
    assert all(torch.equal(moved, image) or torch.equal(moved, image.flip(2)) for image, moved in zip(batch, only))  # noqa: B905


def rates(epochs: int = 20) -> list[float]:
    steps = job(epochs).steps
    return [one_cycle_rate(0.05, step, steps) for step in range(steps)]


def test_the_rate_goes_through_one_cycle() -> None:
    found = rates()
    assert found[0] == pytest.approx(0.05 / 25)
    assert found[-1] == pytest.approx(0.05 / 25e4)
    top = found.index(max(found))
    assert top == pytest.approx(0.3 * 99, abs=1)
    assert max(found) == pytest.approx(0.05, rel=0.01)
    assert found[:top] == sorted(found[:top])
    assert found[top:] == sorted(found[top:], reverse=True)
    assert found[15] == pytest.approx(0.026, abs=0.002)  # half way up, on a cosine


def test_a_training_of_one_step_has_a_rate() -> None:
    made = replace(job(epochs=1), images=10)
    assert made.steps == 1
    train(network(), ImageViews(images(), CPU), made)


@pytest.mark.parametrize("name", ["channels_last", "contiguous"])
def test_images_become_floats_and_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCEPTNET_MEMORY_FORMAT", name)
    whole = images(5)
    floats = to_float(whole.images, CPU)
    assert floats.dtype == torch.float32
    assert floats.is_contiguous(memory_format=layout.MEMORY_FORMATS[name])
    assert torch.equal((floats * 255).round().to(torch.uint8), whole.images)


def test_predictions_do_not_depend_on_the_batch() -> None:
    made = network().train()
    floats = to_float(images(40).images, CPU)
    whole = predict_logits(made, floats, None)
    assert not made.training
    torch.testing.assert_close(predict_logits(made, floats, None, batch=7), whole)
    torch.testing.assert_close(predict_set(made, images(40), CPU, None), whole)


def test_a_training_goes_on_in_halves_where_memory_runs_out() -> None:
    """The gradients are those of the whole batch; a network without batch norm takes the same steps."""
    data = images(64)
    job = TrainingJob(64, 3, 0.05, 1, CPU, settings=TrainingSettings(batch=32))
    trained = []
    for most in (32, 10):
        torch.manual_seed(0)
        plain = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 2)
        )
        scarce = Scarce(plain, most)
        report = train(scarce, lambda numbers, _: (to_float(data.take(numbers), CPU), data.labels[numbers]), job)
        trained.append((plain, report["loss"], scarce.given))
    (whole, loss, _), (halved, same, given) = trained
    assert given[:5] == [32, 16, 8, 8, 8], "once it is known what goes, it is not tried again"
    assert max(given[3:]) == 8
    assert same == pytest.approx(loss, abs=1e-5)
    for one, other in zip(whole.parameters(), halved.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_answers_go_on_in_halves_and_a_single_image_that_is_too_large_says_so() -> None:
    data = to_float(images(64).images, CPU)
    plain = network().eval()
    scarce = Scarce(plain, 20)
    torch.testing.assert_close(predict_logits(scarce, data, None), predict_logits(plain, data, None))
    assert scarce.given == [64, 32, 16, 16, 16, 16]
    with pytest.raises(SettingsError, match="single image") as caught:
        predict_logits(Scarce(plain, 0), data, None)
    assert "data.image_size" in caught.value.mend
