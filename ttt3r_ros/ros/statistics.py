"""Statistics of a running stream: rates, latencies, and the learning rate of the last frame."""

from __future__ import annotations

import threading
import time
from collections import deque

import numpy as np
import numpy.typing as npt

WINDOW = 10.0  #: time over which rates are averaged [s]
SHORTEST = 1.0  #: least time over which rates are averaged, at the beginning [s]
SPAN_NS = 3 * 10**9  #: time over which the rate of stamps is averaged; it is known after half of it [ns]
INTERVALS = 3  #: least number of intervals between stamps over which their rate is averaged
MAX_INTERVAL_NS = 60 * 10**9  #: a longer one is no rate, but a clock that was set [ns]
LATENCIES = 1000  #: number of frames over which percentiles are computed


class Rate:
    """Events per second over the last `WINDOW` seconds, or since the first event after a pause. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = 0.0  # at the first event of those that have no pause of `WINDOW` between them
        self._times: deque[float] = deque()

    def count(self) -> None:
        """Count an event now."""
        with self._lock:
            self._forget()
            now = time.monotonic()
            if not self._times:
                self._begun = now
            self._times.append(now)

    def hz(self) -> float:
        """Return the current rate."""
        with self._lock:
            self._forget()
            if not self._times:
                return 0.0
            since = time.monotonic() - self._begun
            if since >= WINDOW:
                return len(self._times) / WINDOW
            return (len(self._times) - 1) / max(since, SHORTEST)  # the first event only begins the time

    def _forget(self) -> None:
        oldest = time.monotonic() - WINDOW
        while self._times and self._times[0] < oldest:
            self._times.popleft()


class StampRate:
    """The rate of images by their stamps, over the last `SPAN_NS`, but at least `INTERVALS` intervals. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_ns: int | None = None
        self._intervals_ns: deque[int] = deque()

    def add(self, stamp_ns: int, *, follows_break: bool = False) -> int:
        """Add an image's stamp [ns]; return the interval up to it [ns], 0 if it does not count.

        The interval up to the first image after a pause, a gap or a jump of the camera does not.
        """
        with self._lock:
            interval_ns = 0 if self._last_ns is None or follows_break else stamp_ns - self._last_ns
            interval_ns = interval_ns if 0 < interval_ns <= MAX_INTERVAL_NS else 0
            self._last_ns = stamp_ns
            if interval_ns:
                self._intervals_ns.append(interval_ns)
            while len(self._intervals_ns) > INTERVALS and sum(self._intervals_ns) - self._intervals_ns[0] >= SPAN_NS:
                self._intervals_ns.popleft()
            return interval_ns

    def hz(self, *, without_longest: bool = False) -> float | None:
        """Return the rate [Hz], on request without the longest interval, a lapse perhaps; None at the beginning."""
        with self._lock:
            intervals_ns = sorted(self._intervals_ns)
            if len(intervals_ns) < INTERVALS or 2 * sum(intervals_ns) < SPAN_NS:
                return None
            return 1e9 / float(np.mean(intervals_ns[:-1] if without_longest else intervals_ns))


class StreamStatistics:
    """Collects statistics. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rate = Rate()
        self._finished = 0
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._learning_rate = (np.nan, np.nan, np.nan)

    def add(self, latency_seconds: float, learning_rate: npt.NDArray[np.float32]) -> None:
        """Count a finished frame."""
        self._rate.count()
        with self._lock:
            self._finished += 1
            self._latencies.append(latency_seconds)
            self._learning_rate = learning_rate.min(), learning_rate.mean(), learning_rate.max()

    def facts(self) -> dict[str, str]:
        """Return the diagnostics' entries; latencies and β, the learning rate of the last frame, are NaN before one."""
        with self._lock:
            latencies = np.percentile(self._latencies, [50, 95, 99]) * 1e3 if self._latencies else [np.nan] * 3
            return {
                "frames_processed": str(self._finished),
                "output_rate_hz": f"{self._rate.hz():.2f}",
                **{f"latency_ms_{name}": f"{ms:.1f}" for name, ms in zip(("p50", "p95", "p99"), latencies)},
                **{f"beta_{name}": f"{b:.4f}" for name, b in zip(("min", "mean", "max"), self._learning_rate)},
            }
