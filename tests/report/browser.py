"""A real browser for tests of pages: Chromium without a window, driven through its debugging pipe; it opens no port."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE = 60
"""Seconds for one answer."""


def find_chromium() -> str:
    """Its path; the test is skipped where there is none, and fails under TUNELAB_REQUIRE_ALL=1."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is not None:
        return found
    message = f"no browser: none of {', '.join(NAMES)} is on the path; install Debian's chromium"
    if os.environ.get("TUNELAB_REQUIRE_ALL") == "1":
        pytest.fail(message)
    pytest.skip(message)


class Chromium:
    """One browser. `open` shows a file as a reader would see it; the short forms below are one look each."""

    def __init__(self, program: str, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count(1)
        commands, self._to = os.pipe()
        self._from, answers = os.pipe()
        # Chromium reads commands at 3 and answers at 4. The shell moves them there: Python may hold 3 and 4 itself.
        # `commands` is the lower one, so that it is read before 4 is written over.
        line = f'exec "$0" "$@" 3<&{commands} 4>&{answers}'
        self._process = subprocess.Popen(
            ["bash", "-c", line, program, *OPTIONS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            pass_fds=(commands, answers), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=(folder / "chromium.txt").open("w"),
        )  # fmt: skip
        os.close(commands)
        os.close(answers)
        self._unread = b""
        self.events: list[dict[str, Any]] = []

    def open(self, page: Path, width: int = 1400, dark: bool = False, *, script: bool = True, at: str = "") -> Tab:
        """`script=False`: as in a browser that executes none. `at`: the address's fragment."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, target, session)
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            tab.ask(f"{domain}.enable")
        tab.ask("Emulation.setScriptExecutionDisabled", value=not script)
        tab.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        tab.ask("Emulation.setEmulatedMedia", features=[scheme])
        tab.ask("Page.navigate", url=page.resolve().as_uri() + (at and f"#{at}"))
        tab.wait("Page.loadEventFired")
        return tab

    def screenshot(self, page: Path, width: int = 1400, dark: bool = False) -> Path:
        """A png of the whole page."""
        with self.open(page, width, dark) as tab:
            return tab.screenshot(self.folder / f"{page.stem}-{width}{'-dark' if dark else ''}.png")

    def dom(self, page: Path, *, script: bool = True) -> str:
        """The document after its script."""
        with self.open(page, script=script) as tab:
            return tab.html()

    def pdf(self, page: Path) -> Path:
        with self.open(page) as tab:
            return tab.pdf(self.folder / f"{page.stem}.pdf")

    def close(self) -> None:
        try:
            self.ask("Browser.close")
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()  # only where it did not end by itself
        os.close(self._to)
        os.close(self._from)

    def ask(self, method: str, *, session: str = "", **parameters: Any) -> dict[str, Any]:
        """The answer to one command of the DevTools protocol; what happens meanwhile is kept in `events`."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self.read()).get("id") != number:
            pass
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def read(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
            more = os.read(self._from, 1 << 20) if ready else b""
            assert more, f"the browser is silent: {(self.folder / 'chromium.txt').read_text()[-2000:]}"
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\0")
        message = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message


class Tab:
    """One open page."""

    def __init__(self, browser: Chromium, target: str, session: str) -> None:
        self.browser, self.target, self.session = browser, target, session

    def __enter__(self) -> Tab:
        return self

    def __exit__(self, *_: object) -> None:
        self.browser.ask("Target.closeTarget", targetId=self.target)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.browser.ask(method, session=self.session, **parameters)

    def events(self, method: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.browser.events
                if event["method"] == method and event.get("sessionId") == self.session]  # fmt: skip

    def wait(self, method: str) -> None:
        while not self.events(method):
            self.browser.read()

    def run(self, script: str) -> Any:
        """The value of an expression, executed outside the page's security policy as a reader's console is."""
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str, text: str = "") -> None:
        """A key as from the keyboard: 'Tab', 'Enter' (with its text '\\r')."""
        code = {"Tab": 9, "Enter": 13, " ": 32}.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            said = {"text": text} if text and kind == "keyDown" else {}
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **said)

    def type(self, text: str) -> None:
        self.ask("Input.insertText", text=text)

    def html(self) -> str:
        root = self.ask("DOM.getDocument", depth=0)["root"]["nodeId"]
        return self.ask("DOM.getOuterHTML", nodeId=root)["outerHTML"]

    def complaints(self) -> list[str]:
        """Errors of the page: of its script, and what its security policy has refused."""
        logged = [event["entry"]["text"] for event in self.events("Log.entryAdded")]
        thrown = [event["exceptionDetails"]["text"] for event in self.events("Runtime.exceptionThrown")]
        return logged + thrown

    def requests(self) -> list[str]:
        """Addresses that the page has asked for, its own first."""
        return [event["request"]["url"] for event in self.events("Network.requestWillBeSent")]

    def screenshot(self, picture: Path) -> Path:
        """A png of the whole page."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        content = self.ask("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        picture.write_bytes(base64.b64decode(content))
        return picture

    def pdf(self, printed: Path) -> Path:
        printed.write_bytes(
            base64.b64decode(self.ask("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"])
        )
        return printed
