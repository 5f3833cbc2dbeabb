"""From rounds to the graph."""

from __future__ import annotations

from conceptnet_ml.concepts.attribution import Attribution
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.network.build import build_network
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.results.graph_builder import build_graph
from conceptnet_ml.steps.records import Round


def test_two_rounds_in_which_no_unit_answers_draw_their_edges_from_the_class_once() -> None:
    settings = Settings()
    network = build_network(settings, ("car", "poodle"), (32, 32), load_plugins(use_entry_points=False))
    upper, lower = network.stage_names[-1], network.stage_names[-2]
    rounds = []
    for number, weights in ((1, {0: 0.5, 3: 0.25}), (2, {0: 0.125, 5: 0.75})):
        edges = tuple(Attribution(0, unit, weight, 0.05, 1.0, 0.1, 0.0) for unit, weight in weights.items())
        name = f"{upper}/classes/{number}"
        rounds.append(Round(name, upper, number, Readout("classes", network), [], edges=edges, below=lower))
    graph = build_graph(rounds, network, settings, ("car", "poodle"), None)
    found = graph.edges("built_from", source=graph.class_node("car").id)
    assert sorted(edge.plain()["weight"] for edge in found) == [0.25, 0.5, 0.75]
