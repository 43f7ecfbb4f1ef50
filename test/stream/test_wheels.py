from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.geometry import inverse, rotation_vector
from ttt3r_ros.stream.wheels import MAX_GAP_S, MAX_SAMPLES, OdometrySample, WheelState, motion, reaches, received

START = 1_700_000_000_000_000_123  #: a stamp of today [ns]


def pose(x: float, y: float, heading: float) -> np.ndarray:
    T = np.eye(4)
    T[:2, :2] = [[math.cos(heading), -math.sin(heading)], [math.sin(heading), math.cos(heading)]]
    T[:2, 3] = x, y
    return T


def arc(seconds: float, speed: float = 0.5, turning: float = 0.6) -> np.ndarray:
    angle = turning * seconds
    radius = speed / turning
    return pose(radius * math.sin(angle), radius * (1 - math.cos(angle)), angle)


def sample(seconds: float, T: np.ndarray | None = None) -> OdometrySample:
    return OdometrySample(START + round(seconds * 1e9), arc(seconds) if T is None else T)


def run(*seconds: float) -> WheelState:
    return received(WheelState(), [sample(s) for s in seconds])


def at(seconds: float) -> int:
    return START + round(seconds * 1e9)


@given(st.floats(0.0, 1.9), st.floats(0.0, 1.9))
def test_a_motion_between_samples_is_that_of_the_path(start, stop):
    start, stop = sorted((start, stop))
    told = motion(run(*np.arange(0.0, 2.01, 0.02)), at(start), at(stop))
    true = inverse(arc(start)) @ arc(stop)
    assert told is not None
    np.testing.assert_allclose(told[:3, 3], true[:3, 3], atol=1e-4)
    np.testing.assert_allclose(rotation_vector(told[:3, :3]), rotation_vector(true[:3, :3]), atol=1e-4)


def test_samples_that_are_late_are_waited_for():
    state = run(0.0, 0.1)
    assert not reaches(state, at(0.2))
    assert motion(state, at(0.05), at(0.2)) is None
    state = received(state, [sample(0.2)])
    assert reaches(state, at(0.2))
    assert motion(state, at(0.05), at(0.2)) is not None


def test_before_the_first_sample_nothing_is_known():
    assert motion(run(0.1, 0.2), at(0.0), at(0.2)) is None
    assert motion(WheelState(), at(0.0), at(0.2)) is None
    assert not reaches(WheelState(), at(0.0))


@pytest.mark.parametrize(
    ("late", "why"),
    [
        (sample(0.15), "went back"),
        (sample(0.2 + 2 * MAX_GAP_S), "nothing came of it for"),
        (sample(0.25, pose(5.0, 0.0, 0.0)), "jumped by"),
        (sample(0.25, arc(0.25) @ pose(0.0, 0.0, 3.0)), "jumped by"),
    ],
    ids=["an older stamp", "a gap", "a teleport", "a turn on the spot"],
)
def test_what_does_not_go_on_begins_anew(late, why):
    state = received(run(0.0, 0.1, 0.2), [late])
    assert state.problem is not None
    assert why in state.problem
    assert len(state.samples) == 1
    assert motion(state, at(0.1), late.stamp_ns) is None
    stamp = late.stamp_ns + 100_000_000
    after = received(state, [OdometrySample(stamp, late.T_odom_base)])
    np.testing.assert_allclose(motion(after, late.stamp_ns, stamp), np.eye(4), atol=1e-9)


def test_a_pose_that_is_not_finite_is_passed_over():
    state = run(0.0, 0.1)
    broken = received(state, [sample(0.2, np.full((4, 4), math.nan)), sample(0.2)])
    assert broken.problem is not None
    assert motion(broken, at(0.0), at(0.2)) is not None


def test_the_same_sample_twice_is_one():
    assert len(run(0.0, 0.1, 0.1, 0.2).samples) == 3


def test_memory_is_bounded():
    assert len(run(*np.arange(0, 2 * MAX_SAMPLES) * 0.01).samples) == MAX_SAMPLES
