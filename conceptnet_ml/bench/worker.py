"""The process that measures the cells of one case and seed: ``python -m conceptnet_ml.bench.worker``.

The first line on stdin is the order, a JSON object (:func:`order`). While stdin stays open the work goes on; when it is
closed, by the parent or because the parent died, the worker stops where it can be resumed. Each cell is written as soon
as it is measured.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from conceptnet_ml.bench.cases import Suite
from conceptnet_ml.bench.cells import DONE, FAILED, LEFT_OUT, CellGroup, save_cell
from conceptnet_ml.errors import ConceptNetError, DataError, Interrupted, PluginError
from conceptnet_ml.storage.lock import FolderLock

if TYPE_CHECKING:
    from conceptnet_ml.bench.measure import FinishedRun
    from conceptnet_ml.runtime.progress import Progress
    from conceptnet_ml.runtime.signals import Stopper
    from conceptnet_ml.storage.run_folder import Run

_TRACE_LINES = 30

FREED = 180.0
"""Seconds in which a process that lost its parent lets go of the run."""


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


def main() -> int:
    """Carry out the order on stdin; exit code 130 where it was stopped."""
    from conceptnet_ml.bench import origin
    from conceptnet_ml.runtime.progress import Progress
    from conceptnet_ml.runtime.signals import Stopper
    from conceptnet_ml.version import __version__

    # read now: the files may change while this process goes on with what it has loaded
    program = {"commit": origin.commit(), "sources": origin.sources(), "package": __version__}
    order = json.loads(sys.stdin.readline())
    stopper = Stopper()
    threading.Thread(target=_stop_when_stdin_closes, args=(stopper,), daemon=True).start()
    try:
        try:
            run = _finished_run(order, stopper, Progress(stream=sys.stderr, interval=2))
        except Exception as error:
            for method in order["methods"]:
                _save_failure(order, method, error)
            return 0
        with run.ctx.run:
            for method in order["methods"]:
                stopper.check()
                _measure(order, method, run, program)
    except (Interrupted, KeyboardInterrupt):
        return Interrupted.exit_code
    return 0


def _finished_run(order: dict[str, Any], stopper: Stopper, progress: Progress) -> FinishedRun:
    """The run that the cells share: begun, resumed or only read."""
    from conceptnet_ml import api
    from conceptnet_ml.bench.measure import FinishedRun
    from conceptnet_ml.config.settings import Settings
    from conceptnet_ml.network.build import name_backbone
    from conceptnet_ml.plugins import load_plugins
    from conceptnet_ml.storage.run_folder import Run

    plugins_dir = None if order["plugins_dir"] is None else Path(order["plugins_dir"])
    plugins = load_plugins(plugins_dir, use_entry_points=not order["no_plugins"])
    path = Path(order["folder"]) / "run"
    start = time.monotonic()
    if order.get("again"):
        _await_predecessor(path)
    begun = (path / "settings.json").exists()
    settings = Settings.model_validate(order["settings"])
    plugins = plugins.with_settings(settings.plugin)  # of the methods, too, which the run does not choose
    chosen = {name for _, name in plugins.chosen(settings)}
    kept = {name: own for name, own in settings.plugin.items() if name in chosen}
    settings = settings.model_copy(update={"plugin": kept})
    name_backbone(settings, plugins)
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
    seconds = None if begun else time.monotonic() - start
    return FinishedRun(opened, ctx, learned, tuple(order["ks"]), order["draws"], _cut_off(ctx.run), seconds)


def _await_predecessor(path: Path) -> None:
    """A process whose parent was killed saves what it has and ends: wait for it, which holds the run's lock."""
    lock, until = FolderLock(path), time.monotonic() + FREED
    while path.is_dir() and time.monotonic() < until:
        with suppress(DataError):
            lock.acquire()
            lock.release()
            return
        time.sleep(0.5)


def _note_partial(run: Run) -> None:
    """Trainings that were cut off will go on from their checkpoint, and their seconds will be those of the rest."""
    folder, known = run.path / "checkpoints", _cut_off(run)
    for path in sorted(folder.rglob("*.json")) if folder.is_dir() else ():
        name = unquote(path.relative_to(folder).with_suffix("").as_posix())
        if name not in known:
            run.log(event="cut off", training=name)


def _cut_off(run: Run) -> list[str]:
    return [entry["training"] for entry in run.metrics() if entry.get("event") == "cut off"]


def _measure(order: dict[str, Any], method: str, run: FinishedRun, program: dict[str, str]) -> None:
    from conceptnet_ml.bench.measure import NoAnswer, measure_cell
    from conceptnet_ml.runtime.devices import environment

    start = time.monotonic()
    try:
        figures = measure_cell(run, method)
    except NoAnswer as reason:
        save_cell(order, method, LEFT_OUT, error=str(reason))
    except Exception as error:
        _save_failure(order, method, error)
    else:
        where = {**program, **environment(run.ctx.device, run.ctx.dtype)}
        save_cell(order, method, DONE, origin=where, seconds=time.monotonic() - start, **figures)


def _save_failure(order: dict[str, Any], method: str, error: Exception) -> None:
    """Raises the error where it is no failure: the user's interruption."""
    if isinstance(error, Interrupted):
        raise error
    words, mend = f"{type(error).__name__}: {error}", ""
    cause: BaseException | None = error
    if isinstance(error, ConceptNetError):
        words, mend = error.message, error.mend
        cause = error.__cause__ if isinstance(error, PluginError) else None
    lines = "" if cause is None else "".join(traceback.format_exception(cause)).splitlines()
    save_cell(order, method, FAILED, error=words, mend=mend, trace="\n".join(lines[-_TRACE_LINES:]))


def _stop_when_stdin_closes(stopper: Stopper) -> None:
    while sys.stdin.readline():
        pass
    stopper.request()


if __name__ == "__main__":
    sys.exit(main())
