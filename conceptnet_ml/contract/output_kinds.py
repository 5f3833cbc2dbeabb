"""What dreamers, exporters, loggers and commands promise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import typer

from conceptnet_ml.contract.trial import Trial, soft_images
from conceptnet_ml.drawing.pictures import to_png
from conceptnet_ml.dreams.objectives import Objective
from conceptnet_ml.dreams.render import dream
from conceptnet_ml.dreams.request import DreamRequest
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.storage.files import foreign, write_atomic


def check_dreamer(trial: Trial) -> None:
    """Each brings up a unit of a small network, from its own kind of start, and is the same each time."""
    record: Any = trial.record
    torch.manual_seed(3)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 11 * 11, 2)
    )
    network = StagedNetwork(model, (24, 24)).eval()
    real = (soft_images(6, 24, 24) * 255).to(torch.uint8)
    recipe = replace(record.function("recipe")(real), steps=8, octaves=1)
    requests = [
        DreamRequest(Objective.unit("1", 2), 5, real[0], real[1]),
        DreamRequest(Objective.logit(1, "b"), 6, real[2], real[3]),
    ]
    made, again = (dream(network, requests, recipe) for _ in range(2))
    for one, other in zip(made, again, strict=True):
        assert one.image.shape == (3, 24, 24)
        assert one.image.dtype == torch.uint8
        assert one.rose
        assert torch.equal(one.image, other.image)


def check_exporter(trial: Trial) -> None:
    """It writes a graph, the same bytes each time, with the names of the classes."""
    record: Any = trial.record
    graph = ConceptGraph(("cats", "dogs"), [("block1", 4), ("block2", 8)], network="n", settings="s", seed=0)
    for name in graph.classes:
        graph.add_node("class", name, classes=[name])
    feature = graph.add_node("feature", "ears & <tails>", stage="block2", round=1, classes=["cats"], units=[3])
    graph.add_edge("built_from", graph.class_node("cats").id, feature, weight=0.5)
    assert record.suffix.startswith(".")
    path, again = trial.folder / f"graph{record.suffix}", trial.folder / f"again{record.suffix}"
    record.function("write")(graph, path)
    record.function("write")(graph, again)
    assert path.stat().st_size > 0
    assert path.read_bytes() == again.read_bytes()
    assert "cats" in path.read_text(encoding="utf-8")


def check_logger(trial: Trial) -> None:
    """It takes figures, words and a picture under names of any letters, and when it is opened again it goes on."""
    folder, picture = trial.folder / "log", trial.folder / "picture.png"
    folder.mkdir()
    write_atomic(picture, to_png(np.zeros((8, 12, 3), np.uint8)))
    settings = {"seed": 0, "data.source": "folder:my photos", "plugins.loggers": (trial.record.name,), "depth": None}
    for first in (25, 50):
        log = trial.record.function("open")(folder, "a run", settings)
        for step in (first, first + 25):
            log.scalars({"loss/block3/classes/1|train-pixels-1": 1 / step, "accuracy/<test> ü/learned": 0.5}, step)
        log.text("event/probe", '{"name": "block3/classes/1", "keep": true}', 2)
        log.picture("pictures/<block3>-swaps.png", picture, 3)
        log.close()
        assert foreign(folder) is None, "its folder holds a link that leads out of it, with which no run is opened"


def check_command(trial: Trial) -> None:
    """It adds commands with a help text to a program, and leaves the program's own alone."""
    app = typer.Typer()
    trial.record.function("register")(app)
    added = app.registered_commands
    assert added or app.registered_groups, "no command was added"
    for command in added:
        assert command.help or (command.callback and command.callback.__doc__), "a command without a docstring"
