"""The process that measures the cells of one case and seed: ``python -m conceptnet_ml.bench.worker``.

The first line on stdin is the order, a JSON object (:func:`order`). While stdin stays open the work goes on; when it is
closed, by the parent or because the parent died, the worker stops where it can be resumed. It tells what happens as
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
from typing import Any

from conceptnet_ml.bench.cases import Case, Suite
from conceptnet_ml.bench.cells import DONE, FAILED, LEFT_OUT, SCHEMA_VERSION, cell_path, write_json
from conceptnet_ml.errors import ConceptNetError, Interrupted

RUN = "(the run itself)"
"""Stands for a method in what is told while the run that all methods share is under way."""

_TRACE_LINES = 30


def order(
    suite: Suite, case: Case, seed: int, methods: tuple[str, ...], folder: Path, plugins_dir: Path | None, bare: bool
) -> dict[str, Any]:
    """What a worker is told: plain values only."""
    return {
        "case": case.name,
        "seed": seed,
        "methods": list(methods),
        "settings": case.with_seed(seed).model_dump(mode="json"),
        "folder": str(folder.resolve()),
        "ks": list(suite.ks),
        "draws": suite.draws,
        "plugins_dir": None if plugins_dir is None else str(Path(plugins_dir).resolve()),
        "no_plugins": bare,
    }


def failure(order: dict[str, Any], method: str, message: str, mend: str = "", trace: str = "") -> dict[str, Any]:
    """The record of a cell that failed."""
    return {**_head(order, method, FAILED), "error": message, "mend": mend, "trace": trace}


def main() -> int:
    """Do what the order on stdin says; exit code 130 where it was stopped."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints something does not get between the lines

    def tell(**event: Any) -> None:
        channel.write(json.dumps(event) + "\n")
        channel.flush()

    return work(json.loads(sys.stdin.readline()), tell, _watch_stdin)


def work(order: dict[str, Any], tell: Callable[..., None], watch: Callable[[Any], None]) -> int:
    """Measure the cells of an order.

    Args:
        order: See :func:`order`.
        tell: Called with ``event="begin" | "end"``, ``method`` and, at an end, ``state``.
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
    folder = Path(order["folder"])
    methods = list(order["methods"])
    tell(event="begin", method=RUN)
    try:
        ground = _ground(order, folder, stopper, progress)
    except (Interrupted, KeyboardInterrupt):
        return Interrupted.exit_code
    except Exception as error:
        for method in methods:
            write_json(cell_path(folder, method), _failed(order, method, error))
            tell(event="end", method=method, state=FAILED, error=_one_line(error))
        return 0
    tell(event="end", method=RUN, state=DONE)
    try:
        for method in methods:
            tell(event="begin", method=method)
            try:
                record = _measured(order, method, ground, program)
            except Interrupted:
                return Interrupted.exit_code
            except Exception as error:
                record = _failed(order, method, error)
            write_json(cell_path(folder, method), record)
            tell(event="end", method=method, state=record["state"], error=record.get("error", ""))
    except KeyboardInterrupt:
        return Interrupted.exit_code
    finally:
        ground.ctx.run.close()
    return 0


def _ground(order: dict[str, Any], folder: Path, stopper: Any, progress: Any) -> Any:
    """The run, finished: begun, gone on with, or only read."""
    from conceptnet_ml import api
    from conceptnet_ml.bench.measure import Ground
    from conceptnet_ml.config.settings import Settings
    from conceptnet_ml.plugins import load_plugins
    from conceptnet_ml.storage.run_folder import Run

    where = None if order["plugins_dir"] is None else Path(order["plugins_dir"])
    plugins = load_plugins(where, use_entry_points=not order["no_plugins"])
    settings = Settings.model_validate(order["settings"])
    path = folder / "run"
    began = time.monotonic()
    begun = (path / "settings.json").exists()
    if begun:
        with Run.open(path, write=True) as run:
            _note_partial(run)
    opened = api.learn(
        settings=settings,
        out=None if begun else path,
        resume=path if begun else None,
        plugins=plugins,
        progress=progress,
        stopper=stopper,
        origins={},
    )
    ctx, learned = opened.reopen(progress, stopper)
    cut = [entry["training"] for entry in ctx.run.metrics() if entry.get("event") == "cut off"]
    seconds = None if begun else time.monotonic() - began
    return Ground(opened, ctx, learned, tuple(order["ks"]), order["draws"], cut, seconds)


def _note_partial(run: Any) -> None:
    """Trainings that were cut off will go on from their checkpoint, and their seconds will be those of the rest."""
    from urllib.parse import unquote

    folder = run.path / "checkpoints"
    known = {entry["training"] for entry in run.metrics() if entry.get("event") == "cut off"}
    for path in sorted(folder.rglob("*.json")) if folder.is_dir() else ():
        name = unquote(path.relative_to(folder).with_suffix("").as_posix())
        if name not in known:
            run.log(event="cut off", training=name)


def _measured(order: dict[str, Any], method: str, ground: Any, program: dict[str, str]) -> dict[str, Any]:
    from conceptnet_ml.bench import measure
    from conceptnet_ml.runtime.devices import environment

    began = time.monotonic()
    try:
        found = measure.measure_cell(ground, method)
    except measure.LeftOut as reason:
        return {**_head(order, method, LEFT_OUT), "error": str(reason)}
    ctx = ground.ctx
    return {
        **_head(order, method, DONE),
        "origin": {**program, **environment(ctx.device, ctx.dtype)},
        "seconds": time.monotonic() - began,
        **found,
    }


def _head(order: dict[str, Any], method: str, state: str) -> dict[str, Any]:
    return {
        "version": SCHEMA_VERSION,
        "case": order["case"],
        "seed": order["seed"],
        "method": method,
        "state": state,
        "ks": order["ks"],
        "draws": order["draws"],
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _failed(order: dict[str, Any], method: str, error: Exception) -> dict[str, Any]:
    if isinstance(error, ConceptNetError):
        return failure(order, method, error.message, error.mend)
    lines = "".join(traceback.format_exception(error)).splitlines()
    return failure(order, method, f"{type(error).__name__}: {error}", "", "\n".join(lines[-_TRACE_LINES:]))


def _one_line(error: Exception) -> str:
    text = error.message if isinstance(error, ConceptNetError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _watch_stdin(stopper: Any) -> None:
    def watch() -> None:
        while sys.stdin.readline():
            pass
        stopper.request()

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
