"""The bench itself: which cells are to be measured, by whom, and what becomes of each."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conceptnet_ml.bench import worker
from conceptnet_ml.bench.cases import FORCED, LEARNED, ORDINARY, Suite, flag_of
from conceptnet_ml.bench.cells import FAILED, CellGroup, Store, cell_path, methods_of, read_json, write_json
from conceptnet_ml.bench.pool import NEED, Worker, default_jobs, threads_for
from conceptnet_ml.bench.results import collect_results, headline_of
from conceptnet_ml.errors import DataError, Interrupted, SettingsError
from conceptnet_ml.plugins import Plugins, load_plugins
from conceptnet_ml.runtime import devices
from conceptnet_ml.runtime.progress import Progress, Task
from conceptnet_ml.runtime.signals import Stopper

_POLL = 0.5  # seconds


def run_bench(
    suite: Suite,
    out: str | Path,
    *,
    jobs: int | None = None,
    plugins_dir: Path | None = None,
    no_plugins: bool = False,
    progress: Progress | None = None,
    stopper: Stopper | None = None,
    command: str = "",
    work: bool = True,
) -> dict[str, Any]:
    """Measure every cell that is not finished yet, and put all of them together.

    Args:
        suite: What to measure.
        out: Where finished cells are kept; a second call goes on there.
        jobs: Processes side by side; default: by cores and free memory.
        plugins_dir, no_plugins: As for ``learn``.
        progress: Where progress is shown; default: nowhere.
        stopper: Asked whether to stop; default: never.
        command: What the tables say they were made with.
        work: False measures nothing and gathers what is finished.

    Returns:
        The results, as ``results.json`` holds them; failed cells are in it with their errors.

    Raises:
        SettingsError, DataError, PluginError: Something is wrong with what was asked for; nothing was measured.
        Interrupted: The stopper said so; finished cells are kept.
    """
    plugins = load_plugins(plugins_dir, use_entry_points=not no_plugins)
    methods = check_suite(suite, plugins)
    store = Store(Path(out))
    store.check(suite)
    store.hold()
    try:
        hall = _Hall(
            suite, store, plugins_dir, no_plugins, progress or Progress(quiet=True), stopper or Stopper(), jobs
        )
        hall.work(store.groups(suite, methods) if work else [])
        return collect_results(suite, store, methods, plugins, command, hall.described)
    finally:
        store.release()


def check_suite(suite: Suite, plugins: Plugins) -> tuple[str, ...]:
    """The methods of the suite, after everything that can be checked without an image.

    Raises:
        SettingsError, PluginError: An unknown method, data set, trap or other plugin, or a device that is not there.
    """
    from conceptnet_ml.checks import check_settings

    methods = suite.methods
    if methods is None:
        methods = (ORDINARY, LEARNED, *(record.name for record in plugins.all("baseline")))
    also = [name for case in suite.cases for name in case.also]
    for name in (*methods, *also):
        if name not in (ORDINARY, LEARNED, FORCED):
            try:
                plugins.get("baseline", name)
            except SettingsError as error:
                raise SettingsError(
                    f"There is no method '{name}'.", f"{error.mend} Also: {ORDINARY}, {LEARNED}, {FORCED}."
                ) from error
    for case in suite.cases:
        if not case.missing:
            try:
                check_settings(case.settings, plugins)
            except SettingsError as error:
                raise SettingsError(f"case '{case.name}': {error.message}", error.mend) from error
    if all(case.missing for case in suite.cases):
        raise DataError("no case can be measured: none of their folders is given.", missing_folders(suite))
    return methods


def missing_folders(suite: Suite) -> str:
    """What would have to be given for the cases that are left out."""
    names = dict.fromkeys(name for case in suite.cases for name in case.missing)
    return f"Give {', '.join(map(flag_of, names))}."


@dataclass
class _Hall:
    """Where the workers are."""

    suite: Suite
    store: Store
    plugins_dir: Path | None
    no_plugins: bool
    progress: Progress
    stopper: Stopper
    jobs: int | None
    events: queue.Queue[Any] = field(default_factory=queue.Queue)
    running: list[Worker] = field(default_factory=list)
    waiting: list[CellGroup] = field(default_factory=list)
    need: float = NEED
    described: dict[str, Any] = field(default_factory=dict)

    def work(self, groups: Sequence[CellGroup]) -> None:
        """Everything that is waiting, until it is done or the stopper says so."""
        device = self.device(groups)
        self.waiting = list(groups)
        jobs = self.jobs or default_jobs(len(groups), device=device)
        jobs = max(1, min(jobs, len(groups)))
        threads = threads_for(jobs)
        self.described = {"jobs": jobs} if groups else {}
        if not groups:
            return
        total = sum(len(group.methods) for group in groups)
        try:
            with self.progress.task("bench", total=total) as task:
                self.progress.say(f"{total} cells to measure, {jobs} at a time with {threads} threads each")
                while self.running or (self.waiting and not self.stopper.requested):
                    self._start(jobs, threads, device)
                    self._hear(task)
        except BaseException:
            for one in self.running:
                one.kill()
            raise
        if self.stopper.requested:
            raise Interrupted("stopped; finished cells are kept")

    def device(self, groups: Sequence[CellGroup]) -> Any:
        """The card that cells are measured on, None for the CPU."""
        for name in dict.fromkeys(group.case.settings.device for group in groups):
            device = devices.choose_device(name)
            if device.type == "cuda":
                return device
        return None

    def _start(self, jobs: int, threads: int, device: Any) -> None:
        """Fill the free places, as far as memory goes; ask all to stop where that is wanted."""
        if self.stopper.requested:
            for one in self.running:
                one.stop()
            return
        while self.waiting and len(self.running) < jobs:
            free = min(devices.free_memory(), devices.free_memory(device))
            if self.running and free < self.need:
                return
            group = self.waiting.pop(0)
            self.store.begin(group.case, group.seed)
            folder = self.store.folder(group.case, group.seed)
            order = worker.order(
                self.suite, group.case, group.seed, group.methods, folder, self.plugins_dir, self.no_plugins
            )
            # The same number of threads as its run had: its costs are multiples of what that took.
            before = read_json(folder / "run" / "environment.json") or {}
            self.running.append(Worker(group, order, before.get("threads", threads), self.events))

    def _hear(self, task: Task) -> None:
        """One event, or a look at what is going on."""
        try:
            one, event = self.events.get(timeout=_POLL)
        except queue.Empty:
            task.advance(0, running="; ".join(one.status() for one in self.running))
            return
        if event["event"] == "begin":
            one.current = event["method"]
            one.words.clear()
        elif event["event"] == "end" and event["method"] in one.rest:
            one.rest.remove(event["method"])
            task.advance()
            self._tell(one, event["method"])
        elif event["event"] == "exit":
            self.running.remove(one)
            if one.rest and not self.stopper.requested:
                self._bury(one, event["code"], task)

    def _bury(self, one: Worker, code: int, task: Task) -> None:
        """A worker died: its cell has failed, the others of its group go on in another process."""
        lost = [one.current] if one.current in one.rest else list(one.rest)
        for method in lost:
            record = worker.failure(one.order, method, one.why(code), "", "\n".join(one.words))
            write_json(cell_path(Path(one.order["folder"]), method), record)
            one.rest.remove(method)
            task.advance()
            self._tell(one, method)
        if one.rest:
            self.waiting.append(CellGroup(one.group.case, one.group.seed, tuple(one.rest)))

    def _tell(self, one: Worker, method: str) -> None:
        """A line for a cell that came to its end."""
        found = self.store.cell(one.group.case, one.group.seed, method) or {}
        peak = found.get("peak_memory_gib")
        if peak and "cuda" not in found["origin"]["device"]:
            self.need = max(self.need, 1.2 * peak)
        words = found.get("state", FAILED)
        if "test_sets" in found:
            name = headline_of(one.group.case, [found])
            figure = 100 * found["test_sets"][name]["accuracy"]
            words = f"{name} {figure:.1f} %, {found['cost']['times_ordinary']:.1f} × ordinary training"
        elif found.get("error"):
            words = f"{words}: {found['error'].splitlines()[0]}"
        self.progress.say(f"{one.group.name}, {method}: {words}")


def planned(suite: Suite, store: Store, methods: Sequence[str]) -> list[dict[str, Any]]:
    """Every cell, with what is known of it: case, seed, method, state (``to do`` where nothing is)."""
    rows = []
    for case in suite.cases:
        for seed in suite.seeds:
            for method in methods_of(case, methods):
                state = "left out" if case.missing else "to do"
                if not case.missing and store.finished(suite, case, seed, method):
                    state = "finished"
                elif not case.missing and (store.cell(case, seed, method) or {}).get("state") == FAILED:
                    state = "failed"
                rows.append({"case": case.name, "seed": seed, "method": method, "state": state})
    return rows
