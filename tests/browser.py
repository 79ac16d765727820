"""A headless Chromium for tests and screenshots, driven through two pipes by its own protocol.

Chromium alone is needed. Drivers for it (Playwright, Selenium) bring 50 MB, or a server and its
protocol, for the dozen commands that are used here.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
INSTALL = "needs Chromium: apt-get install -y --no-install-recommends chromium"
_PATIENCE = 60.0
"""Seconds for one answer: a machine under load starts a browser slowly."""
_HAND_OVER = """
import os, sys
for here, there in zip(sys.argv[1:3], (3, 4)):
    os.dup2(int(here), there)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Becomes Chromium, with the pipes where its protocol wants them: 3 and 4."""
_KEYS = {
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "ArrowUp": (38, ""),
    "ArrowDown": (40, ""),
    "Home": (36, ""),
    "End": (35, ""),
    "Tab": (9, ""),
}


class BrowserError(Exception):
    """Chromium refused, or its script raised."""


def executable() -> str | None:
    """Where Chromium is; None where there is none, or it cannot be given two pipes."""
    if sys.platform == "win32":
        return None
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One process; commands are answered by it in turn, and events are kept until they are read."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._number = 0
        self._read = b""
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **arguments: Any) -> dict[str, Any]:
        """Send a command, and wait for its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": arguments}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._commands, data) :]
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE
        while b"\0" not in self._read:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._answers], [], [], left)[0]:
                raise BrowserError(f"no answer in {_PATIENCE:g} s")
            data = os.read(self._answers, 1 << 20)
            if not data:
                raise BrowserError("it has ended")
            self._read += data
        message, _, self._read = self._read.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def open(self, width: int = 1280, height: int = 800) -> Page:
        """A new page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        return Page(self, target, attached["sessionId"], width, height)


class Page:
    """A tab."""

    def __init__(self, browser: Browser, target: str, session: str, width: int, height: int):
        self._browser = browser
        self._target = target
        self._session = session
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        self.size(width, height)
        self.prefer("light")

    def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **arguments)

    def size(self, width: int, height: int) -> None:
        """As large as this, in CSS pixels."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, scheme: str, medium: str = "") -> None:
        """What the user prefers, `dark` or `light`; and whether it is for `print`."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},  # a click hits what stands still
        ]
        self._call("Emulation.setEmulatedMedia", media=medium, features=features)

    def go(self, file: Path) -> None:
        """Load a file, and wait for all of it."""
        self._browser.events.clear()
        self._call("Page.navigate", url=file.as_uri())
        self.wait("document.readyState === 'complete'")

    def eval(self, script: str) -> Any:
        """The value of an expression."""
        answer = self._call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def wait(self, condition: str) -> Any:
        """The value of an expression as soon as it is true."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            value = self.eval(condition)
            if value:
                return value
            time.sleep(0.01)
        raise BrowserError(f"never true: {condition}")

    def painted(self) -> None:
        """Wait for what is to be drawn."""
        self.eval("new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")

    def press(self, *keys: str) -> None:
        """Press keys, as on a keyboard."""
        for key in keys:
            code, text = _KEYS.get(key, (ord(key[0].upper()), key))
            more = {"key": key, "windowsVirtualKeyCode": code}
            self._call(
                "Input.dispatchKeyEvent", type="keyDown", **more, **({"text": text} if text else {})
            )
            self._call("Input.dispatchKeyEvent", type="keyUp", **more)
        self.painted()

    def click(self, selector: str) -> None:
        """Click into the middle of the first element, once it can be seen."""
        place = self.eval(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)});"
            "one.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const {x, y, width, height} = one.getBoundingClientRect();"
            "return {x: x + width / 2, y: y + height / 2}; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)
        self.painted()

    def screenshot(self, file: Path) -> None:
        """What is seen, as PNG."""
        self.painted()
        data = self._call("Page.captureScreenshot", format="png")["data"]
        file.write_bytes(base64.b64decode(data))

    def pdf(self) -> bytes:
        """The page on paper."""
        return base64.b64decode(self._call("Page.printToPDF", printBackground=True)["data"])

    def problems(self) -> list[str]:
        """What the page complained of, and what it asked a network for, since it was loaded."""
        self.eval("0")  # all events that there are by now
        found = []
        for event in self._browser.events:
            told = event.get("params", {})
            match event.get("method"):
                case "Runtime.exceptionThrown":
                    found.append(json.dumps(told["exceptionDetails"])[:500])
                case "Runtime.consoleAPICalled":
                    found.append(f"console: {json.dumps(told['args'])[:500]}")
                case "Log.entryAdded":
                    found.append(told["entry"]["text"])
                case "Page.javascriptDialogOpening":
                    found.append(f"dialog: {told['message']}")
                case "Network.requestWillBeSent" if told["type"] != "Document":
                    found.append(f"request: {told['request']['url']}")
        return found

    def close(self) -> None:
        """End it."""
        self._browser.call("Target.closeTarget", targetId=self._target)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, for as long as the block lasts."""
    import fcntl  # not on Windows

    program = executable()
    assert program is not None, INSTALL
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    # Not 3 or 4, where they are going to.
    spare = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 10) for one in (theirs_in, theirs_out)]
    os.close(theirs_in)
    os.close(theirs_out)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                *(sys.executable, "-IS", "-c", _HAND_OVER, *map(str, spare)),
                program,
                "--headless",
                "--remote-debugging-pipe",
                f"--user-data-dir={profile}",
                "--no-sandbox",  # root has none
                "--no-first-run",
                "--hide-scrollbars",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-extensions",
                "--disable-background-networking",
                "--disable-component-update",
                "--force-color-profile=srgb",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=spare,
        )
        for one in spare:
            os.close(one)
        browser = Browser(ours_out, ours_in)
        try:
            yield browser
            browser.call("Browser.close")
        finally:
            for one in (ours_out, ours_in):
                os.close(one)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
