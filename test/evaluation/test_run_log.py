"""What is kept of an endless run: all poses, and whole frames evenly spread over it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.evaluation.run_log import EvenlySpaced, RunLog
from ttt3r_ros.geometry import T_from_pose

capacities = st.integers(2, 13)
counts = st.integers(0, 200)


def filled(capacity: int, count: int) -> EvenlySpaced[int]:
    kept = EvenlySpaced[int](capacity)
    for i in range(count):
        kept.add(i)
    return kept


@pytest.mark.slow
@given(capacity=capacities, count=counts)
def test_what_is_kept_is_evenly_spaced_over_all_so_far(capacity: int, count: int) -> None:
    items = list(filled(capacity, count))
    assert len(items) <= capacity
    assert items[:1] == list(range(count))[:1]
    steps = set(np.diff(items))
    assert len(steps) <= 1
    assert count - items[-1] <= 2 * max(steps, default=1) if items else count == 0


@given(capacity=capacities, count=counts)
def test_at_least_half_of_the_room_is_used(capacity: int, count: int) -> None:
    assert len(filled(capacity, count)) >= min(count, capacity // 2)


@given(capacity=capacities, count=counts)
def test_the_next_is_wanted_exactly_if_it_would_be_kept(capacity: int, count: int) -> None:
    kept = filled(capacity, count)
    wanted = kept.wants_next()
    kept.add(count)
    assert (count in kept) == wanted


@given(capacity=capacities, count=counts)
def test_what_is_not_wanted_need_not_be_there(capacity: int, count: int) -> None:
    kept = EvenlySpaced[int](capacity)
    for i in range(count):
        kept.add(i if kept.wants_next() else None)
    assert list(kept) == list(filled(capacity, count))
    assert len(kept) == len(list(kept))
    assert kept.seen == count


@given(capacity=capacities, first=counts, more=counts)
def test_it_goes_on_as_if_never_stopped(capacity: int, first: int, more: int) -> None:
    half, whole = filled(capacity, first), filled(capacity, first + more)
    resumed = EvenlySpaced.resumed(capacity, half, half.seen)
    for i in range(first, first + more):
        resumed.add(i)
    assert list(resumed) == list(whole)
    assert resumed.seen == whole.seen
    assert resumed.wants_next() == whole.wants_next()


def test_resuming_leaves_the_other_as_it_was() -> None:
    half = filled(4, 3)
    EvenlySpaced.resumed(4, half, half.seen).add(3)
    assert list(half) == [0, 1, 2]


def test_poses_become_trajectories_in_order_of_time() -> None:
    recording = RunLog()
    for stamp in (300, 100, 200):
        recording.poses[stamp] = T_from_pose([stamp, 0, 0], [1, 0, 0, 0])
        recording.true_poses[stamp + 1] = T_from_pose([0, stamp, 0], [0, 0, 0, 1])
    estimate, truth = recording.trajectory(), recording.ground_truth()
    assert estimate.stamps_ns.tolist() == [100, 200, 300]
    assert estimate.positions.tolist() == [[100, 0, 0], [200, 0, 0], [300, 0, 0]]
    assert truth.stamps_ns.tolist() == [101, 201, 301]
    assert truth.positions.tolist() == [[0, 100, 0], [0, 200, 0], [0, 300, 0]]
    np.testing.assert_allclose(truth.quaternions_wxyz, [[0, 0, 0, 1]] * 3, atol=1e-12)


def test_a_run_in_which_nothing_was_heard() -> None:
    recording = RunLog()
    assert len(recording.trajectory()) == len(recording.ground_truth()) == len(recording.moments) == 0
    assert recording.trajectory().positions.shape == (0, 3)


def test_however_long_a_run_a_bounded_number_of_frames_is_kept() -> None:
    recording, kept = RunLog(), []
    for i in range(10_000):
        recording.moments.add(i)  # type: ignore[arg-type]  # a stand-in
        kept.append(len(recording.moments))
    assert max(kept) == 48
    assert min(kept[24:]) >= 12
