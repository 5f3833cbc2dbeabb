"""Each of the five steps on images with a planted patch: a bound that the step meets and doing nothing does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from planted import CPU, accuracy, overlap, planted_data, settings, workbench
from scipy.stats import spearmanr
from torch import Tensor, nn

from conceptnet_ml.concepts.attribution import Attribution, margin_over_mean
from conceptnet_ml.concepts.evidence import Merged
from conceptnet_ml.concepts.model import Detector, Family, Trunk, Variants
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.concepts.scores import auroc, map_quality, open_shares, unit_scores
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.evaluation.baselines import train_baselines
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import to_float
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.descend import edges_to
from conceptnet_ml.steps.family import refit
from conceptnet_ml.steps.find import find
from conceptnet_ml.steps.gates import codecs, probe_representation, swap_of
from conceptnet_ml.steps.generalize import merge, train_views
from conceptnet_ml.steps.records import Learned, Outcome, ProbeResult, Site, Trained
from conceptnet_ml.steps.specialize import specialize
from conceptnet_ml.swap.views import Swap
from conceptnet_plugins.datasets.cars_and_poodles import CAR, POODLE, Wish, render
from conceptnet_plugins.generalizers import detector as generalizer
from conceptnet_plugins.specializers import attention as specializer

TOP, MIDDLE, LOW = "block3", "block2", "block1"


@dataclass
class World:
    """Images, a network ordinarily trained on them, and the workbench it was trained on."""

    ctx: Context
    network: StagedNetwork

    @property
    def parents(self) -> Readout:
        return Readout("classes", self.network)


def world(folder: Path, images: Data, seed: int, **changes: object) -> World:
    tried = {"representations": ("colour", "pixels")}  # what the tests ask for
    chosen = settings(seed=seed, plugins=tried, **changes)
    ctx = workbench(folder, images, chosen)
    views, training = ctx.views(ctx.fit, []), chosen.training
    return World(ctx, ctx.train("ordinary", ctx.network(), views, training.epochs, training.rate))


SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))]


@pytest.fixture(scope="module", params=SEEDS)
def shortcut(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The patch tells the class."""
    made = world(
        tmp_path_factory.mktemp("shortcut"),
        planted_data("own", seed=request.param),
        request.param,
        training={"epochs": 12},
    )
    yield made
    made.ctx.run.close()


@pytest.fixture(scope="module", params=SEEDS)
def honest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """There is no patch, only the object, a little harder to see; enough images are held out to measure ι well."""
    data = planted_data("none", 400, request.param, contrast=0.1)
    made = world(tmp_path_factory.mktemp("honest"), data, request.param, data={"holdout": 0.3})
    yield made
    made.ctx.run.close()


def probed(made: World) -> dict[str, ProbeResult]:
    tried = codecs(made.ctx, made.parents)
    judged = [probe_representation(made.ctx, Site("", made.parents, "probe"), codec) for codec in tried]
    return {one.measured.representation: one for one in judged}


def judged(made: World, representation: str) -> ProbeResult:
    return probe_representation(made.ctx, Site("", made.parents, "probe"), made.ctx.codec(representation))


def pixel_swap(made: World) -> Swap:
    return swap_of(made.ctx, Site("", made.parents, "probe"), judged(made, "pixels"))


def merged(made: World, stage: str, name: str = "merge") -> Merged:
    findings = find(made.ctx, Site(stage, made.parents, f"find {stage}"))
    return merge(made.ctx, Site(stage, made.parents, f"{name} {stage}"), pixel_swap(made), findings)


def test_ordinary_training_falls_for_the_patch(shortcut: World, honest: World) -> None:
    """What the other tests rest on."""
    found = accuracy(shortcut.network, shortcut.ctx.data)
    assert found["test"] > 0.95
    assert found["conflict"] < 0.1
    assert accuracy(honest.network, honest.ctx.data)["test"] > 0.9


def test_find_finds_the_patchs_units(shortcut: World) -> None:
    findings = find(shortcut.ctx, Site(TOP, shortcut.parents, f"find {TOP}"))
    assert [finding.parent for finding in findings] == [0, 1]
    # Judged where the patch says nothing about the class.
    tests = shortcut.ctx.data.tests["random"]
    with torch.no_grad():
        scores = unit_scores(shortcut.network.run_until(to_float(tests.images, CPU), TOP))
        answers = shortcut.network(to_float(tests.images, CPU)).argmax(1)
    told = auroc(scores, answers == 0)  # the network answers by the patch, see above
    by_class = auroc(scores, tests.labels == 0)
    for finding in findings:
        mine, theirs = told[list(finding.units)], by_class[list(finding.units)]
        if finding.parent == 1:
            mine, theirs = 1 - mine, 1 - theirs
        assert mine.mean() > 0.9
        assert 0.35 < theirs.mean() < 0.65
        assert len(finding.units) < 40  # not simply all
        assert finding.share > 0.1
    assert not set(findings[0].units) & set(findings[1].units)


def test_probe_lies_on_the_patch(shortcut: World) -> None:
    swap = replace(pixel_swap(shortcut), grow=0)
    everything = torch.arange(len(shortcut.ctx.labels))
    gates = swap.open_gate(everything, shortcut.ctx.size, CPU)
    assert gates is not None
    truth = shortcut.ctx.data.train.masks["patch"][:, None].float()
    found = overlap(gates, truth)
    anywhere = overlap(gates.flatten(1)[:, torch.randperm(gates[0].numel())].view_as(gates), truth)
    assert found > 0.35
    assert found > 5 * anywhere
    assert found > 5 * overlap(torch.ones_like(gates), truth)
    assert overlap(gates.amax((0, 1)), truth.amax((0, 1))) > 0.4


def test_probe_and_decision_keep_the_patch(shortcut: World) -> None:
    found = probed(shortcut)
    assert found["pixels"].measured.phi > 0.8
    assert found["pixels"].measured.iota > 0.7
    assert found["pixels"].measured.price < 0.2
    assert found["pixels"].decision.keep
    # Both patches have the same colours.
    assert found["colour"].measured.phi < 0.2
    assert not found["colour"].decision.keep


def test_the_object_is_not_kept(shortcut: World, tmp_path: Path) -> None:
    """Bodies without wheels and curls: what the network rests on then is the car and the poodle."""
    wishes = [Wish(CAR, wheels="none"), Wish(POODLE, curls=False)] * 260
    data = Data("bodies", ("car", "poodle"), render("bodies", wishes, 0), {})
    bodies = world(tmp_path, data, 0)
    found = probed(bodies)
    assert found["pixels"].measured.answered > 0.7
    assert found["pixels"].measured.phi > 0.5
    assert not found["colour"].decision.keep
    assert not found["pixels"].decision.keep
    theirs = probed(shortcut)["pixels"].measured
    assert found["pixels"].measured.iota_less_errors(2.0) < theirs.iota_less_errors(2.0) - 0.2


def trained(made: World) -> Trained:
    return train_views(made.ctx, "views", Learned(made.network, made.network), pixel_swap(made))


def test_generalize_trains_the_network_off_the_patch(shortcut: World) -> None:
    before, after = (accuracy(network, shortcut.ctx.data) for network in (shortcut.network, trained(shortcut).network))
    assert after["conflict"] > before["conflict"] + 0.5
    assert after["conflict"] > 0.7
    assert after["test"] > 0.7
    assert trained(shortcut).decision.keep
    # Who looks at what was left alone answers views no better than the images.
    assert trained(shortcut).r_after <= trained(shortcut).r_without + 0.03


def test_generalize_beats_a_random_box_at_equal_compute(shortcut: World) -> None:
    ctx = shortcut.ctx
    named = ctx.settings.plugins.model_copy(update={"controls": ("random-box",)})
    ctx = replace_settings(ctx, ctx.settings.model_copy(update={"plugins": named}))
    kept = Learned(shortcut.network, shortcut.network, [pixel_swap(shortcut)], epochs=ctx.settings.round.epochs)
    control = train_baselines(ctx, kept)["random-box"]
    conflict = [accuracy(network, ctx.data)["conflict"] for network in (control, trained(shortcut).network)]
    assert conflict[1] > conflict[0] + 0.4


def replace_settings(ctx: Context, chosen: Settings) -> Context:
    return Context(chosen, ctx.plugins, ctx.data, ctx.run, ctx.progress, ctx.stopper, CPU, None)


def evidence(made: World, stage: str) -> tuple[Tensor, Tensor, Tensor]:
    """Maps, true places of the patch and classes of the aligned test images."""
    tests = made.ctx.data.tests["test"]
    with torch.no_grad():
        maps = made.network.run_until(to_float(tests.images, CPU), stage)
    truth = tests.masks["patch"][:, None].float()
    return maps, open_shares(truth, (maps.shape[2], maps.shape[3])), tests.labels


def no_op_coverage(made: World, stage: str) -> float:
    """Mean coverage of the true places by detectors with random weights."""
    maps, truth, labels = evidence(made, stage)
    mean, scale = maps.mean((0, 2, 3)), maps.std((0, 2, 3)).clamp_min(1e-3)
    found = []
    for seed in range(20):
        torch.manual_seed(seed)
        found += map_quality(Detector(mean, scale)(maps).detach(), truth, labels, 2)["coverage"]
    return sum(found) / len(found)


@pytest.mark.parametrize("stage", [MIDDLE, TOP])
def test_generalize_merges_into_a_detector_of_every_classs_patch(stage: str, shortcut: World) -> None:
    made = merged(shortcut, stage)
    assert set(made.members) == {0, 1}
    maps, truth, labels = evidence(shortcut, stage)
    quality = map_quality(made.detector(maps), truth, labels, 2)
    assert all(0.3 < auc < 0.7 for auc in quality["auc"])  # it does not tell the class, as its members do
    assert min(quality["coverage"]) > max(1.5 * no_op_coverage(shortcut, stage), 0.3)


@pytest.mark.usefixtures("hasty_merges")
def test_a_detector_that_did_not_learn_misses_the_bound(shortcut: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(evidence: object) -> Detector:
        torch.manual_seed(0)
        maps = evidence.maps  # type: ignore[attr-defined]
        return Detector(maps.mean((0, 2, 3)), maps.std((0, 2, 3)).clamp_min(1e-3)).requires_grad_(False)

    monkeypatch.setattr(generalizer, "merge", nothing)
    made = merged(shortcut, MIDDLE, "merge nothing")
    maps, truth, labels = evidence(shortcut, MIDDLE)
    quality = map_quality(made.detector(maps), truth, labels, 2)
    bound = max(1.5 * no_op_coverage(shortcut, MIDDLE), 0.3)
    assert not (all(0.3 < auc < 0.7 for auc in quality["auc"]) and min(quality["coverage"]) > bound)


def family(made: World, name: str = "split") -> tuple[Family, float]:
    outcome = Outcome(judged(made, "pixels"), True, "", pixel_swap(made), merged=merged(made, MIDDLE))
    found = specialize(made.ctx, Site(MIDDLE, made.parents, name), outcome)
    assert found.readout.family is found.split.family
    return found.split.family, found.split.accuracy


def test_specialize_tells_the_classes_where_the_detector_looks(shortcut: World) -> None:
    variants, held_out = family(shortcut)
    assert held_out > 0.9
    # They are variants of the patch, not of the object: where the patch lies, they follow it.
    found = accuracy(variants, shortcut.ctx.data)
    assert found["test"] > 0.9
    assert found["conflict"] < 0.2


def test_a_feature_that_was_not_split_is_at_chance(shortcut: World, monkeypatch: pytest.MonkeyPatch) -> None:
    variants, _ = family(shortcut)
    one = Variants(torch.zeros(32), torch.ones(32), 2, 1.0).requires_grad_(False)
    one.load_state_dict(variants.variants.state_dict())
    one.weight.weight.copy_(one.weight.weight.mean(0, keepdim=True).expand(2, -1))
    one.weight.bias.copy_(one.weight.bias.mean().expand(2))
    copies = Family(variants.trunk, variants.detector, one)
    assert accuracy(copies, shortcut.ctx.data)["test"] == 0.5
    monkeypatch.setattr(specializer, "STEPS", 0)
    assert family(shortcut, "split nothing")[1] < 0.75


def test_a_family_is_taught_anew_for_each_swap_that_is_tried(shortcut: World) -> None:
    """In one round two representations may be tried, and what the first left of the family is not the second's."""
    variants, _ = family(shortcut)
    parents = Readout("patch", shortcut.network, MIDDLE, variants)
    colour = Swap(shortcut.ctx.codec("colour"), None)
    harmless, harmful = (
        refit(shortcut.ctx, Site(LOW, parents, "below"), swap) for swap in (colour, pixel_swap(shortcut))
    )
    assert harmless.decision.keep
    assert harmless.after > 0.9
    assert harmful.blind < 0.7  # the family rests on the patch
    assert harmful.after < harmless.after - 0.1


def descended(made: World, readout: Readout, name: str) -> list[Attribution]:
    chosen = made.ctx.settings
    concepts = chosen.concepts.model_copy(update={"edges": 16})
    ctx = replace_settings(made.ctx, chosen.model_copy(update={"concepts": concepts}))
    return edges_to(ctx, Site(LOW, readout, name))


def real_falls(made: World, variants: nn.Module, parent: int) -> Tensor:
    """How much a variant's lead falls on its class's test images when a unit of the stage below is taken out."""
    tests = made.ctx.data.tests["test"]
    images = to_float(tests.images, CPU)
    mine = tests.labels == parent
    network = made.network
    with torch.no_grad():
        maps = network.run_until(images, LOW)
        lead = margin_over_mean(lambda these: variants.respond(network.run_between(these, LOW, MIDDLE)))  # type: ignore[operator]
        before = lead(maps)[mine, parent]
        falls = []
        for unit in range(maps.shape[1]):
            without = maps[mine].clone()
            without[:, unit] = maps[:, unit].mean(0)
            falls.append((before - lead(without)[:, parent]).mean())
    return torch.stack(falls)


def test_descend_ranks_units_as_taking_them_out_of_the_network_does(shortcut: World) -> None:
    variants, _ = family(shortcut)
    parents = Readout("patch", shortcut.network, MIDDLE, variants)
    edges = descended(shortcut, parents, "descend")
    for parent in range(2):
        mine = [edge for edge in edges if edge.parent == parent]
        assert len(mine) == 16
        falls = real_falls(shortcut, variants, parent)[[edge.unit for edge in mine]]
        assert spearmanr([edge.weight for edge in mine], falls).statistic > 0.8
        assert mine[0].agreement is not None
        assert mine[0].agreement > 0.8
        strongest = max(mine, key=lambda edge: abs(edge.weight))
        assert strongest.weight * strongest.ablation > 0
        assert strongest.low <= strongest.weight <= strongest.high
        assert max(edge.gap for edge in mine) < 0.1


def test_descend_finds_nothing_much_in_a_network_that_learned_nothing(shortcut: World) -> None:
    variants, _ = family(shortcut)
    learned = descended(shortcut, Readout("patch", shortcut.network, MIDDLE, variants), "descend")
    fresh = shortcut.ctx.network()
    torch.manual_seed(0)
    blank = Family(Trunk(fresh, MIDDLE), variants.detector, Variants(torch.zeros(32), torch.ones(32), 2, 1.0)).eval()
    blank.requires_grad_(False)
    random = descended(shortcut, Readout("blank", fresh, MIDDLE, blank), "descend blank")
    assert sum(edge.is_supported for edge in learned) >= 2
    assert not [edge for edge in random if edge.is_supported]
