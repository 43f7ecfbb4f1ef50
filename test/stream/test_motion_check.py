from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.geometry import T_from_pose, rotation_from_quaternion
from ttt3r_ros.stream import motion_check
from ttt3r_ros.stream.motion_check import MotionState, accepted

MAX_SPEED, MAX_TURN_RATE = 5.0, 6.0


def turned(angle: float) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = rotation_from_quaternion([np.cos(angle / 2), 0, np.sin(angle / 2), 0])
    return T


def at(*position: float) -> np.ndarray:
    return T_from_pose(position, [1, 0, 0, 0])


def judge(state: MotionState, T: np.ndarray, seconds: float) -> str | None:
    return motion_check.check(state, T, round(seconds * 1e9), MAX_SPEED, MAX_TURN_RATE)


def follow(poses: list[np.ndarray], step: float) -> list[str | None]:
    state, found = MotionState(), []
    for index, T in enumerate(poses):
        found.append(judge(state, T, index * step))
        state = accepted(state, T, round(index * step * 1e9))
    return found


@given(st.floats(-3.5, 3.5), st.floats(-6, 6), st.floats(0.01, 2.0))
def test_steady_motion_within_the_limits_is_plausible(speed, turn_rate, step):
    motion = turned(turn_rate * step)
    motion[:3, 3] = [speed * step, 0, speed * step]
    poses = [np.eye(4)]
    for _ in range(12):
        poses.append(poses[-1] @ motion)
    assert not any(follow(poses, step))


@given(st.floats(0.005, 0.05), st.integers(0, 100))
def test_noise_of_centimeters_is_plausible_at_any_rate(step, seed):
    rng = np.random.default_rng(seed)
    assert not any(follow([at(*rng.normal(0, 0.02, 3)) for _ in range(40)], step))


def test_too_fast_and_too_quick_a_turn_are_said_with_the_parameter():
    state = MotionState()
    state = accepted(state, np.eye(4), 0)
    assert judge(state, at(0, 0, 0.69), 0.1) is None
    assert "jumped 0.80 m in 0.100 s (max_speed allows 5 m/s)" in judge(state, at(0, 0, 0.8), 0.1)
    assert judge(state, at(0, 0, 0.8), 0.2) is None  # in twice the time
    assert judge(state, turned(0.75), 0.1) is None
    assert "turned 49 degrees in 0.100 s (max_turn_rate allows 6 rad/s)" in judge(state, turned(0.85), 0.1)


def test_a_jump_out_of_a_steady_motion_is_found_below_the_limits():
    steady = [at(0, 0, 0.01 * n) for n in range(20)]
    state = MotionState()
    for n, T in enumerate(steady):
        state = accepted(state, T, n * 33_000_000)
    now = 20 * 0.033
    assert judge(state, at(0, 0, 0.2), now) is None
    assert "from its predicted position" in judge(state, at(0, 0.3, 0.2), now)
    assert "from its predicted orientation" in judge(state, at(0, 0, 0.2) @ turned(0.35), now)


def test_nothing_is_known_before_the_second_pose_and_after_forgetting():
    state = MotionState()
    assert judge(state, at(100, 0, 0), 0.0) is None
    state = accepted(state, np.eye(4), 0)
    state = MotionState()
    assert judge(state, at(100, 0, 0), 0.1) is None


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_time_that_stands_still_allows_for_noise_only(seconds):
    state = MotionState()
    state = accepted(state, np.eye(4), 10**9)
    assert judge(state, at(0.1, 0, 0), 1.0 + seconds) is None
    assert judge(state, at(1, 0, 0), 1.0 + seconds)


def test_zero_allows_any_motion():
    state = MotionState()
    for number in range(10):
        state = accepted(state, at(0, 0, 0.1 * number), 100_000_000 * number)
    far = turned(3.0)
    far[0, 3] = 1000.0
    assert motion_check.check(state, far, 1_000_000_000, 5.0, 6.0)
    assert motion_check.check(state, far, 1_000_000_000, 0.0, 6.0)
    assert motion_check.check(state, far, 1_000_000_000, 5.0, 0.0)
    assert motion_check.check(state, far, 1_000_000_000, 0.0, 0.0) is None
