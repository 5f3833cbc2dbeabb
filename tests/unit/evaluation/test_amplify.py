"""Iterated distillation and amplification: weights, bounds and gates by hand-computed and planted values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from two_convolutions import draw

from conceptnet_ml.contract.baseline_kind import small_context
from conceptnet_ml.errors import SettingsError
from conceptnet_ml.evaluation.baselines import BaselineContext, baseline_of
from conceptnet_ml.plugins import load_plugins
from conceptnet_plugins.baselines import amplify

PLUGINS = load_plugins(use_entry_points=False)
FORMS = {"amplify": amplify.fit, "amplify-ungated": amplify.ungated, "self-distil": amplify.alone}


def context_of(folder: Path, method: str = "amplify", held: int = 32) -> BaselineContext:
    record, argument = baseline_of(f"amplify-ungated:{method.partition(':')[2] or 3}", PLUGINS)
    ctx = small_context(folder, PLUGINS)
    context = BaselineContext(ctx, record, ctx.network(), 1, argument=argument)
    context.held = torch.arange(held)
    return context


def answers(labels: Tensor, strength: float) -> Tensor:
    """Log-probabilities (N, 2) that favour the labels, more or less."""
    right = torch.nn.functional.one_hot(labels, 2).double()
    return (strength * right + 0.5 * torch.randn(len(labels), 2, generator=draw(3)).double()).log_softmax(1)


def test_weights_go_to_the_call_that_tells_and_stay_finite_where_all_are_right() -> None:
    labels = torch.arange(200) % 2
    found = torch.stack([answers(labels, 0.0), answers(labels, 1.5), answers(1 - labels, 1.5)], 1)
    weights = amplify.fitted_weights(found, labels)
    assert weights[1] > 1 > abs(weights[0])
    assert weights[2] < -1
    sure = torch.tensor([[[0.0, -30.0]], [[-30.0, 0.0]]]).double()
    assert amplify.fitted_weights(sure, torch.tensor([0, 1])).item() == pytest.approx(1, abs=1e-3)


def test_the_lower_bound_of_a_mean() -> None:
    gain = torch.tensor([0.0, 1.0, 2.0, 3.0]).double()
    assert amplify.lower_bound(gain) == pytest.approx(1.5 - 1.645 * math.sqrt(5 / 3) / 2)


def test_one_half_of_each_class_fits_and_the_other_judges(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    fitted, judged = amplify.halves(context)
    assert sorted(torch.cat([fitted, judged]).tolist()) == context.held.tolist()
    for some in (fitted, judged):
        assert context.plain.images.labels[some].bincount().tolist() == [8, 8]
    context.held = context.held[:11]
    with pytest.raises(SettingsError, match="6 held-out images a class, and 'bright' has 5"):
        amplify.halves(context)


def test_calls_are_the_answer_the_mean_of_views_and_what_dreams_reach(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    images = context.plain.raw(context.held[:6])
    found = amplify.calls(context, context.ordinary, images, amplify.CALLS, 1)
    plain = context.answers(context.ordinary, images).log_softmax(1).double().detach()
    assert found.shape == (6, 3, 2)
    assert torch.allclose(found[:, 0], plain, atol=1e-5)
    reached = [
        context.answers(
            context.ordinary,
            amplify.climb(context.ordinary, images, torch.full((6,), label)),
        ).log_softmax(1)[:, label]
        for label in range(2)
    ]
    assert torch.allclose(found[:, 2], torch.stack(reached, 1).double().log_softmax(1).detach(), atol=1e-5)
    assert (found[:, 1] - found[:, 0]).abs().max() > 0
    assert torch.equal(amplify.calls(context, context.ordinary, images, amplify.CALLS[:1], 1), found[:, :1])


class Planted:
    """A context whose networks answer as planted: number 0, the ordinary one, tells nothing by itself; a student as
    much as is said. Amplified calls tell the label."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, method: str, amplified: float, student: float):
        self.context = context_of(folder, method)
        self.students: list[Any] = []
        self.shares: list[Tensor] = []
        labels = self.context.plain.images.labels

        def calls(context: Any, network: Any, images: Tensor, used: Any, time: int) -> Tensor:
            bright = (images.mean((1, 2, 3)) > self.middle).long()  # what the small pictures differ in
            strength = student if any(network is one for one in self.students) else 0.0
            columns = [answers(bright, strength), answers(bright, amplified), answers(bright, 0.0)]
            return torch.stack(columns[: len(used)], 1)

        def train(name: str, network: nn.Module, views: Any, epochs: int) -> nn.Module:
            _, told = views(torch.arange(len(self.context.plain)), draw())
            self.shares.append(told)
            self.students.append(network)
            return network

        means = self.context.plain.raw(torch.arange(64)).mean((1, 2, 3))
        self.middle = float((means[labels == 0].mean() + means[labels == 1].mean()) / 2)
        monkeypatch.setattr(amplify, "calls", calls)
        monkeypatch.setattr(self.context, "train", train)
        monkeypatch.setattr(self.context, "measure", lambda name, network: None)


@pytest.mark.parametrize(
    ("method", "amplified", "student", "trained", "kept"),
    [
        ("amplify", 0.0, 3.0, 0, False),  # the first gate
        ("amplify", 3.0, 0.0, 1, False),  # the second
        ("amplify:1", 4.0, 2.0, 1, True),
        ("amplify-ungated:2", 0.0, 0.0, 2, True),
        ("self-distil:2", 3.0, 0.0, 2, True),
    ],
)
def test_gates_end_it_with_the_last_network_that_passed(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    method: str,
    amplified: float,
    student: float,
    trained: int,
    kept: bool,
) -> None:
    planted = Planted(monkeypatch, tmp_path, method, amplified, student)
    found = FORMS[method.partition(":")[0]](planted.context)
    assert len(planted.students) == trained
    assert found is (planted.students[-1] if kept else planted.context.ordinary)


def test_a_student_learns_the_amplified_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without amplification what it is shown tells nothing."""
    right = {}
    for method in ("amplify:1", "self-distil:1"):
        planted = Planted(monkeypatch, tmp_path / method.partition(":")[0], method, 4.0, 2.0)
        FORMS[method.partition(":")[0]](planted.context)
        labels = planted.context.plain.images.labels[planted.context.plain.pool]
        assert torch.allclose(planted.shares[0].sum(1), torch.ones(len(labels)))
        right[method] = float((planted.shares[0].argmax(1) == labels).double().mean())
        monkeypatch.undo()
    assert right["amplify:1"] > 0.85 > 0.7 > right["self-distil:1"]
