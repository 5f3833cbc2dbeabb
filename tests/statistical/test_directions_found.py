"""Discoverers of directions: planted dictionaries and rotated networks are recovered, whole runs keep their rounds."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from planted import COARSE, PLUGINS, planted_data, settings
from sklearn.decomposition import NMF, MiniBatchDictionaryLearning
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml import LearnedRun, learn, open_run
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.concepts.scores import FindEvidence, Finding, gather_evidence
from conceptnet_ml.config.settings import ConceptSettings
from conceptnet_ml.errors import Interrupted
from conceptnet_ml.network.basis import BasisEvidence, with_basis
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.runtime.signals import Stopper

KINDS = ("nmf", "kmeans", "sae")
SEEDS = (0, 1, 2)
QUICK = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]


def basis_of(kind: str, maps: list[Tensor], seed: int, **changes: Any) -> Any:
    evidence = BasisEvidence(maps, seed, ConceptSettings(**changes))
    return PLUGINS.get("discoverer", kind).function("basis")(evidence)


# ---------------------------------------------------------------------------------------------------- dictionaries


def dictionary(seed: int, units: int, atoms: int, positive: bool) -> tuple[Tensor, Tensor]:
    """Maps (32, units, 16, 16) of three of the atoms at each place, faintly noisy, and the atoms (atoms, units)."""
    draw = torch.Generator().manual_seed(seed)
    told = torch.randn(atoms, units, generator=draw)
    if positive:
        told = told.abs() * (torch.rand(atoms, units, generator=draw) < 0.3)
    told = functional.normalize(told, dim=1)
    count = 32 * 16 * 16
    which = torch.rand(count, atoms, generator=draw).topk(3, 1).indices
    shares = torch.zeros(count, atoms).scatter(1, which, 0.5 + torch.rand(count, 3, generator=draw))
    rows = shares @ told + 0.02 * torch.randn(count, units, generator=draw)
    rows = rows.clamp_min(0) if positive else rows
    return rows.view(32, 16, 16, units).permute(0, 3, 1, 2), told


def recovered(found: Tensor, told: Tensor) -> float:
    """Mean over the atoms of the greatest cosine with a found direction."""
    return float((functional.normalize(told, dim=1) @ functional.normalize(found, dim=1).T).amax(1).mean())


# Bounds lie well under what was seen (three seeds), and well over 0.5 to 0.6, the best of as many random directions.
@pytest.mark.parametrize(
    ("kind", "positive", "bound"), [("nmf", True, 0.95), ("kmeans", False, 0.8), ("sae", False, 0.9)]
)
@pytest.mark.parametrize("seed", QUICK)
def test_a_planted_dictionary_is_recovered(kind: str, positive: bool, bound: float, seed: int) -> None:
    maps, told = dictionary(seed, 32, 16, positive)
    found = basis_of(kind, [maps], seed, directions=16, active=3)
    assert recovered(found.directions.detach(), told) > bound
    random = torch.randn(16, 32, generator=torch.Generator().manual_seed(100 + seed))
    assert recovered(random.abs() if positive else random, told) < bound - 0.1


@pytest.mark.slow
def test_the_autoencoder_recovers_as_much_as_dictionary_learning() -> None:
    """As many atoms as scikit-learn's dictionary learning is given, more than there are units; mean of three seeds."""
    mine, theirs, factors = [], [], []
    for seed in SEEDS:
        maps, told = dictionary(seed, 24, 32, positive=False)
        rows = BasisEvidence([maps], seed).places(8192).numpy()
        mine.append(recovered(basis_of("sae", [maps], seed, directions=32, active=3).directions.detach(), told))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rival = MiniBatchDictionaryLearning(
                32, alpha=0.3, positive_code=True, fit_algorithm="cd", batch_size=256, max_iter=5, random_state=seed
            ).fit(rows)
            factor = NMF(32, init="random", max_iter=100, random_state=seed).fit(rows.clip(0))
        theirs.append(recovered(torch.from_numpy(rival.components_).float(), told))
        factors.append(recovered(torch.from_numpy(factor.components_).float(), told))
    assert sum(mine) / 3 > sum(theirs) / 3 - 0.02, (mine, theirs)
    assert sum(mine) / 3 > sum(factors) / 3, (mine, factors)


def test_latents_that_nothing_uses_are_brought_back_or_taken_away() -> None:
    maps, _ = dictionary(0, 16, 8, positive=False)
    made = basis_of("sae", [maps[:8]], 0, directions=64, active=3)
    used = made.encode(maps[:8]).amax((0, 2, 3)) > 0
    assert used.all()
    assert 8 <= len(used) <= 64
    faint = torch.zeros(4, 16, 2, 2)
    assert torch.isfinite(basis_of("sae", [faint], 0).encode(faint)).all()


# ---------------------------------------------------------------------------------------------------- a rotated stage

HUES, SIDE, CLASSES = 12, 16, 3


class Rotated(nn.Module):
    """Tells classes by hues. ``hue`` has one unit per hue; ``turn`` turns them so that every unit is a mixture of all,
    and what comes after turns them back."""

    def __init__(self, seed: int, turned: bool) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        angles = 2 * torch.pi * torch.arange(HUES) / HUES
        self.turned = torch.linalg.qr(torch.randn(HUES, HUES, generator=draw)).Q if turned else torch.eye(HUES)
        self.hue, self.turn = nn.Conv2d(3, HUES, 4, 4), nn.Conv2d(HUES, HUES, 1, bias=False)
        self.back, self.head = nn.Conv2d(HUES, HUES, 1, bias=False), nn.Linear(HUES, CLASSES)
        self.input_mean, self.input_std = (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)
        with torch.no_grad():
            self.hue.weight.copy_(hues(angles).view(HUES, 3, 1, 1).expand(-1, -1, 4, 4) / 16)
            self.hue.bias.fill_(-0.105)  # type: ignore[union-attr]
            self.turn.weight.copy_(self.turned[:, :, None, None])
            self.back.weight.copy_(self.turned.T[:, :, None, None])
            self.head.weight.copy_(200 * torch.eye(CLASSES, HUES))
            self.head.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.back(self.turn(self.hue(images).relu())).mean((2, 3)))


def hues(angles: Tensor) -> Tensor:
    """Colours (…, 3) of one lightness around grey, as differences from it; of length 0.35."""
    plane = torch.tensor([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]])
    plane = functional.normalize(plane, dim=1)
    return 0.35 * (angles.cos()[..., None] * plane[0] + angles.sin()[..., None] * plane[1])


def hued(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images of cells of random hues that no class has, four of them of the class's own hue instead; half the cells
    grey."""
    draw = torch.Generator().manual_seed(seed)
    labels, cells = torch.arange(count) % CLASSES, (2 * SIDE // 4) ** 2
    which = torch.randint(CLASSES, HUES, (count, cells), generator=draw)
    strength = (torch.rand(count, cells, generator=draw) < 0.5) * (0.6 + 0.4 * torch.rand(count, cells, generator=draw))
    own = torch.rand(count, cells, generator=draw).topk(4, 1).indices
    which = which.scatter(1, own, labels[:, None].expand(-1, 4))
    strength = strength.scatter(1, own, 1.0)
    colours = 0.5 + strength[..., None] * hues(2 * torch.pi * which / HUES)
    grid = colours.view(count, 8, 8, 3).permute(0, 3, 1, 2)
    return grid.repeat_interleave(4, 2).repeat_interleave(4, 3), labels


def found_in(network: Any, images: Tensor, labels: Tensor) -> tuple[FindEvidence, list[Finding]]:
    head = Readout("classes", network).head("turn")
    evidence = gather_evidence(network, "turn", head, [(images, labels)], CLASSES, ConceptSettings())
    return evidence, PLUGINS.get("discoverer", "units").function("find")(evidence)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", QUICK)
def test_a_direction_is_found_that_no_single_unit_carries(kind: str, seed: int) -> None:
    images, labels = hued(240, seed)
    model = Rotated(seed, turned=True)
    network = StagedNetwork(model, (2 * SIDE, 2 * SIDE), ["turn"]).eval()
    assert (network(images).argmax(1) == labels).float().mean() > 0.95
    _, smeared = found_in(network, images, labels)
    with torch.no_grad():
        maps = network.run_until(images, "turn").float()
    # Rounding alone (1e-6 on the maps) moves the autoencoder from cosines of .996 to .93 and back, so one draw would
    # say which processor it ran on: it may begin again.
    for attempt in range(5 if kind == "sae" else 1):
        basis = basis_of(kind, [maps[:80]], seed + 1000 * attempt, directions=HUES, active=1)
        described = with_basis(network, "turn", basis)
        _, found = found_in(described, images, labels)
        cosines = []
        for finding in found:
            direction = functional.normalize(basis.directions[finding.units[0]].detach(), dim=0)  # type: ignore[index]
            cosines.append(float(direction @ model.turned[:, finding.parent]))
        if min(cosines, default=0) > 0.97:
            break
    assert [finding.parent for finding in found] == [0, 1, 2]
    assert min(cosines) > 0.97
    for finding in found:
        assert finding.auc[0] > 0.99
        assert len(finding.units) <= 2
    # The strongest unit points elsewhere, and does a part of what the direction does.
    effects = {finding.parent: finding.effect[0] for finding in found}
    for finding in smeared:
        assert abs(float(model.turned[finding.units[0], finding.parent])) < 0.8
        assert effects[finding.parent] > 1.4 * finding.effect[0]


def test_without_a_rotation_units_carry_it_themselves() -> None:
    images, labels = hued(240, 0)
    network = StagedNetwork(Rotated(0, turned=False), (2 * SIDE, 2 * SIDE), ["turn"]).eval()
    _, found = found_in(network, images, labels)
    assert [finding.units for finding in found] == [(0,), (1,), (2,)]


# ---------------------------------------------------------------------------------------------------- whole runs


def learned(folder: Path, kind: str, depth: int, **more: Any) -> LearnedRun:
    chosen = settings(
        depth=depth,
        training={"batch": 32, "epochs": 4},
        round={"limit": 1, "epochs": 6, "closures": 0},
        probe={"steps": 6, "view_steps": 6, "dreamt": 0},
        concepts=COARSE,
        plugins={"discoverer": kind, "representations": ("colour", "pixels")},
    )
    if "resume" in more:
        return learn(planted_data(count=240), plugins=PLUGINS, **more)
    return learn(planted_data(count=240), settings=chosen, out=folder, plugins=PLUGINS, **more)


@pytest.fixture(scope="module", params=["nmf", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])])
def run(request: Any, hasty: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, LearnedRun]:
    return request.param, learned(tmp_path_factory.mktemp(request.param) / "run", request.param, 2)


def test_a_whole_run_keeps_its_round_and_its_graph_is_sound(run: tuple[str, LearnedRun]) -> None:
    kind, done = run
    summary = done.summary()
    first = summary["rounds"][0]
    assert first["decision"] == "kept", first["reason"]
    assert first["features"]
    assert summary["test_sets"]["conflict"]["ordinary"]["accuracy"] < 0.1
    assert summary["test_sets"]["conflict"]["learned"]["accuracy"] > 0.8
    assert summary["families"][0]["accuracy"] > 0.95  # of what the round let go of, nothing is forgotten
    assert done.graph.check() == []
    counts = {stage.name: stage.directions for stage in done.graph.header.stages}
    assert counts == {"stem": None, **{name: one["count"] for name, one in summary["directions"].items()}}
    assert all(one["discoverer"] == kind for one in summary["directions"].values())
    assert summary["directions"]["block3"]["explained"] > 0.9
    units = done.graph.nodes("unit")
    assert {node.stage for node in units} == {"block1", "block2", "block3"}
    assert all(node.label == f"{node.stage} direction {node.units[0]}" for node in units)
    assert {node.provenance.plugin for node in [*units, *done.graph.nodes("feature")] if node.provenance} == {kind}
    assert f"directions ({kind}) take the units' place" in (done.path / "summary.txt").read_text()


def test_families_answer_the_same_from_the_folder_and_adapt(run: tuple[str, LearnedRun]) -> None:
    _, done = run
    again = open_run(done.path, PLUGINS)
    images = planted_data("random", 40, seed=7).train.images.float() / 255
    pairs = list(zip(done.model.named_families(), again.model.named_families(), strict=True))
    assert pairs
    with torch.no_grad():
        for (name, before), (other, after) in pairs:
            assert name == other
            torch.testing.assert_close(after(images), before(images), atol=1e-5, rtol=1e-5)
    # The summary's figures are of the families as they were made, these of what was read back.
    accuracies = done.evaluate()["test_sets"]
    for test, row in done.summary()["test_sets"].items():
        name = f"family {pairs[0][0][0]}"
        assert accuracies[test][name]["accuracy"] == pytest.approx(row[name]["accuracy"], abs=1e-9)
    # In a world turned round the family's voice counts at once.
    found = done.adapt(planted_data("other", 80, seed=9), shots=4, draws=2)
    assert set(found["saved"]["alpha"]) == set(done.model.names)
    adapted = open_run(done.path, PLUGINS).adapted(found["saved"]["name"])
    with torch.no_grad():
        torch.testing.assert_close(adapted(images), done.adapted(found["saved"]["name"])(images), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_at_the_top_the_learned_network_is_the_same_whatever_the_discoverer(tmp_path: Path) -> None:
    prints = {kind: learned(tmp_path / kind, kind, 1).graph.header.network for kind in ("units", *KINDS)}
    assert len(set(prints.values())) == 1, prints


class Impatient(Stopper):
    """Asks to stop after so many questions."""

    def __init__(self, patience: int) -> None:
        super().__init__()
        self.patience = patience

    @property
    def requested(self) -> bool:
        self.patience -= 1
        return self.patience < 0


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_end(run: tuple[str, LearnedRun], tmp_path: Path) -> None:
    kind, done = run
    folder, stops = tmp_path / "run", 0
    while True:
        try:
            more = {"resume": folder} if stops else {}
            again = learned(folder, kind, 2, stopper=Impatient(25), **more)
            break
        except Interrupted:
            stops += 1
            assert stops < 40
    assert stops > 1
    assert again.graph == done.graph
    assert [entry["features"] for entry in again.summary()["rounds"]] == [
        entry["features"] for entry in done.summary()["rounds"]
    ]
    assert again.summary()["test_sets"] == done.summary()["test_sets"]
