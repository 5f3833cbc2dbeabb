"""The built-in loggers against the real libraries, offline: what was logged is read back by each one's own reader."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conceptnet_ml import Settings
from conceptnet_ml.checks import check_names
from conceptnet_ml.drawing.pictures import to_png
from conceptnet_ml.errors import SettingsError
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.storage.files import foreign

PLUGINS = load_plugins(use_entry_points=False)
LOSS, FOUND, SHEET = "loss/block3/classes/1|train-pixels-1", "accuracy/a <set> ü/learned", "pictures/round-swaps.png"
SETTINGS = {"seed": 3, "data.source": "folder:my photos", "round.keep": (), "data.target": None}


def needs(package: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed: pip install {package}")


def logged(name: str, folder: Path) -> Path:
    """A run that was stopped after 25 steps, and resumed."""
    log, picture = folder / "log", folder / "sheet.png"
    log.mkdir()
    picture.write_bytes(to_png(np.full((6, 8, 3), 200, np.uint8)))
    for step, loss in ((25, 0.5), (50, 0.25)):
        found = PLUGINS.get("logger", name).function("open")(log, "cars", SETTINGS)
        found.scalars({LOSS: loss}, step)
        found.scalars({FOUND: 0.75}, 2)
        found.text("event/probe", '{"name": "block3/classes/1", "who": "<b>"}', 2)
        found.picture(SHEET, picture, 2)
        assert foreign(log) is None, "a run folder with a link that leads out of it is not opened"
        found.close()
    assert foreign(log) is None
    return log


@needs("tensorboard")
def test_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(logged("tensorboard", tmp_path)))
    read.Reload()
    tags = read.Tags()
    losses = next(tag for tag in tags["scalars"] if tag.startswith("loss/"))
    assert [(one.step, one.value) for one in read.Scalars(losses)] == [(25, 0.5), (50, 0.25)]
    assert len(tags["scalars"]) == 2
    assert read.Images(tags["images"][0])[0].width == 8
    words = {tag: read.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in tags["tensors"]}
    assert "folder:my photos" in words["settings/text_summary"]
    assert "block3/classes/1" in words["event/probe/text_summary"]


@needs("mlflow")
def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    log = logged("mlflow", tmp_path)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(log / "mlruns").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("conceptnet_ml").experiment_id])
    assert (run.info.run_name, run.info.status) == ("cars", "FINISHED")
    assert run.data.params["data.source"] == "folder:my photos"
    (losses,) = (name for name in run.data.metrics if name.startswith("loss/"))
    assert [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, losses)] == [
        (25, 0.5),
        (50, 0.25),
    ]
    kept = [*log.rglob("*.png"), *log.rglob("*.txt")]
    assert {path.name for path in kept} == {"sheet.png", "probe-2.txt"}


@needs("wandb")
def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    log = logged("wandb", tmp_path)
    found: list[dict[str, Any]] = []
    for _ in range(200):  # it is written by a process of wandb's own, which may still be at it
        found = [row for path in sorted(log.glob("wandb/offline-run-*/*.wandb")) for row in wandb_records(path)]
        if sum("pictures/round-swaps.png/path" in row for row in found) == 2:
            break
        time.sleep(0.05)
    assert [(row["step"], row[LOSS]) for row in found if LOSS in row] == [(25, 0.5), (50, 0.25)]
    assert sum(row.get(FOUND) == 0.75 for row in found) == 2
    runs = {path.name.rpartition("-")[2] for path in log.glob("wandb/offline-run-*")}
    assert len(runs) == 1, "opened again it is the same run"
    assert sum("event/probe/path" in row for row in found) == 2
    assert len([*log.glob("wandb/offline-run-*/files/media/images/pictures/*.png")]) == 2


def wandb_records(path: Path) -> list[dict[str, Any]]:
    """The rows of a run's offline file. It is a log as LevelDB writes it, behind seven bytes of a header: blocks of 32
    KiB, in each pieces of records, each behind its checksum (4 bytes), length (2) and type (1; 1 or 4 at an end)."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole = path.read_bytes(), 7, b""
    rows = []
    while at < len(data):
        if 32768 - at % 32768 < 7:  # too little for a piece
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            items = record.history.item
            rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return rows


@pytest.mark.parametrize(
    ("name", "blocked"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb"), ("mlflow", "mlflow.tracking")]
)
def test_a_package_that_is_not_there_is_named_with_its_install_line(
    name: str, blocked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, blocked, None)
    monkeypatch.delitem(sys.modules, f"conceptnet_plugins.loggers.{name}", raising=False)
    settings = Settings.model_validate({"plugins": {"loggers": [name]}})
    with pytest.raises(SettingsError, match=f"(?s)'{name}' needs {name}, which is not installed.*pip install {name}"):
        check_names(settings, PLUGINS)
