"""A headless Chromium driven over a pipe by its DevTools protocol: no package, no port, no download.

`with Chromium() as browser: browser.open(path); browser.run("document.title")`. Messages are JSON that ends in a zero
byte, on file descriptors 3 and 4 (`--remote-debugging-pipe`); https://chromedevtools.github.io/devtools-protocol.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
INSTALL = "no Chromium here: apt-get install -y chromium"

FLAGS = ("--headless=new", "--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-sync")
NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


class Chromium:
    """A browser with one page. ``complaints`` collects what the page logs as a warning or an error, what it throws, and
    what it asks the network for.

    Args:
        width, height: Of the window, in CSS px.
        dark: Whether pages that know dark colours show them.
        phone: Whether it is a phone: touches, two dots a px.
        served: Beginning of an address of this machine that pages may ask.
        flags: More of the command line.
    """

    def __init__(
        self,
        width: int = 1280,
        height: int = 900,
        *,
        dark: bool = False,
        phone: bool = False,
        served: str | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        if PROGRAM is None:
            raise RuntimeError(INSTALL)
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.complaints: list[str] = []
        self.phone = phone
        self._own = ("file:", "data:", "about:", "blob:", *filter(None, [served]))
        self._numbers, self._buffer = 0, b""
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        line = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        flags = (*FLAGS, NOWHERE, *flags, "--remote-debugging-pipe", f"--user-data-dir={self.folder.name}/user")
        self._process = subprocess.Popen(
            ["bash", "-c", line, PROGRAM, *flags, "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._session: str | None = None
        pages = [one for one in self.send("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        found = self.send("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        self.send("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def send(self, method: str, **given: Any) -> dict[str, Any]:
        """Call a method of the protocol. Raises RuntimeError with what the browser answers to a wrong one."""
        self._numbers += 1
        number = self._numbers
        message = {"id": number, "method": method, "params": given}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        while True:
            answer = self._receive(120)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, where: Path | str) -> None:
        """Go to a file or an address, and wait until it is loaded."""
        address = where.as_uri() if isinstance(where, Path) else where
        found = self.send("Page.navigate", url=address)
        if "loaderId" in found:  # else only the part after # is another
            self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise's when it is kept. Raises RuntimeError where it throws."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"].get("exception", {}).get("description", "it throws"))
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = 60.0) -> Any:
        """The value of an expression as soon as it is true. Raises TimeoutError."""
        end = time.monotonic() + seconds
        while not (found := self.run(script)):
            if time.monotonic() > end:
                raise TimeoutError(script)
            time.sleep(0.05)
        return found

    def mouse(self, kind: str, x: float, y: float, **given: Any) -> None:
        """Move, press or release the left button: ``Moved``, ``Pressed``, ``Released``; ``Wheel`` with ``deltaY``."""
        pressed = {} if kind in ("Moved", "Wheel") else {"button": "left", "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **{**pressed, **given})

    def click(self, x: float, y: float) -> None:
        """With the mouse; on a phone a tap."""
        if self.phone:
            self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
            self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
            return
        self.mouse("Moved", x, y)
        self.mouse("Pressed", x, y)
        self.mouse("Released", x, y)

    def screenshot(self, path: Path) -> Path:
        """What is seen, as a PNG file."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))
        return path

    def _receive(self, seconds: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], seconds)
            data = os.read(self._in, 1 << 20) if ready else b""
            if not data:
                raise TimeoutError("Chromium does not answer")
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, given: dict[str, Any]) -> None:
        if method == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning", "assert"):
            self.complaints.append(str([one.get("value", one.get("description")) for one in given["args"]]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(given["exceptionDetails"].get("exception", {}).get("description")))
        elif method == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
            self.complaints.append(given["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not given["request"]["url"].startswith(self._own):
            self.complaints.append(given["request"]["url"])

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None
        try:
            self.send("Browser.close")
            self._process.wait(10)
        except (OSError, TimeoutError, RuntimeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self.folder.cleanup()
