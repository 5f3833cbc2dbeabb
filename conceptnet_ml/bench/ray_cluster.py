"""A Ray cluster as the place where cells are measured: ``bench --on ray``.

Each case and seed is an actor of the cluster, which holds the cores, memory and card that Ray gave it and starts the
same process as on this machine (:class:`~conceptnet_ml.bench.places.LocalProcess`). What is measured lies in the
bench's folder, which all machines share; Ray carries orders and exit codes, no figures.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import conceptnet_ml
from conceptnet_ml.bench.cells import CellGroup
from conceptnet_ml.bench.origin import sources
from conceptnet_ml.bench.places import LOST, NEED, CellProcess, LocalProcess
from conceptnet_ml.errors import SettingsError
from conceptnet_ml.storage.files import write_atomic
from conceptnet_ml.storage.hashing import sha256

ANSWERS = 5.0
"""Seconds in which an address must answer; Ray itself tries for minutes."""

LOOKS = 120.0
"""Seconds in which every machine must have looked at the folder."""

POLL = 0.5
"""Seconds between two questions whether a process has ended."""

SEEN = 60.0
"""Seconds in which a cell that was written must be seen here: what a shared folder holds may be cached that long."""

TOKEN = "ray.token"

START_CLUSTER = "Start it with `ray start --head` here, `ray start --address=HERE:6379` on the other machines."


class RayCluster:
    """The machines of a Ray cluster.

    Args:
        address: ``HOST:PORT`` of its head; default: RAY_ADDRESS, or the cluster that this machine is part of.
        jobs: Most processes side by side; default: as many as have room.

    Raises:
        SettingsError: Ray is not installed, nothing answers there, or it is a cluster of another Ray or Python.
    """

    retries, here = 2, False

    def __init__(self, address: str = "", jobs: int | None = None) -> None:
        self._ray, self._jobs = _ray(), jobs
        self._need, self._cards_each, self._most = NEED, 0, 1
        _connect(self._ray, address or os.environ.get("RAY_ADDRESS", ""))
        self.nodes = [node for node in self._ray.nodes() if node["Alive"]]
        self.cards = sum(node["Resources"].get("GPU", 0) for node in self.nodes)

    def begin(self, out: Path) -> None:
        """Every machine sees the folder, and the one this was started in, and has the same code. Raises SettingsError
        where one does not, or none has a card that is asked for."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        out, at = out.resolve(), str(Path.cwd())
        token = sha256(f"{os.getpid()} {time.time()}", 16)
        write_atomic(out / TOKEN, token)
        look = self._ray.remote(num_cpus=0, max_retries=0)(_look)
        try:
            asked = {
                look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                    str(out / TOKEN), at
                ): node["NodeManagerAddress"]
                for node in self.nodes
            }
            here = {"token": token, "at": True, "sources": sources()}
            for answer, host in asked.items():
                try:
                    _compare(host, self._ray.get(answer, timeout=LOOKS), here, out)
                except self._ray.exceptions.RayError as error:
                    reason = str(error).strip().splitlines()[-1]
                    raise SettingsError(
                        f"--on ray: {host} cannot measure: {reason}",
                        "Install the package on every machine, in the environment in which `ray start` is called.",
                    ) from error
        finally:
            (out / TOKEN).unlink(missing_ok=True)

    def width(self, groups: Sequence[CellGroup]) -> tuple[int, int]:
        """As many as there are cores, or cards, for, by the threads of each; Ray sees to it that they have room."""
        names = {group.case.settings.device for group in groups}
        if numbered := next((name for name in names if name.startswith("cuda:")), None):
            raise SettingsError(f"--device '{numbered}': Ray deals out the cards", "Give --device cuda.")
        self._cards_each = 1 if "cuda" in names or ("auto" in names and self.cards) else 0
        if self._cards_each and not self.cards:
            raise SettingsError("--device 'cuda': no machine of the Ray cluster has a card", "Give --device cpu.")
        cores = [int(node["Resources"].get("CPU", 0)) for node in self.nodes]
        self._most = max(1, *cores)
        from conceptnet_ml.runtime import devices

        given = devices.given_threads()
        room = sum(core // max(1, given) for core in cores)
        room = int(min(room, self.cards)) if self._cards_each else room
        jobs = max(1, min(self._jobs or room, len(groups)))
        smallest = min((core for core in cores if core), default=1)
        return jobs, given or max(1, min(smallest, sum(cores) // jobs))

    def has_room(self, need: float) -> bool:
        """Ray starts a process where its cores, memory and card are free."""
        self._need = need
        return True

    def start(self, order: dict[str, Any], threads: int) -> CellProcess:
        asked = {"num_cpus": min(threads, self._most), "num_gpus": self._cards_each, "max_restarts": 0}
        memory = int(self._need * 2**30)
        holds = max(node["Resources"].get("memory", 0) for node in self.nodes)
        if memory <= holds:  # or it would wait for ever
            asked["memory"] = memory
        return _RayProcess(self._ray, asked, order, threads)


class _RayProcess:
    """A process on some machine of the cluster, seen through its actor."""

    def __init__(self, ray: Any, asked: dict[str, Any], order: dict[str, Any], threads: int) -> None:
        self._ray, self._folder = ray, Path(order["folder"])
        self._actor = ray.remote(**asked)(_Host).remote(order, threads, str(Path.cwd()))
        self._question: Any = self._actor.poll.remote()
        self._asked = time.monotonic()
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is not None or not self._ray.wait([self._question], timeout=0)[0]:
            return self._code
        try:
            ended = self._ray.get(self._question)
        except self._ray.exceptions.RayActorError:
            self._code = LOST
            return self._code
        if ended is None:
            if time.monotonic() - self._asked >= POLL:
                self._question, self._asked = self._actor.poll.remote(), time.monotonic()
            return None
        self._code, written = ended
        self._await(written)
        self._ray.kill(self._actor)
        return self._code

    def stop(self) -> None:
        self._actor.stop.remote()

    def kill(self) -> None:
        """Its process stops where it can be resumed, as its standard input is closed."""
        with contextlib.suppress(Exception):  # Ray may be gone already
            self._ray.kill(self._actor)

    def _await(self, written: dict[str, int]) -> None:
        """Wait until what the other machine wrote is seen on this one."""
        until = time.monotonic() + SEEN
        while time.monotonic() < until and not written.items() <= _cells_in(self._folder).items():
            time.sleep(POLL)


class _Host:
    """The actor: holds a process of its machine."""

    def __init__(self, order: dict[str, Any], threads: int, at: str) -> None:
        self._folder = Path(order["folder"])
        self._process = LocalProcess(order, threads, at)

    def poll(self) -> tuple[int, dict[str, int]] | None:
        """Its exit code, and when the cells of its folder were written; None while it is at work."""
        code = self._process.poll()
        return None if code is None else (code, _cells_in(self._folder))

    def stop(self) -> None:
        self._process.stop()


def _cells_in(folder: Path) -> dict[str, int]:
    return {entry.name: entry.stat().st_mtime_ns for entry in os.scandir(folder) if entry.name.endswith(".cell.json")}


def _look(token: str, at: str) -> dict[str, Any]:
    """What a machine sees; runs on it."""
    try:
        read = Path(token).read_text(encoding="utf-8")
    except OSError:
        read = ""
    return {"token": read, "at": Path(at).is_dir(), "sources": sources()}


def _compare(host: str, found: dict[str, Any], here: dict[str, Any], out: Path) -> None:
    if found["token"] != here["token"]:
        raise SettingsError(f"--on ray: {host} does not see {out}", "Give --out a folder that all machines share.")
    if not found["at"]:
        mend = "Start the bench in a folder that all machines have: relative paths begin there."
        raise SettingsError(f"--on ray: {host} has no folder {Path.cwd()}", mend)
    if found["sources"] != here["sources"]:
        mend = "Install the same version on all machines."
        raise SettingsError(f"--on ray: the package on {host} is not the one here", mend)


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        mend = "Install it on every machine: pip install 'conceptnet_ml[ray]'."
        raise SettingsError("--on ray needs Ray, which is not installed.", mend) from error
    return ray


def _connect(ray: Any, address: str) -> None:
    """Join the cluster; one that this process is part of already is kept."""
    if ray.is_initialized():
        return
    address = "" if address == "auto" else address
    if address:
        _answers(address)
    try:
        with _elsewhere():
            ray.init(address=address or "auto", log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        words = str(error).strip().splitlines() or [type(error).__name__]
        where = address or "this machine"
        raise SettingsError(f"--on ray: no cluster that can be used at {where}: {words[0]}", START_CLUSTER) from error


def _answers(address: str) -> None:
    """Something listens there, or SettingsError."""
    host, colon, port = address.rpartition(":")
    if "://" in address or not colon or not port.isdecimal():
        raise SettingsError(f"--on 'ray:{address}' is not ray:HOST:PORT", "Write it as in --on ray:10.0.0.1:6379.")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWERS).close()
    except (OSError, OverflowError) as error:
        raise SettingsError(f"--on ray: nothing answers at {address}: {error}", START_CLUSTER) from error


@contextlib.contextmanager
def _elsewhere() -> Iterator[None]:
    """In the folder that holds the package: Ray puts the folder in which it is started first on the path of all its
    processes, and among pictures a file may be called as a library's module. What is not this package's stays out."""
    before = Path.cwd()
    os.chdir(Path(conceptnet_ml.__file__).parents[1])
    try:
        yield
    finally:
        os.chdir(before)


def cluster_named(name: str, jobs: int | None = None) -> RayCluster:
    """The place called ``ray`` or ``ray:HOST:PORT``. Raises SettingsError for another name, and as RayCluster."""
    kind, _, address = name.partition(":")
    if kind != "ray":
        raise SettingsError(f"--on '{name}' is unknown", "Known: local, ray, ray:HOST:PORT.")
    return RayCluster(address, jobs)
