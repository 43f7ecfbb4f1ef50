"""Pacing by a clock that the tests turn, and fetching ahead."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from ttt3r_ros.ros.tools.pacing import Pacer, Prefetch

WALL_NS = 1_700_000_000 * 10**9


class Clock:
    """Time that passes only by waiting and working."""

    def __init__(self) -> None:
        self.now_ns = 5_000

    def wait(self, seconds: float) -> bool:
        self.now_ns += round(seconds * 1e9)
        return False

    def work(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)

    def pacer(self, rate: float = 1.0) -> Pacer:
        return Pacer(
            rate, monotonic_ns=lambda: self.now_ns, wall_ns=lambda: WALL_NS + self.now_ns - 5_000, wait=self.wait
        )


def test_frames_are_due_as_recorded() -> None:
    clock = Clock()
    pacer = clock.pacer(rate=2.0)
    due = []
    for i in range(4):
        due.append(pacer.wait_until_due(i * 100_000_000))
        clock.work(0.003)
    assert due == [WALL_NS + i * 50_000_000 for i in range(4)]


def test_a_stall_moves_the_rest_and_is_not_caught_up() -> None:
    clock = Clock()
    pacer = clock.pacer()
    due = []
    for i in range(4):
        due.append(pacer.wait_until_due(i * 100_000_000))
        clock.work(0.35 if i == 1 else 0.0)
    since_ms = [(d or 0) // 10**6 - WALL_NS // 10**6 for d in due]
    assert since_ms == [0, 100, 450, 550]
    assert pacer.late_ns == 250_000_000


def test_a_little_delay_does_not_change_the_stamps() -> None:
    clock = Clock()
    pacer = clock.pacer()
    pacer.wait_until_due(0)
    clock.work(0.105)
    assert pacer.wait_until_due(100_000_000) == WALL_NS + 100_000_000


def test_ticks_count_down_in_recorded_time() -> None:
    clock = Clock()
    pacer = clock.pacer(rate=2.0)
    left: list[int] = []
    pacer.wait_until_due(0, left.append)
    pacer.wait_until_due(100_000_000, left.append)
    assert left == [100_000_000, 80_000_000, 60_000_000, 40_000_000, 20_000_000]


def test_stopping_is_said() -> None:
    pacer = Pacer(1.0, wait=lambda seconds: True)
    assert pacer.wait_until_due(0) is not None
    assert pacer.wait_until_due(10**9) is None


def test_prefetch_keeps_order_and_stays_bounded() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for i in range(20):
            made.append(i)
            yield i

    prefetch = Prefetch(numbers(), ahead=3, stop=threading.Event())
    items = iter(prefetch)
    assert next(items) == 0
    time.sleep(0.2)
    assert len(made) <= 1 + 3 + 1  # yielded, waiting, in the hand
    assert list(items) == list(range(1, 20))
    prefetch.close()


def test_an_error_while_fetching_is_raised_in_order() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise RuntimeError("cable pulled")

    prefetch = Prefetch(numbers(), ahead=3, stop=threading.Event())
    items = iter(prefetch)
    assert next(items) == 1
    with pytest.raises(RuntimeError, match="cable pulled"):
        next(items)
    prefetch.close()


def test_stop_ends_an_endless_source() -> None:
    stop = threading.Event()
    prefetch = Prefetch(itertools.count(), ahead=2, stop=stop)
    items = iter(prefetch)
    next(items)
    stop.set()
    assert list(items) == []
    prefetch.close()
