"""Unlabelled pictures of the new world decide where the rule refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from PIL import Image
from planted import COARSE, accuracy, planted_data, settings, workbench

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.learner import run_learner
from conceptnet_ml.steps import target
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import ProbeResult, Site
from conceptnet_ml.steps.target import Agreement, fewest_pictures
from conceptnet_ml.swap.interchangeability import SwapMeasurement
from conceptnet_ml.swap.stop_rule import HELD_OUT, NEW_WORLD, Decision

pytestmark = pytest.mark.usefixtures("hasty")


def test_an_agreement_is_broken_where_it_falls_further_than_that_of_the_control() -> None:
    far, near = (900, 900), (40, 40)
    assert Agreement(0.9, 0.6, 0.9, 0.88, far).broken
    assert not Agreement(0.9, 0.6, 0.9, 0.62, far).broken  # the pictures are harder, that is all
    assert not Agreement(0.9, 0.6, 0.9, 0.87, far).broken  # or it is the rest that holds the cue
    assert not Agreement(0.9, 0.8, 0.9, 0.9, near).broken  # too few to tell
    # from 1 to ½ in three standard errors: (¼/n + 1/n²) + 2/held² ≤ 1/36
    assert (fewest_pictures(300, 2), fewest_pictures(9, 2), fewest_pictures(8, 2)) == (13, 85, None)
    assert not Agreement(0.9, 0.86, 0.9, 0.9, (90000, 90000)).broken  # sure, and nothing much
    one = Agreement(0.9, 0.6, 0.9, 0.9, (100, 400))
    assert one.fall == pytest.approx(0.3)
    assert one.errors == pytest.approx(0.3 / (0.0009 + 0.0009 + 0.0006 + 0.000225) ** 0.5)
    assert Agreement(1.0, 1.0, 1.0, 1.0, far).errors == 0


@pytest.mark.parametrize("exchanged", [False, True])
def test_the_new_world_is_not_asked_once_something_was_exchanged(
    exchanged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then a remnant of that comes apart, which a spectrum or a colour holds beside the object."""
    asked: list[str] = []
    monkeypatch.setattr(target, "_agreement", lambda ctx, site, probed, folder: asked.append(folder))
    ctx = cast(Context, SimpleNamespace(settings=Settings.model_validate({"data": {"target": "new"}})))
    measured = SwapMeasurement("fourier", "channel", (9, 9), (1.0, 1.0), (1.0, 1.0), (0.0, 0.0), 1.0)
    probed = ProbeResult(measured, Decision(False, "it does not decide by itself"))
    readout = Readout("classes", cast(Any, None), swaps=[cast(Any, "pixels")] * exchanged)
    assert target.weigh_target(ctx, Site.of_round("block3", readout, 2), probed) is probed
    assert asked == ["new"] * (not exchanged)


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs below keep finished steps: until the pictures are looked at, they are one run."""
    return tmp_path_factory.mktemp("target")


@pytest.mark.parametrize(("world", "kept"), [("random", True), ("test", False)])
def test_the_new_world_keeps_a_cue_that_the_rule_refused(world: str, kept: bool, steps: Path, tmp_path: Path) -> None:
    data = planted_data("own")
    for number, image in enumerate(data.tests[world].images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{number:03d}.png")
    chosen = settings(
        data={"target": str(tmp_path)},
        training={"batch": 32, "epochs": 6},
        round={"limit": 1, "epochs": 8, "closures": 0, "interchangeable": 9.0, "purify": 1},
        probe={"steps": 6, "view_steps": 6, "dreamt": 0},
        concepts=COARSE,
        plugins={"representations": ("pixels",)},
    )
    ctx = workbench(steps, data, chosen)
    found = run_learner(ctx)
    (story,) = found.rounds
    (judged,) = story.probed
    assert judged.decision.keep == kept
    assert judged.decision.evidence == (NEW_WORLD if kept else HELD_OUT)
    assert ("in the new world it no longer goes with the rest" in story.reason) == kept
    assert ("in the new world it still goes with the rest" in story.reason) == (not kept)
    if kept:
        assert story.decision == "kept"
        assert accuracy(found.ordinary, data)["conflict"] < 0.3
        assert accuracy(found.network, data)["conflict"] > 0.8
    ctx.run.close()
