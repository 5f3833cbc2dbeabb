"""Places of a bench's processes: what is tried again, what a cluster is asked for, what its machines must have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conceptnet_ml.bench.cases import LEARNED, ORDINARY, Suite, read_suite
from conceptnet_ml.bench.cells import DONE, CellGroup, save_cell
from conceptnet_ml.bench.places import LOST, ThisMachine
from conceptnet_ml.bench.ray_cluster import RayCluster, _compare
from conceptnet_ml.bench.runner import run_bench
from conceptnet_ml.errors import SettingsError

SETS = {"test": {"images": 10, "accuracy": 0.5}}


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    (tmp_path / "mine.toml").write_text(
        'seeds = [0]\nmethods = ["ordinary", "learned"]\n[cases.plain.data]\nsource="glyphs:2"\n'
    )
    return read_suite(tmp_path / "mine.toml")


class Played:
    """A process that has ended, and wrote some cells before it did."""

    def __init__(self, order: dict[str, Any], code: int, writes: Sequence[str]) -> None:
        self.code = code
        cost = {"seconds": 1.0, "times_ordinary": 1.0, "partial": False}
        origin = {"commit": "c", "sources": "s", "package": "0", "torch": "2", "python": "3", "device": "cpu"}
        for method in writes:
            save_cell(order, method, DONE, origin=origin, test_sets=SETS, cost=cost, notes=[], seconds=1.0)

    def poll(self) -> int:
        return self.code

    def stop(self) -> None: ...

    def kill(self) -> None: ...


class Elsewhere:
    """A place whose processes end as they are told to, one after the other."""

    here = True

    def __init__(self, retries: int, *ends: tuple[int, Sequence[str]]) -> None:
        self.retries, self.ends, self.orders = retries, [*ends], list[dict[str, Any]]()

    def begin(self, out: Path) -> None: ...

    def width(self, groups: Sequence[CellGroup]) -> tuple[int, int]:
        return 1, 1

    def has_room(self, need: float) -> bool:
        return True

    def start(self, order: dict[str, Any], threads: int) -> Played:
        self.orders.append(order)
        return Played(order, *self.ends.pop(0))


def states(results: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {cell["method"]: (cell["state"], cell.get("error", "")) for cell in results["cases"][0]["cells"]}


def test_what_a_killed_process_left_is_tried_again(suite: Suite, tmp_path: Path) -> None:
    place = Elsewhere(2, (LOST, []), (-9, [ORDINARY]), (0, [LEARNED]))
    found = states(run_bench(suite, tmp_path / "out", jobs=place))
    assert found == {ORDINARY: ("done", ""), LEARNED: ("done", "")}
    assert [order["methods"] for order in place.orders] == [[ORDINARY, LEARNED], [ORDINARY, LEARNED], [LEARNED]]
    assert [order["again"] for order in place.orders] == [False, True, True]


@pytest.mark.parametrize(("retries", "started"), [(0, 1), (1, 2)])
def test_it_fails_when_it_was_tried_often_enough(suite: Suite, tmp_path: Path, retries: int, started: int) -> None:
    place = Elsewhere(retries, *[(LOST, [])] * 5)
    found = states(run_bench(suite, tmp_path / "out", jobs=place))
    assert {state for state, _ in found.values()} == {"failed"}
    assert "gone, with its machine" in found[ORDINARY][1]
    assert len(place.orders) == started


def test_an_exit_code_is_no_kill(suite: Suite, tmp_path: Path) -> None:
    place = Elsewhere(2, (1, []))
    assert "code 1" in states(run_bench(suite, tmp_path / "out", jobs=place))[ORDINARY][1]


def test_this_machine_tries_nothing_again() -> None:
    assert ThisMachine.retries == 0


def cluster(*nodes: dict[str, float], jobs: int | None = None) -> RayCluster:
    made = RayCluster.__new__(RayCluster)
    made.nodes = [{"Resources": node} for node in nodes]
    made.cards, made._jobs = sum(node.get("GPU", 0) for node in nodes), jobs
    return made


def groups(suite: Suite, count: int, device: str = "auto") -> list[CellGroup]:
    case = replace(suite.cases[0], settings=suite.cases[0].settings.model_copy(update={"device": device}))
    return [CellGroup(case, seed, (ORDINARY,)) for seed in range(count)]


def test_a_cluster_is_as_wide_as_its_cores_or_cards(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert cluster({"CPU": 4}, {"CPU": 8}).width(groups(suite, 99)) == (12, 1)
    assert cluster({"CPU": 4}, {"CPU": 8}).width(groups(suite, 3)) == (3, 4)
    assert cluster({"CPU": 4}, {"CPU": 8}).width(groups(suite, 1)) == (1, 4)  # one machine's, the smallest's
    assert cluster({"CPU": 4}, {"CPU": 8}, jobs=2).width(groups(suite, 99)) == (2, 4)
    assert cluster({"CPU": 4, "GPU": 2}, {"CPU": 8}).width(groups(suite, 99)) == (2, 4)
    assert cluster({"CPU": 4, "GPU": 2}).width(groups(suite, 99, "cpu")) == (4, 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert cluster({"CPU": 4}, {"CPU": 8}).width(groups(suite, 99)) == (3, 3)


@pytest.mark.parametrize(("device", "message"), [("cuda", "no machine of the Ray cluster"), ("cuda:1", "deals out")])
def test_cards_that_a_cluster_has_not(suite: Suite, device: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        cluster({"CPU": 4}).width(groups(suite, 1, device))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"token": ""}, "h does not see"),
        ({"at": False}, "h has no folder"),
        ({"sources": "other"}, "the package on h is not the one here"),
    ],
)
def test_machines_that_cannot_measure_are_named(tmp_path: Path, found: dict[str, Any], message: str) -> None:
    here = {"token": "t", "at": True, "sources": "s"}
    _compare("h", here, here, tmp_path)
    with pytest.raises(SettingsError, match=message):
        _compare("h", here | found, here, tmp_path)


def test_a_machine_without_the_package_is_named(tmp_path: Path) -> None:
    class RayError(Exception): ...

    def get(answer: object, timeout: float) -> None:
        raise RayError("line\nModuleNotFoundError: No module named 'conceptnet_ml'")

    pytest.importorskip("ray", reason="needs Ray: pip install 'conceptnet_ml[ray]'")
    made = cluster({"CPU": 1})
    made.nodes = [{"NodeID": "0" * 56, "NodeManagerAddress": "10.0.0.9"}]
    task = SimpleNamespace(options=lambda **asked: SimpleNamespace(remote=lambda *arguments: object()))
    exceptions = SimpleNamespace(RayError=RayError)
    made._ray = SimpleNamespace(remote=lambda **asked: lambda function: task, get=get, exceptions=exceptions)
    with pytest.raises(SettingsError, match=r"10\.0\.0\.9 cannot measure: ModuleNotFoundError"):
        made.begin(tmp_path)
    assert not [*tmp_path.iterdir()]
