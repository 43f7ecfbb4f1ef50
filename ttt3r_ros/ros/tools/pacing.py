"""Schedules frames, and fetches them ahead of time."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

#: If a frame is later than this, the rest of the schedule is delayed as well: a slow source stalls like a slow camera
#: instead of catching up in a burst [ns].
_TOLERANCE_NS = 10_000_000

#: Time between two ticks while waiting [ns].
_TICK_NS = 10_000_000


class Pacer:
    """Converts times in a recording to wall-clock times.

    Attributes:
        late_ns: by how much the schedule has been delayed in all, since frames were not ready when due [ns].
    """

    def __init__(
        self,
        rate: float,
        *,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
        wait: Callable[[float], bool],
    ) -> None:
        """Set up the clocks; the schedule starts at the first call of `wait_until_due`.

        Args:
            rate: playback speed relative to the recording.
            monotonic_ns: clock for waiting, never set back.
            wall_ns: clock for stamps.
            wait: sleeps for a number of seconds; returns True if playback was stopped meanwhile.
        """
        self._rate = rate
        self._monotonic_ns = monotonic_ns
        self._wall_ns = wall_ns
        self._wait = wait
        self._origin_ns: int | None = None
        self._wall_offset_ns = 0
        self.late_ns = 0

    def wait_until_due(self, play_ns: int, tick: Callable[[int], None] | None = None) -> int | None:
        """Wait until a frame is due.

        Args:
            play_ns: time of the frame in the recording since the first one [ns].
            tick: called every 10 ms while waiting, with the remaining time in the recording [ns].

        Returns:
            The wall-clock time at which the frame was due [ns], spaced as in the recording; None if stopped.
        """
        if self._origin_ns is None:
            self._origin_ns = self._monotonic_ns() - round(play_ns / self._rate)
            self._wall_offset_ns = self._wall_ns() - self._monotonic_ns()
        due_ns = self._origin_ns + round(play_ns / self._rate)
        while (left_ns := due_ns - self._monotonic_ns()) > 0:
            if tick is not None:
                tick(round(left_ns * self._rate))
            if self._wait(min(left_ns, _TICK_NS if tick else left_ns) * 1e-9):
                return None
        if -left_ns > _TOLERANCE_NS:
            self._origin_ns -= left_ns
            self.late_ns -= left_ns
            due_ns -= left_ns
        return due_ns + self._wall_offset_ns


class Prefetch(Generic[T]):
    """Runs an iterator in a thread, a few items ahead of its consumer."""

    def __init__(self, items: Iterator[T], *, ahead: int, stop: threading.Event) -> None:
        """Start the thread.

        Args:
            items: the iterator; only the thread uses it.
            ahead: maximum number of items to hold.
            stop: once set, no more items are fetched or yielded.
        """
        self._stop = stop
        self._queue: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(maxsize=ahead)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(items,), name="prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        """Yield the items; an error in the thread is raised here."""
        while self._is_open():
            try:
                # with a timeout, so that a stop is noticed even if the source is slow
                item, error = self._queue.get(timeout=0.1)
            except queue.Empty:
                continue
            if error is not None:
                raise error
            if item is None:
                return
            yield item

    def close(self) -> None:
        """Stop fetching and wait until the thread no longer uses the source."""
        self._closed.set()
        self._thread.join()

    def _is_open(self) -> bool:
        return not (self._closed.is_set() or self._stop.is_set())

    def _run(self, items: Iterator[T]) -> None:
        try:
            for item in items:
                if not self._put(item, None):
                    return
            self._put(None, None)  # the end
        except BaseException as error:
            self._put(None, error)

    def _put(self, item: T | None, error: BaseException | None) -> bool:
        while self._is_open():
            try:
                self._queue.put((item, error), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False
