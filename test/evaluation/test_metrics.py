"""Trajectories and depth against ground truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tum import read_tum

from ttt3r_ros.errors import UserError
from ttt3r_ros.evaluation.metrics import (
    Trajectory,
    compare_depth,
    compare_trajectories,
    resample_depth,
    write_tum,
)
from ttt3r_ros.geometry import Intrinsics, T_from_pose

EPOCH_NS = 1_700_000_000_123_456_789


def wandering(seed: int, length: int = 40) -> Trajectory:
    rng = np.random.default_rng(seed)
    positions = np.cumsum(rng.normal(scale=0.1, size=(length, 3)), axis=0)
    quaternions = rng.normal(size=(length, 4)) * 0.1 + [1, 0, 0, 0]
    stamps = EPOCH_NS + np.arange(length) * 33_333_333
    return Trajectory.from_transforms(
        stamps.tolist(), [T_from_pose(p, q) for p, q in zip(positions, quaternions, strict=True)]
    )


def moved(trajectory: Trajectory, T: np.ndarray, scale: float = 1.0) -> Trajectory:
    transforms = []
    for i in range(len(trajectory)):
        pose = trajectory.transform(i)
        pose[:3, 3] *= scale
        transforms.append(T @ pose)
    return Trajectory.from_transforms(trajectory.stamps_ns.tolist(), transforms)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), scale=st.floats(0.2, 5.0))
def test_alignment_removes_a_rigid_motion_and_names_the_scale(seed: int, scale: float) -> None:
    truth = wandering(seed)
    T = T_from_pose([1.0, -2.0, 3.0], [0.9, 0.1, -0.3, 0.2])

    rigid = compare_trajectories(moved(truth, T), truth)
    assert rigid.ate_rmse_m < 1e-9
    assert rigid.rpe_translation_m < 1e-9
    assert rigid.scale == pytest.approx(1.0)

    scaled = compare_trajectories(moved(truth, T, scale), truth)
    assert scaled.scale == pytest.approx(1.0 / scale, rel=1e-6)
    assert scaled.ate_rmse_scaled_m < 1e-9
    if abs(scale - 1.0) > 0.05:
        assert scaled.ate_rmse_m > 1e-3


def test_known_errors() -> None:
    # a square of side 2 whose corners are pushed out and in by 0.1: no alignment can make that smaller
    corners = np.array([[1, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]], dtype=float)
    pushed = corners + np.array([0.1, -0.1, 0.1, -0.1])[:, None] * [0, 0, 1]
    stamps = [EPOCH_NS + i * 10**8 for i in range(4)]
    truth = Trajectory.from_transforms(stamps, [T_from_pose(p, [1, 0, 0, 0]) for p in corners])
    estimate = Trajectory.from_transforms(stamps, [T_from_pose(p, [1, 0, 0, 0]) for p in pushed])
    error = compare_trajectories(estimate, truth)
    assert error.ate_rmse_m == pytest.approx(0.1)
    assert error.rpe_translation_m == pytest.approx(0.2)
    assert error.rpe_rotation_deg == pytest.approx(0.0, abs=1e-6)
    assert error.path_length_m == pytest.approx(6.0)
    assert error.poses == 4


def test_only_poses_of_one_time_are_compared() -> None:
    truth = wandering(3)
    every_second = Trajectory(truth.stamps_ns[::2], truth.positions[::2], truth.quaternions_wxyz[::2])
    error = compare_trajectories(every_second, truth)
    assert error.poses == 20
    np.testing.assert_array_equal(error.aligned.stamps_ns, every_second.stamps_ns)
    np.testing.assert_array_equal(error.reference.stamps_ns, every_second.stamps_ns)


def test_a_body_that_stands_still_is_no_failure() -> None:
    still = Trajectory.from_transforms([EPOCH_NS + i * 10**8 for i in range(5)], [np.eye(4)] * 5)
    error = compare_trajectories(still, still)
    assert error.ate_rmse_m == 0.0
    assert np.isnan(error.scale)


def test_trajectories_of_different_clocks_are_refused() -> None:
    truth = wandering(3)
    other_clock = Trajectory(truth.stamps_ns - EPOCH_NS, truth.positions, truth.quaternions_wxyz)
    with pytest.raises(UserError, match="same clock"):
        compare_trajectories(other_clock, truth)
    with pytest.raises(UserError, match="at least 3 poses"):
        compare_trajectories(Trajectory(truth.stamps_ns[:2], truth.positions[:2], truth.quaternions_wxyz[:2]), truth)


def test_tum_files_keep_nanoseconds(tmp_path: Path) -> None:
    truth = wandering(5)
    write_tum(tmp_path / "t.txt", truth)
    numbers = (tmp_path / "t.txt").read_text().splitlines()[1].split()
    assert len(numbers) == 8
    assert float(numbers[-1]) == pytest.approx(truth.quaternions_wxyz[0, 0])
    back = read_tum(tmp_path / "t.txt")
    np.testing.assert_array_equal(back.stamps_ns, truth.stamps_ns)
    np.testing.assert_allclose(back.positions, truth.positions, atol=1e-8)
    np.testing.assert_allclose(back.quaternions_wxyz, truth.quaternions_wxyz, atol=1e-8)


def test_depth_errors() -> None:
    truth = np.full((4, 4), 2.0, dtype=np.float32)
    estimate = truth.copy()
    estimate[0] = 2.2  # a quarter of the pixels is 10 % off
    estimate[1] = 4.0  # a quarter is 100 % off
    estimate[2, 0] = np.nan
    truth[2, 1] = 0.0
    error = compare_depth(estimate, truth)
    assert error.pixels == 14
    assert error.abs_rel == pytest.approx((4 * 0.1 + 4 * 1.0) / 14, rel=1e-5)
    assert error.delta_125 == pytest.approx(10 / 14)


def test_the_median_can_be_matched() -> None:
    truth = np.linspace(1, 5, 100, dtype=np.float32).reshape(10, 10)
    error = compare_depth(truth * 0.5, truth, match_median=True)
    assert error.scale == pytest.approx(2.0)
    assert error.abs_rel == pytest.approx(0.0, abs=1e-6)
    assert compare_depth(truth * 0.5, truth).abs_rel == pytest.approx(0.5)


def test_depth_without_common_pixels_is_nan() -> None:
    nothing = np.full((2, 2), np.nan, dtype=np.float32)
    assert np.isnan(compare_depth(nothing, np.ones((2, 2), dtype=np.float32)).abs_rel)
    with pytest.raises(ValueError, match="same size"):
        compare_depth(nothing, np.ones((2, 3), dtype=np.float32))


def test_depth_is_resampled_along_rays() -> None:
    camera = Intrinsics(fx=8.0, fy=8.0, cx=7.5, cy=5.5, width=16, height=12)
    depth = np.arange(16 * 12, dtype=np.float32).reshape(12, 16)
    np.testing.assert_array_equal(resample_depth(depth, camera, camera), depth)
    crop = Intrinsics(fx=8.0, fy=8.0, cx=5.5, cy=4.5, width=14, height=10)
    np.testing.assert_array_equal(resample_depth(depth, camera, crop), depth[1:11, 2:16])
    wider = Intrinsics(fx=8.0, fy=8.0, cx=9.5, cy=5.5, width=20, height=12)
    assert np.isnan(resample_depth(depth, camera, wider)[:, [0, 1, 18, 19]]).all()
    np.testing.assert_array_equal(resample_depth(depth, camera, wider)[:, 2:18], depth)
    third = Intrinsics(fx=8 / 3, fy=8 / 3, cx=(7.5 - 1) / 3, cy=(5.5 - 1) / 3, width=5, height=4)
    np.testing.assert_array_equal(resample_depth(depth, camera, third), depth[1::3, 1:15:3])
