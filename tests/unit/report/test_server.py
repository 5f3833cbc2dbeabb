"""A page that is served: who is refused, what a click does, and that nothing is left behind."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from chromium import INSTALL, PROGRAM, Chromium
from commands import ROOT, call, command, surroundings
from made_run import EVIL, make_run

from conceptnet_ml import ConceptGraph, DataError, SettingsError, serve_page, write_page
from conceptnet_ml.errors import Interrupted
from conceptnet_ml.report import commands
from conceptnet_ml.report.commands import Commands
from conceptnet_ml.report.server import LARGEST, TOKEN_HEADER, PageServer
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.storage.run_folder import RESULTS, Run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(tmp_path_factory.mktemp("made") / "run")
    for name in RESULTS:  # names and notes need no network, but a run that is finished
        (run / name).touch()
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "run")


@pytest.fixture
def served(run: Path) -> Iterator[PageServer]:
    with PageServer(run) as server:
        yield server


Answer = tuple[int, dict[str, str], str]


def ask(server: PageServer, method: str, path: str, body: Any = None, **headers: str | None) -> Answer:
    """The answer to a request as a browser of the page sends it, with other headers where they are given."""
    usual = {"Host": server.hosts[0]}
    if method == "POST":
        usual |= {"Content-Type": "application/json", TOKEN_HEADER: server.token, "Origin": f"http://{server.hosts[0]}"}
        usual |= {"Sec-Fetch-Site": "same-origin"}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    known = {name.lower(): value for name, value in usual.items()} | {name.lower(): one for name, one in given.items()}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    if method == "POST":
        known = {"content-length": str(len(data)), **known}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in known.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(data if method == "POST" else None)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, text


def post(server: PageServer, name: str, body: Any = None, **headers: str | None) -> Answer:
    return ask(server, "POST", f"/{server.token}/{name}", body, **headers)


def until(true: Callable[[], Any], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def rename(run: Path, text: str = "wheels") -> dict[str, Any]:
    return {"action": "rename", "nodes": [ConceptGraph.read(run).nodes("feature")[0].id], "text": text}


def files(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------------------ who is refused


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"Host": "evil.example"}, "answers to no other name"),
        ({"Host": "127.0.0.1"}, "answers to no other name"),
        ({"Host": None}, "answers to no other name"),
        ({"Origin": "http://evil.example"}, "another origin"),
        ({"Origin": "null"}, "another origin"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_names_and_origins_are_refused(
    served: PageServer, method: str, headers: Mapping[str, str | None], said: str
) -> None:
    before = files(served.path)
    status, _, text = ask(served, method, f"/{served.token}/{'run' if method == 'POST' else ''}", {}, **headers)
    assert status == 403
    assert said in json.loads(text)["error"]
    assert served.token not in text
    assert files(served.path) == before


def test_another_port_of_this_machine_is_another_origin(served: PageServer) -> None:
    assert post(served, "run", {}, Origin="http://127.0.0.1:1")[0] == 403
    assert post(served, "run", {}, Sec_Fetch_Site="same-site")[0] == 403
    assert ask(served, "GET", f"/{served.token}/", Host=served.hosts[1])[0] == 200, "localhost is this machine"


@pytest.mark.parametrize(
    "path", ["/", "", "//", "/x/", "/x/log", "/{token}x/", "/{token}", "http://x/{token}/", "/%C3%A9/"]
)
def test_an_address_without_the_token_shows_nothing(served: PageServer, path: str) -> None:
    status, _, text = ask(served, "GET", path.format(token=served.token) or "*")
    if path.startswith("http:"):  # as a proxy is asked; the name that counts is the header's
        assert status == 200
    else:
        assert (status, json.loads(text)["error"]) == (403, "no or a wrong token")


@pytest.mark.parametrize("token", [None, "", "x", "ÿ"])
@pytest.mark.parametrize("name", ["run", "stop"])
def test_what_changes_anything_needs_the_token_in_its_header(served: PageServer, name: str, token: str | None) -> None:
    status, _, text = post(served, name, rename(served.path), **{TOKEN_HEADER: token})
    assert (status, json.loads(text)["error"]) == (403, f"no or a wrong token in {TOKEN_HEADER}")
    assert served.commands.state()["number"] == 0


def test_other_paths_and_ways_are_refused(served: PageServer) -> None:
    for method, name in (("GET", "run"), ("GET", "graph.json"), ("GET", "../settings.json"), ("POST", "log")):
        assert ask(served, method, f"/{served.token}/{name}", {})[0] in (403, 404)
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD"):
        assert ask(served, method, f"/{served.token}/run")[0] == 501


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[" * 9000, {}, 400),
        (b"\xff", {}, 400),
        ({}, {"Content_Type": "text/plain"}, 415),
        ({}, {"Content_Length": None}, 411),
        ({}, {"Content_Length": "-1"}, 411),
        (b"[]", {"Content_Length": str(LARGEST + 1)}, 413),
        (b"[]", {"Content_Length": "9" * 5000}, 413),
        ({"action": "evaluate"}, {}, 400),
        ({"action": "undo", "round": "top/classes/9"}, {}, 400),
        ({"action": "go-on", "set": "depth=2"}, {}, 400),
    ],
)
def test_what_is_no_order_is_refused(
    served: PageServer, body: Any, headers: Mapping[str, str | None], status: int
) -> None:
    found, _, text = post(served, "run", body, **headers)
    assert found == status
    assert json.loads(text)["error"]
    assert served.commands.state()["number"] == 0


def test_a_port_that_is_taken_is_named(served: PageServer) -> None:
    with pytest.raises(SettingsError, match=f"--port {served.port}: it is in use"):
        PageServer(served.path, served.port)
    done = call("report", served.path, "--serve", "--port", str(served.port))
    assert (done.returncode, f"--port {served.port}: it is in use" in done.stderr) == (2, True)


# ------------------------------------------------------------------------------------------------ the page


def test_the_page_steers_and_the_offline_page_does_not(served: PageServer) -> None:
    status, headers, text = ask(served, "GET", f"/{served.token}/")
    assert status == 200
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert (headers["cache-control"], headers["referrer-policy"]) == ("no-store", "no-referrer")
    assert "connect-src 'self'" in text
    assert "Undo this round" in text
    assert served.token not in text
    assert EVIL not in text
    offline = write_page(served.path).read_text(encoding="utf-8")
    for word in ("connect-src", 'class="steer', 'id="steer"', "data-order", TOKEN_HEADER):
        assert word not in offline


def test_a_click_renames_a_node_and_the_page_shows_it(served: PageServer) -> None:
    status, _, text = post(served, "run", rename(served.path, f"wheels {EVIL}"))
    assert (status, "graph rename" in text) == (200, True)
    status, _, text = post(served, "run", rename(served.path, "other"))
    assert (status, "is at work" in text) == (409, True), "one at a time"
    until(lambda: served.commands.state()["ended"])
    state = json.loads(ask(served, "GET", f"/{served.token}/log?since=1")[2])
    assert state["code"] == 0, state
    assert "is written anew" in state["lines"][-1]
    assert len(state["lines"]) == state["said"] - 1
    page = ask(served, "GET", f"/{served.token}/")[2]
    assert "<h3>wheels &lt;b" in page
    assert 'data-ended="1"' in page
    assert "wheels &lt;b" in (served.path / "report.html").read_text(encoding="utf-8")
    assert Run.open(served.path).metrics()[-1]["event"] == "edit", "logged as by the command"


def test_a_command_that_fails_says_why(served: PageServer) -> None:
    assert post(served, "run", {"action": "take-back"})[0] == 200
    until(lambda: served.commands.state()["ended"])
    state = served.commands.state()
    assert state["code"] == 3
    assert any("has no edits: 1 cannot be undone" in line for line in state["lines"])


def test_a_run_that_is_not_finished_has_a_page_that_says_so(served: PageServer) -> None:
    (served.path / "summary.json").unlink()
    status, _, text = ask(served, "GET", f"/{served.token}/")
    assert (status, "cannot be shown now" in text) == (200, True)
    assert "Go on with the run" in text
    with Run.open(served.path, write=True):
        (served.path / "lock.owner").write_text("1\n")  # as if another process had it
        text = ask(served, "GET", f"/{served.token}/")[2]
    assert "is running, in process 1, and has no results yet" in text
    assert "Go on with the run" not in text, "it is at work already"


# ------------------------------------------------------------------------------------------------ its end


def test_stubborn_commands_are_ended_by_force(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('deaf')\ntime.sleep(600)"
    monkeypatch.setattr(commands, "START", deaf)
    monkeypatch.setattr(commands, "PATIENCE", 0.3)
    found = Commands()
    found.start([], "x")
    until(lambda: found.state()["lines"])
    found.kill()
    assert found.state()["code"] == (128 + 9 if os.name != "nt" else 1)
    with pytest.raises(DataError, match="stopping"):
        found.start([], "x")


def test_of_many_lines_the_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "START", "for n in range(30): print(n, 'x' * 5000 if n == 9 else chr(27))")
    monkeypatch.setattr(commands, "KEPT", 4)
    found = Commands()
    found.start([], "x")
    until(lambda: found.state()["ended"])
    assert found.state()["lines"] == [f"{number} \\x1b" for number in range(26, 30)]
    assert found.state(found.state()["said"] - 1)["lines"] == ["29 \\x1b"]
    assert found.state(10**9)["lines"] == []


def children(process: int) -> list[int]:
    """Of all its threads: a command is started by the one that answers the request."""
    found = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children")]
    return [int(one) for one in " ".join(found).split()]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
@pytest.mark.parametrize(("number", "busy"), [(signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGTERM, True)])
def test_ctrl_c_stops_the_server_and_the_command(run: Path, number: signal.Signals, busy: bool) -> None:
    before = {*files(run)}
    words = command("report", run, "--serve")
    process = subprocess.Popen(
        words, cwd=ROOT, env=surroundings(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    running: list[int] = []
    if busy:
        port, token = int(address.split(":")[2].split("/")[0]), address.rstrip("/").rpartition("/")[2]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        sent = {TOKEN_HEADER: token, "Content-Type": "application/json"}
        connection.request("POST", f"/{token}/run", json.dumps(rename(run)), sent)
        assert connection.getresponse().status == 200
        until(lambda: children(process.pid))
        running = children(process.pid)
        assert running
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    told = process.communicate()[1]
    assert "stopped; the page is no longer served" in told
    assert "Traceback" not in told
    assert not any(map(alive, running))
    with Run.open(run, write=True):
        pass
    assert {*files(run)} - before <= {"report.html", "lock"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_stopping_from_python(run: Path) -> None:
    stopper, addresses = Stopper(), []

    def begin(address: str) -> None:
        addresses.append(address)
        stopper.request()

    with pytest.raises(Interrupted, match="no longer served"):
        serve_page(run, stopper=stopper, on_start=begin)
    assert addresses[0].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--serve", "--out", "x.html"), "--serve writes report.html alone"),
        (("--port", "8000"), "Add --serve"),
        (("--serve", "--port", "70000"), "65535"),
    ],
)
def test_flags_that_do_not_go_together(run: Path, words: tuple[str, ...], said: str) -> None:
    done = call("report", run, *words)
    assert done.returncode == 2
    assert said in done.stderr


# ------------------------------------------------------------------------------------------------ in a browser


@pytest.mark.skipif(PROGRAM is None, reason=INSTALL)
def test_a_reader_names_a_concept_and_takes_it_back(served: PageServer) -> None:
    with Chromium(390, 844, phone=True, served=served.address) as browser:
        browser.open(served.address)
        browser.run("document.querySelector('.card .steers[data-node] button').click()")
        assert browser.run("document.querySelector('#ask h3').textContent").startswith("Name it: What car and <b")
        browser.run("document.querySelector('#ask [name=text]').value = 'spokes'")
        browser.run("document.querySelector('#ask [name=run]').click()")
        browser.wait("document.querySelector('#steer [name=stop]')?.hidden === false")
        assert browser.run("[...document.querySelectorAll('button[data-order]')].every(one => one.disabled)")
        browser.wait("document.querySelector('#steer')?.dataset.ended === '1' && document.readyState === 'complete'")
        browser.wait("document.querySelector('#steer .state').textContent.startsWith('Done after')")
        assert browser.run("[...document.querySelectorAll('.card h3')].some(one => one.innerText.startsWith('spokes'))")
        assert browser.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        browser.run("location.hash = 'node=' + document.querySelector('.card .steers[data-node]').dataset.node")
        browser.wait("!!document.querySelector('#live aside .steers button')")
        browser.run("[...document.querySelectorAll('#steer button')].find(one => one.dataset.order).click()")
        browser.run("document.querySelector('#ask [name=run]').click()")
        browser.wait("document.querySelector('#steer')?.dataset.ended === '2'")
        assert not ConceptGraph.read(served.path).nodes("feature")[0].name, "taken back"
        assert browser.complaints == []
