"""Gates learned from dreamt ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from conceptnet_ml.config.settings import ProbeSettings, Settings
from conceptnet_ml.network.build import build_network
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.swap.gate_predictor import DIRECTIONS, GateFeatures, GatePredictor
from conceptnet_ml.swap.probe import Prober
from conceptnet_ml.swap.representation import IMAGE, Codec

CELLS = 8


def features_and_gates(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features (N, 5, 8, 8) whose first channel is high where the gate is open; what is open; and the gates as dreamt,
    every twentieth cell of which was opened or closed by chance."""
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(count, 5, CELLS, CELLS, generator=draw)
    places = torch.randint(CELLS - 2, (count, 2), generator=draw)
    true = torch.zeros(count, 1, CELLS, CELLS)
    for image, (top, left) in enumerate(places.tolist()):
        true[image, 0, top : top + 3, left : left + 3] = 1
    features[:, :1] = 40 + 8 * true + features[:, :1]  # neither centred nor of unit size
    chance = torch.rand(count, 1, CELLS, CELLS, generator=draw) < 0.05
    return features, true, torch.where(chance, 1 - true, true)


def test_it_learns_what_dreams_have_in_common() -> None:
    features, _, dreamt = features_and_gates(256, 0)
    predictor = GatePredictor(features, dreamt, 0.5, 0)
    features, true, dreamt = features_and_gates(64, 1)
    found = predictor(features) > 0.5
    right = ((found & true.bool()).sum() / (found | true.bool()).sum()).item()
    chance = ((dreamt.bool() & true.bool()).sum() / (dreamt.bool() | true.bool()).sum()).item()
    assert right > chance
    assert found[true.bool()].float().mean() > 0.98 > dreamt[true.bool()].mean()


@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_it_opens_as_many_cells_as_the_dreams(threshold: float) -> None:
    features, _, dreamt = features_and_gates(128, 2)
    predictor = GatePredictor(features, 0.1 + 0.8 * dreamt, threshold, 0)
    share = (predictor(features) > threshold).float().mean()
    assert share == pytest.approx(float(dreamt.mean()), abs=0.005)


def test_the_seed_alone_decides() -> None:
    features, _, dreamt = features_and_gates(64, 3)
    torch.manual_seed(5)
    first = GatePredictor(features, dreamt, 0.5, 7)(features)
    torch.manual_seed(6)
    before = torch.get_rng_state()
    again = GatePredictor(features, dreamt, 0.5, 7)(features)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, GatePredictor(features, dreamt, 0.5, 8)(features))


def test_all_open_or_all_closed_stays_so() -> None:
    features, _, dreamt = features_and_gates(64, 4)
    assert bool((GatePredictor(features, torch.zeros_like(dreamt), 0.5, 0)(features) <= 0.5).float().mean() > 0.99)
    assert bool((GatePredictor(features, torch.ones_like(dreamt), 0.5, 0)(features) >= 0.5).all())


@pytest.fixture(scope="module")
def network() -> StagedNetwork:
    plugins = load_plugins(use_entry_points=False)
    return build_network(Settings(), ("a", "b"), (32, 64), plugins).eval()


def test_features_are_the_gradient_and_the_maps_of_both_on_the_gates_grid(network: StagedNetwork) -> None:
    prober = Prober(network, Codec(IMAGE), ProbeSettings(cells=CELLS))
    draw = torch.Generator().manual_seed(0)
    images, donors = torch.rand(2, 6, 3, 32, 64, generator=draw)
    targets = torch.arange(6) % 2
    features_of = GateFeatures.fit(network, prober, images)
    found = features_of(images, donors, targets)
    widths = [min(DIRECTIONS, stage.units) for stage in network.stages]
    assert found.shape == (6, 1 + 2 * sum(widths), CELLS // 2, CELLS)
    assert torch.allclose(found[:, :1], prober.first_gradient(images, donors, targets))
    assert torch.allclose(features_of(images[:2], donors[:2], targets[:2]), found[:2], atol=1e-4)
    swapped = features_of(donors, images, targets)
    half = sum(widths)
    assert torch.allclose(swapped[:, 1 : 1 + half], found[:, 1 + half :], atol=1e-4)


def test_directions_are_found_where_most_channels_are_dead(
    network: StagedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a wide network that was trained for a short while: in single precision the solver may give up on it."""
    draw = torch.Generator().manual_seed(0)
    maps = torch.zeros(100, 256, 2, 2)
    alive = torch.randperm(256, generator=draw)[:32]
    maps[:, alive] = torch.randn(100, 32, 2, 2, generator=draw).relu()
    monkeypatch.setattr(GateFeatures, "_maps", lambda self, images: {"wide": maps})
    prober = Prober(network, Codec(IMAGE), ProbeSettings(cells=CELLS))
    directions = GateFeatures.fit(network, prober, maps).directions["wide"].flatten(1)
    assert directions.dtype == torch.float32
    torch.testing.assert_close(directions @ directions.T, torch.eye(len(directions)), atol=1e-5, rtol=0)
    assert float(directions.square().sum(0)[alive].sum()) == pytest.approx(len(directions), abs=1e-4)
