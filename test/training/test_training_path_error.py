"""Path errors are those of evo, which not every machine that trains has."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.path_error import path_error
from ttt3r_ros.evaluation.metrics import Trajectory, compare_trajectories
from ttt3r_ros.geometry import T_from_pose


def path(rng: np.random.Generator, poses: int, size: float = 1.0) -> np.ndarray:
    steps = [T_from_pose(size * rng.normal(size=3), [1.0, *(0.2 * size * rng.normal(size=3))]) for _ in range(poses)]
    return np.array([np.linalg.multi_dot([np.eye(4), *steps[: i + 1]]) for i in range(poses)])


@pytest.mark.slow
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), poses=st.integers(3, 20), noise=st.floats(0.001, 0.5))
def test_errors_are_those_of_evo(seed: int, poses: int, noise: float):
    rng = np.random.default_rng(seed)
    truth = path(rng, poses)
    estimate = path(rng, 1)[0] @ truth @ np.array([path(rng, 1, noise)[0] for _ in range(poses)])
    stamps = list(range(0, poses * 10**8, 10**8))
    theirs = compare_trajectories(*(Trajectory.from_transforms(stamps, list(T)) for T in (estimate, truth)))
    ours = path_error(estimate, truth)
    assert ours.ate_m == pytest.approx(theirs.ate_rmse_m, rel=1e-6, abs=1e-9)
    assert ours.rpe_rotation_deg == pytest.approx(theirs.rpe_rotation_deg, rel=1e-6, abs=1e-6)
    assert ours.path_m == pytest.approx(theirs.path_length_m)


def test_a_path_in_another_world_has_no_error():
    rng = np.random.default_rng(0)
    truth = path(rng, 10)
    error = path_error(path(rng, 1)[0] @ truth, truth)
    assert max(error.ate_m, error.rpe_rotation_deg) < 1e-6


def test_half_a_turn_is_measured_too():
    turn = T_from_pose([0, 0, 0], [0.0, 1.0, 0.0, 0.0])
    error = path_error(np.stack([np.eye(4), turn, np.eye(4)]), np.tile(np.eye(4), (3, 1, 1)))
    assert error.rpe_rotation_deg == pytest.approx(180.0)
