"""A run for MLflow, as files that ``mlflow ui --backend-store-uri`` shows, or at the server of MLFLOW_TRACKING_URI."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conceptnet_ml import SettingsError
from conceptnet_ml.storage.files import write_atomic

os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # its default is a database, which takes more packages

try:
    from mlflow.tracking import MlflowClient
except ImportError as error:
    raise SettingsError(
        "plugins.loggers 'mlflow' needs mlflow, which is not installed", "Install it: pip install mlflow"
    ) from error

EXPERIMENT = "conceptnet_ml"


class MlflowLog:
    """A run of MLflow; opened again, the same one by its id.

    Args:
        folder: Where its files lie, and its id.
        name: Of the run.
        settings: Its parameters.
    """

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        where = os.environ.get("MLFLOW_TRACKING_URI") or (folder / "mlruns").resolve().as_uri()
        self._client = MlflowClient(tracking_uri=where)
        known = folder / "id"
        if known.exists():
            self._id = known.read_text(encoding="utf-8")
            self._client.update_run(self._id, status="RUNNING")
            return
        found = self._client.get_experiment_by_name(EXPERIMENT)
        experiment = found.experiment_id if found else self._client.create_experiment(EXPERIMENT)
        self._id = self._client.create_run(experiment, run_name=name).info.run_id
        write_atomic(known, self._id)
        for setting, value in settings.items():
            self._client.log_param(self._id, setting, str(value)[:6000])

    def scalars(self, figures: Mapping[str, float], step: int) -> None:
        for name, value in figures.items():
            self._client.log_metric(self._id, _named(name), value, step=step)

    def text(self, name: str, words: str, step: int) -> None:
        self._client.log_text(self._id, words, f"{_named(name)}-{step}.txt")

    def picture(self, name: str, path: Path, step: int) -> None:
        self._client.log_artifact(self._id, str(path), "pictures")

    def close(self) -> None:
        self._client.set_terminated(self._id)


def open_log(folder: Path, name: str, settings: Mapping[str, Any]) -> MlflowLog:
    """Begin or go on with the log of a run."""
    return MlflowLog(folder, name, settings)


def _named(name: str) -> str:
    """A name in the letters that MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)
