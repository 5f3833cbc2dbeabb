"""Where a run's figures go beside metrics.jsonl, while it runs."""

from __future__ import annotations

from conceptnet_ml.hookspecs import hookimpl
from conceptnet_ml.records import Logger


@hookimpl
def conceptnet_loggers() -> list[Logger]:
    """TensorBoard, Weights & Biases and MLflow; each in files of the run folder, for which its package is needed."""
    return [
        Logger(
            name="tensorboard",
            api="1",
            open="conceptnet_plugins.loggers.tensorboard:open_log",
            summary="TensorBoard: tensorboard --logdir runs (needs tensorboard)",
        ),
        Logger(
            name="wandb",
            api="1",
            open="conceptnet_plugins.loggers.wandb:open_log",
            summary="Weights & Biases, offline unless WANDB_MODE says otherwise (needs wandb)",
        ),
        Logger(
            name="mlflow",
            api="1",
            open="conceptnet_plugins.loggers.mlflow:open_log",
            summary="MLflow, in files unless MLFLOW_TRACKING_URI names a server (needs mlflow)",
        ),
    ]
