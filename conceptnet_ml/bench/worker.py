"""The process that measures the cells of one case and seed: ``python -m conceptnet_ml.bench.worker``.

The first line on stdin is the order, a JSON object (:func:`order`). While stdin stays open the work goes on; when it is
closed, by the parent or because the parent died, the worker stops where it can be resumed. It reports what happens as
JSON lines on stdout, and its progress on stderr.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from conceptnet_ml.bench.cases import Suite
from conceptnet_ml.bench.cells import DONE, FAILED, LEFT_OUT, SCHEMA_VERSION, CellGroup, cell_path, write_json
from conceptnet_ml.errors import ConceptNetError, Interrupted

if TYPE_CHECKING:
    from conceptnet_ml.bench.measure import FinishedRun
    from conceptnet_ml.runtime.progress import Progress
    from conceptnet_ml.runtime.signals import Stopper
    from conceptnet_ml.storage.run_folder import Run

THE_RUN = "(the run itself)"
"""Stands for a method in the events while the run that all methods share is computed."""
_TRACE_LINES = 30


def order(suite: Suite, group: CellGroup, folder: Path, plugins_dir: Path | None, no_plugins: bool) -> dict[str, Any]:
    """What a worker is to do, as plain values."""
    return {
        "case": group.case.name,
        "seed": group.seed,
        "methods": list(group.methods),
        "settings": group.case.with_seed(group.seed).model_dump(mode="json"),
        "folder": str(folder.resolve()),
        "ks": list(suite.ks),
        "draws": suite.draws,
        "plugins_dir": None if plugins_dir is None else str(Path(plugins_dir).resolve()),
        "no_plugins": no_plugins,
    }


def record(order: dict[str, Any], method: str, state: str, **figures: Any) -> dict[str, Any]:
    """The record of a cell; a failed one has ``error``, ``mend`` and ``trace``."""
    return {
        "version": SCHEMA_VERSION,
        "case": order["case"],
        "seed": order["seed"],
        "method": method,
        "state": state,
        "ks": order["ks"],
        "draws": order["draws"],
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **figures,
    }


def main() -> int:
    """Carry out the order on stdin; exit code 130 where it was stopped."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what others print does not get between the lines

    def report(**event: Any) -> None:
        channel.write(json.dumps(event) + "\n")
        channel.flush()

    return work(json.loads(sys.stdin.readline()), report, _watch_stdin)


def work(order: dict[str, Any], report: Callable[..., None], watch: Callable[[Stopper], None]) -> int:
    """Measure the cells of an order.

    Args:
        order: See :func:`order`.
        report: Called with ``event="begin" | "end"``, ``method`` and, at an end, ``state``.
        watch: Given the Stopper that it may request to stop.
    """
    from conceptnet_ml.bench import origin
    from conceptnet_ml.runtime.progress import Progress
    from conceptnet_ml.runtime.signals import Stopper
    from conceptnet_ml.version import __version__

    # read now: the files may change while this process goes on with what it has loaded
    program = {"commit": origin.commit(), "sources": origin.sources(), "package": __version__}
    stopper, progress = Stopper(), Progress(stream=sys.stderr, interval=2)
    watch(stopper)
    try:
        report(event="begin", method=THE_RUN)
        try:
            run = _finished_run(order, stopper, progress)
        except Interrupted:
            raise
        except Exception as error:
            for method in order["methods"]:
                _keep(order, _failure(order, method, error), report)
            return 0
        report(event="end", method=THE_RUN, state=DONE)
        try:
            for method in order["methods"]:
                report(event="begin", method=method)
                _keep(order, _measured(order, method, run, program), report)
        finally:
            run.ctx.run.close()
    except (Interrupted, KeyboardInterrupt):
        return Interrupted.exit_code
    return 0


def _finished_run(order: dict[str, Any], stopper: Stopper, progress: Progress) -> FinishedRun:
    """The run that the cells share: begun, resumed or only read."""
    from conceptnet_ml import api
    from conceptnet_ml.bench.measure import FinishedRun
    from conceptnet_ml.config.settings import Settings
    from conceptnet_ml.plugins import load_plugins
    from conceptnet_ml.storage.run_folder import Run

    plugins_dir = None if order["plugins_dir"] is None else Path(order["plugins_dir"])
    plugins = load_plugins(plugins_dir, use_entry_points=not order["no_plugins"])
    path = Path(order["folder"]) / "run"
    start = time.monotonic()
    begun = (path / "settings.json").exists()
    if begun:
        with Run.open(path, write=True) as run:
            _note_partial(run)
    opened = api.learn(
        settings=Settings.model_validate(order["settings"]),
        out=None if begun else path,
        resume=path if begun else None,
        plugins=plugins,
        progress=progress,
        stopper=stopper,
        origins={},
    )
    ctx, learned = opened.reopen(progress, stopper)
    seconds = None if begun else time.monotonic() - start
    return FinishedRun(opened, ctx, learned, tuple(order["ks"]), order["draws"], _cut_off(ctx.run), seconds)


def _note_partial(run: Run) -> None:
    """Trainings that were cut off will go on from their checkpoint, and their seconds will be those of the rest."""
    folder, known = run.path / "checkpoints", _cut_off(run)
    for path in sorted(folder.rglob("*.json")) if folder.is_dir() else ():
        name = unquote(path.relative_to(folder).with_suffix("").as_posix())
        if name not in known:
            run.log(event="cut off", training=name)


def _cut_off(run: Run) -> list[str]:
    return [entry["training"] for entry in run.metrics() if entry.get("event") == "cut off"]


def _measured(order: dict[str, Any], method: str, run: FinishedRun, program: dict[str, str]) -> dict[str, Any]:
    from conceptnet_ml.bench.measure import NoAnswer, measure_cell
    from conceptnet_ml.runtime.devices import environment

    start = time.monotonic()
    try:
        figures = measure_cell(run, method)
    except NoAnswer as reason:
        return record(order, method, LEFT_OUT, error=str(reason))
    except Interrupted:
        raise
    except Exception as error:
        return _failure(order, method, error)
    where = {**program, **environment(run.ctx.device, run.ctx.dtype)}
    return record(order, method, DONE, origin=where, seconds=time.monotonic() - start, **figures)


def _failure(order: dict[str, Any], method: str, error: Exception) -> dict[str, Any]:
    if isinstance(error, ConceptNetError):
        return record(order, method, FAILED, error=error.message, mend=error.mend, trace="")
    lines = "".join(traceback.format_exception(error)).splitlines()
    words = f"{type(error).__name__}: {error}"
    return record(order, method, FAILED, error=words, mend="", trace="\n".join(lines[-_TRACE_LINES:]))


def _keep(order: dict[str, Any], cell: dict[str, Any], report: Callable[..., None]) -> None:
    """Write a finished cell and report it."""
    write_json(cell_path(Path(order["folder"]), cell["method"]), cell)
    report(event="end", method=cell["method"], state=cell["state"])


def _watch_stdin(stopper: Stopper) -> None:
    """Request a stop when stdin is closed."""

    def watch() -> None:
        while sys.stdin.readline():
            pass
        stopper.request()

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
