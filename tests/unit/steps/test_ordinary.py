"""A network at chance is not analysed without a word."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from planted import accuracy, planted_data, settings, workbench
from torch import Tensor

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.errors import NothingLearned
from conceptnet_ml.evaluation.baselines import BaselineContext
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.steps import ordinary
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.ordinary import train_ordinary, wilson

STILL = {"epochs": 1, "least_steps": 0, "rate": 1e-12}


def answering(monkeypatch: pytest.MonkeyPatch, answers: Tensor) -> None:
    """Nothing is trained, and these are the answers to the held-out images."""
    logits = torch.nn.functional.one_hot(answers, 2).float()
    monkeypatch.setattr(Context, "train", lambda ctx, *args: ctx.network())
    monkeypatch.setattr(ordinary, "predict_set", lambda *args: logits)


def bench_of(folder: Path, shares: tuple[int, int], chosen: Settings | None = None) -> Context:
    """A context over empty images, so many of either class; a half of each is held out."""
    labels = torch.tensor([0, 1]).repeat_interleave(torch.tensor(shares))
    images = ImageSet(torch.zeros(len(labels), 3, 16, 16, dtype=torch.uint8), labels)
    chosen = chosen or settings(data={"holdout": 0.499})
    return workbench(folder, Data("empty", ("a", "b"), images, {"test": images}), chosen)


def test_an_untrained_network_stops_the_run_and_nothing_is_lost(tmp_path: Path) -> None:
    data = planted_data(count=320)
    ctx = workbench(tmp_path, data, settings(training=STILL))
    with pytest.raises(NothingLearned, match="no better than chance") as stopped:
        train_ordinary(ctx)
    assert "50.0% is chance" in stopped.value.message
    assert f"learn --resume {ctx.run.path} --set training.above_chance=false" in stopped.value.mend
    assert ctx.run.has_step("ordinary")
    assert not ctx.run.has_step("ordinary/held")
    ctx.settings = settings(training={**STILL, "above_chance": False})
    train_ordinary(ctx)
    ctx.settings = settings(training=STILL)
    train_ordinary(ctx)  # whoever opens the run later is not asked again
    assert [line["name"] for line in ctx.run.metrics() if line["event"] == "trained"] == ["ordinary"]


@pytest.mark.parametrize(
    ("network", "head_epochs", "trained"),
    [("trained", 4, ["ordinary/head", "ordinary"]), ("trained", 0, ["ordinary"]), ("fresh", 4, ["ordinary"])],
)
def test_what_is_past_the_last_stage_of_trained_weights_is_trained_first(
    network: str, head_epochs: int, trained: list[str], tmp_path: Path
) -> None:
    data, plain = planted_data(count=320), workbench(tmp_path / "given", planted_data(count=320), settings())
    weights = plain.network().model.state_dict()
    torch.save(weights, file := tmp_path / "given.pt")
    chosen = settings(
        training={"head_epochs": head_epochs, "above_chance": False},
        network={"weights": str(file)} if network == "trained" else {},
    )
    ctx = workbench(tmp_path / "run", data, chosen)
    trained_on = train_ordinary(ctx)
    assert [line["name"] for line in ctx.run.metrics() if line["event"] == "trained"] == trained
    if len(trained) > 1:
        head = ctx.run.step_value("ordinary/head")
        moved = {name for name, value in weights.items() if not torch.equal(head[f"model.{name}"], value)}
        assert moved == {"head.weight", "head.bias"}
        for begun in (ctx.network(), BaselineContext(ctx, ctx.plugins.get("baseline", "lff"), trained_on, 1).fresh()):
            assert all(torch.equal(value, head[name]) for name, value in begun.state_dict().items()), (
                "for all trainings"
            )
    assert train_ordinary(ctx) is not None, "it is read back"


def test_weights_that_are_given_stay_as_they_are(tmp_path: Path) -> None:
    data = planted_data(count=320)
    given = train_ordinary(workbench(tmp_path / "given", data, settings()))
    file = tmp_path / "given.pt"
    torch.save(given.model.state_dict(), file)
    asked = settings(training={"epochs": 0}, network={"weights": str(file)})
    ctx = workbench(tmp_path / "run", data, asked)
    for _ in range(2):  # the run goes on with them, even if the file now holds others
        network = train_ordinary(ctx)
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), given.parameters(), strict=True))
        torch.save({name: 0 * value for name, value in given.model.state_dict().items()}, file)
    assert not [line for line in ctx.run.metrics() if line["event"] == "trained"]
    with pytest.raises(NothingLearned, match="the network as it was given is no better") as stopped:
        train_ordinary(workbench(tmp_path / "spoilt", data, asked))  # the file holds zeros by now
    assert "lying, standing, in this order" in stopped.value.mend
    assert "network.normalise=false" in stopped.value.mend


@pytest.mark.parametrize(
    ("shares", "wrong", "stops"),
    [
        ((40, 40), 15, True),  # of 25 in 40 Wilson's one-sided bound is 0.495
        ((40, 40), 14, False),
        ((40, 40), 25, True),
        ((8, 8), 1, False),
        ((8, 8), 3, False),  # 5 of 8 are right: not shown to be above chance, nor near it
        ((8, 8), 5, True),
        ((4, 4), 2, False),
    ],
)
def test_a_network_is_at_chance_if_both_bounds_say_so(
    shares: tuple[int, int], wrong: int, stops: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = bench_of(tmp_path, shares)
    answers = ctx.labels[ctx.held].clone()
    answers[torch.randperm(len(answers), generator=torch.Generator().manual_seed(0))[:wrong]] ^= 1
    answering(monkeypatch, answers)
    said: list[str] = []
    monkeypatch.setattr(Progress, "say", lambda progress, text: said.append(text))
    if stops:
        with pytest.raises(NothingLearned):
            train_ordinary(ctx)
    else:
        train_ordinary(ctx)
        (line,) = [line for line in ctx.run.metrics() if line["event"] == "ordinary"]
        assert line["accuracy"] == 1 - wrong / len(answers)
        few = wilson(len(answers) - wrong, len(answers), 1.644854)[0] <= line["chance"]
        assert any("too few are held out to tell" in text for text in said) == few


def test_classes_of_other_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To name the larger class always is chance, however often it is right; to know the smaller one is not."""
    ctx = bench_of(tmp_path, (160, 40))
    answering(monkeypatch, torch.zeros(len(ctx.held), dtype=torch.int64))
    with pytest.raises(NothingLearned, match=r"80 of 100 held-out images .* 80.0% is chance"):
        train_ordinary(ctx)
    known = ctx.labels[ctx.held].clone()
    known[torch.nonzero(known == 0).flatten()[:20]] = 1  # 80 of 100 as well
    answering(monkeypatch, known)
    train_ordinary(ctx)


def test_few_images_are_trained_on_for_the_least_steps(tmp_path: Path) -> None:
    said: list[str] = []

    def hear(text: str) -> None:
        if "too few" in text:
            said.append(text)

    data = planted_data(count=48)
    chosen = settings(data={"holdout": 0.25}, training={"batch": 32, "least_steps": 64, "rate": 0.05})
    ctx = workbench(tmp_path, data, chosen)
    ctx.progress.say = hear  # type: ignore[method-assign]
    network = train_ordinary(ctx)
    assert said == [
        "ordinary training: 8 epochs of 1 step are too few: 64 epochs instead, 64 steps in all",
        "rounds: 16 epochs of 1 step are too few: 64 epochs instead, 64 steps in all",
    ]
    (entry,) = [line for line in ctx.run.metrics() if line["event"] == "trained"]
    assert entry["steps"] == 64
    assert accuracy(network, data)["test"] > 0.9
    train_ordinary(ctx)
    assert len(said) == 2, "what is trained already is not announced"


def test_runs_of_before_know_neither_rule() -> None:
    stored = Settings().model_dump(mode="json")
    for name in ("least_steps", "above_chance"):
        stored["training"].pop(name)
    assert Settings.of_run(stored).training.least_steps == 0
    assert not Settings.of_run(stored).training.above_chance
    assert Settings.of_run(Settings().model_dump(mode="json")) == Settings()


@pytest.mark.parametrize(("trained", "width", "rate"), [(True, 1, 0.1), (False, 2, 0.05)])
def test_who_is_only_asked_about_views_knows_nothing_before(
    trained: bool, width: int, rate: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained weights know the object already: the default network is asked in their place, from fresh weights."""
    asked: list[tuple[StagedNetwork, float]] = []
    monkeypatch.setattr(
        Context, "train", lambda _, name, network, views, epochs, rate, *rest: asked.append((network, rate))
    )
    wide = workbench(tmp_path / "given", planted_data(count=32), settings(network={"backbone": "small:2"})).network()
    torch.save(wide.model.state_dict(), file := tmp_path / "given.pt")
    network = {"backbone": "small:2", **({"weights": str(file)} if trained else {})}
    data = planted_data(count=32)
    ctx = workbench(tmp_path / "run", data, settings(network=network, training={"head_epochs": 0, "rate": 0.05}))
    ctx.train_auxiliary("asked", ctx.views(ctx.fit, []), 1)
    asked_network, at = asked[0]
    assert at == rate
    shapes = [value.shape for value in asked_network.parameters()]
    fresh = workbench(tmp_path / "fresh", data, settings(network={"backbone": f"small:{width}"})).network()
    assert shapes == [value.shape for value in fresh.parameters()]
