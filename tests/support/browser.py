"""Headless Chromium, driven through the DevTools protocol over two pipes, without a driver or library.

Each message is JSON, terminated by a zero byte. https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Enter": 13, "Escape": 27, " ": 32, "Tab": 9}


def chromium() -> str | None:
    """Path of the browser, if this machine has one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page of a browser.

    Args:
        process: the browser's process.
        to_browser, from_browser: the pipes.
        patience: seconds to wait for anything.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], to_browser: int, from_browser: int, patience: float = 30.0
    ) -> None:
        self._process = process
        self._out, self._in = to_browser, from_browser
        self._patience = patience
        self._number = 0
        self._buffer = b""
        self._session: str | None = None
        self.complaints: list[str] = []
        """Errors from the page's console, and uncaught exceptions."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> Any:
        """Sends a command; returns its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + self._patience
        while True:
            answer = self._next(until)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._heard(answer)

    def open(self, url: str) -> None:
        """Opens a page and waits until it is ready or asks for a token."""
        self.send("Page.navigate", url=url)
        self.until("document.body?.dataset.ready === 'yes' || document.getElementById('login')?.open")

    def js(self, expression: str) -> Any:
        """The value of an expression; promises are awaited."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression: str) -> Any:
        """Waits until an expression is true; returns its value."""
        until = time.monotonic() + self._patience
        while time.monotonic() < until:
            if value := self.js(expression):
                return value
            time.sleep(0.02)
        raise AssertionError(f"never true: {expression}; errors of the page: {self.complaints}")

    def click(self, selector: str, **modifiers: Any) -> None:
        """Clicks the middle of an element."""
        x, y, width, height = self.place(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self._mouse(kind, x + width / 2, y + height / 2, **modifiers)

    def drag(self, selector: str, start: float, end: float) -> None:
        """Drags across an element, between two fractions of its width."""
        x, y, width, height = self.place(selector)
        self._mouse("mouseMoved", x + start * width, y + height / 2, button="none")
        self._mouse("mousePressed", x + start * width, y + height / 2)
        for share in (start + (end - start) / 2, end):
            self._mouse("mouseMoved", x + share * width, y + height / 2)
        self._mouse("mouseReleased", x + end * width, y + height / 2)

    def hover(self, selector: str, share: float) -> None:
        """Moves the mouse over an element."""
        x, y, width, height = self.place(selector)
        self._mouse("mouseMoved", x + share * width, y + height / 2, button="none")

    def key(self, key: str) -> None:
        """Presses a key."""
        text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
        code = KEYS.get(key, ord(key.upper()) if len(key) == 1 else 0)
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def type(self, text: str) -> None:
        """Types text into the focused element."""
        self.send("Input.insertText", text=text)

    def place(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element, after scrolling it into view."""
        found = self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'nearest'}});"
            "const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; })()"
        )
        left, top, width, height = found
        return left, top, width, height

    def size(self, width: int, height: int) -> None:
        """Resizes the window."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def scheme(self, name: str) -> None:
        """Sets the preferred color scheme, `light` or `dark`."""
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def shot(self, path: Path) -> None:
        """Saves a screenshot."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def _mouse(self, kind: str, x: float, y: float, button: str = "left", modifiers: int = 0) -> None:
        self.send(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x,
            y=y,
            button=button,
            buttons=0 if button == "none" or kind == "mouseReleased" else 1,
            clickCount=0 if kind == "mouseMoved" else 1,
            modifiers=modifiers,
        )

    def _next(self, until: float) -> Any:
        while b"\0" not in self._buffer:
            left = until - time.monotonic()
            assert left > 0, "the browser does not answer"
            assert self._process.poll() is None, f"the browser exited with {self._process.returncode}"
            if select.select([self._in], [], [], min(left, 1.0))[0]:
                self._buffer += os.read(self._in, 2**20)
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def _heard(self, event: Any) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"])[:500])
        elif event.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.complaints.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
        elif event.get("method") == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            self.complaints.append(" ".join(str(each.get("description", each.get("value"))) for each in parameters["args"]))


@contextmanager
def browsing(path: str, profile: Path) -> Iterator[Browser]:
    """Starts a headless browser.

    Args:
        path: the program.
        profile: its profile directory.
    """
    ends, to_browser = os.pipe()
    from_browser, other = os.pipe()
    # The browser reads commands from descriptor 3 and writes answers to descriptor 4.
    browser_in, browser_out = (fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (ends, other))
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import os, sys; os.dup2({browser_in}, 3); os.dup2({browser_out}, 4); os.execv(sys.argv[1], sys.argv[1:])",
            path,
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
            "--window-size=1280,900",
        ],
        pass_fds=(browser_in, browser_out),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for each in (ends, other, browser_in, browser_out):
        os.close(each)
    try:
        yield Browser(process, to_browser, from_browser)
    finally:
        process.terminate()
        process.wait(20)
        os.close(to_browser)
        os.close(from_browser)
