"""Dreams through a filter: each question, the strongest that passes, and when the method switches itself off."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from two_convolutions import draw

from conceptnet_ml.contract.baseline_kind import small_context
from conceptnet_ml.dreams.judgement import Witness
from conceptnet_ml.evaluation.baselines import BaselineContext, baseline_of
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.steps.context import Context
from conceptnet_plugins.baselines import filtered_dreams as filtered

PLUGINS = load_plugins(use_entry_points=False)


def context_of(ctx: Context) -> BaselineContext:
    record, _ = baseline_of("filtered-dreams", PLUGINS)
    return BaselineContext(ctx, record, ctx.network(), 1)


class Planted:
    """A witness that sees class 1 where a picture's red is light, and finds what is green or blue unlike the data."""

    def judge(self, images: Tensor, expected: Any) -> list[Any]:
        red, green, blue = (images[:, channel].float().mean((1, 2)) / 255 for channel in range(3))
        return [
            SimpleNamespace(
                recognised=int(red[row] > 0.5) == label,
                distance_p=1 - float(green[row]),
                energy_p=1 - float(blue[row]),
            )
            for row, label in enumerate(expected)
        ]


def planted(context: Any, answers: Any = lambda network, images: torch.zeros(len(images), 2)) -> filtered.Filter:
    context = SimpleNamespace(plain=context.plain, device=context.device, answers=answers)
    held = [torch.arange(199).double() - 99.0, torch.arange(199).double()]
    return filtered.Filter(context, Planted(), [0, 1], held)  # type: ignore[arg-type]


def flat(*colours: tuple[int, int, int]) -> Tensor:
    return torch.tensor(colours, dtype=torch.uint8)[:, :, None, None].expand(-1, -1, 4, 4)


def test_p_is_the_share_of_held_out_values_as_large() -> None:
    held = torch.tensor([0.0, 1.0, 2.0]).double()
    assert filtered.tail(torch.tensor([-1.0, 1.0, 1.5, 3.0]).double(), held).tolist() == [1.0, 0.75, 0.5, 0.25]


def test_each_question_refuses_what_it_asks_about_and_bounds_share_the_tail(tmp_path: Path) -> None:
    sieve = planted(context_of(small_context(tmp_path, PLUGINS)))
    images = flat((255, 0, 0), (0, 0, 0), (255, 251, 0), (255, 0, 251), (255, 250, 250))
    found = sieve.refused(images, torch.ones(5, dtype=torch.int64), torch.zeros(5, dtype=torch.int64))
    assert found["label"].tolist() == [False, True, False, False, False]
    assert found["distance"].tolist() == [False, False, True, False, False]  # p .0157 and .0196, a third of .05
    assert found["energy"].tolist() == [False, False, False, True, False]
    assert not found["classifier"].any()
    sieve.tail = 0.15
    found = sieve.refused(images, torch.ones(5, dtype=torch.int64), torch.zeros(5, dtype=torch.int64))
    assert found["distance"].tolist() == [False, False, True, False, True]


def test_each_picture_is_shown_to_the_network_it_is_meant_for(tmp_path: Path) -> None:
    def answers(network: int, images: Tensor) -> Tensor:
        return torch.tensor([[0.0, 197.0 - 99 * (network == 0)]]).expand(len(images), 2)

    sieve = planted(context_of(small_context(tmp_path, PLUGINS)), answers)
    halves = torch.tensor([0, 1, 0])
    images = flat(*[(255, 0, 0)] * 3)
    assert sieve.dreamlike(images, halves).tolist() == [98.0, 197.0, 98.0]
    assert sieve.refused(images, torch.ones(3).long(), halves)["classifier"].tolist() == [True, True, True]
    sieve.logits = [held + 50 * place for place, held in enumerate(sieve.logits)]
    assert sieve.refused(images, torch.ones(3).long(), halves)["classifier"].tolist() == [True, False, True]


def test_the_strongest_that_passes_is_kept_else_the_image() -> None:
    """Pictures tell their strength by their red, and their place by their green."""
    allowed = torch.tensor([1.0, 0.5, 0.125, 0.0])
    places = torch.arange(4)
    images, dreams = (flat(*[(red, place, 0) for place in range(4)]) for red in (10, 210))
    whole = SimpleNamespace(take=lambda numbers: images[numbers], labels=places % 2)
    asked: list[list[int]] = []

    def refused(shown: Tensor, labels: Tensor, halves: Tensor) -> dict[str, Tensor]:
        own = shown[:, 1, 0, 0].long()
        asked.append(own.tolist())
        assert torch.equal(labels, own % 2)
        assert torch.equal(halves, 1 - own % 2)  # the network that was not trained on it
        return {"it": (shown[:, 0, 0, 0].float() - 10) / 200 > allowed[own] + 0.01}

    plain = SimpleNamespace(images=whole, pool=places)
    sieve: Any = SimpleNamespace(context=SimpleNamespace(plain=plain), refused=refused)
    kept, strength = filtered.strongest(sieve, dreams, places)
    assert torch.equal(strength, allowed)
    assert kept[:, 0, 0, 0].tolist() == [210, 110, 35, 10]
    assert asked == [[0, 1, 2, 3], [1, 2, 3], [2, 3], [2, 3]]


def test_dreams_and_images_to_be_told_apart_are_of_one_half_alone(tmp_path: Path) -> None:
    context = context_of(small_context(tmp_path, PLUGINS))
    places = torch.arange(len(context.plain))
    images = context.plain.raw(context.plain.pool)
    dreams = torch.zeros_like(context.plain.images.take(context.plain.pool))
    for half in range(2):
        shown, told = filtered.told_apart(context, dreams, half)(places, draw())
        mine = images[places % 2 == half]
        scale = torch.tensor([0.0, *(1 - one for one in filtered.STRENGTHS)])
        seen = set()
        for picture, label in zip(shown, told.tolist(), strict=True):
            apart = (picture - scale[:, None, None, None, None].mul(mine)).abs().flatten(2).amax(2)
            far = [1.0, *filtered.STRENGTHS][int(apart.amin(1).argmin())] if label else 0.0
            whole = (picture - mine).abs().flatten(1).amax(1).min()
            assert (float(whole) < 1e-6) == (label == 0)
            seen.add(far)
        assert len(seen) == len(filtered.STRENGTHS) + 1
        assert 0.3 < float(told.double().mean()) < 0.7


@pytest.mark.parametrize(("better", "said"), [(True, "on"), (False, "off")])
def test_dreams_are_kept_where_held_out_labels_are_likelier_by_them(
    better: bool, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = small_context(tmp_path, PLUGINS)
    context = context_of(ctx)
    networks = {"plain": ctx.network(), "train": ctx.network()}
    labels = context.plain.images.labels[context.held]

    def calls(context: Any, network: Any, images: Tensor, used: Any, time: int) -> Tensor:
        bright = (images.mean((1, 2, 3)) > images.mean()).double()
        strength = 2.0 if (network is networks["train"]) == better else 0.1
        noise = 0.3 * torch.randn(len(images), generator=draw()).double()
        return torch.stack([torch.zeros(len(images)).double(), strength * (2 * bright - 1) + noise], 1)[
            :, None
        ].log_softmax(2)

    monkeypatch.setattr(filtered, "LEAST", len(labels))
    monkeypatch.setattr(filtered.amplify, "calls", calls)
    monkeypatch.setattr(filtered, "passed", lambda context: context.plain.images.take(context.plain.pool))
    monkeypatch.setattr(context, "train", lambda name, network, views, epochs: networks[name])
    assert filtered.fit(context) is networks["train" if better else "plain"]
    noted = [line for line in ctx.run.metrics() if line["event"] == "noted"]
    assert [line["name"] for line in noted] == [said]
    assert (noted[0]["lower_bound"] > 0) == better


def test_with_few_held_out_images_it_is_off_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = small_context(tmp_path, PLUGINS)
    context = context_of(ctx)
    trained: list[str] = []
    monkeypatch.setattr(context, "train", lambda name, network, views, epochs: trained.append(name) or network)
    filtered.fit(context)
    assert trained == ["plain"]
    (noted,) = (line for line in ctx.run.metrics() if line["event"] == "noted")
    assert (noted["name"], noted["reason"][:18]) == ("off", "16 held-out images")


def test_what_passes_of_real_dreams_is_near_images_and_still_of_their_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way on small pictures, by an untrained witness: all that is kept passes when it is asked again."""
    ctx = small_context(tmp_path, PLUGINS)
    context = context_of(ctx)
    witness = Witness.fit(
        ctx.network().eval(),
        context.plain.images.take(context.plain.pool),
        context.plain.images.take(context.held),
        ctx.device,
    )
    monkeypatch.setattr(context, "witness", lambda: witness)
    kept, dreams = filtered.passed(context), filtered.dreams_of(context)
    images = context.plain.images.take(context.plain.pool)
    changed = (kept != images).flatten(1).any(1)
    assert ((kept.int() - images.int()).abs() <= (dreams.int() - images.int()).abs() + 1).all()
    sieve = filtered.Filter.of(context, dreams)
    labels = context.plain.images.labels[context.plain.pool]
    refused = sieve.refused(kept, labels, 1 - torch.arange(len(kept)) % 2)
    assert not (torch.stack(list(refused.values())).any(0) & changed).any()
    (noted,) = (line for line in ctx.run.metrics() if line["event"] == "noted")
    assert noted["share"] == pytest.approx(float(changed.double().mean()))
