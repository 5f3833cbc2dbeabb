"""A finished run taken up again as its own steps saw it."""

from __future__ import annotations

from typing import Any

from conceptnet_ml.learner import run_learner
from conceptnet_ml.plugins import Plugins, load_plugins
from conceptnet_ml.results.learned_run import LearnedRun
from conceptnet_ml.runtime import devices
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import Learned


def reopen(
    opened: LearnedRun,
    plugins: Plugins | None = None,
    progress: Progress | None = None,
    stopper: Stopper | None = None,
    **rounds: Any,
) -> tuple[Context, Learned]:
    """A finished run as its own steps saw it: their context, and what the loop ended with, read back step by step.

    What is then asked of the context is remembered by the run like its own steps; close ``ctx.run`` when done.

    Args:
        opened: The run.
        plugins, progress, stopper: As in :func:`learn`.
        rounds: Settings of the group ``round`` that are to differ: ``show_refused=True`` trains the first refused one.

    Raises:
        DataError: Another process writes into the run, or a step of it is damaged.
    """
    plugins = load_plugins() if plugins is None else plugins
    settings = opened.settings
    if rounds:
        settings = settings.model_copy(update={"round": settings.round.model_copy(update=rounds)})
    device, dtype = devices.prepare(settings.device, settings.training.precision)
    images = opened._images(None, None).to(device)
    run = opened._run
    run.lock()
    progress = Progress(quiet=True) if progress is None else progress
    ctx = Context(settings, plugins, images, run, progress, stopper or Stopper(), device, dtype)
    return ctx, run_learner(ctx)
