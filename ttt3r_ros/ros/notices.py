"""Says each distinct fault once in a while instead of thirty times a second."""

from __future__ import annotations

import time

from rclpy.impl.rcutils_logger import RcutilsLogger

from ttt3r_ros.errors import kind_of

PERIOD = 30.0  #: seconds until the same fault is said again
MOST = 64  #: distinct faults said within that time


class Notices:
    """Throttled messages, each of a kind: by default the text without its numbers."""

    def __init__(self, logger: RcutilsLogger) -> None:
        self._logger = logger
        self._said: dict[str, float] = {}

    def info(self, text: str, kind: str | None = None) -> None:
        """Log information unless some of this kind was logged within `PERIOD`."""
        if self._is_due(kind or kind_of(text)):
            self._logger.info(text)

    def warn(self, text: str, kind: str | None = None) -> None:
        """Log a warning unless one of this kind was logged within `PERIOD`."""
        if self._is_due(kind or kind_of(text)):
            self._logger.warning(text)

    def error(self, text: str, kind: str | None = None) -> None:
        """Log an error unless one of this kind was logged within `PERIOD`."""
        if self._is_due(kind or kind_of(text)):
            self._logger.error(text)

    def _is_due(self, kind: str) -> bool:
        now = time.monotonic()
        if len(self._said) >= MOST:
            self._said = {said: when for said, when in self._said.items() if now - when < PERIOD}
        if now - self._said.get(kind, -PERIOD) < PERIOD:
            return False
        if len(self._said) > MOST:
            return False
        self._said[kind] = now
        if len(self._said) > MOST:
            self._logger.warning(
                f"more than {MOST} different faults within {PERIOD:g} s: further ones are only counted, in /diagnostics"
            )
            return False
        return True
