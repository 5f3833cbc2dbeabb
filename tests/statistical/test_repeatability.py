"""The same seed gives the same graph, however often the run is stopped, and another seed another one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from planted import COARSE, PLUGINS, QUICK, planted_data, settings

from conceptnet_ml import learn
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.errors import Interrupted
from conceptnet_ml.runtime.signals import Stopper

pytestmark = pytest.mark.usefixtures("hasty")

SMALL = settings(
    seed=1,  # its round is kept
    depth=2,
    network=QUICK,
    training={"epochs": 6, "batch": 32},
    round={"epochs": 4, "limit": 1, "closures": 1, "remains": 0.0, "inverted": 9.0},
    probe={"steps": 6, "view_steps": 6, "dreamt": 40},
    concepts=COARSE,
)


@pytest.fixture(scope="module")
def small() -> Data:
    return planted_data(count=160)


@pytest.fixture(scope="module")
def graph_of(small: Data, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, str], str]:
    """The graph's JSON of a run with a seed; a run is made once."""
    made: dict[int, str] = {}

    def make(seed: int) -> str:
        if seed not in made:
            chosen = SMALL.model_copy(update={"seed": seed})
            folder = tmp_path_factory.mktemp("learn") / "run"
            made[seed] = learn(small, settings=chosen, out=folder, plugins=PLUGINS).graph.to_json()
        return made[seed]

    return make


def test_another_seed_gives_another_graph(graph_of: Callable[[int], str]) -> None:
    one, other = (json.loads(graph_of(seed)) for seed in (SMALL.seed, 0))
    assert one["nodes"] != other["nodes"]
    assert one["edges"] != other["edges"]
    assert {"generalized", "variant"} <= {node["kind"] for node in one["nodes"]}
    assert "built_from" in {edge["kind"] for edge in one["edges"]}


class Impatient(Stopper):
    """Asks to stop when it has been asked so many times whether to."""

    def __init__(self, patience: int) -> None:
        super().__init__()
        self.patience = patience

    @property
    def requested(self) -> bool:
        self.patience -= 1
        return self.patience < 0


def test_the_same_seed_gives_the_same_graph_even_if_stopped_again_and_again(
    small: Data, graph_of: Callable[[int], str], tmp_path: Path
) -> None:
    folder, stops = tmp_path / "run", 0
    with pytest.raises(Interrupted):
        learn(small, settings=SMALL, out=folder, plugins=PLUGINS, stopper=Impatient(7))
    while True:
        try:
            run = learn(small, resume=folder, plugins=PLUGINS, stopper=Impatient(25))
            break
        except Interrupted:
            stops += 1
            assert stops < 50
    assert stops >= 2
    assert run.graph.to_json() == graph_of(SMALL.seed)
