from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt3r_ros.camera.preprocess import PixelMap
from ttt3r_ros.geometry import inverse
from ttt3r_ros.stream.gray import gray_of
from ttt3r_ros.stream.parallax import MIN_CORNERS, Followed, corners_of, follow, length, motion
from ttt3r_ros.synthetic import Sequence


def scene(seed: int, rho: float, turned: float, noise_px: float = 0.0, outliers: int = 0):
    """Return points as seen, true rays, and a motion whose length must be multiplied by rho."""
    rng = np.random.default_rng(seed)
    points = np.column_stack([rng.uniform(-1, 1, 150), rng.uniform(-0.7, 0.7, 150), np.ones(150)])
    points *= rng.uniform(1.0, 5.0, 150)[:, None]
    T = np.eye(4)
    T[:3, :3] = cv2.Rodrigues(rng.normal(0, 0.05, 3))[0]
    T[:3, 3] = rng.normal(size=3)
    T[:3, 3] *= 0.15 / np.linalg.norm(T[:3, 3])
    moved = points @ T[:3, :3].T + rho * T[:3, 3]
    rays = moved[:, :2] / moved[:, 2:] + rng.normal(0, noise_px / 100.0, (150, 2))
    rays[:outliers] += rng.uniform(-0.3, 0.3, (outliers, 2))
    T[:3, :3] = cv2.Rodrigues(rng.normal(size=3) * turned / np.sqrt(3))[0] @ T[:3, :3]
    return Followed(points, rays, 100.0), T


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.3, 2.0), st.floats(0.0, 0.02))
def test_the_length_is_found_whatever_the_rotation_is_off(seed, rho, turned):
    seen, T = scene(seed, rho, turned)
    found = length(seen, T)
    assert found is not None
    assert found.rho == pytest.approx(rho, rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 0.02))
def test_the_motion_is_found_whatever_is_said_of_it(seed, turned):
    seen, T = scene(seed, 1.0, 0.0)
    said = T.copy()
    said[:3, :3] = cv2.Rodrigues(np.full(3, turned))[0] @ said[:3, :3]
    said[:3, 3] = np.random.default_rng(seed).normal(0, 0.1, 3)
    found = motion(seen, said)
    assert found is not None
    np.testing.assert_allclose(found.T_later_key, T, atol=2e-3)


def test_a_motion_that_pixels_do_not_tell_is_not_said():
    seen, T = scene(4, 1.0, 0.0, noise_px=30.0)
    assert motion(seen, T) is None


def test_outliers_do_not_count():
    seen, T = scene(1, 1.4, 0.01, noise_px=0.2, outliers=40)
    found = length(seen, T)
    assert found is not None
    assert found.rho == pytest.approx(1.4, abs=3 * found.sigma)
    assert found.rho == pytest.approx(1.4, rel=0.1)


def test_against_the_naive_twin():
    """The twin tries every length with the true rotation, and takes the least median of residuals."""
    seen, T = scene(2, 0.8, 0.0, noise_px=0.1, outliers=20)
    tried = np.arange(0.2, 2.0, 0.01)
    medians = []
    for rho in tried:
        moved = seen.points @ T[:3, :3].T + rho * T[:3, 3]
        medians.append(np.median(np.linalg.norm(moved[:, :2] / moved[:, 2:] - seen.rays, axis=1)))
    found = length(seen, T)
    assert found is not None
    assert found.rho == pytest.approx(tried[np.argmin(medians)], rel=0.05)


def test_a_camera_that_stands_has_no_length():
    seen, T = scene(3, 0.0, 0.0)
    found = length(seen, T)
    assert found is not None
    assert found.rho == pytest.approx(0.0, abs=0.01)


def test_what_pixels_do_not_tell_is_not_said():
    seen, T = scene(4, 1.0, 0.0, noise_px=3.0)
    T[:3, 3] *= 0.02
    assert length(seen, T) is None


@pytest.mark.parametrize("too_large", [1.0, 1.3, 0.75])
def test_of_pictures_the_depth_is_measured_by_a_known_motion(too_large):
    """Two pictures of a flat, 0.1 m apart: the points' size is found by the true motion."""
    sequence = Sequence(1_000_020, 40, width=160, height=120, fps=15.0, motion="wheeled")
    later = next(
        i for i in range(1, 40) if (sequence.T_world_camera[i, :3, 3] - sequence.T_world_camera[0, :3, 3]).norm() > 0.1
    )
    first, last = sequence.render(0), sequence.render(later)
    camera = sequence.intrinsics
    v, u = np.mgrid[:120, :160]
    rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones((120, 160))], axis=-1)
    points = (rays * first.depth.numpy().reshape(120, 160, 1) * too_large).astype(np.float32)
    estimate = SimpleNamespace(
        points=points,
        confidence=np.full((120, 160), 3.0, np.float32),
        intrinsics=camera,
        pixel_map=PixelMap((160, 120), (160, 120), (0, 0), (160, 120)),
    )
    before, after = (gray_of(frames.image.numpy().reshape(120, 160, 3)) for frames in (first, last))
    corners = corners_of(before, estimate)
    assert corners is not None
    seen = follow(corners, before, after, estimate)
    assert seen is not None
    poses = sequence.T_world_camera.double().numpy()
    found = length(seen, inverse(poses[later]) @ poses[0])
    assert found is not None
    assert found.rho == pytest.approx(too_large, rel=0.1)
    assert found.turned < 0.01


def test_a_picture_without_corners_or_points_has_none():
    gray = np.full((120, 160), 100, np.uint8)
    estimate = SimpleNamespace(points=None, confidence=None, intrinsics=None)
    assert corners_of(gray, estimate) is None
    estimate = SimpleNamespace(
        points=np.ones((48, 64, 3), np.float32), confidence=np.full((48, 64), 3.0), intrinsics=object()
    )
    assert corners_of(gray, estimate) is None


def test_too_few_points_tell_nothing():
    seen, T = scene(5, 1.0, 0.0)
    few = Followed(-seen.points[: MIN_CORNERS * 2], seen.rays[: MIN_CORNERS * 2], seen.focal)
    assert length(few, T) is None  # all behind the camera
