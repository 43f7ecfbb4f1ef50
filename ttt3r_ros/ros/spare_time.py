"""When the map may work: between images, and for a share of the time where images leave none between them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

#: After so long without time between images, the map has a share of the time all the same [s].
MAX_BUSY_S = 1.0
#: That share: the map lags behind, and images are dropped already.
SHARE = 0.2


class SpareTime:
    """Says when there is time for other work than images, and counts what it takes. Not for use by several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with time to spare.

        Args:
            clock: returns the time [s].
        """
        self._clock = clock
        self._busy_since = self._asked_at = clock()
        self._due_s = 0.0  # of the share, what has not been taken

    def allows(self, *, is_idle: bool) -> bool:
        """Return whether there is time for a piece of work.

        Args:
            is_idle: whether no image waits.
        """
        now, before = self._clock(), self._asked_at
        self._asked_at = now
        if is_idle:
            self._busy_since, self._due_s = now, 0.0
            return True
        # what nothing needed is not saved up
        self._due_s = min(self._due_s + SHARE * (now - before), SHARE * MAX_BUSY_S)
        return now - self._busy_since > MAX_BUSY_S and self._due_s > 0.0

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Count the time that the block takes."""
        begun = self._clock()
        try:
            yield
        finally:
            self._due_s -= self._clock() - begun
