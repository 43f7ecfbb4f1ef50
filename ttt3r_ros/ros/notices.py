"""Logs each distinct fault once in a while instead of thirty times a second."""

from __future__ import annotations

import time

from rclpy.impl.rcutils_logger import RcutilsLogger

from ttt3r_ros.errors import kind_of

PERIOD_S = 30.0  #: until the same fault is logged again
MAX_KINDS = 64  #: distinct faults logged within that time


class Notices:
    """Throttled log messages. Each has a kind, by default its text without numbers."""

    def __init__(self, logger: RcutilsLogger) -> None:
        self._logger = logger
        self._logged: dict[str, float] = {}

    def info(self, text: str, kind: str | None = None) -> None:
        """Log information unless some of this kind was logged within `PERIOD_S`."""
        if self._is_due(kind or kind_of(text)):
            self._logger.info(text)

    def warn(self, text: str, kind: str | None = None) -> None:
        """Log a warning unless one of this kind was logged within `PERIOD_S`."""
        if self._is_due(kind or kind_of(text)):
            self._logger.warning(text)

    def error(self, text: str, kind: str | None = None) -> bool:
        """Log an error unless one of this kind was logged within `PERIOD_S`; return whether it was logged."""
        is_due = self._is_due(kind or kind_of(text))
        if is_due:
            self._logger.error(text)
        return is_due

    def _is_due(self, kind: str) -> bool:
        now = time.monotonic()
        if len(self._logged) >= MAX_KINDS:
            self._logged = {known: when for known, when in self._logged.items() if now - when < PERIOD_S}
        if now - self._logged.get(kind, -PERIOD_S) < PERIOD_S:
            return False
        if len(self._logged) > MAX_KINDS:
            return False
        self._logged[kind] = now
        if len(self._logged) > MAX_KINDS:
            self._logger.warning(
                f"more than {MAX_KINDS} different faults within {PERIOD_S:g} s: "
                "further ones are only counted in /diagnostics"
            )
            return False
        return True
