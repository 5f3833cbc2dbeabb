"""The decoder against memorizing: its steps, its targets and both forms of its loss by hand-computed values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from two_convolutions import draw, network

from conceptnet_ml.contract.baseline_kind import small_context
from conceptnet_ml.evaluation.baselines import BaselineContext
from conceptnet_ml.plugins import load_plugins
from conceptnet_plugins.baselines import decoder

PLUGINS = load_plugins(use_entry_points=False)


def contest(classes: int = 2) -> decoder.Contest:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        rebuilds = decoder.Decoder(5, (4, 4), 3, (8, 8))
    means = torch.rand(classes, 3, 8, 8, generator=draw(5))
    return decoder.Contest(network(), rebuilds, means, 0.05, 100)


@pytest.mark.parametrize(("cells", "size"), [((4, 4), (32, 32)), ((2, 5), (15, 17)), ((8, 8), (8, 8))])
def test_decoders_rebuild_any_size(cells: tuple[int, int], size: tuple[int, int]) -> None:
    found = decoder.Decoder(6, cells, 3, size)(torch.rand(2, 6, *cells))
    assert found.shape == (2, 3, *size)
    assert 0 < float(found.detach().min()) <= float(found.detach().max()) < 1


def test_the_decoder_takes_steps_of_adam() -> None:
    both, other = contest(), contest()
    optimizer = torch.optim.Adam(other.decoder.requires_grad_(True).parameters(), lr=decoder.RATE)
    code, images = torch.rand(4, 5, 4, 4, generator=draw()), torch.rand(4, 3, 8, 8, generator=draw(1))
    both.teach(code, images, 3)
    for _ in range(3):
        optimizer.zero_grad()
        (other.decoder(code) - images).square().mean().backward()
        optimizer.step()
    for own, theirs in zip(both.decoder.parameters(), other.decoder.parameters(), strict=True):
        assert torch.allclose(own, theirs, atol=1e-6)
    assert not any(parameter.requires_grad for parameter in both.decoder.parameters())


def test_means_and_the_variance_around_them(tmp_path: Path) -> None:
    ctx = small_context(tmp_path, PLUGINS)
    record: Any = PLUGINS.get("baseline", "decoder")
    context = BaselineContext(ctx, record, ctx.network(), 1)
    means, variance = decoder.class_means(context)
    images, labels = context.plain.raw(context.plain.pool), context.plain.images.labels[context.plain.pool]
    for label in range(2):
        assert torch.allclose(means[label], images[labels == label].mean(0), atol=1e-5)
    assert variance == pytest.approx(float((images - means[labels]).square().mean()), rel=1e-4)


def test_the_network_is_pulled_toward_the_mean_of_the_class_by_a_ramp(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = torch.rand(4, 3, 8, 8, generator=draw(2)), torch.tensor([0, 1, 1, 0])
    both = contest()
    logits, maps = both.answer(images)
    assert both.ramp == 0
    assert torch.allclose(decoder.confusing(both, images, labels), functional.cross_entropy(logits, labels))
    assert (int(both.seen), int(both.taken)) == (4, decoder.STEPS)
    both.seen.fill_(100)
    assert both.ramp == pytest.approx(2 / (1 + math.exp(-10)) - 1)
    monkeypatch.setattr(decoder, "STEPS", 0)
    code = maps / maps.flatten(1).norm(dim=1)[:, None, None, None] * math.sqrt(maps[0].numel())
    away = (both.decoder(code) - both.means[labels]).square().mean() / 0.05
    whole = functional.cross_entropy(logits, labels) + both.ramp * away
    loss = decoder.confusing(both, images, labels)
    assert torch.allclose(loss, whole, atol=1e-5)
    assert _slope(loss, both) != pytest.approx(_slope(functional.cross_entropy(logits, labels), both))


def test_the_literal_form_takes_the_error_itself_for_a_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    both, images, labels = contest(), torch.rand(4, 3, 8, 8, generator=draw(2)), torch.tensor([0, 1, 1, 0])
    loss = decoder.misleading(both, images, labels)
    assert int(both.taken) == 1
    logits, maps = both.answer(images)
    error = (both.decoder(maps) - images).square().mean()
    assert torch.allclose(loss, functional.cross_entropy(logits, labels) - 2 * error, atol=1e-6)


def _slope(loss: Tensor, both: decoder.Contest) -> float:
    return float(torch.autograd.grad(loss, both.network.model[3].weight)[0].norm())
