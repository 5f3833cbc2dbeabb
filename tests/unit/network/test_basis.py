"""Directions in place of units: coefficients, the network described by them, what is found, swapped and drawn."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace

import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor, nn

from conceptnet_ml.checks import check_settings
from conceptnet_ml.concepts.attribution import Attribution, attribute
from conceptnet_ml.concepts.model import Family, Trunk
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.concepts.scores import FindEvidence, Finding, gather_evidence
from conceptnet_ml.config.settings import ConceptSettings, Settings
from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.basis import (
    RIDGE,
    BasisEvidence,
    BasisNetwork,
    Directions,
    direction_count,
    units_of,
    with_basis,
    without_basis,
)
from conceptnet_ml.network.build import build_network
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.results.graph_builder import build_graph
from conceptnet_ml.steps.channel_probe import _let_in
from conceptnet_ml.steps.records import Learned, Round, StageBasis
from conceptnet_ml.swap.probe import margin_over_runner_up
from conceptnet_plugins.discoverers.sae import SparseAutoencoder

PLUGINS = load_plugins(use_entry_points=False)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def network() -> StagedNetwork:
    """The small network with moved batch norms, so that nothing is symmetric."""
    made = build_network(Settings(seed=3), ("a", "b", "c"), (32, 32), PLUGINS)
    with torch.no_grad():
        for _ in range(3):
            made(torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    return made.eval()


PICTURES = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def autoencoder(units: int) -> SparseAutoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = SparseAutoencoder(units, 2 * units, 5)
        nn.init.normal_(made.directions)
    return made.eval().requires_grad_(False)


BASES = {"directions": lambda units: Directions(noise(7, units).abs()), "autoencoder": autoencoder}


# ---------------------------------------------------------------------------------------------------- coefficients


@pytest.mark.parametrize("signed", [False, True])
def test_coefficients_are_those_of_non_negative_least_squares(signed: bool) -> None:
    directions = Directions(noise(6, 9) if signed else noise(6, 9).abs() * (noise(6, 9, seed=5) > 0))
    maps = noise(4, 9, 3, 2, seed=1).abs() if not signed else noise(4, 9, 3, 2, seed=1)
    found = directions.encode(maps)
    assert found.shape == (4, 6, 3, 2)
    # With the ridge as further rows, to be met by zeros.
    sides = torch.cat([directions.directions.T, RIDGE**0.5 * torch.eye(6)]).double().numpy()
    for image in range(4):
        for place in range(6):
            row, column = divmod(place, 2)
            wanted, _ = nnls(sides, torch.cat([maps[image, :, row, column], torch.zeros(6)]).double().numpy())
            assert found[image, :, row, column].tolist() == pytest.approx(wanted.tolist(), abs=5e-3)


def test_a_sum_of_directions_is_told_exactly() -> None:
    directions = Directions(noise(5, 12))
    told = noise(3, 5, 4, 4, seed=1).clamp_min(0)
    torch.testing.assert_close(directions.encode(directions.decode(told)), told, atol=1e-2, rtol=0)


def test_the_coefficients_slope_is_that_of_the_solution() -> None:
    directions = Directions(noise(5, 8)).double()
    maps = noise(2, 8, 2, 2, seed=4).double().requires_grad_(True)
    weights = noise(2, 5, 2, 2, seed=6).double()
    (slope,) = torch.autograd.grad((directions.encode(maps) * weights).sum(), maps)
    step, changed = 1e-4, torch.zeros_like(slope)
    with torch.no_grad():
        for place in range(maps.numel()):
            off = torch.zeros(maps.numel(), dtype=torch.float64)
            off[place] = step
            ends = [(directions.encode(maps + sign * off.view_as(maps)) * weights).sum() for sign in (1, -1)]
            changed[tuple(torch.unravel_index(torch.tensor(place), changed.shape))] = (ends[0] - ends[1]) / (2 * step)
    torch.testing.assert_close(slope, changed, atol=2e-2, rtol=2e-2)


def test_places_do_not_depend_on_batches_and_do_not_repeat() -> None:
    maps = torch.arange(5 * 3 * 2 * 2, dtype=torch.float32).view(5, 3, 2, 2)
    whole, parts = BasisEvidence([maps], 4), BasisEvidence([maps[:2], maps[2:]], 4)
    assert torch.equal(whole.places(11), parts.places(11))
    assert whole.places(11).shape == (11, 3)
    assert len(whole.places(99).unique(dim=0)) == 20
    assert not torch.equal(whole.places(11), replace(whole, seed=5).places(11))


def test_explained_is_the_share_of_the_variance() -> None:
    maps = torch.zeros(2, 2, 1, 2)
    maps[:, 0] = torch.tensor([[[0.0, 6.0]], [[0.0, 6.0]]])
    maps[:, 1] = torch.tensor([[[0.0, 0.0]], [[2.0, 2.0]]])
    evidence = BasisEvidence([maps[:1], maps[1:]], 0)
    assert evidence.units == 2
    # Left out: the second unit, 4 + 4 in all; variance: 4 · 9 + 4 · 1.
    assert evidence.explained(Directions(torch.tensor([[1.0, 0.0]]))) == pytest.approx(1 - 8 / 40, abs=1e-3)


# ---------------------------------------------------------------------------------------------------- the network


@pytest.mark.parametrize("kind", BASES)
def test_a_network_described_by_directions_computes_what_it_did(network: StagedNetwork, kind: str) -> None:
    described: BasisNetwork = with_basis(network, "block3", BASES[kind](64))
    described = with_basis(described, "block1", BASES[kind](16))
    assert without_basis(described) is network
    assert set(described.bases) == {"block1", "block3"}
    with torch.no_grad():
        logits = network(PICTURES)
        torch.testing.assert_close(described(PICTURES), logits)
        for stage in network.stages:
            maps = described.run_until(PICTURES, stage.name)
            more = described.widths.get(stage.name, 0)
            assert maps.shape[1] == stage.units + more
            assert direction_count(described, stage.name) == (more or None)
            assert units_of(described, stage.name, maps).shape[1] == (more or stage.units)
            torch.testing.assert_close(described.run_from(maps, stage.name), logits, atol=1e-5, rtol=1e-5)
        lower, upper = (described.run_until(PICTURES, stage) for stage in ("block1", "block3"))
        torch.testing.assert_close(described.run_between(lower, "block1", "block3"), upper, atol=1e-4, rtol=1e-3)
        assert described.run_between(upper, "block3", "block3") is upper
        half = described.run_until(PICTURES, "block2")
        torch.testing.assert_close(half, network.run_until(PICTURES, "block2"))


@pytest.mark.parametrize("kind", BASES)
def test_ablating_a_direction_is_a_real_intervention(network: StagedNetwork, kind: str) -> None:
    described = with_basis(network, "block3", BASES[kind](64))
    basis = described.bases["block3"]
    with torch.no_grad():
        maps = network.run_until(PICTURES, "block3")
        told = described.run_until(PICTURES, "block3")
        most = int(told[:, : direction_count(described, "block3")].std((0, 2, 3)).argmax())
        without = told.clone()
        without[:, most] = told[:, most].mean(0)
        off = (told[:, most] - told[:, most].mean(0))[:, None] * basis.directions[most][:, None, None]  # type: ignore[index]
        by_hand = network.run_from(maps - off, "block3")
        torch.testing.assert_close(described.run_from(without, "block3"), by_hand, atol=2e-6, rtol=0)
        assert (by_hand - network(PICTURES)).abs().max() > 1e-4


def test_directions_keep_their_precision_under_autocast(network: StagedNetwork) -> None:
    described = with_basis(network, "block3", BASES["directions"](64))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        told = described.run_until(PICTURES, "block3")
        assert told.dtype == torch.float32
        back = described._decode(told, "block3")
        torch.testing.assert_close(back, network.run_until(PICTURES, "block3").float(), atol=1e-5, rtol=1e-5)


def test_a_described_network_can_be_copied_and_frozen(network: StagedNetwork) -> None:
    described = with_basis(network, "block3", autoencoder(64))
    twin = copy.deepcopy(described)
    with torch.no_grad(), frozen(twin):
        assert torch.equal(twin.run_until(PICTURES, "block3"), described.run_until(PICTURES, "block3"))


# ---------------------------------------------------------------------------------------------------- the steps


def test_only_directions_are_found_and_effects_are_those_of_real_ablations(network: StagedNetwork) -> None:
    described = with_basis(network, "block3", BASES["directions"](64))
    labels = torch.arange(6) % 3
    head = Readout("classes", described).head("block3")
    evidence = gather_evidence(
        described, "block3", head, [(PICTURES[:4], labels[:4]), (PICTURES[4:], labels[4:])], 3, SETTINGS
    )
    assert evidence.width == 7
    assert evidence.mean.shape[0] == 71
    assert evidence.scores()[0].shape == (6, 7)
    assert evidence.estimated_effects().shape == (3, 7)
    found = evidence.ablation_effects(torch.tensor([2]))
    with torch.no_grad():
        told = described.run_until(PICTURES, "block3")
        before = margin_over_runner_up(network(PICTURES), labels)
        told[:, 2] = told[:, 2].mean(0)
        falls = before - margin_over_runner_up(described.run_from(told, "block3"), labels)
    wanted = [float(falls[labels == parent].mean()) for parent in range(3)]
    assert found[:, 0].tolist() == pytest.approx(wanted, abs=1e-4)


SETTINGS = ConceptSettings()


def test_edges_lead_to_directions_and_the_gap_is_that_of_the_whole() -> None:
    maps, parents = noise(20, 6, 2, 2).abs(), torch.arange(20) % 2
    weight = torch.tensor([[0.5, 0.1, 0.0, 0.2, 3.0, 9.0], [0.1, 0.4, 0.3, 0.2, 5.0, 1.0]])
    settings = ConceptSettings(edge_points=4, edge_groups=1, edges=3, bootstrap=20)

    def edges(width: int | None) -> list[Attribution]:
        respond = lambda these: these.mean((2, 3)) @ weight.T  # noqa: E731
        return attribute(FindEvidence([(maps, parents)], respond, 2, settings, width), 0)

    whole, some = edges(None), edges(4)
    assert {edge.unit for edge in whole} & {4, 5}
    assert {edge.unit for edge in some} <= {0, 1, 2, 3}
    assert len(some) == 6
    assert all(edge.gap < 1e-4 for edge in some)


def test_what_directions_leave_out_is_not_exchanged() -> None:
    mine, theirs = torch.zeros(2, 5, 3, 3), torch.ones(2, 5, 3, 3)
    swapped = _let_in(torch.tensor([1.0, 0.25]), mine, theirs)
    assert swapped[:, :, 0, 0].tolist() == [[1.0, 0.25, 0.0, 0.0, 0.0]] * 2
    assert torch.equal(_let_in(torch.ones(5), mine, theirs), theirs)


def test_a_family_reads_directions_alone(network: StagedNetwork) -> None:
    described = with_basis(with_basis(network, "block3", BASES["directions"](64)), "block2", BASES["directions"](32))

    class Seen(nn.Module):
        def forward(self, maps: Tensor, looks: Tensor) -> Tensor:
            assert maps.shape[1] == 7
            return maps.mean((2, 3))[:, :3]

    class Everywhere(nn.Module):
        def forward(self, maps: Tensor) -> Tensor:
            assert maps.shape[1] == 7
            return torch.zeros_like(maps[:, :1])

    family = Family(Trunk(described, "block3"), Everywhere(), Seen())
    parents = Readout("block3.1", described, "block3", family)
    with torch.no_grad():
        answers = family(PICTURES)
        below = described.run_until(PICTURES, "block2")
        assert below.shape[1] == 7 + 32
        torch.testing.assert_close(parents.head("block2")(below), answers, atol=1e-4, rtol=1e-3)


# ---------------------------------------------------------------------------------------------------- the records


def test_the_graph_names_directions_and_who_made_them(network: StagedNetwork) -> None:
    settings = Settings.model_validate({"plugins": {"discoverer": "kmeans"}})
    described = with_basis(network, "block3", BASES["directions"](64))
    finding = Finding(1, (5, 2), (0.9, 0.8), (2.0, 1.0), 0.9)
    story = Round("block3/classes/1", "block3", 1, Readout("classes", described), [finding])
    directions = {"block3": StageBasis("block3", described.bases["block3"], 7, 0.9)}
    learned = Learned(network, network, rounds=[story], directions=directions)
    graph = build_graph(learned, settings, ("a", "b", "c"))
    assert graph.check() == []
    assert [stage.directions for stage in graph.header.stages] == [None, None, None, 7]
    labels = {node.label: node.provenance for node in graph.nodes("unit")}
    assert set(labels) == {"block3 direction 5", "block3 direction 2"}
    assert {by.plugin for by in labels.values() if by} == {"kmeans"}
    learned.rounds = [replace(story, findings=[replace(finding, units=(7,), auc=(0.9,), effect=(2.0,))])]
    with pytest.raises(Exception, match="unit 7 does not exist"):
        build_graph(learned, settings, ("a", "b", "c"))


@pytest.mark.parametrize("name", ["nmf", "kmeans"])
def test_a_missing_package_is_told_before_anything_starts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [module for module in sys.modules if module.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(sys.modules, f"conceptnet_plugins.discoverers.{name}", raising=False)
    settings = Settings.model_validate({"device": "cpu", "plugins": {"discoverer": name}})
    with pytest.raises(SettingsError, match="needs scikit-learn") as caught:
        check_settings(settings, PLUGINS)
    assert "pip install" in caught.value.mend
    check_settings(Settings.model_validate({"device": "cpu", "plugins": {"discoverer": "sae"}}), PLUGINS)
