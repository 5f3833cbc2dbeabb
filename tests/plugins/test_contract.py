"""One contract for every registered record: its functions import, take what their kind is given, and return what its
kind promises (``conceptnet_ml.contract``). A new plugin of a known kind is held to it without a line written here."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conceptnet_ml.contract.baseline_kind import (
    Weights,
    check_stops,
    check_training,
    check_views,
    small_context,
    trained_weights,
)
from conceptnet_ml.contract.image_kinds import check_built_backbone, check_representation, check_trap
from conceptnet_ml.contract.output_kinds import check_dreamer, check_exporter, check_logger
from conceptnet_ml.contract.step_kinds import (
    check_basis,
    check_decisions,
    check_discoverer,
    check_generalizer,
    check_specializer,
)
from conceptnet_ml.contract.trial import Trial
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.errors import PluginError
from conceptnet_ml.evaluation.baselines import BaselineContext
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.records import API, KINDS, Record
from conceptnet_ml.swap.views import Views

PLUGINS = load_plugins(use_entry_points=False)
CPU = torch.device("cpu")
NEEDS_ARGUMENT = {
    ("backbone", "published"): "lenet",
    ("backbone", "torchvision"): "resnet18",
    ("backbone", "timm"): "resnet18",
    ("trap", "half"): "wheels",
}
NEEDS_PACKAGE = {
    ("backbone", "timm"): "timm",
    ("discoverer", "nmf"): "sklearn",
    ("discoverer", "kmeans"): "sklearn",
    ("trap", "corrupted"): "imagecorruptions",
    ("logger", "tensorboard"): "tensorboard",
    ("logger", "wandb"): "wandb",
    ("logger", "mlflow"): "mlflow",
}
LEAST_SIDE = {"corrupted": 32}
"""Of the images, px, where a trap refuses smaller ones."""


DREAMING = ("clouds-to-cars", "dream-datasets", "amplify", "self-distil", "cycle-gan")
"""How the names of baselines begin whose trainings take seconds each, since dreams come before every one of them."""


def records(kind: str) -> Any:
    """A parameter over all records of a kind."""
    some = [
        pytest.param(record, marks=[pytest.mark.slow] if record.name.startswith(DREAMING) else [])
        for record in PLUGINS.all(kind)
    ]
    return pytest.mark.parametrize("record", some, ids=lambda record: record.name)


def trial(record: Record, folder: Path) -> Trial:
    """The record with the argument it needs; skipped where its package is not installed."""
    package = NEEDS_PACKAGE.get((record.kind, record.name))
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return Trial(record, PLUGINS, folder, NEEDS_ARGUMENT.get((record.kind, record.name), ""))


EVERY = [record for kind in KINDS for record in PLUGINS.all(kind)]


def test_nothing_is_broken_and_every_kind_that_a_run_needs_is_there() -> None:
    assert PLUGINS.broken == []
    for kind in KINDS:
        assert PLUGINS.all(kind) or kind == "command"


@pytest.mark.parametrize("record", EVERY, ids=lambda record: f"{record.kind}-{record.name}")
def test_every_record(record: Record) -> None:
    assert record.api == API
    assert record.summary
    assert len(record.summary) < 120
    assert PLUGINS.get(record.kind, record.name) is record
    assert record.functions()
    package = NEEDS_PACKAGE.get((record.kind, record.name))
    for name in record.functions():
        if package is None or importlib.util.find_spec(package) is not None:
            assert callable(record.function(name))


def test_a_function_that_is_not_there_is_a_plain_error() -> None:
    for where in ("conceptnet_ml.concepts.model:nothing", "no.such.module:it"):
        with pytest.raises(PluginError, match="cannot import"):
            KINDS["dreamer"](name="it", api="1", recipe=where).function("recipe")  # type: ignore[call-arg]


@records("trap")
@pytest.mark.parametrize("side", [24, 64])
def test_traps(record: Record, side: int, tmp_path: Path) -> None:
    check_trap(trial(record, tmp_path), max(side, LEAST_SIDE.get(record.name, 0)))


@records("backbone")
def test_backbones(record: Record, tmp_path: Path) -> None:
    check_built_backbone(trial(record, tmp_path))


@records("representation")
def test_representations(record: Record, tmp_path: Path) -> None:
    check_representation(trial(record, tmp_path))


@records("discoverer")
def test_discoverers(record: Record, tmp_path: Path) -> None:
    check_discoverer(Trial(record, PLUGINS, tmp_path))


@records("discoverer")
def test_bases(record: Record, tmp_path: Path) -> None:
    if "basis" not in record.functions():
        pytest.skip("it looks at units")
    check_basis(trial(record, tmp_path))


@records("stop_rule")
@pytest.mark.parametrize("gate", ["place", "channel", "whole"])
def test_stop_rules(record: Record, gate: str, tmp_path: Path) -> None:
    check_decisions(trial(record, tmp_path), gate)


@records("generalizer")
def test_generalizers(record: Record, tmp_path: Path) -> None:
    check_generalizer(trial(record, tmp_path))


@records("specializer")
def test_specializers(record: Record, tmp_path: Path) -> None:
    check_specializer(trial(record, tmp_path))


@records("dreamer")
def test_dreamers(record: Record, tmp_path: Path) -> None:
    check_dreamer(trial(record, tmp_path))


@records("exporter")
def test_exporters(record: Record, tmp_path: Path) -> None:
    check_exporter(trial(record, tmp_path))


@records("logger")
def test_loggers(record: Record, tmp_path: Path) -> None:
    check_logger(trial(record, tmp_path))


@pytest.fixture(scope="module")
def weights_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Record], Weights]:
    """The weights a baseline ends with in one go; trained once."""

    @functools.cache
    def weights(record: Record) -> Weights:
        return trained_weights(small_context(tmp_path_factory.mktemp("whole"), PLUGINS), record)

    return weights


@records("baseline")
def test_baselines(record: Record, weights_of: Callable[[Record], Weights], tmp_path: Path) -> None:
    check_training(trial(record, tmp_path), weights_of(record))


@records("baseline")
def test_baselines_go_on_when_they_are_stopped_again_and_again(
    record: Record, weights_of: Callable[[Record], Weights], tmp_path: Path
) -> None:
    stops = check_stops(trial(record, tmp_path), weights_of(record))
    assert stops or record.name == "last-layer"  # which takes no time that could be stopped


@pytest.mark.parametrize("record", [r for r in PLUGINS.all("baseline") if r.views], ids=lambda r: r.name)  # type: ignore[attr-defined]
def test_views_of_baselines(record: Record, tmp_path: Path) -> None:
    check_views(trial(record, tmp_path))


def test_the_random_box_exchanges_its_share_of_the_image(tmp_path: Path) -> None:
    record: Any = PLUGINS.get("baseline", "random-box")
    ctx = small_context(tmp_path, PLUGINS, side=32)
    labels = torch.arange(64) % 2
    flat = (torch.arange(64) * 3 + 20).view(-1, 1, 1, 1).expand(64, 3, 32, 32)
    plain = Views(ImageSet(flat.to(torch.uint8), labels), torch.arange(64), [], 2, CPU)
    for share in (0.1, 0.4):
        context = BaselineContext(ctx, record, ctx.network(), 1, share)
        context.plain = plain
        make = record.function("views")(context)
        indices = torch.arange(64).repeat(8)
        found, _ = make(indices, torch.Generator().manual_seed(0))
        changed = (found[:, 0] - plain.raw(indices)[:, 0]).abs() > 1e-6
        assert float(changed.double().mean()) == pytest.approx(share, rel=0.2)
