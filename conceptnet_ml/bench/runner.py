"""The bench itself: which cells are to be measured, and processes side by side that measure them."""

from __future__ import annotations

import contextlib
import signal
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from conceptnet_ml.bench import worker
from conceptnet_ml.bench.cases import FORCED, LEARNED, ORDINARY, Case, Suite, flag_of
from conceptnet_ml.bench.cells import FAILED, CellGroup, CellStore, cell_path, read_or_none, save_cell
from conceptnet_ml.bench.places import LOG, LOST, NEED, ProcessPlace, ThisMachine
from conceptnet_ml.bench.results import collect_results, headline_of
from conceptnet_ml.errors import DataError, Interrupted, SettingsError
from conceptnet_ml.plugins import Plugins, load_plugins
from conceptnet_ml.runtime.progress import Progress, Task
from conceptnet_ml.runtime.signals import Stopper

_POLL = 0.05  # seconds

LAST_WORDS = 30
"""Lines of its log that a failed cell keeps."""


def run_bench(
    suite: Suite,
    out: str | Path,
    *,
    jobs: int | ProcessPlace | None = None,
    plugins_dir: Path | None = None,
    no_plugins: bool = False,
    progress: Progress | None = None,
    stopper: Stopper | None = None,
) -> dict[str, Any]:
    """Measure every cell that is not finished yet, and put all of them together. Raises SettingsError, DataError or
    PluginError where something is wrong with the suite or the folder, before anything is measured; Interrupted where
    the stopper was requested: finished cells are kept.

    Args:
        suite: What to measure.
        out: Where finished cells are kept; a second call goes on there.
        jobs: Processes side by side; default: by cores and free memory; 0: measure nothing, gather what is finished. Or
            another place than this machine, such as a :class:`~conceptnet_ml.bench.ray_cluster.RayCluster`.
        plugins_dir, no_plugins: As for ``learn``.
        progress: Where progress is shown; default: nowhere.
        stopper: Asked whether to stop; default: never.

    Returns:
        The results, as ``results.json`` holds them; failed cells are in it with their errors.
    """
    plugins = load_plugins(plugins_dir, use_entry_points=not no_plugins)
    place = ThisMachine(jobs) if jobs is None or isinstance(jobs, int) else jobs
    methods = check_suite(suite, plugins, place.here)
    store = CellStore(Path(out))
    store.check(suite)
    with store.locked():
        groups = [] if jobs == 0 else store.groups(suite, methods)
        how = {}
        if groups:
            place.begin(store.out)
            scheduler = _Scheduler(suite, store, place, progress or Progress(quiet=True), stopper or Stopper())
            how["jobs"] = scheduler.work(groups, plugins_dir, no_plugins)
        return collect_results(suite, store, methods, plugins, how)


def check_suite(suite: Suite, plugins: Plugins, here: bool = True) -> tuple[str, ...]:
    """The methods of the suite, after everything that can be checked without an image. Raises SettingsError or
    PluginError for an unknown method, data set, trap or other plugin, or a device that is not there; DataError where no
    case has its folders, a trap does not suit the classes, or there is no picture of the new world.

    Args:
        here: Whether the devices are to be those of this machine.
    """
    from conceptnet_ml.checks import check_settings
    from conceptnet_ml.evaluation.baselines import baseline_of

    methods = suite.methods
    if methods is None:
        methods = (ORDINARY, LEARNED, *(record.name for record in plugins.all("baseline")))
    for name in {name: None for case in suite.cases for name in case.methods(methods)}:
        if name not in (ORDINARY, LEARNED, FORCED):
            try:
                baseline_of(name, plugins)
            except SettingsError as error:
                mend = f"{error.mend} Also: {ORDINARY}, {LEARNED}, {FORCED}."
                raise SettingsError(f"There is no method '{name}'.", mend) from error
    for case in suite.cases:
        if not case.missing:
            try:
                check_settings(case.settings, plugins, _baselines(case, methods, plugins), here)
            except (DataError, SettingsError) as error:
                raise type(error)(f"case '{case.name}': {error.message}", error.mend) from error
    if all(case.missing for case in suite.cases):
        missing = dict.fromkeys(name for case in suite.cases for name in case.missing)
        held = [f"{flag_of(name)}: {suite.about[name]}" for name in missing if name in suite.about]
        mend = ". ".join((f"Give {', '.join(map(flag_of, missing))}", *held)) + "."
        raise DataError("no case can be measured: none of their folders is given.", mend)
    return methods


def _baselines(case: Case, methods: Iterable[str], plugins: Plugins) -> set[str]:
    """Names of the records that are its methods, whose own settings it may set."""
    from conceptnet_ml.evaluation.baselines import baseline_of

    named = (name for name in case.methods(methods) if name not in (ORDINARY, LEARNED, FORCED))
    return {baseline_of(name, plugins)[0].name for name in named}


class _Scheduler:
    """Starts workers while there are cells to measure and memory to do it in, and handles what they finish."""

    def __init__(
        self, suite: Suite, store: CellStore, place: ProcessPlace, progress: Progress, stopper: Stopper
    ) -> None:
        self.suite, self.store, self.place, self.progress, self.stopper = suite, store, place, progress, stopper
        self.running: list[Worker] = []
        self.waiting: list[CellGroup] = []
        self.need = NEED
        self.killed: Counter[str] = Counter()

    def work(self, groups: Sequence[CellGroup], plugins_dir: Path | None, no_plugins: bool) -> int:
        """Measure all groups; returns how many processes were side by side. Raises Interrupted when stopped."""
        jobs, threads = self.place.width(groups)
        self.waiting = list(groups)
        total = sum(len(group.methods) for group in groups)
        try:
            with self.progress.task("bench", total=total) as task:
                self.progress.say(f"{total} cells to measure, {jobs} at a time with {threads} threads each")
                while self.running or (self.waiting and not self.stopper.requested):
                    if self.stopper.requested:
                        for one in self.running:
                            one.stop()
                    while self.waiting and len(self.running) < jobs and self._may_start():
                        group = self.waiting.pop(0)
                        folder = self.store.begin(group)
                        # The same number of threads as its run had: its costs are multiples of what that took.
                        before = read_or_none(folder / "run" / "environment.json")
                        before = before if isinstance(before, dict) else {}
                        order = worker.order(self.suite, group, folder, plugins_dir, no_plugins)
                        order["again"] = self.killed[group.name] > 0
                        self.running.append(Worker(group, order, before.get("threads", threads), self.place))
                    for one in list(self.running):
                        self._attend(one, task)
                    task.advance(0, running="; ".join(one.status() for one in self.running))
                    time.sleep(_POLL)
        except BaseException:
            for one in self.running:
                one.kill()
            raise
        if self.stopper.requested:
            raise Interrupted("stopped; finished cells are kept", exit_code=self.stopper.exit_code)
        return jobs

    def _may_start(self) -> bool:
        """Whether another worker may start: the first one always, the others where memory is free."""
        return not self.stopper.requested and (not self.running or self.place.has_room(self.need))

    def _attend(self, one: Worker, task: Task) -> None:
        """Count what a worker has finished. Where it died its cell has failed, the others go on in another process; one
        that was killed is tried again first, as often as its place has it."""
        code = one.process.poll()  # asked before its cells: none is written afterwards
        for method in one.finished():
            self._finish(one, method, task)
        if code is None:
            return
        self.running.remove(one)
        if one.rest and not self.stopper.requested:
            killed = code < 0 or code == LOST
            self.killed[one.group.name] += killed
            if killed and self.killed[one.group.name] <= self.place.retries:
                self.progress.say(f"{one.group.name}: {one.death(code)}; tried again")
                self.waiting.append(CellGroup(one.group.case, one.group.seed, tuple(one.rest)))
                return
            for method in one.at_work_on():
                trace = "\n".join(one.words())
                save_cell(one.order, method, FAILED, error=one.death(code), mend="", trace=trace)
                self._finish(one, method, task)
            if one.rest:
                self.waiting.append(CellGroup(one.group.case, one.group.seed, tuple(one.rest)))

    def _finish(self, one: Worker, method: str, task: Task) -> None:
        """Count a finished cell and print a line for it."""
        one.rest.remove(method)
        task.advance()
        cell = self.store.cell(one.group.case, one.group.seed, method) or {}
        peak = cell.get("peak_memory_gib")
        if peak and "cuda" not in cell["origin"]["device"]:
            self.need = max(self.need, 1.2 * peak)
        words = cell.get("state", FAILED)
        if "test_sets" in cell:
            name = headline_of(one.group.case, [cell])
            accuracy = 100 * cell["test_sets"][name]["accuracy"]
            words = f"{name} {accuracy:.1f} %, {cell['cost']['times_ordinary']:.1f} × ordinary training"
        elif cell.get("error"):
            words = f"{words}: {cell['error'].splitlines()[0]}"
        self.progress.say(f"{one.group.name}, {method}: {words}")


class Worker:
    """A process at work on a group of cells. What it has done is seen in its folder, what it says in ``worker.log``.

    Args:
        group: Its cells; ``rest`` are the methods that are not finished yet.
        order: What it is to do; see :mod:`conceptnet_ml.bench.worker`.
        threads: Threads it may compute with.
        place: Where it is started.
    """

    def __init__(self, group: CellGroup, order: dict[str, Any], threads: int, place: ProcessPlace) -> None:
        self.group, self.order, self.folder = group, order, Path(order["folder"])
        self.rest = list(group.methods)
        self._before = {method: self._stamp(method) for method in self.rest}
        self._log = self.folder / LOG
        self._log.unlink(missing_ok=True)  # what it said last time is none of this one's words
        self.process = place.start(order, threads)

    def finished(self) -> list[str]:
        """The methods of the rest whose cells it has written."""
        return [method for method in self.rest if self._stamp(method) != self._before[method]]

    def at_work_on(self) -> list[str]:
        """What fails where it dies now: all of the rest as long as the run that they share is not done."""
        return self.rest[: 1 if (self.folder / "run" / "DONE").exists() else None]

    def stop(self) -> None:
        """Ask it to stop where it can be resumed."""
        self.process.stop()

    def kill(self) -> None:
        """Stop it at once."""
        self.process.kill()

    def words(self) -> list[str]:
        """The last lines of its log, which may not be there yet."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, self._log.stat().st_size - 2**14))
                lines = file.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return []
        return [line.rstrip() for line in lines if line.strip()][-LAST_WORDS:]

    def status(self) -> str:
        """What it does at the moment."""
        return f"{self.group.name}, {', '.join(self.at_work_on())}: {['starting', *self.words()][-1].strip()}"

    def death(self, code: int) -> str:
        """Why it died, from its exit code and its last words."""
        if code == LOST:
            return "it is gone, with its machine or with Ray's process there"
        if code >= 0:
            return ": ".join([f"the process ended with code {code}", *self.words()[-1:]])
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        memory = "; the system kills so when memory runs out: try fewer --jobs" if name == "SIGKILL" else ""
        return f"the process was ended by {name}{memory}"

    def _stamp(self, method: str) -> tuple[int, int] | None:
        """Tells a cell's file from one that takes its place."""
        with contextlib.suppress(FileNotFoundError):
            found = cell_path(self.folder, method).stat()
            return found.st_ino, found.st_mtime_ns
        return None
