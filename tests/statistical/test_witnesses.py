"""A witness on generated images: real ones pass, noise and dreams do not; and how a run comes by its witness."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from planted import CPU, PLUGINS, SIDE, bars_on_grounds, planted_data, settings, workbench
from torch import Tensor, nn

from conceptnet_ml import DreamRequest, Objective, Pixels, Recipe, dream, learn, open_run
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.dreams.judgement import Calibration, Witness, energy
from conceptnet_ml.dreams.ood import ActivationReader, furthest
from conceptnet_ml.errors import ConceptNetError, Interrupted
from conceptnet_ml.evaluation.witness import WITNESS_NETWORK, WITNESS_STATISTICS, fresh_network, witness_of
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import predict_set
from conceptnet_ml.results.learned_run import LearnedRun
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.steps.context import Context


def data(count: int = 640) -> Data:
    tests = {"test": bars_on_grounds(400, 5)}
    return Data("bars", ("lying", "standing"), bars_on_grounds(count, 3), tests)


@pytest.fixture(scope="module", autouse=True)
def memory_format() -> Iterator[None]:
    """The one this case was made in: what a witness passes that lacks one of its parts hangs on its network's last
    digits, and so does what free pixels find."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCEPTNET_MEMORY_FORMAT", "channels_last")
        yield


@pytest.fixture(scope="module")
def ctx(tmp_path_factory: pytest.TempPathFactory) -> Context:
    # What a witness misses without one of its parts is told of a network trained without clipping.
    chosen = settings(data={"holdout": 0.3}, training={"epochs": 6, "batch": 32, "clip": 0.0})
    return workbench(tmp_path_factory.mktemp("witness"), data(), chosen)


@pytest.fixture(scope="module")
def witness(ctx: Context) -> Witness:
    return witness_of(ctx)


@pytest.fixture(scope="module")
def ordinary(ctx: Context) -> StagedNetwork:
    training = ctx.settings.training
    return ctx.train("ordinary", ctx.network(), ctx.views(ctx.fit, []), training.epochs, training.rate)


def white_noise(count: int) -> Tensor:
    return torch.randint(256, (count, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def contrasty(images: Tensor, factor: float = 3.0) -> Tensor:
    return ((images.float() - 128) * factor + 128).clamp(0, 255).to(torch.uint8)


def unlike(witness: Witness, images: Tensor) -> float:
    judged = witness.judge(images)
    return sum(one.unlike for one in judged) / len(judged)


def test_p_values_of_real_images_are_uniform(ctx: Context, witness: Witness) -> None:
    """Kolmogorov–Smirnov: n = 400 images against m = 192 held out, 99 % bound 1.63 √((n + m) / nm)."""
    judged = witness.judge(ctx.data.tests["test"].images)
    assert witness.held == len(ctx.held) == 192
    bound = 1.63 * ((400 + 192) / (400 * 192)) ** 0.5
    steps = torch.arange(1, 401) / 400
    for name in ("energy_p", "distance_p"):
        values = torch.tensor([getattr(one, name) for one in judged]).sort().values
        assert float((values - steps).abs().max()) < bound
    assert unlike(witness, ctx.data.tests["test"].images) < 0.1


def test_noise_and_contrast_are_unlike_the_data(ctx: Context, witness: Witness) -> None:
    assert unlike(witness, white_noise(100)) > 0.95
    assert unlike(witness, contrasty(ctx.data.tests["test"].images)) > 0.8


def test_a_look_at_nothing_or_a_calibration_on_noise_passes_noise(witness: Witness) -> None:
    """What the bounds above are worth: a witness without one of its parts misses them."""
    stages = witness.statistics.items()
    nothing = {name: dataclasses.replace(stage, whitening=stage.whitening * 0) for name, stage in stages}
    blind = Witness(witness.network, nothing, witness.calibration, CPU)
    described, logits = ActivationReader(witness.network, CPU, None).describe(white_noise(192), witness.statistics)
    distances, _ = furthest(witness.statistics, described)
    noise = Calibration(distances.sort().values, energy(logits).sort().values, None)
    misled = Witness(witness.network, witness.statistics, noise, CPU)
    for broken in (blind, misled):
        assert unlike(broken, white_noise(100)) < 0.5


def test_dreams_are_unlike_the_data_and_need_not_convince_another_network(
    witness: Witness, ordinary: StagedNetwork
) -> None:
    """On such simple images free pixels find what one network answers to alone; the network itself is no witness."""
    requests = [DreamRequest(Objective.logit(label, str(label)), seed) for label in (0, 1) for seed in range(4)]
    dreams = torch.stack([one.image for one in dream(ordinary, requests, Recipe(parametrization=Pixels(), steps=96))])
    wanted = [0] * 4 + [1] * 4
    judged = witness.judge(dreams, wanted)
    assert all(one.unlike for one in judged)
    own = Witness(ordinary, witness.statistics, witness.calibration, CPU).judge(dreams, wanted)
    assert all(one.recognised for one in own)
    assert sum(bool(one.recognised) for one in judged) <= 6


def test_the_witness_is_no_relative_of_the_ordinary_network(
    ctx: Context, witness: Witness, ordinary: StagedNetwork
) -> None:
    first = fresh_network(ctx.settings, ctx.data.classes, ctx.size, PLUGINS)
    for mine, theirs in zip(first.parameters(), ctx.network().parameters(), strict=True):
        assert mine.ndim < 2 or not torch.equal(mine, theirs)
    held = ctx.data.train.subset(ctx.held)
    answers = predict_set(witness.network, held, CPU, None)
    assert witness.accuracy == float((answers.argmax(1) == held.labels).double().mean()) > 0.9
    assert not torch.allclose(answers, predict_set(ordinary, held, CPU, None), atol=0.1)


class Given(nn.Sequential):
    """A user's module: weights come with it, whatever the seed."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
        )


given = Given()


def test_weights_that_come_with_a_module_are_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    chosen = settings(network={"backbone": "test_witnesses:given"})
    state = torch.get_rng_state()
    networks = [fresh_network(chosen, ("a", "b"), (SIDE, SIDE), PLUGINS) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    theirs = dict(given.state_dict())
    for name, value in networks[0].model.state_dict().items():
        assert not torch.equal(value, theirs[name])
        assert torch.equal(value, networks[1].model.state_dict()[name])


def test_it_is_trained_once_and_rests_on_no_word_of_the_user(ctx: Context, witness: Witness) -> None:
    later = Context(ctx.settings, PLUGINS, ctx.data, ctx.run, ctx.progress, Stopper(), CPU, None)
    later.edited = "an edit"
    images = white_noise(5)
    assert witness_of(later).judge(images) == witness.judge(images)
    lines = ctx.run.metrics()
    assert sum(line["event"] == "trained" and line["name"] == WITNESS_NETWORK for line in lines) == 1
    (said,) = [line for line in lines if line["event"] == "witness"]
    assert (said["accuracy"], said["held_out"]) == (witness.accuracy, 192)
    assert later.seconds("witness") > 0


def test_a_stopped_training_goes_on(tmp_path: Path, ctx: Context, witness: Witness) -> None:
    class After(Stopper):
        asked = 0

        @property
        def requested(self) -> bool:  # type: ignore[override]
            self.asked += 1
            return self.asked > 20

    fresh = workbench(tmp_path, ctx.data, ctx.settings)
    fresh.stopper = After()
    with pytest.raises(Interrupted):
        witness_of(fresh)
    assert not fresh.run.has_step(WITNESS_NETWORK)
    fresh.stopper = Stopper()
    state, wanted = witness_of(fresh).network.state_dict(), witness.network.state_dict()
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> LearnedRun:
    chosen = settings(training={"epochs": 1, "above_chance": False}, round={"limit": 0})
    return learn(planted_data(count=160), settings=chosen, out=tmp_path_factory.mktemp("run") / "run", plugins=PLUGINS)


def test_a_finished_run_gets_a_witness_once_and_keeps_it(learned: LearnedRun) -> None:
    first = learned.witness()
    steps = [learned.path / "steps" / f"{name}.json" for name in (WITNESS_NETWORK, WITNESS_STATISTICS)]
    written = [path.stat().st_mtime_ns for path in steps]
    opened = open_run(learned.path, plugins=PLUGINS)  # its data were given by hand and cannot be loaded again
    again = opened.witness()
    assert [path.stat().st_mtime_ns for path in steps] == written
    images = white_noise(4)
    assert again.judge(images, 1) == first.judge(images, 1)
    assert again.judge(images)[0].seen in opened.classes
    assert again.accuracy is not None
    opened.folder.lock()  # nobody holds the lock any more
    opened.folder.close()
    assert (opened.path / "DONE").exists()


def test_without_a_witness_and_without_data_it_is_said(learned: LearnedRun) -> None:
    opened = open_run(learned.path, plugins=PLUGINS)
    learned.witness()
    opened.folder.forget_step(WITNESS_STATISTICS)
    opened.folder.close()
    with pytest.raises(ConceptNetError):
        opened.witness()
    opened.folder.lock()
    opened.folder.close()
