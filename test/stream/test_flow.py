from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt3r_ros.geometry import T_from_pose, inverse
from ttt3r_ros.stream.flow import MIN_POINTS, unexplained

little = st.floats(-0.02, 0.02)


def rays_of(points: np.ndarray) -> np.ndarray:
    return points[:, :2] / points[:, 2:]


def wall(n: int = 60) -> np.ndarray:
    """Return (n, 3) points at a depth of 3 m, in the frame of the camera before."""
    rng = np.random.default_rng(0)
    return np.column_stack([rng.uniform(-2, 2, n), rng.uniform(-1.5, 1.5, n), np.full(n, 3.0)])


def moved(points: np.ndarray, T_before_after: np.ndarray) -> np.ndarray:
    return points @ inverse(T_before_after)[:3, :3].T + inverse(T_before_after)[:3, 3]


@settings(deadline=None)
@given(little, little, little, little)
def test_a_motion_that_the_pose_does_not_tell_is_found(z, roll, pitch, yaw):
    true = T_from_pose([0.0, 0.0, z], [1.0, pitch / 2, yaw / 2, roll / 2])
    seen = moved(wall(), true)
    found = unexplained(rays_of(wall()), rays_of(seen), np.eye(4), 3.0)
    np.testing.assert_allclose(found, [0, 0, z, pitch, yaw, roll], atol=6e-3)
    nothing_left = unexplained(rays_of(wall()), rays_of(seen), true, float(np.median(seen[:, 2])))
    np.testing.assert_allclose(nothing_left, 0.0, atol=6e-3)


def test_reversing_that_is_taken_for_forward_motion_is_seen_with_its_sign():
    back, forward = T_from_pose([0, 0, -0.1], [1, 0, 0, 0]), T_from_pose([0, 0, 0.1], [1, 0, 0, 0])
    found = unexplained(rays_of(wall()), rays_of(moved(wall(), back)), forward, 3.0)
    np.testing.assert_allclose(found, [0, 0, -0.2, 0, 0, 0], atol=0.02)


def test_a_few_points_that_go_their_own_way_decide_nothing():
    after = rays_of(wall())
    after[:10] += 0.2
    assert np.abs(unexplained(rays_of(wall()), after, np.eye(4), 3.0)).max() < 0.02


def test_too_few_points_and_no_depth_tell_nothing():
    rays = rays_of(wall())
    assert unexplained(rays[: MIN_POINTS - 1], rays[: MIN_POINTS - 1], np.eye(4), 3.0) is None
    assert unexplained(rays, rays, np.eye(4), 0.0) is None
    assert unexplained(rays, rays, np.eye(4), float("nan")) is None
