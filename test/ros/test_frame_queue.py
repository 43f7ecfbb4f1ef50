from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import PATIENCE

from ttt3r_ros.ros import frame_queue
from ttt3r_ros.ros.frame_queue import FrameQueue, QueuedFrame


def frames(*breaks: str | None) -> list[QueuedFrame]:
    return [QueuedFrame(index, index, 0.0, reason) for index, reason in enumerate(breaks)]


def test_the_latest_frame_wins_and_the_rest_is_counted():
    queue = FrameQueue(latest_only=True)
    assert [queue.put(frame) for frame in frames(None, None, None)] == [False, True, True]
    assert queue.take().message == 2
    assert queue.dropped == 2


@given(st.lists(st.tuples(st.sampled_from([None, "gap"]), st.integers(-100, 100), st.booleans()), min_size=1))
def test_a_break_a_set_clock_and_a_pause_are_never_lost_with_their_frame(dropped):
    queue = FrameQueue(latest_only=True)
    for reason, step, pause in dropped:
        queue.put(QueuedFrame(0, 0, 0.0, reason, clock_step_ns=step, follows_pause=pause))
    breaks, steps, pauses = zip(*dropped)
    left = queue.take()
    assert (left.break_reason is not None) == any(breaks)
    assert left.clock_step_ns == sum(steps)
    assert left.follows_pause == any(pauses)


def test_every_frame_is_kept_in_order_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(frame_queue, "MAX_QUEUE", 3)
    queue = FrameQueue(latest_only=False)
    for frame in frames("gap", None, None, None, None):
        queue.put(frame)
    assert [queue.take() for _ in range(3)] == [
        QueuedFrame(2, 2, 0.0, "gap"),
        *frames(None, None, None, None, None)[3:],
    ]
    assert queue.dropped == 2


def test_a_frame_gives_way_to_a_newer_one_only_if_frames_may_be_dropped():
    for latest_only in (True, False):
        queue = FrameQueue(latest_only=latest_only)
        first, second = frames(None, None)
        queue.put(first)
        assert queue.take() == first
        assert not queue.is_overtaken()
        queue.put(second)
        assert queue.is_overtaken() == latest_only
        assert queue.dropped == latest_only
        assert queue.take() == second


def test_other_work_waits_for_what_waits_unless_all_frames_are_kept():
    for latest_only in (True, False):
        queue = FrameQueue(latest_only=latest_only)
        assert queue.has_time()
        queue.put(frames(None)[0])
        assert queue.has_time() == (not latest_only)
        queue.take()
        queue.put_job(list)
        assert queue.has_time() == (not latest_only)
        queue.take()
        assert queue.has_time()
        queue.close()
        assert not queue.has_time()


@pytest.mark.parametrize(("wake", "got"), [(FrameQueue.close, None), (lambda queue: queue.put_job(print), print)])
def test_a_job_or_the_end_wakes_whoever_waits_for_a_frame(wake, got):
    queue = FrameQueue(latest_only=True)
    taken = []
    thread = threading.Thread(target=lambda: taken.append(queue.take()))
    thread.start()
    wake(queue)
    thread.join(PATIENCE)
    assert taken == [got]


def test_clearing_is_not_dropping():
    queue = FrameQueue(latest_only=True)
    queue.put(frames(None)[0])
    queue.clear()
    assert len(queue) == 0
    assert queue.dropped == 0


def test_jobs_come_before_frames_and_are_never_dropped():
    queue = FrameQueue(latest_only=True)
    done = []
    for frame in frames(None, None):
        queue.put(frame)
        queue.put_job(lambda: done.append(1))
    queue.clear()
    queue.put(frames(None)[0])
    for _ in range(2):
        queue.take()()
    assert done == [1, 1]
    assert queue.take().message == 0
