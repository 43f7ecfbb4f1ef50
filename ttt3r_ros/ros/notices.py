"""Says each distinct fault once in a while instead of thirty times a second."""

from __future__ import annotations

import time

from rclpy.impl.rcutils_logger import RcutilsLogger

PERIOD = 30.0  #: seconds until the same fault is said again
MOST = 256  #: distinct faults remembered


class Notices:
    """Throttled warnings and errors, by their first words."""

    def __init__(self, logger: RcutilsLogger) -> None:
        self._logger = logger
        self._said: dict[str, float] = {}

    def warn(self, kind: str, text: str) -> None:
        """Log a warning unless one of this kind was logged within `PERIOD`."""
        if self._is_due(kind):
            self._logger.warning(text)

    def error(self, kind: str, text: str) -> None:
        """Log an error unless one of this kind was logged within `PERIOD`."""
        if self._is_due(kind):
            self._logger.error(text)

    def _is_due(self, kind: str) -> bool:
        now = time.monotonic()
        if now - self._said.get(kind, -PERIOD) < PERIOD:
            return False
        if len(self._said) >= MOST:
            self._said.clear()
        self._said[kind] = now
        return True
