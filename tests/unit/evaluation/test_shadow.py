"""Dreams by transposed weights: the theory on planted weights, and the way down by hand-computed values."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from two_convolutions import draw, network

from conceptnet_ml.errors import SettingsError
from conceptnet_plugins.baselines import shadow


def test_random_weights_lead_back_to_a_sparse_layer_and_a_negative_bias_to_more_of_it() -> None:
    """The planted layer of the theory: n = 4000, m = 1000, k = 20, ρ = .5, α = 2/(ρn); ‖ĥ − h‖² / ‖h‖²."""
    n, m, k, count = 4000, 1000, 20, 20
    weights = torch.randn(n, m, generator=draw())
    hidden = torch.zeros(count, m).scatter(1, torch.rand(count, m, generator=draw(1)).topk(k, 1).indices, 1.0)
    kept = torch.rand(count, n, generator=draw(2)) < 0.5
    seen = 2 / n * shadow.thinned(hidden @ weights.T, kept, 0.5)
    error = {}
    for below in (0.0, 1.5):
        bias = -below * math.sqrt(2 / (0.5 * n)) * math.sqrt(k)
        again = (seen @ weights + bias).relu()
        error[below] = float(((again - hidden).square().sum(1) / hidden.square().sum(1)).mean())
    assert error[0.0] == pytest.approx(0.5, abs=0.03)
    assert error[1.5] == pytest.approx(0.09, abs=0.01)


def test_the_way_down_is_the_transposed_network_with_the_switches_of_its_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "KEPT", 1.0)
    net, images = network(), torch.rand(3, 3, 8, 8, generator=draw())
    first, last = net.model[0], net.model[3]
    below = first(images).relu()
    pooled, switches = functional.max_pool2d(below, 2, return_indices=True)
    top = last(pooled).relu()
    middle = functional.max_unpool2d(functional.conv_transpose2d(top, last.weight, padding=1), switches, 2).relu()
    middle = middle * (below.flatten(1).norm(dim=1) / middle.flatten(1).norm(dim=1))[:, None, None, None]
    signal = functional.conv_transpose2d(middle, first.weight, padding=1)
    signal = signal * (images.flatten(1).norm(dim=1) / signal.flatten(1).norm(dim=1))[:, None, None, None]
    found = shadow.dream(net, images, net.stage_names[-1], draw())
    assert not found.requires_grad
    assert torch.allclose(found, signal.clamp(0, 1), atol=1e-5)


def test_a_dream_leaves_out_half_and_leaves_the_network_as_it_was() -> None:
    net, images = network().train(), torch.rand(2, 3, 8, 8, generator=draw())
    net.model[1].eval()
    stage = net.stage_names[-1]
    one, same, other = (shadow.dream(net, images, stage, draw(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert net.training
    assert not net.model[1].training
    assert not any(part._forward_hooks for part in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_each_step_dreams_by_numbers_of_its_own_and_counts_images_and_dreams_alike() -> None:
    shadowed = shadow.Shadowed(network(), network().stage_names[-1], 7)
    images, labels = torch.rand(4, 3, 8, 8, generator=draw()), torch.tensor([0, 1, 1, 0])
    dreams = shadow.dream(shadowed.network, images, shadowed.stage, draw(8))
    logits = shadowed(torch.cat([images, dreams]))
    loss = shadow.shadowing(shadowed, images, labels)
    assert torch.allclose(loss, functional.cross_entropy(logits, labels.repeat(2)))
    assert int(shadowed.dreams) == 1
    assert not torch.equal(loss, shadow.shadowing(shadowed, images, labels))


@pytest.mark.parametrize(("activation", "wrong"), [(nn.GELU, "passes GELU"), (nn.Identity, "has not both")])
def test_a_network_without_a_way_down_is_refused(activation: type[nn.Module], wrong: str) -> None:
    net = network(activation)
    with pytest.raises(SettingsError, match=wrong) as error:
        shadow.dream(net, torch.rand(2, 3, 8, 8), net.stage_names[-1], draw())
    assert "network.backbone=small" in error.value.mend
    assert not any(part._forward_hooks for part in net.modules())
