"""From the rounds of a run to plain values and to the graph, on rounds written by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from conceptnet_ml.concepts.attribution import Attribution
from conceptnet_ml.concepts.evidence import Analogy, Merged
from conceptnet_ml.concepts.model import Family
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.concepts.scores import Finding
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.network.build import build_network
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.results.graph_builder import build_graph
from conceptnet_ml.results.model_files import networks_before
from conceptnet_ml.results.report import round_record
from conceptnet_ml.steps.records import Closure, Learned, ProbeResult, Round, Split, Trained
from conceptnet_ml.swap.interchangeability import SwapMeasurement
from conceptnet_ml.swap.stop_rule import Decision
from conceptnet_ml.swap.sureness import Sureness

CLASSES = ("car", "poodle")


@pytest.fixture(scope="module")
def network() -> StagedNetwork:
    return build_network(Settings(), CLASSES, (32, 32), load_plugins(use_entry_points=False))


@pytest.fixture
def kept(network: StagedNetwork) -> Round:
    """A round that probed two representations and kept the second."""
    stage, readout = network.stage_names[-1], Readout("classes", network)
    colour = SwapMeasurement("colour", "none", (9, 9), (0.3, 0.9), (0.2, 0.2), (0.1, 0.1), 1.0)
    pixels = SwapMeasurement("pixels", "place", (9, 9), (0.5, 0.75), (0.5, 0.25), (0.125, 0.125), 0.25)
    probed = [ProbeResult(colour, Decision(False, "no")), ProbeResult(pixels, Decision(True, "yes"))]
    family = Family(nn.Identity(), nn.Identity(), nn.Identity())
    return Round(
        f"{stage}/classes/1",
        stage,
        1,
        readout,
        [Finding(0, (4, 2), (0.75, 0.875), (2.0, 1.0), 0.5, 2.5)],
        probed,
        "kept",
        "pixels: yes",
        chosen=probed[1],
        trained=Trained(network, Decision(True, "yes"), 0.9, 0.8, 0.7, left=0.2),
        merged=Merged(
            nn.Identity(),
            {0: (4, 2), 1: (4, 7)},
            [Analogy(0, 4, 1, 7, 0.5, 0.1)],
            (0.5, 0.625),
            (0.25, 0.75),
            0.5,
            effects={(1, 4): 0.25},
        ),
        split=Split(family, 0.95),
        family=Readout(f"{stage}.1", network, stage, family),
        edges=(
            Attribution(1, 3, 0.5, 0.1, 1.0, 0.25, 0.0, 0.9, 0.125),
            Attribution(1, 5, 0.1, 0.1, 1.0, 0.1, 0.0, 0.9, 0.125),
        ),
        below=network.stage_names[-2],
    )


def test_a_round_is_recorded_as_plain_values(kept: Round) -> None:
    record = round_record(kept, ["pixels: said so"])
    assert list(record) == [
        *("name", "stage", "decision", "reason", "representations", "chosen", "features", "overruled", "detector"),
        *("edges", "r_before", "r_after", "r_without", "places_left"),
    ]
    assert [probe["phi"] for probe in record["representations"]] == [pytest.approx(0.6), 0.625]
    assert record["representations"][1]["iotas"] == (0.375, 0.125)
    assert record["chosen"] == "pixels"
    assert record["features"] == [{"class": 0, "units": (4, 2), "auc": (0.75, 0.875)}]
    assert record["overruled"] == ["pixels: said so"]
    assert record["detector"] == {"auc": (0.5, 0.625), "coverage": (0.25, 0.75), "overlap": 0.5, "analogies": 1}
    assert record["edges"] == {"to": kept.below, "stand": 1, "of": 2, "null": 0.125, "agreement": {1: 0.9}}
    assert (record["r_before"], record["r_after"], record["r_without"], record["places_left"]) == (0.9, 0.8, 0.7, 0.2)
    assert "overruled" not in round_record(kept)


def test_the_graph_of_a_kept_round(network: StagedNetwork, kept: Round) -> None:
    learned = Learned(network, network, rounds=[kept])
    graph = build_graph(learned, Settings(seed=3), CLASSES, {kept.name: ["pictures/one.png"]})
    assert graph.check() == []
    assert graph.class_node("car").accuracy == 0.8
    (whole,), pixels = graph.nodes("generalized"), kept.probed[1].measured
    assert (whole.label, whole.units, whole.round) == (f"what is exchanged in {kept.name}", (2, 4, 7), 1)
    assert (whole.phi, whole.iota, whole.swap_cost) == (0.625, pixels.iota, 0.25)
    assert (whole.auc, whole.coverage, whole.shared_by) == (0.625, {"car": 0.25, "poodle": 0.75}, CLASSES)
    car, poodle = sorted(graph.nodes("feature"), key=lambda node: node.classes)
    assert (car.units, car.auc, car.effect, car.phi, car.iota) == ((2, 4), 0.875, 3.0, 0.5, 0.375)
    assert (poodle.units, poodle.auc, poodle.phi, poodle.iota) == ((4, 7), None, 0.75, 0.125)
    for node in (whole, car, poodle, *graph.nodes("variant")):
        assert (node.decision, node.reason, node.representation) == ("kept", "pixels: yes", "pixels")
        assert (node.r_before, node.r_after, node.pictures) == (0.9, 0.8, ("pictures/one.png",))
        assert node.provenance.seed == 3
    assert {node.found_in for node in graph.nodes()} == {None, kept.name}
    assert {node.kind for node in graph.nodes() if node.found_in is None} == {"class"}
    assert networks_before(learned) == {kept.name: network}
    units = {node.units[0]: node.id for node in graph.nodes("unit", stage=kept.stage)}
    weights = {edge.target: (edge.weight, edge.effect) for edge in graph.edges("built_from", source=poodle.id)}
    assert weights == {units[4]: (0.25, 0.25), units[7]: (0.0, None)}
    (to_car,) = graph.edges("built_from", target=car.id)
    assert (to_car.source, to_car.weight, to_car.effect) == (graph.class_node("car").id, 3.0, 2.5)
    assert [edge.score for edge in graph.edges("analogous", source=units[4], target=units[7])] == [0.5]
    assert {edge.score for edge in graph.edges("generalizes", source=whole.id)} == {0.5}
    variants = {node.classes: node for node in graph.nodes("variant")}
    assert (variants[("car",)].accuracy, variants[("poodle",)].agreement) == (0.95, 0.9)
    (below,) = graph.edges("built_from", source=variants[("poodle",)].id)
    assert (graph.node(below.target).units, below.weight, below.effect, below.null) == ((3,), 0.5, 0.25, 0.125)


def of(agree: float) -> Sureness:
    return Sureness("ι less errors", 0.5, 0.4, 0.6, 0.53, agree, 90)


def test_a_round_is_as_sure_as_the_least_sure_decision_it_hangs_on(network: StagedNetwork, kept: Round) -> None:
    colour, pixels = (
        replace(one, decision=replace(one.decision, sureness=of(agree)))
        for one, agree in zip(kept.probed, (0.6, 0.9), strict=True)
    )
    assert kept.trained is not None
    trained = replace(kept.trained, decision=replace(kept.trained.decision, sureness=of(0.97)), asked=of(0.5))
    closures = (Closure(pixels, kept.readout, 0.1, True, of(0.4)), Closure(pixels, kept.readout, 0.1, True))
    sure = replace(kept, probed=[colour, pixels], chosen=pixels, trained=trained, closures=closures)
    record = round_record(sure)
    assert (record["sureness"]["of"], record["sureness"]["agree"]) == ("pixels", 0.9), "colour was refused: no matter"
    assert (record["r_sureness"]["agree"], record["places_sureness"]["agree"]) == (0.97, 0.5)
    assert [one.get("sureness", {}).get("grade") for one in record["closures"]] == ["close call", None]
    graph = build_graph(Learned(network, network, rounds=[sure]), Settings(), CLASSES)
    assert {node.sureness for node in graph.nodes("feature")} == {0.9}
    undone = round_record(replace(sure, decision="undone"))["sureness"]
    assert (undone["of"], undone["agree"]) == ("colour", 0.6), "had it been kept, the round had been"
    leaf = round_record(replace(sure, decision="leaf", chosen=None, trained=None))["sureness"]
    assert leaf["agree"] == 0.6
    assert "sureness" not in round_record(kept), "nobody knows"


def test_the_graph_of_a_round_that_kept_nothing_shows_the_best_probe(network: StagedNetwork, kept: Round) -> None:
    leaf = Round(kept.name, kept.stage, 1, kept.readout, kept.findings, kept.probed, reason="no")
    (feature,) = build_graph(Learned(network, network, rounds=[leaf]), Settings(), CLASSES).nodes("feature")
    assert (feature.decision, feature.representation, feature.phi) == ("leaf", "pixels", 0.5)
    first = replace(kept.probed[0], measured=replace(kept.probed[0].measured, flips=(1.0, 0.9)))
    leaf = replace(leaf, probed=[first, kept.probed[1]])
    (feature,) = build_graph(Learned(network, network, rounds=[leaf]), Settings(), CLASSES).nodes("feature")
    assert (feature.representation, feature.phi, feature.r_after) == ("colour", 1.0, None)


def test_two_rounds_in_which_no_unit_answers_draw_their_edges_from_the_class_once(network: StagedNetwork) -> None:
    upper, lower = network.stage_names[-1], network.stage_names[-2]
    rounds = []
    for number, weights in ((1, {0: 0.5, 3: 0.25}), (2, {0: 0.125, 5: 0.75})):
        edges = tuple(Attribution(0, unit, weight, 0.05, 1.0, 0.1, 0.0) for unit, weight in weights.items())
        name = f"{upper}/classes/{number}"
        rounds.append(Round(name, upper, number, Readout("classes", network), [], edges=edges, below=lower))
    graph = build_graph(Learned(network, network, rounds=rounds), Settings(), CLASSES)
    found = graph.edges("built_from", source=graph.class_node("car").id)
    assert sorted(edge.plain()["weight"] for edge in found) == [0.25, 0.5, 0.75]
