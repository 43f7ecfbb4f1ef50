"""A headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from waiting import PATIENCE
from websockets.sync.client import ClientConnection, connect

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # CI runs as root
    "--disable-dev-shm-usage",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",  # WebGL without a GPU
    "--no-first-run",
    "--remote-debugging-port=0",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # pages must do without a network
    "--window-size=700,490",
)


class Page:
    """One tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self.call("Page.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol and return its result."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while (answer := json.loads(self._connection.recv(timeout=PATIENCE))).get("id") != self._number:
            pass  # an event
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def text(self) -> str:
        return str(self.evaluate("document.body?.innerText"))

    def wait_for_text(self, text: str) -> None:
        self.wait_for(f"document.body?.innerText.includes({json.dumps(text)})")

    def wait_for(self, script: str) -> Any:
        """Return the first true value of an expression."""
        deadline = time.monotonic() + PATIENCE
        while not (value := self.evaluate(script)):
            assert time.monotonic() < deadline, f"waited in vain for {script}; the page says:\n{self.text()}"
            time.sleep(0.2)
        return value

    def click(self, label: str) -> None:
        """Click the button with this label, as a mouse does."""
        find = (
            "(() => { const all = [...document.querySelectorAll('button')];"
            f" const one = all.find(b => b.innerText.trim() === {json.dumps(label)}); if (!one) return null;"
            " one.scrollIntoView(); const r = one.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        x, y = self.wait_for(find)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self) -> np.ndarray:
        """Return a screenshot, (H, W, 3) uint8 RGB."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]

    def wait_for_picture(self, is_right: Callable[[np.ndarray], bool], what: str) -> np.ndarray:
        """Return the first screenshot with this in it."""
        deadline = time.monotonic() + PATIENCE
        while not is_right(picture := self.picture()):
            assert time.monotonic() < deadline, f"waited in vain for {what}; the page says:\n{self.text()}"
            time.sleep(0.2)
        return picture


def chromium() -> str:
    """Return Chromium's command; skip the test where there is none."""
    command = next(filter(None, map(shutil.which, _NAMES)), None)
    if command is None:
        pytest.skip("there is no Chromium to look at the page with: sudo apt install chromium")
    return command


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """Run Chromium, with its files in a folder, until the block ends."""
    environment = {**os.environ, "HOME": str(profile)}
    with (profile / "chromium.log").open("w") as log:
        command = [chromium(), *_OPTIONS, f"--user-data-dir={profile / 'profile'}", "about:blank"]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    try:
        where = profile / "profile" / "DevToolsActivePort"
        deadline = time.monotonic() + PATIENCE
        while not where.exists() or len(where.read_text().split()) < 2:
            if process.poll() is not None:
                pytest.skip(f"Chromium does not run here: {(profile / 'chromium.log').read_text()[-500:]}")
            assert time.monotonic() < deadline, "Chromium has not started"
            time.sleep(0.1)
        with urllib.request.urlopen(f"http://127.0.0.1:{where.read_text().split()[0]}/json/list") as answer:
            tab = next(target for target in json.load(answer) if target["type"] == "page")
        with connect(tab["webSocketDebuggerUrl"], max_size=None) as connection:
            yield Page(connection)
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)
