from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from benchmark.scale_sources import BIAS, FPS, SLIP, Result, _ate, _lengths, rows_of, wheel_odometry
from ttt3r_ros.geometry import T_BASE_CAMERA


def straight(frames: int, step: float) -> SimpleNamespace:
    """Return a walk straight ahead."""
    T = np.tile(np.eye(4), (frames, 1, 1))
    T[:, 0, 3] = step * np.arange(frames)
    stamps = tuple(round(i * 1e9 / FPS) + 1 for i in range(frames))
    return SimpleNamespace(T_world_camera=T @ T_BASE_CAMERA, stamps_ns=stamps, spec=SimpleNamespace(seed=1))


def test_wheels_go_too_far_and_slip_for_five_seconds():
    walk = straight(400, 0.02)
    x = np.array([sample.T_odom_base[0, 3] for sample in wheel_odometry(walk)])
    assert [sample.stamp_ns for sample in wheel_odometry(walk)] == list(walk.stamps_ns)
    steps, slips = np.diff(x) / 0.02, np.zeros(399, bool)
    slips[round(SLIP[0] * FPS) - 1 : round(SLIP[1] * FPS) - 1] = True
    assert steps[slips].mean() == pytest.approx((1 + BIAS) * SLIP[2], abs=0.02)
    assert steps[~slips].mean() == pytest.approx(1 + BIAS, abs=0.005)


def test_a_path_that_is_only_turned_and_shifted_has_no_error():
    q = np.cumsum(np.random.default_rng(0).normal(size=(100, 3)), axis=0)
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert _ate(q @ turn.T + 5.0, q) == pytest.approx(0.0, abs=1e-9)
    assert _ate(1.1 * q, q) > 0.1
    assert _lengths(1.1 * q, q) == pytest.approx([1.1] * len(_lengths(q, q)))


def test_the_table_has_a_row_for_each_case_that_was_measured():
    results = [Result(340, "wheels", [1.0, 1.1], [0.9], 0.2, 0.5, {}, ["the wheel odometry is not used: slip"])]
    ((case, *_, said),) = rows_of(results)
    assert (case, said) == ("wheels", "1 of 1")
