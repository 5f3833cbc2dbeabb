"""The rule that the settings name decides on what was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from planted import planted_data, settings, workbench
from torch import Tensor, nn

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.errors import PluginError
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.steps import gates
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.generalize import train_views
from conceptnet_ml.steps.records import Learned, ProbeResult, Site
from conceptnet_ml.storage.run_folder import Run
from conceptnet_ml.swap.interchangeability import SwapMeasurement
from conceptnet_ml.swap.stop_rule import Decision
from conceptnet_ml.swap.views import Swap

ALL = ("colour", "exposure", "sharpness", "blocks", "fourier", "pixels")
KEPT = SwapMeasurement("pixels", "place", (9, 9), (1.0, 1.0), (1.0, 1.0), (0.0, 0.0), 0.1)
RULES = """
from conceptnet_ml import Decision, StopRule, hookimpl

def doubt(measured, settings):
    return Decision(False, f"φ {measured.phi:.1f}, at most {settings.limit} rounds")

@hookimpl
def conceptnet_stop_rules():
    return [
        StopRule(name="doubt", api="1", decide=doubt),
        StopRule(name="terse", api="1", decide=lambda measured, settings: True),
    ]
"""


def probed(folder: Path, monkeypatch: pytest.MonkeyPatch, **named: str) -> ProbeResult:
    """The probe of a swap that the built-in rule keeps, decided by the rule that is named."""
    (folder / "rules.py").write_text(RULES, encoding="utf-8")
    plugins = load_plugins(folder / "rules.py", use_entry_points=False)
    settings = Settings.model_validate({"device": "cpu", "plugins": named})
    images = ImageSet(torch.zeros(32, 3, 8, 8, dtype=torch.uint8), torch.arange(32) % 2)
    monkeypatch.setattr(gates, "_measure", lambda *_: dict(vars(KEPT)))
    with Run.create(folder / "run", settings.model_dump(mode="json"), {}, {}, "0") as run:
        data, cpu = Data("black", ("a", "b"), images, {}), torch.device("cpu")
        ctx = Context(settings, plugins, data, run, Progress(quiet=True), Stopper(), cpu, None)
        site = Site("", Readout("classes", nn.Identity()), "probe")  # type: ignore[arg-type]
        return gates.probe_representation(ctx, site, ctx.codec("pixels"))


def test_the_built_in_rule_decides_where_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert probed(tmp_path, monkeypatch).decision.keep


def test_a_rule_of_ones_own_sees_the_measurement_and_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = probed(tmp_path, monkeypatch, stop_rule="doubt")
    assert found.measured == KEPT
    assert found.decision == Decision(False, "φ 1.0, at most 4 rounds")


def test_a_rule_that_returns_no_decision_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PluginError, match="stop_rule 'terse' must return a Decision, not bool"):
        probed(tmp_path, monkeypatch, stop_rule="terse")


def test_what_decides_as_well_is_exchanged_with_the_same_donor(tmp_path: Path) -> None:
    """And what the record says, each once, what was kept last."""
    ctx = workbench(tmp_path, planted_data(count=32), settings(plugins={"representations": ALL}))
    site = Site("", Readout("classes", nn.Identity()), "probe")  # type: ignore[arg-type]
    for chosen, along, taken in (
        ("exposure", ("blocks",), ["blocks", "exposure"]),
        ("sharpness", ("exposure", "blocks"), ["exposure", "blocks", "sharpness"]),
        ("sharpness", (), ["blocks", "sharpness"]),
        ("exposure", (), ["exposure"]),
    ):
        measured = replace(KEPT, representation=chosen, gate="whole")
        swap = gates.swap_of(ctx, site, ProbeResult(measured, Decision(True, ""), along=along))
        assert [codec.name for codec in swap.codecs] == taken
    ctx.run.close()


@pytest.mark.parametrize(("loud", "softened"), [(1.0, 1.0), (13.0, 13.0), (100.0, 10.0)])
def test_a_price_is_weighed_against_what_a_network_decides_not_against_how_loudly(
    loud: float, softened: float, tmp_path: Path
) -> None:
    """The last network's lead is 100: by its own logits no price of ten would close a gate that helps."""

    class Light(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            mean = images.mean((1, 2, 3))
            return torch.stack([mean, mean + loud], 1)

    ctx = workbench(tmp_path, planted_data(count=1600), settings())
    swaps = [Swap(ctx.codec("colour"), None)]  # which draws donors of all classes
    readout, images = Readout("classes", Light(), swaps=swaps), torch.rand(4, 3, 8, 8)  # type: ignore[arg-type]
    answers = ctx.prober(readout, ctx.codec("pixels")).logits(images)
    assert torch.allclose(answers[:, 1] - answers[:, 0], torch.full((4,), softened))
    ctx.run.close()


@pytest.mark.parametrize(
    ("chosen", "along", "anew"),
    [("exposure", ("blocks",), True), ("sharpness", ("blocks",), False), ("exposure", (), False)],
)
def test_where_several_things_of_the_camera_decide_a_network_begins_anew(
    chosen: str, along: tuple[str, ...], anew: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is all but a reader of them; what goes along by the record is one thing with what was kept."""
    ctx = workbench(tmp_path, planted_data(count=64), settings(plugins={"representations": ALL}))
    begun, trained = ctx.network(), ctx.network()
    with torch.no_grad():
        for one in trained.parameters():
            one += 1
    seen: list[tuple[str, bool, float]] = []

    def train(self: Context, name: str, network: nn.Module, views: object, epochs: int, rate: float, _: str) -> object:
        fresh = all(torch.equal(a, b) for a, b in zip(network.parameters(), begun.parameters(), strict=True))
        seen.append((name, fresh, rate))
        return network

    monkeypatch.setattr(Context, "train", train)
    swap = Swap(ctx.codec(chosen), None, along=tuple(ctx.codec(name) for name in along))
    train_views(ctx, "round", Learned(trained, trained), swap)
    ((name, fresh, rate),) = seen
    assert fresh == anew == name.endswith("-anew")
    assert rate == (ctx.settings.training.rate if anew else ctx.settings.training.warm_rate)
    ctx.run.close()
