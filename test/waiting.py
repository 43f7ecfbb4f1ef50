"""Waiting for what other threads and processes do, as long as a busy machine takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 120.0  #: seconds until something that must happen has failed to
AGAIN_S = 0.3  #: seconds without an effect until the same is sent again


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Return the condition's first true value."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE} s in vain for {what}")
        time.sleep(0.01)
    return value


def send_until(send: Callable[[], object], has_arrived: Callable[[], Any], what: str) -> Any:
    """Send until it has arrived, and return the first true value that says so.

    A publisher may know a subscription that does not know it yet: with best effort, what it sends then is lost.
    """

    def answer() -> Any:
        send()
        again = time.monotonic() + AGAIN_S
        while not (value := has_arrived()) and time.monotonic() < again:
            time.sleep(0.01)
        return value

    return wait_until(answer, what)


def settled(seen: Callable[[], Any], expected: Any) -> Any:
    """Return what is seen once that is what is expected, or in the end: discovery takes a while."""
    deadline = time.monotonic() + PATIENCE
    while (value := seen()) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    return value


def is_running(pid: int) -> bool:
    """Return whether a process has not ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
