"""A run's page on this machine alone, with buttons that carry out the commands it else only names.

Who may steer: whoever has the address, which holds a random token. What keeps others out:

- it listens on 127.0.0.1, and answers only to that name and ``localhost``: a page of another site cannot reach it by a
  name of its own that was turned to this machine (DNS rebinding);
- a request that says it comes from another page is refused, and what changes anything needs the token in a header,
  which no other page can send;
- a page names an action, rounds and nodes, never a command (:mod:`conceptnet_ml.report.steering`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from conceptnet_ml.errors import ConceptNetError, DataError, Interrupted, SettingsError, quoted
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.report.commands import Commands
from conceptnet_ml.report.page import bar_content, served_page, write_page
from conceptnet_ml.report.steering import Order, parse_order
from conceptnet_ml.report.templates import templates
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.storage.lock import writer
from conceptnet_ml.storage.run_folder import PAGE, RESULTS, Run

HOST, TOKEN_HEADER = "127.0.0.1", "X-Conceptnet-Token"
LARGEST = 16384
"""Bytes of a request's content, at most."""

_POLL = 0.1  # seconds
_SAFE = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def serve_page(
    path: str | Path,
    port: int = 0,
    *,
    flags: Sequence[str] = (),
    stopper: Stopper | None = None,
    on_start: Callable[[str], None] = print,
) -> None:
    """Serve a run's page until a stop is requested, with buttons that decide rounds, edit the graph and learn on. The
    offline page is written at the start, and again where a command removed it. Of a run that is not finished the page
    says so, and goes on with it.

    Args:
        path: The run folder.
        port: Of 127.0.0.1; 0 for a free one.
        flags: Given to each command: ``--trust``, ``--plugins-dir``, ``--no-plugins``.
        stopper: Asked whether to stop; default: never, Ctrl-C is a KeyboardInterrupt.
        on_start: Called with the address, which holds the token that lets its reader steer.

    Raises:
        DataError: There is no such run. SettingsError: The port cannot be had.
        Interrupted: When the stopper was requested: a command at work was told to stop, and has ended.
    """
    Run.open(path)
    with contextlib.suppress(ConceptNetError):  # which the page says, too
        write_page(path)
    stopper = stopper or Stopper()
    at_work = False
    try:
        with PageServer(Path(path), port, flags) as server:
            on_start(server.address)
            while not stopper.requested:
                time.sleep(_POLL)
            at_work = server.commands.running
            server.commands.close()
            while server.commands.running:
                time.sleep(_POLL)
    except KeyboardInterrupt:  # the second one: the command was ended at once
        if not stopper.requested:
            raise
    mend = f"Go on with a run that was stopped: learn --resume {quoted(path)}" if at_work else ""
    raise Interrupted("stopped; the page is no longer served", mend, stopper.exit_code)


class PageServer:
    """Serves a run's page while it is entered, in threads of its own.

    Args:
        path: The run folder.
        port, flags: As in :func:`serve_page`.
    """

    def __init__(self, path: Path, port: int = 0, flags: Sequence[str] = ()) -> None:
        self.path, self.flags = path, flags
        self.token = secrets.token_urlsafe(32)
        self.commands = Commands(self._mend_page)
        self._rendering = threading.Lock()
        self._page: tuple[object, str] = (None, "")
        try:
            self._http = _Server((HOST, port), partial(_Answer, self))
        except (OSError, OverflowError) as error:
            busy = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            why = "it is in use" if busy else str(error)
            mend = "Choose another, or leave --port out for a free one."
            raise SettingsError(f"--port {port}: {why}", mend) from error
        self.port: int = self._http.server_address[1]
        self.hosts = (f"{HOST}:{self.port}", f"localhost:{self.port}")
        self.address = f"http://{self.hosts[0]}/{self.token}/"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(_POLL,), daemon=True)

    def __enter__(self) -> PageServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.commands.kill()
        finally:
            self._http.shutdown()
            self._http.server_close()

    def page(self) -> str:
        """The page as the run is now; while a command is at work, as it was before. Where it cannot be made, a page
        that says why."""
        with self._rendering:
            stamps = tuple(_stamp(self.path / name) for name in (*RESULTS, "edits/log.json", "edits/adopted.json"))
            now = (self.commands.ended, stamps)
            if self._page[0] != now and not (self.commands.running and self._page[1]):
                try:
                    self._page = now, served_page(self.path, self.flags, self.commands.ended)
                except ConceptNetError as error:
                    self._page = None, self._waiting(error)
            return self._page[1]

    def run(self, given: Any) -> str:
        """Start what a page orders; returns the command. Raises SettingsError where it is no order that this run can
        have, DataError where a command is at work or the run cannot be read."""
        fields = given if isinstance(given, dict) else {}
        if fields == {"action": "go-on"}:  # an unfinished run has no graph to check anything against
            order = Order("go-on")
        else:
            order = parse_order(given, Run.open(self.path).summary(), ConceptGraph.read(self.path))
        command = order.command(self.path, self.flags)
        self.commands.start(order.words(self.path, self.flags), command)
        return command

    def _waiting(self, error: ConceptNetError) -> str:
        return templates().get_template("waiting.html").render(
            run=self.path.name,
            message=error.message,
            mend=error.mend,
            running=writer(self.path) is not None,
            command=Order("go-on").command(self.path, self.flags),
            steering=bar_content(self.commands.ended),
        )  # fmt: skip

    def _mend_page(self) -> list[str]:
        """After an edit, which removes the offline page, writes it anew."""
        if (self.path / PAGE).exists():
            return []
        try:
            return [f"{write_page(self.path)} is written anew"]
        except ConceptNetError as error:
            return [f"{PAGE} was not written: {error.message}"]


def _stamp(path: Path) -> tuple[int, int] | None:
    """Tells a file from one that takes its place."""
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_ino, found.st_mtime_ns
    return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # where it would let another program take the port

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that goes away is no error; nor does a request end the server."""


class _Refused(Exception):
    """A request that is not answered: its status, why, and the mend."""

    def __init__(self, status: int, error: str, mend: str = "") -> None:
        super().__init__(error)
        self.status, self.content = status, {"error": error, "mend": mend}


class _Answer(BaseHTTPRequestHandler):
    """Answers one request, after it was checked."""

    timeout = 30
    server_version, sys_version = "conceptnet_ml", ""

    def __init__(self, served: PageServer, *given: Any) -> None:
        self.served = served
        super().__init__(*given)

    def do_GET(self) -> None:
        self._answer({"": self._page, "log": self._log})

    def do_POST(self) -> None:
        self._answer({"run": self._run, "stop": self._stop})

    def _answer(self, known: dict[str, Callable[[str], str | dict[str, Any]]]) -> None:
        try:
            name, query = self._checked()
            if name not in known:
                raise _Refused(404, "there is nothing here", "Open the address that 'report --serve' printed.")
            self._send(200, known[name](query))
        except _Refused as refused:
            self._send(refused.status, refused.content)
        except ConceptNetError as error:
            status = 409 if isinstance(error, DataError) else 400
            self._send(status, {"error": error.message, "mend": error.mend})

    def _checked(self) -> tuple[str, str]:
        """What is asked for, and its query. Raises _Refused unless this machine's own page, or who has its address,
        asks."""
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0] not in self.served.hosts:
            raise _Refused(403, "this server answers to no other name", f"Open {self.served.hosts[0]}.")
        origins = self.headers.get_all("Origin", [])
        if any(origin not in [f"http://{host}" for host in self.served.hosts] for origin in origins):
            raise _Refused(403, "a page of another origin may not ask this server")
        if self.command == "POST" and self.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            raise _Refused(403, "a page of another site may not ask this server")
        if self.command == "POST" and not self._is_token(self.headers.get(TOKEN_HEADER, "")):
            raise _Refused(403, f"no or a wrong token in {TOKEN_HEADER}")
        found = re.fullmatch(r"/([^/]*)/([a-z]*)", urlsplit(self.path).path)
        if not found or not self._is_token(found[1]):
            raise _Refused(403, "no or a wrong token", "Open the whole address that 'report --serve' printed.")
        return found[2], urlsplit(self.path).query

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode("utf-8", "replace"), self.served.token.encode())

    def _page(self, query: str) -> str:
        return self.served.page()

    def _log(self, query: str) -> dict[str, Any]:
        since = parse_qs(query).get("since", ["0"])[0]
        return self.served.commands.state(int(since) if since.isascii() and since.isdigit() and len(since) < 12 else 0)

    def _run(self, query: str) -> dict[str, Any]:
        return {"command": self.served.run(self._content())}

    def _stop(self, query: str) -> dict[str, Any]:
        self._content()
        self.served.commands.stop()
        return {}

    def _content(self) -> Any:
        """What was sent, as JSON. Raises _Refused where it is none, or too long."""
        if self.headers.get_content_type() != "application/json":
            raise _Refused(415, "this is not sent as JSON")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise _Refused(411, "its length is not given")
        if len(length) > 6 or int(length) > LARGEST:
            raise _Refused(413, f"this is longer than {LARGEST} bytes")
        try:
            return json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise _Refused(400, f"this is no JSON: {error}") from error

    def _send(self, status: int, content: str | dict[str, Any]) -> None:
        is_page = isinstance(content, str)
        data = (content if isinstance(content, str) else json.dumps(content)).encode("utf-8", "backslashreplace")
        self.send_response(status)
        self.send_header("Content-Type", f"{'text/html' if is_page else 'application/json'}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        for name, value in _SAFE.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *given: Any) -> None:
        """Nothing: each request would print its token."""
